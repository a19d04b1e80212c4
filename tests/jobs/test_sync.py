"""The jobs that settle: twice, late or side by side they end the same, and they say when to come back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from peewee import Database
from redis import Redis

import db
import queues
from clock import utcnow
from config import Config
from jobs import sync
from models import DirtySku, Event, Run, RunItem, RunType
from sandbox import Bling
from services.dirty import claim_dirty, mark_dirty
from services.runs import start_run
from tests.jobs.conftest import queue_length
from tests.stage import SHELF, SHOP, Stage, staged

FULL = {"matriz": {SHELF: 8, SHOP: 0}, "filial": {SHELF: 5, SHOP: 3}}


@pytest.fixture
def stage(database: Database, redis: Redis, config: Config, bling: Bling) -> Iterator[Stage]:
    with staged(config, bling, {"CANECA": FULL, "BONE": FULL}, window_s=0, accounts=("matriz", "filial")) as stage:
        stage.rule([("matriz", SHELF), ("filial", SHELF)], [("matriz", SHOP), ("filial", SHOP)])
        stage.deliver()
        redis.flushall()
        yield stage


def shown(stage: Stage, sku: str = "CANECA") -> list[object]:
    return [stage.shown(account, sku) for account in ("matriz", "filial")]


def deliver(stage: Stage) -> None:
    stage.deliver(settle=False)


def test_a_drain_settles_everything_that_is_due_and_a_second_one_nothing(stage: Stage) -> None:
    stage.bling.sell("matriz", "CANECA", 2, SHELF)
    stage.bling.add_product("matriz", "NOVO", stock={SHELF: 4, SHOP: 0})
    deliver(stage)

    sync.drain(stage.organization.id)
    after = (shown(stage), stage.shown("matriz", "NOVO"), stage.writes(), len(stage.calls()))
    sync.drain(stage.organization.id)

    assert after[:2] == ([11, 11], 4)
    assert (shown(stage), stage.shown("matriz", "NOVO"), stage.writes(), len(stage.calls())) == after
    assert DirtySku.select().count() == 0


def test_drains_side_by_side_write_everything_once(stage: Stage) -> None:
    for sku in ("CANECA", "BONE"):
        stage.bling.sell("filial", sku, 2, SHOP)
    deliver(stage)
    written = stage.writes()
    start = threading.Barrier(3)

    def work() -> None:
        start.wait()
        sync.drain(stage.organization.id)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (shown(stage, "CANECA"), shown(stage, "BONE")) == ([11, 11], [11, 11])
    assert stage.writes() == written + 4


def test_a_drain_takes_its_wake_up_first(stage: Stage, redis: Redis) -> None:
    """So that whatever is marked while it works wakes anew."""
    deliver(stage)
    queues.kick(stage.organization.id)
    sync.drain(stage.organization.id)
    redis.delete(f"rq:queue:{queues.LIVE}")

    stage.bling.sell("matriz", "CANECA", 1, SHELF)
    deliver(stage)

    assert queue_length(redis, queues.LIVE) == 1


def test_a_drain_says_when_to_come_back(stage: Stage, redis: Redis) -> None:
    due_at = utcnow() + timedelta(seconds=40)
    mark_dirty(stage.organization.id, ["CANECA"], priority=0, needs_look=True, due_at=due_at)

    for _ in range(2):
        sync.drain(stage.organization.id)

    planned = redis.zrange("rq:scheduler:scheduled_jobs", 0, -1, withscores=True)
    assert [0 <= score - due_at.timestamp() <= 1 for _, score in planned] == [True]
    assert queue_length(redis, queues.LIVE) == 0


def test_a_drain_leaves_to_others_what_they_hold(stage: Stage, redis: Redis) -> None:
    mark_dirty(stage.organization.id, ["CANECA"], priority=0, needs_look=True)
    claim_dirty(stage.organization.id, 1)
    before = len(stage.calls())

    sync.drain(stage.organization.id)

    assert len(stage.calls()) == before
    assert DirtySku.get().lease is not None
    assert queue_length(redis, queues.LIVE) == 0


def test_a_drain_of_nobody_does_nothing(stage: Stage, redis: Redis) -> None:
    sync.drain("0" * 32)

    assert queue_length(redis, queues.LIVE) == 0


def test_a_scan_that_runs_twice_finds_everything_once(stage: Stage) -> None:
    stage.bling.faults.set("webhook_lost", 1.0)
    stage.bling.sell("filial", "CANECA", 2, SHOP)
    run = start_run(stage.organization, RunType.CRON, skus=None)

    sync.scan(run.id)
    calls = len(stage.calls())
    sync.scan(run.id)
    assert len(stage.calls()) == calls
    sync.drain(stage.organization.id)
    sync.scan(run.id)

    run = Run.get_by_id(run.id)
    assert (run.status, run.considered, run.unannounced, run.unchanged) == ("ok", 2, 1, 1)
    assert [item.sku for item in RunItem.select().where(RunItem.run == run.id)] == ["CANECA"]
    assert shown(stage) == [11, 11]


def test_scans_side_by_side_are_one(stage: Stage) -> None:
    run = start_run(stage.organization, RunType.CRON, skus=None)
    before = len(stage.bling.requests(path="/estoques/saldos"))
    start = threading.Barrier(3)

    def work() -> None:
        start.wait()
        sync.scan(run.id)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    run = Run.get_by_id(run.id)
    assert (run.status, run.considered, run.unchanged) == ("ok", 2, 2)
    assert len(stage.bling.requests(path="/estoques/saldos")) == before + 2


def test_a_scan_of_a_run_that_is_gone_does_nothing(stage: Stage) -> None:
    sync.scan("0" * 32)


def test_jobs_open_and_close_their_own_connection(stage: Stage) -> None:
    """As in a worker, where nothing is open before and nothing may be left open after."""
    stage.bling.sell("matriz", "CANECA", 2, SHELF)
    deliver(stage)
    seen: list[bool] = []

    def work() -> None:
        sync.drain(stage.organization.id)
        seen.append(db.database.is_closed())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert seen == [True]
    assert shown(stage) == [11, 11]
    assert "pending" not in {event.state for event in Event.select()}
