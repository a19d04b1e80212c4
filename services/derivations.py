"""Why a SKU shows what it shows: each number of it with the entries of the books that it is made of.

Nothing is worked out anew from Bling, and nothing is guessed: what the entries leave open is named as a difference.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from core.derivation import CellPart, PoolParts, Term, TermKind, pool_figures, pool_terms
from core.facts import ZERO, Mode, Purpose, Role
from core.intents import IN_DOUBT_STATES, OPEN_STATES, WriteState
from core.rule_steps import Step, rule_steps
from core.rules import TargetRule, apply, pool_decimals
from models import Cell, Event, Movement, Organization, Pool, Run, StockGroup, StockWrite
from services.frames import CellFrame
from services.sku_books import CellBooks, PoolBooks, SkuBooks, load_books


class GapKind(StrEnum):
    """Why a target does not show what its rule gives."""

    WRITING = "writing"
    UNKNOWN = "unknown"
    PUT_OFF = "put_off"
    HELD = "held"
    PROBLEM = "problem"
    QUEUED = "queued"
    UNCHECKED = "unchecked"


@dataclass(frozen=True, slots=True)
class Gap:
    """One cause of a difference. `until`: when it is looked at again; `run`: what waits; `write`: what is under way."""

    kind: GapKind
    code: str | None = None
    until: datetime | None = None
    run: Run | None = None
    write: StockWrite | None = None


@dataclass(frozen=True, slots=True)
class Cause:
    """The newest entry of a cell, with the run that made it and the event that told of it."""

    at: datetime
    quantity: Decimal
    is_ours: bool
    run: Run | None
    event: Event | None


@dataclass(frozen=True, slots=True)
class CellView:
    """A cell of the books. `counts`: whether it is part of the rule today; `reason`: why not, or what ails it."""

    books: CellBooks
    role: Role | None
    counts: bool
    reason: str | None
    open_write: StockWrite | None
    cause: Cause | None

    @property
    def row(self) -> Cell:
        return self.books.row

    @property
    def place(self) -> str:
        return f"{self.books.account.name} · {self.books.deposit.name}"


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of the rule that is in force, and whether the rule, or an exception for the SKU (here), gave it."""

    name: str
    value: Decimal
    origin: str


@dataclass(frozen=True, slots=True)
class TargetView:
    """One target: `steps` lead from the pool to `offered`; `wanted` is that plus what is reserved there.

    `shown` is what Bling offers there by the books, None while it was never read. `gaps` name why `missing`, what the
    target still lacks, is not zero. `rule`: the one that is in force for the SKU there.
    """

    place: str
    cell: CellView | None
    rule: TargetRule
    figures: tuple[Figure, ...]
    steps: tuple[Step, ...]
    offered: Decimal | None
    reserved: Decimal
    wanted: Decimal | None
    shown: Decimal | None
    missing: Decimal
    gaps: tuple[Gap, ...]


@dataclass(frozen=True, slots=True)
class PoolView:
    """One rule: the pool as terms that add up to `available`, its targets, and all cells that its books hold.

    `start`: of a mirror, the terms that add up to its level. `problem`: why the SKU is left alone there. `parts`: the
    books that the terms are read from.
    """

    group: StockGroup
    row: Pool | None
    problem: str | None
    available: Decimal | None
    terms: tuple[Term, ...]
    start: tuple[Term, ...]
    targets: tuple[TargetView, ...]
    cells: tuple[CellView, ...]
    left_out: tuple[tuple[str, str], ...]
    parts: PoolParts

    def place_of(self, key: str | None) -> str:
        return next((cell.place for cell in self.cells if cell.row.id == key), "")


@dataclass(frozen=True, slots=True)
class Derivation:
    """All rules and targets of one SKU. `due_at`: when it is settled next, if it waits."""

    sku: str
    name: str
    pools: tuple[PoolView, ...]
    due_at: datetime | None
    is_working: bool

    @property
    def cell_ids(self) -> list[str]:
        return [cell.row.id for pool in self.pools for cell in pool.cells]


def derive(organization: Organization, sku: str, now: datetime | None = None) -> Derivation | None:
    """The derivation of every number of this SKU, None when the organization never heard of it."""
    books = load_books(organization, sku, now)
    if books is None:
        return None
    return Derivation(
        sku=books.sku,
        name=books.name,
        pools=tuple(_pool(pool, books) for pool in books.pools),
        due_at=None if books.dirty is None else books.dirty.due_at,
        is_working=books.dirty is not None and books.dirty.lease is not None,
    )


