"""What the books know of one SKU in one group, as rows: a frame, with a cell for each of the group's deposits.

`services.frame_loading` fills them, `services.book_facts` says them to the core.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

import config
from core.facts import ZERO, BalanceKind, Mode, Purpose, Role, Seen
from core.intents import IN_DOUBT_STATES, WriteState
from core.rules import TargetRule
from models import Account, Cell, Deposit, Event, GroupDeposit, Pool, Product, StockGroup, StockWrite

# How long a confirmed write of ours is remembered for its echo; a later echo costs one look, nothing else.
ECHO_MEMORY = timedelta(minutes=15)


def settle_window() -> timedelta:
    """How long Bling may show an old balance after a change (W)."""
    return timedelta(seconds=config.current().settle_window_s)


@dataclass(slots=True)
class CellFrame:
    """One deposit of the group with the product that stands for the SKU there. `problem`: why it is not read.

    `earlier`: books of a time before the product or the deposit left the pool, when it has come back. They are no
    measure for anything. `written_at`: when a write of ours at this place last ended, of whichever pool. `passed`: its
    balances before movements that were booked a moment ago. `told_reserved`: as the newest virtual event says.
    """

    member: GroupDeposit
    deposit: Deposit
    account: Account
    product: Product
    row: Cell | None
    earlier: Cell | None = None
    written_at: datetime | None = None
    problem: str | None = None
    events: list[Event] = field(default_factory=list)
    writes: list[StockWrite] = field(default_factory=list)
    open_write: StockWrite | None = None
    rule: TargetRule | None = None
    passed: tuple[Decimal, ...] = ()
    told_reserved: Decimal | None = None

    @property
    def key(self) -> str:
        return f"{self.product.id}:{self.deposit.id}"

    @property
    def role(self) -> Role:
        return Role(self.member.role)

    @property
    def is_in_doubt(self) -> bool:
        """Whether a write may have been applied here or not; until that is known, nothing more is written."""
        return self.open_write is not None and is_in_doubt(self.open_write)


def is_in_doubt(write: StockWrite) -> bool:
    """Whether a write may have been applied or not."""
    return write.state in IN_DOUBT_STATES


@dataclass(slots=True)
class PoolFrame:
    """One SKU of one group. `problem`: why nothing can be done for it; `left_out`: deposits without a cell, and why.

    `uncounted`: of those, sources whose stock nobody can count; the pool has books without them. `had_sources`: sources
    that the rule names held stock of it, whether or not any still does. `departed`: cells that left with a write of
    unknown outcome.
    """

    group: StockGroup
    sku: str
    product_name: str
    row: Pool | None
    cells: list[CellFrame]
    left_out: dict[str, str]
    problem: str | None
    virtual_events: list[Event] = field(default_factory=list)
    uncounted: dict[str, str] = field(default_factory=dict)
    had_sources: bool = False
    departed: list[StockWrite] = field(default_factory=list)

    @property
    def is_virtual(self) -> bool:
        return self.group.balance == BalanceKind.VIRTUAL

    @property
    def unfollowed(self) -> str | None:
        """Why the SKU, or a deposit of it, is left alone; None when all of it is followed."""
        return self.problem or next(iter(self.left_out.values()), None)

    @property
    def is_begun(self) -> bool:
        """Whether the pool had a number before."""
        return self.row is not None and self.row.available is not None

    def starts_from(self, deposit: Deposit) -> bool:
        """Whether the pool, which has no level yet, is to begin as the balance of this deposit."""
        is_waiting = self.group.mode == Mode.MIRROR and (self.row is None or self.row.level is None)
        return is_waiting and bool(self.group.seed_deposit_id == deposit.id)

    def planned_writes(self) -> list[StockWrite]:
        """Writes of an earlier settler that never left: they are cancelled and planned anew.

        Only this rule's own: a source may be another rule's too, and what that one owes is not ours.
        """
        opened = [(cell.row, cell.open_write) for cell in self.cells]
        return [
            write
            for row, write in opened
            if write is not None and write.state == WriteState.PLANNED and row is not None and write.cell_id == row.id
        ]

    def owed(self) -> Decimal:
        """What targets owe the pool, the write-backs that never left included."""
        stored: Decimal = self.row.owed if self.row is not None else ZERO
        return stored + sum((w.quantity for w in self.planned_writes() if w.purpose == Purpose.WRITE_BACK), ZERO)

    def perhaps_owed(self) -> Decimal:
        """What write-backs to sources that have left would have to take off the pool if they never arrived; 0 or less.

        If they did arrive, the source took it along. What they would have to add is not counted.
        """
        doubtful = (write.quantity for write in self.departed if write.purpose == Purpose.WRITE_BACK)
        return sum((min(ZERO, quantity) for quantity in doubtful), ZERO)


@dataclass(frozen=True, slots=True)
class Unread:
    """A balance that could not be read, and why."""

    reason: str


Readings = Mapping[tuple[str, str], Seen | Unread]
