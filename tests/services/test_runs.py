"""Runs: stored before anybody is told, over when their last item is, and as good as their worst."""

from __future__ import annotations

import threading

import pytest
from peewee import Database
from redis import Redis
from rq import Queue

import db
import queues
from clock import utcnow
from devserver.redis_server import RedisProcess
from models import DirtySku, Organization, Run, RunItem, RunType
from services.runs import SCAN_ENDED, finish_run_if_over, get_run, start_run
from tests.factories import make_account, make_item, make_organization, make_product, make_run, make_user

pytestmark = pytest.mark.usefixtures("database", "redis")


@pytest.fixture
def loja(database: Database) -> Organization:
    organization = make_organization()
    make_product(make_account(organization, "matriz"), "CANECA", name="Caneca azul")
    return organization


def woken(redis: Redis, queue: str) -> list[tuple[str, tuple[object, ...]]]:
    return [(job.func_name, tuple(job.args)) for job in Queue(queue, connection=redis).jobs]


def test_a_run_over_some_skus_lists_marks_and_wakes(loja: Organization, redis: Redis) -> None:
    ana = make_user(loja)

    run = start_run(loja, RunType.MANUAL, skus=[" CANECA ", "BONE", "CANECA", ""], user=ana, reason="person")

    run = Run.get_by_id(run.id)
    assert (run.status, run.scope, run.total, run.user, run.reason) == ("running", "skus", 2, ana, "person")
    items = {item.sku: (item.status, item.product_name) for item in RunItem.select()}
    assert items == {"CANECA": ("queued", "Caneca azul"), "BONE": ("queued", "")}
    assert {(dirty.sku, dirty.needs_look) for dirty in DirtySku.select()} == {("CANECA", True), ("BONE", True)}
    assert woken(redis, queues.LIVE) == [("jobs.sync.drain", (loja.id,))]


def test_a_run_over_everything_marks_nothing_by_itself(loja: Organization, redis: Redis) -> None:
    run = start_run(loja, RunType.CRON, skus=None)

    assert (run.status, run.scope, run.total) == ("queued", "all", None)
    assert DirtySku.select().count() == 0
    assert woken(redis, queues.BULK) == [("jobs.sync.scan", (run.id,))]


def test_what_a_person_asks_for_goes_before_the_clock_and_after_sales(loja: Organization) -> None:
    start_run(loja, RunType.CRON, skus=["C"])
    start_run(loja, RunType.MANUAL, skus=["B"])
    start_run(loja, RunType.WEBHOOK, skus=["A"])

    assert [dirty.sku for dirty in DirtySku.select().order_by(DirtySku.priority)] == ["A", "B", "C"]


def test_a_run_over_nothing_is_over(loja: Organization) -> None:
    run = start_run(loja, RunType.MANUAL, skus=[])

    run = Run.get_by_id(run.id)
    assert (run.status, run.finished_at is not None) == ("ok", True)


def test_nobody_is_told_of_a_run_that_was_rolled_back(loja: Organization, redis: Redis) -> None:
    with pytest.raises(ZeroDivisionError), db.database.atomic():
        start_run(loja, RunType.MANUAL, skus=["CANECA"])
        start_run(loja, RunType.CRON, skus=None)
        raise ZeroDivisionError

    assert (Run.select().count(), DirtySku.select().count()) == (0, 0)
    assert woken(redis, queues.LIVE) + woken(redis, queues.BULK) == []


def test_workers_are_told_only_after_the_commit(loja: Organization, redis: Redis) -> None:
    with db.database.atomic():
        start_run(loja, RunType.MANUAL, skus=["CANECA"])
        assert woken(redis, queues.LIVE) == []

    assert len(woken(redis, queues.LIVE)) == 1


def test_without_redis_it_is_stored_all_the_same(loja: Organization, own_redis: RedisProcess) -> None:
    own_redis.stop()

    start_run(loja, RunType.MANUAL, skus=["CANECA"])

    assert (Run.select().count(), DirtySku.select().count()) == (1, 1)


def test_a_check_that_has_not_begun_is_returned_instead_of_a_second_one(loja: Organization) -> None:
    first = start_run(loja, RunType.CRON, skus=None)

    assert start_run(loja, RunType.CRON, skus=None).id == first.id
    assert start_run(loja, RunType.MANUAL, skus=None).id != first.id
    assert start_run(make_organization(), RunType.CRON, skus=None).id != first.id


