"""What a target shows, in examples, and what holds for every rule."""

from __future__ import annotations

from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.rules import TargetRule, apply, pool_decimals

D = Decimal

quantities = st.decimals(min_value=-10_000_000, max_value=10_000_000, places=6)
amounts = st.decimals(min_value=0, max_value=1_000_000, places=3)
rules = st.builds(
    TargetRule,
    reserve=amounts,
    percent=st.decimals(min_value=0, max_value=100, places=4),
    max=st.none() | amounts,
    stop_at=st.none() | amounts,
)


@pytest.mark.parametrize(
    ("rule", "available", "decimals", "shown"),
    [
        pytest.param(TargetRule(), "12", 0, "12", id="without limits everything is shown"),
        pytest.param(TargetRule(), "-3", 0, "0", id="an oversold pool shows zero"),
        pytest.param(TargetRule(reserve=D(5)), "12", 0, "7", id="the reserve stays behind"),
        pytest.param(TargetRule(reserve=D(5)), "3", 0, "0", id="a reserve larger than the pool leaves zero"),
        pytest.param(TargetRule(percent=D(50)), "7", 0, "3", id="a share is rounded down to whole units"),
        pytest.param(TargetRule(percent=D(50)), "7.5", 3, "3.75", id="a share of a fraction keeps three decimals"),
        pytest.param(TargetRule(percent=D("33.3333")), "1.5", 3, "0.499", id="the fourth decimal falls away"),
        pytest.param(TargetRule(percent=D(0)), "9", 0, "0", id="no share, nothing"),
        pytest.param(TargetRule(), "7.123456", 0, "7.123456", id="all of it is never rounded"),
        pytest.param(TargetRule(reserve=D("0.5")), "7", 0, "6.5", id="all of it is not rounded after a reserve either"),
        pytest.param(TargetRule(max=D(10)), "12", 0, "10", id="the maximum caps"),
        pytest.param(TargetRule(max=D(10)), "8", 0, "8", id="below the maximum it does nothing"),
        pytest.param(TargetRule(max=D("2.5"), percent=D(50)), "9", 0, "2.5", id="the maximum comes after the rounding"),
        pytest.param(TargetRule(stop_at=D(2)), "2", 0, "0", id="at the stopping level nothing is shown"),
        pytest.param(TargetRule(stop_at=D(2)), "3", 0, "3", id="above the stopping level everything is"),
        pytest.param(TargetRule(stop_at=D(0)), "0", 0, "0", id="a stopping level of zero is a level"),
        pytest.param(
            TargetRule(reserve=D(2), percent=D(30), max=D(5), stop_at=D(4)), "20", 0, "5", id="all four together"
        ),
    ],
)
def test_it_shows(rule: TargetRule, available: str, decimals: int, shown: str) -> None:
    assert apply(rule, D(available), decimals) == D(shown)


def test_a_maximum_of_zero_is_a_maximum() -> None:
    assert apply(TargetRule(max=D(0)), D(8), 0) == 0


def test_it_is_exact_whatever_the_context_of_the_caller_is() -> None:
    with localcontext() as context:
        context.prec = 3

        assert apply(TargetRule(reserve=D("0.000001")), D("9000000000000"), 0) == D("8999999999999.999999")
        assert apply(TargetRule(percent=D("99.999999")), D("9000000000000"), 0) == D("8999999910000")


@pytest.mark.parametrize(
    ("balances", "decimals"),
    [([], 0), (["3", "0", "-2"], 0), (["3.000000"], 0), (["3", "0.5"], 3), (["1E+2"], 0)],
)
def test_a_pool_of_whole_balances_is_counted_in_whole_units(balances: list[str], decimals: int) -> None:
    assert pool_decimals(D(balance) for balance in balances) == decimals


@pytest.mark.parametrize(
    "fault", [{"reserve": D(-1)}, {"percent": D(130)}, {"percent": D("-0.1")}, {"max": D("-0.001")}]
)
def test_it_refuses_a_rule_that_makes_no_sense(fault: dict[str, Decimal]) -> None:
    with pytest.raises(ValueError, match=r"zero|between"):
        TargetRule(**fault)


def test_an_exception_for_a_sku_replaces_only_what_it_gives() -> None:
    rule = TargetRule(reserve=D(1), percent=D(50), max=D(9), stop_at=D(2))

    assert rule.overridden() == rule
    assert rule.overridden(reserve=D(0), max=D(3)) == TargetRule(D(0), D(50), D(3), D(2))
    assert rule.overridden(percent=D(100), stop_at=D(7)) == TargetRule(D(1), D(100), D(9), D(7))


@given(rules, quantities, st.sampled_from([0, 3]))
def test_no_target_shows_less_than_zero_or_more_than_there_is(rule: TargetRule, available: Decimal, n: int) -> None:
    shown = apply(rule, available, n)

    assert 0 <= shown <= max(available, 0)


@given(rules, quantities, quantities, st.sampled_from([0, 3]))
def test_a_larger_pool_never_shows_less(rule: TargetRule, one: Decimal, other: Decimal, n: int) -> None:
    smaller, larger = sorted([one, other])

    assert apply(rule, smaller, n) <= apply(rule, larger, n)


@given(rules, quantities, st.sampled_from([0, 3]))
def test_no_limit_is_passed(rule: TargetRule, available: Decimal, n: int) -> None:
    shown = apply(rule, available, n)

    assert rule.max is None or shown <= rule.max
    assert rule.stop_at is None or available > rule.stop_at or shown == 0
    assert shown + rule.reserve <= available or shown == 0


@given(rules, quantities, st.sampled_from([0, 3]))
def test_rounding_takes_less_than_one_step(rule: TargetRule, available: Decimal, n: int) -> None:
    exact = rule.percent / 100 * (available - rule.reserve)
    if (rule.max is not None and exact > rule.max) or (rule.stop_at is not None and available <= rule.stop_at):
        return

    lost = max(exact, D(0)) - apply(rule, available, n)

    assert 0 <= lost < D(1).scaleb(-n)
    assert lost == 0 or rule.percent != 100
