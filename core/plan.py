"""The decision: from the books and what was just read, what others did, what the pool is, and what to write.

Pure: the same input gives the same plan, the order of the cells does not matter, and planning again after the
plan was carried out gives no writes. The formulas are those of DESIGN.md, "The books".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from core.look import Look, look_at_cell
from core.rules import TargetRule, pool_decimals
from core.rules import apply as apply_rule


@dataclass(frozen=True, slots=True)
class CellInput:
    """One cell as the planner gets it.

    `key` names it; `position` orders it inside its role; `write_back_position` is its place among the sources that
    the merchant chose to take movements of targets. `seen` None: it could not be read, for the reason `unread`.
    `refused`: Bling said no to a write there and nobody has looked into it since.
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


@dataclass(frozen=True, slots=True)
class PoolInput:
    """One SKU of one group. `owed`: what no source has taken yet. `level`: the pool itself (mirror), None at first."""

    mode: Mode
    balance: BalanceKind
    target_movements: TargetMovements
    owed: Decimal
    level: Decimal | None
    seed: str | None
    cells: Sequence[CellInput]
    window: timedelta


@dataclass(frozen=True, slots=True)
class Wish:
    """A relative write that is wanted: `quantity` is signed, `before` the balance it starts from."""

    key: str
    quantity: Decimal
    before: Decimal
    purpose: Purpose


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """What to record and what to write, in the order to write it.

    `looks`: per cell that was read. `available`: A, None while something the pool needs was never read. `wanted`:
    the physical balance each target should show. `held`: cells that should change but may not now, with the reason.
    `missing`: cells the pool needs that could not be read, with the reason; while there are any, nothing is raised.
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

    @property
    def has_news(self) -> bool:
        """Whether the world differs from the books or from what the rule asks for."""
        return (
            bool(self.wishes)
            or self.again_at is not None
            or any(look.movement != ZERO or look.is_baseline for look in self.looks.values())
        )


@dataclass(frozen=True, slots=True)
class _Now:
    """A cell after its look: what counts from here on."""

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
    looks = {
        cell.key: look_at_cell(cell.book, cell.seen, cell.events, cell.writes, cell.open_write, pool.window)
        for cell in cells
        if cell.seen is not None
    }
    again = [look.again_at for look in looks.values() if look.again_at is not None]
    missing = {
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
        owed += sum((one.look.movement for one in targets if one.look is not None), ZERO)
    if pool.mode is Mode.MIRROR:
        level = _seeded(pool, cells, now) if level is None else level
        if level is not None:
            # What moved before the pool had a start was owed to it.
            level, owed = level + owed, ZERO

    pool_unknown = any(cell.role is Role.SOURCE or virtual for cell in never_read)
    if pool_unknown or (pool.mode is Mode.MIRROR and level is None) or not targets or (not sources and level is None):
        return PoolPlan(looks, owed, level, None, {}, (), {}, missing, min(again, default=None), _must_look(looks))

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
    wishes.sort(key=lambda wish: (wish.purpose is Purpose.TARGET, wish.quantity > ZERO))
    return PoolPlan(
        looks, owed, level, available, wanted, tuple(wishes), held, missing, min(again, default=None), _must_look(looks)
    )


def _must_look(looks: Mapping[str, Look]) -> bool:
    return any(look.must_look for look in looks.values())


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
    base = level if level is not None else sum((one.accounted - one.reserved for one in sources), ZERO)
    open_write_backs = sum(
        (
            one.cell.open_write.quantity
            for one in sources
            if one.cell.open_write is not None and one.cell.open_write.purpose is Purpose.WRITE_BACK
        ),
        ZERO,
    )
    doubts = sum((one.look.doubt for one in (*sources, *targets) if one.look is not None), ZERO)
    return base - sum((one.reserved for one in targets), ZERO) + owed + open_write_backs + doubts


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
    moves = [(one.look.movement, one.cell.account) for one in targets if one.look is not None]
    shares: dict[str, Decimal] = {}
    stays = ZERO
    for amount, account in ((carried, None), *moves):
        if amount == ZERO:
            continue
        takers = _takers(sources, account)
        taker = next((one for one in takers if one.is_writable), None)
        if taker is None:
            stays += amount
            held.update((one.cell.key, one.obstacle) for one in takers)
        else:
            shares[taker.cell.key] = shares.get(taker.cell.key, ZERO) + amount
    for one in sources:
        if shares.get(one.cell.key, ZERO) != ZERO:
            wishes.append(Wish(one.cell.key, shares[one.cell.key], one.accounted, Purpose.WRITE_BACK))
    return stays


def _takers(sources: Sequence[_Now], account: str | None) -> list[_Now]:
    """Who takes a movement made on a target of this account: the merchant's choice; else its own account's sources,
    then the first, then, when that one cannot, the next.
    """
    chosen = [(one.cell.write_back_position, one) for one in sources if one.cell.write_back_position is not None]
    if chosen:
        return [one for _, one in sorted(chosen, key=lambda pair: (pair[0], pair[1].cell.key))]
    at_home = [one for one in sources if one.cell.account == account]
    return at_home + [one for one in sources if one not in at_home]


def _wish_target(target: _Now, wanted: Decimal, lower_only: bool, wishes: list[Wish], held: dict[str, str]) -> None:
    quantity = wanted - target.accounted
    if quantity == ZERO:
        return
    if not target.is_writable:
        held[target.cell.key] = target.obstacle
    elif lower_only and quantity > ZERO:
        held[target.cell.key] = "lower_only"
    else:
        wishes.append(Wish(target.cell.key, quantity, target.accounted, Purpose.TARGET))
