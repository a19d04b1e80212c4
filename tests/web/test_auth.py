"""Signing in and out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask, session

from blueprints.access import safe_return
from models import User
from services import auth
from tests.conftest import Browser
from tests.factories import PASSWORD, make_user


@pytest.fixture
def ana(app: Flask) -> User:
    return make_user(email="ana@loja.example", name="Ana")


def test_it_signs_in(client: Browser, ana: User) -> None:
    response = client.post("/entrar", data={"email": " Ana@Loja.example ", "password": PASSWORD})

    assert (response.status_code, response.location) == (302, "/")
    assert client.get("/").status_code == 200
    assert User.get_by_id(ana.id).last_login_at is not None


@pytest.mark.parametrize(
    ("email", "password"),
    [("ana@loja.example", "outra"), ("ninguem@loja.example", PASSWORD), ("", ""), ("ana@loja.example", "x" * 5000)],
)
def test_it_answers_alike_whatever_was_wrong(client: Browser, ana: User, email: str, password: str) -> None:
    response = client.post("/entrar", data={"email": email, "password": password})

    assert response.status_code == 422
    assert "E-mail ou senha não conferem." in response.text
    assert password == "" or password not in response.text
    assert client.get("/").status_code == 302


def test_an_unknown_user_costs_a_hash_too(client: Browser, ana: User, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    verify = auth._matches
    monkeypatch.setattr(auth, "_matches", lambda hashed, password: tried.append(hashed) or verify(hashed, password))

    assert auth.authenticate("ninguem@loja.example", PASSWORD) is None

    assert len(tried) == 1
    assert tried[0].startswith("$argon2id$")


def test_nothing_of_the_session_before_lives_on(client: Browser, ana: User) -> None:
    with client.session_transaction() as before:
        before["planted"] = "by somebody else"
    token = client.csrf_token()

    client.post("/entrar", data={"email": "ana@loja.example", "password": PASSWORD})

    with client:
        client.get("/")
        assert "planted" not in session
        assert session["csrf_token"] != "0" * 40
    assert client.post("/sair", csrf=False, headers={"X-CSRFToken": token}).status_code == 400


def test_it_returns_to_the_page_that_was_asked_for(client: Browser, ana: User) -> None:
    asked = client.get("/historico?tipo=cron")
    assert asked.location == "/entrar?volta=/historico?tipo%3Dcron"

    page = client.get(asked.location)
    assert 'name="volta" value="/historico?tipo=cron"' in page.text

    response = client.post(
        "/entrar", data={"email": "ana@loja.example", "password": PASSWORD, "volta": "/historico?tipo=cron"}
    )
    assert response.location == "/historico?tipo=cron"


@pytest.mark.parametrize(
    "target",
    [
        "https://mal.example/",
        "//mal.example",
        "///mal.example",
        "/\\mal.example",
        "\\\\mal.example",
        "javascript:alert(1)",
        "mal.example",
        "/ok\r\nSet-Cookie: a=b",
        "/\t/mal.example",
        "",
        None,
    ],
)
def test_it_never_returns_to_somewhere_else(target: str | None, client: Browser, ana: User) -> None:
    assert safe_return(target) is None

    response = client.post("/entrar", data={"email": "ana@loja.example", "password": PASSWORD, "volta": target or ""})
    assert response.location == "/"


def test_who_signed_in_skips_the_page(login: Callable[..., Browser]) -> None:
    assert login().get("/entrar?volta=/contas").location == "/contas"


def test_it_signs_out(login: Callable[..., Browser]) -> None:
    browser = login(role="reader")

    assert browser.post("/sair").location == "/entrar"

    assert browser.get("/").status_code == 302


def test_it_slows_down_guessing_from_one_address(client: Browser, ana: User) -> None:
    answers = [
        client.post("/entrar", data={"email": f"{number}@loja.example", "password": "errada"}).status_code
        for number in range(22)
    ]

    assert answers[:20] == [422] * 20
    assert answers[-1] == 429
    assert "Muitas tentativas" in client.post("/entrar", data={"email": "a", "password": "b"}).text


def test_it_slows_down_guessing_one_account_from_many_addresses(app: Flask, ana: User) -> None:
    def attempt(number: int) -> int:
        browser = app.test_client()
        where = {"X-Forwarded-For": f"192.0.2.{number}"}
        data = {"email": "ANA@loja.example", "password": "errada"}
        return browser.post("/entrar", data=data, headers=where).status_code

    answers = [attempt(number) for number in range(32)]

    assert answers[:30] == [422] * 30
    assert answers[-1] == 429


def test_signing_in_right_uses_no_attempt(client: Browser, ana: User) -> None:
    for _ in range(25):
        assert client.post("/entrar", data={"email": ana.email, "password": PASSWORD}).status_code == 302


def test_it_signs_in_without_redis(ana: User, app: Flask, client: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    from blueprints.access import limiter

    def away(*_: object, **__: object) -> None:
        raise ConnectionError("no Redis")

    monkeypatch.setattr(limiter._storage, "incr", away)
    monkeypatch.setattr(limiter._storage, "get", away)
    monkeypatch.setattr(limiter._storage, "check", lambda: False)

    assert client.post("/entrar", data={"email": ana.email, "password": "errada"}).status_code == 422
    assert client.post("/entrar", data={"email": ana.email, "password": PASSWORD}).status_code == 302


def test_a_new_password_ends_the_sessions(login: Callable[..., Browser], ana: User) -> None:
    browser = login(ana)
    assert browser.get("/").status_code == 200

    auth.change_password(ana, "outra senha boa")

    assert browser.get("/").status_code == 302
    assert auth.authenticate(ana.email, PASSWORD) is None
    assert auth.authenticate(ana.email, "outra senha boa") is not None


def test_an_old_hash_is_renewed(ana: User) -> None:
    from argon2 import PasswordHasher

    old = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    User.update(password_hash=old).where(User.id == ana.id).execute()

    assert auth.authenticate(ana.email, PASSWORD) is not None

    assert User.get_by_id(ana.id).password_hash != old
    assert auth.authenticate(ana.email, PASSWORD) is not None


def test_the_theme_goes_round_and_back_to_the_page(login: Callable[..., Browser]) -> None:
    browser = login(role="reader")

    response = browser.post("/tema", data={"volta": "/historico?tipo=cron"})
    assert response.location == "/historico?tipo=cron"
    assert 'data-tema="escuro"' in browser.get("/").text

    browser.post("/tema")
    assert 'data-tema="claro"' in browser.get("/").text

    browser.post("/tema")
    assert "data-tema=" not in browser.get("/").text