@pytest.mark.parametrize(("type_", "cursor", "is_another"), [
    (RunType.CRON, "CANECA", False),
    (RunType.MANUAL, "CANECA", True),
    (RunType.CRON, SCAN_ENDED, True),
    (RunType.MANUAL, SCAN_ENDED, True),
])  # fmt: skip
def test_the_clock_is_content_with_a_check_under_way_and_a_person_is_not(
    loja: Organization, type_: RunType, cursor: str, is_another: bool
) -> None:
    first = start_run(loja, type_, skus=None)
    Run.update(cursor=cursor, status="running").where(Run.id == first.id).execute()

    assert (start_run(loja, type_, skus=None).id != first.id) is is_another


def test_many_who_ask_for_everything_at_once_get_one_check(loja: Organization) -> None:
    start = threading.Barrier(4)
    ids: list[str] = []

    def ask() -> None:
        with db.connection():
            start.wait()
            ids.append(start_run(loja, RunType.MANUAL, skus=None).id)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(ids) == 4
    assert set(ids) == {Run.get().id}


@pytest.mark.parametrize(
    ("items", "status"),
    [
        ([], "ok"),
        (["unchanged"], "ok"),
        (["ok", "unchanged"], "ok"),
        (["skipped", "missing", "dup"], "skipped"),
        (["ok", "skipped"], "ok"),
        (["ok", "partial"], "partial"),
        (["ok", "review"], "partial"),
        (["failed"], "failed"),
        (["failed", "ok"], "partial"),
        (["failed", "skipped"], "failed"),
    ],
)
def test_a_run_is_as_good_as_its_worst_item(loja: Organization, items: list[str], status: str) -> None:
    run = make_run(loja, RunType.MANUAL, status="running")
    for number, item in enumerate(items):
        make_item(run, f"SKU-{number}", status=item, finished_at=utcnow())

    finish_run_if_over(run.id)

    run = Run.get_by_id(run.id)
    assert (run.status, run.finished_at is not None) == (status, True)


@pytest.mark.parametrize("waits", ["queued", "running", "retry", "held"])
def test_a_run_is_not_over_before_its_last_item(loja: Organization, waits: str) -> None:
    run = make_run(loja, RunType.MANUAL, status="queued")
    make_item(run, "A", status="failed", finished_at=utcnow())
    item = make_item(run, "B", status=waits, finished_at=None)

    finish_run_if_over(run.id)
    status = "held" if waits == "held" else "running"
    assert (Run.get_by_id(run.id).status, Run.get_by_id(run.id).finished_at) == (status, None)

    RunItem.update(status="ok").where(RunItem.id == item.id).execute()
    finish_run_if_over(run.id)
    assert Run.get_by_id(run.id).status == "partial"


def test_a_check_of_everything_is_not_over_before_its_scan(loja: Organization) -> None:
    run = make_run(loja, RunType.CRON, status="running", scope="all", cursor="CANECA")
    finish_run_if_over(run.id)
    assert Run.get_by_id(run.id).finished_at is None

    Run.update(cursor=SCAN_ENDED).where(Run.id == run.id).execute()
    finish_run_if_over(run.id)
    assert Run.get_by_id(run.id).status == "ok"


def test_of_two_items_that_end_at_once_the_later_ends_the_run(loja: Organization) -> None:
    """Neither transaction sees the other's item end; so the second one has to wait for the first."""
    run = make_run(loja, RunType.MANUAL, status="running")
    first, second = (make_item(run, sku, status="running", finished_at=None) for sku in ("A", "B"))

    def end(item: RunItem) -> None:
        RunItem.update(status="ok", finished_at=utcnow()).where(RunItem.id == item.id).execute()
        finish_run_if_over(run.id)

    def end_second() -> None:
        with db.connection(), db.database.atomic():
            end(second)

    thread = threading.Thread(target=end_second)
    with db.database.atomic():
        end(first)
        thread.start()
        thread.join(0.3)
    thread.join()

    assert Run.get_by_id(run.id).status == "ok"


def test_a_run_that_is_over_stays_as_it_ended(loja: Organization) -> None:
    run = make_run(loja, RunType.MANUAL, status="partial")
    make_item(run, "A", status="failed", finished_at=utcnow())
    ended = Run.select().where(Run.id == run.id).dicts().get()

    finish_run_if_over(run.id)

    assert Run.select().where(Run.id == run.id).dicts().get() == ended


def test_a_run_of_another_merchant_does_not_exist(loja: Organization) -> None:
    run = start_run(loja, RunType.MANUAL, skus=["CANECA"])

    assert get_run(loja, run.id) == run
    assert get_run(make_organization(), run.id) is None
