"""Two rules over one source: each keeps its own books, and neither holds up the other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from peewee import Database

from clock import utcnow
from config import Config
from models import Cell, Pool, Priority, StockGroup, StockWrite
from sandbox import Bling
from services.dirty import mark_dirty
from tests.stage import SHELF, SHOP, Stage, staged

CANECA = {account: {SHELF: 8 if account == "matriz" else 0, SHOP: 0} for account in ("matriz", "filial", "avulsa")}


@pytest.fixture
def stage(database: Database, config: Config, bling: Bling) -> Iterator[Stage]:
    with staged(config, bling, {"CANECA": CANECA}) as stage:
        yield stage


@pytest.fixture
def rules(stage: Stage) -> tuple[StockGroup, StockGroup]:
    return (
        stage.rule([("matriz", SHELF)], [("filial", SHOP)]),
        stage.rule([("matriz", SHELF)], [("avulsa", SHOP)], key="outra"),
    )


def test_a_sale_on_one_rules_target_lowers_the_others(stage: Stage, rules: tuple[StockGroup, StockGroup]) -> None:
    stage.bling.sell("filial", "CANECA", 3, SHOP)
    stage.deliver()

    assert stage.physical("matriz", "CANECA") == 5
    assert stage.shown("filial", "CANECA") == stage.shown("avulsa", "CANECA") == 5


@pytest.mark.parametrize("owner", [0, 1])
def test_a_write_back_that_never_left_is_planned_anew_by_its_own_rule(
    stage: Stage, rules: tuple[StockGroup, StockGroup], owner: int
) -> None:
    pool = Pool.get(Pool.group == rules[owner].id)
    cell = Cell.get((Cell.pool == pool.id) & (Cell.deposit == stage.deposit("matriz", SHELF).id))
    StockWrite.create(
        organization=stage.organization,
        cell_id=cell.id,
        account=cell.account_id,
        product=cell.product_id,
        deposit=cell.deposit_id,
        purpose="write_back",
        quantity=-1,
        before=8,
        state="planned",
        lease="of a worker that died",
        planned_at=utcnow(),
    )
    mark_dirty(stage.organization.id, ["CANECA"], priority=Priority.LIVE, needs_look=True)

    stage.settle()

    assert stage.physical("matriz", "CANECA") == 7
    assert stage.shown("filial", "CANECA") == stage.shown("avulsa", "CANECA") == 7
