"""The pages: every one renders, every form does what it says, and a mistake is answered in words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import html5lib
import pytest
from flask.testing import FlaskClient

from sandbox import Bling, create_app
from sandbox.demo import seed
from tests.sandbox.conftest import CLIENT_ID, CLIENT_SECRET

PAGES = ["/", "/pedidos", "/requisicoes", "/webhooks", "/falhas", "/aplicativos", "/produtos/novo"]
FRAGMENTS = ["estoque", "atividade", "pedidos", "requisicoes", "webhooks"]


@pytest.fixture
def demo() -> Iterator[Bling]:
    """The demo merchant, without threads; its webhooks wait."""
    bling = Bling(seed=5, background=False)
    bling.add_app(CLIENT_ID, CLIENT_SECRET, webhook_url="http://127.0.0.1:9/webhooks")
    seed(bling)
    for key in bling.world.accounts:
        bling.issue_tokens(key)
    yield bling
    bling.close()


@pytest.fixture
def client(demo: Bling) -> FlaskClient:
    return create_app(demo).test_client()


def send(client: FlaskClient, path: str, **form: Any) -> str:
    """Post a form from the page `/` and return the page it leads to."""
    headers = {"Referer": "http://localhost/"}
    answer = client.post(path, data=form, headers=headers, follow_redirects=True)
    assert answer.status_code == 200
    return answer.get_data(as_text=True)


def notices(page: str) -> list[tuple[str, str]]:
    return re.findall(r'<p class="notice (\w+)">(.*?)</p>', page)


def use_everything(demo: Bling, client: FlaskClient) -> None:
    """Fill every list of the pages with every kind of row."""
    token = demo.issue_tokens("matriz").access_token
    headers = {"Authorization": f"Bearer {token}", "enable-jwt": "1"}
    client.get("/Api/v3/depositos", headers=headers)
    client.get("/Api/v3/depositos/1", headers=headers)
    demo.faults.set("webhook_lost", next=1)
    demo.receive("matriz", "CAN-GEL-01", "1.5")
    demo.faults.set("webhook_duplicate", next=1)
    demo.receive("matriz", "CAN-GEL-01", "1")
    demo.pump()
    demo.faults.set("error_500", rate=0.25, account="filial")


@pytest.mark.parametrize("path", [*PAGES, *(f"/fragmentos/{name}" for name in FRAGMENTS)])
def test_every_page_is_sound_html_empty_and_in_use(demo: Bling, client: FlaskClient, path: str) -> None:
    for bling, browser in ((Bling(background=False), None), (demo, client)):
        browser = browser or create_app(bling).test_client()
        if bling is demo:
            use_everything(demo, client)
        answer = browser.get(path)
        text = answer.get_data(as_text=True)

        assert answer.status_code == 200
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        assert " style=" not in text
        assert "onclick" not in text
        if path in PAGES:
            html5lib.HTMLParser(strict=True).parse(text)


def test_the_stock_of_all_accounts_is_side_by_side(client: FlaskClient) -> None:
    page = client.get("/").get_data(as_text=True)

    assert list(re.findall(r'<h2 id="nome-\w+">(\w+)</h2>', page)) == [
        "Matriz",
        "Filial",
        "Avulsa",
    ]
    assert "virtual 117" in page, "three of the 120 packets of coffee are reserved"
    assert "SKU repetido" in page
    assert "sem SKU" in page


def test_the_search_finds_by_sku_and_by_name_without_accents(client: FlaskClient) -> None:
    by_name = client.get("/fragmentos/estoque?busca=ceramica").get_data(as_text=True)
    by_sku = client.get("/fragmentos/estoque?busca=can-gel").get_data(as_text=True)
    nothing = client.get("/fragmentos/estoque?busca=zzz").get_data(as_text=True)

    assert by_name.count("<tr id=") == 9
    assert by_sku.count("<tr id=") == 4, "one account has it twice"
    assert nothing.count("Nenhum produto encontrado") == 3


@pytest.mark.parametrize(
    ("op", "quantity", "physical", "virtual"),
    [
        ("sell", "2", "22", "22"),
        ("receive", "1,5", "25.5", "25.5"),
        ("count", "7", "7", "7"),
        ("reserve", "3", "24", "21"),
    ],
)
def test_the_form_moves_stock(
    demo: Bling, client: FlaskClient, op: str, quantity: str, physical: str, virtual: str
) -> None:
    form = {"account": "matriz", "product": "CAN-GEL-01", "deposit": "Geral", "quantity": quantity}

    page = send(client, "/movimentar", op=op, **form)

    assert [kind for kind, _ in notices(page)] == ["ok"]
    balance = demo.balance("matriz", "CAN-GEL-01")
    assert (str(balance.physical), str(balance.virtual)) == (physical, virtual)
    assert 'value="CAN-GEL-01"' in page, "the form keeps what was chosen"


def test_a_product_without_a_sku_of_its_own_is_picked_by_its_id(demo: Bling, client: FlaskClient) -> None:
    page = client.get("/").get_data(as_text=True)
    products = list(demo.world.products.values())
    (gift,) = [p for p in products if p.account == "matriz" and not p.sku]
    assert f'data-product="#{gift.id}"' in page

    send(
        client, "/movimentar", account="matriz", product=f"#{gift.id}", deposit="Geral", quantity="5", op="sell"
    )  # fmt: skip

    assert demo.balance("matriz", gift.id).physical == 30


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"quantity": "muito"}, "quantidade"),
        ({"quantity": "0"}, "maior que zero"),
        ({"product": "NADA"}, "não tem o SKU NADA"),
        ({"product": ""}, "Informe o SKU"),
        ({"account": "filial"}, "mais de um produto"),
        ({"product": "CAM-BAS"}, "variações"),
        ({"op": "voar"}, "Escolha o que fazer"),
        ({"deposit": "Lua"}, "não tem esse depósito"),
    ],
)
def test_a_mistake_in_the_form_is_said_and_changes_nothing(
    demo: Bling, client: FlaskClient, change: dict[str, str], words: str
) -> None:
    form = {"account": "matriz", "product": "CAN-GEL-01", "deposit": "Geral", "quantity": "1", "op": "sell"}

    page = send(client, "/movimentar", **(form | change))

    ((kind, text),) = notices(page)
    assert kind == "error"
    assert words in text
    assert demo.movements() == []


def test_orders_are_attended_cancelled_and_deleted_from_their_page(demo: Bling, client: FlaskClient) -> None:
    first, second, third = [o.id for o in demo.world.orders.values() if o.state == "open"][:3]

    for order, action in ((first, "atender"), (second, "cancelar"), (third, "excluir")):
        assert notices(send(client, f"/pedidos/{order}/{action}"))[0][0] == "ok"
    again = send(client, f"/pedidos/{first}/atender")

    assert [demo.order(o).state for o in (first, second, third)] == ["posted", "cancelled", "deleted"]
    assert notices(again)[0][0] == "error"


def test_a_product_is_created_edited_and_removed(demo: Bling, client: FlaskClient) -> None:
    page = send(
        client, "/produtos/novo", account="avulsa", sku="NOVO", name="<b>Novo</b>", price="1.234,50", stock="2,5"
    )  # fmt: skip
    product = demo.product("avulsa", "NOVO")
    assert "<b>Novo</b>" not in page
    assert str(product.price) == "1234.50"
    assert demo.balance("avulsa", "NOVO").physical == demo.balance("avulsa", product.id).physical
    assert 'value="1234,5"' in page

    send(client, f"/produtos/{product.id}", name="Outro", sku="OUTRO", price="9,9", situation="I")
    assert (product.name, product.sku, product.situation) == ("Outro", "OUTRO", "I")
    refused = send(client, f"/produtos/{product.id}", name="", price="9")
    assert notices(refused)[0][0] == "error"

    send(client, f"/produtos/{product.id}/excluir")
    assert product.id not in demo.world.products
    gone = client.get(f"/produtos/{product.id}", follow_redirects=True).get_data(as_text=True)
    assert "não existe mais" in gone
    events = [d.event for d in demo.deliveries("avulsa")]
    assert events == ["product.created", "product.updated", "product.deleted"]


def test_a_movement_is_taken_back_on_the_product_s_page(demo: Bling, client: FlaskClient) -> None:
    movement = demo.receive("matriz", "CAN-GEL-01", 5)
    product = demo.product("matriz", "CAN-GEL-01")
    assert "Entrada de mercadoria" in client.get(f"/produtos/{product.id}").get_data(as_text=True)

    send(client, f"/lancamentos/{movement.id}/excluir")

    assert demo.balance("matriz", "CAN-GEL-01").physical == 24


def test_faults_are_switched_on_and_off_and_shown_on_every_page(demo: Bling, client: FlaskClient) -> None:
    send(client, "/falhas", kind="slow", account="filial", percent="12,5", next="", seconds="1,5")
    assert demo.faults.listed() == [{"kind": "slow", "account": "filial", "rate": 0.125, "next": 0, "seconds": 1.5}]
    assert "Falhas ligadas" in client.get("/").get_data(as_text=True)
    assert "12,5%" in client.get("/falhas").get_data(as_text=True)

    refused = send(client, "/falhas", kind="slow", percent="muito")
    assert notices(refused)[0][0] == "error"
    refused = send(client, "/falhas", kind="slow", percent="130")
    assert notices(refused)[0][0] == "error"
    send(client, "/falhas/desligar")
    assert demo.faults.listed() == []
    assert "Falhas ligadas" not in client.get("/").get_data(as_text=True)


def test_limits_are_set_on_the_page(demo: Bling, client: FlaskClient) -> None:
    send(client, "/limites", rate_per_second="7", rate_per_day="", float_noise="on")

    settings = demo.settings
    assert (settings.rate_per_second, settings.rate_per_day) == (7, None)
    assert (settings.float_noise, settings.virtual_with_stock) == (True, False)


def test_an_app_is_moved_and_its_authorization_revoked(demo: Bling, client: FlaskClient) -> None:
    page = client.get("/aplicativos").get_data(as_text=True)
    assert CLIENT_SECRET not in page

    send(
        client, "/aplicativos", client_id=CLIENT_ID, webhook_url="http://127.0.0.1:7/x",
        redirect_uri="http://localhost:8080/bling/callback",
    )  # fmt: skip
    send(client, "/aplicativos/revogar", client_id=CLIENT_ID, account="filial")

    assert demo.world.apps[CLIENT_ID].webhook_url == "http://127.0.0.1:7/x"
    assert demo.current_tokens("filial") is None
    assert demo.current_tokens("matriz") is not None


def test_a_delivery_is_sent_again_from_its_page(demo: Bling, client: FlaskClient) -> None:
    demo.faults.set("webhook_lost", rate=1)
    demo.receive("matriz", "CAN-GEL-01", 1)
    delivery = demo.deliveries()[0]
    assert delivery.state == "lost"

    send(client, f"/webhooks/{delivery.id}/reenviar")

    assert delivery.state == "queued"


def test_its_cookie_does_not_collide_with_the_program_s_on_the_same_host(
    client: FlaskClient,
) -> None:
    answer = client.post("/falhas/desligar")

    assert answer.headers["Set-Cookie"].startswith("sandbox_session=")
