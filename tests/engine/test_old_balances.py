"""Bling shows balances of some seconds ago: they are taken for no movement, raise nothing, and make no number flap.

The window is long and nobody waits: what a look finds at once is all that counts here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
from peewee import Database

from clock import utcnow
from config import Config
from models import Cell, DirtySku, Movement, Pool, Priority, StockWrite
from sandbox import Bling
from services import inbox, settle
from services.dirty import mark_dirty
from tests.stage import ACCOUNTS, SHELF, SHOP, Stage, look, set_window, staged

pytestmark = pytest.mark.both_databases
CANECA = {"matriz": {SHELF: 8, SHOP: 0}, "filial": {SHELF: 5, SHOP: 3}, "avulsa": {SHELF: 0, SHOP: 0}}
WINDOW_S = 60
SHOWN_FOR_S = 1.0


@pytest.fixture
def stage(database: Database, config: Config, bling: Bling, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """The sources hold 13, and every target shows them; from now on a balance may be a minute old."""
    with staged(config, bling, {"CANECA": CANECA}, window_s=0) as stage:
        stage.rule()
        look(stage)
        Cell.update(changed_at=None).execute()
        StockWrite.update(ended_at=utcnow() - timedelta(minutes=5)).execute()
        set_window(monkeypatch, config, WINDOW_S)
        # The past that an old balance tells of needs to have lasted.
        stage.organization.created_at = utcnow()
        time.sleep(SHOWN_FOR_S)
        yield stage


def shown(stage: Stage) -> set[Decimal]:
    """What the targets offer, and what the books say that there is to offer: one number."""
    return {*(stage.shown(account, "CANECA") for account in ACCOUNTS), Pool.get().available}


def one_look(stage: Stage) -> None:
    """What a check does that happens to come by, with all that was told so far."""
    while stage.bling.pump():
        pass
    inbox.sort_inbox(stage.organization.id)
    mark_dirty(stage.organization.id, ["CANECA"], priority=Priority.LIVE, needs_look=True)
    DirtySku.update(due_at=utcnow() - timedelta(seconds=1)).execute()
    settle.settle_due(stage.organization.id)


def grow_old(stage: Stage) -> None:
    """From now on Bling answers with the balances from before the test began."""
    since_s = (utcnow() - stage.organization.created_at).total_seconds()
    stage.bling.faults.set("stale", 1.0, seconds=since_s - SHOWN_FOR_S / 2)


def test_an_old_balance_after_our_own_writes_is_no_movement(stage: Stage) -> None:
    stage.bling.sell("matriz", "CANECA", 2, SHELF)
    one_look(stage)
    booked, written = Movement.select().count(), stage.writes()
    grow_old(stage)

    one_look(stage)

    assert shown(stage) == {11}
    assert (Movement.select().count(), stage.writes()) == (booked, written)


def test_an_old_balance_after_somebody_elses_entry_lowers_nothing(stage: Stage) -> None:
    stage.bling.receive("matriz", "CANECA", 4, SHELF)
    one_look(stage)
    assert shown(stage) == {17}
    grow_old(stage)

    one_look(stage)

    assert shown(stage) == {17}
    assert [movement.quantity for movement in Movement.select()] == [4]


def test_an_old_balance_after_somebody_elses_sale_raises_nothing(stage: Stage) -> None:
    stage.bling.sell("avulsa", "CANECA", 4, SHOP)
    one_look(stage)
    assert shown(stage) == {9}
    grow_old(stage)

    one_look(stage)

    assert shown(stage) == {9}


def test_reservations_that_are_gone_from_an_old_balance_raise_nothing(stage: Stage) -> None:
    stage.bling.reserve("avulsa", "CANECA", 3, SHOP)
    one_look(stage)
    assert shown(stage) == {10}
    grow_old(stage)

    one_look(stage)

    assert shown(stage) == {10}
    row = DirtySku.get()
    assert row.needs_look
    assert timedelta(seconds=WINDOW_S - 20) < row.due_at - utcnow() <= timedelta(seconds=WINDOW_S)


def test_reservations_that_an_old_balance_still_shows_lower_nothing(stage: Stage) -> None:
    order = stage.bling.reserve("avulsa", "CANECA", 3, SHOP)
    one_look(stage)
    stage.bling.cancel(order.id)
    one_look(stage)
    assert shown(stage) == {13}, "an event said so"
    grow_old(stage)

    one_look(stage)

    assert shown(stage) == {13}


def test_a_sale_inside_the_window_counts_at_once_when_it_was_told(stage: Stage) -> None:
    stage.bling.sell("matriz", "CANECA", 2, SHELF)
    one_look(stage)
    stage.bling.sell("avulsa", "CANECA", 1, SHOP)

    one_look(stage)

    assert shown(stage) == {10}


def test_a_sale_inside_the_window_that_nobody_told_of_lowers_the_others_at_once(stage: Stage) -> None:
    stage.bling.sell("matriz", "CANECA", 2, SHELF)
    one_look(stage)
    stage.bling.faults.set("webhook_lost", 1.0)
    stage.bling.sell("avulsa", "CANECA", 1, SHOP)

    one_look(stage)

    assert shown(stage) == {10}
    assert DirtySku.get().due_at - utcnow() <= timedelta(seconds=WINDOW_S)
