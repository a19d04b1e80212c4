"""Exceptions for single SKUs, from the page to the balances in Bling."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from peewee import Database

import config as configuration
from config import Config
from models import Movement, Pool, Run, SkuOverride, StockGroup
from sandbox import Bling
from services import overrides
from services.overrides import OverrideForm
from tests.factories import make_user
from tests.stage import ACCOUNTS, SHELF, SHOP, Stage, staged

pytestmark = pytest.mark.both_databases
CANECA = {"matriz": {SHELF: 10, SHOP: 0}, "filial": {SHOP: 0}, "avulsa": {SHOP: 0}}


@pytest.fixture
def stage(database: Database, config: Config, bling: Bling) -> Iterator[Stage]:
    with staged(config, bling, {"CANECA": CANECA, "BONE": CANECA}, window_s=0) as stage:
        yield stage


def rule(stage: Stage, mode: str = "sum") -> StockGroup:
    if mode == "mirror":
        stage.bling.count("matriz", "CANECA", 10, SHOP)
        return stage.rule((), mode="mirror", seed_deposit=stage.deposit("matriz", SHOP))
    return stage.rule([("matriz", SHELF)])


def save(stage: Stage, row: SkuOverride | None = None, where: str = "", **typed: str) -> SkuOverride:
    target = stage.deposit(where, SHOP).id if where else ""
    form = OverrideForm({"sku": "CANECA", "target": target, **typed})
    saved = overrides.save_override(StockGroup.get(), form, make_user(stage.organization), row)
    assert saved is not None, form.faults
    stage.settle()
    return saved


def remove(stage: Stage, row: SkuOverride) -> None:
    assert overrides.remove_override(StockGroup.get(), row, make_user(stage.organization))
    stage.settle()


def shown(stage: Stage, sku: str = "CANECA") -> list[int]:
    return [int(stage.shown(account, sku)) for account in ACCOUNTS]


@pytest.mark.parametrize("mode", ["sum", "mirror"])
def test_it_shows_at_once_and_touches_no_other_product(stage: Stage, mode: str) -> None:
    rule(stage, mode)
    others = shown(stage, "BONE")

    row = save(stage, reserve="4")
    assert shown(stage) == [6, 6, 6]
    special = save(stage, where="filial", max="2", reserve="0")
    assert shown(stage) == [6, 2, 6]
    save(stage, row, percent="30")
    assert shown(stage) == [3, 2, 3]
    save(stage, special, where="filial", stop_at="10")
    assert shown(stage) == [3, 0, 3]
    remove(stage, row)
    assert shown(stage) == [10, 0, 10]
    remove(stage, special)

    assert (shown(stage), shown(stage, "BONE")) == ([10, 10, 10], others)
    assert {run.status for run in Run.select().where(Run.reason == "override")} == {"ok"}
    assert Run.select().where(Run.reason == "override").count() == 6


@pytest.mark.parametrize(("mode", "after"), [("sum", 9), ("mirror", 4)])
def test_what_happened_while_a_product_was_left_out_is_no_movement(stage: Stage, mode: str, after: int) -> None:
    rule(stage, mode)
    row = save(stage, ignore="yes")
    before = Movement.select().count()
    stage.bling.sell("matriz", "CANECA", 6, SHOP)
    stage.bling.sell("filial", "CANECA", 3, SHOP)
    stage.bling.sell("matriz", "CANECA", 1, SHELF)
    stage.deliver()
    assert shown(stage) == [4, 7, 10]

    remove(stage, row)

    assert shown(stage) == [after] * 3
    assert stage.physical("matriz", "CANECA") == 9
    assert Movement.select().count() == before


def test_what_happened_at_a_deposit_that_was_left_out_is_no_movement(stage: Stage) -> None:
    rule(stage)
    row = save(stage, where="filial", ignore="yes")
    stage.bling.sell("filial", "CANECA", 6, SHOP)
    stage.bling.sell("avulsa", "CANECA", 1, SHOP)
    stage.deliver()
    assert shown(stage) == [9, 4, 9]

    remove(stage, row)

    assert (shown(stage), stage.physical("matriz", "CANECA")) == ([9, 9, 9], 9)


def test_a_product_that_is_left_out_for_a_moment_only_keeps_its_books(stage: Stage) -> None:
    """Bling may still show what was there before our last write: as a baseline that would be units out of nothing."""
    rule(stage)
    pool = Pool.get(Pool.sku == "CANECA")
    row = save(stage, ignore="yes")
    configuration.activate(replace(configuration.current(), settle_window_s=600))

    overrides.remove_override(StockGroup.get(), row, make_user(stage.organization))

    assert Pool.get(Pool.sku == "CANECA").id == pool.id


def test_fractions_come_and_go_with_the_pool(stage: Stage) -> None:
    rule(stage)
    save(stage, percent="50")
    stage.bling.sell("avulsa", "CANECA", "0.5", SHOP)
    stage.deliver()
    assert [str(stage.shown(account, "CANECA")) for account in ACCOUNTS] == ["4.75", "4.75", "4.75"]

    stage.bling.sell("matriz", "CANECA", "2.5", SHELF)
    stage.deliver()

    assert (shown(stage), stage.physical("matriz", "CANECA")) == ([3, 3, 3], 7)
