"""Carrying out an undo, inside the settling of a SKU: judged anew after a fresh reading, written, and told.

An item of an undo run holds the writes that it takes back (`stock_write.undo_item_id`). It writes only in a look in
which the rules themselves want nothing written: a sale goes first. Until the item has ended, its SKU stays dirty.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from peewee import JOIN

from core.doubt import Proof
from core.facts import ZERO, Purpose, Role, Seen
from core.intents import IN_DOUBT_STATES, OPEN_STATES, WriteState
from core.look import Look, look_at_cell
from core.plan import PoolPlan, plan_pool
from core.skus import Problem
from core.undo import PoolNow, Refusal, Undo, pool_now, undo_now
from models import Cell, Event, EventState, GroupDeposit, ItemDeposit, Run, RunItem, StockWrite, User
from services.book_facts import book_of, own_write, pool_input, stock_fact
from services.frame_loading import load_frames
from services.frames import CellFrame, PoolFrame, Readings, Unread
from services.reading import PASSING
from services.recording import BooksMoved
from services.undo_books import ChosenCell, cells_of, choose
from services.writes import cancel_planned

# A balance that cannot be read is tried this often; then the cell is refused rather than undone hours later.
PATIENCE = 5
BUSY = "open_write"


@dataclass(slots=True)
class Task:
    """One item of an undo run, that is one SKU of one rule, on its way through a settling.

    `places`: each cell as it is read, by its id. `pool`: what its targets show. `own`: the writes it made so far, the
    latest of each cell. `undos`, `waits`: what was decided, and why it waits, by cell. `again_at`: when to go on.
    """

    item: RunItem
    person: str
    cells: list[ChosenCell]
    places: dict[str, CellFrame]
    pool: PoolFrame | None
    own: dict[str, StockWrite]
    undos: dict[str, Undo] = field(default_factory=dict)
    waits: dict[str, str] = field(default_factory=dict)
    again_at: datetime | None = None

    @property
    def frames(self) -> list[PoolFrame]:
        """What has to be read for it."""
        chosen = [
            PoolFrame(place.member.group, self.item.sku, self.item.product_name, None, [place], {}, None)
            for place in self.places.values()
        ]
        return chosen if self.pool is None else [*chosen, self.pool]


def load_tasks(organization_id: str, items: Sequence[RunItem]) -> dict[str, list[Task]]:
    """The open items of undo runs with all that is needed to go on with them, by SKU."""
    tasks: dict[str, list[Task]] = defaultdict(list)
    if not items:
        return tasks
    ids, skus = [item.id for item in items], list({item.sku for item in items})
    cells: dict[str, list[ChosenCell]] = defaultdict(list)
    for cell in cells_of(choose(StockWrite.undo_item_id.in_(ids)), by_item=True):
        cells[cell.chosen[0].undo_item_id].append(cell)
    own: dict[str, dict[str, StockWrite]] = defaultdict(dict)
    for write in _own_writes(ids):
        own[write.item_id][write.cell_id] = write
    groups = {cell.group.id: cell.group for some in cells.values() for cell in some}
    frames = load_frames(organization_id, skus, groups=list(groups.values()), old_books=True)
    told = _told(organization_id, skus)
    people = _people([item.run_id for item in items])
    for item in items:
        shows = any(cell.state.role is Role.TARGET for cell in cells[item.id])
        pool = next((frame for frame in frames[item.sku] if frame.group.id == item.group_id), None)
        places = {cell.cell_id: _place(cell, told) for cell in cells[item.id]}
        tasks[item.sku].append(
            Task(item, people[item.run_id], cells[item.id], places, pool if shows else None, own[item.id])
        )
    return tasks


def _own_writes(item_ids: Sequence[str]) -> list[StockWrite]:
    made = StockWrite.select().where(StockWrite.item.in_(item_ids) & (StockWrite.state != WriteState.CANCELLED))
    return list(made.order_by(StockWrite.id))


def _told(organization_id: str, skus: Sequence[str]) -> dict[tuple[str, int, int], list[Event]]:
    told: dict[tuple[str, int, int], list[Event]] = defaultdict(list)
    pending = Event.select().where(
        (Event.organization == organization_id) & Event.sku.in_(skus) & (Event.state == EventState.PENDING)
    )
    for event in pending.order_by(Event.bling_event_id, Event.id):
        told[(event.account_id, event.product_bling_id, event.deposit_bling_id)].append(event)
    return told


def _people(run_ids: Sequence[str]) -> dict[str, str]:
    runs = Run.select(Run, User).join(User, JOIN.LEFT_OUTER).where(Run.id.in_(run_ids))
    return {run.id: run.user.name if run.user is not None else "" for run in runs}


def _place(cell: ChosenCell, told: Mapping[tuple[str, int, int], list[Event]]) -> CellFrame:
    """The cell as it is read, also where its rule is switched off or does not look at it any more."""
    return CellFrame(
        member=GroupDeposit(group=cell.group, deposit=cell.deposit, role=cell.state.role, position=0),
        deposit=cell.deposit,
        account=cell.account,
        product=cell.product,
        row=cell.row,
        problem=cell.state.problem,
        events=told.get((cell.account.id, cell.product.bling_id, cell.deposit.bling_id), []),
        writes=[write for write in cell.writes if write.state == WriteState.CONFIRMED],
        open_write=next((write for write in cell.writes if write.state in OPEN_STATES), None),
    )


def decide(task: Task, readings: Readings, window: timedelta, attempts: int) -> None:
    """Judge every cell that was not written yet, after what was just read. `attempts`: how often reading failed."""
    task.undos, task.waits, task.again_at = {}, {}, None
    plan = None if task.pool is None else plan_pool(pool_input(task.pool, readings, window))
    for cell in task.cells:
        own = task.own.get(cell.cell_id)
        if own is not None and own.state != WriteState.PLANNED:
            continue
        look, unread = _look(task.places[cell.cell_id], readings, window)
        pool = _pool(task, plan, cell.then) if cell.state.role is Role.TARGET else None
        undo = task.undos[cell.cell_id] = undo_now(cell.state, look, unread, pool)
        if undo.again_at is not None:
            task.waits[cell.cell_id] = Problem.PUT_OFF
            task.again_at = min(undo.again_at, task.again_at or undo.again_at)
        elif undo.refusal in PASSING and attempts < PATIENCE:
            task.waits[cell.cell_id] = undo.refusal


def _look(place: CellFrame, readings: Readings, window: timedelta) -> tuple[Look | None, str | None]:
    reading = readings.get((place.product.id, place.deposit.id), Unread(Problem.UNREADABLE))
    book = book_of(place)
    if not isinstance(reading, Seen) or book is None:
        return None, reading.reason if isinstance(reading, Unread) else None
    facts = [fact for event in place.events if (fact := stock_fact(event)) is not None]
    return look_at_cell(book, reading, facts, [own_write(write) for write in place.writes], None, window), None


def _pool(task: Task, plan: PoolPlan | None, then: Decimal | None) -> PoolNow:
    if plan is None:
        return PoolNow(has_moved=False, unread=Problem.NEVER_READ, again_at=None)
    return pool_now(plan, then, _on_sources(task, list(filter(_is_confirmed, task.own.values()))))


def _counts(write: StockWrite) -> bool:
    """Whether the write changed the pool, or may have."""
    return _is_confirmed(write) or write.state in IN_DOUBT_STATES


def _is_confirmed(write: StockWrite) -> bool:
    return bool(write.state == WriteState.CONFIRMED)


def record(task: Task, lease: str, now: datetime, *, is_calm: bool) -> list[StockWrite]:
    """Commit what was decided, in the caller's transaction; returns the writes to send.

    `is_calm`: the rules want nothing written for this SKU. If they do, that goes first.

    :raise BooksMoved: the books are no longer what the decision was made from; settle again.
    """
    cancel_planned([write for write in _own_writes([task.item.id]) if write.state == WriteState.PLANNED])
    writes: list[StockWrite] = []
    for cell in task.cells:
        undo = task.undos.get(cell.cell_id)
        if undo is None:
            continue
        if undo.is_due and not is_calm:
            task.waits[cell.cell_id], task.again_at = BUSY, now
        elif undo.is_due:
            writes.append(_plan_write(task, cell, undo, lease, now))
        if cell.cell_id not in task.waits:
            _show(task, cell, undo)
    if writes:
        _keep_available(task, writes)
    return sorted(writes, key=lambda write: write.quantity > ZERO)


def _plan_write(task: Task, cell: ChosenCell, undo: Undo, lease: str, now: datetime) -> StockWrite:
    kept = (Cell.id == cell.cell_id) & (Cell.accounted == undo.before)
    if Cell.update(accounted=Cell.accounted).where(kept).execute() != 1:
        raise BooksMoved(task.item.sku)
    by = f" por {task.person}" if task.person else ""
    return StockWrite.create(
        organization=task.item.organization_id,
        cell_id=cell.cell_id,
        account=cell.account.id,
        product=cell.product.id,
        deposit=cell.deposit.id,
        item=task.item.id,
        # Never a write-back: what a source refuses here is owed to nobody.
        purpose=Purpose.TARGET,
        quantity=undo.quantity,
        before=undo.before,
        state=WriteState.PLANNED,
        note=f"EstoqueUni: desfeito{by} (regra {cell.group.name})"[:250],
        lease=lease,
        planned_at=now,
    )


def _show(task: Task, cell: ChosenCell, undo: Undo) -> None:
    """Before and after in the history; `after` follows when the write is confirmed."""
    known = ItemDeposit.get_or_none(
        (ItemDeposit.item == task.item.id) & (ItemDeposit.deposit == cell.deposit.id)
    ) or ItemDeposit(
        organization=task.item.organization_id,
        item=task.item.id,
        cell_id=cell.cell_id,
        account=cell.account.id,
        deposit=cell.deposit.id,
        role=cell.state.role,
    )
    is_new = known.before is None
    known.before = known.after = cell.state.accounted
    known.wanted = undo.after if undo.refusal is None else None
    known.error = undo.refusal
    known.save(force_insert=is_new)


def _keep_available(task: Task, writes: Sequence[StockWrite]) -> None:
    """What is available once this is done, so that an undo of the undo knows what it was made from."""
    then = next((cell.then for cell in task.cells if cell.state.role is Role.TARGET), None)
    available = None if then is None else then + _on_sources(task, [*filter(_is_confirmed, task.own.values()), *writes])
    RunItem.update(status="running", available=available).where(RunItem.id == task.item.id).execute()


def _on_sources(task: Task, writes: Sequence[StockWrite]) -> Decimal:
    sources = {cell.cell_id for cell in task.cells if cell.state.role is Role.SOURCE}
    return sum((write.quantity for write in writes if write.cell_id in sources), ZERO)


def conclude(task: Task, sent: Collection[str], ruling: Collection[str], now: datetime, *, doubt_passes: bool) -> bool:
    """Say how far the item came. True when its rule, one of those `ruling` the SKU, has to look at what was `sent`.

    `doubt_passes`: a write of unknown outcome is soon looked into again.
    """
    own = {write.cell_id: write for write in _own_writes([task.item.id])}
    refused: dict[str, str] = {}
    waits = dict(task.waits)
    for cell in task.cells:
        write = own.get(cell.cell_id)
        undo = task.undos.get(cell.cell_id)
        if write is not None and write.state == WriteState.PLANNED:
            waits[cell.cell_id] = write.error or BUSY
        elif write is not None and write.state in IN_DOUBT_STATES and doubt_passes:
            waits[cell.cell_id] = Problem.UNKNOWN_WRITE
        elif write is not None and write.state == WriteState.REJECTED:
            refused[cell.cell_id] = write.error or Problem.REJECTED
        elif write is None and undo is not None and undo.refusal is not None:
            refused[cell.cell_id] = undo.refusal
    status, error = _status(task, own, refused, waits)
    changes: dict[str, object] = {"status": status, "error": error}
    if not waits:
        changes["finished_at"] = now
        free = (StockWrite.undo_item_id == task.item.id) & StockWrite.cell_id.in_(list(refused))
        StockWrite.update(undo_item_id=None).where(free).execute()
    RunItem.update(changes).where(RunItem.id == task.item.id).execute()
    return task.item.group_id in ruling and any(write.id in sent and _counts(write) for write in own.values())


def _status(
    task: Task, own: Mapping[str, StockWrite], refused: Mapping[str, str], waits: Mapping[str, str]
) -> tuple[str, str | None]:
    if not task.cells:
        return "failed", Refusal.NO_BOOKS
    if waits:
        return "retry", next(iter(waits.values()))
    if any(write.state in IN_DOUBT_STATES or write.evidence == Proof.SMALLER_POOL for write in own.values()):
        return "review", Problem.UNKNOWN_WRITE
    if not refused:
        return ("ok" if own else "unchanged"), None
    said = [write.error for write in own.values() if write.state == WriteState.REJECTED]
    reason = next(iter((*said, *refused.values())))
    return ("failed" if len(refused) == len(task.cells) else "partial"), reason