def _pool(pool: PoolBooks, books: SkuBooks) -> PoolView:
    if not pool.group.is_active:
        # What it once counted says nothing any more; its entries are still worth reading.
        pool = replace(pool, row=None)
    framed = {cell.row.id: cell for cell in pool.frame.cells if cell.row is not None} if pool.frame else {}
    cells = tuple(_cell(cell, framed.get(cell.row.id), pool, books) for cell in pool.cells)
    parts = _parts(pool, framed)
    left_out = {} if pool.frame is None else pool.frame.left_out
    targets = () if pool.frame is None else tuple(
        _target(cell, cells, pool, parts, books) for cell in pool.frame.cells if cell.role is Role.TARGET
    )  # fmt: skip
    return PoolView(
        group=pool.group,
        row=pool.row,
        problem=_problem(pool),
        available=parts.available,
        terms=pool_terms(parts),
        start=_start(pool, framed, cells),
        targets=targets,
        cells=cells,
        left_out=tuple((deposit_id, reason) for deposit_id, reason in left_out.items()),
        parts=parts,
    )


def _problem(pool: PoolBooks) -> str | None:
    if pool.frame is None:
        return "deleted"
    return pool.frame.problem or (pool.row.problem if pool.row is not None else None)


def _parts(pool: PoolBooks, framed: dict[str, CellFrame]) -> PoolParts:
    """The books as the terms of the pool; only cells that the rule counts today."""
    virtual = pool.frame is not None and pool.frame.is_virtual
    return PoolParts(
        mode=Mode(pool.group.mode),
        owed=ZERO if pool.row is None else pool.row.owed,
        level=None if pool.row is None else pool.row.level,
        available=None if pool.row is None else pool.row.available,
        cells=[
            CellPart(
                key=cell.row.id,
                role=framed[cell.row.id].role,
                accounted=cell.row.accounted,
                reserved=cell.row.reserved if virtual else ZERO,
                doubt=cell.row.doubt or ZERO,
                under_way=_under_way(framed[cell.row.id]),
                elsewhere=_elsewhere(framed[cell.row.id]),
            )
            for cell in pool.cells
            if cell.row.id in framed
        ],
    )


def _under_way(cell: CellFrame) -> Decimal:
    """What an open write-back of this rule brings to the source: it is no longer owed and not yet there.

    An undo that may have lowered the source counts as well; one that may have raised it does not before it is known.
    """
    write = cell.open_write
    if write is None or cell.row is None or write.cell_id != cell.row.id:
        return ZERO
    lowers = cell.role is Role.SOURCE and write.quantity < ZERO
    return write.quantity if lowers or write.purpose == Purpose.WRITE_BACK else ZERO


def _elsewhere(cell: CellFrame) -> Decimal:
    """What another rule's write may have taken from here, as services.book_facts counts it."""
    write = cell.open_write
    is_ours = write is not None and cell.row is not None and write.cell_id == cell.row.id
    if write is None or is_ours or write.state not in IN_DOUBT_STATES or write.quantity > ZERO:
        return ZERO
    return write.quantity


def _cell(cell: CellBooks, frame: CellFrame | None, pool: PoolBooks, books: SkuBooks) -> CellView:
    left_out = None if pool.frame is None else pool.frame.left_out.get(cell.deposit.id)
    open_write = next((write for write in cell.latest_writes if write.state in OPEN_STATES), None)
    return CellView(
        books=cell,
        role=None if frame is None else frame.role,
        counts=frame is not None,
        reason=left_out or (None if frame is None else frame.problem or cell.row.problem),
        open_write=open_write or (frame.open_write if frame is not None else None),
        cause=_cause(cell, books),
    )


def _cause(cell: CellBooks, books: SkuBooks) -> Cause | None:
    movement = next(iter(cell.latest_movements), None)
    write = next((write for write in cell.latest_writes if write.state == WriteState.CONFIRMED), None)
    if write is not None and (movement is None or write.id > movement.id):
        run = books.runs.get(write.item_id)
        at = write.ended_at or write.planned_at
        return Cause(at, write.quantity, is_ours=True, run=run, event=run.event if run is not None else None)
    if movement is None:
        return None
    return _moved(movement, books)


def _moved(movement: Movement, books: SkuBooks) -> Cause:
    run = books.runs.get(movement.item_id)
    event = movement.event or (run.event if run is not None else None)
    return Cause(movement.booked_at, movement.quantity, is_ours=False, run=run, event=event)


