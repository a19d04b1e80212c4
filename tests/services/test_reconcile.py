"""The check of everything: in small steps that may stop anywhere, once per interval; it tells what nobody announced."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from peewee import Database

import db
from clock import utcnow
from config import Config
from jobs.scheduler import TICK_EVERY_S
from models import DirtySku, Organization, Product, Run, RunItem, RunType
from sandbox import Bling
from services import reconcile
from services.runs import SCAN_ENDED, start_run
from tests.factories import make_organization
from tests.stage import SHELF, SHOP, Stage, staged

FULL = {"matriz": {SHELF: 8, SHOP: 0}, "filial": {SHELF: 5, SHOP: 3}}
SKUS = ("BONE", "CANECA", "LENCO")


@pytest.fixture
def stage(database: Database, config: Config, bling: Bling) -> Iterator[Stage]:
    with staged(config, bling, dict.fromkeys(SKUS, FULL), window_s=0, accounts=("matriz", "filial")) as stage:
        stage.rule([("matriz", SHELF), ("filial", SHELF)], [("matriz", SHOP), ("filial", SHOP)])
        stage.deliver()
        yield stage


def check(stage: Stage, type_: RunType = RunType.CRON) -> Run:
    return start_run(stage.organization, type_, skus=None)


def fresh(run: Run) -> Run:
    return Run.get_by_id(run.id)


def test_it_counts_what_no_event_had_announced(stage: Stage) -> None:
    stage.bling.faults.set("webhook_lost", 1.0)
    stage.bling.sell("filial", "CANECA", 2, SHOP)
    stage.bling.receive("matriz", "BONE", 2, SHELF)
    stage.bling.faults.clear()
    stage.bling.sell("matriz", "LENCO", 1, SHELF)
    stage.deliver(settle=False)

    run = check(stage)
    reconcile.scan(run.id)

    run = fresh(run)
    assert (run.considered, run.unchanged, run.unannounced, run.total) == (3, 0, 2, 3)
    stage.settle()
    assert fresh(run).status == "ok"
    assert [stage.shown(account, sku) for account in ("matriz", "filial") for sku in SKUS] == [15, 11, 12] * 2


def test_a_second_check_finds_nothing(stage: Stage) -> None:
    stage.bling.faults.set("webhook_lost", 1.0)
    stage.bling.sell("filial", "CANECA", 2, SHOP)
    check(stage)
    stage.settle()
    written = stage.writes()

    run = check(stage)
    stage.settle()

    run = fresh(run)
    assert (run.status, run.considered, run.unchanged, run.unannounced) == ("ok", 3, 3, 0)
    assert stage.writes() == written
    assert RunItem.select().where(RunItem.run == run.id).count() == 0


def test_it_goes_on_where_it_stopped(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "STEP", 1)
    run = check(stage)
    seen: list[str | None] = []

    while not reconcile.scan(run.id, turn_s=0):
        seen.append(fresh(run).cursor)

    assert seen == ["BONE", "CANECA", "LENCO"]
    run = fresh(run)
    assert (run.cursor, run.considered, run.unchanged, run.status) == (SCAN_ENDED, 3, 3, "ok")


def test_another_worker_goes_on_after_one_that_died(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "STEP", 1)
    run = check(stage)
    reconcile.scan(run.id, turn_s=0)
    held = {"lease": "dead", "lease_until": utcnow() + timedelta(seconds=30)}
    Run.update(held).where(Run.id == run.id).execute()

    assert reconcile.scan(run.id)
    assert fresh(run).considered == 1, "the dead one's lease still holds"

    Run.update(lease_until=utcnow() - timedelta(seconds=1)).where(Run.id == run.id).execute()
    reconcile.scan(run.id)
    assert (fresh(run).considered, fresh(run).status) == (3, "ok")


def test_who_lost_its_lease_moves_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lease ends while it reads balances, and another worker does the step."""
    run = check(stage)
    stage.bling.faults.set("webhook_lost", 1.0)
    stage.bling.sell("filial", "CANECA", 2, SHOP)
    read = reconcile.read_balances
    late: list[bool] = []

    def read_slowly(*args: object) -> object:
        readings = read(*args)
        if not late:
            late.append(True)
            Run.update(lease_until=utcnow() - timedelta(seconds=1)).where(Run.id == run.id).execute()
            reconcile.scan(run.id)
        return readings

    monkeypatch.setattr(reconcile, "read_balances", read_slowly)

    assert reconcile.scan(run.id) is False
    run = fresh(run)
    assert (run.considered, run.unannounced) == (3, 1)
    assert RunItem.select().where(RunItem.run == run.id).count() == 1


