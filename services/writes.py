"""Our writes to Bling: planned, sent, settled. The only place that moves a write from one state to another.

Every move is a conditional UPDATE whose row count decides, so that two workers, or one that woke up late, cannot
both make it. A call whose outcome is not known is never repeated: it is settled on evidence (services/doubts.py).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from peewee import JOIN, Expression

from bling.client import BlingClient
from bling.errors import BlingError, Forbidden, NotFound, Rejected, WriteOutcomeUnknown
from bling.transport import LEAVE_WITHIN_S
from clock import utcnow
from core.doubt import FALLIBLE, Proof
from core.facts import Evidence, Purpose, Role, TargetMovements
from core.intents import IN_DOUBT_STATES, Answer, WriteState, corrected, outcome_of, states_before
from core.readings import is_pooled
from core.skus import Problem
from core.values import MovementOrder
from db import database
from models import Account, Cell, GroupDeposit, ItemDeposit, Movement, Pool, Priority, StockGroup, StockWrite, User
from services.bling_clients import describe, note_failure
from services.dirty import Claim, LeaseLost, hold, mark_dirty
from services.persistence import insist

log = logging.getLogger(__name__)

# Evidence of a write that was given up because its product or deposit had left the pool.
LEFT = "left"
GIVEN_UP = "O produto ou o depósito saiu da regra antes de se saber se o Bling aplicou esta escrita."
# A call that nobody waits for any more was applied within this time of being allowed to leave, or never.
APPLIED_WITHIN = timedelta(seconds=LEAVE_WITHIN_S + 5)
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
        failure = error
    else:
        insist(lambda: _note_applied(write, bling_id))
        return Sent(write.id, write.account_id, WriteState.CONFIRMED)
    return insist(lambda: _note_failed(write, failure))


def _note_applied(write: StockWrite, bling_id: int) -> None:
    if not confirm(write, bling_id):
        _heed_late_answer(write, is_applied=True, bling_id=bling_id)


def _note_failed(write: StockWrite, error: BlingError) -> Sent:
    state, words = outcome_of(_answer_of(error)), describe(error)
    if state is WriteState.REJECTED:
        _reject(write, words)
    else:
        if _move(write.id, state, error=words, ended_at=utcnow()) is None and state is WriteState.PLANNED:
            _heed_late_answer(write, is_applied=False)
        note_failure(write.account, error)
    return Sent(write.id, write.account_id, state, words)


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


def _move(
    write_id: str,
    state: WriteState,
    origin: Sequence[WriteState] | None = None,
    only: Expression | None = None,
    **changes: object,
) -> WriteState | None:
    """Bring a write to `state`, from `origin` or from whatever may precede it; returns what it was, None: not moved."""
    for before in states_before(state) if origin is None else origin:
        here = (StockWrite.id == write_id) & (StockWrite.state == before)
        if only is not None:
            here &= only
        if StockWrite.update(state=state, **changes).where(here).execute() == 1:
            return before
    return None


def confirm(write: StockWrite, bling_id: int | None = None, ended_at: datetime | None = None, **told: object) -> bool:
    """Bling applied the write: the books follow in the same transaction. False when that was known already.

    `told`: columns that say how it was found out, when Bling's answer did not.
    """
    now = ended_at or utcnow()
    with database.atomic():
        before = _move(write.id, WriteState.CONFIRMED, bling_id=bling_id, ended_at=now, error=None, **told)
        if before is None:
            return False
        Cell.update(accounted=Cell.accounted + write.quantity, changed_at=now).where(Cell.id == write.cell_id).execute()
        # Another group may have the same deposit among its sources: for it this write is a change like any other.
        Cell.update(changed_at=now).where(
            (Cell.product == write.product_id) & (Cell.deposit == write.deposit_id) & (Cell.id != write.cell_id)
        ).execute()
        _show_written(write, write.quantity)
        if before is WriteState.UNKNOWN:
            _look_again(write)
    return True


def deny(write: StockWrite, **told: object) -> bool:
    """Bling did not apply a write of unknown outcome: what it was for is decided anew. False when it was settled."""
    with database.atomic():
        if _move(write.id, WriteState.CANCELLED, (WriteState.UNKNOWN,), **told) is None:
            return False
        if write.purpose == Purpose.WRITE_BACK:
            owe(write, write.quantity)
        _look_again(write)
    return True


def correct(write: StockWrite, *, is_applied: bool, **told: object) -> bool:
    """Take the other reading of a write that was settled without its answer. False when it is taken already.

    The difference was booked as somebody else's movement; it was the write's, or the other way round.
    """
    state = WriteState.CONFIRMED if is_applied else WriteState.CANCELLED
    with database.atomic():
        if _move(write.id, state, (corrected(state),), StockWrite.evidence.in_(FALLIBLE), **told) is None:
            return False
        # Whoever waited for the answer knows nothing of how others settled it.
        write = StockWrite.get_by_id(write.id)
        moved = -write.quantity if is_applied else write.quantity
        cell = Cell.get_by_id(write.cell_id)
        _show_written(write, -moved)
        if cell.baseline_at <= write.ended_at:
            Movement.create(
                organization=write.organization_id,
                cell=cell.id,
                item=write.item_id,
                quantity=moved,
                before=cell.accounted,
                after=cell.accounted,
                evidence=Evidence.LEVEL,
                write_id=write.id,
                booked_at=utcnow(),
            )
            if moves_pool(write):
                owe(write, moved)
        _look_again(write)
    return True


def moves_pool(write: StockWrite) -> bool:
    """Whether it makes a difference to the pool if a write was applied.

    A deposit that is no member any more is judged as a source: only what was owed to it counts.
    """
    movements, role = (
        Cell.select(StockGroup.target_movements, GroupDeposit.role)
        .join(Pool)
        .join(StockGroup)
        .join(
            GroupDeposit,
            JOIN.LEFT_OUTER,
            on=(GroupDeposit.group == StockGroup.id) & (GroupDeposit.deposit == Cell.deposit),
        )
        .where(Cell.id == write.cell_id)
        .tuples()
        .get()
    )
    return is_pooled(Purpose(write.purpose), Role(role or Role.SOURCE), TargetMovements(movements))


def settle_undecided(write: StockWrite, is_applied: bool, user: User | None) -> bool:
    """A person says whether Bling applied what nothing else could settle. False when it was settled meanwhile."""
    told = {"evidence": Proof.PERSON, "decided_by": user, "decided_at": utcnow()}
    with database.atomic():
        if not _is_undecided(write):
            return False
        if not correct(write, is_applied=is_applied, **told):
            StockWrite.update(told).where(StockWrite.id == write.id).execute()
    return True


def heed(write: StockWrite, proof: Proof, *, is_applied: bool, bling_id: int | None = None) -> None:
    """Late evidence of a write that was settled without: take the other reading, or know the present one proven."""
    told: dict[str, object] = {"evidence": proof} if bling_id is None else {"evidence": proof, "bling_id": bling_id}
    with database.atomic():
        if correct(write, is_applied=is_applied, **told):
            log.warning("Write %s was settled wrongly and is corrected: %s", write.id, proof)
        else:
            StockWrite.update(told).where(
                (StockWrite.id == write.id) & StockWrite.evidence.in_((Proof.SMALLER_POOL, Proof.EITHER))
            ).execute()


def reopen(write: StockWrite, proof: Proof, *, is_applied: bool) -> None:
    """What settled a write proves nothing any more: take this reading, and ask a person where `proof` says so."""
    with database.atomic():
        if not correct(write, is_applied=is_applied, evidence=proof):
            fallible = (StockWrite.id == write.id) & StockWrite.evidence.in_(FALLIBLE)
            StockWrite.update(evidence=proof).where(fallible).execute()


def _is_undecided(write: StockWrite) -> bool:
    """Whether it still waits for a person; in a transaction it stays so."""
    still = (StockWrite.id == write.id) & (StockWrite.evidence == Proof.SMALLER_POOL)
    return bool(StockWrite.update(evidence=Proof.SMALLER_POOL).where(still).execute() == 1)


def _heed_late_answer(write: StockWrite, *, is_applied: bool, bling_id: int | None = None) -> None:
    """The worker waited so long for Bling's answer that others settled the write without it."""
    heed(write, Proof.ANSWER, is_applied=is_applied, bling_id=bling_id)


