"""Runs: what set a synchronization going, what it did with each SKU, and when it is over.

A run over some SKUs marks them dirty at once. A run over everything is a scan (services/reconcile.py) that marks
only what differs. Either ends when its last item has ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from peewee import chunked, fn

import queues
from clock import utcnow
from core.skus import Problem
from db import after_commit, database
from ids import new_id
from models import Cell, Event, Organization, Pool, Priority, Product, Run, RunItem, RunType, User
from services.dirty import mark_dirty

SCAN_ENDED = "\uffff"
# How many open runs one sweep looks at; more of them wait for the next one.
FORGOTTEN = 50
UNFINISHED = ("queued", "running", "retry", "held")
# From the best to the worst: a run is as good as its worst item.
_SEVERITY = ("unchanged", "ok", "skipped", "missing", "dup", "partial", "review", "failed")
_RUN_STATUS = {"unchanged": "ok", "ok": "ok", "skipped": "skipped", "missing": "skipped", "dup": "skipped",
               "partial": "partial", "review": "partial", "failed": "failed"}  # fmt: skip
_SKIPPED: dict[str, str] = {Problem.DUPLICATE: "dup", Problem.DELETED: "missing"}
_PRIORITY = {RunType.WEBHOOK: Priority.LIVE, RunType.MANUAL: Priority.MANUAL, RunType.CRON: Priority.CRON}


def skipped_status(reason: str) -> str:
    """The status of an item whose SKU was left alone for this reason."""
    return _SKIPPED.get(reason, "skipped")


def start_run(
    organization: Organization,
    type: RunType,
    *,
    skus: Sequence[str] | None,
    user: User | None = None,
    reason: str | None = None,
) -> Run:
    """Start a synchronization of these SKUs, or with None of everything, and return at once.

    It is stored before any worker is told, so it happens also when Redis is away. A check of everything that has not
    begun yet, for the clock also one under way, is returned instead of a second one.
    """
    now = utcnow()
    with database.atomic():
        if skus is None:
            Organization.update(name=Organization.name).where(Organization.id == organization.id).execute()
            begun = Run.cursor.is_null(False) & (Run.cursor != SCAN_ENDED)
            open_run = (
                Run.select()
                .where(
                    (Run.organization == organization.id)
                    & (Run.scope == "all")
                    & (Run.type == type)
                    & Run.finished_at.is_null()
                    # A person wants everything checked from now on; the clock is content with the check under way.
                    & (Run.cursor.is_null() | begun if type == RunType.CRON else Run.cursor.is_null())
                )
                .first()
            )
            if open_run is not None:
                return open_run
        wanted = None if skus is None else sorted({sku.strip() for sku in skus if sku.strip()})
        if type == RunType.MANUAL:
            _forgive_refusals(organization.id, wanted)
        run = Run.create(
            organization=organization.id,
            type=type,
            status="queued",
            scope="all" if wanted is None else "skus",
            user=user.id if user is not None else None,
            reason=reason,
            total=None if wanted is None else len(wanted),
            created_at=now,
        )
        if wanted is not None:
            queue_items(run, wanted, now)
            mark_dirty(organization.id, wanted, priority=_PRIORITY[type], needs_look=True, now=now)
            finish_run_if_over(run.id, now)
        after_commit(lambda: wake(run))
    return run


def _forgive_refusals(organization_id: str, skus: Sequence[str] | None) -> None:
    """A person who asks for a synchronization has what Bling refused tried once more: the cause may be mended."""
    is_refused = (Cell.organization == organization_id) & (Cell.problem == Problem.REJECTED)
    if skus is None:
        Cell.update(problem=None).where(is_refused).execute()
        return
    for chunk in chunked(skus, 500):
        pools = Pool.select(Pool.id).where((Pool.organization == organization_id) & Pool.sku.in_(chunk))
        Cell.update(problem=None).where(is_refused & Cell.pool.in_(pools)).execute()


def wake(run: Run) -> None:
    """Tell the workers; the sweep does it again should this get lost."""
    if run.scope == "all":
        queues.enqueue("jobs.sync.scan", run.id, queue=queues.BULK)
    else:
        queues.kick(run.organization_id)


def queue_items(run: Run, skus: Iterable[str], now: datetime) -> None:
    """Put SKUs on the run's list, to be filled in when they are settled."""
    names = product_names(run.organization_id, skus := list(skus))
    rows = [
        {
            "id": new_id(),
            "organization": run.organization_id,
            "run": run.id,
            "group": None,
            "sku": sku,
            "product_name": names.get(sku, ""),
            "status": "queued",
            "created_at": now,
        }
        for sku in skus
    ]
    for chunk in chunked(rows, 200):
        RunItem.insert_many(chunk).execute()


def product_names(organization_id: str, skus: Sequence[str]) -> dict[str, str]:
    """A name for each SKU, from any account that knows it."""
    names: dict[str, str] = {}
    for chunk in chunked(skus, 500):
        rows = Product.select(Product.sku, fn.MIN(Product.name).alias("name")).where(
            (Product.organization == organization_id) & Product.sku.in_(chunk)
        )
        names.update({row.sku: row.name for row in rows.group_by(Product.sku)})
    return names


def open_webhook_run(organization_id: str, event: Event | None, now: datetime) -> Run:
    """The run that shows what an event brought about."""
    return Run.create(
        organization=organization_id,
        type=RunType.WEBHOOK,
        status="running",
        scope="skus",
        account=event.account_id if event is not None else None,
        event=event.id if event is not None else None,
        total=1,
        considered=1,
        created_at=now,
        started_at=now,
    )


def finish_run_if_over(run_id: str, now: datetime | None = None) -> None:
    """Close the run when its scan has ended and no item is open; otherwise say that it is under way."""
    now = now or utcnow()
    # The row's lock: of two transactions that end the last two items at once, the second has to see the first one's.
    is_open = (Run.id == run_id) & Run.finished_at.is_null()
    if Run.update(finished_at=None).where(is_open).execute() != 1:
        return
    run = Run.get_by_id(run_id)
    statuses = {
        row.status: row.count
        for row in RunItem.select(RunItem.status, fn.COUNT(RunItem.id).alias("count"))
        .where(RunItem.run == run_id)
        .group_by(RunItem.status)
    }
    scanning = run.scope == "all" and run.cursor != SCAN_ENDED
    if scanning or any(status in statuses for status in UNFINISHED):
        Run.update(status="running", started_at=fn.COALESCE(Run.started_at, Run.created_at)).where(is_open).execute()
        return
    worst = max(statuses, key=_SEVERITY.index, default="ok")
    status = _RUN_STATUS[worst]
    if status in ("failed", "skipped") and ("ok" in statuses or "unchanged" in statuses or run.unchanged):
        status = "partial" if status == "failed" else "ok"
    if run.unread and status == "ok":
        status = "partial"
    Run.update(
        status=status, finished_at=now, started_at=fn.COALESCE(Run.started_at, Run.created_at), lease=None
    ).where(is_open).execute()


def finish_forgotten(before: datetime) -> None:
    """Close runs that began before this moment and have nothing open any more; the net under everything else."""
    unfinished = Run.select(Run.id).where(Run.finished_at.is_null() & (Run.created_at <= before))
    for run in list(unfinished.order_by(Run.id).limit(FORGOTTEN)):
        with database.atomic():
            finish_run_if_over(run.id)


def get_run(organization: Organization, run_id: str) -> Run | None:
    """A run of this organization, None when there is none of that id."""
    return Run.get_or_none((Run.id == run_id) & (Run.organization == organization.id))
