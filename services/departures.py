"""Cells that leave a pool: a product gets another SKU or is gone, a deposit is taken out of its rule.

From then on what happens there is none of the pool's business. What had been told of before still is; what was planned
and not sent is taken back; the row stays, for its history, and starts anew when the cell comes back. All of it happens
in the transaction that brings the change, so that no settling ever measures against books that are over.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from peewee import Expression

from clock import utcnow
from core.events import sortable_id
from core.facts import ZERO, Evidence, Mode, Purpose, Role, Seen, TargetMovements
from core.intents import IN_DOUBT_STATES, WriteState
from core.look import Look, look_at_cell
from core.values import ProductFormat, ProductSituation
from models import (
    Cell,
    Deposit,
    Event,
    EventState,
    GroupDeposit,
    Movement,
    Pool,
    Product,
    SkuOverride,
    StockGroup,
    StockWrite,
)
from services.book_facts import book_of_row, own_write, stock_fact
from services.writes import give_up, owe, take_back

T = TypeVar("T")

_CHUNK = 500
# What the last look said of a cell is over with it.
_OVER: dict[str, object] = {"put_off": None, "put_off_until": None, "doubt": None, "problem": None}


def part_with_products(account_id: str, bling_ids: Collection[int] | None, told_at: str | None = None) -> set[str]:
    """Let every cell go whose product no longer is that SKU's: another SKU, deleted, or without stock of its own.

    In the caller's transaction, after the products were stored. `bling_ids` None: all of the account. `told_at`: the
    id of the event that told of it, as 32 hexadecimal characters; stock events with a later one are not the pool's.
    Without it nobody knows when it happened, and what was told until now is taken for what was done before.
    Returns the SKUs of the pools that were left.
    """
    away = (
        (Product.sku != Pool.sku)
        | (Product.situation == ProductSituation.DELETED)
        | (Product.format != ProductFormat.SIMPLE)
    )
    mine = (Cell.account == account_id) & away
    conditions = [mine] if bling_ids is None else [mine & Product.bling_id.in_(chunk) for chunk in _chunks(bling_ids)]
    left: set[str] = set()
    for condition in conditions:
        gone = _part(condition, told_at)
        left |= {one.sku for one in gone}
        _pass_on_events(account_id, {one.product_bling_id for one in gone})
    return left


def part_with_deposits(group: StockGroup, deposit_ids: Collection[str]) -> None:
    """Let the cells of these deposits go, in the caller's transaction, while they still are members of the group."""
    if deposit_ids:
        _part((Pool.group == group.id) & Cell.deposit.in_(list(deposit_ids)))


def part_with_exceptions(group: StockGroup, sku: str | None = None) -> None:
    """Let the cells go that the merchant excepted from the rule, of this SKU or of all: they are theirs to mind."""
    exceptions = SkuOverride.select().where((SkuOverride.group == group.id) & (SkuOverride.is_ignored == 1))
    for one in exceptions if sku is None else exceptions.where(SkuOverride.sku == sku):
        excepted = (Pool.group == group.id) & (Pool.sku == one.sku)
        if one.deposit_id is not None:
            targets = GroupDeposit.select(GroupDeposit.deposit).where(
                (GroupDeposit.group == group.id) & (GroupDeposit.role == Role.TARGET)
            )
            excepted &= (Cell.deposit == one.deposit_id) & Cell.deposit.in_(targets)
        _part(excepted)


def give_up_departed(writes: Iterable[StockWrite], window: timedelta, now: datetime | None = None) -> list[StockWrite]:
    """End the writes of unknown outcome whose cell has left, once their settle window is over; returns those ended.

    Whoever takes the place over starts with the balance found, in which the write is or is not. What a source may not
    have taken stays owed; what it may not have been given is not: of two readings the one with the smaller pool.
    """
    now = now or utcnow()
    ended = []
    for write in writes:
        cell = Cell.get_by_id(write.cell_id)
        is_over = write.ended_at is not None and write.ended_at + window <= now
        if cell.left_at is None or write.state != WriteState.UNKNOWN or not is_over or not give_up(write):
            continue
        if write.purpose == Purpose.WRITE_BACK and write.quantity < ZERO:
            owe(write, write.quantity)
        ended.append(write)
    return ended


@dataclass(frozen=True, slots=True)
class _Leaving:
    cell_id: str
    pool_id: str
    sku: str
    account_id: str
    product_bling_id: int
    deposit_bling_id: int

    @property
    def place(self) -> tuple[str, int, int]:
        return self.account_id, self.product_bling_id, self.deposit_bling_id


def _part(condition: Expression, told_at: str | None = None) -> list[_Leaving]:
    now = utcnow()
    rows = (
        Cell.select(Cell.id, Cell.pool, Pool.sku, Cell.account, Product.bling_id, Deposit.bling_id)
        .join(Pool)
        .switch(Cell)
        .join(Product)
        .switch(Cell)
        .join(Deposit)
        .where(Cell.left_at.is_null() & condition)
        .order_by(Cell.id)
    )
    leaving = [_Leaving(*row) for row in rows.tuples()]
    busy = _busy(leaving)
    for chunk in _chunks([one.cell_id for one in leaving if one.cell_id not in busy]):
        Cell.update(left_at=now, **_OVER).where(Cell.id.in_(chunk)).execute()
    for cell_id in sorted(busy):
        planned = (StockWrite.cell_id == cell_id) & (StockWrite.state == WriteState.PLANNED)
        take_back(list(StockWrite.select().where(planned)))
        while not _close(cell_id, told_at, now):
            # A settling of its pool was faster by a moment: what that one booked need not be booked again.
            continue
    _start_anew({one.pool_id for one in leaving})
    return leaving


