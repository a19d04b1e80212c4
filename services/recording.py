"""The bookkeeping of one settled SKU, in one transaction: books, movements, what is owed, intended writes, history.

Nothing is sent before it is committed here. Every change of the books is made only where they still say what the
decision was based on; otherwise nothing is recorded and the SKU is settled again.
"""

from __future__ import annotations

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
from models import Cell, Event, EventState, Movement, Pool, RunItem, StockWrite
from services.entries import Decision, Entries, obstacle, show_deposits
from services.frames import CellFrame, PoolFrame
from services.writes import cancel_planned


class BooksMoved(Exception):
    """The books are no longer what the plan was made from: settle again."""


@dataclass(slots=True)
class Recorded:
    """What was committed: the writes to send, in order, and the items that tell of it. `undoing`: those of an undo."""

    writes: list[StockWrite] = field(default_factory=list)
    undoing: list[StockWrite] = field(default_factory=list)
    items: list[RunItem] = field(default_factory=list)
    again: bool = False

    @property
    def to_send(self) -> list[StockWrite]:
        return [*self.writes, *self.undoing]


def record(
    decisions: Iterable[Decision],
    lease: str,
    events: list[Event],
    open_items: list[RunItem],
    now: datetime,
    *,
    asked_by_undo: bool = False,
) -> Recorded:
    """Write down what was decided for one SKU; the caller holds its lease in the same transaction.

    `open_items`: items of runs that wait for this SKU, of this look or of an earlier one that could not end.
    `asked_by_undo`: an undo asked for the look, and tells of it itself.

    :raise BooksMoved: nothing may be kept of it; the caller rolls back and settles the SKU again.
    """
    recorded = Recorded()
    entries = Entries(events, open_items, now, asked_by_undo=asked_by_undo)
    taken: set[tuple[str, str]] = set()
    decisions = list(decisions)
    # All of them first: one rule may want to write where another's write still waits.
    for decision in decisions:
        _take_back_planned(decision)
    for decision in decisions:
        frame, plan = decision.frame, decision.plan
        pool, cells = _keep_books(frame, plan, now)
        items = entries.of(decision)
        recorded.items.extend(items)
        for item in items:
            show_deposits(item, decision, cells)
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
        _keep_cell(cell, cell.row, look, obstacle(plan, cell) or plan.missing.get(cell.key), now)
    return pool, cells


def _quantity(value: Decimal | None) -> int | None:
    return None if value is None else Pool.available.db_value(value)


def _pool_problem(plan: PoolPlan) -> str | None:
    return Problem.NEVER_READ if plan.available is None else next(iter(plan.missing.values()), None)


def _new_cell(pool: Pool, cell: CellFrame, look: Look, now: datetime) -> Cell:
    """A cell with the balance found as its baseline; one that was here before keeps its history."""
    start = baseline_of(look, now)
    if cell.earlier is None:
        return Cell.create(
            organization=pool.organization_id,
            pool=pool.id,
            account=cell.account.id,
            product=cell.product.id,
            deposit=cell.deposit.id,
            **start,
        )
    is_away = (Cell.id == cell.earlier.id) & Cell.left_at.is_null(False)
    if Cell.update(**start).where(is_away).execute() != 1:
        raise BooksMoved(cell.key)
    return Cell.get_by_id(cell.earlier.id)


def baseline_of(look: Look, now: datetime) -> dict[str, object]:
    """The columns of books that begin with what a look found."""
    return {
        "accounted": look.accounted,
        "reserved": look.reserved,
        "baseline": look.accounted,
        "baseline_at": now,
        "read_at": now,
        "changed_at": None,
        "reserved_at": None,
        "reserved_before": None,
        "problem": None,
        "left_at": None,
    }


def _keep_cell(cell: CellFrame, row: Cell, look: Look | None, held: str | None, now: datetime) -> None:
    stays_refused = row.problem == Problem.REJECTED
    problem = row.problem if stays_refused else cell.problem or held
    if look is None:
        Cell.update(problem=problem, **_left_open(None)).where(Cell.id == row.id).execute()
        return
    changes: dict[str, object] = {"reserved": look.reserved, "problem": problem, **_left_open(look)}
    if look.is_settled:
        changes |= {"accounted": look.accounted, "read_at": now}
    if look.movement != ZERO:
        changes["changed_at"] = now
    if look.reserved != row.reserved:
        changes |= {"reserved_at": now, "reserved_before": row.reserved}
    is_as_read = (Cell.accounted == row.accounted) & Cell.left_at.is_null()
    kept = Cell.update(changes).where((Cell.id == row.id) & is_as_read).execute()
    if kept != 1:
        raise BooksMoved(cell.key)


def _left_open(look: Look | None) -> dict[str, object]:
    """What the look could not settle, for whoever asks where the pool's number comes from."""
    is_put_off = look is not None and look.put_off is not None
    return {
        "put_off": look.put_off if look is not None else None,
        "put_off_until": look.again_at if look is not None and is_put_off else None,
        "doubt": look.doubt if look is not None and look.doubt != ZERO else None,
    }


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


def close_events(
    decisions: Iterable[Decision], events: list[Event], waiting: set[str], unread_for_now: set[str]
) -> None:
    """Events that were looked into are done; those whose answer may still be an old balance stay pending, and so do
    those that may tell what became of a write.

    `waiting`: virtual events to be looked into again. `unread_for_now`: cells that will be read soon; what their
    events say is still needed then.
    """
    stay = set(waiting)
    for decision in decisions:
        for cell in decision.frame.cells:
            look = decision.plan.looks.get(cell.key) if decision.plan is not None else None
            if look is not None and (look.again_at is not None or not look.is_settled):
                stay.update(event.id for event in cell.events if event.id not in look.done)
            elif look is None and (cell.key in unread_for_now or _waits_to_join(decision, cell)):
                stay.update(event.id for event in cell.events)
    finished = [event.id for event in events if event.id not in stay]
    if finished:
        Event.update(state=EventState.PROCESSED).where(
            Event.id.in_(finished) & (Event.state == EventState.PENDING)
        ).execute()


def _waits_to_join(decision: Decision, cell: CellFrame) -> bool:
    return decision.plan is not None and cell.key in decision.plan.joins_at
