"""A sale does not wait for the writes of a check of everything."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from peewee import Database

import db
from config import Config
from models import DirtySku, Priority, StockWrite
from sandbox import Bling
from services.dirty import claim_dirty, mark_dirty
from services.settle import SENDERS, settle_due
from tests.stage import SHELF, SHOP, Stage, staged

SKUS = [f"SKU-{number:02}" for number in range(4 * SENDERS)]
STOCK = {account: {SHELF: 5 if account == "matriz" else 0, SHOP: 0} for account in ("matriz", "filial", "avulsa")}


@pytest.fixture
def stage(database: Database, config: Config, bling: Bling) -> Iterator[Stage]:
    with staged(config, bling, dict.fromkeys([*SKUS, "CANECA"], STOCK)) as stage:
        stage.rule([("matriz", SHELF)], [("filial", SHOP), ("avulsa", SHOP)])
        stage.deliver()
        yield stage


def test_live_skus_are_taken_by_themselves(stage: Stage) -> None:
    mark_dirty(stage.organization.id, SKUS[:3], priority=Priority.MANUAL, needs_look=True)
    mark_dirty(stage.organization.id, ["CANECA"], priority=Priority.LIVE, needs_look=True)

    assert [claim.sku for claim in claim_dirty(stage.organization.id, 100)] == ["CANECA"]
    assert [claim.sku for claim in claim_dirty(stage.organization.id, 100)] == SKUS[:3]


def test_a_batch_that_nobody_waits_for_gives_way_to_a_sale(stage: Stage) -> None:
    stage.bling.faults.set("webhook_lost", 1.0)
    for sku in SKUS:
        stage.bling.receive("matriz", sku, 1, SHELF)
    stage.bling.faults.clear()
    mark_dirty(stage.organization.id, SKUS, priority=Priority.MANUAL, needs_look=True)
    written = StockWrite.select().count()
    sold = threading.Event()

    def sell() -> bool:
        if not sold.is_set():
            sold.set()
            with db.connection():
                mark_dirty(stage.organization.id, ["CANECA"], priority=Priority.LIVE, needs_look=True)
        return False

    settle_due(stage.organization.id, should_stop=sell)

    confirmed = StockWrite.select().where(StockWrite.state == "confirmed").count() - written
    assert 0 < confirmed <= 2 * 2 * SENDERS
    assert DirtySku.select().where(DirtySku.lease.is_null(False)).count() == 0
    assert [claim.sku for claim in claim_dirty(stage.organization.id, 100)] == ["CANECA"]


def test_what_gave_way_is_settled_afterwards(stage: Stage) -> None:
    test_a_batch_that_nobody_waits_for_gives_way_to_a_sale(stage)
    DirtySku.update(lease=None, lease_until=None).execute()

    stage.settle()

    assert {stage.shown(account, sku) for sku in SKUS for account in ("filial", "avulsa")} == {6}
