"""Undoing from the screen: choose, see, say yes; and what the history tells of it afterwards."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
import time_machine
from flask import Flask

from clock import utcnow
from models import DirtySku, Run, RunItem, SkuOverride, StockGroup, StockWrite
from services import undo_pages
from tests.conftest import NOON, Browser
from tests.factories import Shop, id_of, make_item, make_item_deposit, make_movement, make_run, make_user, make_write


@pytest.fixture
def shop(app: Flask) -> Shop:
    return Shop(("CANECA-01", "00123"))


@pytest.fixture
def ana(shop: Shop, login: Callable[..., Browser]) -> Browser:
    return login(shop.owner)


def synchronized(shop: Shop, *skus: str, at: datetime | None = None, type_: str = "cron") -> Run:
    """A run that raised both targets of these SKUs by 10."""
    run = make_run(shop.organization, type_, at=at, user=shop.owner if type_ == "manual" else None)
    for sku in skus:
        pool = shop.pool(sku, available=Decimal(13))
        item = make_item(run, sku, group=shop.group, available=Decimal(13))
        for account, before in (("matriz", 1), ("filial", 3)):
            cell = shop.cell(pool, account, "Loja virtual", before + 10)
            deposit = shop.deposits[account, "Loja virtual"]
            make_item_deposit(item, deposit, before, before + 10, cell_id=cell.id)
            planned = {} if at is None else {"id": id_of(at + timedelta(seconds=1))}
            make_write(cell, 10, item, before=Decimal(before), **planned)
    return run


def consent(page: str) -> str:
    found = re.search(r'name="consent" value="([^"]+)"', page)
    assert found is not None
    return found[1]


def confirm(browser: Browser, page: str, *stop: StockGroup) -> Run:
    response = browser.post("/desfazer", data={"consent": consent(page), "stop": [group.id for group in stop]})
    run = Run.select().order_by(Run.id.desc()).get()
    assert (response.status_code, response.location) == (303, f"/execucoes/{run.id}")
    return run


def text(page: str) -> str:
    """What a person reads, without marks and with single blanks."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)).replace(" .", ".")


def test_a_run_offers_to_be_undone(ana: Browser, shop: Shop) -> None:
    run = synchronized(shop, "CANECA-01")

    assert f'href="/desfazer?execucao={run.id}"' in ana.get(f"/execucoes/{run.id}").text


@pytest.mark.parametrize("values", [{"status": "running"}, {}])
def test_what_is_under_way_or_wrote_nothing_does_not(ana: Browser, shop: Shop, values: dict[str, str]) -> None:
    run = make_run(shop.organization, "manual", **values)

    assert "/desfazer?execucao" not in ana.get(f"/execucoes/{run.id}").text


def test_the_plan_shows_each_balance_now_and_after(ana: Browser, shop: Shop) -> None:
    run = synchronized(shop, "CANECA-01", "00123")
    make_movement(shop.group_cell("00123", shop.deposits["filial", "Loja virtual"]), 0)

    page = text(ana.get(f"/desfazer?execucao={run.id}").text)

    assert "Filial · Loja virtual 13 passou a 3 \u221210" in page
    assert "não: houve movimento desde então" in page
    assert "Saldos a desfazer 2 Ficam como estão 2" in page
    assert Run.select().count() == 1


def test_saying_yes_begins_the_undo_and_switches_the_rule_off(ana: Browser, shop: Shop) -> None:
    first = synchronized(shop, "CANECA-01", "00123")
    page = ana.get(f"/desfazer?execucao={first.id}").text
    assert re.search(r'name="stop" value="[^"]+" checked', page)
    assert "Desativar a regra “Estoque geral” ao desfazer" in page

    run = confirm(ana, page, shop.group)

    assert (run.type, run.reason, run.user, run.undoes_run, run.status) == (
        "manual",
        "undo",
        shop.owner,
        first,
        "running",
    )
    assert {item.sku: item.status for item in run.items} == {"CANECA-01": "queued", "00123": "queued"}
    assert {dirty.sku for dirty in DirtySku.select()} == {"CANECA-01", "00123"}
    assert not StockGroup.get_by_id(shop.group.id).is_active


def test_for_one_product_the_rule_ignores_it_instead(ana: Browser, shop: Shop) -> None:
    synchronized(shop, "CANECA-01")
    page = ana.get("/desfazer?sku=CANECA-01").text
    assert "Ignorar o SKU CANECA-01 na regra “Estoque geral”" in page

    confirm(ana, page, shop.group)

    assert StockGroup.get_by_id(shop.group.id).is_active
    assert [(override.sku, override.is_ignored) for override in SkuOverride.select()] == [("CANECA-01", True)]


def test_without_stopping_the_rule_there_may_be_nothing_to_undo(ana: Browser, shop: Shop) -> None:
    run = synchronized(shop, "CANECA-01")
    page = ana.get(f"/desfazer?execucao={run.id}").text

    response = ana.post("/desfazer", data={"consent": consent(page)})

    assert (response.status_code, response.location) == (303, f"/desfazer?execucao={run.id}")
    assert "Com a regra ativa não há o que desfazer" in ana.get(response.location).text
    assert Run.select().count() == 1


