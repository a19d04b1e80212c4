"""The history page: what a line says, the filters in its address, its pages, and that it is live."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask

from clock import utcnow
from models import Run
from tests.conftest import Browser
from tests.factories import Shop, make_event, make_item, make_item_deposit, make_run, make_write
from tests.web.scenes import busy_shop, sale


@pytest.fixture
def shop(app: Flask) -> Shop:
    return Shop(("CAM-AZ-P", "CANECA-01", "BONE-01"))


@pytest.fixture
def ana(shop: Shop, login: Callable[..., Browser]) -> Browser:
    return login(shop.owner)


def shown(page: str) -> list[str]:
    """The runs on the page, in order."""
    return re.findall(r'id="run-([0-9a-f]{32})"', page)


def text(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)).replace("\u00a0", " ")


def test_it_teaches_while_it_is_empty(ana: Browser) -> None:
    page = ana.get("/historico").text

    assert "Nada sincronizado ainda" in page
    assert "Mude o estoque de um produto no Bling" in page


def test_a_line_says_what_happened(ana: Browser, shop: Shop) -> None:
    for sku in shop.skus:
        pool = shop.pool(sku)
        for account, deposit in (("matriz", "Geral"), ("matriz", "Loja virtual"), ("filial", "Loja virtual")):
            shop.cell(pool, account, deposit, 10)
    run = sale(shop, "CANECA-01", utcnow() - timedelta(minutes=2), before="1284.5", sold="-2")

    page = text(ana.get("/historico").text)

    assert "Webhook Estoque alterado · Filial" in page
    assert "Produto CANECA-01" in page or "CANECA-01" in page
    assert "Matriz · Geral 1.284,5 passou a 1.282,5" in page
    assert "Filial · Loja virtual 1.284,5 passou a 1.282,5" in page
    assert "Sincronizado" in page

    details = text(ana.partial(f"/historico/{run.id}/detalhes").text)
    assert "Compartilhado 1.284,5 −2 0 1.282,5" in details
    assert "Principal 1.284,5 0 −2 1.282,5 Confirmada −2 · Baixa no principal · lançamento 17" in details
    assert "Como o total foi calculado Matriz · Geral 1.284,5" in details
    assert "Disponível 1.282,5" in details
    assert f"evento {run.event.bling_event_id}" in details


def test_a_detail_says_why_it_failed(ana: Browser, shop: Shop) -> None:
    run = make_run(shop.organization, status="failed")
    item = make_item(run, "CANECA-01", status="failed", error="rejected")
    cell = shop.cell(shop.pool("CANECA-01"), "filial", "Loja virtual", 4)
    make_item_deposit(item, shop.deposits["filial", "Loja virtual"], 4, 4, error="rejected")
    make_write(cell, 3, item, state="rejected", error="O Bling respondeu 400.")

    page = text(ana.partial(f"/historico/{run.id}/detalhes").text)

    assert "Com erro" in page
    assert "Escrita recusada pelo Bling. O Bling recusou o lançamento" in page
    assert "Recusada +3 · Atualização do compartilhado O Bling respondeu 400." in page


def test_what_comes_from_bling_is_escaped(ana: Browser, shop: Shop) -> None:
    run = make_run(shop.organization, account=shop.accounts["matriz"])
    make_item(run, "<script>alert(1)</script>", product_name='"><img src=x onerror=alert(1)>', error="<b>")

    for page in (ana.get("/historico"), ana.get(f"/historico/{run.id}/detalhes"), ana.get(f"/execucoes/{run.id}")):
        assert "<script>alert" not in page.text
        assert "<img" not in page.text
        assert "<b>" not in page.text.replace("<b>Loja Exemplo</b>", "")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["manual", "cron", "filial", "matriz"]),
        ("tipo=webhook", ["filial", "matriz"]),
        ("tipo=cron", ["cron"]),
        ("conta=filial", ["manual", "filial"]),
        ("situacao=partial", ["manual"]),
        ("situacao=problema", ["manual", "cron"]),
        ("q=bone", ["manual"]),
        ("q=CANECA-01", ["filial", "matriz"]),
        ("q=porcelana", ["filial", "matriz"]),
        ("q=%25", []),
        ("q=_", []),
        ("tipo=webhook&conta=matriz", ["matriz"]),
        ("tipo=nada&situacao=nada&de=ontem", ["manual", "cron", "filial", "matriz"]),
    ],
)
def test_the_address_filters(ana: Browser, shop: Shop, query: str, expected: list[str]) -> None:
    runs = {}
    for key in ("matriz", "filial"):
        runs[key] = make_run(shop.organization, account=shop.accounts[key], event=make_event(shop.accounts[key]))
        make_item(runs[key], "CANECA-01", product_name="Caneca de Porcelana")
    runs["cron"] = make_run(shop.organization, "cron", status="failed", scope="all")
    runs["manual"] = make_run(shop.organization, "manual", status="partial", user=shop.owner)
    make_item_deposit(make_item(runs["manual"], "BONE-01"), shop.deposits["filial", "Geral"], 1, 2)

    page = ana.get(f"/historico?{query}").text

    assert shown(page) == [runs[name].id for name in expected]
    assert shown(ana.partial(f"/historico/vivo?{query}").text) == shown(page)


def test_days_are_the_merchants_days(ana: Browser, shop: Shop) -> None:
    from datetime import UTC, datetime

    # 23:30 on the 9th and 00:30 on the 10th in São Paulo, both the 10th in UTC.
    evening = make_run(shop.organization, at=datetime(2026, 3, 10, 2, 30, tzinfo=UTC))
    night = make_run(shop.organization, at=datetime(2026, 3, 10, 3, 30, tzinfo=UTC))

    assert shown(ana.get("/historico?de=2026-03-10").text) == [night.id]
    assert shown(ana.get("/historico?ate=2026-03-09").text) == [evening.id]
    assert shown(ana.get("/historico?de=2026-03-09&ate=2026-03-10").text) == [night.id, evening.id]
    assert "09/03/2026 23:30" in ana.get("/historico").text


def test_its_pages_do_not_move_when_something_arrives(ana: Browser, shop: Shop) -> None:
    start = utcnow() - timedelta(hours=5)
    runs = [make_run(shop.organization, at=start + timedelta(minutes=number)).id for number in range(120)]
    first = ana.get("/historico?tipo=webhook").text
    following = re.search(r'href="(/historico\?[^"]*antes=[^"]+)"', first)
    assert following is not None

    make_run(shop.organization)
    second = ana.get(following[1].replace("&amp;", "&")).text

    assert shown(first) == runs[:69:-1]
    assert shown(second) == runs[69:19:-1]
    assert "data-poll hx-get" not in second.split('id="linhas"')[1].split(">")[0]
    assert "tipo=webhook" in following[1]


def test_a_wrong_cursor_is_no_cursor(ana: Browser, shop: Shop) -> None:
    run = make_run(shop.organization)

    assert shown(ana.get("/historico?antes=' OR 1=1 --").text) == [run.id]


def test_the_poll_is_answered_with_304_until_something_changes(ana: Browser, shop: Shop) -> None:
    run = make_run(shop.organization, status="running")
    item = make_item(run, "CANECA-01", status="running")
    first = ana.partial("/historico/vivo")
    tag = first.headers["HX-PTag"]
    assert f'hx-ptag="{tag}"' in ana.get("/historico").text

    same = ana.partial("/historico/vivo", **{"HX-PTag": tag})
    assert (same.status_code, same.data) == (304, b"")

    item.status = "ok"
    item.save()
    changed = ana.partial("/historico/vivo", **{"HX-PTag": tag})
    assert changed.status_code == 200
    assert changed.headers["HX-PTag"] != tag

    newer = make_run(shop.organization)
    assert shown(ana.partial("/historico/vivo", **{"HX-PTag": changed.headers["HX-PTag"]}).text) == [newer.id, run.id]


def test_a_page_of_fifty_takes_few_queries(ana: Browser, app: Flask) -> None:
    shop = busy_shop()
    browser = ana
    browser.user = shop.owner
    with browser.session_transaction() as session:
        session["_user_id"] = f"{shop.owner.id}:{shop.owner.session_version}"

    def queries() -> int:
        seen: list[str] = []
        from db import database

        execute = database.obj.execute_sql
        database.obj.execute_sql = lambda sql, *args, **kwargs: seen.append(sql) or execute(sql, *args, **kwargs)
        try:
            assert browser.get("/historico").status_code == 200
        finally:
            del database.obj.execute_sql
        return len(seen)

    few = queries()
    for number in range(40):
        sale(shop, "CAM-AZ-M", utcnow() - timedelta(hours=4, minutes=number))

    assert queries() == few
    assert Run.select().count() > 40
