"""Settling writes of unknown outcome: the judgement is core/doubt.py's, the rows are here.

A write in doubt blocks its cell. As soon as evidence settles it, the books follow and the rest is decided as ever; what
stays undecidable is settled by the reading with the smaller pool, and put before a person.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from peewee import fn

from bling.transport import LEAVE_WITHIN_S
from clock import utcnow
from core.doubt import (
    CLOCKS_APART,
    FALLIBLE,
    PROMPT,
    DoubtfulWrite,
    Judgement,
    Outcome,
    Proof,
    judge_outcome,
    smaller_pool,
)
from core.facts import ZERO, Seen, StockFact
from core.intents import WriteState
from db import database
from models import Event, StockWrite
from services.book_facts import book_of, own_write, stock_fact
from services.dirty import Claim, hold
from services.frames import ECHO_MEMORY, CellFrame, Readings
from services.writes import ABANDONED, confirm, deny, heed, moves_pool, reopen

# A call that was noted has left within this time, or never did.
LEFT_WITHIN = timedelta(seconds=LEAVE_WITHIN_S)


def settle_doubts(claim: Claim, cells: Iterable[CellFrame], readings: Readings, window: timedelta) -> dict[str, Proof]:
    """Settle what the events and what was just read allow; returns what settled it by cell id, {} when nothing was.

    :raise LeaseLost: the SKU is no longer ours, and nothing was settled.
    """
    judged = [(write, cell, _judge(write, cell, readings, window)) for write, cell in _in_doubt(cells)]
    settled = [one for one in judged if one[2].outcome is not Outcome.OPEN]
    if not settled:
        return {}
    with database.atomic():
        hold(claim)
        return {write.cell_id: _settle(write, cell, judgement, readings) for write, cell, judgement in settled}


def doubt_over_at(cells: Iterable[CellFrame], readings: Readings, window: timedelta, now: datetime) -> datetime | None:
    """When what Bling shows may next say what became of a write in doubt; None when there is nothing to wait for.

    A cell that cannot be read then either waits for its account, as all that is unread does.
    """
    moments = [
        over_at
        for write, cell in _in_doubt(cells)
        if (over_at := write.ended_at + window) > now
        or (cell.problem is None and isinstance(readings.get((cell.product.id, cell.deposit.id)), Seen))
    ]
    return min(moments, default=None)


def _in_doubt(cells: Iterable[CellFrame]) -> list[tuple[StockWrite, CellFrame]]:
    """Writes of unknown outcome, each with the cell whose books it is in."""
    found: dict[str, tuple[StockWrite, CellFrame]] = {}
    for cell in cells:
        write = cell.open_write
        is_own = write is not None and cell.row is not None and write.cell_id == cell.row.id
        if is_own and write.state == WriteState.UNKNOWN:
            found.setdefault(write.id, (write, cell))
    return list(found.values())


def settled_lately(cells: Iterable[CellFrame]) -> dict[str, list[StockWrite]]:
    """Writes that were settled without their answer and on which events may have come since, by cell id."""
    told = [cell.row.id for cell in cells if cell.row is not None and cell.events]
    found: dict[str, list[StockWrite]] = defaultdict(list)
    if told:
        settled = StockWrite.select().where(
            StockWrite.cell_id.in_(told)
            & StockWrite.state.in_((WriteState.CONFIRMED, WriteState.CANCELLED))
            & StockWrite.evidence.in_(FALLIBLE)
            & (StockWrite.ended_at > utcnow() - ECHO_MEMORY)
        )
        for write in settled:
            found[write.cell_id].append(write)
    return found


def heed_late_events(
    claim: Claim, cells: Iterable[CellFrame], settled: Mapping[str, Sequence[StockWrite]], window: timedelta
) -> bool:
    """Judge writes that were settled on evidence anew where late events tell more. True: the books may have changed.

    :raise LeaseLost: the SKU is no longer ours, and nothing was changed.
    """
    told = {cell.row.id: cell for cell in cells if cell.row is not None and cell.row.id in settled}
    recent = [write for cell_id in told for write in settled[cell_id]]
    news = [(write, found) for write in recent if (found := _judge_again(write, told[write.cell_id], window))]
    if not news:
        return False
    with database.atomic():
        hold(claim)
        for write, judgement in news:
            _heed(write, judgement)
    return True


def _judge_again(write: StockWrite, cell: CellFrame, window: timedelta) -> Judgement | None:
    """What is known now of a write that was settled before; None when nothing came that could tell more."""
    pending = {event.id for event in cell.events}
    told = Event.select().where(
        (Event.account == cell.account.id)
        & (Event.product_bling_id == cell.product.bling_id)
        & (Event.deposit_bling_id == cell.deposit.bling_id)
        # What came before the call may have been looked into by then, or not.
        & (Event.received_at > write.sent_at - ECHO_MEMORY)
    )
    events = list(told.order_by(Event.bling_event_id, Event.id))
    until = (write.found_until or write.found_at or write.ended_at) + CLOCKS_APART
    facts = [(event.id, fact) for event in events if (fact := stock_fact(event)) is not None]
    if not any(one in pending and _is_told_by(fact, until) for one, fact in facts):
        return None
    seen = None if write.found is None else Seen(write.found, ZERO, write.found_at, write.found_until)
    # Nothing was booked and nothing else written while the write was open: its cell's books said what it was planned
    # from, until our next write left.
    next_at = (
        StockWrite.select(fn.MIN(StockWrite.sent_at))
        .where((StockWrite.cell_id == write.cell_id) & (StockWrite.id > write.id) & StockWrite.sent_at.is_null(False))
        .scalar()
    )
    # The event of a write right before it is not its own, and tells of nothing that its books did not say.
    echoes = {(one.quantity, one.before + one.quantity) for one in cell.writes if one.id < write.id}
    known = [
        fact
        for _, fact in facts
        if (next_at is None or fact.told_until is None or fact.told_until < next_at)
        and not ((fact.quantity, fact.after) in echoes and _is_told_by(fact, write.sent_at + PROMPT))
    ]
    judgement = judge_outcome(_doubtful_write(write), write.before, known, (), seen, window)
    if judgement.outcome is Outcome.OPEN or (write.evidence == Proof.PERSON and judgement.proof is not Proof.EVENT):
        return None
    return judgement


def _is_told_by(fact: StockFact, moment: datetime) -> bool:
    return fact.told_from is not None and fact.told_from <= moment


def _heed(write: StockWrite, judgement: Judgement) -> None:
    if judgement.outcome is not Outcome.UNDECIDABLE:
        heed(write, judgement.proof or Proof.CHAIN, is_applied=judgement.outcome is Outcome.APPLIED)
    elif write.evidence not in (Proof.SMALLER_POOL, Proof.EITHER):
        outcome, proof = _for_now(write)
        reopen(write, proof, is_applied=outcome is Outcome.APPLIED)


def _doubtful_write(write: StockWrite) -> DoubtfulWrite:
    likely_until = write.sent_at + LEFT_WITHIN if write.error == ABANDONED else None
    return DoubtfulWrite(write.quantity, write.sent_at, write.ended_at, likely_until)


def _judge(write: StockWrite, cell: CellFrame, readings: Readings, window: timedelta) -> Judgement:
    book = book_of(cell)
    if book is None:
        return Judgement(Outcome.OPEN)
    reading = readings.get((cell.product.id, cell.deposit.id))
    confirmed = [own_write(one) for one in cell.writes if one.ended_at >= book.read_at]
    facts = [fact for event in cell.events if (fact := stock_fact(event)) is not None]
    seen = reading if isinstance(reading, Seen) and cell.problem is None else None
    return judge_outcome(_doubtful_write(write), book.accounted, facts, confirmed, seen, window)


def _settle(write: StockWrite, cell: CellFrame, judgement: Judgement, readings: Readings) -> Proof:
    outcome, proof = judgement.outcome, judgement.proof or Proof.SMALLER_POOL
    told: dict[str, object] = {}
    reading = readings.get((cell.product.id, cell.deposit.id))
    if isinstance(reading, Seen):
        told |= {"found": reading.physical, "found_at": reading.at, "found_until": reading.until}
    if outcome is Outcome.UNDECIDABLE:
        outcome, proof = _for_now(write)
    if outcome is Outcome.APPLIED:
        confirm(write, ended_at=write.ended_at, evidence=proof, **told)
    else:
        deny(write, evidence=proof, **told)
    return proof


def _for_now(write: StockWrite) -> tuple[Outcome, Proof]:
    """How a write that nothing settles is taken; a person is asked where that makes a difference to the pool."""
    return smaller_pool(write.quantity), Proof.SMALLER_POOL if moves_pool(write) else Proof.EITHER
