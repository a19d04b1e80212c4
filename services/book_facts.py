"""What the books and the inbox say, in the words of the core: the planner's input, facts, books, writes."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from core.events import told_span
from core.facts import (
    ZERO,
    BalanceKind,
    Book,
    Mode,
    OpenWrite,
    OwnWrite,
    Purpose,
    Seen,
    StockFact,
    TargetMovements,
)
from core.plan import CellInput, PoolInput
from core.skus import Problem
from models import Cell, Event, StockWrite
from services.frames import CellFrame, PoolFrame, Readings, Unread

# Bling's clock and ours may differ by this much; an event that is older than that was late.
CLOCK_SKEW = timedelta(minutes=2)


def pool_input(frame: PoolFrame, readings: Readings, window: timedelta) -> PoolInput:
    """What the planner needs to decide about one frame."""
    seed = frame.group.seed_deposit_id
    return PoolInput(
        mode=Mode(frame.group.mode),
        balance=BalanceKind(frame.group.balance),
        target_movements=TargetMovements(frame.group.target_movements),
        owed=frame.owed(),
        level=frame.row.level if frame.row is not None else None,
        seed=next((cell.key for cell in frame.cells if cell.deposit.id == seed), None),
        cells=[_cell_input(cell, readings) for cell in frame.cells],
        window=window,
        is_begun=frame.is_begun,
        uncounted=frame.uncounted,
        had_sources=frame.had_sources,
        perhaps_owed=frame.perhaps_owed(),
    )


def _cell_input(cell: CellFrame, readings: Readings) -> CellInput:
    reading = readings.get((cell.product.id, cell.deposit.id), Unread(Problem.UNREADABLE))
    unread = cell.problem or (reading.reason if isinstance(reading, Unread) else None)
    return CellInput(
        key=cell.key,
        role=cell.role,
        position=cell.member.position,
        book=book_of(cell),
        seen=reading if isinstance(reading, Seen) and cell.problem is None else None,
        unread=unread,
        rule=cell.rule,
        account=cell.account.id,
        write_back_position=cell.member.write_back_position,
        events=[fact for event in cell.events if (fact := stock_fact(event)) is not None],
        writes=[own_write(write) for write in cell.writes],
        open_write=_open_write(cell),
        refused=cell.row is not None and cell.row.problem == Problem.REJECTED,
        written_at=cell.written_at,
        told_reserved=cell.told_reserved,
    )


def book_of(cell: CellFrame) -> Book | None:
    return None if cell.row is None else book_of_row(cell.row, cell.passed)


def book_of_row(row: Cell, passed: tuple[Decimal, ...] = ()) -> Book:
    return Book(row.accounted, row.reserved, row.read_at, row.changed_at, row.reserved_at, row.reserved_before, passed)


def _open_write(cell: CellFrame) -> OpenWrite | None:
    write = cell.open_write
    if write is None or not cell.is_in_doubt:
        return None
    is_ours = cell.row is not None and write.cell_id == cell.row.id
    # Another rule's write-back, or an undo of one, may have lowered our source already; that it may have raised it is
    # no unit of ours yet.
    is_owed = write.quantity < ZERO or (is_ours and write.purpose == Purpose.WRITE_BACK)
    return OpenWrite(write.quantity, Purpose.WRITE_BACK if is_owed else Purpose.TARGET)


def own_write(write: StockWrite) -> OwnWrite:
    return OwnWrite(write.id, write.quantity, write.before, write.ended_at, write.is_echoed)


def stock_fact(event: Event) -> StockFact | None:
    """A pending stock event as the planner sees it; None for one that tells no balance of a deposit."""
    if event.physical_after is None or event.deposit_bling_id is None:
        return None
    told_from, told_until = told_span(event.bling_event_id, event.happened_at)
    return StockFact(
        id=event.id,
        event_id=event.bling_event_id or event.id,
        quantity=event.quantity,
        after=event.physical_after,
        at=moment_of(event),
        reserved=None if event.virtual_after is None else event.physical_after - event.virtual_after,
        told_from=told_from,
        told_until=told_until,
    )


def moment_of(event: Event) -> datetime:
    """When an event happened, by our clock: when it came, unless it says that it is older than clocks may differ."""
    told = event.happened_at
    return told if told is not None and event.received_at - told > CLOCK_SKEW else event.received_at
