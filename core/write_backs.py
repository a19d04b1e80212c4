"""Which source takes what targets owe: the movements that were made where the stock is only shown.

What leaves goes to the first source of the order as far as that one has it, the rest to the next. Two limits count, one
after the other: first what is free on each shelf, so that no open order loses the units it waits for while another
source has free ones; then all that is there. A sale that no shelf can cover did happen all the same: the first source
takes it below zero, because the sum has to stay true and a negative balance says honestly that there was an oversale.
What comes back goes to the first source whole: which one it left is not known by then, and nothing can run short.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from core.facts import ZERO


@dataclass(frozen=True, slots=True)
class Debt:
    """A quantity that the sources have to take; negative is what was sold. `account` is where, None: not known."""

    quantity: Decimal
    account: str | None = None

    @property
    def is_sale(self) -> bool:
        return self.quantity < ZERO


@dataclass(frozen=True, slots=True)
class Taker:
    """A source. `preference`: its place in the merchant's order, None when it is not in it.

    `is_writable`: it can be written now. `is_waiting`: it was read and will be writable before long.
    """

    key: str
    account: str
    preference: int | None
    on_shelf: Decimal
    reserved: Decimal
    is_writable: bool
    is_waiting: bool = False

    @property
    def free(self) -> Decimal:
        return self.on_shelf - max(ZERO, self.reserved)


@dataclass(frozen=True, slots=True)
class Shares:
    """`taken`: what each source takes, without those that take nothing; `left`: what stays owed, because of `held`."""

    taken: Mapping[str, Decimal]
    left: Decimal
    held: frozenset[str]


def share_out(debts: Iterable[Debt], takers: Sequence[Taker]) -> Shares:
    """Give the debts to the sources, which come in the order of the rule. What is taken and what is left make the sum.

    A source that cannot be written now is passed over. Where nobody else has enough and one that is waiting has stock,
    the rest stays owed until then: it would be wrong to send another one below zero for the sake of some seconds.
    """
    shares: dict[str, Decimal] = {}
    left = ZERO
    held: set[str] = set()
    # What comes back is on a shelf again before anything is taken from there.
    for debt in sorted((debt for debt in debts if debt.quantity != ZERO), key=lambda debt: debt.is_sale):
        order = in_order(takers, debt.account)
        able = [taker for taker in order if taker.is_writable]
        rest = _take(debt.quantity, able, shares)
        if rest == ZERO:
            continue
        in_the_way = {one.key for one in order if one.is_waiting and one.on_shelf > ZERO}
        if able and not in_the_way:
            shares[able[0].key] = shares.get(able[0].key, ZERO) + rest
        else:
            left += rest
            # The same ones for every debt: neither their order nor what was taken before makes a difference.
            held = in_the_way if able else {taker.key for taker in order}
    return Shares({key: share for key, share in shares.items() if share != ZERO}, left, frozenset(held))


def in_order(takers: Sequence[Taker], account: str | None) -> list[Taker]:
    """Who takes a movement made in this account, first choice first: the sources that the merchant chose, in that
    order, and nobody else; else those of the account itself, then the others as they stand in the rule.
    """
    chosen = {(taker.preference, taker.key): taker for taker in takers if taker.preference is not None}
    if chosen:
        return [chosen[place] for place in sorted(chosen)]
    return sorted(takers, key=lambda taker: taker.account != account)


def _take(quantity: Decimal, takers: Sequence[Taker], shares: dict[str, Decimal]) -> Decimal:
    """Take what leaves from those that have it, first what is free, then what is there; return what is not covered.

    What comes back goes whole to the first.
    """
    for from_shelf in (False, True):
        for taker in takers:
            share = shares.get(taker.key, ZERO)
            there = max(ZERO, (taker.on_shelf if from_shelf else taker.free) + share)
            part = max(quantity, -there)
            if part != ZERO:
                shares[taker.key] = share + part
                quantity -= part
    return quantity
