"""A target's rule, told step by step: how the pool becomes what the target shows.

The arithmetic is core.rules.apply's; here each step of it is kept, so that a person can follow.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_DOWN, Context, Decimal
from enum import StrEnum

from core.quantity import to_quantity
from core.rules import NOTHING, WHOLE, TargetRule

_EXACT = Context(prec=60, rounding=ROUND_DOWN)


class StepKind(StrEnum):
    STOPPED = "stopped"
    """The pool is at or below the level at which sales stop."""
    SELLING = "selling"
    """There is such a level, and the pool is above it."""
    RESERVE = "reserve"
    EMPTY = "empty"
    """Nothing is left, and nothing below zero is shown."""
    PERCENT = "percent"
    ROUNDED = "rounded"
    LIMITED = "limited"
    BELOW_MAX = "below_max"


@dataclass(frozen=True, slots=True)
class Step:
    """`amount`: the figure of the rule, None where the step has none. `result`: the quantity after the step."""

    kind: StepKind
    amount: Decimal | None
    result: Decimal


def rule_steps(rule: TargetRule, available: Decimal, decimals: int) -> tuple[Step, ...]:
    """The steps from `available` to what core.rules.apply gives; none where the rule passes the pool on as it is."""
    steps: list[Step] = []
    if rule.stop_at is not None:
        if available <= rule.stop_at:
            return (Step(StepKind.STOPPED, rule.stop_at, NOTHING),)
        steps.append(Step(StepKind.SELLING, rule.stop_at, available))
    left = available
    if rule.reserve != NOTHING:
        left = _EXACT.subtract(available, rule.reserve)
        steps.append(Step(StepKind.RESERVE, rule.reserve, left))
    if left < NOTHING:
        left = NOTHING
        steps.append(Step(StepKind.EMPTY, None, left))
    if rule.percent != WHOLE:
        left = _EXACT.divide(_EXACT.multiply(left, rule.percent), WHOLE)
        steps.append(Step(StepKind.PERCENT, rule.percent, left))
        rounded = left.quantize(Decimal(f"1E-{decimals}"), context=_EXACT)
        if rounded != left:
            left = rounded
            steps.append(Step(StepKind.ROUNDED, None, to_quantity(left)))
    if rule.max is not None:
        kind = StepKind.LIMITED if left > rule.max else StepKind.BELOW_MAX
        left = min(rule.max, left)
        steps.append(Step(kind, rule.max, to_quantity(left)))
    return tuple(steps)
