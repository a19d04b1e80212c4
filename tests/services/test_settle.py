"""The engine against the sandbox over real HTTP: what one account sells, the others stop offering."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest
from peewee import Database

from config import Config
from models import Cell, DirtySku, Event, ItemDeposit, Movement, Pool, Run, RunItem, RunType, StockWrite
from sandbox import Bling
from services.runs import start_run
from services.settle import settle_due
from tests.stage import SHELF, SHOP, Stage, staged

CANECA = {
    "matriz": {SHELF: 8, SHOP: 0},
    "filial": {SHELF: 5, SHOP: 3},
    "avulsa": {SHELF: 0, SHOP: 0},
}


@pytest.fixture
def stage(database: Database, config: Config, bling: Bling) -> Iterator[Stage]:
    with staged(config, bling, {"CANECA": CANECA, "BONE": CANECA}) as stage:
        yield stage


def shown(stage: Stage, sku: str = "CANECA") -> list[Decimal]:
    return [stage.shown(account, sku) for account in ("matriz", "filial", "avulsa")]


def test_the_first_synchronization_brings_every_target_to_the_pool(stage: Stage) -> None:
    stage.rule()

    assert shown(stage) == [13, 13, 13]
    assert stage.physical("matriz", "CANECA") == 8
    assert stage.physical("filial", "CANECA") == 5


def test_a_sale_on_a_source_lowers_every_target(stage: Stage) -> None:
    stage.rule()

    stage.bling.sell("matriz", "CANECA", 2, SHELF)
    stage.deliver()

    assert shown(stage) == [11, 11, 11]
    assert stage.physical("matriz", "CANECA") == 6


def test_a_sale_on_a_target_is_written_back_to_its_accounts_source(stage: Stage) -> None:
    stage.rule()

    stage.bling.sell("filial", "CANECA", 2, SHOP)
    stage.deliver()

    assert shown(stage) == [11, 11, 11]
    assert (stage.physical("matriz", "CANECA"), stage.physical("filial", "CANECA")) == (8, 3)
    assert Movement.select().count() == 1


def test_the_history_tells_before_and_after_of_every_deposit(stage: Stage) -> None:
    stage.rule()

    stage.bling.sell("matriz", "CANECA", 2, SHELF)
    stage.deliver()

    run = Run.select().where(Run.type == "webhook").get()
    item = RunItem.get(RunItem.run == run.id)
    rows = {(d.account.key, d.deposit.name): (d.before, d.after) for d in item.deposits}
    assert (run.status, item.status, run.account.key) == ("ok", "ok", "matriz")
    assert rows == {
        ("matriz", SHELF): (8, 6),
        ("filial", SHELF): (5, 5),
        ("matriz", SHOP): (13, 11),
        ("filial", SHOP): (13, 11),
        ("avulsa", SHOP): (13, 11),
    }


def test_our_own_echoes_cost_no_call(stage: Stage) -> None:
    stage.rule()
    stage.deliver()
    before = len(stage.calls())

    stage.bling.sell("matriz", "CANECA", 1, SHELF)
    stage.deliver()

    assert len(stage.calls()) - before == 3 + 3
    assert {event.state for event in Event.select()} == {"processed", "echo", "kept"}


def test_a_reservation_lowers_every_target_and_posting_it_changes_nothing_more(stage: Stage) -> None:
    stage.rule()

    order = stage.bling.reserve("matriz", "CANECA", 3, SHELF)
    stage.deliver()
    assert shown(stage) == [10, 10, 10]

    stage.bling.post(order.id)
    stage.deliver()
    assert shown(stage) == [10, 10, 10]
    assert stage.physical("matriz", "CANECA") == 5


def test_a_reservation_on_a_target_is_counted_once(stage: Stage) -> None:
    stage.rule()

    order = stage.bling.reserve("avulsa", "CANECA", 4, SHOP)
    stage.deliver()
    assert shown(stage) == [9, 9, 9]

    stage.bling.cancel(order.id)
    stage.deliver()
    assert shown(stage) == [13, 13, 13]
    assert Pool.get(Pool.sku == "CANECA").owed == 0


def test_sales_in_several_accounts_at_the_same_instant_end_right(stage: Stage) -> None:
    stage.rule()

    stage.bling.sell("matriz", "CANECA", 1, SHOP)
    stage.bling.sell("filial", "CANECA", 2, SHOP)
    stage.bling.sell("avulsa", "CANECA", 3, SHOP)
    stage.bling.sell("matriz", "CANECA", 4, SHELF)
    stage.deliver()

    assert shown(stage) == [3, 3, 3]
    assert stage.physical("matriz", "CANECA") + stage.physical("filial", "CANECA") == 3


def test_a_lost_event_is_found_by_the_periodic_check(stage: Stage) -> None:
    stage.rule()
    stage.deliver()
    stage.bling.faults.set("webhook_lost", 1.0)
    stage.bling.sell("filial", "CANECA", 2, SHOP)
    stage.deliver()
    assert shown(stage) == [13, 11, 13]

    stage.bling.faults.set("webhook_lost", 0.0)
    run = start_run(stage.organization, RunType.CRON, skus=None)
    stage.settle()

    assert shown(stage) == [11, 11, 11]
    run = Run.get_by_id(run.id)
    assert (run.status, run.considered, run.unannounced, run.unchanged) == ("ok", 2, 1, 1)


def test_settling_again_writes_nothing(stage: Stage) -> None:
    stage.rule()
    stage.bling.sell("filial", "CANECA", 2, SHOP)
    stage.deliver()
    written = stage.writes()

    start_run(stage.organization, RunType.MANUAL, skus=None)
    stage.settle()

    assert stage.writes() == written
    assert StockWrite.select().where(StockWrite.state != "confirmed").count() == 0
    assert Cell.select().where(Cell.problem.is_null(False)).count() == 0
    assert ItemDeposit.select().where(ItemDeposit.error.is_null(False)).count() == 0


def test_a_worker_that_is_told_to_end_sends_nothing_more_and_loses_nothing(stage: Stage) -> None:
    stage.rule()
    stage.bling.sell("matriz", "CANECA", 2, SHELF)
    stage.deliver(settle=False)
    written = len(stage.bling.requests(method="POST", path="/estoques"))
    answers = iter([False])

    settle_due(stage.organization.id, should_stop=lambda: next(answers, True))

    assert len(stage.bling.requests(method="POST", path="/estoques")) == written + 1
    assert DirtySku.get().lease is None
    stage.settle()
    assert shown(stage) == [11, 11, 11]
    assert {write.state for write in StockWrite.select()} == {"confirmed", "cancelled"}