def owe(write: StockWrite, quantity: Decimal) -> None:
    """Add to what is owed to the pool that a write was made for, inside the caller's transaction."""
    pool = Cell.select(Cell.pool).where(Cell.id == write.cell_id)
    Pool.update(owed=Pool.owed + quantity).where(Pool.id.in_(pool)).execute()


def _look_again(write: StockWrite) -> None:
    """The books changed outside of a settling, or under the feet of one: somebody has to look."""
    sku = Pool.select(Pool.sku).join(Cell).where(Cell.id == write.cell_id).scalar()
    mark_dirty(write.organization_id, [sku], priority=Priority.LIVE, needs_look=True)


def _show_written(write: StockWrite, quantity: Decimal) -> None:
    ItemDeposit.update(written=ItemDeposit.written + quantity, after=ItemDeposit.after + quantity, error=None).where(
        (ItemDeposit.item == write.item_id) & (ItemDeposit.cell_id == write.cell_id)
    ).execute()


def _reject(write: StockWrite, error: str) -> None:
    """Bling said no: what the write should have brought to a source stays owed, and the cell waits for a person."""
    with database.atomic():
        if _move(write.id, WriteState.REJECTED, error=error, ended_at=utcnow()) is None:
            _heed_late_answer(write, is_applied=False)
            return
        Cell.update(problem=Problem.REJECTED).where(Cell.id == write.cell_id).execute()
        if write.purpose == Purpose.WRITE_BACK:
            owe(write, write.quantity)
        ItemDeposit.update(error=error).where(
            (ItemDeposit.item == write.item_id) & (ItemDeposit.cell_id == write.cell_id)
        ).execute()


