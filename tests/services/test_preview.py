"""The preview: what a rule would change, from balances read now, without writing a row or a movement."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest
from peewee import Database

import db
from config import Config
from models import Cell, DirtySku, GroupDeposit, Pool, Run, StockWrite
from sandbox import Bling
from services.preview import PreviewTotals, preview_group, preview_skus
from tests.stage import SHELF, SHOP, Stage, staged
from tests.trouble import skip_waits

PRODUCTS = {
    "BAIXA": {"matriz": {SHELF: 8, SHOP: 20}, "filial": {SHOP: 20}},
    "IGUAL": {"matriz": {SHELF: 8, SHOP: 8}, "filial": {SHOP: 8}},
    "SOBE": {"matriz": {SHELF: 8, SHOP: 0}, "filial": {SHOP: 8}},
    "ZERA": {"matriz": {SHELF: 0, SHOP: 3}, "filial": {SHOP: 0}},
    "SEM-FONTE": {"filial": {SHOP: 4}},
}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    skip_waits(monkeypatch)


@pytest.fixture
def stage(database: Database, config: Config, bling: Bling) -> Iterator[Stage]:
    with staged(config, bling, PRODUCTS, window_s=0, accounts=("matriz", "filial")) as stage:
        yield stage


def rule(stage: Stage, **values: object):
    return stage.rule([("matriz", SHELF)], [("matriz", SHOP), ("filial", SHOP)], **values)


def everything() -> list[list[dict[str, object]]]:
    """Every row that a preview must not touch."""
    return [list(table.select().dicts()) for table in (Cell, Pool, StockWrite, Run, DirtySku, GroupDeposit)]


def test_it_tells_every_change_and_makes_none(stage: Stage) -> None:
    group = rule(stage, activate=False)
    before = everything()

    plan = preview_group(group)

    changes = {
        row.sku: [(one.account.key, one.before, one.after) for one in row.deposits if one.delta] for row in plan.rows
    }
    assert changes == {
        "BAIXA": [("matriz", 20, 8), ("filial", 20, 8)],
        "IGUAL": [],
        "SOBE": [("matriz", 0, 8)],
        "ZERA": [("matriz", 3, 0)],
        "SEM-FONTE": [],
    }
    assert plan.totals == PreviewTotals(skus=5, changed=3, lowered=2, zeroed=1, raised=1, skipped=1)
    assert {row.sku: row.problem for row in plan.rows if row.problem} == {"SEM-FONTE": "no_source"}
    assert everything() == before
    assert stage.bling.movements() == []


def test_rules_of_the_targets_are_reckoned_with(stage: Stage) -> None:
    group = rule(stage, activate=False)
    shop = stage.deposit("filial", SHOP)
    GroupDeposit.update(reserve=Decimal(2), percent=Decimal(50)).where(GroupDeposit.deposit == shop).execute()

    [row] = preview_group(group, skus=["IGUAL"]).rows

    assert (row.available, [(one.deposit, one.after) for one in row.deposits if one.delta]) == (8, [(shop, 3)])


def test_it_asks_only_for_the_skus_it_is_asked_about(stage: Stage) -> None:
    group = rule(stage, activate=False)

    assert [row.sku for row in preview_group(group, skus=["SOBE", "SOBE", "NUNCA-VISTO"]).rows] == ["SOBE"]


def test_an_account_that_cannot_be_read_is_named_and_nothing_is_promised(stage: Stage) -> None:
    group = rule(stage, activate=False)
    stage.bling.faults.set("error_500", 1.0, account="matriz")

    plan = preview_group(group)

    assert [account.key for account in plan.unreadable_accounts] == ["matriz"]
    assert plan.totals.changed == 0
    assert plan.totals.skipped == 5


def test_of_an_active_rule_it_tells_what_is_not_settled_yet(stage: Stage) -> None:
    rule(stage)
    [settled] = preview_skus(stage.organization, None)
    assert settled.totals.changed == 0

    stage.bling.sell("filial", "IGUAL", 3, SHOP)
    before = everything()
    [plan] = preview_skus(stage.organization, ["IGUAL"])

    assert {(one.account.key, one.deposit.name): one.delta for one in plan.rows[0].deposits if one.delta} == {
        ("matriz", SHELF): -3,
        ("matriz", SHOP): -3,
    }
    assert everything() == before

    stage.deliver()
    assert (stage.physical("matriz", "IGUAL"), stage.shown("matriz", "IGUAL")) == (5, 5)


def test_rules_that_are_not_active_are_no_part_of_a_dry_run(stage: Stage) -> None:
    rule(stage, activate=False)

    assert preview_skus(stage.organization, None) == []


def test_it_reads_a_hundred_products_in_one_call(stage: Stage) -> None:
    for number in range(100 - len(PRODUCTS)):
        stage.bling.add_product("matriz", f"SKU-{number:03}", stock={SHELF: 1, SHOP: 1})
    group = rule(stage, activate=False)
    stage.deliver()
    before = len(stage.bling.requests("matriz", path="/estoques/saldos"))

    plan = preview_group(group)

    assert plan.totals.skus == 100
    # Products above, at and below zero are three questions at Bling.
    assert len(stage.bling.requests("matriz", path="/estoques/saldos")) - before <= 3
    assert not db.database.in_transaction()
