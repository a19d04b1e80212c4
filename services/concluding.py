"""The end of a settling: each history entry gets its status, and the SKU is given back, settled or to be seen again."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from clock import utcnow
from core.backoff import delay_s
from core.intents import IN_DOUBT_STATES, WriteState
from core.plan import PoolPlan
from core.skus import Problem
from db import database
from models import Cell, ItemDeposit, Priority, RunItem, StockWrite
from services import undoing
from services.cases import Case
from services.dirty import hold, mark_dirty, release_done, release_until
from services.entries import Decision
from services.frames import settle_window
from services.reading import PASSING
from services.runs import finish_run_if_over, skipped_status
from services.writes import Sent

log = logging.getLogger(__name__)

RETRY_BASE_S, RETRY_CAP_S = 2.0, 60.0


def conclude(case: Case) -> None:
    """Say how it ended, and give the SKU back: as settled, or to be looked at again."""
    now = utcnow()
    passing = [reason for reason in case.unread.values() if reason in PASSING]
    failed = [sent for sent in case.sent if sent.state is WriteState.PLANNED]
    lost = [sent for sent in case.sent if sent.state in IN_DOUBT_STATES]
    # By then whatever Bling shows contains the write, if it was applied.
    doubt_at = now + settle_window() if lost else case.doubt_over_at
    retry_at = None
    if passing or failed:
        retry_at = _retry_at(case, now)
    elif case.recorded.again:
        retry_at = now
    waiting = [task.again_at for task in case.tasks if task.again_at is not None]
    moments = [moment for moment in (retry_at, doubt_at, case.again_at, *waiting) if moment is not None]
    again_at = min(moments, default=None)
    must_look = case.must_look or retry_at is not None or doubt_at is not None
    if again_at is None and any(task.waits for task in case.tasks):
        again_at = _retry_at(case, now)
    with database.atomic():
        hold(case.claim)
        runs = {item.run_id for item in (*case.recorded.items, *case.open_items)}
        _skip_items(_without_rule(case), "no_rule", now)
        for decision in case.decisions:
            items = [item for item in case.recorded.items if item.group_id == decision.frame.group.id]
            _conclude_items(case, decision, items, again_at if must_look else None, now)
        sent = {one.write_id for one in case.sent}
        ruling = {decision.frame.group.id for decision in case.decisions if decision.plan is not None}
        follow = [
            undoing.conclude(task, sent, ruling, now, doubt_passes=bool(doubt_at or passing)) for task in case.tasks
        ]
        for run_id in sorted(runs | {task.item.run_id for task in case.tasks}):
            finish_run_if_over(run_id, now)
        if again_at is None:
            release_done(case.claim)
        else:
            # Where only events ask for another look, they are judged again then: an echo by that time costs no call.
            release_until(
                case.claim,
                again_at,
                needs_look=must_look or any(task.waits for task in case.tasks),
                failed=bool(passing or failed),
            )
        if any(follow) or any(_is_shared(one) for one in case.sent if one.state is WriteState.CONFIRMED):
            mark_dirty(case.claim.organization_id, [case.claim.sku], priority=Priority.LIVE, needs_look=True)


def _is_shared(sent: Sent) -> bool:
    """Whether the deposit of a write is in the books of another group too, for which it is a change like any other."""
    write = StockWrite.get_by_id(sent.write_id)
    others = Cell.select().where(
        (Cell.product == write.product_id) & (Cell.deposit == write.deposit_id) & (Cell.id != write.cell_id)
    )
    return bool(others.exists())


def _without_rule(case: Case) -> list[RunItem]:
    """Entries that wait for a group which is not active any more: nobody else would end them."""
    active = {decision.frame.group.id for decision in case.decisions}
    return [
        item for item in case.open_items if not active or (item.group_id is not None and item.group_id not in active)
    ]


def _skip_items(items: Sequence[RunItem], reason: str, now: datetime) -> None:
    for item in items:
        RunItem.update(status=skipped_status(reason), error=reason, finished_at=now).where(
            RunItem.id == item.id
        ).execute()


def _conclude_items(
    case: Case, decision: Decision, items: Sequence[RunItem], again_at: datetime | None, now: datetime
) -> None:
    if decision.plan is None:
        _skip_items(items, decision.frame.problem or Problem.NO_SOURCE, now)
        return
    for item in items:
        status, error = _status_of(case, decision, decision.plan, item, waits=again_at is not None)
        finished = None if status == "retry" else now
        RunItem.update(status=status, error=error, finished_at=finished).where(RunItem.id == item.id).execute()


def _status_of(case: Case, decision: Decision, plan: PoolPlan, item: RunItem, *, waits: bool) -> tuple[str, str | None]:
    """The item's status, and the code of the reason where it is not simply well."""
    keys = {cell.key for cell in decision.frame.cells}
    unread = {key: reason for key, reason in case.unread.items() if key in keys}
    mine = {write.id: write for write in case.recorded.writes if write.cell_id in _cell_ids(decision)}
    sent = [one for one in case.sent if one.write_id in mine]
    held = set(plan.held.values())
    if waits:
        if any(one.state in IN_DOUBT_STATES for one in sent):
            held.add(Problem.UNKNOWN_WRITE)
        reason = next(iter(unread.values()), None)
        reason = reason or next((s.error for s in sent if s.error and s.state not in IN_DOUBT_STATES), None)
        return "retry", reason or next((c for c in (Problem.UNKNOWN_WRITE, Problem.PUT_OFF) if c in held), None)
    if case.undecided & _cell_ids(decision):
        return "review", Problem.UNKNOWN_WRITE
    refused = next((one.error for one in sent if one.state is WriteState.REJECTED), None)
    if refused is not None or Problem.REJECTED in held:
        worked = any(one.state is WriteState.CONFIRMED for one in sent)
        return "partial" if worked else "failed", refused or Problem.REJECTED
    if plan.available is None:
        return "skipped", next(iter(plan.missing.values()), Problem.NEVER_READ)
    if plan.missing or unread or held - {Problem.PUT_OFF}:
        reason = next(iter((*plan.missing.values(), *unread.values(), *sorted(held))), None)
        return "partial", reason
    if decision.frame.left_out:
        return "partial", next(iter(decision.frame.left_out.values()))
    changed = ItemDeposit.select().where(
        (ItemDeposit.item == item.id) & ((ItemDeposit.movement != 0) | (ItemDeposit.written != 0))
    )
    return ("ok" if changed.exists() or item.run.type == "webhook" else "unchanged"), None