def cancel_planned(writes: Sequence[StockWrite]) -> bool:
    """Take back writes that never left, inside the caller's transaction. False when one of them left meanwhile."""
    planned = (WriteState.PLANNED,)
    return all(_move(write.id, WriteState.CANCELLED, planned, ended_at=utcnow()) is not None for write in writes)


def take_back(writes: Iterable[StockWrite]) -> None:
    """Cancel each of these that never left; what it should have brought to a source is owed again.

    One that leaves at this very moment stays what it is: its outcome is followed up as ever.
    """
    for write in writes:
        if cancel_planned([write]) and write.purpose == Purpose.WRITE_BACK:
            owe(write, write.quantity)


def give_up(write: StockWrite) -> bool:
    """Stop asking what became of a write whose cell has left its pool: it counts as not applied. False: it is known."""
    return _move(write.id, WriteState.REJECTED, evidence=LEFT, error=GIVEN_UP) is not None


def doubt_abandoned(writes: Sequence[StockWrite], claim: Claim) -> list[StockWrite]:
    """Writes that an earlier holder of the SKU left on their way: their outcome is unknown from now on."""
    abandoned = [w for w in writes if w.state == WriteState.SENDING and w.lease != claim.lease]
    for write in abandoned:
        ended_at = min(utcnow(), write.sent_at + APPLIED_WITHIN)
        if _move(write.id, WriteState.UNKNOWN, ended_at=ended_at, error=ABANDONED) is not None:
            write.state, write.ended_at = WriteState.UNKNOWN, ended_at
    return [write for write in writes if write.state in IN_DOUBT_STATES]
