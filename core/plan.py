"""The decision: from the books and what was just read, what others did, what the pool is, and what to write.

Pure: the same input gives the same plan, the order of the cells does not matter, and planning again after the
plan was carried out gives no writes. The formulas are those of DESIGN.md, "The books".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from core.facts import (
    ZERO,
    BalanceKind,
    Book,
    Mode,
    OpenWrite,
    OwnWrite,
    Purpose,
    Role,
    Seen,
    StockFact,
    TargetMovements,
)
from core.look import Look, baseline_due, look_at_cell
from core.quantity import total
from core.rules import TargetRule, pool_decimals
from core.rules import apply as apply_rule
from core.write_backs import Debt, Taker, share_out


@dataclass(frozen=True, slots=True)
class CellInput:
    """One cell as the planner gets it.

    `key` names it; `position` orders it inside its role; `write_back_position` is its place among the sources that
    the merchant chose to take movements of targets. `seen` None: it could not be read, for the reason `unread`.
    `refused`: Bling said no to a write there and nobody has looked into it since. `written_at`: when a write of ours
    last ended there, of whichever pool. `told_reserved`: what the newest event about reservations says of them.
    """

    key: str
    role: Role
    position: int
    book: Book | None
    seen: Seen | None
    unread: str | None = None
    rule: TargetRule | None = None
    account: str = ""
    write_back_position: int | None = None
    events: Sequence[StockFact] = ()
    writes: Sequence[OwnWrite] = ()
    open_write: OpenWrite | None = None
    refused: bool = False
    written_at: datetime | None = None
    told_reserved: Decimal | None = None


@dataclass(frozen=True, slots=True)
class PoolInput:
    """One SKU of one group. `owed`: what no source has taken yet. `level`: the pool itself (mirror), None at first.

    `is_begun`: it was worked out before, so that what was never read keeps it from rising and no more. `uncounted`:
    sources without a cell whose stock nobody can count, with the reason. `had_sources`: a pool whose sources have all
    left is empty; one that never had any is none. `perhaps_owed`: what sources that left may not have taken, never
    positive.
    """

    mode: Mode
    balance: BalanceKind
    target_movements: TargetMovements
    owed: Decimal
    level: Decimal | None
    seed: str | None
    cells: Sequence[CellInput]
    window: timedelta
    is_begun: bool = False
    uncounted: Mapping[str, str] = field(default_factory=dict)
    had_sources: bool = False
    perhaps_owed: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Wish:
    """A relative write that is wanted: `quantity` is signed, `before` the balance it starts from."""

    key: str
    quantity: Decimal
    before: Decimal
    purpose: Purpose

    @property
    def is_increase(self) -> bool:
        return self.quantity > ZERO


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """What to record and what to write, in the order to write it.

    `looks`: per cell that was read. `available`: A, None while something the pool needs was never read. `wanted`:
    the physical balance each target should show. `held`: cells that should change but may not now, with the reason.
    `missing`: cells the pool needs that could not be read, with the reason; while there are any, nothing is raised.
    `joins_at`: cells without books whose balance may still be an old one, and when they may be given their baseline.
    """

    looks: Mapping[str, Look]
    owed: Decimal
    level: Decimal | None
    available: Decimal | None
    wanted: Mapping[str, Decimal]
    wishes: tuple[Wish, ...]
    held: Mapping[str, str]
    missing: Mapping[str, str]
    again_at: datetime | None
    must_look: bool
    joins_at: Mapping[str, datetime] = field(default_factory=dict)

    @property
    def has_news(self) -> bool:
        """Whether the world differs from the books or from what the rule asks for."""
        return (
            bool(self.wishes)
            or self.again_at is not None
            or any(look.movement != ZERO or look.is_baseline for look in self.looks.values())
        )


@dataclass(slots=True)
class _Now:
    """A cell after its look: what counts from here on. Not frozen: there are many, and nobody else sees them."""

    cell: CellInput
    look: Look | None
    accounted: Decimal
    reserved: Decimal

    @property
    def is_writable(self) -> bool:
        return self.look is not None and self.look.is_settled and not self.cell.refused

    @property
    def obstacle(self) -> str:
        """Why this cell cannot be written now."""
        if self.look is None:
            return self.cell.unread or "unreadable"
        if self.look.is_blocked:
            return "unknown_write"
        return "put_off" if self.look.put_off is not None else "rejected"


def plan_pool(pool: PoolInput) -> PoolPlan:
    """Decide what to book and what to write for one SKU of one group.

    1. Look at every cell that was read: movements, put-off differences, baselines.
    2. Work out the pool, with the last known value of what could not be read.
    3. Wish for write-backs of what is owed, then for decreases, then for increases.
    """
    virtual = pool.balance is BalanceKind.VIRTUAL
    cells = sorted(pool.cells, key=lambda cell: (cell.role is Role.TARGET, cell.position, cell.key))
    joins_at = {cell.key: due for cell in cells if (due := _joins_at(cell, pool.window)) is not None}
    if joins_at:
        cells = [replace(cell, seen=None, unread="put_off") if cell.key in joins_at else cell for cell in cells]
    looks = {cell.key: _look(pool, cell, cell.seen) for cell in cells if cell.seen is not None}
    again = [*joins_at.values(), *(look.again_at for look in looks.values() if look.again_at is not None)]
    must_look = bool(joins_at) or any(look.must_look for look in looks.values())
    missing = dict(pool.uncounted) | {
        cell.key: cell.unread or "unreadable"
        for cell in cells
        if cell.seen is None and (cell.role is Role.SOURCE or (virtual and cell.book is None))
    }
    never_read = [cell for cell in cells if cell.seen is None and cell.book is None]
    now = [one for cell in cells if (one := _now(cell, looks.get(cell.key), virtual)) is not None]
    targets = [one for one in now if one.cell.role is Role.TARGET]
    sources = [one for one in now if one.cell.role is Role.SOURCE]

    owed, level = pool.owed, pool.level
    if pool.target_movements is not TargetMovements.OVERWRITE:
        owed += total(one.look.movement for one in targets if one.look is not None)
    if pool.mode is Mode.MIRROR:
        level = _seeded(pool, cells, now) if level is None else level
        if level is not None:
            # What moved before the pool had a start was owed to it.
            level, owed = level + owed, ZERO

    again_at = min(again, default=None)
    pool_unknown = not pool.is_begun and any(cell.role is Role.SOURCE or virtual for cell in never_read)
    is_empty = not sources and level is None and not pool.had_sources
    if pool_unknown or (pool.mode is Mode.MIRROR and level is None) or not targets or is_empty:
        return PoolPlan(looks, owed, level, None, {}, (), {}, missing, again_at, must_look, joins_at)

    available = _available(pool, level, owed, sources, targets)
    wishes: list[Wish] = []
    held: dict[str, str] = {}
    if pool.mode is Mode.SUM:
        moved = () if pool.target_movements is TargetMovements.OVERWRITE else targets
        owed = _wish_write_backs(pool.owed, moved, sources, wishes, held)
    decimals = pool_decimals(_parts(level, owed, sources, targets, wishes))
    wanted: dict[str, Decimal] = {}
    for target in targets:
        wanted[target.cell.key] = apply_rule(target.cell.rule or TargetRule(), available, decimals) + target.reserved
        _wish_target(target, wanted[target.cell.key], bool(missing), wishes, held)
    wishes.sort(key=lambda wish: (wish.purpose is Purpose.TARGET, wish.is_increase))
    return PoolPlan(looks, owed, level, available, wanted, tuple(wishes), held, missing, again_at, must_look, joins_at)


def _joins_at(cell: CellInput, window: timedelta) -> datetime | None:
    """When a cell without books may be looked at, if what was read of it now may be an old balance."""
    if cell.book is not None or cell.seen is None:
        return None
    return baseline_due(cell.seen, cell.events, cell.written_at, window)


def _look(pool: PoolInput, cell: CellInput, seen: Seen) -> Look:
    look = look_at_cell(cell.book, seen, cell.events, cell.writes, cell.open_write, pool.window, cell.told_reserved)
    if cell.role is Role.SOURCE or pool.target_movements is not TargetMovements.OVERWRITE:
        return look
    # What moves on this target is nobody's stock, so it does not make the pool smaller while it is put off either. Its
    # reservations count, and those of a balance that may be old must not be fewer than they were.
    reserved = look.reserved
    if cell.book is not None and look.put_off is not None:
        reserved = max(reserved, cell.book.reserved)
    return replace(look, doubt=ZERO, reserved=reserved)


def _now(cell: CellInput, look: Look | None, virtual: bool) -> _Now | None:
    """The cell with what counts of it: what was read, else what is known, None when it was never read."""
    if look is not None:
        return _Now(cell, look, look.accounted, look.reserved if virtual else ZERO)
    if cell.book is None:
        return None
    return _Now(cell, None, cell.book.accounted, cell.book.reserved if virtual else ZERO)


def _seeded(pool: PoolInput, cells: Sequence[CellInput], now: Sequence[_Now]) -> Decimal | None:
    """A mirror pool starts as the balance of its seed, or of the first target whose account has the SKU.

    None while just that one was never read: a later one must not take its place.
    """
    start = next((cell.key for cell in cells if cell.key == pool.seed), cells[0].key if cells else None)
    return next((one.accounted for one in now if one.cell.key == start), None)


def _available(
    pool: PoolInput, level: Decimal | None, owed: Decimal, sources: Sequence[_Now], targets: Sequence[_Now]
) -> Decimal:
    """A: what the targets may show of the pool."""
    base = level if level is not None else total(one.accounted - one.reserved for one in sources)
    open_write_backs = total(
        one.cell.open_write.quantity
        for one in sources
        if one.cell.open_write is not None and one.cell.open_write.purpose is Purpose.WRITE_BACK
    )
    doubts = total(one.look.doubt for one in (*sources, *targets) if one.look is not None)
    return base - total(one.reserved for one in targets) + owed + open_write_backs + doubts + pool.perhaps_owed


def _parts(
    level: Decimal | None, owed: Decimal, sources: Sequence[_Now], targets: Sequence[_Now], wishes: Sequence[Wish]
) -> list[Decimal]:
    """The balances that the pool is made of, as they are once the write-backs are made.

    What the targets show is no part of it: a fraction shown here would be a reason for fractions there.
    """
    taken = {wish.key: wish.quantity for wish in wishes}
    opened = [one.cell.open_write.quantity for one in sources if one.cell.open_write is not None]
    on_shelf = [one.accounted + taken.get(one.cell.key, ZERO) for one in sources]
    return [level or ZERO, owed, *on_shelf, *opened, *(one.reserved for one in (*sources, *targets))]


def _wish_write_backs(
    carried: Decimal, targets: Sequence[_Now], sources: Sequence[_Now], wishes: list[Wish], held: dict[str, str]
) -> Decimal:
    """Give what is owed, `carried` from before and moved on targets now, to sources; return what stays owed."""
    moved = [
        Debt(one.look.movement, one.cell.account)
        for one in targets
        if one.look is not None and one.look.movement != ZERO
    ]
    if not moved and carried == ZERO:
        return ZERO
    takers = [
        Taker(
            key=one.cell.key,
            account=one.cell.account,
            preference=one.cell.write_back_position,
            on_shelf=one.accounted,
            reserved=one.reserved,
            is_writable=one.is_writable,
            is_waiting=one.look is not None and not one.look.is_settled and not one.cell.refused,
        )
        for one in sources
    ]
    shares = share_out([Debt(carried), *moved], takers)
    for one in sources:
        if one.cell.key in shares.taken:
            wishes.append(Wish(one.cell.key, shares.taken[one.cell.key], one.accounted, Purpose.WRITE_BACK))
        if one.cell.key in shares.held:
            held[one.cell.key] = one.obstacle
    return shares.left


def _wish_target(target: _Now, wanted: Decimal, lower_only: bool, wishes: list[Wish], held: dict[str, str]) -> None:
    if wanted == target.accounted:
        return
    wish = Wish(target.cell.key, wanted - target.accounted, target.accounted, Purpose.TARGET)
    if not target.is_writable:
        held[wish.key] = target.obstacle
    elif lower_only and wish.is_increase:
        held[wish.key] = "lower_only"
    else:
        wishes.append(wish)
