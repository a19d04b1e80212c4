"""The sweep: work that lost its wake-up is found, due checks start once, and two sweeps at once are as good as one."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
import time_machine
from peewee import Database
from redis import Redis
from rq import Queue

import db
import queues
from clock import utcnow
from devserver.redis_server import RedisProcess
from jobs.schedule import FORGOTTEN_AFTER, GRACE, tick
from models import DirtySku, Event, Organization, Run, RunType, StockWrite
from services.dirty import LEASE, claim_dirty
from services.runs import SCAN_ENDED
from tests.factories import (
    make_account,
    make_cell,
    make_deposit,
    make_dirty,
    make_event,
    make_group,
    make_item,
    make_organization,
    make_pool,
    make_product,
    make_run,
    make_write,
)

pytestmark = [pytest.mark.usefixtures("database", "redis"), pytest.mark.both_databases]


@pytest.fixture
def loja(database: Database) -> Organization:
    return make_organization()


@pytest.fixture
def later() -> timedelta:
    """As long as it takes until the sweep cares for what was left now."""
    return GRACE + timedelta(seconds=1)


def woken(redis: Redis, queue: str = queues.LIVE) -> list[tuple[str, tuple[object, ...]]]:
    return [(job.func_name, tuple(job.args)) for job in Queue(queue, connection=redis).jobs]


def tick_in(wait: timedelta) -> None:
    with time_machine.travel(utcnow() + wait, tick=False):
        tick()


def test_forgotten_skus_wake_their_merchant(loja: Organization, redis: Redis, later: timedelta) -> None:
    make_dirty(loja, "CANECA")
    make_dirty(loja, "BONE")
    queues.kick(loja.id)
    redis.delete(f"rq:queue:{queues.LIVE}")  # The wake-up is noted, but got lost.

    tick_in(later)

    assert woken(redis) == [("jobs.sync.drain", (loja.id,))]


def test_what_has_a_wake_up_on_its_way_is_left_to_it(loja: Organization, redis: Redis) -> None:
    make_dirty(loja, "CANECA")
    make_dirty(loja, "BONE", due_at=utcnow() + timedelta(hours=1))

    tick()

    assert woken(redis) == []


def test_skus_that_somebody_settles_are_left_to_him_until_his_lease_ends(loja: Organization, redis: Redis) -> None:
    make_dirty(loja, "CANECA")
    claim_dirty(loja.id, 1)

    tick_in(LEASE - timedelta(seconds=1))
    assert woken(redis) == []

    tick_in(LEASE + timedelta(seconds=1))
    assert woken(redis) == [("jobs.sync.drain", (loja.id,))]


def test_pending_events_without_a_sku_wake_their_merchant(loja: Organization, redis: Redis, later: timedelta) -> None:
    account = make_account(loja)
    make_event(account, "product.updated", state="pending")
    make_event(make_account(), "order.created", state="kept")
    make_event(make_account(), "product.updated", state="processed")

    tick_in(later)

    assert woken(redis) == [("jobs.sync.drain", (loja.id,))]


def test_events_of_nobody_wake_nobody(loja: Organization, redis: Redis, later: timedelta) -> None:
    event = make_event(make_account(loja), state="pending")
    Event.update(organization=None, account=None).where(Event.id == event.id).execute()

    tick_in(later)

    assert woken(redis) == []


@pytest.mark.parametrize(
    ("values", "is_stalled"),
    [
        ({"status": "queued"}, True),
        ({"status": "running", "cursor": "CANECA"}, True),
        ({"status": "running", "cursor": "CANECA", "lease": "dead", "lease_until": timedelta(seconds=-1)}, True),
        ({"status": "running", "cursor": "CANECA", "lease": "busy", "lease_until": timedelta(seconds=60)}, False),
        ({"status": "running", "cursor": SCAN_ENDED}, False),
        ({"status": "ok", "cursor": SCAN_ENDED}, False),
        ({"status": "queued", "scope": "skus"}, False),
    ],
)
def test_a_stalled_check_goes_on(
    loja: Organization, redis: Redis, later: timedelta, values: dict[str, object], is_stalled: bool
) -> None:
    until = values.get("lease_until")
    if isinstance(until, timedelta):
        values = {**values, "lease_until": utcnow() + until}
    run = make_run(loja, RunType.CRON, **{"scope": "all", **values})

    tick_in(later)

    assert woken(redis, queues.BULK) == ([("jobs.sync.scan", (run.id,))] if is_stalled else [])


def test_what_is_open_and_in_nobodys_hands_is_taken_up(loja: Organization, redis: Redis) -> None:
    """A process may die, or learn of its outcome, where nobody thought of it."""
    account = make_account(loja)
    long_ago = utcnow() - FORGOTTEN_AFTER - timedelta(seconds=1)
    make_event(account, sku="EVENTO", state="pending", received_at=long_ago)
    run = make_run(loja, RunType.MANUAL, status="running", created_at=long_ago)
    make_item(run, "ITEM", status="retry")
    deposit, group = make_deposit(account), make_group(loja, [], [])
    for state in ("planned", "sending", "confirmed", "unknown"):
        product = make_product(account, state)
        write = make_write(make_cell(make_pool(group, state), product, deposit), 3, state=state)
        StockWrite.update(planned_at=long_ago).where(StockWrite.id == write.id).execute()

    tick()

    marked = {row.sku: row.needs_look for row in DirtySku.select()}
    assert marked == dict.fromkeys(("EVENTO", "ITEM", "planned", "sending"), True)
    assert woken(redis) == [("jobs.sync.drain", (loja.id,))]


def test_what_is_in_somebodys_hands_or_waits_for_a_person_is_left_alone(loja: Organization, redis: Redis) -> None:
    account = make_account(loja)
    long_ago = utcnow() - FORGOTTEN_AFTER - timedelta(seconds=1)
    make_event(account, sku="NOVO", state="pending")
    make_event(account, sku="CANECA", state="pending", received_at=long_ago)
    make_dirty(loja, "CANECA", due_at=utcnow() + timedelta(hours=1))
    held = make_run(loja, RunType.CRON, status="held", created_at=long_ago)
    make_item(held, "RETIDO", status="queued")
    running = make_run(loja, RunType.CRON, status="running", created_at=long_ago)
    make_item(running, "RETIDO", status="held", finished_at=None)

    tick()

    assert [row.sku for row in DirtySku.select()] == ["CANECA"]
    assert woken(redis) == []


def test_a_check_that_just_began_is_left_to_its_wake_up(loja: Organization, redis: Redis) -> None:
    make_run(loja, RunType.CRON, scope="all", status="queued")

    tick()

    assert woken(redis, queues.BULK) == []


def test_each_merchant_is_checked_at_his_own_interval(database: Database, redis: Redis) -> None:
    now = utcnow().replace(microsecond=0)
    often = make_organization(reconcile_every_minutes=5, next_reconcile_at=now)
    seldom = make_organization(reconcile_every_minutes=60, next_reconcile_at=now)
    checks = {often.id: 0, seldom.id: 0}

    with time_machine.travel(now, tick=False) as clock:
        for _ in range(12 * 10):
            tick()
            for run in Run.select().where(Run.finished_at.is_null()):
                checks[run.organization_id] += 1
                assert (run.type, run.scope, run.reason) == ("cron", "all", "schedule")
                Run.update(finished_at=utcnow(), status="ok").where(Run.id == run.id).execute()
            clock.shift(60)

    assert checks == {often.id: 24, seldom.id: 2}


def test_two_sweeps_at_once_start_a_check_once(database: Database, redis: Redis) -> None:
    merchants = [make_organization(next_reconcile_at=utcnow() - timedelta(hours=5)) for _ in range(5)]
    start = threading.Barrier(3)

    def sweep() -> None:
        start.wait()
        tick()

    threads = [threading.Thread(target=sweep) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(run.organization_id for run in Run.select()) == sorted(merchant.id for merchant in merchants)
    assert sorted(args for _, args in woken(redis, queues.BULK)) == sorted((run.id,) for run in Run.select())
    assert all(merchant.next_reconcile_at > utcnow() for merchant in Organization.select())


def test_checks_missed_while_nothing_ran_are_made_up_for_by_one(loja: Organization) -> None:
    Organization.update(next_reconcile_at=utcnow() - timedelta(days=3)).execute()

    tick()
    tick()

    assert Run.select().count() == 1


def test_a_check_that_has_not_begun_yet_is_not_doubled(loja: Organization) -> None:
    """Nobody scans, because no worker is alive; checks do not pile up."""
    for _ in range(3):
        Organization.update(next_reconcile_at=utcnow()).execute()
        tick()

    assert Run.select().count() == 1


def test_without_redis_the_check_is_stored_and_starts_when_it_is_back(
    loja: Organization, own_redis: RedisProcess, later: timedelta
) -> None:
    Organization.update(next_reconcile_at=utcnow()).execute()
    make_dirty(loja, "CANECA")
    own_redis.stop()
    tick()
    assert Run.select().count() == 1

    own_redis.start()
    tick_in(later)

    redis = Redis.from_url(own_redis.url)
    assert woken(redis, queues.BULK) == [("jobs.sync.scan", (Run.get().id,))]
    assert woken(redis, queues.LIVE) == [("jobs.sync.drain", (loja.id,))]


def test_it_runs_as_a_job_does_without_an_open_connection(loja: Organization, redis: Redis, later: timedelta) -> None:
    make_dirty(loja, "CANECA", due_at=utcnow() - later)
    closed: list[bool] = []

    def sweep() -> None:
        tick()
        closed.append(db.database.is_closed())

    thread = threading.Thread(target=sweep)
    thread.start()
    thread.join()

    assert closed == [True]
    assert woken(redis) == [("jobs.sync.drain", (loja.id,))]
    assert DirtySku.select().count() == 1
