"""Undoing one cell: minus the sum of what is to be taken back, or the reason why nothing is written."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.facts import Role
from core.look import Look
from core.plan import PoolPlan
from core.skus import Problem
from core.undo import ChosenWrite, PoolNow, Refusal, Undo, UndoCell, plan_undo, pool_now, undo_now
from tests.core.strategies import NOON, ago

D = Decimal
CALM = PoolNow(has_moved=False, unread=None, again_at=None)


def chosen(name: str, quantity: Any, before: Any, **values: Any) -> ChosenWrite:
    return ChosenWrite(name, D(quantity), D(before), **values)


def cell(*writes: ChosenWrite, accounted: Any = None, role: Role = Role.TARGET, **values: Any) -> UndoCell:
    """A cell on which nothing happened since these writes."""
    level = writes[-1].before + writes[-1].quantity if writes else D(0)
    return UndoCell(role, writes, level if accounted is None else D(accounted), **values)


def seen(physical: Any = 15, movement: Any = 0, again_at: datetime | None = None, **values: Any) -> Look:
    return Look(accounted=D(physical), reserved=D(0), movement=D(movement), again_at=again_at, **values)


FIVE_MORE = cell(chosen("w1", 5, 10))


def test_one_write_is_undone_by_the_opposite_movement() -> None:
    undo = plan_undo(FIVE_MORE)

    assert (undo.quantity, undo.before, undo.after, undo.writes, undo.refusal) == (-5, 15, 10, ("w1",), None)
    assert undo.is_due


def test_several_writes_are_undone_by_one_movement() -> None:
    undo = plan_undo(cell(chosen("w1", 5, 10), chosen("w2", -2, 15), chosen("w3", 1, 13)))

    assert (undo.quantity, undo.after, undo.writes) == (-4, 10, ("w1", "w2", "w3"))


def test_writes_that_cancel_each_other_need_no_movement() -> None:
    undo = plan_undo(cell(chosen("w1", 5, 10), chosen("w2", -5, 15)))

    assert (undo.quantity, undo.refusal, undo.is_due) == (0, None, False)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"problem": Problem.DELETED}, Problem.DELETED),
        ({"is_in_doubt": True}, Problem.UNKNOWN_WRITE),
        ({"others": ("w2",)}, Refusal.REWRITTEN),
        ({"movements": ("w2",)}, Refusal.MOVED),
        ({"is_refused": True}, Problem.REJECTED),
        ({"is_ruled": True}, Refusal.RULE_ACTIVE),
        ({"reserved": D(11)}, Refusal.BELOW_ZERO),
        ({"accounted": D(14)}, Refusal.MOVED),
    ],
)
def test_it_refuses_with_the_reason(values: dict[str, Any], reason: str) -> None:
    undo = plan_undo(replace(FIVE_MORE, **values))

    assert undo.refusal == reason
    assert not undo.is_due


def test_what_happened_before_the_write_is_no_reason() -> None:
    assert plan_undo(replace(FIVE_MORE, others=("w0",), movements=("w0",), reserved=D(10))).is_due


def test_the_write_itself_is_no_reason_either() -> None:
    assert plan_undo(replace(FIVE_MORE, others=("w1",), movements=("w1",))).is_due


def test_only_what_adds_is_an_increase() -> None:
    assert [Undo(D(n)).is_increase for n in (-1, 0, 1)] == [False, False, True]


def test_a_source_is_undone_though_its_rule_is_active() -> None:
    assert plan_undo(replace(FIVE_MORE, role=Role.SOURCE, is_ruled=True)).is_due


def test_a_balance_below_zero_may_be_raised_but_not_reached() -> None:
    assert plan_undo(cell(chosen("w1", -2, -3))).is_due
    assert plan_undo(cell(chosen("w1", 2, -1))).refusal == Refusal.BELOW_ZERO


def test_a_write_that_was_undone_is_not_undone_again() -> None:
    taken = chosen("w1", 5, 10, is_taken=True, undone_by="w2")

    assert plan_undo(cell(taken, accounted=10, others=("w2",))).refusal == Refusal.ALREADY
    assert plan_undo(cell(replace(taken, undone_by=None))).refusal == Refusal.ALREADY


def test_a_write_before_one_that_another_undo_has_in_hand_waits_for_that() -> None:
    in_hand = chosen("w2", -2, 15, is_taken=True)

    assert plan_undo(cell(chosen("w1", 5, 10), in_hand)).refusal == Refusal.REWRITTEN
    assert plan_undo(cell(replace(in_hand, id="w0", before=D(12)), chosen("w1", 5, 10))).is_due


def test_what_was_undone_inside_the_choice_counts_with_its_undoing() -> None:
    first = chosen("w1", 5, 10, is_taken=True, undone_by="w2")
    undoing = chosen("w2", -5, 15)

    assert plan_undo(cell(first, undoing)).quantity == 0
    assert plan_undo(cell(first, undoing, chosen("w3", 4, 10))).quantity == -4
    again = replace(undoing, is_taken=True, undone_by="w3")
    assert plan_undo(cell(first, again, chosen("w3", 5, 10))).quantity == -5


def test_a_write_of_unknown_outcome_is_no_write_to_undo() -> None:
    unknown = chosen("w2", 3, 15, is_confirmed=False)

    assert plan_undo(cell(unknown)).refusal == Problem.UNKNOWN_WRITE
    assert plan_undo(cell(chosen("w1", 5, 10), unknown)).refusal == Problem.UNKNOWN_WRITE


def test_after_a_fresh_reading_that_agrees_it_is_due() -> None:
    assert undo_now(FIVE_MORE, seen(), None, CALM) == plan_undo(FIVE_MORE)
    assert undo_now(replace(FIVE_MORE, role=Role.SOURCE), seen(), None, None).is_due


@pytest.mark.parametrize(
    ("look", "unread", "reason"),
    [
        (None, Problem.RECONNECT, Problem.RECONNECT),
        (None, None, Problem.UNREADABLE),
        (seen(is_blocked=True), None, Problem.UNKNOWN_WRITE),
        (seen(13, -2), None, Refusal.MOVED),
    ],
)
def test_a_fresh_reading_may_refuse(look: Look | None, unread: str | None, reason: str) -> None:
    assert undo_now(FIVE_MORE, look, unread, CALM).refusal == reason


def test_what_the_books_refuse_no_reading_allows() -> None:
    assert undo_now(replace(FIVE_MORE, others=("w2",)), seen(), None, CALM).refusal == Refusal.REWRITTEN


def test_a_balance_that_may_be_old_is_waited_for() -> None:
    undo = undo_now(FIVE_MORE, seen(again_at=NOON), None, CALM)

    assert (undo.refusal, undo.again_at, undo.is_due) == (None, NOON, False)


def test_a_target_waits_for_its_pool_and_is_refused_when_that_moved() -> None:
    assert undo_now(FIVE_MORE, seen(), None, replace(CALM, again_at=NOON)).again_at == NOON
    assert undo_now(FIVE_MORE, seen(), None, replace(CALM, has_moved=True)).refusal == Refusal.MOVED


def test_of_a_pool_that_cannot_be_read_a_target_is_lowered_but_not_raised() -> None:
    unread = replace(CALM, unread=Problem.UNREADABLE)
    five_less = cell(chosen("w1", -5, 10))

    assert undo_now(FIVE_MORE, seen(), None, unread).is_due
    assert undo_now(five_less, seen(5), None, unread).refusal == Problem.UNREADABLE
    assert undo_now(five_less, seen(5), None, CALM).is_due


def plan(*looks: Look, available: Any = 13, missing: dict[str, str] | None = None) -> PoolPlan:
    return PoolPlan(
        looks={str(number): look for number, look in enumerate(looks)},
        owed=D(0),
        level=None,
        available=None if available is None else D(available),
        wanted={},
        wishes=(),
        held={},
        missing=missing or {},
        again_at=None,
        must_look=False,
    )


def test_a_pool_that_is_as_it_was_has_not_moved() -> None:
    assert pool_now(plan(seen()), D(13), D(0)) == CALM
    assert pool_now(plan(seen()), D(10), D(3)) == CALM
    assert pool_now(plan(seen()), None, D(0)) == CALM


def test_a_pool_moved_when_a_movement_or_a_reservation_says_so() -> None:
    assert pool_now(plan(seen(), seen(8, -2)), D(13), D(0)).has_moved
    assert pool_now(plan(seen(), available=10), D(13), D(0)).has_moved
    assert pool_now(plan(seen(8, -2, is_blocked=True)), D(13), D(0)).has_moved


def test_a_pool_is_unread_while_anything_of_it_is_unknown() -> None:
    assert pool_now(plan(seen(), missing={"s": "quota"}), D(13), D(0)).unread == "quota"
    assert pool_now(plan(available=None), D(13), D(0)) == PoolNow(False, Problem.NEVER_READ, None)
    assert pool_now(plan(seen(is_blocked=True), available=9), D(13), D(0)) == PoolNow(
        False, Problem.UNKNOWN_WRITE, None
    )


def test_a_pool_is_looked_at_again_when_the_last_of_its_looks_may_be_trusted() -> None:
    looks = (seen(again_at=ago(3)), seen(again_at=NOON), seen())

    assert pool_now(plan(*looks), None, D(0)) == PoolNow(False, None, NOON)
    assert pool_now(plan(*looks, available=None), None, D(0)) == PoolNow(False, Problem.NEVER_READ, NOON)
    assert pool_now(plan(*looks, seen(is_blocked=True)), None, D(0)) == PoolNow(False, Problem.UNKNOWN_WRITE, NOON)


quantities = st.integers(-9, 9).filter(bool).map(D)


@st.composite
def untouched(draw: st.DrawFn) -> UndoCell:
    """A cell on which only we wrote, and of which everything since some moment is chosen."""
    level = draw(st.integers(0, 30).map(D))
    writes = []
    for number, quantity in enumerate(draw(st.lists(quantities, min_size=1, max_size=6))):
        writes.append(chosen(f"w{number}", quantity, level))
        level += quantity
    return cell(*writes, role=draw(st.sampled_from(Role)), reserved=draw(st.integers(0, 5).map(D)))


@given(untouched())
def test_it_writes_exactly_minus_the_sum_or_nothing(one: UndoCell) -> None:
    undo = plan_undo(one)

    total = sum((write.quantity for write in one.chosen), D(0))
    assert undo.is_due is (undo.refusal is None and total != 0)
    if undo.is_due:
        assert undo.quantity == -total
        assert undo.after == one.chosen[0].before


@given(untouched())
def test_nothing_is_lowered_beneath_zero_or_what_orders_hold(one: UndoCell) -> None:
    undo = plan_undo(one)

    assert not undo.is_due or undo.quantity > 0 or undo.after >= max(D(0), one.reserved)


@given(untouched())
def test_undoing_twice_changes_nothing_the_second_time(one: UndoCell) -> None:
    undo = plan_undo(one)
    taken = [replace(w, is_taken=True, undone_by="w9" if undo.is_due else None) for w in one.chosen]
    others = ("w9",) if undo.is_due else ()

    again = plan_undo(replace(one, chosen=taken, accounted=undo.after, others=others))

    assert again == Undo(refusal=Refusal.ALREADY)


@given(untouched())
def test_undoing_the_undo_brings_back_what_was(one: UndoCell) -> None:
    undo = plan_undo(one)
    if undo.is_due:
        back = plan_undo(replace(one, chosen=[chosen("w9", undo.quantity, undo.before)], accounted=undo.after))
        assert back.refusal is not None or back.after == one.accounted


@given(untouched(), quantities, st.booleans())
def test_whatever_moved_since_is_never_written_over(one: UndoCell, moved: Decimal, is_booked: bool) -> None:
    """A sale refuses the cell whether the books have it already, or only the fresh reading."""
    if is_booked:
        later = replace(one, accounted=one.accounted + moved, movements=("w8",))
        assert not plan_undo(later).is_due
    else:
        assert not undo_now(one, seen(0, moved), None, None).is_due


@given(untouched(), st.lists(st.sampled_from(["v0", "v1", "w8", "w9"]), unique=True), st.randoms())
def test_the_order_of_what_happened_does_not_matter(one: UndoCell, names: list[str], random: Any) -> None:
    shuffled = list(names)
    random.shuffle(shuffled)

    assert plan_undo(replace(one, others=names)) == plan_undo(replace(one, others=shuffled))
    assert plan_undo(replace(one, movements=names)) == plan_undo(replace(one, movements=shuffled))


@given(untouched(), st.one_of(st.none(), st.builds(seen, st.integers(0, 9), st.sampled_from([0, 0, 1, -2]))))
def test_a_reading_only_ever_takes_away(one: UndoCell, look: Look | None) -> None:
    now = undo_now(one, look, None, None)

    assert not now.is_due or now == plan_undo(one)
