"""Where a pool's number comes from: the books of its cells, as terms that add up to it.

The formula is that of DESIGN.md, "The books", read backwards: nothing is decided here, and what the terms leave open
is a term of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from core.facts import ZERO, Mode, Role
from core.quantity import total


class TermKind(StrEnum):
    SHELF = "shelf"
    """What a source holds, as explained."""
    LEVEL = "level"
    """The pool of a mirror."""
    RESERVED = "reserved"
    OWED = "owed"
    UNDER_WAY = "under_way"
    """A write-back that is planned, on its way, or without an answer."""
    ELSEWHERE = "elsewhere"
    """Another rule's write without an answer, which may have lowered this source."""
    DOUBT = "doubt"
    REST = "rest"
    """What changed after the number was last worked out."""


@dataclass(frozen=True, slots=True)
class CellSum:
    """What a cell is made of: what was there first, what others moved since, what we wrote since."""

    accounted: Decimal
    baseline: Decimal
    moved: Decimal
    written: Decimal

    @property
    def unexplained(self) -> Decimal:
        """What the entries leave open; anything but zero is a fault of ours and has to be seen."""
        return self.accounted - self.baseline - self.moved - self.written


@dataclass(frozen=True, slots=True)
class CellPart:
    """A cell's part in the pool. `reserved` is zero where reservations do not count; `doubt` is never positive."""

    key: str
    role: Role
    accounted: Decimal
    reserved: Decimal = ZERO
    doubt: Decimal = ZERO
    under_way: Decimal = ZERO
    elsewhere: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class PoolParts:
    """The books of one pool. `available` as it was last worked out, None when it never was."""

    mode: Mode
    owed: Decimal
    level: Decimal | None
    available: Decimal | None
    cells: Sequence[CellPart]


@dataclass(frozen=True, slots=True)
class Term:
    """`key` names the cell, None for what belongs to the pool as a whole."""

    kind: TermKind
    key: str | None
    quantity: Decimal


def pool_terms(pool: PoolParts) -> tuple[Term, ...]:
    """The terms of A. They add up to `available`, where there is one; sources are named even when they are empty."""
    sources = [cell for cell in pool.cells if cell.role is Role.SOURCE]
    if pool.mode is Mode.MIRROR:
        terms = [] if pool.level is None else [Term(TermKind.LEVEL, None, pool.level)]
    else:
        terms = [Term(TermKind.SHELF, cell.key, cell.accounted) for cell in sources]
    terms += [Term(TermKind.RESERVED, cell.key, -cell.reserved) for cell in pool.cells if cell.reserved]
    if pool.owed:
        terms.append(Term(TermKind.OWED, None, pool.owed))
    terms += [Term(TermKind.UNDER_WAY, cell.key, cell.under_way) for cell in sources if cell.under_way]
    terms += [Term(TermKind.ELSEWHERE, cell.key, cell.elsewhere) for cell in sources if cell.elsewhere]
    terms += [Term(TermKind.DOUBT, cell.key, cell.doubt) for cell in pool.cells if cell.doubt]
    if pool.available is not None:
        rest = pool.available - total(term.quantity for term in terms)
        if rest:
            terms.append(Term(TermKind.REST, None, rest))
    return tuple(terms)


def pool_figures(pool: PoolParts) -> list[Decimal]:
    """The balances of which core.rules.pool_decimals makes to how many decimals the targets are rounded down."""
    figures = [pool.level or ZERO, pool.owed]
    for cell in pool.cells:
        figures.append(cell.reserved)
        if cell.role is Role.SOURCE:
            figures += [cell.accounted + cell.under_way, cell.under_way, cell.elsewhere]
    return figures
