"""Connecting through the browser and the sandbox over HTTP: the good end, and each bad one in words."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from rq import Queue

import config as configuration
import db
import queues
from clock import utcnow
from devserver.redis_server import RedisProcess
from models import Account, AccountState, OAuthState, User
from sandbox import Bling, Server
from services import accounts, catalog, connections
from services.bling_clients import client_for
from services.secrets import unseal
from tests.conftest import Browser
from tests.factories import make_organization, make_user
from tests.web.consent import Consent, connect, start

Login = Callable[..., Browser]


@pytest.fixture(autouse=True)
def installed(app: object, bling_server: Server) -> None:
    """The web program speaks to the sandbox."""
    configuration.activate(
        replace(
            configuration.current(),
            bling_api_url=f"{bling_server.url}/Api/v3",
            bling_authorize_url=f"{bling_server.url}/Api/v3/oauth/authorize",
            bling_client_id="shared-id",
            bling_client_secret="shared-secret",
            bling_rate_per_second=1000,
        )
    )
    return


@pytest.fixture
def ana(login: Login) -> Browser:
    return login(name="Ana")


def the_account() -> Account:
    return Account.select().get()


def page(browser: Browser, answer: Any) -> str:
    """The page the browser ends at."""
    while answer.status_code in (302, 303):
        answer = browser.get(answer.headers["Location"])
    return str(answer.get_data(as_text=True))


def is_alive(bling: Bling, account: str, client_id: str = "shared-id") -> bool:
    return bling.current_tokens(account, client_id) is not None


def exchanges(bling: Bling) -> int:
    return len(bling.requests(path="/oauth/token"))


# It works.


def test_it_connects_an_account(bling: Bling, ana: Browser) -> None:
    answer = connect(ana, "matriz", name="Loja São João")

    account = the_account()
    assert answer.headers["Location"] == f"/contas/{account.id}"
    assert (account.key, account.name, account.state) == ("loja-sao-joao", "Loja São João", AccountState.CONNECTED)
    assert (account.company_id, account.company_name) == (bling.world.accounts["matriz"].company_id, "Matriz")
    assert account.organization_id == ana.user.organization_id
    assert account.webhook_key is None
    assert client_for(account).get_company().name == "Matriz"
    assert "Conta Loja São João conectada" in page(ana, answer)


def test_the_catalogue_is_read_by_a_job(bling: Bling, ana: Browser) -> None:
    bling.add_product("matriz", "BONE-01")
    connect(ana, "matriz")
    account = the_account()

    (job,) = Queue(queues.BULK, connection=queues.shared_connection()).get_jobs()
    assert (job.func_name, job.args) == ("jobs.catalog.refresh_account", (account.id,))
    assert account.catalog_at is None
    assert "lendo…" in page(ana, ana.get(f"/contas/{account.id}"))

    catalog.read_account(account.id)
    (line,) = accounts.list_accounts(ana.user.organization)
    assert (line.deposits, line.products) == (2, 1)


def test_without_redis_the_catalogue_is_left_to_the_periodic_check(
    bling: Bling, ana: Browser, own_redis: RedisProcess
) -> None:
    path = start(ana).decide("matriz")
    own_redis.stop()

    assert ana.get(path).status_code == 303

    assert the_account().organization.next_reconcile_at <= utcnow()


def test_it_leads_to_bling_with_a_state_that_is_kept_only_as_a_digest(bling: Bling, ana: Browser) -> None:
    consent = start(ana)

    row = OAuthState.select().get()
    assert consent.client_id == "shared-id"
    assert len(consent.state) >= 40
    assert consent.state not in str(row.__data__)
    assert (row.organization_id, row.user_id) == (ana.user.organization_id, ana.user.id)


def test_it_connects_with_an_app_of_the_account(bling: Bling, ana: Browser) -> None:
    bling.add_app("own-id", "own-secret", kind="own", owner="avulsa", redirect_uri="http://localhost/bling/callback")

    answer = connect(ana, "avulsa", app="own", client_id=" own-id ", client_secret="own-secret")

    account = the_account()
    assert (account.client_id, unseal(account.client_secret_sealed, owner_id=account.id)) == ("own-id", "own-secret")
    assert is_alive(bling, "avulsa", "own-id")
    shown = page(ana, answer)
    assert f"/webhooks/bling/{account.webhook_key}" in shown
    assert "own-secret" not in shown
    assert OAuthState.select().get().client_secret_sealed is None


def test_two_accounts_with_one_name_get_two_keys(bling: Bling, ana: Browser) -> None:
    connect(ana, "matriz", name="Loja")
    connect(ana, "filial", name="LOJA!")

    assert [row.key for row in Account.select().order_by(Account.id)] == ["loja", "loja-2"]


def test_an_account_connected_here_already_is_taken_as_that_account(bling: Bling, ana: Browser) -> None:
    connect(ana, "matriz", name="Matriz")
    before = the_account()
    Account.update(state=AccountState.RECONNECT, state_reason="recusado", last_error="erro").execute()

    shown = page(ana, connect(ana, "matriz", name="De novo"))

    account = the_account()
    assert (account.id, account.name, account.state) == (before.id, "Matriz", AccountState.CONNECTED)
    assert (account.state_reason, account.last_error) == (None, None)
    assert account.access_token_sealed != before.access_token_sealed
    assert "já era a conta Matriz: o acesso foi renovado" in shown


def test_reconnecting_renews_the_tokens_and_has_everything_checked(bling: Bling, ana: Browser) -> None:
    connect(ana, "matriz", name="Matriz")
    account = the_account()
    bling.revoke("matriz")
    Account.update(state=AccountState.RECONNECT).execute()

    connect(ana, "matriz", f"/contas/{account.id}/reconectar")

    renewed = the_account()
    assert (renewed.id, renewed.state) == (account.id, AccountState.CONNECTED)
    assert client_for(renewed).get_company().name == "Matriz"
    assert renewed.organization.next_reconcile_at <= utcnow()


def test_a_pause_outlives_a_reconnection(bling: Bling, ana: Browser) -> None:
    connect(ana, "matriz")
    account = the_account()
    accounts.pause(account, ana.user)

    connect(ana, "matriz", f"/contas/{account.id}/reconectar")

    assert the_account().state == AccountState.PAUSED


def test_changing_to_an_own_app_revokes_what_the_other_app_had(bling: Bling, ana: Browser) -> None:
    bling.add_app("own-id", "own-secret", kind="own", owner="matriz", redirect_uri="http://localhost/bling/callback")
    connect(ana, "matriz")

    connect(ana, "matriz", app="own", client_id="own-id", client_secret="own-secret")

    assert (the_account().client_id, Account.select().count()) == ("own-id", 1)
    assert not is_alive(bling, "matriz", "shared-id")
    assert is_alive(bling, "matriz", "own-id")

    connect(ana, "matriz")

    account = the_account()
    assert (account.client_id, account.client_secret_sealed, account.webhook_key) == (None, None, None)
    assert not is_alive(bling, "matriz", "own-id")


def test_reconnecting_with_the_own_app_keeps_its_secret_and_its_webhook_address(bling: Bling, ana: Browser) -> None:
    bling.add_app("own-id", "own-secret", kind="own", owner="matriz", redirect_uri="http://localhost/bling/callback")
    connect(ana, "matriz", app="own", client_id="own-id", client_secret="own-secret")
    account = the_account()

    connect(ana, "matriz", f"/contas/{account.id}/reconectar", app="own", client_id="own-id", client_secret="")

    renewed = the_account()
    assert renewed.webhook_key == account.webhook_key
    assert unseal(renewed.client_secret_sealed, owner_id=renewed.id) == "own-secret"


def test_a_disconnected_account_comes_back_as_itself(bling: Bling, ana: Browser) -> None:
    connect(ana, "matriz", name="Matriz")
    account = the_account()
    accounts.disconnect(account)

    connect(ana, "matriz", name="Matriz nova")

    renewed = the_account()
    assert (renewed.id, renewed.key, renewed.name) == (account.id, "matriz", "Matriz nova")
    assert renewed.state == AccountState.CONNECTED


# It does not, and says why.


def refused(browser: Browser, answer: Any) -> str:
    """The page of a connection that came to nothing."""
    text = str(answer.get_data(as_text=True))
    assert answer.status_code == 400, text
    assert "A conta não foi conectada" in text
    return text


def test_a_refusal_on_the_consent_page(bling: Bling, ana: Browser) -> None:
    text = refused(ana, ana.get(start(ana).decide(None)))

    assert "A autorização foi recusada no Bling" in text
    assert (Account.select().count(), exchanges(bling)) == (0, 0)


def test_another_error_of_bling_is_quoted_without_harm(bling: Bling, ana: Browser) -> None:
    consent = start(ana)

    text = refused(
        ana,
        ana.get(
            "/bling/callback",
            query_string={"state": consent.state, "error": "invalid_scope", "error_description": "<b>escopo</b> ruim"},
        ),
    )

    assert "&lt;b&gt;escopo&lt;/b&gt; ruim" in text


def test_a_callback_without_a_code(bling: Bling, ana: Browser) -> None:
    text = refused(ana, ana.get(f"/bling/callback?state={start(ana).state}"))

    assert "voltou sem um código" in text


def test_a_code_that_is_older_than_a_minute(bling: Bling, ana: Browser) -> None:
    bling.configure(code_lives_s=0.0)

    text = refused(ana, connect(ana, "matriz"))

    assert "venceu ou já foi usado" in text
    assert Account.select().count() == 0


def test_an_invalid_code(bling: Bling, ana: Browser) -> None:
    text = refused(ana, ana.get(f"/bling/callback?state={start(ana).state}&code=inventado"))

    assert "venceu ou já foi usado" in text


def test_a_replayed_callback_does_not_touch_the_connection(bling: Bling, ana: Browser) -> None:
    path = start(ana).decide("matriz")
    ana.get(path)
    before = the_account().__data__

    text = refused(ana, ana.get(path))

    assert "já foi usado" in text
    assert "Ver Loja nova" in text
    assert the_account().__data__ == before
    assert exchanges(bling) == 1
    assert is_alive(bling, "matriz")


@pytest.mark.parametrize("query", ["", "state=", "state=inventado&code=x", "code=x", "state=%00%ff&code=x"])
def test_an_unknown_state(bling: Bling, ana: Browser, query: str) -> None:
    text = refused(ana, ana.get(f"/bling/callback?{query}"))

    assert "não é seu" in text
    assert exchanges(bling) == 0


def test_a_state_of_another_person(bling: Bling, ana: Browser, login: Login) -> None:
    path = start(ana).decide("matriz")
    colleague, stranger = login(organization=ana.user.organization), login()

    for other in (colleague, stranger):
        assert "não é seu" in refused(other, other.get(path))

    assert (Account.select().count(), exchanges(bling)) == (0, 0)
    # Nor was it used up.
    assert ana.get(path).status_code == 303


def test_a_state_of_the_same_person_in_another_session(bling: Bling, ana: Browser, login: Login) -> None:
    path = start(ana).decide("matriz")
    elsewhere = login(ana.user)

    assert "outra sessão" in refused(elsewhere, elsewhere.get(path))
    assert exchanges(bling) == 0


def test_coming_back_after_ten_minutes(bling: Bling, ana: Browser) -> None:
    path = start(ana).decide("matriz")

    with time_machine.travel(utcnow() + timedelta(minutes=10, seconds=1), tick=False):
        text = refused(ana, ana.get(path))

    assert "demorou demais" in text
    assert exchanges(bling) == 0


def test_coming_back_signed_out(bling: Bling, ana: Browser, client: Browser) -> None:
    path = start(ana).decide("matriz")

    answer = client.get(path)

    assert answer.status_code == 401
    text = answer.get_data(as_text=True)
    assert "a sua sessão aqui terminou" in text
    assert path.partition("code=")[2].partition("&")[0] not in text
    assert exchanges(bling) == 0


def test_a_reader_cannot_finish_a_connection(bling: Bling, ana: Browser) -> None:
    path = start(ana).decide("matriz")
    User.update(role="reader").where(User.id == ana.user.id).execute()

    assert ana.get(path).status_code == 403
    assert exchanges(bling) == 0


def test_an_account_of_another_organization(bling: Bling, ana: Browser, login: Login) -> None:
    connect(ana, "matriz", name="Matriz da Ana")
    bia = login(user=make_user(make_organization(), name="Bia"))
    before = the_account().__data__

    text = refused(bia, connect(bia, "matriz"))

    assert "outra organização" in text
    assert "Matriz da Ana" not in text
    assert the_account().__data__ == before
    grants = [grant.revoked for grant in bling.world.grants.values()]
    assert grants == ["", "revoked"]


def test_a_wrong_secret_of_an_own_app(bling: Bling, ana: Browser) -> None:
    bling.add_app("own-id", "own-secret", kind="own", owner="avulsa", redirect_uri="http://localhost/bling/callback")

    text = refused(ana, connect(ana, "avulsa", app="own", client_id="own-id", client_secret="errado"))

    assert "O Bling não reconheceu o aplicativo" in text
    assert "Client Secret" in text
    assert "errado" not in text
    assert Account.select().count() == 0


def test_reconnecting_as_a_company_that_is_known_to_nobody(bling: Bling, ana: Browser) -> None:
    connect(ana, "matriz", name="Matriz")
    account = the_account()

    text = refused(ana, connect(ana, "avulsa", f"/contas/{account.id}/reconectar"))

    assert "Você autorizou outra conta do Bling" in text
    assert "Avulsa" in text
    assert the_account().__data__ == account.__data__
    assert is_alive(bling, "matriz")
    assert not is_alive(bling, "avulsa")


def test_reconnecting_as_another_account_of_ours_leaves_both_alone(bling: Bling, ana: Browser) -> None:
    connect(ana, "matriz", name="Matriz")
    matriz = the_account()
    connect(ana, "filial", name="Filial")
    filial = Account.get(Account.name == "Filial")

    text = refused(ana, connect(ana, "filial", f"/contas/{matriz.id}/reconectar"))

    assert "que aqui é a conta Filial" in text
    assert [row.__data__ for row in Account.select().order_by(Account.id)] == [matriz.__data__, filial.__data__]
    assert client_for(filial).get_company().name == "Filial"


def test_an_app_without_the_scope_to_name_the_company(bling: Bling, ana: Browser) -> None:
    bling.edit_app("shared-id", scopes=["Produtos", "Estoques", "Depositos"])

    text = refused(ana, connect(ana, "matriz"))

    assert "Falta uma permissão" in text
    assert not is_alive(bling, "matriz")


def test_bling_being_away_after_the_consent(bling: Bling, ana: Browser, bling_server: Server) -> None:
    path = start(ana).decide("matriz")
    configuration.activate(replace(configuration.current(), bling_api_url="http://127.0.0.1:9/Api/v3"))

    assert "O Bling não respondeu" in refused(ana, ana.get(path))
    assert Account.select().count() == 0


# Two at once.


def test_one_callback_twice_at_once_is_used_once(bling: Bling, ana: Browser) -> None:
    path = start(ana).decide("matriz")

    statuses = at_once(lambda: ana.get(path).status_code, 4)

    assert sorted(statuses) == [303, 400, 400, 400]
    assert (exchanges(bling), Account.select().count()) == (1, 1)


@pytest.mark.both_databases
def test_two_connections_of_one_company_at_once_make_one_account(bling: Bling, ana: Browser) -> None:
    # Both begin with the company unknown: the unique index decides, and the second takes over as a renewal.
    consents = [start(ana), start(ana)]
    codes = [consent.decide("matriz").partition("code=")[2].partition("&")[0] for consent in consents]
    with ana.session_transaction() as session:
        nonce = session["bling_nonce"]
    pairs = iter(list(zip(consents, codes, strict=True)))

    def finish() -> bool:
        consent, code = next(pairs)
        with db.connection():
            user = User.get_by_id(ana.user.id)
            return connections.finish(user, nonce, state=consent.state, code=code).was_known

    assert sorted(at_once(finish, 2)) == [False, True]
    account = the_account()
    assert client_for(account).get_company().name == "Matriz"


@pytest.mark.both_databases
def test_the_index_decides_where_a_look_was_too_early(
    bling: Bling, ana: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(ana, "matriz", name="Primeira")
    look = connections._owner_of
    answers = iter([lambda _: None, look, look])
    monkeypatch.setattr(connections, "_owner_of", lambda company_id: next(answers)(company_id))

    text = page(ana, connect(ana, "matriz", name="Segunda"))

    assert "já era a conta Primeira" in text
    assert Account.select().count() == 1
    assert client_for(the_account()).get_company().name == "Matriz"


def at_once(action: Callable[[], Any], count: int) -> list[Any]:
    gate = threading.Barrier(count)

    def run() -> Any:
        gate.wait(10)
        return action()

    with ThreadPoolExecutor(count) as pool:
        return [future.result(60) for future in [pool.submit(run) for _ in range(count)]]


# The form.


@pytest.mark.parametrize(
    ("form", "fault"),
    [
        ({"name": "  "}, "Dê um nome à conta"),
        ({"name": "x" * 81}, "no máximo 80"),
        ({"name": "a\x00b"}, "Use só letras"),
        ({"app": "own", "client_id": "", "client_secret": "s"}, "Copie este dado"),
        ({"app": "own", "client_id": "id", "client_secret": ""}, "Copie este dado"),
        ({"app": "own", "client_id": "com espaço", "client_secret": "s"}, "não parece um dado"),
        ({"app": "own", "client_id": "a:b", "client_secret": "s"}, "não parece um dado"),
        ({"app": "own", "client_id": "id", "client_secret": "sécreto"}, "não parece um dado"),
    ],
)
def test_what_is_wrong_stands_at_its_field(ana: Browser, form: dict[str, str], fault: str) -> None:
    answer = ana.post("/contas/conectar", data={"name": "Loja", "app": "shared", **form})

    assert answer.status_code == 422
    assert fault in answer.get_data(as_text=True)
    assert OAuthState.select().count() == 0


def test_without_an_app_of_the_installation_only_an_own_app_will_do(ana: Browser) -> None:
    configuration.activate(replace(configuration.current(), bling_client_id=None, bling_client_secret=None))

    assert "O aplicativo do EstoqueUni" not in ana.get("/contas/conectar").get_data(as_text=True)
    answer = ana.post("/contas/conectar", data={"name": "Loja", "app": "shared"})
    assert answer.status_code == 422
    assert "informe o da sua conta" in answer.get_data(as_text=True)


def test_a_typed_secret_is_never_shown_again(ana: Browser) -> None:
    form = {"name": "", "app": "own", "client_id": "own-id", "client_secret": "muito-secreto"}

    text = ana.post("/contas/conectar", data=form).get_data(as_text=True)

    assert "own-id" in text
    assert "muito-secreto" not in text


def test_old_states_are_thrown_away(ana: Browser) -> None:
    start(ana)
    OAuthState.update(expires_at=utcnow() - timedelta(days=2)).execute()

    consent = start(ana)

    assert isinstance(consent, Consent)
    assert OAuthState.select().count() == 1
