"""A sale on a target that no single source can cover, and targets whose movements are nobody's stock."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from peewee import Database

from config import Config
from models import Cell, Pool, RunItem, RunType, StockWrite
from sandbox import Bling
from services.runs import start_run
from tests.stage import ACCOUNTS, SHELF, SHOP, Stage, staged

pytestmark = pytest.mark.both_databases
CANECA = {"matriz": {SHELF: 3, SHOP: 0}, "filial": {SHELF: 5, SHOP: 0}, "avulsa": {SHELF: 0, SHOP: 0}}


@pytest.fixture
def stage(database: Database, config: Config, bling: Bling) -> Iterator[Stage]:
    with staged(config, bling, {"CANECA": CANECA}, window_s=0) as stage:
        yield stage


def shelves(stage: Stage) -> list[int]:
    return [int(stage.physical(account, "CANECA")) for account in ("matriz", "filial")]


def shops(stage: Stage) -> list[int]:
    return [int(stage.shown(account, "CANECA")) for account in ACCOUNTS]


def sell(stage: Stage, account: str, quantity: int) -> None:
    stage.bling.sell(account, "CANECA", quantity, SHOP)
    stage.deliver()


def check_everything(stage: Stage) -> int:
    """How many writes a check of everything still makes."""
    before = stage.writes()
    start_run(stage.organization, RunType.CRON, skus=None)
    stage.settle()
    return stage.writes() - before


def test_a_sale_larger_than_one_shelf_is_taken_from_several(stage: Stage) -> None:
    stage.rule()

    sell(stage, "avulsa", 6)

    assert (shelves(stage), shops(stage)) == ([0, 2], [2, 2, 2])
    assert Pool.get().owed == 0
    item = RunItem.select().order_by(RunItem.id.desc()).get()
    written = {(row.account.key, row.deposit.name): row.written for row in item.deposits}
    assert written[("matriz", SHELF)] == written[("filial", SHELF)] == -3
    assert check_everything(stage) == 0


def test_an_oversale_shows_on_the_first_shelf_and_the_sum_stays_true(stage: Stage) -> None:
    stage.rule()
    stage.bling.sell("avulsa", "CANECA", 6, SHOP)
    stage.bling.sell("filial", "CANECA", 6, SHOP)

    stage.deliver()

    assert sum(shelves(stage)) == -4
    assert shops(stage) == [0, 0, 0]
    assert check_everything(stage) == 0
    stage.bling.receive("matriz", "CANECA", 10, SHELF)
    stage.deliver()
    assert (sum(shelves(stage)), shops(stage)) == (6, [6, 6, 6])


def test_a_return_comes_back_to_one_shelf(stage: Stage) -> None:
    stage.rule()
    sell(stage, "avulsa", 6)

    stage.bling.receive("avulsa", "CANECA", 6, SHOP)
    stage.deliver()

    assert (shelves(stage), shops(stage)) == ([6, 2], [8, 8, 8])


def test_units_that_open_orders_of_a_source_wait_for_are_taken_last(stage: Stage) -> None:
    stage.rule()
    order = stage.bling.reserve("matriz", "CANECA", 2, SHELF)
    stage.deliver()
    assert shops(stage) == [6, 6, 6]

    sell(stage, "avulsa", 3)

    assert (shelves(stage), shops(stage)) == ([2, 3], [3, 3, 3])
    stage.bling.post(order.id)
    stage.deliver()
    assert (shelves(stage), shops(stage)) == ([0, 3], [3, 3, 3])


def test_what_a_source_refuses_goes_to_the_next_and_is_not_lost_when_nobody_takes_it(stage: Stage) -> None:
    stage.rule(sources=[("matriz", SHELF)])
    cell = next(cell for cell in Cell.select() if (cell.account.key, cell.deposit.name) == ("matriz", SHELF))
    Cell.update(problem="rejected").where(Cell.id == cell.id).execute()

    sell(stage, "avulsa", 2)

    assert (Pool.get().owed, shelves(stage), shops(stage)) == (-2, [3, 5], [1, 1, 1])
    start_run(stage.organization, RunType.MANUAL, skus=["CANECA"])
    stage.settle()
    assert (Pool.get().owed, shelves(stage), shops(stage)) == (0, [1, 5], [1, 1, 1])


class TestAnOverwrittenTarget:
    def test_is_set_right_again_and_no_shelf_moves(self, stage: Stage) -> None:
        stage.rule(target_movements="overwrite")

        sell(stage, "avulsa", 6)

        assert (shelves(stage), shops(stage), Pool.get().owed) == ([3, 5], [8, 8, 8], 0)
        assert check_everything(stage) == 0

    def test_lowers_no_other_target_meanwhile(self, database: Database, config: Config, bling: Bling) -> None:
        with staged(config, bling, {"CANECA": CANECA}, window_s=1.5) as stage:
            stage.rule(target_movements="overwrite")
            stage.bling.faults.set("webhook_lost", 1.0)
            stage.bling.sell("avulsa", "CANECA", 6, SHOP)
            before = StockWrite.select().count()
            start_run(stage.organization, RunType.MANUAL, skus=["CANECA"])

            stage.settle()

            written = list(StockWrite.select().order_by(StockWrite.id).offset(before))
            assert [(write.account.key, write.quantity) for write in written] == [("avulsa", 6)]

    def test_counts_with_the_orders_that_wait_on_it(self, stage: Stage) -> None:
        stage.rule(target_movements="overwrite")

        stage.bling.reserve("avulsa", "CANECA", 3, SHOP)
        stage.deliver()

        assert (shelves(stage), shops(stage)) == ([3, 5], [5, 5, 5])

    def test_gives_back_what_was_owed_before_the_rule_was_changed(self, stage: Stage) -> None:
        group = stage.rule()
        Pool.update(owed=Pool.owed - 2).execute()
        type(group).update(target_movements="overwrite").execute()

        start_run(stage.organization, RunType.MANUAL, skus=["CANECA"])
        stage.settle()

        assert (Pool.get().owed, shelves(stage), shops(stage)) == (0, [1, 5], [6, 6, 6])