def test_a_second_click_changes_nothing(ana: Browser, shop: Shop) -> None:
    run = synchronized(shop, "CANECA-01")
    page = ana.get(f"/desfazer?execucao={run.id}").text
    confirm(ana, page, shop.group)

    response = ana.post("/desfazer", data={"consent": consent(page)}, follow_redirects=True)

    assert "Confira o novo plano antes de desfazer" in response.text
    assert "não: já desfeito" in text(response.text)
    assert 'name="consent"' not in response.text
    assert Run.select().count() == 2


@pytest.mark.parametrize("forged", ["", "x", "WyJhIiwiYiJd.abc.def"])
def test_what_was_not_seen_cannot_be_consented_to(ana: Browser, shop: Shop, forged: str) -> None:
    synchronized(shop, "CANECA-01")

    response = ana.post("/desfazer", data={"consent": forged})

    assert (response.status_code, response.location) == (303, "/desfazer")
    assert "O plano que você viu já não vale" in ana.get("/desfazer").text
    assert Run.select().count() == 1


def test_a_consent_is_good_for_half_an_hour(ana: Browser, shop: Shop) -> None:
    run = synchronized(shop, "CANECA-01")
    page = ana.get(f"/desfazer?execucao={run.id}").text

    with time_machine.travel(utcnow() + timedelta(minutes=31)):
        response = ana.post("/desfazer", data={"consent": consent(page), "stop": [shop.group.id]})

    assert response.location == "/desfazer"
    assert Run.select().count() == 1


def test_a_plan_seen_by_another_merchant_is_worth_nothing_here(
    ana: Browser, shop: Shop, login: Callable[..., Browser]
) -> None:
    """Only the selection travels with the consent; whose writes those are is decided by who sends it."""
    run = synchronized(shop, "CANECA-01")
    page = ana.get(f"/desfazer?execucao={run.id}").text
    by_sku = ana.get("/desfazer?sku=CANECA-01").text
    stranger = login(Shop(("CANECA-01",)).owner)

    for seen in (page, by_sku):
        stranger.post("/desfazer", data={"consent": consent(seen), "stop": [shop.group.id]})

    assert Run.select().count() == 1
    assert StockGroup.get_by_id(shop.group.id).is_active
    assert StockWrite.select().where(StockWrite.undo_item_id.is_null(False)).count() == 0


def test_runs_and_writes_of_others_are_not_to_be_seen(shop: Shop, login: Callable[..., Browser]) -> None:
    run = synchronized(shop, "CANECA-01")
    stranger = login(Shop(("CANECA-01",)).owner)

    assert stranger.get(f"/desfazer?execucao={run.id}").status_code == 404
    page = stranger.get("/desfazer?sku=CANECA-01")
    assert page.status_code == 422
    assert "Não escrevemos nada do SKU “CANECA-01”" in page.text


def test_a_reader_may_not_undo(shop: Shop, login: Callable[..., Browser]) -> None:
    run = synchronized(shop, "CANECA-01")
    reader = login(organization=shop.organization, role="reader")

    assert reader.get(f"/desfazer?execucao={run.id}").status_code == 403
    assert reader.post("/desfazer", data={}).status_code == 403
    assert "/desfazer" not in reader.get(f"/execucoes/{run.id}").text + reader.get("/historico").text


def test_a_stranger_is_sent_to_the_sign_in_page(client: Browser) -> None:
    response = client.get("/desfazer?sku=A")

    assert (response.status_code, response.location) == (302, "/entrar?volta=/desfazer?sku%3DA")


def test_a_period_is_chosen_in_the_merchants_time(shop: Shop, login: Callable[..., Browser]) -> None:
    """Noon UTC is nine in the morning in São Paulo."""
    with time_machine.travel(NOON, tick=False):
        ana = login(shop.owner)
        synchronized(shop, "CANECA-01", at=NOON - timedelta(minutes=10))

        inside = ana.get("/desfazer?de=2026-03-02T08:50&ate=2026-03-02T08:50")
        before = ana.get("/desfazer?de=2026-03-02T08:00&ate=2026-03-02T08:49")
        open_end = ana.get("/desfazer?de=2026-03-02T08:50")

    assert "Saldos a desfazer 2" in text(inside.text)
    assert "Saldos a desfazer 2" in text(open_end.text)
    assert (before.status_code, "Não escrevemos nada no Bling neste período" in before.text) == (422, True)


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("ate=2026-03-02T08:50", "Diga desde quando desfazer, ou um SKU."),
        ("de=ontem", "Esta data não existe."),
        ("sku=A&ate=2026-99-99", "Esta data não existe."),
    ],
)
def test_a_wrong_period_is_said_at_its_field(ana: Browser, query: str, fault: str) -> None:
    response = ana.get(f"/desfazer?{query}")

    assert response.status_code == 422
    assert fault in response.text
    assert 'aria-invalid="true"' in response.text


