"""The bookkeeping of one settled SKU, in one transaction: books, movements, what is owed, intended writes, history.

Nothing is sent before it is committed here. Every change of the books is made only where they still say what the
decision was based on; otherwise nothing is recorded and the SKU is settled again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from peewee import fn

from core.facts import ZERO, Purpose, Role
from core.intents import WriteState
from core.look import Look
from core.plan import PoolPlan, Wish
from core.skus import Problem
from models import Cell, Event, EventState, ItemDeposit, Movement, Pool, Run, RunItem, RunType, StockWrite
from services.frames import CellFrame, PoolFrame
from services.runs import open_webhook_run
from services.writes import cancel_planned


class BooksMoved(Exception):
    """The books are no longer what the plan was made from: settle again."""


@dataclass(slots=True)
class Decision:
    """A frame with its plan; `plan` is None when the SKU cannot be synchronized in this group at all."""

    frame: PoolFrame
    plan: PoolPlan | None


@dataclass(slots=True)
class Recorded:
    """What was committed: the writes to send, in order, and the items that tell of it."""

    writes: list[StockWrite] = field(default_factory=list)
    items: list[RunItem] = field(default_factory=list)
    again: bool = False


def record(
    decisions: Iterable[Decision], lease: str, events: list[Event], open_items: list[RunItem], now: datetime
) -> Recorded:
    """Write down what was decided for one SKU; the caller holds its lease in the same transaction.

    `open_items`: items of runs that wait for this SKU, of this look or of an earlier one that could not end.

    :raise BooksMoved: nothing may be kept of it; the caller rolls back and settles the SKU again.
    """
    recorded = Recorded()
    history = _History(events, open_items, now)
    taken: set[tuple[str, str]] = set()
    decisions = list(decisions)
    # All of them first: one rule may want to write where another's write still waits.
    for decision in decisions:
        _take_back_planned(decision)
    for decision in decisions:
        frame, plan = decision.frame, decision.plan
        pool, cells = _keep_books(frame, plan, now)
        items = history.items_of(decision)
        recorded.items.extend(items)
        for item in items:
            _show_deposits(item, decision, cells)
        if plan is None:
            continue
        main = items[0] if items else None
        _book_movements(frame, plan, cells, main, now)
        for wish in plan.wishes:
            write = _plan_write(frame, wish, cells[wish.key], main, lease, now)
            if (write.product_id, write.deposit_id) in taken:
                # Another group of the same SKU writes there first.
                recorded.again = True
                if wish.purpose is Purpose.WRITE_BACK:
                    Pool.update(owed=Pool.owed + wish.quantity).where(Pool.id == pool.id).execute()
                continue
            taken.add((write.product_id, write.deposit_id))
            write.save(force_insert=True)
            recorded.writes.append(write)
    recorded.writes.sort(key=lambda write: (write.purpose != Purpose.WRITE_BACK, write.quantity > 0))
    return recorded


def _take_back_planned(decision: Decision) -> None:
    """Cancel what an earlier settler planned and never sent; what a source should have taken is owed again.

    With a plan that is part of what the plan says is owed; without one it is kept for the day there is one.
    """
    frame = decision.frame
    planned = frame.planned_writes()
    if not cancel_planned(planned):
        raise BooksMoved(frame.sku)
    if decision.plan is None and frame.row is not None and frame.owed() != frame.row.owed:
        Pool.update(owed=frame.owed()).where(Pool.id == frame.row.id).execute()


def _keep_books(frame: PoolFrame, plan: PoolPlan | None, now: datetime) -> tuple[Pool, dict[str, Cell]]:
    """Bring pool and cells to what the plan says; new ones start with the balance found as their baseline."""
    problem = frame.problem
    if plan is None:
        if frame.row is not None:
            Pool.update(problem=problem, settled_at=now).where(Pool.id == frame.row.id).execute()
        return frame.row, {cell.key: cell.row for cell in frame.cells if cell.row is not None}
    if frame.row is None:
        pool = Pool.create(
            organization=frame.group.organization_id,
            group=frame.group.id,
            sku=frame.sku,
            owed=plan.owed,
            level=plan.level,
            available=plan.available,
            problem=_pool_problem(plan),
            settled_at=now,
        )
    else:
        pool = frame.row
        kept = (
            Pool.update(
                owed=plan.owed,
                level=plan.level,
                available=fn.COALESCE(_quantity(plan.available), Pool.available),
                problem=_pool_problem(plan),
                settled_at=now,
            )
            .where((Pool.id == pool.id) & (Pool.owed == pool.owed))
            .execute()
        )
        if kept != 1:
            raise BooksMoved(frame.sku)
    cells: dict[str, Cell] = {}
    for cell in frame.cells:
        look = plan.looks.get(cell.key)
        if cell.row is None:
            if look is not None:
                cells[cell.key] = _new_cell(pool, cell, look, now)
            continue
        cells[cell.key] = cell.row
        _keep_cell(cell, cell.row, look, _obstacle(plan, cell), now)
    return pool, cells


def _quantity(value: Decimal | None) -> int | None:
    return None if value is None else Pool.available.db_value(value)


def _pool_problem(plan: PoolPlan) -> str | None:
    return Problem.NEVER_READ if plan.available is None else next(iter(plan.missing.values()), None)


def _new_cell(pool: Pool, cell: CellFrame, look: Look, now: datetime) -> Cell:
    return Cell.create(
        organization=pool.organization_id,
        pool=pool.id,
        account=cell.account.id,
        product=cell.product.id,
        deposit=cell.deposit.id,
        accounted=look.accounted,
        reserved=look.reserved,
        baseline=look.accounted,
        baseline_at=now,
        read_at=now,
        changed_at=None,
    )


def _keep_cell(cell: CellFrame, row: Cell, look: Look | None, held: str | None, now: datetime) -> None:
    stays_refused = row.problem == Problem.REJECTED
    problem = row.problem if stays_refused else cell.problem or held
    if look is None:
        Cell.update(problem=problem).where(Cell.id == row.id).execute()
        return
    changes: dict[str, object] = {"reserved": look.reserved, "problem": problem}
    if look.is_settled:
        changes |= {"accounted": look.accounted, "read_at": now}
    if look.movement != ZERO:
        changes["changed_at"] = now
    kept = Cell.update(changes).where((Cell.id == row.id) & (Cell.accounted == row.accounted)).execute()
    if kept != 1:
        raise BooksMoved(cell.key)


def _obstacle(plan: PoolPlan, cell: CellFrame) -> str | None:
    """Why a cell is not written: it should change and may not, or nobody knows what became of the last write."""
    return Problem.UNKNOWN_WRITE if cell.is_in_doubt else plan.held.get(cell.key)


def _book_movements(
    frame: PoolFrame, plan: PoolPlan, cells: Mapping[str, Cell], item: RunItem | None, now: datetime
) -> None:
    for cell in frame.cells:
        look = plan.looks.get(cell.key)
        if look is None or look.evidence is None or cell.row is None:
            continue
        Movement.create(
            organization=frame.group.organization_id,
            cell=cells[cell.key].id,
            item=item.id if item is not None else None,
            event=look.used[-1] if look.used else _latest_told(cell, look.accounted),
            quantity=look.movement,
            before=cell.row.accounted,
            after=look.accounted,
            evidence=look.evidence,
            booked_at=now,
        )


def _latest_told(cell: CellFrame, accounted: Decimal) -> str | None:
    """The newest event that told of the balance found, when the movement rests on the balance alone."""
    return next((event.id for event in reversed(cell.events) if event.physical_after == accounted), None)


def _plan_write(
    frame: PoolFrame, wish: Wish, cell: Cell, item: RunItem | None, lease: str, now: datetime
) -> StockWrite:
    return StockWrite(
        organization=frame.group.organization_id,
        cell_id=cell.id,
        account=cell.account_id,
        product=cell.product_id,
        deposit=cell.deposit_id,
        item=item.id if item is not None else None,
        purpose=wish.purpose,
        quantity=wish.quantity,
        before=wish.before,
        state=WriteState.PLANNED,
        note=_note(frame, wish),
        lease=lease,
        planned_at=now,
    )


def _note(frame: PoolFrame, wish: Wish) -> str:
    """What a person reads who opens the movement in Bling."""
    if wish.purpose is Purpose.TARGET:
        return f"EstoqueUni: saldo da regra {frame.group.name}"
    moved = [
        f"{cell.account.name} / {cell.deposit.name}" for cell in frame.cells if cell.events and cell.role is Role.TARGET
    ]
    origin = f" em {', '.join(moved)}" if moved else " em depósito compartilhado"
    return f"EstoqueUni: movimento feito{origin} (regra {frame.group.name})"[:250]


class _History:
    """Which entries of the history tell of one look.

    A run that waits for the SKU gets its entry filled in. Events that changed something, or that could not be
    followed, get a run of their own; events that changed nothing leave no entry.
    """

    def __init__(self, events: list[Event], open_items: list[RunItem], now: datetime) -> None:
        self._events, self._open, self._now = events, open_items, now
        self._webhook_run: Run | None = None

    def items_of(self, decision: Decision) -> list[RunItem]:
        """The entries for one group, the first of which the writes and movements belong to."""
        frame = decision.frame
        runs = {item.run_id: item.run for item in self._open}
        of_webhook = sorted(runs, key=lambda run_id: (runs[run_id].type != RunType.WEBHOOK, run_id))
        items = [self._item_of_run(frame, run_id) for run_id in of_webhook]
        told = self._told(frame)
        waits = any(run.type == RunType.WEBHOOK for run in runs.values())
        if _is_news(decision) and not waits and (told or not items):
            if self._webhook_run is None:
                cause = _main_event(decision, told) if told else None
                self._webhook_run = open_webhook_run(frame.group.organization_id, cause, self._now)
            items.insert(0, _new_item(frame, self._webhook_run.id, self._now))
        return items

    def _item_of_run(self, frame: PoolFrame, run_id: str) -> RunItem:
        for item in self._open:
            if item.run_id == run_id and item.group_id in (None, frame.group.id):
                item.group = frame.group.id
                item.product_name = item.product_name or frame.product_name
                item.save()
                return item
        return _new_item(frame, run_id, self._now)

    def _told(self, frame: PoolFrame) -> list[Event]:
        products = {cell.product.bling_id for cell in frame.cells}
        told = [event for event in self._events if event.product_bling_id in products]
        return told or (self._events if frame.problem is not None or frame.left_out else [])


def _is_news(decision: Decision) -> bool:
    return decision.plan is None or decision.plan.has_news or bool(decision.plan.held)


def _main_event(decision: Decision, told: list[Event]) -> Event:
    """The event to show as the cause: one of a cell that moved, if there is one."""
    plan = decision.plan
    for cell in decision.frame.cells:
        look = plan.looks.get(cell.key) if plan is not None else None
        if look is not None and (look.movement != ZERO or look.again_at is not None) and cell.events:
            return cell.events[-1]
    return told[0]


def _new_item(frame: PoolFrame, run_id: str, now: datetime) -> RunItem:
    return RunItem.create(
        organization=frame.group.organization_id,
        run=run_id,
        group=frame.group.id,
        sku=frame.sku,
        product_name=frame.product_name,
        status="running",
        created_at=now,
    )


def _show_deposits(item: RunItem, decision: Decision, cells: Mapping[str, Cell]) -> None:
    """Before and after of every deposit, and how the number came about, as it was decided."""
    frame, plan = decision.frame, decision.plan
    if plan is None:
        return
    for cell in frame.cells:
        row = cells.get(cell.key)
        if row is None:
            continue
        look = plan.looks.get(cell.key)
        movement = look.movement if look is not None else ZERO
        wanted = plan.wanted.get(cell.key)
        unread = cell.problem or plan.missing.get(cell.key) if look is None else None
        error = _obstacle(plan, cell) or unread
        before = cell.row.accounted if cell.row is not None else row.accounted
        known = ItemDeposit.get_or_none((ItemDeposit.item == item.id) & (ItemDeposit.deposit == cell.deposit.id))
        if known is None:
            ItemDeposit.create(
                organization=frame.group.organization_id,
                item=item.id,
                cell_id=row.id,
                account=cell.account.id,
                deposit=cell.deposit.id,
                role=cell.role,
                before=before,
                movement=movement,
                after=before + movement,
                wanted=wanted,
                error=error,
            )
        else:
            known.movement += movement
            known.after += movement
            known.wanted, known.error = wanted, error
            known.save()
    item.available = plan.available
    item.explanation = json.dumps(_explanation(frame, plan), ensure_ascii=False)
    item.status = "running"
    item.save()


def _explanation(frame: PoolFrame, plan: PoolPlan) -> dict[str, object]:
    """The derivation of the number: what was read, what moved, what stood in for what could not be read."""
    return {
        "group": frame.group.name,
        "mode": frame.group.mode,
        "balance": frame.group.balance,
        "owed": str(plan.owed),
        "level": None if plan.level is None else str(plan.level),
        "available": None if plan.available is None else str(plan.available),
        "missing": dict(plan.missing),
        "left_out": frame.left_out,
        "cells": [
            {
                "account": cell.account.name,
                "deposit": cell.deposit.name,
                "role": cell.role,
                "accounted": str(look.accounted if look else cell.row.accounted if cell.row else None),
                "reserved": str(look.reserved if look else cell.row.reserved if cell.row else None),
                "movement": str(look.movement) if look else None,
                "evidence": look.evidence if look else None,
                "put_off": str(look.put_off) if look and look.put_off is not None else None,
                "doubt": str(look.doubt) if look else None,
                "unread": None if look else plan.missing.get(cell.key) or cell.problem,
                "wanted": str(plan.wanted[cell.key]) if cell.key in plan.wanted else None,
                "held": plan.held.get(cell.key),
            }
            for cell in frame.cells
            for look in (plan.looks.get(cell.key),)
        ],
    }


def close_events(
    decisions: Iterable[Decision], events: list[Event], waiting: set[str], unread_for_now: set[str]
) -> None:
    """Events that were looked into are done; those whose answer may still be an old balance stay pending.

    `waiting`: virtual events to be looked into again. `unread_for_now`: cells that will be read soon; what their
    events say is still needed then.
    """
    stay = set(waiting)
    for decision in decisions:
        for cell in decision.frame.cells:
            look = decision.plan.looks.get(cell.key) if decision.plan is not None else None
            if look is not None and (look.again_at is not None or look.put_off is not None):
                stay.update(event.id for event in cell.events if event.id not in look.done)
            elif look is None and cell.key in unread_for_now:
                stay.update(event.id for event in cell.events)
    finished = [event.id for event in events if event.id not in stay]
    if finished:
        Event.update(state=EventState.PROCESSED).where(
            Event.id.in_(finished) & (Event.state == EventState.PENDING)
        ).execute()