def _start(pool: PoolBooks, framed: dict[str, CellFrame], cells: tuple[CellView, ...]) -> tuple[Term, ...]:
    """Of a mirror: its seed's first balance and all movements since, and as the rest what changes of the rule made."""
    level = None if pool.row is None else pool.row.level
    if pool.group.mode != Mode.MIRROR or level is None:
        return ()
    counted = [cell for cell in cells if cell.counts]
    seed = next((c for c in counted if c.row.deposit_id == pool.group.seed_deposit_id), None)
    if seed is None and framed:
        first = next(iter(framed))
        seed = next((c for c in counted if c.row.id == first), None)
    terms = [] if seed is None else [Term(TermKind.SHELF, seed.row.id, seed.row.baseline)]
    if pool.group.target_movements == "write_back":
        terms += [Term(TermKind.OWED, c.row.id, c.books.moved) for c in counted if c.books.moved]
    rest = level - sum((term.quantity for term in terms), ZERO)
    return (*terms, Term(TermKind.REST, None, rest)) if rest else tuple(terms)


def _target(
    frame: CellFrame, cells: tuple[CellView, ...], pool: PoolBooks, parts: PoolParts, books: SkuBooks
) -> TargetView:
    cell = next((one for one in cells if frame.row is not None and one.row.id == frame.row.id), None)
    rule = frame.rule or TargetRule()
    decimals = pool_decimals(pool_figures(parts))
    virtual = pool.frame is not None and pool.frame.is_virtual
    reserved = cell.row.reserved if cell is not None and virtual else ZERO
    offered = None if parts.available is None else apply(rule, parts.available, decimals)
    wanted = None if offered is None else offered + reserved
    missing = ZERO if wanted is None or cell is None else wanted - cell.row.accounted
    return TargetView(
        place=f"{frame.account.name} · {frame.deposit.name}",
        cell=cell,
        rule=rule,
        figures=_figures(frame, pool),
        steps=() if parts.available is None else rule_steps(rule, parts.available, decimals),
        offered=offered,
        reserved=reserved,
        wanted=wanted,
        shown=None if cell is None else cell.row.accounted - reserved,
        missing=missing,
        gaps=_gaps(cell, pool, books) if missing else (),
    )


def _figures(frame: CellFrame, pool: PoolBooks) -> tuple[Figure, ...]:
    """What the rule says of this target, each figure with where it comes from; the narrowest word counts."""
    found: dict[str, Figure] = {}
    exceptions = sorted(pool.overrides, key=lambda override: override.deposit_id is not None)
    says = [("rule", frame.member)] + [
        ("sku" if one.deposit_id is None else "sku_here", one)
        for one in exceptions
        if one.deposit_id in (None, frame.deposit.id)
    ]
    for origin, row in says:
        for name in ("reserve", "percent", "max", "stop_at"):
            value = getattr(row, name)
            if value is not None:
                found[name] = Figure(name, value, origin)
    return tuple(found.values())


def _gaps(cell: CellView | None, pool: PoolBooks, books: SkuBooks) -> tuple[Gap, ...]:
    """All that stands between a target and what its rule gives; never empty, so that no difference goes unnamed."""
    gaps: list[Gap] = []
    if cell is not None:
        gaps += _gaps_of_cell(cell)
    problem = _problem(pool)
    if problem is not None and not any(gap.code == problem for gap in gaps):
        gaps.append(Gap(GapKind.PROBLEM, code=problem))
    if books.held is not None:
        gaps.append(Gap(GapKind.HELD, run=books.held))
    if books.dirty is not None:
        gaps.append(Gap(GapKind.QUEUED, until=books.dirty.due_at))
    return tuple(gaps) or (Gap(GapKind.UNCHECKED),)


def _gaps_of_cell(cell: CellView) -> list[Gap]:
    gaps: list[Gap] = []
    write = cell.open_write
    if write is not None and write.state == WriteState.UNKNOWN:
        gaps.append(Gap(GapKind.UNKNOWN, code="unknown_write", write=write))
    elif write is not None:
        gaps.append(Gap(GapKind.WRITING, write=write))
    if cell.row.put_off is not None:
        gaps.append(Gap(GapKind.PUT_OFF, code="put_off", until=cell.row.put_off_until))
    if cell.reason is not None and not any(gap.code == cell.reason for gap in gaps):
        gaps.append(Gap(GapKind.PROBLEM, code=cell.reason))
    return gaps
