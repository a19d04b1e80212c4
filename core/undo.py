"""Undoing: for the writes of one cell that somebody wants back, the one opposite movement, or why there is none.

Pure. What other people did is never undone: where anything moved since, the cell is refused and stays as it is.
Ids of writes and movements are UUIDv7, so that comparing them is comparing their times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from core.facts import ZERO, Role
from core.look import Look
from core.plan import PoolPlan
from core.quantity import total
from core.skus import Problem


class Refusal(StrEnum):
    """Why a cell is not undone, where it is no Problem; the words for people are in services/labels.py."""

    ALREADY = "undo_already"
    NO_BOOKS = "undo_no_books"
    MOVED = "undo_moved"
    REWRITTEN = "undo_rewritten"
    RULE_ACTIVE = "undo_rule_active"
    BELOW_ZERO = "undo_below_zero"
    RENAMED = "undo_renamed"


@dataclass(frozen=True, slots=True)
class ChosenWrite:
    """A write of ours that is to be undone. `is_taken`: an undo has it already; `undone_by`: the write that did it."""

    id: str
    quantity: Decimal
    before: Decimal
    is_confirmed: bool = True
    is_taken: bool = False
    undone_by: str | None = None


@dataclass(frozen=True, slots=True)
class UndoCell:
    """One cell with what is to be undone there and all that happened to it.

    `chosen`: the writes to undo, oldest first. `reserved`: what open orders hold, zero where the rule counts physical
    balances. `others`: ids of our other confirmed writes there.
    `movements`: ids of booked movements, of the cell, for a target of its whole pool: a sale elsewhere is a sale of
    what the target shows. `is_ruled`: an active rule says what this target shows. `problem`: why it cannot be read or
    written.
    """

    role: Role
    chosen: Sequence[ChosenWrite]
    accounted: Decimal
    reserved: Decimal = ZERO
    others: Sequence[str] = ()
    movements: Sequence[str] = ()
    is_in_doubt: bool = False
    is_refused: bool = False
    is_ruled: bool = False
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Undo:
    """The opposite movement, `quantity` from `before` on; zero where there is nothing to write.

    `writes`: the ids of what it undoes. `refusal`: why it is not made. `again_at`: look again then, it is too early.
    """

    quantity: Decimal = ZERO
    before: Decimal = ZERO
    writes: tuple[str, ...] = ()
    refusal: str | None = None
    again_at: datetime | None = None

    @property
    def is_due(self) -> bool:
        """Whether there is a movement to make, and nothing against making it now."""
        return self.quantity != ZERO and self.refusal is None and self.again_at is None

    @property
    def after(self) -> Decimal:
        return self.before + self.quantity

    @property
    def is_increase(self) -> bool:
        return self.quantity > ZERO


@dataclass(frozen=True, slots=True)
class PoolNow:
    """The pool that a target shows, read again: whether it is what it was when the target was written."""

    has_moved: bool
    unread: str | None
    again_at: datetime | None


def plan_undo(cell: UndoCell) -> Undo:
    """What the books say about undoing these writes. Several of them are undone by one movement, minus their sum."""
    in_effect = _in_effect(cell.chosen)
    if not in_effect:
        return _refused(Problem.UNKNOWN_WRITE if any(not w.is_confirmed for w in cell.chosen) else Refusal.ALREADY)
    written = total(write.quantity for write in in_effect)
    undo = Undo(-written, cell.accounted, tuple(write.id for write in in_effect))
    if written == ZERO:
        return undo
    return replace(undo, refusal=_refusal(cell, in_effect, undo))


def undo_now(cell: UndoCell, look: Look | None, unread: str | None, pool: PoolNow | None) -> Undo:
    """The same after a fresh reading: `look` of the cell, None when it could not be read for the reason `unread`.

    `pool`: for a target, the pool that it shows. A balance that may still be old is no evidence of anything: wait.
    """
    undo = plan_undo(cell)
    if not undo.is_due:
        return undo
    if look is None:
        return replace(undo, refusal=unread or Problem.UNREADABLE)
    if look.is_blocked:
        return replace(undo, refusal=Problem.UNKNOWN_WRITE)
    if look.movement != ZERO:
        return replace(undo, refusal=Refusal.MOVED)
    if look.again_at is not None:
        return replace(undo, again_at=look.again_at)
    if pool is None:
        return undo
    if pool.again_at is not None:
        return replace(undo, again_at=pool.again_at)
    if pool.has_moved:
        return replace(undo, refusal=Refusal.MOVED)
    # What cannot be read may have been sold: until it is known, a target may be lowered, never raised.
    return replace(undo, refusal=pool.unread) if undo.is_increase else undo


def pool_now(plan: PoolPlan, then: Decimal | None, undone: Decimal) -> PoolNow:
    """The pool of a target, from a fresh plan of its rule. `then`: what was available when the target was written.

    `undone`: what this undo brought to sources of the pool itself, which is nobody's movement.
    """
    looks = plan.looks.values()
    again_at = max((look.again_at for look in looks if look.again_at is not None), default=None)
    has_moved = any(look.movement != ZERO for look in looks)
    if any(look.is_blocked for look in looks):
        return PoolNow(has_moved, Problem.UNKNOWN_WRITE, again_at)
    if plan.available is None:
        return PoolNow(has_moved, Problem.NEVER_READ, again_at)
    differs = then is not None and plan.available - undone != then
    return PoolNow(has_moved or differs, next(iter(plan.missing.values()), None), again_at)


def _in_effect(chosen: Sequence[ChosenWrite]) -> list[ChosenWrite]:
    """The writes whose effect is still there; one whose undoing was chosen too counts, and so does that one."""
    ids = {write.id for write in chosen}
    return [write for write in chosen if write.is_confirmed and (not write.is_taken or write.undone_by in ids)]


def _refused(reason: str) -> Undo:
    return Undo(refusal=reason)


def _refusal(cell: UndoCell, in_effect: Sequence[ChosenWrite], undo: Undo) -> str | None:
    first = in_effect[0]
    if cell.problem is not None:
        return cell.problem
    if cell.is_in_doubt or any(not write.is_confirmed for write in cell.chosen):
        return Problem.UNKNOWN_WRITE
    in_hand = [write.id for write in cell.chosen if write not in in_effect]
    if any(other > first.id for other in (*cell.others, *in_hand)):
        return Refusal.REWRITTEN
    if any(moved > first.id for moved in cell.movements) or first.before - undo.quantity != cell.accounted:
        return Refusal.MOVED
    if cell.is_refused:
        return Problem.REJECTED
    if cell.role is Role.TARGET and cell.is_ruled:
        return Refusal.RULE_ACTIVE
    # Raising a balance that others brought below zero is no harm; lowering one beneath what orders hold oversells.
    if not undo.is_increase and undo.after < max(ZERO, cell.reserved):
        return Refusal.BELOW_ZERO
    return None
