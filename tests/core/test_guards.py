"""The guard against mass drops: more than a few, and more than a share of the group."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.facts import ZERO, BalanceKind, Mode, Purpose, Role, Seen, TargetMovements
from core.guards import Drop, Limits, Verdict, foresee, judge
from core.plan import CellInput, PoolInput, plan_pool
from core.rules import TargetRule
from tests.core.strategies import NOON, WINDOW, pools

USUAL = Limits(20, Decimal(30))
counts = st.integers(0, 10_000)
limits = st.builds(Limits, st.integers(0, 500), st.decimals(0, 100, places=2))


@pytest.mark.parametrize(
    ("lowered", "skus", "verdict"),
    [
        (0, 0, Verdict.FEW),
        (20, 20, Verdict.FEW),
        (21, 70, Verdict.SMALL_SHARE),
        (21, 69, Verdict.MASS_DROP),
        (300, 1000, Verdict.SMALL_SHARE),
        (301, 1000, Verdict.MASS_DROP),
        (21, 0, Verdict.MASS_DROP),
    ],
)
def test_more_than_a_few_and_more_than_a_share_is_too_much(lowered: int, skus: int, verdict: Verdict) -> None:
    assert judge(lowered, skus, USUAL) is verdict
    assert verdict.is_held is (verdict is Verdict.MASS_DROP)


@given(counts, counts, limits)
def test_lowering_more_of_the_same_group_never_lets_a_run_go_on(lowered: int, skus: int, limits: Limits) -> None:
    if judge(lowered, skus, limits).is_held:
        assert judge(lowered + 1, skus, limits).is_held


@given(counts, counts, limits)
def test_what_a_tighter_guard_lets_pass_a_wider_one_does(lowered: int, skus: int, limits: Limits) -> None:
    wider = Limits(limits.min_skus + 1, min(Decimal(100), limits.percent + 1))

    if not judge(lowered, skus, limits).is_held:
        assert not judge(lowered, skus, wider).is_held


@given(counts, counts, st.integers(0, 500))
def test_a_hundred_per_cent_switches_it_off(lowered: int, skus: int, min_skus: int) -> None:
    assert not judge(lowered, skus, Limits(min_skus, Decimal(100))).is_held


@given(st.integers(1, 10_000), counts)
def test_with_nothing_allowed_every_drop_is_held(lowered: int, skus: int) -> None:
    assert judge(lowered, skus, Limits(0, ZERO)).is_held


@given(pools())
def test_it_foresees_exactly_the_targets_that_are_lowered(pool: PoolInput) -> None:
    plan = plan_pool(pool)

    drops = foresee(plan, virtual=pool.balance is BalanceKind.VIRTUAL)

    lowered = {w.key: w.quantity for w in plan.wishes if w.purpose is Purpose.TARGET and w.quantity < ZERO}
    assert {drop.key: drop.after - drop.before for drop in drops} == lowered
    assert all(plan.wanted[drop.key] == drop.after for drop in drops)


def pool_of(balance: BalanceKind, stop_at: int) -> PoolInput:
    """A source with 5 and a target that shows 12, of which open orders reserve 2."""
    source = CellInput("s", Role.SOURCE, 0, None, Seen(Decimal(5), ZERO, NOON))
    target = CellInput(
        "t", Role.TARGET, 0, None, Seen(Decimal(12), Decimal(2), NOON), rule=TargetRule(stop_at=Decimal(stop_at))
    )
    return PoolInput(Mode.SUM, balance, TargetMovements.WRITE_BACK, ZERO, None, None, (source, target), WINDOW)


@pytest.mark.parametrize(
    ("balance", "stop_at", "drop"),
    [
        # Of the 5 the 2 reserved are sold already: 3 to show, on a shelf of 5.
        (BalanceKind.VIRTUAL, 0, Drop("t", Decimal(12), Decimal(5), is_zeroed=False)),
        (BalanceKind.VIRTUAL, 9, Drop("t", Decimal(12), Decimal(2), is_zeroed=True)),
        (BalanceKind.PHYSICAL, 0, Drop("t", Decimal(12), Decimal(5), is_zeroed=False)),
        (BalanceKind.PHYSICAL, 9, Drop("t", Decimal(12), Decimal(0), is_zeroed=True)),
    ],
)
def test_a_target_is_zeroed_when_nothing_is_left_to_sell(balance: BalanceKind, stop_at: int, drop: Drop) -> None:
    pool = pool_of(balance, stop_at)

    assert foresee(plan_pool(pool), virtual=balance is BalanceKind.VIRTUAL) == (drop,)


def test_open_orders_leave_nothing_to_sell_only_where_they_count() -> None:
    pool = pool_of(BalanceKind.PHYSICAL, 0)
    capped = [replace(cell, rule=TargetRule(max=Decimal(2))) if cell.key == "t" else cell for cell in pool.cells]

    plan = plan_pool(replace(pool, cells=capped))

    assert foresee(plan, virtual=False) == (Drop("t", Decimal(12), Decimal(2), is_zeroed=False),)


def test_a_write_back_and_a_rise_are_no_drops() -> None:
    pool = pool_of(BalanceKind.PHYSICAL, 0)
    raised = [replace(cell, seen=Seen(Decimal(99), ZERO, NOON)) if cell.key == "s" else cell for cell in pool.cells]

    plan = plan_pool(replace(pool, cells=raised, owed=Decimal(-3)))

    assert {wish.purpose for wish in plan.wishes} == {Purpose.TARGET, Purpose.WRITE_BACK}
    assert foresee(plan, virtual=False) == ()
