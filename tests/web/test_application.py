"""What holds for every answer of the web program, whatever page it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import pytest
from flask import Flask, request, session
from flask.testing import FlaskClient

import db
from app import ERROR_TEXTS, MAX_BODY_BYTES, create_app
from blueprints.access import for_machines, public
from config import Config
from tests.conftest import Browser
from tests.factories import Shop


@pytest.fixture
def probe(app: Flask) -> Flask:
    """The program with a few views of this test's own."""
    return add_views(app)


def add_views(app: Flask) -> Flask:
    app.config["PROPAGATE_EXCEPTIONS"] = False

    @app.get("/probe/fault")
    @public
    def fault() -> str:
        raise RuntimeError("client_secret=CANARY")

    @app.get("/probe/visitor")
    @public
    def visitor() -> dict[str, object]:
        return {"address": request.remote_addr, "secure": request.is_secure, "host": request.host}

    @app.get("/probe/session")
    @public
    def remember() -> str:
        session["x"] = 1
        return ""

    @app.post("/probe/body")
    @for_machines
    def body() -> str:
        return str(len(request.get_data()))

    return app


@pytest.fixture
def visitor(probe: Flask) -> FlaskClient:
    return probe.test_client()


@pytest.fixture
def over_https(config: Config) -> Iterator[FlaskClient]:
    app = add_views(create_app(dataclasses.replace(config, public_url="https://stock.example")))
    yield app.test_client()
    db.database.close()


@pytest.mark.parametrize("path", ["/probe/visitor", "/no/such/page", "/probe/fault", "/static/favicon.svg", "/healthz"])
def test_every_answer_is_guarded(visitor: FlaskClient, path: str) -> None:
    headers = visitor.get(path).headers

    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"


def test_pages_are_never_kept_but_static_files_are(visitor: FlaskClient) -> None:
    assert visitor.get("/probe/visitor").headers["Cache-Control"] == "no-store"
    assert "no-store" not in visitor.get("/static/favicon.svg").headers["Cache-Control"]


def test_a_form_may_lead_to_blings_consent_page(app: Flask) -> None:
    policy = app.test_client().get("/healthz").headers["Content-Security-Policy"]

    assert "form-action 'self' https://www.bling.com.br" in policy


@pytest.mark.parametrize(("path", "code"), [("/no/such/page", 404), ("/probe/fault", 500)])
def test_a_fault_is_told_in_words_and_without_what_caused_it(visitor: FlaskClient, path: str, code: int) -> None:
    answer = visitor.get(path)

    assert answer.status_code == code
    assert ERROR_TEXTS[code][0] in answer.text
    assert not any(word in answer.text for word in ("CANARY", "Traceback", "RuntimeError"))


def test_a_body_of_one_mebibyte_is_taken_and_one_byte_more_is_not(visitor: FlaskClient) -> None:
    assert visitor.post("/probe/body", data=b"x" * MAX_BODY_BYTES).text == str(MAX_BODY_BYTES)
    assert visitor.post("/probe/body", data=b"x" * (MAX_BODY_BYTES + 1)).status_code == 413


def test_one_hop_of_forwarding_is_trusted_and_no_more(visitor: FlaskClient) -> None:
    seen = visitor.get(
        "/probe/visitor",
        headers={"X-Forwarded-For": "6.6.6.6, 203.0.113.9", "X-Forwarded-Proto": "https"},
    ).json

    assert seen == {"address": "203.0.113.9", "secure": True, "host": "localhost"}


def test_the_session_cookie_is_out_of_scripts_and_foreign_sites_reach(visitor: FlaskClient) -> None:
    cookie = visitor.get("/probe/session").headers["Set-Cookie"]

    assert cookie.startswith("session=")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


def test_over_https_it_never_leaves_in_clear(over_https: FlaskClient) -> None:
    answer = over_https.get("/probe/session", base_url="https://stock.example")

    assert answer.headers["Set-Cookie"].startswith("__Host-session=")
    assert "Secure" in answer.headers["Set-Cookie"]
    assert answer.headers["Strict-Transport-Security"].startswith("max-age=")


def test_without_https_no_browser_is_told_to_insist_on_it(visitor: FlaskClient) -> None:
    assert "Strict-Transport-Security" not in visitor.get("/healthz").headers


@pytest.mark.both_databases
@pytest.mark.parametrize(
    "path",
    ["/estoque?q=%00", "/estoque/%00", "/historico?sku=%00", "/historico?q=%00", "/execucoes/%00", "/regras/%00"],
)
def test_what_no_database_takes_is_no_fault_of_ours(app: Flask, login: Callable[..., Browser], path: str) -> None:
    assert login(Shop({"CANECA": "Caneca"}).owner).get(path).status_code in (200, 400, 404)
