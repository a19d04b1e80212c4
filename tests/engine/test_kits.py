"""Compositions: selling one moves its components in Bling, and that is all the engine needs to move them everywhere.

A kit's own balance follows its components and cannot be written, so the kit is named and left alone; what it announces
costs no call.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

import pytest
from peewee import Database

from config import Config
from models import Event, Movement, RunItem, RunType, StockWrite
from sandbox import Bling, stock
from services.runs import start_run
from tests.stage import ACCOUNTS, SHELF, SHOP, Stage, staged

CUP = {"matriz": {SHELF: 20, SHOP: 0}, "filial": {SHELF: 10, SHOP: 0}, "avulsa": {SHELF: 0, SHOP: 0}}
LID = {"matriz": {SHELF: 9, SHOP: 0}, "filial": {SHELF: 0, SHOP: 0}, "avulsa": {SHELF: 0, SHOP: 0}}


@pytest.fixture
def stage(database: Database, config: Config, bling: Bling) -> Iterator[Stage]:
    with opened(config, bling) as stage:
        yield stage


@contextmanager
def opened(config: Config, bling: Bling, **values: object) -> Iterator[Stage]:
    """30 cups and 9 lids; a kit of every account is two cups and a lid."""
    with staged(config, bling, {"COPO": CUP, "TAMPA": LID}, window_s=0) as stage:
        for account in ACCOUNTS:
            bling.add_product(account, "KIT", components={"COPO": 2, "TAMPA": 1})
        stage.rule(**values)
        stage.deliver()
        assert (shown(stage, "COPO"), shown(stage, "TAMPA")) == ([30] * 3, [9] * 3)
        yield stage


def shown(stage: Stage, sku: str) -> list[Decimal]:
    return [stage.shown(account, sku) for account in ACCOUNTS]


def on_shelves(stage: Stage, sku: str) -> Decimal:
    return sum((stage.physical(account, sku) for account in ("matriz", "filial")), Decimal(0))


@pytest.mark.parametrize(("account", "deposit"), [("matriz", SHELF), ("filial", SHOP), ("avulsa", SHOP)])
def test_a_sale_of_a_kit_takes_its_components_off_everywhere(stage: Stage, account: str, deposit: str) -> None:
    """In a source, in a target of an account with a source, and in one of an account without."""
    stage.bling.sell(account, "KIT", 3, deposit)
    stage.deliver()

    assert (shown(stage, "COPO"), shown(stage, "TAMPA")) == ([24] * 3, [6] * 3)
    assert (on_shelves(stage, "COPO"), on_shelves(stage, "TAMPA")) == (24, 6)
    assert [stage.shown(each, "KIT") for each in ACCOUNTS] == [6] * 3
    assert {movement.quantity for movement in Movement.select()} == {-6, -3}


@pytest.mark.parametrize(("account", "deposit"), [("matriz", SHELF), ("avulsa", SHOP)])
@pytest.mark.parametrize("ending", ["posted", "cancelled", "deleted"])
def test_an_open_order_of_a_kit_reserves_its_components_until_it_ends(
    stage: Stage, account: str, deposit: str, ending: str
) -> None:
    order = stage.bling.reserve(account, "KIT", 3, deposit)
    stage.deliver()
    assert (shown(stage, "COPO"), shown(stage, "TAMPA")) == ([24] * 3, [6] * 3)
    assert (on_shelves(stage, "COPO"), on_shelves(stage, "TAMPA")) == (30, 9)

    {"posted": stage.bling.post, "cancelled": stage.bling.cancel, "deleted": stage.bling.delete_order}[ending](order.id)
    stage.deliver()

    cups, lids = (24, 6) if ending == "posted" else (30, 9)
    assert (shown(stage, "COPO"), shown(stage, "TAMPA")) == ([cups] * 3, [lids] * 3)
    assert (on_shelves(stage, "COPO"), on_shelves(stage, "TAMPA")) == (cups, lids)


@pytest.mark.parametrize("what", ["sold", "reserved"])
def test_a_kit_whose_events_were_all_lost_is_found_by_the_periodic_check(stage: Stage, what: str) -> None:
    stage.bling.faults.set("webhook_lost", 1.0)
    getattr(stage.bling, {"sold": "sell", "reserved": "reserve"}[what])("avulsa", "KIT", 3, SHOP)
    stage.bling.faults.set("webhook_lost")
    stage.deliver()
    assert shown(stage, "COPO")[:2] == [30, 30]

    start_run(stage.organization, RunType.CRON, skus=None)
    stage.settle()

    assert (shown(stage, "COPO"), shown(stage, "TAMPA")) == ([24] * 3, [6] * 3)
    taken = 6 if what == "sold" else 0
    assert on_shelves(stage, "COPO") == 30 - taken


def test_the_balance_of_a_kit_follows_what_is_written_to_its_components(stage: Stage) -> None:
    stage.bling.receive("matriz", "TAMPA", 4, SHELF)
    stage.deliver()

    assert [stage.shown(account, "KIT") for account in ACCOUNTS] == [13] * 3
    assert "KIT" not in {write.product.sku for write in StockWrite.select()}


def test_what_a_kit_announces_of_itself_costs_no_call(stage: Stage) -> None:
    kit = stage.bling.product("avulsa", "KIT")
    before, told = len(stage.calls()), RunItem.select().count()
    with stage.bling.world.change():
        stage.bling.webhooks.virtual_stock(kit, stage.bling.stock.balances(kit))
    stage.deliver()

    event = Event.select().where(Event.sku == "KIT").order_by(Event.id.desc()).first()
    assert (event.state, event.reason) == ("ignored", "composition")
    assert len(stage.calls()) == before
    assert RunItem.select().count() == told


def test_a_component_of_too_many_kits_to_tell_of_each_is_followed_all_the_same(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vinculoComplexo: Bling announces the component alone and says that what is linked to it must be read."""
    monkeypatch.setattr(stock, "COMPLEX_LINK", 0)
    stage.bling.reserve("filial", "KIT", 2, SHOP)
    stage.bling.sell("matriz", "COPO", 1, SHELF)
    stage.deliver()

    assert (shown(stage, "COPO"), shown(stage, "TAMPA")) == ([25] * 3, [7] * 3)
    assert Event.select().where(Event.state == "pending").count() == 0


