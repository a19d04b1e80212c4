"""The rule step by step comes to what the rule gives, whatever the rule and the pool."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from core.rule_steps import Step, StepKind, rule_steps
from core.rules import TargetRule, apply

QUANTITIES = st.decimals(-1000, 1000, places=3, allow_nan=False, allow_infinity=False)
POSITIVE = st.decimals(0, 1000, places=3, allow_nan=False, allow_infinity=False)
RULES = st.builds(
    TargetRule,
    reserve=POSITIVE,
    percent=st.decimals(0, 100, places=2),
    max=st.none() | POSITIVE,
    stop_at=st.none() | QUANTITIES,
)


def told(rule: TargetRule, available: int | str, decimals: int = 0) -> list[tuple[str, Decimal | None, Decimal]]:
    return [(step.kind.value, step.amount, step.result) for step in rule_steps(rule, Decimal(available), decimals)]


@given(RULES, QUANTITIES, st.sampled_from([0, 3]))
def test_the_last_step_is_what_the_rule_gives(rule: TargetRule, available: Decimal, decimals: int) -> None:
    steps = rule_steps(rule, available, decimals)

    assert (steps[-1].result if steps else available) == apply(rule, available, decimals)


@given(QUANTITIES.filter(lambda available: available >= 0))
def test_a_rule_that_asks_for_nothing_has_no_steps(available: Decimal) -> None:
    assert rule_steps(TargetRule(), available, 0) == ()


def test_every_figure_of_the_rule_is_a_step() -> None:
    rule = TargetRule(reserve=Decimal(2), percent=Decimal(50), max=Decimal(3), stop_at=Decimal(1))

    assert told(rule, 11) == [
        ("selling", 1, 11),
        ("reserve", 2, 9),
        ("percent", 50, Decimal("4.5")),
        ("rounded", None, 4),
        ("limited", 3, 3),
    ]


def test_a_maximum_that_is_not_reached_is_told_all_the_same() -> None:
    assert told(TargetRule(max=Decimal(9)), 9) == [("below_max", 9, 9)]


def test_what_rounding_does_not_change_is_no_step() -> None:
    assert told(TargetRule(percent=Decimal(50)), "4.5", decimals=3) == [("percent", 50, Decimal("2.25"))]


def test_sales_stop_at_the_level() -> None:
    assert rule_steps(TargetRule(stop_at=Decimal(5)), Decimal(5), 0) == (
        Step(StepKind.STOPPED, Decimal(5), Decimal(0)),
    )


def test_nothing_below_zero_is_shown() -> None:
    assert told(TargetRule(reserve=Decimal(3)), 1) == [("reserve", 3, -2), ("empty", None, 0)]
    assert told(TargetRule(), -4) == [("empty", None, 0)]
