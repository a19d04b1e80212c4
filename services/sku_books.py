"""All that the books hold about one SKU, in a fixed number of queries: the ground of "Por que este número?".

Only reads, and only inside one organization.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from peewee import JOIN, fn

from core.derivation import CellSum
from core.facts import ZERO
from core.intents import WriteState
from core.quantity import from_millionths
from models import (
    Account,
    Cell,
    Deposit,
    DirtySku,
    Event,
    Movement,
    Organization,
    Pool,
    Product,
    Run,
    RunItem,
    SkuOverride,
    StockGroup,
    StockWrite,
    User,
)
from services.frame_loading import load_frames
from services.frames import PoolFrame

LATEST = 5


@dataclass(frozen=True, slots=True)
class CellBooks:
    """One cell with what its balance is made of; the newest entries in full, the older ones as sums.

    `writes` counts the confirmed ones; `latest_writes` holds those in any state.
    """

    row: Cell
    account: Account
    deposit: Deposit
    moved: Decimal
    movements: int
    written: Decimal
    writes: int
    latest_movements: tuple[Movement, ...]
    latest_writes: tuple[StockWrite, ...]

    @property
    def sum(self) -> CellSum:
        return CellSum(self.row.accounted, self.row.baseline, self.moved, self.written)


@dataclass(frozen=True, slots=True)
class PoolBooks:
    """A rule with what it knows of the SKU. `frame`: as the engine sees it now, None when no account has the SKU."""

    group: StockGroup
    row: Pool | None
    frame: PoolFrame | None
    cells: tuple[CellBooks, ...]
    overrides: tuple[SkuOverride, ...]

    def cell_of(self, cell_id: str) -> CellBooks | None:
        return next((cell for cell in self.cells if cell.row.id == cell_id), None)


@dataclass(frozen=True, slots=True)
class SkuBooks:
    """`runs`: what set an entry going, by the id of the history's item. `dirty`: the SKU's place in the queue."""

    sku: str
    name: str
    pools: tuple[PoolBooks, ...]
    runs: Mapping[str, Run]
    dirty: DirtySku | None
    held: Run | None

    @property
    def cells(self) -> list[CellBooks]:
        return [cell for pool in self.pools for cell in pool.cells]


def load_books(organization: Organization, sku: str, now: datetime | None = None) -> SkuBooks | None:
    """The books of a SKU in all rules of the organization, None when the organization never heard of it."""
    products = list(
        Product.select(Product.name, Product.situation)
        .where((Product.organization == organization.id) & (Product.sku == sku))
        .order_by(Product.situation, Product.id)
    )
    pools = {
        pool.group_id: pool for pool in Pool.select().where((Pool.organization == organization.id) & (Pool.sku == sku))
    }
    if not products and not pools and not _is_in_history(organization, sku):
        return None
    groups = list(
        StockGroup.select()
        .where(StockGroup.organization == organization.id)
        .order_by(StockGroup.is_active.desc(), StockGroup.name, StockGroup.id)
    )
    frames = {
        frame.group.id: frame for frame in load_frames(organization.id, [sku], groups=groups, now=now).get(sku, [])
    }
    cells = _cells([pool.id for pool in pools.values()])
    overrides: dict[str, list[SkuOverride]] = {}
    for override in SkuOverride.select().where(
        (SkuOverride.organization == organization.id) & (SkuOverride.sku == sku)
    ):
        overrides.setdefault(override.group_id, []).append(override)
    known = [group for group in groups if group.id in pools or group.id in frames]
    return SkuBooks(
        sku=sku,
        name=next((product.name for product in products), ""),
        pools=tuple(
            PoolBooks(
                group=group,
                row=pools.get(group.id),
                frame=frames.get(group.id),
                cells=tuple(cells.get(pools[group.id].id, ())) if group.id in pools else (),
                overrides=tuple(overrides.get(group.id, ())),
            )
            for group in known
        ),
        runs=runs_of([entry.item_id for listed in cells.values() for cell in listed for entry in _latest(cell)]),
        dirty=DirtySku.get_or_none((DirtySku.organization == organization.id) & (DirtySku.sku == sku)),
        held=_held(organization, sku),
    )


def runs_of(item_ids: Iterable[str | None]) -> dict[str, Run]:
    """The run of each of these items, with its account, event and person."""
    ids = sorted({item_id for item_id in item_ids if item_id is not None})
    rows = (
        RunItem.select(RunItem, Run, Account, Event, User)
        .join(Run)
        .join(Account, JOIN.LEFT_OUTER)
        .switch(Run)
        .join(Event, JOIN.LEFT_OUTER)
        .switch(Run)
        .join(User, JOIN.LEFT_OUTER)
        .where(RunItem.id.in_(ids))
    )
    return {item.id: item.run for item in rows}


def _latest(cell: CellBooks) -> Sequence[Movement | StockWrite]:
    return (*cell.latest_movements, *cell.latest_writes)


def _is_in_history(organization: Organization, sku: str) -> bool:
    items = RunItem.select(RunItem.id).where((RunItem.organization == organization.id) & (RunItem.sku == sku))
    return bool(items.exists())


def _held(organization: Organization, sku: str) -> Run | None:
    """The newest run that waits for an approval and would change this SKU."""
    item = (
        RunItem.select(RunItem, Run)
        .join(Run)
        .where((RunItem.organization == organization.id) & (RunItem.sku == sku) & (Run.status == "held"))
        .order_by(RunItem.id.desc())
        .first()
    )
    return None if item is None else item.run


def _cells(pool_ids: Sequence[str]) -> dict[str, list[CellBooks]]:
    rows = list(
        Cell.select(Cell, Account, Deposit)
        .join(Account)
        .switch(Cell)
        .join(Deposit)
        .where(Cell.pool.in_(pool_ids))
        .order_by(Account.name, Deposit.name, Cell.id)
    )
    ids = [row.id for row in rows]
    # A cell that came back began anew: what was before its baseline is in it.
    moved = _sums(Movement, Movement.cell, Movement.cell.in_(ids) & (Movement.booked_at > Cell.baseline_at))
    confirmed = (StockWrite.state == WriteState.CONFIRMED) & (StockWrite.ended_at > Cell.baseline_at)
    written = _sums(StockWrite, StockWrite.cell_id, StockWrite.cell_id.in_(ids) & confirmed)
    movements, writes = _latest_movements(ids), _latest_writes(ids)
    found: dict[str, list[CellBooks]] = {}
    for row in rows:
        found.setdefault(row.pool_id, []).append(
            CellBooks(
                row=row,
                account=row.account,
                deposit=row.deposit,
                moved=moved.get(row.id, (0, ZERO))[1],
                movements=moved.get(row.id, (0, ZERO))[0],
                written=written.get(row.id, (0, ZERO))[1],
                writes=written.get(row.id, (0, ZERO))[0],
                latest_movements=tuple(movements.get(row.id, ())),
                latest_writes=tuple(writes.get(row.id, ())),
            )
        )
    return found


def _sums(model, cell, condition):  # type: ignore[no-untyped-def]
    """(how many, how much) by cell."""
    sums = model.select(cell, fn.COUNT(model.id), fn.SUM(model.quantity)).join(Cell, on=(cell == Cell.id))
    rows = sums.where(condition).group_by(cell).tuples()
    return {cell_id: (int(count), from_millionths(int(total))) for cell_id, count, total in rows}


def _latest_movements(cell_ids: Sequence[str]) -> dict[str, list[Movement]]:
    place = fn.ROW_NUMBER().over(partition_by=[Movement.cell], order_by=[Movement.id.desc()])
    numbered = (
        Movement.select(Movement.id, place.alias("place"))
        .join(Cell)
        .where(Movement.cell.in_(cell_ids) & (Movement.booked_at > Cell.baseline_at))
    )
    rows = (
        Movement.select(Movement, Event)
        .join(Event, JOIN.LEFT_OUTER)
        .switch(Movement)
        .join(numbered, JOIN.INNER, on=(Movement.id == numbered.c.id))
        .where(numbered.c.place <= LATEST)
        .order_by(Movement.id.desc())
    )
    found: dict[str, list[Movement]] = {}
    for row in rows:
        found.setdefault(row.cell_id, []).append(row)
    return found


def _latest_writes(cell_ids: Sequence[str]) -> dict[str, list[StockWrite]]:
    place = fn.ROW_NUMBER().over(partition_by=[StockWrite.cell_id], order_by=[StockWrite.id.desc()])
    is_of_now = StockWrite.ended_at.is_null() | (StockWrite.ended_at > Cell.baseline_at)
    numbered = (
        StockWrite.select(StockWrite.id, place.alias("place"))
        .join(Cell, on=(StockWrite.cell_id == Cell.id))
        .where(StockWrite.cell_id.in_(cell_ids) & is_of_now)
    )
    rows = (
        StockWrite.select(StockWrite, User, RunItem, Run)
        .join(User, JOIN.LEFT_OUTER, on=(StockWrite.decided_by == User.id))
        .switch(StockWrite)
        .join(RunItem, JOIN.LEFT_OUTER)
        .join(Run, JOIN.LEFT_OUTER)
        .switch(StockWrite)
        .join(numbered, JOIN.INNER, on=(StockWrite.id == numbered.c.id))
        .where(numbered.c.place <= LATEST)
        .order_by(StockWrite.id.desc())
    )
    found: dict[str, list[StockWrite]] = {}
    for row in rows:
        found.setdefault(row.cell_id, []).append(row)
    return found
