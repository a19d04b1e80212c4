from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from redis import Redis
from rq import Queue

import config as configuration
import queues
from clock import utcnow
from devserver.redis_server import RedisProcess
from models import Account, AccountState
from sandbox import Bling, Server
from services.secrets import seal
from tests.conftest import Browser
from tests.factories import (
    make_account,
    make_deposit,
    make_event,
    make_group,
    make_organization,
    make_product,
    make_user,
)
from tests.services.merchants import connected, fresh

Login = Callable[..., Browser]


@pytest.fixture
def ana(login: Login) -> Browser:
    return login(name="Ana")


@pytest.fixture
def rita(login: Login, ana: Browser) -> Browser:
    """A reader of Ana's organization."""
    return login(user=make_user(ana.user.organization, name="Rita", role="reader"))


@pytest.fixture
def matriz(ana: Browser) -> Account:
    account = make_account(ana.user.organization, "matriz", company_name="Matriz Ltda.", catalog_at=utcnow())
    make_deposit(account)
    make_product(account, "BONE-01")
    return account


def text(browser: Browser, path: str) -> str:
    answer = browser.get(path)
    assert answer.status_code == 200
    return str(answer.get_data(as_text=True))


def after(browser: Browser, path: str, **form: str) -> str:
    """Send a form and follow to the page it leads to."""
    answer = browser.post(path, data=form)
    assert answer.status_code == 303, answer.get_data(as_text=True)
    return text(browser, answer.headers["Location"])


def test_an_empty_list_says_what_to_do(ana: Browser, rita: Browser) -> None:
    assert "Nenhuma conta ainda" in text(ana, "/contas")
    assert "/contas/conectar" in text(ana, "/contas")
    assert "/contas/conectar" not in text(rita, "/contas")


def test_the_list_shows_each_account(ana: Browser, matriz: Account) -> None:
    make_account(ana.user.organization, "filial", state="reconnect")
    make_account(ana.user.organization, "avulsa", state="disconnected")
    make_account(make_organization(), "alheia")

    page = text(ana, "/contas")

    for word in ("Matriz Ltda.", "Conectada", "Filial", "Reconectar", "Avulsa", "Desconectada", "Nunca recebeu"):
        assert word in page
    assert "Alheia" not in page


def test_the_poll_of_the_list_answers_only_when_something_changed(ana: Browser, matriz: Account) -> None:
    first = ana.partial("/contas/vivo")
    version = first.headers["HX-PTag"]
    assert first.status_code == 200
    assert "<html" not in first.get_data(as_text=True)
    assert ana.partial("/contas/vivo", **{"HX-PTag": version}).status_code == 304

    Account.update(state="reconnect").execute()

    assert ana.partial("/contas/vivo", **{"HX-PTag": version}).status_code == 200


def test_the_page_of_an_account_shows_all_there_is_to_know(ana: Browser, matriz: Account) -> None:
    Account.update(
        company_cnpj="12345678000195",
        token_expires_at=utcnow() + timedelta(hours=5),
        last_event_at=utcnow(),
        last_error="O Bling não respondeu. Detalhes: GET /depositos",
        last_error_at=utcnow(),
    ).execute()
    make_event(matriz, sku="BONE-01", quantity=Decimal(-2), physical_after=Decimal("8.5"))
    make_event(matriz, kind="order.created", state="kept")
    make_group(ana.user.organization, name="Regra geral", sources=list(matriz.deposit_set))

    page = text(ana, f"/contas/{matriz.id}")

    for word in (
        "Matriz Ltda.",
        "CNPJ 12.345.678/0001-95",
        "renovado sozinho",
        "O Bling não respondeu.",
        "Regra geral",
        "Geral",
        "BONE-01",
        "8,5",
        "(−2)",
        "Pedido de venda criado",
        "http://localhost:5000/webhooks/bling",
        "http://localhost:5000/bling/callback",
    ):
        assert word in page, word