def _cell_ids(decision: Decision) -> set[str]:
    pool_cells = {cell.row.id for cell in decision.frame.cells if cell.row is not None}
    places = {(cell.product.id, cell.deposit.id) for cell in decision.frame.cells if cell.row is None}
    if places:
        rows = Cell.select().where(Cell.product.in_([product for product, _ in places]))
        pool_cells |= {row.id for row in rows if (row.product_id, row.deposit_id) in places}
    return pool_cells


def give_back(case: Case, reason: Exception) -> None:
    """Stop without a trace: the SKU stays dirty, and whoever holds it settles it from the books."""
    log.info("SKU %s of %s: %r, settled again", case.claim.sku, case.claim.organization_id, reason)
    with database.atomic():
        release_until(case.claim, utcnow(), needs_look=True)
        if case.sent:
            # The lease may be lost and whoever had it done with the SKU: then nobody knows how these writes ended.
            mark_dirty(case.claim.organization_id, [case.claim.sku], priority=Priority.LIVE, needs_look=True)


def put_off(case: Case, error: Exception) -> None:
    """Something nobody expected: the SKU is tried again later, and meanwhile the others go on."""
    log.error("SKU %s of %s failed", case.claim.sku, case.claim.organization_id, exc_info=error)
    release_until(case.claim, _retry_at(case, utcnow()), needs_look=True, failed=True)


def _retry_at(case: Case, now: datetime) -> datetime:
    return now + timedelta(seconds=delay_s(case.claim.attempts + 1, 0.5, RETRY_BASE_S, RETRY_CAP_S))