def test_a_catalogue_that_takes_longer_than_the_lease_keeps_it(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "SCAN_LEASE", timedelta(seconds=0.5))
    monkeypatch.setattr(reconcile, "RENEW_EVERY_S", 0.05)
    run = check(stage)
    taken_over: list[bool] = []
    refresh = reconcile.refresh_account

    def refresh_slowly(*args: object) -> object:
        if not taken_over:
            time.sleep(1)
            taken_over.append(reconcile._claim(run.id) is not None)
        return refresh(*args)

    monkeypatch.setattr(reconcile, "refresh_account", refresh_slowly)

    assert reconcile.scan(run.id)
    assert taken_over == [False]
    assert fresh(run).considered == 3


def test_a_dead_workers_check_is_taken_over_within_a_minute() -> None:
    """Lease, sweep, and the time that the work itself takes."""
    assert reconcile.SCAN_LEASE + timedelta(seconds=TICK_EVERY_S) < timedelta(seconds=50)


def test_it_learns_of_new_products_first(stage: Stage) -> None:
    stage.bling.add_product("matriz", "NOVO", stock={SHELF: 4, SHOP: 0}, announce=False)

    check(stage)
    stage.settle()

    assert stage.shown("matriz", "NOVO") == 4


def test_once_a_day_it_sees_products_that_vanished(stage: Stage) -> None:
    stage.bling.faults.set("webhook_lost", 1.0)
    stage.bling.delete_product("filial", "BONE")
    for account in stage.accounts.values():
        account.catalog_at = utcnow() - timedelta(hours=25)
        account.save()

    check(stage)
    stage.settle()

    [gone] = Product.select().where((Product.sku == "BONE") & (Product.situation == "deleted"))
    assert gone.account == stage.accounts["filial"]


def test_an_account_that_is_down_stops_neither_check_nor_others(stage: Stage) -> None:
    stage.bling.faults.set("forbidden", 1.0, account="filial")
    stage.bling.faults.set("webhook_lost", 1.0)
    stage.bling.sell("matriz", "CANECA", 2, SHELF)

    run = check(stage)
    stage.settle()

    assert stage.shown("matriz", "CANECA") == 11
    items = {item.sku: (item.status, item.error) for item in RunItem.select().where(RunItem.run == run.id)}
    assert items == {"CANECA": ("partial", "forbidden")}
    assert (fresh(run).status, fresh(run).unread) == ("partial", 3)


def test_it_gives_way_to_sales(stage: Stage) -> None:
    stage.bling.faults.set("webhook_lost", 1.0)
    stage.bling.sell("filial", "CANECA", 2, SHOP)
    stage.bling.faults.clear()
    run = check(stage)
    reconcile.scan(run.id)
    stage.bling.sell("filial", "LENCO", 1, SHOP)
    stage.deliver(settle=False)

    assert [dirty.sku for dirty in DirtySku.select().order_by(DirtySku.priority)] == ["LENCO", "CANECA"]


def test_what_a_person_checked_lists_the_skus_that_cannot_be_synchronized(stage: Stage) -> None:
    stage.bling.add_product("filial", "CANECA-KIT", components={"CANECA": 2})
    stage.deliver()

    manual, periodic = check(stage, RunType.MANUAL), check(stage, RunType.CRON)
    stage.settle()

    listed = {item.sku: (item.status, item.error) for item in RunItem.select().where(RunItem.run == manual.id)}
    assert listed == {"CANECA-KIT": ("skipped", "composition")}
    assert RunItem.select().where(RunItem.run == periodic.id).count() == 0


def test_of_many_who_see_that_it_is_due_one_takes_it(database: Database) -> None:
    loja = make_organization(next_reconcile_at=utcnow() - timedelta(minutes=1), reconcile_every_minutes=5)
    start = threading.Barrier(4)
    taken: list[bool] = []

    def take() -> None:
        with db.connection():
            start.wait()
            taken.append(reconcile.claim_reconcile(loja))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(taken) == [False, False, False, True]
    next_at = Organization.get_by_id(loja.id).next_reconcile_at
    assert timedelta(minutes=4, seconds=50) < next_at - utcnow() <= timedelta(minutes=5)
    assert reconcile.due_organizations() == []
