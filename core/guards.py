"""The guard against mass drops: what a run would take away of a group's targets, and whether that is too much.

DESIGN.md, "Guards": a person decides before a run lowers more than `min_skus` SKUs of a group and more than `percent`
of those that the group follows. Sales, which webhooks announce, are no matter of the guard.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from core.facts import ZERO, Purpose
from core.plan import PoolPlan


class Verdict(StrEnum):
    """Why a group's part of a run may go on, or why it waits for a person."""

    FEW = "few"
    """Not more SKUs are lowered than may always be."""
    SMALL_SHARE = "small_share"
    """More than a few, and still a small part of the group."""
    MASS_DROP = "mass_drop"

    @property
    def is_held(self) -> bool:
        return self is Verdict.MASS_DROP


@dataclass(frozen=True, slots=True)
class Limits:
    """A group's own guard. With 0 and 0 every drop waits for a person, with 100 % none does."""

    min_skus: int
    percent: Decimal


@dataclass(frozen=True, slots=True)
class Drop:
    """A target that would be lowered. `is_zeroed`: nothing would be left of it to sell."""

    key: str
    before: Decimal
    after: Decimal
    is_zeroed: bool


def foresee(plan: PoolPlan, *, virtual: bool) -> tuple[Drop, ...]:
    """The targets that this plan lowers. `virtual`: open orders are taken off what a target offers."""
    return tuple(
        Drop(wish.key, wish.before, after, is_zeroed=after <= (plan.looks[wish.key].reserved if virtual else ZERO))
        for wish in plan.wishes
        if wish.purpose is Purpose.TARGET and not wish.is_increase
        for after in (wish.before + wish.quantity,)
    )


def judge(lowered: int, skus: int, limits: Limits) -> Verdict:
    """Whether lowering so many of the SKUs that a group follows is too much at once.

    A SKU that is lowered is followed, whatever the count says: an empty or late count makes the share larger.
    """
    if lowered <= limits.min_skus:
        return Verdict.FEW
    if lowered * 100 <= limits.percent * max(skus, lowered):
        return Verdict.SMALL_SHARE
    return Verdict.MASS_DROP
