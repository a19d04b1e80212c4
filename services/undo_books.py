"""From rows to what core.undo judges: writes that are to be undone, by cell, with all that happened there since."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from peewee import chunked

from core.facts import ZERO, BalanceKind, Purpose, Role
from core.intents import IN_DOUBT_STATES, OPEN_STATES, WriteState
from core.skus import Problem
from core.undo import ChosenWrite, Refusal, UndoCell
from models import (
    Account,
    AccountState,
    Cell,
    Deposit,
    GroupDeposit,
    Movement,
    Pool,
    Product,
    RunItem,
    SkuOverride,
    StockGroup,
    StockWrite,
)

CELLS_PER_STEP = 300


@dataclass(slots=True)
class ChosenCell:
    """One cell with the writes chosen of it, oldest first. Writes whose books are gone went with them.

    `then`: what was available to targets when the first of these writes was made. `writes`: all of ours there since.
    """

    sku: str
    group: StockGroup
    account: Account
    deposit: Deposit
    product: Product
    chosen: Sequence[StockWrite]
    row: Cell
    state: UndoCell
    then: Decimal | None = None
    writes: list[StockWrite] = field(default_factory=list)

    @property
    def cell_id(self) -> str:
        cell_id: str = self.row.id
        return cell_id


def choose(condition: Any) -> list[StockWrite]:
    """The writes that were made, or may have been, and that meet the condition, with the rows they are about."""
    query = (
        StockWrite.select(StockWrite, RunItem.id, RunItem.product_name, RunItem.available)
        .join(RunItem, on=(StockWrite.item == RunItem.id))
        .where(condition & StockWrite.state.in_((WriteState.CONFIRMED, *IN_DOUBT_STATES)))
    )
    writes = list(query.order_by(StockWrite.id))
    # Few accounts and deposits stand behind many writes: each is read once.
    for table, name in ((Account, "account"), (Deposit, "deposit"), (Product, "product")):
        rows: dict[str, Any] = {}
        for ids in chunked({getattr(write, f"{name}_id") for write in writes}, CELLS_PER_STEP):
            rows.update((row.id, row) for row in table.select().where(table.id.in_(ids)))
        for write in writes:
            setattr(write, name, rows[getattr(write, f"{name}_id")])
    return writes


def cells_of(chosen: Iterable[StockWrite], *, by_item: bool = False) -> list[ChosenCell]:
    """These writes by cell, in the order of SKU, account and deposit, each with all that happened there since.

    `by_item`: the writes are in the hands of the items that undo them; each item has its own cells then, and what it
    has in hand is not taken.
    """
    parts: dict[tuple[str, str | None], list[StockWrite]] = defaultdict(list)
    for write in chosen:
        parts[(write.cell_id, write.undo_item_id if by_item else None)].append(write)
    found: list[ChosenCell] = []
    for some in chunked(parts.values(), CELLS_PER_STEP):
        world = _World(some, by_item)
        found.extend(map(world.cell, some))
    return sorted(found, key=lambda one: (one.sku, one.account.name, one.deposit.name, one.cell_id))


class _World:
    """What the cells of one step are judged from, loaded at once."""

    def __init__(self, parts: Sequence[Sequence[StockWrite]], by_item: bool) -> None:
        self.by_item = by_item
        chosen = [write for writes in parts for write in writes]
        ids = list({write.cell_id for write in chosen})
        rows = Cell.select(Cell, Pool.id, Pool.sku, Pool.group).join(Pool).where(Cell.id.in_(ids))
        self.rows = {row.id: row for row in rows}
        groups = StockGroup.select().where(StockGroup.id.in_({row.pool.group_id for row in self.rows.values()}))
        self.groups = {group.id: group for group in groups}
        self.first = min(write.id for write in chosen)
        self._load_writes(ids, {write.product_id for write in chosen})
        self._load_movements({row.pool_id for row in self.rows.values()})
        self._load_rules({row.pool.group_id for row in self.rows.values()})
        undone_in = {write.undo_item_id for write in chosen if write.undo_item_id is not None}
        unfinished = RunItem.select(RunItem.id).where(RunItem.id.in_(list(undone_in)) & RunItem.finished_at.is_null())
        self.unfinished = {item.id for item in unfinished} if undone_in else set()

    def _load_writes(self, cell_ids: Sequence[str], product_ids: Iterable[str]) -> None:
        # A plan judges thousands of them; whoever carries it out needs all of each.
        columns = () if self.by_item else (StockWrite.id, StockWrite.cell_id, StockWrite.state, StockWrite.item)
        since = StockWrite.select(*columns).where(
            StockWrite.cell_id.in_(cell_ids)
            & (StockWrite.id >= self.first)
            & StockWrite.state.in_((WriteState.CONFIRMED, *OPEN_STATES))
        )
        self.writes: dict[str, list[StockWrite]] = defaultdict(list)
        for write in since.order_by(StockWrite.id):
            self.writes[write.cell_id].append(write)
        in_doubt = StockWrite.select(StockWrite.product, StockWrite.deposit).where(
            StockWrite.product.in_(list(product_ids)) & StockWrite.state.in_(IN_DOUBT_STATES)
        )
        self.in_doubt = {(write.product_id, write.deposit_id) for write in in_doubt}

    def _load_movements(self, pool_ids: Iterable[str]) -> None:
        booked = (
            Movement.select(Movement.id, Movement.cell, Cell.id, Cell.pool)
            .join(Cell)
            .where(Cell.pool.in_(list(pool_ids)) & (Movement.id >= self.first))
        )
        self.of_cell: dict[str, list[str]] = defaultdict(list)
        self.of_pool: dict[str, list[str]] = defaultdict(list)
        for movement in booked:
            self.of_cell[movement.cell_id].append(movement.id)
            self.of_pool[movement.cell.pool_id].append(movement.id)

    def _load_rules(self, group_ids: Iterable[str]) -> None:
        groups = list(group_ids)
        members = GroupDeposit.select().where(GroupDeposit.group.in_(groups))
        self.roles = {(member.group_id, member.deposit_id): Role(member.role) for member in members}
        ignored = SkuOverride.select().where(SkuOverride.group.in_(groups) & (SkuOverride.is_ignored == 1))
        self.ignored = {(override.group_id, override.sku, override.deposit_id) for override in ignored}

    def cell(self, chosen: Sequence[StockWrite]) -> ChosenCell:
        last = chosen[-1]
        row = self.rows[last.cell_id]
        return ChosenCell(
            sku=row.pool.sku,
            group=self.groups[row.pool.group_id],
            account=last.account,
            deposit=last.deposit,
            product=last.product,
            chosen=chosen,
            row=row,
            state=self._state(chosen, row),
            then=chosen[0].item.available,
            writes=self.writes[last.cell_id],
        )

    def _state(self, chosen: Sequence[StockWrite], row: Cell) -> UndoCell:
        last, group = chosen[-1], self.groups[row.pool.group_id]
        member = self.roles.get((group.id, row.deposit_id))
        # Where the deposit left its rule, what we wrote for says what it was.
        role = member or (Role.TARGET if last.purpose == Purpose.TARGET else Role.SOURCE)
        ids = {write.id for write in chosen}
        is_left_alone = any((group.id, row.pool.sku, where) in self.ignored for where in (None, row.deposit_id))
        return UndoCell(
            role=role,
            chosen=[self._chosen(write) for write in chosen],
            accounted=row.accounted,
            reserved=row.reserved if group.balance == BalanceKind.VIRTUAL else ZERO,
            others=[w.id for w in self.writes[row.id] if w.state == WriteState.CONFIRMED and w.id not in ids],
            movements=self.of_pool[row.pool_id] if role is Role.TARGET else self.of_cell[row.id],
            is_in_doubt=(row.product_id, row.deposit_id) in self.in_doubt,
            is_refused=row.problem == Problem.REJECTED,
            is_ruled=member is Role.TARGET and group.is_active and not is_left_alone,
            problem=_problem(row, last),
        )

    def _chosen(self, write: StockWrite) -> ChosenWrite:
        undone_by, is_taken = None, False
        if write.undo_item_id is not None and not self.by_item:
            undone = [one for one in self.writes[write.cell_id] if one.item_id == write.undo_item_id]
            is_taken = bool(undone) or write.undo_item_id in self.unfinished
            undone_by = next((one.id for one in undone if one.state == WriteState.CONFIRMED), None)
        is_confirmed = write.state == WriteState.CONFIRMED
        return ChosenWrite(write.id, write.quantity, write.before, is_confirmed, is_taken, undone_by)


def _problem(row: Cell, write: StockWrite) -> str | None:
    """Why the place cannot be written at all."""
    product, deposit, account = write.product, write.deposit, write.account
    if product.situation != "active":
        return Problem.DELETED if product.situation == "deleted" else Problem.INACTIVE
    if product.format != "simple":
        return Problem.COMPOSITION if product.format == "composition" else Problem.PARENT
    if product.sku != row.pool.sku:
        return Refusal.RENAMED
    if not deposit.is_active:
        return Problem.DEPOSIT_OFF
    return None if account.state == AccountState.CONNECTED else Problem(account.state)