def _busy(leaving: Sequence[_Leaving]) -> set[str]:
    """Those with a write that never left, or with events that nobody has looked into: the others need one statement."""
    if not leaving:
        return set()
    pending = Event.select(Event.account, Event.product_bling_id, Event.deposit_bling_id).where(
        Event.account.in_({one.account_id for one in leaving})
        & (Event.state == EventState.PENDING)
        & Event.deposit_bling_id.is_null(False)
    )
    told = set(pending.tuples())
    planned = StockWrite.select(StockWrite.cell_id).where(
        StockWrite.account.in_({one.account_id for one in leaving}) & (StockWrite.state == WriteState.PLANNED)
    )
    writing = {cell_id for (cell_id,) in planned.tuples()}
    return {one.cell_id for one in leaving if one.place in told or one.cell_id in writing}


def _pass_on_events(account_id: str, product_bling_ids: Collection[int]) -> None:
    """What was told of a product after it left is for the pool it is in now."""
    for chunk in _chunks(product_bling_ids):
        carried = Product.select(Product.bling_id, Product.sku).where(
            (Product.account == account_id) & Product.bling_id.in_(chunk) & (Product.sku != "")
        )
        for bling_id, sku in carried.tuples():
            Event.update(sku=sku).where(
                (Event.account == account_id)
                & (Event.product_bling_id == bling_id)
                & (Event.state == EventState.PENDING)
                & Event.sku.is_null(False)
            ).execute()


def _close(cell_id: str, told_at: str | None, now: datetime) -> bool:
    """Book what events had told before, and mark the row. False when the books moved meanwhile."""
    cell = (
        Cell.select(Cell, Pool, StockGroup, Product, Deposit)
        .join(Pool)
        .join(StockGroup)
        .switch(Cell)
        .join(Product)
        .switch(Cell)
        .join(Deposit)
        .where(Cell.id == cell_id)
        .get()
    )
    look, events = _last_look(cell, told_at)
    accounted = cell.accounted if look is None else look.accounted
    is_as_read = (Cell.id == cell.id) & Cell.left_at.is_null() & (Cell.accounted == cell.accounted)
    if Cell.update(accounted=accounted, left_at=now, **_OVER).where(is_as_read).execute() != 1:
        return False
    if look is not None:
        _book(cell, look, now)
    ids = [event.id for event in events]
    if ids:
        Event.update(state=EventState.PROCESSED).where(
            Event.id.in_(ids) & (Event.state == EventState.PENDING)
        ).execute()
    return True


def _last_look(cell: Cell, told_at: str | None) -> tuple[Look | None, list[Event]]:
    """What the events that came before link up to, without asking Bling: by now it may show another pool's doing."""
    pool: Pool = cell.pool
    told = Event.select().where(
        (Event.organization == cell.organization_id)
        & (Event.sku == pool.sku)
        & (Event.state == EventState.PENDING)
        & (Event.account == cell.account_id)
        & (Event.product_bling_id == cell.product.bling_id)
        & (Event.deposit_bling_id == cell.deposit.bling_id)
    )
    before = [
        event
        for event in told.order_by(Event.bling_event_id, Event.id)
        if told_at is None or (sortable_id(event.bling_event_id) or "") < told_at
    ]
    facts = [fact for event in before if (fact := stock_fact(event)) is not None]
    writes = list(
        StockWrite.select()
        .where(
            (StockWrite.cell_id == cell.id)
            & ((StockWrite.state.in_(IN_DOUBT_STATES)) | (StockWrite.ended_at >= cell.read_at))
        )
        .order_by(StockWrite.id)
    )
    if not facts or any(write.state in IN_DOUBT_STATES for write in writes):
        return None, before
    newest = facts[-1]
    confirmed = [own_write(write) for write in writes if write.state == WriteState.CONFIRMED]
    seen = Seen(newest.after, cell.reserved, newest.at)
    look = look_at_cell(book_of_row(cell), seen, facts, confirmed, None, timedelta(0))
    return (look if look.evidence is Evidence.CHAIN else None), before


def _book(cell: Cell, look: Look, now: datetime) -> None:
    group: StockGroup = cell.pool.group
    role = (
        GroupDeposit.select(GroupDeposit.role)
        .where((GroupDeposit.group == group.id) & (GroupDeposit.deposit == cell.deposit_id))
        .scalar()
    )
    if role == Role.TARGET and group.is_active and group.target_movements != TargetMovements.OVERWRITE:
        is_seeded = group.mode == Mode.MIRROR and cell.pool.level is not None
        taker = Pool.level if is_seeded else Pool.owed
        Pool.update({taker: taker + look.movement}).where(Pool.id == cell.pool_id).execute()
    Movement.create(
        organization=cell.organization_id,
        cell=cell.id,
        event=look.used[-1] if look.used else None,
        quantity=look.movement,
        before=cell.accounted,
        after=look.accounted,
        evidence=look.evidence,
        booked_at=now,
    )


def _start_anew(pool_ids: Collection[str]) -> None:
    """A pool that nothing is left of begins again with whatever gets its SKU next: those are other goods."""
    for chunk in _chunks(pool_ids):
        alive = Cell.select(Cell.pool).where(Cell.pool.in_(chunk) & Cell.left_at.is_null())
        Pool.update(level=None, available=None, problem=None).where(
            Pool.id.in_(chunk) & Pool.id.not_in(alive)
        ).execute()


def _chunks(items: Collection[T]) -> list[list[T]]:
    listed = list(items)
    return [listed[start : start + _CHUNK] for start in range(0, len(listed), _CHUNK)]
