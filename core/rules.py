"""What a target shows of a pool: reserve, percentage, maximum and the level at which sales stop.

    rule(A) = 0                                                      if stop_at is given and A <= stop_at
              min(max, round_down(percent / 100 * max(0, A - reserve)))   otherwise

Exact decimals throughout, and never below zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_DOWN, Context, Decimal

from core.quantity import to_quantity

NOTHING = Decimal(0)
WHOLE = Decimal(100)
# Wide enough for any quantity times any percentage without rounding; the thread's own context may be narrower.
_EXACT = Context(prec=60, rounding=ROUND_DOWN)


@dataclass(frozen=True, slots=True)
class TargetRule:
    """`max` and `stop_at` None: no such limit."""

    reserve: Decimal = NOTHING
    percent: Decimal = WHOLE
    max: Decimal | None = None
    stop_at: Decimal | None = None

    def __post_init__(self) -> None:
        if self.reserve < 0:
            raise ValueError(f"a reserve of {self.reserve} is below zero")
        if not 0 <= self.percent <= WHOLE:
            raise ValueError(f"a percentage of {self.percent} is not between 0 and 100")
        if self.max is not None and self.max < 0:
            raise ValueError(f"a maximum of {self.max} is below zero")

    def overridden(
        self,
        reserve: Decimal | None = None,
        percent: Decimal | None = None,
        max: Decimal | None = None,
        stop_at: Decimal | None = None,
    ) -> TargetRule:
        """This rule with the values that an exception for one SKU gives; what it leaves out stays as it is."""
        return TargetRule(
            self.reserve if reserve is None else reserve,
            self.percent if percent is None else percent,
            self.max if max is None else max,
            self.stop_at if stop_at is None else stop_at,
        )


def pool_decimals(balances: Iterable[Decimal]) -> int:
    """To how many decimals the targets of a pool are rounded down: 0 when each of its balances is whole, else 3."""
    return 0 if all(balance == balance.to_integral_value() for balance in balances) else 3


def apply(rule: TargetRule, available: Decimal, decimals: int) -> Decimal:
    """What a target with this rule shows when the pool has `available`."""
    if rule.stop_at is not None and available <= rule.stop_at:
        return NOTHING
    beyond = _EXACT.subtract(available, rule.reserve) if rule.reserve else available  # pragma: no mutate
    shown = max(NOTHING, beyond)
    if rule.percent != WHOLE:
        share = _EXACT.divide(_EXACT.multiply(shown, rule.percent), WHOLE)
        shown = share.quantize(Decimal(f"1E-{decimals}"), context=_EXACT)
    if rule.max is not None:
        shown = min(rule.max, shown)
    return to_quantity(shown)
