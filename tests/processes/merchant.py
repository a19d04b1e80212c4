"""A merchant who never rests, and the promises of DESIGN checked in Bling's own books when he does."""

from __future__ import annotations

import random
import threading
from collections import Counter, defaultdict
from collections.abc import Set
from dataclasses import dataclass
from decimal import Decimal

from tests.processes.installation import SKUS, SOURCES, STOCK, TARGETS, WINDOW_S, Installation

PLACES = (*SOURCES, *TARGETS)
SIZES = {place: 10**number for number, place in enumerate(PLACES)}
MILLION, ZERO = Decimal(1_000_000), Decimal(0)
# Moments are kept to the millisecond.
CLOCK_S = 0.01
Place = tuple[str, int]


class Merchant:
    """Sells, receives, reserves, posts and cancels at random from a thread of its own; use it as a context."""

    def __init__(
        self, installation: Installation, seed: int, pause_s: float = 0.1, skus: tuple[str, ...] = SKUS
    ) -> None:
        self.bling = installation.bling
        self.skus = skus
        self.done = 0
        self._random = random.Random(seed)
        self._pause_s = pause_s
        self._orders: list[int] = []
        self._ended = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Merchant:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        for order in self._orders:
            self.bling.post(order)
        self._orders.clear()
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        while not self._ended.wait(self._pause_s * self._random.uniform(0.2, 1.8)):
            try:
                self._act()
            except Exception as failure:
                self._failure = failure
                return
            self.done += 1

    def _act(self) -> None:
        account, deposit = self._random.choice(PLACES)
        # Of a size of its own per place: one like a write of ours, there and at that time, nobody could tell from it
        # (DESIGN, "Writes" 4), and the outcome would be left to chance.
        sku, quantity = self._random.choice(self.skus), self._random.randint(1, 3) * SIZES[account, deposit]
        deed = self._random.choice(("sell", "sell", "sell", "receive", "receive", "reserve", "close"))
        if deed == "sell":
            self.bling.sell(account, sku, quantity, deposit)
        elif deed == "receive":
            self.bling.receive(account, sku, quantity, deposit)
        elif deed == "reserve":
            self._orders.append(self.bling.reserve(account, sku, quantity, deposit).id)
        elif self._orders:
            order = self._orders.pop(self._random.randrange(len(self._orders)))
            self._random.choice((self.bling.post, self.bling.cancel))(order)


def check(installation: Installation, *, is_told: bool = True) -> int:
    """Every promise for every SKU, from Bling's own books; returns how many writes had to be put before a person.

    A write whose outcome nobody can tell may wait for a person only where somebody else moved the same deposit of the
    same SKU while its call was under way, or, where not all events come (`is_told` False), between the look that the
    write was planned after and the one that was to settle it. Of its SKU the targets may show less than there is, never
    more. Once the person has said what Bling did, nothing at all is wrong.
    """
    assert not installation.open_work()
    waiting = undecided(installation, is_told=is_told)
    without_excuse = [write for write in waiting if not write.excuse]
    assert not without_excuse, "\n".join(map(str, without_excuse))
    skus = {write.sku for write in waiting}
    found = [*faults(installation, skus), *not_applied_once(installation, skus)]
    assert not found, "\n".join(found)
    if waiting:
        print(f"{len(waiting)} writes of {len(skus)} SKUs are beyond telling: a person answers")
        installation.answer({write.id: write.was_applied for write in waiting})
        installation.settle()
        found = [*map(str, undecided(installation)), *faults(installation), *not_applied_once(installation)]
        assert not found, "\n".join(found)
    return len(waiting)


def faults(installation: Installation, undecided_skus: Set[str] = frozenset()) -> list[str]:
    """Which sums do not hold; empty when all is well."""
    bling, found = installation.bling, []
    for sku in SKUS:
        held = sum((bling.balance(account, sku, deposit).physical for account, deposit in SOURCES), ZERO)
        due, in_pool = total(installation, sku), pool(installation, sku)
        shown = [bling.balance(account, sku, deposit).virtual for account, deposit in TARGETS]
        if sku in undecided_skus:
            if max(shown) > in_pool:
                found.append(f"{sku}: undecided, but of {in_pool} the targets show {', '.join(map(str, shown))}")
            continue
        if held != due:
            found.append(f"{sku}: the sources hold {held}, not {due}")
        if any(quantity != in_pool for quantity in shown):
            found.append(f"{sku}: the pool is {in_pool}, the targets show {', '.join(map(str, shown))}")
    return found


