"""Our writes to Bling: planned, sent, settled. The only place that moves a write from one state to another.

Every move is a conditional UPDATE whose row count decides, so that two workers, or one that woke up late, cannot
both make it. A call whose outcome is not known is never repeated.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bling.client import BlingClient
from bling.errors import BlingError, Forbidden, NotFound, Rejected, WriteOutcomeUnknown
from clock import utcnow
from core.facts import Purpose
from core.intents import IN_DOUBT_STATES, Answer, WriteState, outcome_of, states_before
from core.skus import Problem
from core.values import MovementOrder
from db import database
from models import Account, Cell, ItemDeposit, Pool, StockWrite
from services.bling_clients import describe, note_failure
from services.dirty import Claim, LeaseLost, hold

log = logging.getLogger(__name__)

# Evidence of a write that was given up because its product or deposit had left the pool.
LEFT = "left"
GIVEN_UP = "O produto ou o depósito saiu da regra antes de se saber se o Bling aplicou esta escrita."
ABANDONED = "O processo que enviava esta escrita não voltou: não se sabe se o Bling a aplicou."


@dataclass(frozen=True, slots=True)
class Sent:
    """How a write ended. `error`: in words for the merchant, None when it was confirmed."""

    write_id: str
    account_id: str
    state: WriteState
    error: str | None = None


def send_write(write_id: str, claim: Claim, client: BlingClient) -> Sent:
    """Send one planned write and record how it ended.

    :raise LeaseLost: the SKU is no longer ours, or the write is no longer planned; nothing left.
    """
    write = StockWrite.select(StockWrite, Account).join(Account).where(StockWrite.id == write_id).get()
    order = MovementOrder(
        product_id=write.product.bling_id,
        deposit_id=write.deposit.bling_id,
        operation="E" if write.quantity > 0 else "S",
        quantity=abs(write.quantity),
        note=write.note or "",
    )
    try:
        bling_id = client.create_movement(order, before_leaving=lambda: _mark_sending(write.id, claim))
    except BlingError as error:
        log.warning("Write %s of account %s: %s", write.id, write.account_id, error)
        state = outcome_of(_answer_of(error))
        words = describe(error)
        if state is WriteState.REJECTED:
            _reject(write, words)
        else:
            _move(write.id, state, error=words, ended_at=utcnow())
            note_failure(write.account, error)
        return Sent(write.id, write.account_id, state, words)
    confirm(write, bling_id)
    return Sent(write.id, write.account_id, WriteState.CONFIRMED)


def _answer_of(error: BlingError) -> Answer:
    if isinstance(error, WriteOutcomeUnknown):
        return Answer.NO_ANSWER
    return Answer.REFUSED if isinstance(error, Rejected | NotFound | Forbidden) else Answer.NOT_APPLIED


def _mark_sending(write_id: str, claim: Claim) -> None:
    """Commit that the call is about to leave; the lease is checked in the same transaction."""
    with database.atomic():
        hold(claim)
        moved = (
            StockWrite.update(state=WriteState.SENDING, sent_at=utcnow(), attempts=StockWrite.attempts + 1)
            .where(
                (StockWrite.id == write_id)
                & (StockWrite.lease == claim.lease)
                # A second try after a 401, which certainly applied nothing, finds the write on its way already.
                & StockWrite.state.in_((WriteState.PLANNED, WriteState.SENDING))
            )
            .execute()
        )
        if moved != 1:
            raise LeaseLost(claim.sku)


def _move(write_id: str, state: WriteState, **changes: object) -> bool:
    before = states_before(state)
    query = StockWrite.update(state=state, **changes).where((StockWrite.id == write_id) & StockWrite.state.in_(before))
    return bool(query.execute() == 1)


def confirm(write: StockWrite, bling_id: int | None, ended_at: datetime | None = None) -> bool:
    """Bling applied the write: the books follow in the same transaction. False when that was known already."""
    now = ended_at or utcnow()
    with database.atomic():
        if not _move(write.id, WriteState.CONFIRMED, bling_id=bling_id, ended_at=now, error=None):
            return False
        Cell.update(accounted=Cell.accounted + write.quantity, changed_at=now).where(Cell.id == write.cell_id).execute()
        # Another group may have the same deposit among its sources: for it this write is a change like any other.
        Cell.update(changed_at=now).where(
            (Cell.product == write.product_id) & (Cell.deposit == write.deposit_id) & (Cell.id != write.cell_id)
        ).execute()
        ItemDeposit.update(
            written=ItemDeposit.written + write.quantity, after=ItemDeposit.after + write.quantity, error=None
        ).where((ItemDeposit.item == write.item_id) & (ItemDeposit.cell_id == write.cell_id)).execute()
    return True


def _reject(write: StockWrite, error: str) -> None:
    """Bling said no: what the write should have brought to a source stays owed, and the cell waits for a person."""
    with database.atomic():
        if not _move(write.id, WriteState.REJECTED, error=error, ended_at=utcnow()):
            return
        Cell.update(problem=Problem.REJECTED).where(Cell.id == write.cell_id).execute()
        if write.purpose == Purpose.WRITE_BACK:
            cell = Cell.get_by_id(write.cell_id)
            Pool.update(owed=Pool.owed + write.quantity).where(Pool.id == cell.pool_id).execute()
        ItemDeposit.update(error=error).where(
            (ItemDeposit.item == write.item_id) & (ItemDeposit.cell_id == write.cell_id)
        ).execute()


def cancel_planned(writes: Sequence[StockWrite]) -> bool:
    """Take back writes that never left, inside the caller's transaction. False when one of them left meanwhile."""
    return all(_move(write.id, WriteState.CANCELLED, ended_at=utcnow()) for write in writes)


def give_up(write: StockWrite) -> bool:
    """Stop asking what became of a write whose cell has left its pool: it counts as not applied. False: it is known."""
    return _move(write.id, WriteState.REJECTED, evidence=LEFT, error=GIVEN_UP)


def doubt_abandoned(writes: Sequence[StockWrite], claim: Claim) -> list[StockWrite]:
    """Writes that an earlier holder of the SKU left on their way: their outcome is unknown from now on."""
    abandoned = [w for w in writes if w.state == WriteState.SENDING and w.lease != claim.lease]
    for write in abandoned:
        if _move(write.id, WriteState.UNKNOWN, ended_at=utcnow(), error=ABANDONED):
            write.state = WriteState.UNKNOWN
    return [write for write in writes if write.state in IN_DOUBT_STATES]