def test_the_page_of_an_account_with_its_own_app_shows_its_own_address_and_no_secret(
    ana: Browser, matriz: Account
) -> None:
    sealed = seal("own-secret", owner_id=matriz.id)
    Account.update(client_id="own-id", client_secret_sealed=sealed, webhook_key="a-chave").execute()

    page = text(ana, f"/contas/{matriz.id}")

    assert "/webhooks/bling/a-chave" in page
    assert "own-id" in page
    assert "own-secret" not in page
    assert sealed not in page


@pytest.mark.parametrize(
    ("state", "words", "offered"),
    [
        ("connected", "Nenhum aviso ainda", ("pausar", "catalogo", "desconectar")),
        ("paused", "Conta em pausa", ("retomar", "desconectar")),
        ("reconnect", "não baixam o estoque das outras", ("reconectar", "desconectar")),
        ("disconnected", "Conta desconectada", ("reconectar",)),
    ],
)
def test_each_state_offers_what_can_be_done(
    ana: Browser, rita: Browser, matriz: Account, state: str, words: str, offered: tuple[str, ...]
) -> None:
    Account.update(state=state).execute()

    page, readers = text(ana, f"/contas/{matriz.id}"), text(rita, f"/contas/{matriz.id}")

    assert words in page
    assert words in readers
    for action in ("pausar", "retomar", "catalogo", "desconectar", "renomear"):
        address = f"/contas/{matriz.id}/{action}"
        assert (address in page) == (action in offered or action == "renomear"), action
        assert address not in readers


def test_the_live_part_of_the_page_comes_alone(ana: Browser, matriz: Account) -> None:
    first = ana.partial(f"/contas/{matriz.id}/vivo")

    assert "Situação" in first.get_data(as_text=True)
    assert "<html" not in first.get_data(as_text=True)
    again = ana.partial(f"/contas/{matriz.id}/vivo", **{"HX-PTag": first.headers["HX-PTag"]})
    assert again.status_code == 304
    make_event(matriz)
    changed = ana.partial(f"/contas/{matriz.id}/vivo", **{"HX-PTag": first.headers["HX-PTag"]})
    assert "Estoque alterado" in changed.get_data(as_text=True)


def test_renaming(ana: Browser, matriz: Account) -> None:
    assert "Loja do Centro" in after(ana, f"/contas/{matriz.id}/renomear", name=" Loja do Centro ")

    wrong = ana.post(f"/contas/{matriz.id}/renomear", data={"name": " "})

    assert wrong.status_code == 422
    assert "O nome não pode ficar vazio" in wrong.get_data(as_text=True)
    assert fresh(matriz).name == "Loja do Centro"


def test_pausing_and_resuming(ana: Browser, matriz: Account) -> None:
    assert "Pausada por Ana." in after(ana, f"/contas/{matriz.id}/pausar")
    assert fresh(matriz).state == AccountState.PAUSED

    assert "Conta retomada" in after(ana, f"/contas/{matriz.id}/retomar")
    assert fresh(matriz).state == AccountState.CONNECTED


def test_reading_the_catalogue_anew(ana: Browser, matriz: Account, redis: Redis) -> None:
    assert "está sendo lido" in after(ana, f"/contas/{matriz.id}/catalogo")

    (job,) = Queue(queues.BULK, connection=redis).get_jobs()
    assert (job.func_name, job.args) == ("jobs.catalog.refresh_account", (matriz.id,))

    Account.update(state="paused").execute()
    assert "Só o catálogo de uma conta conectada" in after(ana, f"/contas/{matriz.id}/catalogo")
    assert len(Queue(queues.BULK, connection=redis).get_jobs()) == 1


def test_without_redis_the_pages_stand_and_say_so(ana: Browser, matriz: Account, own_redis: RedisProcess) -> None:
    own_redis.stop()

    assert "a contagem não está disponível agora" in text(ana, f"/contas/{matriz.id}")
    assert "Matriz" in text(ana, "/contas")
    assert "A fila não está respondendo" in after(ana, f"/contas/{matriz.id}/catalogo")