def test_a_long_period_is_refused_in_words(ana: Browser) -> None:
    response = ana.get("/desfazer?de=2026-01-01T00:00")

    assert (response.status_code, "no máximo 7 dias de cada vez" in response.text) == (422, True)


def test_a_long_plan_comes_in_pages_what_is_undone_first(
    ana: Browser, login: Callable[..., Browser], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(undo_pages, "ITEMS_PER_PAGE", 2)
    shop = Shop(("A", "B", "C"))
    run = synchronized(shop, "A", "B", "C")
    StockWrite.update(undo_item_id=None).execute()
    for account in ("matriz", "filial"):
        make_movement(shop.group_cell("A", shop.deposits[account, "Loja virtual"]), 0)
    browser = login(shop.owner)

    first = browser.get(f"/desfazer?execucao={run.id}").text
    second = browser.get(f"/desfazer?execucao={run.id}&pagina=2").text

    assert [sku for sku in "ABC" if f'<span class="plan__sku">{sku}</span>' in first] == ["B", "C"]
    assert [sku for sku in "ABC" if f'<span class="plan__sku">{sku}</span>' in second] == ["A"]
    assert f"/desfazer?execucao={run.id}&amp;pagina=2" in first
    assert "Saldos a desfazer 4" in text(second)


def test_an_empty_address_shows_the_form_alone(ana: Browser) -> None:
    page = ana.get("/desfazer")

    assert page.status_code == 200
    assert 'type="datetime-local"' in page.text
    assert 'name="consent"' not in page.text


def test_the_history_tells_who_undid_what(ana: Browser, shop: Shop) -> None:
    first = synchronized(shop, "CANECA-01")
    run = confirm(ana, ana.get(f"/desfazer?execucao={first.id}").text, shop.group)

    undone = text(ana.get(f"/execucoes/{first.id}").text)
    assert "Sendo desfeita por Ana Souza em" in undone
    assert ": 2 saldos ( ver a execução" in undone
    RunItem.update(status="partial", error="undo_moved", finished_at=utcnow()).where(RunItem.run == run.id).execute()
    Run.update(status="partial", finished_at=utcnow()).where(Run.id == run.id).execute()

    assert "Desfeita por Ana Souza em" in text(ana.get(f"/execucoes/{first.id}").text)
    page = ana.get(f"/execucoes/{run.id}").text
    assert f'Desfaz a <a href="/execucoes/{first.id}">sincronização de' in page
    assert "Desfeito em parte" in page
    assert "Houve movimento desde então." in page
    assert "Em parte 1 Não desfeitos 0" in text(page)
    assert "Desfazer por Ana Souza" in text(ana.get("/historico").text)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("sku=CANECA-01", "Desfaz o que foi escrito no SKU CANECA-01 nos sete dias antes."),
        ("de=2026-03-02T08:50", "Desfaz o que foi escrito de 02/03/2026 08:50."),
        ("sku=CANECA-01&ate=2026-03-02T09:10", "Desfaz o que foi escrito no SKU CANECA-01 até 02/03/2026 09:10."),
        (
            "de=2026-03-02T08:50&ate=2026-03-02T08:55",
            "Desfaz o que foi escrito de 02/03/2026 08:50 até 02/03/2026 08:55.",
        ),
    ],
)
def test_an_undo_says_what_it_was_asked(shop: Shop, login: Callable[..., Browser], query: str, words: str) -> None:
    with time_machine.travel(NOON, tick=False):
        ana = login(shop.owner)
        synchronized(shop, "CANECA-01", at=NOON - timedelta(minutes=10))
        run = confirm(ana, ana.get(f"/desfazer?{query}").text, shop.group)

        assert words in text(ana.get(f"/execucoes/{run.id}").text)


def test_an_undo_whose_run_is_gone_still_says_that_it_undid_one(ana: Browser, shop: Shop) -> None:
    run = make_run(shop.organization, "manual", undoes='{"run": "x", "sku": null, "since": null, "until": null}')

    assert "Refazer" not in ana.get(f"/execucoes/{run.id}").text
    assert "Desfaz outra sincronização." in text(ana.get(f"/execucoes/{run.id}").text)


def test_what_was_lost_with_its_rule_is_counted(ana: Browser, shop: Shop) -> None:
    run = synchronized(shop, "CANECA-01", "00123")
    shop.group_cell("00123", shop.deposits["filial", "Loja virtual"]).pool.delete_instance()

    assert "Mais 2 saldos foram escritos por uma regra que foi ativada de novo" in text(
        ana.get(f"/desfazer?execucao={run.id}").text
    )


def test_a_newer_user_may_undo_what_another_did(shop: Shop, login: Callable[..., Browser]) -> None:
    run = synchronized(shop, "CANECA-01", type_="manual")
    browser = login(make_user(shop.organization, name="Bruno", role="operator"))

    page = browser.get(f"/desfazer?execucao={run.id}").text

    assert "por Ana Souza" in text(page)
    assert confirm(browser, page, shop.group).user.name == "Bruno"
