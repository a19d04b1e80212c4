"""Many movements at once, webhooks doubled, late, out of order and lost; then one periodic check: the sums hold.

Several workers settle at the same time as merchants move stock, over real HTTP, on both databases.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

import pytest
from peewee import Database

import db
from config import Config
from models import Pool, RunType, StockWrite
from sandbox import Bling
from services import inbox, settle
from services.runs import start_run
from tests.stage import ACCOUNTS, SHELF, SHOP, Stage, staged

SEED = 20260302
MOVEMENTS = 300
QUIET_S = 30
SOURCES = (("matriz", SHELF), ("filial", SHELF))
TARGETS = tuple((account, SHOP) for account in ACCOUNTS)
SKUS = [f"SKU-{number:02}" for number in range(50)]


def products(chance: random.Random) -> dict[str, dict[str, dict[str, object]]]:
    return {
        sku: {account: {SHELF: chance.randint(0, 40), SHOP: chance.randint(0, 9)} for account in ACCOUNTS}
        for sku in SKUS
    }


@contextmanager
def workers(stage: Stage, count: int) -> Iterator[None]:
    """Workers that settle whatever is due, until the block ends."""
    ended = threading.Event()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with db.connection():
                while not ended.is_set():
                    inbox.sort_inbox(stage.organization.id)
                    if not settle.settle_due(stage.organization.id):
                        ended.wait(0.02)
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert not failures


def play(stage: Stage, chance: random.Random) -> None:
    """What merchants do: sell, receive, count, reserve, post and cancel, everywhere."""
    bling = stage.bling
    orders: list[int] = []
    for _ in range(MOVEMENTS):
        account, deposit = chance.choice(SOURCES + TARGETS)
        sku = chance.choice(SKUS)
        kind = chance.choices(("sell", "receive", "count", "reserve", "post", "cancel"), (40, 15, 8, 15, 12, 10))[0]
        if kind == "sell":
            bling.sell(account, sku, chance.randint(1, 4), deposit)
        elif kind == "receive":
            bling.receive(account, sku, chance.choice((1, 2, 5, 12)), deposit)
        elif kind == "count":
            bling.count(account, sku, chance.randint(0, 30), deposit)
        elif kind == "reserve" or not orders:
            orders.append(bling.reserve(account, sku, chance.randint(1, 3), deposit).id)
        elif kind == "post":
            bling.post(orders.pop(chance.randrange(len(orders))))
        else:
            bling.cancel(orders.pop(chance.randrange(len(orders))))
        time.sleep(0.005)


def baseline(stage: Stage) -> dict[str, Decimal]:
    return {sku: sum((stage.physical(*place_of(place, sku)) for place in SOURCES), Decimal(0)) for sku in SKUS}


def place_of(place: tuple[str, str], sku: str) -> tuple[str, str, str]:
    account, deposit = place
    return account, sku, deposit


def moved(stage: Stage, sku: str) -> Decimal:
    """Everything that others did to the SKU in any deposit of the rule."""
    places = {stage.deposit(account, name).bling_id for account, name in SOURCES + TARGETS}
    own = [m for m in stage.bling.movements(product=sku) if m.deposit_id in places and m.origin != "api"]
    return sum((movement.after - movement.before for movement in own), Decimal(0)) - initial(stage, sku)


def initial(stage: Stage, sku: str) -> Decimal:
    return stage.__dict__.setdefault("initial", {}).get(sku, Decimal(0))


def faulty(bling: Bling) -> None:
    bling.faults.set("webhook_lost", 0.30)
    bling.faults.set("webhook_duplicate", 0.20)
    bling.faults.set("webhook_reordered", 0.20, seconds=0.3)
    bling.faults.set("webhook_late", 0.10, seconds=0.5)


@pytest.mark.parametrize("seed", [SEED])
def test_nothing_is_lost_invented_or_oversold(database: Database, config: Config, bling: Bling, seed: int) -> None:
    chance = random.Random(seed)
    with staged(config, bling, products(chance), window_s=0.3) as stage:
        stage.rule(SOURCES, TARGETS)
        before = baseline(stage)
        stage.__dict__["initial"] = {sku: moved(stage, sku) for sku in SKUS}
        faulty(bling)
        bling.dispatcher.start()
        with workers(stage, 2):
            play(stage, chance)
            assert bling.wait_delivered(90)
        bling.dispatcher.stop()
        bling.faults.clear()
        stage.settle()

        run = start_run(stage.organization, RunType.CRON, skus=None)
        stage.settle()

        assert run is not None
        for sku in SKUS:
            expected = before[sku] + moved(stage, sku)
            held = sum((stage.physical(account, sku, name) for account, name in SOURCES), Decimal(0))
            reserved = sum(
                (bling.balance(account, sku, name).reserved for account, name in SOURCES + TARGETS), Decimal(0)
            )
            assert held == expected, sku
            shown = [stage.shown(account, sku, name) for account, name in TARGETS]
            assert shown == [max(Decimal(0), held - reserved)] * 3, sku
            assert Pool.get(Pool.sku == sku).owed == 0
        assert not StockWrite.select().where(StockWrite.state != "confirmed").exists()
        _stays_quiet(stage)


def _stays_quiet(stage: Stage) -> None:
    """Echoes are still coming in, and not one of them may lead to another write."""
    written = stage.writes()
    ends_at = time.monotonic() + QUIET_S
    while time.monotonic() < ends_at:
        stage.deliver()
        time.sleep(0.25)
    assert stage.writes() == written
