"""The search for a product and the page that says where its number comes from, whatever its SKU looks like."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from urllib.parse import urlsplit

import pytest
from flask import Flask
from werkzeug.test import Client

from clock import utcnow
from models import GroupDeposit, SkuOverride
from tests.conftest import Browser
from tests.factories import Shop, make_dirty, make_event, make_item, make_movement, make_run, make_user, make_write

NASTY = [
    "CAM/AZ/P",
    "//dobro//",
    "a b  c",
    "50%",
    "%2F",
    "100%25",
    "..",
    ".",
    "../../etc",
    "AÇÃO-Ñ",
    "日本",
    "a?b=c&d#e",
    "a\\b",
    "~2F",
    '"><script>',
    "a;b,c+d",
    "vivo",
    "x" * 120,
    "50%/../~7E é",
]


@pytest.fixture
def shop(app: Flask) -> Shop:
    return Shop(("CANECA-01", "BONE-01"))


@pytest.fixture
def ana(shop: Shop, login: Callable[..., Browser]) -> Browser:
    return login(shop.owner)


def stocked(shop: Shop, sku: str = "CANECA-01", **pool: object) -> dict[str, object]:
    """A pool of 9 on one shelf; two targets that show 9, one of them with 2 more reserved there."""
    row = shop.pool(sku, available=Decimal(9), settled_at=utcnow(), **pool)
    return {
        "pool": row,
        "shelf": shop.cell(row, "matriz", "Geral", 11, reserved=Decimal(0)),
        "home": shop.cell(row, "matriz", "Loja virtual", 9),
        "shop": shop.cell(row, "filial", "Loja virtual", 11, reserved=Decimal(2)),
    }


def text(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)).replace("\u00a0", " ").replace(" .", ".")


@pytest.mark.parametrize("sku", NASTY)
def test_an_address_survives_with_any_sku(app: Flask, login: Callable[..., Browser], sku: str) -> None:
    shop = Shop((sku,))
    stocked(shop, sku)
    browser = login(shop.owner)

    listed = re.findall(r'href="(/estoque/[^"]+)"', browser.get("/estoque").text)
    assert len(listed) == 1
    response = browser.get(listed[0])

    assert response.status_code == 200
    assert "//" not in listed[0]
    assert not re.search(r"%2F|%25|%5C|/\.", listed[0], re.IGNORECASE)
    assert app.jinja_env.filters["e"](sku) in response.text
    poll = re.search(r'hx-get="(/vivo/estoque/[^"]+)"', response.text)
    assert poll is not None
    assert browser.partial(poll[1]).status_code == 200


@pytest.mark.parametrize("path", ["/estoque/CAM/AZ/P", "/estoque/CAM%2FAZ%2FP", "/estoque/%20CAM/AZ/P%20"])
def test_an_address_that_somebody_typed_is_understood(login: Callable[..., Browser], app: Flask, path: str) -> None:
    shop = Shop(("CAM/AZ/P",))
    stocked(shop, "CAM/AZ/P")

    assert login(shop.owner).get(path).status_code == 200


def test_a_sku_that_nobody_has_is_not_found(ana: Browser) -> None:
    assert ana.get("/estoque/NADA").status_code == 404
    assert ana.get("/vivo/estoque/NADA").status_code == 404
    assert ana.get("/estoque/caneca-01").status_code == 404


def test_one_sentence_says_it(ana: Browser, shop: Shop) -> None:
    stocked(shop)
    GroupDeposit.update(reserve=Decimal(2)).where(
        GroupDeposit.deposit == shop.deposits["filial", "Loja virtual"].id
    ).execute()
    cell = shop.group_cell("CANECA-01", shop.deposits["filial", "Loja virtual"])
    cell.accounted, cell.reserved = Decimal(9), Decimal(2)
    cell.save()

    page = text(ana.get("/estoque/CANECA-01").text)

    assert "Filial · Loja virtual mostra 7 porque o conjunto tem 9 e a regra guarda 2 de reserva." in page
    assert "Disponível no conjunto 9 Menos a reserva de 2 7 A regra dá 7" in page
    assert "Reservado em pedidos ali +2 Saldo físico que deve ter 9 Saldo físico no Bling, pelos livros 9" in page
    assert "Reserva de segurança: 2 (da regra)" in page


def test_the_sums_are_shown_term_by_term(ana: Browser, shop: Shop) -> None:
    rows = stocked(shop)
    run = make_run(shop.organization, account=shop.accounts["filial"], event=make_event(shop.accounts["filial"]))
    item = make_item(run, "CANECA-01", group=shop.group)
    shelf = rows["shelf"]
    shelf.baseline = Decimal(14)  # type: ignore[attr-defined]
    shelf.save()  # type: ignore[attr-defined]
    make_movement(shelf, -4, item, event=run.event)  # type: ignore[arg-type]
    make_write(shelf, 1, item, purpose="write_back", note="EstoqueUni: movimento feito em Filial")  # type: ignore[arg-type]

    html = ana.get("/estoque/CANECA-01").text
    page = text(html)

    assert "Matriz · Geral 11 Reservado em pedidos, Filial · Loja virtual −2 Disponível 9" in page
    assert "inicial 14 outros −4 nós +1 = resulta em 11" in page
    assert "−4 11 passou a 7" in page
    assert "confirmado pelos avisos do Bling · aviso das" in page
    assert "“EstoqueUni: movimento feito em Filial”" in page
    assert f'href="/execucoes/{run.id}"' in html
    assert "Outros mudaram −4" in page
    assert "Nós escrevemos +1" in page
    assert "sem explicação" not in page


def test_what_the_books_cannot_explain_is_said_aloud(ana: Browser, shop: Shop) -> None:
    rows = stocked(shop)
    rows["shelf"].baseline = Decimal(12)  # type: ignore[attr-defined]
    rows["shelf"].save()  # type: ignore[attr-defined]

    assert "(−1 sem explicação)" in text(ana.get("/estoque/CANECA-01").text)


def test_a_difference_has_its_reason(ana: Browser, shop: Shop) -> None:
    rows = stocked(shop)
    home = rows["home"]
    home.accounted, home.baseline, home.put_off = Decimal(4), Decimal(4), Decimal(-5)  # type: ignore[attr-defined]
    home.put_off_until = utcnow() + timedelta(seconds=8)  # type: ignore[attr-defined]
    home.save()  # type: ignore[attr-defined]
    make_dirty(shop.organization, "CANECA-01")

    page = text(ana.get("/estoque/CANECA-01").text)

    assert "Matriz · Loja virtual mostra 4 e deve passar a 9. Há uma mudança recente" in page
    assert "Está na fila" in page
    assert "diferença de −5, vista há pouco" in page


def test_an_exception_says_that_it_is_one(ana: Browser, shop: Shop) -> None:
    stocked(shop)
    for deposit, values in ((None, {"max": 5}), (shop.deposits["filial", "Loja virtual"], {"stop_at": 3})):
        SkuOverride.create(
            organization=shop.organization,
            group=shop.group,
            sku="CANECA-01",
            deposit=deposit,
            is_ignored=False,
            **{name: Decimal(value) for name, value in values.items()},
        )

    page = text(ana.get("/estoque/CANECA-01").text)

    assert "Máximo: 5 (exceção deste SKU em toda a regra)" in page
    assert "Para de vender com até: 3 (exceção deste SKU neste depósito)" in page
    assert "Acima de 3: a venda segue 9 No máximo 5 5" in page


def test_a_product_that_no_rule_has_books_of_says_so(ana: Browser, shop: Shop) -> None:
    shop.group.is_active = False
    shop.group.save()

    page = text(ana.get("/estoque/BONE-01").text)

    assert "A regra Estoque geral não está ativa: nada é escrito." in page
    assert "Nada ainda: nem avisos, nem movimentos" in page


def test_the_timeline_goes_back_page_by_page(ana: Browser, shop: Shop) -> None:
    rows = stocked(shop)
    for number in range(45):
        make_write(rows["home"], number + 1)  # type: ignore[arg-type]

    seen: list[str] = []
    path: str | None = "/estoque/CANECA-01"
    while path is not None:
        html = ana.get(path).text
        seen += re.findall(r"lançamento (\d+)", html.partition('id="linha"')[2])
        older = re.search(r'href="(/estoque/CANECA-01\?antes=[0-9a-f]{32})"', html)
        path = older[1] if older else None

    assert len(seen) == len(set(seen)) == 45


def test_an_undo_is_called_by_its_name_wherever_it_wrote(ana: Browser, shop: Shop) -> None:
    rows = stocked(shop)
    item = make_item(make_run(shop.organization, "manual", undoes="{}"), "CANECA-01")
    make_write(rows["home"], 3, item, ended_at=utcnow() + timedelta(seconds=1))  # type: ignore[arg-type]

    page = text(ana.get("/estoque/CANECA-01").text)

    latest, _, timeline = page.partition("O que aconteceu")
    assert "Movimento oposto" in latest
    assert "Movimento oposto" in timeline
    assert "Atualização do compartilhado" not in page


def test_how_a_lost_answer_was_settled_is_told(ana: Browser, shop: Shop) -> None:
    rows = stocked(shop)
    ana_souza = shop.owner
    make_write(rows["home"], 3, evidence="person", decided_by=ana_souza, decided_at=utcnow())  # type: ignore[arg-type]
    make_write(rows["home"], 2, state="cancelled", evidence="level")  # type: ignore[arg-type]
    make_write(rows["home"], 1, evidence="chain")  # type: ignore[arg-type]

    page = text(ana.get("/estoque/CANECA-01").text)

    assert "Resposta perdida; confirmado por Ana Souza." in page
    assert "Resposta perdida; dado como não aplicado pelo saldo." in page
    assert "Resposta perdida; confirmado pelos avisos de antes e de depois." in page


def test_the_page_is_sent_again_only_when_it_would_look_different(ana: Browser, shop: Shop) -> None:
    rows = stocked(shop)
    first = ana.partial("/vivo/estoque/CANECA-01")
    assert ana.partial("/vivo/estoque/CANECA-01", **{"HX-PTag": first.headers["HX-PTag"]}).status_code == 304

    make_movement(rows["shelf"], -1)  # type: ignore[arg-type]

    assert ana.partial("/vivo/estoque/CANECA-01", **{"HX-PTag": first.headers["HX-PTag"]}).status_code == 200


def test_the_list_shows_what_each_target_shows(ana: Browser, shop: Shop) -> None:
    stocked(shop)

    page = text(ana.get("/estoque").text)

    assert "Produto CANECA-01 CANECA-01 Estoque geral 9 Matriz · Loja virtual 9 Filial · Loja virtual 9 Em dia" in page
    assert "BONE-01" not in page


def test_the_list_names_what_ails(ana: Browser, shop: Shop) -> None:
    rows = stocked(shop)
    rows["shop"].problem = "rejected"  # type: ignore[attr-defined]
    rows["shop"].save()  # type: ignore[attr-defined]

    assert "Escrita recusada pelo Bling" in text(ana.get("/estoque").text)


@pytest.mark.parametrize("query", ["caneca", "CANECA-01", "eca-0", "azul", "ÇÃO"])
def test_it_finds_by_sku_and_name(ana: Browser, shop: Shop, query: str) -> None:
    stocked(shop)
    stocked(shop, "BONE-01")
    product = shop.products["filial", "CANECA-01"]
    product.name = "Caneca azul EDIÇÃO"
    product.save()

    html = ana.get("/estoque", query_string={"q": query}).text

    assert re.findall(r'href="/estoque/([^"?]+)"', html) == ["CANECA-01"]


def test_a_product_without_a_rule_is_found_apart(ana: Browser, shop: Shop) -> None:
    stocked(shop)

    page = ana.get("/estoque?q=bone").text

    assert "Fora das regras" in page
    assert 'href="/estoque/BONE-01"' in page
    assert "Nenhum produto assim" in ana.get("/estoque?q=100%25").text


def test_the_list_goes_on_page_by_page(app: Flask, login: Callable[..., Browser]) -> None:
    skus = [f"SKU-{number:03}" for number in range(120)]
    shop = Shop(skus)
    for sku in skus:
        shop.pool(sku, available=Decimal(1))
    browser = login(shop.owner)

    seen: list[str] = []
    path: str | None = "/estoque"
    while path is not None:
        html = browser.get(path).text
        seen += re.findall(r'href="/estoque/(SKU-\d+)"', html)
        following = re.search(r'href="(/estoque\?depois=[0-9a-f]{32})"', html)
        path = following[1] if following else None

    assert seen == skus


def test_an_empty_list_teaches(ana: Browser) -> None:
    assert "Quando uma regra for ativada" in ana.get("/estoque").text


def test_a_reader_sees_everything_and_changes_nothing(shop: Shop, login: Callable[..., Browser]) -> None:
    stocked(shop)
    reader = login(make_user(shop.organization, role="reader"))

    page = reader.get("/estoque/CANECA-01")

    assert page.status_code == 200
    assert "Conferir agora" not in page.text


def test_nothing_of_others_is_shown(ana: Browser, shop: Shop, login: Callable[..., Browser]) -> None:
    stocked(shop)
    other = Shop(("CANECA-01",))
    browser = login(other.owner)

    page = browser.get("/estoque/CANECA-01").text
    assert shop.accounts["matriz"].id not in page
    assert "Disponível 9" not in text(page)
    assert 'href="/estoque/CANECA-01"' not in browser.get("/estoque").text


def test_the_history_leads_here(ana: Browser, shop: Shop) -> None:
    run = make_run(shop.organization)
    make_item(run, "CANECA-01")

    assert 'href="/estoque/CANECA-01"' in ana.get(f"/execucoes/{run.id}").text
    assert 'href="/estoque/CANECA-01"' in ana.partial(f"/historico/{run.id}/detalhes").text


def test_strangers_sign_in_first(app: Flask, client: Client) -> None:
    response = client.get("/estoque/CAM~2FAZ")

    assert (response.status_code, urlsplit(response.location).path) == (302, "/entrar")
    assert "volta=/estoque/CAM~2FAZ" in response.location
