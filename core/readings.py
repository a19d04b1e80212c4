"""The two readings of a write whose outcome nobody can tell, in numbers, for the person who is asked.

Both end at the balance that was found, so looking at it once more tells nothing: they differ in what others must have
moved, and by just that much in the pool (DESIGN.md, "Doubt never oversells").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from core.derivation import PoolParts, pool_figures
from core.facts import ZERO, Mode, Purpose, Role, TargetMovements
from core.rules import TargetRule, apply, pool_decimals


@dataclass(frozen=True, slots=True)
class Undecided:
    """A write of ours of `quantity`, planned from the balance `before`, and the balance `found` when it was over.

    `is_taken_as_applied`: the reading that holds until somebody knows better. `is_pooled`: whether what others move
    there changes what the pool has; see `is_pooled`.
    """

    quantity: Decimal
    before: Decimal
    found: Decimal
    is_taken_as_applied: bool
    is_pooled: bool = True


@dataclass(frozen=True, slots=True)
class Reading:
    """`before` + `written` + `others` = `found`. `more`: what the pool would gain if this reading were chosen."""

    is_applied: bool
    is_taken: bool
    before: Decimal
    written: Decimal
    others: Decimal
    found: Decimal
    more: Decimal

    @property
    def due(self) -> Decimal:
        """The balance that our write, or its failure, left: what would have been found had nobody else moved it."""
        return self.before + self.written


def read_both(write: Undecided) -> tuple[Reading, Reading]:
    """The reading in which Bling applied the write, and the one in which it did not."""
    applied, not_applied = (_read(write, is_applied) for is_applied in (True, False))
    return applied, not_applied


def _read(write: Undecided, is_applied: bool) -> Reading:
    written = write.quantity if is_applied else ZERO
    taken = write.quantity if write.is_taken_as_applied else ZERO
    return Reading(
        is_applied=is_applied,
        is_taken=is_applied is write.is_taken_as_applied,
        before=write.before,
        written=written,
        others=write.found - write.before - written,
        found=write.found,
        # What is no longer our write is somebody's movement, and the other way round.
        more=taken - written if write.is_pooled else ZERO,
    )


def is_pooled(purpose: Purpose, role: Role, movements: TargetMovements) -> bool:
    """Whether the pool depends on how much of what was found at a cell others moved.

    On a source the pool has what is there, whoever moved it; but a write-back that did not arrive is still owed. What
    moved on a target is owed as well, unless the rule overwrites it.
    """
    if purpose is Purpose.WRITE_BACK:
        return True
    return role is Role.TARGET and movements is TargetMovements.WRITE_BACK


def pool_with(pool: PoolParts, more: Decimal) -> PoolParts:
    """The pool if others had moved `more` than its books say: it is owed to a source, or a mirror's level takes it."""
    available = None if pool.available is None else pool.available + more
    if pool.mode is Mode.MIRROR:
        return replace(pool, level=None if pool.level is None else pool.level + more, available=available)
    return replace(pool, owed=pool.owed + more, available=available)


def offers(pool: PoolParts, rules: Sequence[TargetRule]) -> tuple[Decimal, ...]:
    """What each of these targets would show of this pool; nothing while it was never worked out."""
    if pool.available is None:
        return ()
    decimals = pool_decimals(pool_figures(pool))
    return tuple(apply(rule, pool.available, decimals) for rule in rules)
