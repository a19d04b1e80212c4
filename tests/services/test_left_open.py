"""What a look could not settle stands in the books until the next look, for whoever asks where a number comes from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from peewee import Database

from config import Config
from models import Cell, RunType
from sandbox import Bling
from services import inbox, settle
from services.runs import start_run
from tests.stage import SHELF, SHOP, Stage, staged

CANECA = {"matriz": {SHELF: 8, SHOP: 0}, "filial": {SHELF: 5, SHOP: 3}, "avulsa": {SHELF: 0, SHOP: 0}}


@pytest.fixture
def stage(database: Database, config: Config, bling: Bling) -> Iterator[Stage]:
    with staged(config, bling, {"CANECA": CANECA}, window_s=2) as stage:
        stage.rule()
        yield stage


def cell(stage: Stage, account: str, name: str) -> Cell:
    return Cell.get(Cell.deposit == stage.deposit(account, name).id)


def test_a_difference_that_is_put_off_is_kept_with_its_moment_and_its_doubt(stage: Stage) -> None:
    stage.bling.faults.set("webhook_lost", 1.0)
    stage.bling.receive("matriz", "CANECA", 1, SHELF)
    start_run(stage.organization, RunType.MANUAL, skus=["CANECA"])
    stage.settle()
    stage.bling.sell("avulsa", "CANECA", 2, SHOP)
    start_run(stage.organization, RunType.MANUAL, skus=["CANECA"])
    inbox.sort_inbox(stage.organization.id)
    settle.settle_due(stage.organization.id)

    open_ = cell(stage, "avulsa", SHOP)
    assert (open_.put_off, open_.doubt) == (-2, -2)
    assert open_.put_off_until is not None
    calm = cell(stage, "filial", SHOP)
    assert (calm.put_off, calm.put_off_until, calm.doubt) == (None, None, None)

    stage.settle()
    settled = cell(stage, "avulsa", SHOP)
    assert (settled.put_off, settled.put_off_until, settled.doubt) == (None, None, None)
    assert stage.shown("avulsa", "CANECA") == 12


def test_a_source_that_cannot_be_read_says_so_in_the_books(stage: Stage) -> None:
    stage.bling.faults.set("forbidden", 1.0, account="filial")
    start_run(stage.organization, RunType.MANUAL, skus=["CANECA"])
    stage.settle()

    assert cell(stage, "filial", SHELF).problem == "forbidden"

    stage.bling.faults.clear()
    start_run(stage.organization, RunType.MANUAL, skus=["CANECA"])
    stage.settle()
    assert cell(stage, "filial", SHELF).problem is None
