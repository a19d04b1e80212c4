"""Facts of the decision core as Hypothesis makes them up, and a little pure model of Bling to carry plans out on.

The model does with a plan what services/recording.py and services/writes.py do, and nothing more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

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
from core.plan import CellInput, PoolInput, PoolPlan, plan_pool
from core.rules import TargetRule

D = Decimal
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
WINDOW = timedelta(seconds=10)
ACCOUNTS = ("Matriz", "Filial", "Avulsa")

small = st.integers(-20, 20).map(D)
# What Bling can hold, with decimals, below zero, and close to the largest that the database takes.
odd = st.one_of(
    small,
    st.integers(-(10**9), 10**9).map(lambda millionths: D(millionths).scaleb(-6)),
    st.sampled_from([D("0.000001"), D("-0.000001"), D(10) ** 11, D(10) ** 11 + D("0.999999"), D("-99999999999.5")]),
)
moments = st.integers(-25_000, 25_000).map(lambda ms: NOON + timedelta(milliseconds=ms))


def fact(name: str, quantity: Any, after: Any, at: datetime = NOON, reserved: Any = None) -> StockFact:
    return StockFact(
        id=name,
        event_id=name,
        quantity=None if quantity is None else D(quantity),
        after=D(after),
        at=at,
        reserved=None if reserved is None else D(reserved),
    )


def own(name: str, quantity: Any, before: Any, ended_at: datetime = NOON, is_echoed: bool = False) -> OwnWrite:
    return OwnWrite(name, D(quantity), D(before), ended_at, is_echoed)


def ago(seconds: float) -> datetime:
    return NOON - timedelta(seconds=seconds)


@st.composite
def history(draw: st.DrawFn, counts: bool = True) -> list[tuple[str, Decimal]]:
    """What happened to a cell: foreign movements, writes of ours, and counts, which set a balance."""
    kinds = ["foreign", "own", "count"] if counts else ["foreign", "own"]
    steps = st.tuples(st.sampled_from(kinds), st.integers(-5, 5).map(D))
    return [step for step in draw(st.lists(steps, max_size=8)) if step[1] != 0 or step[0] == "count"]


def events_of(start: Decimal, steps: Iterable[tuple[str, Decimal]]) -> tuple[list[StockFact], list[OwnWrite], Decimal]:
    """The events and the writes of a history, and the balance it leads to."""
    events: list[StockFact] = []
    writes: list[OwnWrite] = []
    level = start
    for number, (kind, quantity) in enumerate(steps):
        if kind == "own":
            writes.append(own(f"write {number}", quantity, level))
        level = quantity if kind == "count" else level + quantity
        events.append(fact(f"{kind} {number}", None if kind == "count" else quantity, level))
    return events, writes, level


rules = st.builds(
    TargetRule,
    reserve=st.sampled_from([D(0), D(0), D(2), D("0.5")]),
    percent=st.sampled_from([D(100), D(100), D(50), D("33.3333"), D(0)]),
    max=st.sampled_from([None, None, D(4), D("2.5")]),
    stop_at=st.sampled_from([None, None, D(1), D(0)]),
)


# Made once: making strategies costs more than drawing from them.
_numbers = st.one_of(small, small, odd)
_changes = _numbers.filter(bool)
_past = st.integers(-25, 0).map(lambda seconds: NOON + timedelta(seconds=seconds))
_books = st.none() | st.builds(Book, _numbers, _numbers, _past, st.none() | moments)
_seen = st.none() | st.builds(Seen, _numbers, _numbers, _past)
_told = st.lists(st.tuples(st.none() | _numbers, _numbers, moments, st.none() | _numbers), max_size=3)
_written = st.lists(st.tuples(_changes, _numbers, _past), max_size=2)
_unread = st.sampled_from([None, "reconnect", "unreadable"])
_flags = st.tuples(st.booleans(), st.sampled_from([False, False, False, True]), st.sampled_from(ACCOUNTS))
_written_at = st.none() | moments
_open = st.none() | st.none() | _changes
_rules_or_none = st.none() | rules
_positions = st.integers(0, 1)


@st.composite
def cells(draw: st.DrawFn, key: str, role: Role, write_back_position: int | None) -> CellInput:
    """A cell in any state at all, most of them unlikely."""
    is_calm, is_refused, account = draw(_flags)
    book, seen = draw(_books), draw(_seen)
    if book is not None and seen is not None and is_calm:
        seen = replace(seen, physical=book.accounted)
    in_doubt = draw(_open)
    purpose = Purpose.TARGET if role is Role.TARGET else Purpose.WRITE_BACK
    return CellInput(
        key=key,
        role=role,
        position=draw(_positions),
        book=book,
        seen=seen,
        unread=draw(_unread) if seen is None else None,
        rule=draw(_rules_or_none) if role is Role.TARGET else None,
        account=account,
        write_back_position=write_back_position,
        events=[fact(f"{key} event {n}", *told) for n, told in enumerate(draw(_told))],
        writes=[own(f"{key} write {n}", *written) for n, written in enumerate(draw(_written))],
        open_write=None if in_doubt is None else OpenWrite(in_doubt, purpose),
        refused=is_refused,
        written_at=draw(_written_at),
    )


_takers = st.permutations([0, 1, 2, None, None, None])
_targets = [cells(f"compartilhado {n}", Role.TARGET, None) for n in range(3)]
_sources = {(n, taker): cells(f"principal {n}", Role.SOURCE, taker) for n in range(3) for taker in (0, 1, 2, None)}
_counts = st.integers(0, 3)
_modes, _kinds, _movements = st.sampled_from(Mode), st.sampled_from(BalanceKind), st.sampled_from(TargetMovements)
_levels = st.none() | odd
# What was before: whether the pool ever had a number, sources that cannot be counted, and what may still be owed.
_pasts = st.fixed_dictionaries(
    {
        "is_begun": st.booleans(),
        "had_sources": st.booleans(),
        "uncounted": st.sampled_from([{}, {}, {"principal 9": "duplicate"}]),
        "perhaps_owed": st.sampled_from([D(0), D(0), D(-3)]),
    }
)


@st.composite
def pools(draw: st.DrawFn, mode: Mode | None = None, movements: TargetMovements | None = None) -> PoolInput:
    """One SKU of one rule, in any state at all."""
    mode = mode or draw(_modes)
    takers = draw(_takers)
    listed = [draw(_sources[n, takers[n]]) for n in range(draw(_counts) if mode is Mode.SUM else 0)]
    listed += [draw(_targets[n]) for n in range(draw(_counts))]
    is_mirror = mode is Mode.MIRROR
    return PoolInput(
        mode=mode,
        balance=draw(_kinds),
        target_movements=movements or draw(_movements),
        owed=draw(small),
        level=draw(_levels) if is_mirror else None,
        seed=draw(st.sampled_from([None, *(cell.key for cell in listed)])) if is_mirror else None,
        cells=listed,
        window=WINDOW,
        **draw(_pasts),
    )


def changed(pool: PoolInput, key: str, **values: Any) -> PoolInput:
    """The same pool with one cell changed."""
    return replace(pool, cells=[replace(cell, **values) if cell.key == key else cell for cell in pool.cells])


@dataclass
class Deposit:
    """One cell of the model: what Bling has, and what our books say of it."""

    role: Role
    position: int
    physical: Decimal
    account: str = ""
    rule: TargetRule | None = None
    write_back_position: int | None = None
    reserved: Decimal = ZERO
    book: Book | None = None
    pending: list[StockFact] = field(default_factory=list)
    undelivered: list[StockFact] = field(default_factory=list)
    writes: list[OwnWrite] = field(default_factory=list)
    open_write: OpenWrite | None = None
    is_refused: bool = False
    baseline: Decimal = ZERO
    was: list[tuple[datetime, Decimal, Decimal]] = field(default_factory=list)

    def shown_at(self, moment: datetime) -> tuple[Decimal, Decimal]:
        """Physical balance and reservations as they were: what Bling shows when it lags behind."""
        earlier = [(physical, reserved) for at, physical, reserved in self.was if at <= moment]
        return earlier[-1] if earlier else self.was[0][1:]


@dataclass
class World:
    """A merchant with one SKU: other people move stock, and `settle` does what a worker does."""

    mode: Mode
    balance: BalanceKind
    deposits: dict[str, Deposit]
    target_movements: TargetMovements = TargetMovements.WRITE_BACK
    seed: str | None = None
    owed: Decimal = ZERO
    level: Decimal | None = None
    moved: Decimal = ZERO
    now: datetime = NOON
    serial: int = 0
    again_at: datetime | None = None
    booked: dict[str, Decimal] = field(default_factory=dict)
    was_applied: dict[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for deposit in self.deposits.values():
            deposit.baseline = deposit.physical
            deposit.was.append((self.now - WINDOW, deposit.physical, deposit.reserved))

    def move(self, key: str, quantity: Decimal, *, tell: str = "now", is_count: bool = False) -> None:
        """Somebody sells, receives or counts; `tell`: the event comes now, later, twice, or never."""
        self._apply(key, quantity, tell, is_count)
        self.moved += quantity

    def reserve(self, key: str, quantity: Decimal) -> None:
        deposit = self.deposits[key]
        deposit.reserved += quantity
        deposit.was.append((self.now, deposit.physical, deposit.reserved))

    def post(self, key: str, quantity: Decimal) -> None:
        """An open order leaves the shelf: the reservation and the stock go together."""
        self.deposits[key].reserved -= quantity
        self.move(key, -quantity)

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def deliver(self, key: str) -> None:
        """What was late arrives, in the order of its ids."""
        deposit = self.deposits[key]
        deposit.pending = sorted([*deposit.pending, *deposit.undelivered], key=lambda told: told.event_id)
        deposit.undelivered = []

    def pool_input(self, unread: Iterable[str] = (), lag_s: float = 0) -> PoolInput:
        seen_at = self.now - timedelta(seconds=lag_s)
        listed = []
        for key, deposit in self.deposits.items():
            physical, reserved = deposit.shown_at(seen_at)
            listed.append(
                CellInput(
                    key=key,
                    role=deposit.role,
                    position=deposit.position,
                    book=deposit.book,
                    seen=None if key in unread else Seen(physical, reserved, self.now),
                    unread="unreadable" if key in unread else None,
                    rule=deposit.rule,
                    account=deposit.account,
                    write_back_position=deposit.write_back_position,
                    events=list(deposit.pending),
                    writes=list(deposit.writes),
                    open_write=deposit.open_write,
                    refused=deposit.is_refused,
                )
            )
        return PoolInput(
            self.mode, self.balance, self.target_movements, self.owed, self.level, self.seed, listed, WINDOW
        )

    def settle(
        self,
        unread: Iterable[str] = (),
        lag_s: float = 0,
        meanwhile: Mapping[str, Decimal] | None = None,
        answers: Mapping[str, str] | None = None,
        tell: str = "now",
    ) -> PoolPlan:
        """Read, decide, record, write.

        `meanwhile`: what others move between the reading and the writes. `answers`: how a cell's write ends: confirmed
        when nothing is said, else refused, not_applied, lost (but applied) or lost_before (it was).
        """
        unread = frozenset(unread)
        plan = plan_pool(self.pool_input(unread, lag_s))
        self.owed, self.level, self.again_at = plan.owed, plan.level, plan.again_at
        for key, deposit in self.deposits.items():
            look = plan.looks.get(key)
            if look is None:
                continue
            self.booked[key] = self.booked.get(key, ZERO) + look.movement
            if deposit.book is None:
                # What the books start with is what is there, unless Bling showed something older.
                deposit.book = Book(look.accounted, look.reserved, self.now, None)
                deposit.baseline = look.accounted
            elif look.is_settled:
                changed_at = self.now if look.movement else deposit.book.changed_at
                deposit.book = Book(look.accounted, look.reserved, self.now, changed_at)
            else:
                deposit.book = replace(deposit.book, reserved=look.reserved)
            waits = look.again_at is not None or look.put_off is not None
            deposit.pending = [told for told in deposit.pending if waits and told.id not in look.done]
        for key, quantity in (meanwhile or {}).items():
            self.move(key, quantity)
        for wish in plan.wishes:
            self._write(wish.key, wish.quantity, wish.before, wish.purpose, (answers or {}).get(wish.key, ""), tell)
        return plan

    def resolve(self, key: str) -> None:
        """The evidence about a write of unknown outcome is in: the truth."""
        deposit = self.deposits[key]
        if deposit.open_write is None:
            return
        assert deposit.book is not None
        write, deposit.open_write = deposit.open_write, None
        if self.was_applied.pop(key):
            self._confirm(key, write.quantity, deposit.book.accounted)
        elif write.purpose is Purpose.WRITE_BACK:
            self.owed += write.quantity

    def come_to_rest(self) -> PoolPlan:
        """Everything arrives, nobody does anything more, and the workers go on until there is nothing left to do."""
        for key, deposit in self.deposits.items():
            self.deliver(key)
            self.resolve(key)
            deposit.is_refused = False
        for _ in range(6):
            self.wait(WINDOW.total_seconds() + 1)
            plan = self.settle()
            if not plan.wishes and not plan.has_news:
                return plan
        raise AssertionError(f"it never comes to rest: {plan}")

    def physical(self, role: Role) -> Decimal:
        return sum((deposit.physical for deposit in self.deposits.values() if deposit.role is role), ZERO)

    def _write(self, key: str, quantity: Decimal, before: Decimal, purpose: Purpose, answer: str, tell: str) -> None:
        deposit = self.deposits[key]
        assert deposit.open_write is None, "a second write to a cell whose first is in doubt"
        self.wait(0.2)
        if answer in ("refused", "not_applied"):
            deposit.is_refused = answer == "refused"
            if purpose is Purpose.WRITE_BACK:
                self.owed += quantity
            return
        if answer in ("lost", "lost_before"):
            deposit.open_write = OpenWrite(quantity, purpose)
            self.was_applied[key] = answer == "lost"
            if answer == "lost":
                self._apply(key, quantity, tell)
            return
        self._apply(key, quantity, tell)
        self._confirm(key, quantity, before)

    def _confirm(self, key: str, quantity: Decimal, before: Decimal) -> None:
        deposit = self.deposits[key]
        assert deposit.book is not None
        self.serial += 1
        deposit.writes.append(own(f"write {self.serial:04}", quantity, before, self.now))
        deposit.book = replace(deposit.book, accounted=deposit.book.accounted + quantity, changed_at=self.now)

    def _apply(self, key: str, quantity: Decimal, tell: str, is_count: bool = False) -> None:
        deposit = self.deposits[key]
        deposit.physical += quantity
        deposit.was.append((self.now, deposit.physical, deposit.reserved))
        self.serial += 1
        told = fact(f"event {self.serial:04}", None if is_count else quantity, deposit.physical, self.now)
        if tell == "later":
            deposit.undelivered.append(told)
        elif tell != "never":
            deposit.pending.append(told)
