"""Starting a synchronization from the screen, and watching it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask

from models import DirtySku, Run, RunItem, StockGroup
from tests.conftest import Browser
from tests.factories import Shop, make_item, make_run


@pytest.fixture
def shop(app: Flask) -> Shop:
    return Shop(("CANECA-01", "00123"))


@pytest.fixture
def ana(shop: Shop, login: Callable[..., Browser]) -> Browser:
    return login(shop.owner)


def test_it_starts_a_synchronization_of_everything(ana: Browser, shop: Shop) -> None:
    response = ana.post("/sincronizar", data={"scope": "all"})

    run = Run.get()
    assert (response.status_code, response.location) == (303, f"/execucoes/{run.id}")
    assert (run.organization_id, run.type, run.scope, run.user_id) == (
        shop.organization.id,
        "manual",
        "all",
        shop.owner.id,
    )


def test_it_starts_a_synchronization_of_one_sku(ana: Browser, shop: Shop) -> None:
    response = ana.post("/sincronizar", data={"scope": "sku", "sku": " 00123 "})

    assert response.status_code == 303
    assert [item.sku for item in RunItem.select()] == ["00123"]
    assert [dirty.sku for dirty in DirtySku.select()] == ["00123"]


@pytest.mark.parametrize(
    ("sku", "fault"),
    [
        ("", "Digite o SKU do produto."),
        ("123", "Nenhuma conta tem o SKU “123”"),
        ("caneca-01", "Maiúsculas e zeros à esquerda contam"),
        ("<b>", "Nenhuma conta tem o SKU “&lt;b&gt;”"),
    ],
)
def test_a_sku_that_nobody_has_is_said_at_its_field(ana: Browser, sku: str, fault: str) -> None:
    response = ana.post("/sincronizar", data={"scope": "sku", "sku": sku})

    assert response.status_code == 422
    assert fault in response.text
    assert 'aria-invalid="true" aria-describedby="pagina-sku-erro"' in response.text
    assert Run.select().count() == 0


def test_a_sku_of_others_is_unknown(ana: Browser) -> None:
    Shop(("DE-OUTRO",))

    assert ana.post("/sincronizar", data={"scope": "sku", "sku": "DE-OUTRO"}).status_code == 422


def test_without_an_active_rule_it_says_so(ana: Browser, shop: Shop) -> None:
    StockGroup.update(is_active=False).execute()

    response = ana.post("/sincronizar", data={"scope": "all"})

    assert response.status_code == 422
    assert "Ainda não há regra ativa" in response.text
    assert Run.select().count() == 0


def test_a_reader_is_not_offered_what_would_be_refused(shop: Shop, login: Callable[..., Browser]) -> None:
    page = login(organization=shop.organization, role="reader").get("/").text

    assert "Sincronizar agora" not in page


def test_the_page_is_live_until_the_run_has_ended(ana: Browser, shop: Shop) -> None:
    run = make_run(shop.organization, "manual", status="running", scope="all", total=60, considered=30, unchanged=29)
    item = make_item(run, "CANECA-01", status="running")

    page = ana.get(f"/execucoes/{run.id}").text
    assert f'hx-get="/execucoes/{run.id}/andamento" hx-trigger="every 1s' in page
    assert '<progress max="60" value="29"' in page

    first = ana.partial(f"/execucoes/{run.id}/andamento")
    tag = first.headers["HX-PTag"]
    assert ana.partial(f"/execucoes/{run.id}/andamento", **{"HX-PTag": tag}).status_code == 304

    item.status = "ok"
    item.save()
    run.status = "ok"
    run.save()
    last = ana.partial(f"/execucoes/{run.id}/andamento", **{"HX-PTag": tag})

    assert last.status_code == 200
    assert "hx-trigger" not in last.text
    assert "<progress" not in last.text
    assert "Sincronizado" in last.text


def test_nothing_to_correct_is_said(ana: Browser, shop: Shop) -> None:
    run = make_run(shop.organization, "cron", scope="all", considered=60, unchanged=60)

    assert "Nada estava diferente" in ana.get(f"/execucoes/{run.id}").text


def test_many_items_come_in_pages(ana: Browser, shop: Shop) -> None:
    run = make_run(shop.organization, "manual")
    items = [make_item(run, f"SKU-{number:03}").id for number in range(130)]

    first = ana.get(f"/execucoes/{run.id}").text
    assert first.count('<article class="item"') == 100
    assert f"depois={items[99]}" in first

    second = ana.get(f"/execucoes/{run.id}?depois={items[99]}").text
    assert second.count('<article class="item"') == 30
    assert f"item-{items[100]}" in second
