"""What the engine knows about one cell, as plain values: books, readings, events, our own writes.

A *cell* is one (product, deposit) of a group. Quantities are Decimal units, moments aware datetimes in UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

ZERO = Decimal(0)


class Role(StrEnum):
    SOURCE = "source"
    TARGET = "target"


class Mode(StrEnum):
    SUM = "sum"
    MIRROR = "mirror"


class BalanceKind(StrEnum):
    PHYSICAL = "physical"
    VIRTUAL = "virtual"


class TargetMovements(StrEnum):
    WRITE_BACK = "write_back"
    OVERWRITE = "overwrite"


class Purpose(StrEnum):
    TARGET = "target"
    WRITE_BACK = "write_back"


class Evidence(StrEnum):
    """What a booked movement rests on: the linked events, or only the balance found."""

    CHAIN = "chain"
    LEVEL = "level"


@dataclass(frozen=True, slots=True)
class Seen:
    """A balance as Bling showed it; `at` is the moment before the question left, so it is never too new.

    `until`: when the answer was there. What happened before that may be in it, however late we ask what is.
    """

    physical: Decimal
    reserved: Decimal
    at: datetime
    until: datetime | None = None

    @property
    def latest(self) -> datetime:
        """The last moment that the balance may tell of."""
        return self.until or self.at


@dataclass(frozen=True, slots=True)
class Book:
    """What is already explained: `accounted` physical units, reading accepted at `read_at`, last change known.

    `reserved_at`: when the reservations last changed, from `reserved_before`. `passed`: balances that the cell had
    before movements of others that were booked within the settle window.
    """

    accounted: Decimal
    reserved: Decimal
    read_at: datetime
    changed_at: datetime | None
    reserved_at: datetime | None = None
    reserved_before: Decimal | None = None
    passed: tuple[Decimal, ...] = ()


@dataclass(frozen=True, slots=True)
class StockFact:
    """One stock event of a cell. `quantity` is signed; None where the event has no before (a count, a deletion).

    `event_id` is Bling's UUIDv7, which gives the order; `at` is when it happened, never later than its arrival.
    `reserved` is what the event says is reserved, when it says so. `told_from`, `told_until`: Bling's own clock says
    that it happened between these two; None when it does not say.
    """

    id: str
    event_id: str
    quantity: Decimal | None
    after: Decimal
    at: datetime
    reserved: Decimal | None = None
    told_from: datetime | None = None
    told_until: datetime | None = None

    @property
    def before(self) -> Decimal | None:
        """The balance right before the movement; None where the event has none."""
        return None if self.quantity is None else self.after - self.quantity


@dataclass(frozen=True, slots=True)
class OwnWrite:
    """A confirmed write of ours: signed quantity, and the balance it was planned from.

    `is_echoed`: its event came and is done with.
    """

    id: str
    quantity: Decimal
    before: Decimal
    ended_at: datetime
    is_echoed: bool = False

    @property
    def after(self) -> Decimal:
        return self.before + self.quantity


@dataclass(frozen=True, slots=True)
class OpenWrite:
    """A write whose outcome is not known: it may or may not have been applied."""

    quantity: Decimal
    purpose: Purpose