def test_a_kit_of_one_account_that_is_a_product_of_its_own_in_another_is_named_and_left_alone(stage: Stage) -> None:
    stage.bling.add_product("avulsa", "CESTA", components={"COPO": 1})
    for account in ("matriz", "filial"):
        stage.bling.add_product(account, "CESTA", stock={SHELF: 5, SHOP: 0})
    stage.deliver()
    assert [stage.shown(account, "CESTA") for account in ("matriz", "filial")] == [10, 10]

    stage.bling.sell("matriz", "CESTA", 1, SHELF)
    stage.deliver()

    assert [stage.shown(account, "CESTA") for account in ("matriz", "filial")] == [9, 9]
    item = RunItem.select().where(RunItem.sku == "CESTA").order_by(RunItem.id.desc()).first()
    assert (item.status, item.error) == ("partial", "composition")


def test_components_of_a_kit_are_followed_in_a_mirror_too(database: Database, config: Config, bling: Bling) -> None:
    places = [(account, SHOP) for account in ACCOUNTS]
    cups = {account: {SHOP: 30} for account in ACCOUNTS}
    with staged(config, bling, {"COPO": cups}, window_s=0) as stage:
        bling.add_product("avulsa", "KIT", components={"COPO": 2})
        stage.rule(sources=(), targets=places, mode="mirror")
        stage.bling.sell("avulsa", "KIT", 3, SHOP)
        stage.deliver()

        assert shown(stage, "COPO") == [24] * 3
