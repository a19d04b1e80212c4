"""Runs: what set a synchronization going, what it did with each SKU, and when it is over.

A run over a few SKUs marks them dirty at once. A run over everything, or over more SKUs than may be lowered unasked,
is a scan (services/reconcile.py) that marks them once it has ended and the guard agrees. Either ends when its last item
has ended.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from peewee import chunked, fn

import queues
from clock import utcnow
from core.skus import Problem
from db import after_commit, database
from ids import new_id
from models import (
    SCAN_ENDED,
    Cell,
    Event,
    Organization,
    Pool,
    Priority,
    Product,
    Run,
    RunDecision,
    RunItem,
    RunType,
    StockGroup,
    User,
)
from services.dirty import mark_dirty

# Why a run was started, where the guard has to know: the first run after a consent, and the one after a changed rule.
ACTIVATION, RULES = "activation", "rules"
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
    begun yet, for the clock also one under way, is returned instead of a second one; never for an activation, whose
    first run is covered by a consent of its own.
    """
    now = utcnow()
    with database.atomic():
        if skus is None and reason != ACTIVATION:
            Organization.update(name=Organization.name).where(Organization.id == organization.id).execute()
            begun = Run.cursor.is_null(False) & (Run.cursor != SCAN_ENDED)
            # A changed rule has a check of its own: what began before it did not begin with this rule.
            like = Run.reason == RULES if reason == RULES else Run.id.is_null(False)
            open_run = (
                Run.select()
                .where(
                    (Run.organization == organization.id)
                    & (Run.scope == "all")
                    & (Run.type == type)
                    & like
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
            cursor="" if wanted is not None and _may_lower_too_much(organization, type, len(wanted)) else None,
            created_at=now,
        )
        if wanted is not None:
            queue_items(run, wanted, now)
        if wanted is not None and not is_scan(run):
            mark_dirty(organization.id, wanted, priority=priority_of(run), needs_look=True, now=now)
            finish_run_if_over(run.id, now)
        after_commit(lambda: wake(run))
    return run


def start_first_run(organization: Organization, group_ids: Sequence[str], user: User | None = None) -> Run:
    """Start the first synchronization of groups just activated, in the caller's transaction.

    It is dated at the moment of their activation: that is how it is known which groups the consent was about.
    """
    run = start_run(organization, RunType.MANUAL, skus=None, user=user, reason=ACTIVATION)
    StockGroup.update(activated_at=run.created_at).where(StockGroup.id.in_(group_ids)).execute()
    return run


def consented_groups(run: Run) -> set[str]:
    """The groups whose plan somebody has just consented to: the run may lower of them what it must.

    None once a rule was changed: then the run would no longer carry out what was consented to.
    """
    if run.reason != ACTIVATION or is_outrun_by_rules(run):
        return set()
    activated = StockGroup.select(StockGroup.id).where(
        (StockGroup.organization == run.organization_id) & (StockGroup.activated_at == run.created_at)
    )
    return {group.id for group in activated}


def is_outrun_by_rules(run: Run) -> bool:
    """Whether a rule was changed after this run was started, so that a newer run checks everything by the new rule."""
    newer = (Run.organization == run.organization_id) & (Run.id > run.id) & (Run.reason == RULES)
    return bool(Run.select(Run.id).where(newer).exists())


def _may_lower_too_much(organization: Organization, type: RunType, skus: int) -> bool:
    """Whether so many SKUs can be more than a guard lets pass. What webhooks announce is not guarded."""
    if type == RunType.WEBHOOK:
        return False
    active = (StockGroup.organization == organization.id) & (StockGroup.is_active == 1)
    least = StockGroup.select(fn.MIN(StockGroup.guard_min_skus)).where(active).scalar()
    return least is not None and skus > least


def is_scan(run: Run) -> bool:
    """Whether the run compares first and marks afterwards."""
    return bool(run.scope == "all" or run.cursor is not None)


def priority_of(run: Run) -> int:
    return _PRIORITY[RunType(run.type)]


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
    if is_scan(run):
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
    scanning = is_scan(run) and run.cursor != SCAN_ENDED
    if scanning or any(status in statuses for status in UNFINISHED):
        status = "held" if "held" in statuses and not scanning else "running"
        Run.update(status=status, started_at=fn.COALESCE(Run.started_at, Run.created_at)).where(is_open).execute()
        return
    status = _end_of(run, statuses)
    Run.update(
        status=status, finished_at=now, started_at=fn.COALESCE(Run.started_at, Run.created_at), lease=None
    ).where(is_open).execute()


def _end_of(run: Run, statuses: Collection[str]) -> str:
    """The status of a run whose items all ended, with these statuses."""
    worst = max(statuses, key=_SEVERITY.index, default="ok")
    status = _RUN_STATUS[worst]
    if run.decision in (RunDecision.DISCARDED, RunDecision.SUPERSEDED) and status == "skipped":
        # That most of what it looked at was right already is not what became of it.
        return "ok" if "ok" in statuses else "skipped"
    if status in ("failed", "skipped") and ("ok" in statuses or "unchanged" in statuses or run.unchanged):
        status = "partial" if status == "failed" else "ok"
    return "partial" if run.unread and status == "ok" else status


def finish_forgotten(before: datetime) -> None:
    """Close runs that began before this moment and have nothing open any more; the net under everything else."""
    # What waits for a person may wait long, and must not take the place of the others.
    unfinished = Run.select(Run.id).where(
        Run.finished_at.is_null() & (Run.created_at <= before) & (Run.status != "held")
    )
    for run in list(unfinished.order_by(Run.id).limit(FORGOTTEN)):
        with database.atomic():
            finish_run_if_over(run.id)


def get_run(organization: Organization, run_id: str) -> Run | None:
    """A run of this organization, None when there is none of that id."""
    return Run.get_or_none((Run.id == run_id) & (Run.organization == organization.id))