@pytest.fixture
def at_bling(app: object, bling: Bling, bling_server: Server, ana: Browser) -> Account:
    """Matriz, connected for real."""
    configuration.activate(
        replace(
            configuration.current(),
            bling_api_url=f"{bling_server.url}/Api/v3",
            bling_client_id="shared-id",
            bling_client_secret="shared-secret",
        )
    )
    return connected(bling, ana.user.organization)


def test_disconnecting(bling: Bling, ana: Browser, at_bling: Account) -> None:
    assert "Desconectar Matriz?" in text(ana, f"/contas/{at_bling.id}/desconectar")
    assert fresh(at_bling).state == AccountState.CONNECTED

    assert "o Bling encerrou o acesso" in after(ana, f"/contas/{at_bling.id}/desconectar")

    assert fresh(at_bling).state == AccountState.DISCONNECTED
    assert bling.current_tokens("matriz") is None


def test_disconnecting_an_account_of_an_active_rule_needs_a_second_word(
    bling: Bling, ana: Browser, at_bling: Account
) -> None:
    make_group(ana.user.organization, name="Regra geral", sources=[make_deposit(at_bling)])
    address = f"/contas/{at_bling.id}/desconectar"
    assert "1\N{NO-BREAK SPACE}regra ativa: Regra geral" in text(ana, address)

    unconfirmed = ana.post(address)

    assert unconfirmed.status_code == 422
    assert "Marque que entendeu" in unconfirmed.get_data(as_text=True)
    assert bling.current_tokens("matriz") is not None

    after(ana, address, confirmed="yes")
    assert fresh(at_bling).state == AccountState.DISCONNECTED


def test_disconnecting_while_bling_is_away_says_so_and_is_done(bling: Bling, ana: Browser, at_bling: Account) -> None:
    configuration.activate(replace(configuration.current(), bling_api_url="http://127.0.0.1:9/Api/v3"))

    page = after(ana, f"/contas/{at_bling.id}/desconectar")

    assert "foi desconectada aqui" in page
    assert "Remova o acesso do EstoqueUni também na página de aplicativos do Bling" in page
    assert fresh(at_bling).refresh_token_sealed is None


ACTIONS = ("renomear", "pausar", "retomar", "catalogo", "reconectar", "desconectar")


@pytest.mark.parametrize("action", ACTIONS)
def test_a_reader_changes_nothing(rita: Browser, matriz: Account, action: str) -> None:
    before = fresh(matriz).__data__

    assert rita.post(f"/contas/{matriz.id}/{action}", data={"name": "X", "confirmed": "yes"}).status_code == 403

    assert fresh(matriz).__data__ == before


@pytest.mark.parametrize("page", ["conectar", "{id}/reconectar", "{id}/desconectar"])
def test_a_reader_is_not_shown_forms(rita: Browser, matriz: Account, page: str) -> None:
    assert rita.get("/contas/" + page.format(id=matriz.id)).status_code == 403


def test_an_operator_may_act(login: Login, ana: Browser, matriz: Account) -> None:
    operator = login(user=make_user(ana.user.organization, role="operator"))

    after(operator, f"/contas/{matriz.id}/pausar")

    assert fresh(matriz).state == AccountState.PAUSED


@pytest.mark.parametrize("action", ["", "/vivo", *(f"/{action}" for action in ACTIONS)])
def test_an_account_of_another_organization_does_not_exist(login: Login, matriz: Account, action: str) -> None:
    stranger = login()
    before = fresh(matriz).__data__
    ways = [stranger.get] if action in ("", "/vivo") else [stranger.post]

    for way in ways:
        assert way(f"/contas/{matriz.id}{action}").status_code == 404

    assert fresh(matriz).__data__ == before


@pytest.mark.parametrize("action", ACTIONS)
def test_a_form_without_its_token_changes_nothing(ana: Browser, matriz: Account, action: str) -> None:
    before = fresh(matriz).__data__

    assert ana.post(f"/contas/{matriz.id}/{action}", data={"name": "X"}, csrf=False).status_code == 400

    assert fresh(matriz).__data__ == before


def test_a_name_is_shown_as_text(ana: Browser, matriz: Account) -> None:
    page = after(ana, f"/contas/{matriz.id}/renomear", name="<script>alert(1)</script>")

    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