def total(installation: Installation, sku: str) -> Decimal:
    """What the sources have to hold: what they held, and every movement since, wherever it was made."""
    moved = (one.after - one.before for one in installation.bling.movements(product=sku) if one.origin != "api")
    return sum(moved, Decimal(sum(STOCK[place] for place in SOURCES)))


def pool(installation: Installation, sku: str) -> Decimal:
    """What the targets have to show."""
    reserved = (installation.bling.balance(account, sku, deposit).reserved for account, deposit in PLACES)
    return max(total(installation, sku) - sum(reserved, ZERO), ZERO)


def not_applied_once(installation: Installation, left_out: Set[str] = frozenset()) -> list[str]:
    """Where Bling's list of movements made through the API differs from the writes that we hold for confirmed."""
    applied: dict[Place, Counter[Decimal]] = defaultdict(Counter)
    for movement in installation.bling.movements(origin="api"):
        applied[movement.sku, movement.deposit_id][movement.after - movement.before] += 1
    confirmed: dict[Place, Counter[Decimal]] = defaultdict(Counter)
    for sku, deposit_id, quantity in installation.rows(
        "SELECT p.sku, d.bling_id, w.quantity FROM stock_write w JOIN product p ON p.id = w.product_id"
        " JOIN deposit d ON d.id = w.deposit_id WHERE w.state = 'confirmed'"
    ):
        confirmed[sku, deposit_id][Decimal(quantity) / MILLION] += 1
    return [
        f"{place}: Bling applied {sorted(applied[place].elements())}, confirmed {sorted(confirmed[place].elements())}"
        for place in sorted(applied.keys() | confirmed.keys())
        if place[0] not in left_out and applied[place] != confirmed[place]
    ]


@dataclass(frozen=True, slots=True)
class Undecided:
    """A write that waits for a person. `was_applied`: the truth. `excuse`: what others moved there during its call."""

    id: str
    sku: str
    deposit_id: int
    quantity: Decimal
    was_applied: bool
    excuse: tuple[str, ...]


def undecided(installation: Installation, *, is_told: bool = True) -> list[Undecided]:
    """Writes that nothing but a person can settle; see check()."""
    answered = {bling_id for (bling_id,) in installation.rows("SELECT bling_id FROM stock_write")}
    found = []
    for write_id, sku, deposit_id, micros, *moments in installation.rows(
        "SELECT w.id, p.sku, d.bling_id, w.quantity, w.planned_at, w.sent_at, w.ended_at, w.found_at FROM stock_write w"
        " JOIN product p ON p.id = w.product_id JOIN deposit d ON d.id = w.deposit_id"
        " WHERE w.state = 'unknown' OR w.evidence = 'smaller_pool' ORDER BY w.id"
    ):
        quantity = Decimal(micros) / MILLION
        planned_at, sent_at, ended_at, found_at = (moment / 1000 for moment in moments)
        begins, ends = (sent_at, ended_at + WINDOW_S) if is_told else (planned_at, found_at)
        there = [one for one in installation.bling.movements(product=sku) if one.deposit_id == deposit_id]
        # At most one write at a time is under way to a cell, so what nobody confirmed in that time is this one.
        was_applied = any(
            one.origin == "api"
            and one.id not in answered
            and one.after - one.before == quantity
            and sent_at <= one.at <= ended_at + CLOCK_S
            for one in there
        )
        excuse = tuple(
            f"{one.origin} {one.after - one.before} at {one.at - sent_at:+.2f} s"
            for one in there
            if one.origin != "api" and begins - WINDOW_S <= one.at <= ends + WINDOW_S
        )
        found.append(Undecided(write_id, sku, deposit_id, quantity, was_applied, excuse))
    return found
