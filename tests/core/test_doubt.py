"""What became of a write whose outcome nobody knows: which evidence tells, and what tells nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.doubt import (
    CLOCKS_APART,
    PROMPT,
    DoubtfulWrite,
    Judgement,
    Outcome,
    Proof,
    is_own_event,
    judge_outcome,
    smaller_pool,
)
from core.facts import OwnWrite, Seen, StockFact
from tests.core.strategies import NOON, WINDOW, D, own

SECOND, MS = timedelta(seconds=1), timedelta(milliseconds=1)
ENDED = NOON + 2 * SECOND
FRESH = ENDED + WINDOW
APPLIED, NOT_APPLIED, OPEN, UNDECIDABLE = Outcome
DECREASE = DoubtfulWrite(D(-2), NOON, ENDED)


def told(quantity: int | None, after: int, seconds: float) -> StockFact:
    """An event that Bling dates this many seconds after the call began."""
    at = NOON + seconds * SECOND
    name = f"e{seconds:09.3f}"
    return StockFact(name, name, None if quantity is None else D(quantity), D(after), at, None, at, at + MS)


def judge(
    level: int | None,
    *events: StockFact,
    at: datetime = FRESH,
    write: DoubtfulWrite = DECREASE,
    confirmed: Sequence[OwnWrite] = (),
) -> Judgement:
    """The judgement of a write of -2 that was planned from 10."""
    seen = None if level is None else Seen(D(level), D(0), at)
    return judge_outcome(write, D(10), events, confirmed, seen, WINDOW)


def test_the_level_alone_tells_once_it_cannot_be_old() -> None:
    assert judge(8) == Judgement(APPLIED, Proof.LEVEL)
    assert judge(10) == Judgement(NOT_APPLIED, Proof.LEVEL)
    assert judge(8, at=FRESH - MS) == judge(10, at=FRESH - MS) == judge(None) == Judgement(OPEN)


def test_a_level_that_neither_reading_explains_tells_nothing() -> None:
    assert judge(7) == Judgement(UNDECIDABLE, Proof.SMALLER_POOL)


def test_its_own_event_tells_at_once() -> None:
    mine = told(-2, 8, 1)

    assert judge(None, mine) == Judgement(APPLIED, Proof.EVENT, mine.id)
    assert judge(3, told(-5, 5, 0.5), told(-2, 3, 1)).proof is Proof.EVENT


@pytest.mark.parametrize(
    ("seconds", "is_own"), [(-0.302, False), (-0.301, True), (0, True), (2.3, True), (2.301, False)]
)
def test_an_event_is_its_own_when_bling_dates_it_into_the_call(seconds: float, is_own: bool) -> None:
    assert PROMPT == 300 * MS
    assert is_own_event(DECREASE, told(-2, 8, seconds)) is is_own


def test_where_nobody_saw_the_call_end_its_own_event_comes_soon_or_may_be_anybodys() -> None:
    abandoned = DoubtfulWrite(D(-2), NOON, NOON + 15 * SECOND, likely_until=ENDED)
    late = NOON + 15 * SECOND + WINDOW

    assert is_own_event(abandoned, told(-2, 8, 2))
    assert not is_own_event(abandoned, told(-2, 8, 4))
    assert judge(8, told(-2, 8, 4), at=late, write=abandoned) == Judgement(UNDECIDABLE, Proof.SMALLER_POOL)


def test_an_event_of_another_size_or_of_no_known_moment_is_not_its_own() -> None:
    undated = StockFact("e", "e", D(-2), D(8), NOON)

    assert not is_own_event(DECREASE, told(-3, 7, 1))
    assert not is_own_event(DECREASE, told(None, 8, 1))
    assert not is_own_event(DECREASE, undated)
    assert not is_own_event(DECREASE, replace(undated, told_from=NOON))


def test_the_event_of_a_write_before_it_is_not_its_own() -> None:
    before = own("w0", -2, 12)
    echo, mine = told(-2, 10, 0), told(-2, 8, 1)

    assert judge(10, echo, confirmed=[before]) == Judgement(NOT_APPLIED, Proof.CHAIN)
    assert judge(10, echo, mine, confirmed=[before]).event == mine.id
    assert judge(10, mine, confirmed=[own("w0", -2, 10, is_echoed=True)]).event == mine.id


def test_the_first_movement_after_it_tells_what_was_there_before() -> None:
    assert judge(None, told(-5, 3, 5)) == Judgement(APPLIED, Proof.CHAIN)
    assert judge(None, told(-5, 5, 5)) == Judgement(NOT_APPLIED, Proof.CHAIN)
    assert judge(None, told(-5, 4, 5)) == Judgement(OPEN)
    assert judge(None, told(-5, 3, 4)) == Judgement(OPEN), "so close to the call that it may have been before it"
    assert judge(None, told(None, 4, 5), told(-1, 3, 6)) == Judgement(OPEN), "a count tells nothing of before"


def test_the_first_movement_after_it_tells_whatever_was_before_the_call() -> None:
    assert judge(None, told(-4, 6, -60), told(-5, -1, 5)) == Judgement(APPLIED, Proof.CHAIN)
    assert judge(None, told(-4, 6, -60), told(-5, 1, 5)) == Judgement(NOT_APPLIED, Proof.CHAIN)


def test_it_is_looked_for_neither_before_what_was_before_the_call_nor_after_what_was_after() -> None:
    assert judge(4, told(-4, 4, -60)).outcome is UNDECIDABLE
    assert judge(6, told(None, 8, 5)).outcome is UNDECIDABLE


def test_a_count_close_to_the_call_hides_it() -> None:
    assert judge(8, told(-3, 7, 1), told(None, 8, 1.5)).outcome is UNDECIDABLE
    assert judge(8, told(None, 8, 5), confirmed=[own("w0", -1, 11)]).outcome is UNDECIDABLE


def test_a_balance_may_be_one_of_before_what_bling_may_not_have_shown_yet() -> None:
    assert judge(8, told(-3, 5, 1)) == Judgement(APPLIED, Proof.CHAIN)
    assert judge(8, told(-3, 5, 2.999), at=FRESH + 3 * SECOND) == Judgement(APPLIED, Proof.CHAIN)
    assert judge(8, told(-3, 5, 2.998), at=FRESH + 3 * SECOND).outcome is UNDECIDABLE


def test_a_write_whose_event_was_lost_may_have_come_between() -> None:
    lost, sale = own("w0", -1, 8), told(-3, 8, 0.5)

    assert judge(5, sale, confirmed=[lost]) == Judgement(APPLIED, Proof.CHAIN)
    assert judge(7, sale, confirmed=[lost]) == Judgement(NOT_APPLIED, Proof.CHAIN)
    assert judge(4, sale, told(-1, 4, 1.5), confirmed=[lost]) == Judgement(APPLIED, Proof.CHAIN)


def test_what_happened_during_the_call_stands_before_or_after_it() -> None:
    sale = told(-5, 5, 1)

    assert judge(3, sale) == Judgement(APPLIED, Proof.CHAIN)
    assert judge(3, told(-5, 3, 1)) == Judgement(APPLIED, Proof.CHAIN)
    assert judge(5, sale) == Judgement(NOT_APPLIED, Proof.CHAIN)
    assert judge(4, sale) == Judgement(UNDECIDABLE, Proof.SMALLER_POOL)


def test_an_event_of_the_same_size_close_to_the_call_leaves_the_question_open() -> None:
    twin = told(-2, 8, 3)

    assert twin.told_from is not None
    assert twin.told_from <= ENDED + CLOCKS_APART
    assert judge(8, twin) == Judgement(UNDECIDABLE, Proof.SMALLER_POOL)
    assert judge(6, twin) == Judgement(APPLIED, Proof.CHAIN), "one of the two was the write"


def test_an_event_of_the_same_size_long_after_the_call_is_another_movement() -> None:
    assert judge(8, told(-2, 8, 5)) == Judgement(NOT_APPLIED, Proof.CHAIN)
    assert judge(6, told(-2, 6, 5)) == Judgement(APPLIED, Proof.CHAIN)


def test_events_that_came_late_may_tell_of_what_is_explained_already() -> None:
    known = told(-4, 10, -60)

    assert judge(8, known) == Judgement(APPLIED, Proof.CHAIN)
    assert judge(10, known) == Judgement(NOT_APPLIED, Proof.CHAIN)
    assert judge(5, known, told(-3, 5, 5)) == Judgement(APPLIED, Proof.CHAIN)
    assert judge(7, known, told(-3, 7, 5)) == Judgement(NOT_APPLIED, Proof.CHAIN)


def test_what_happened_after_the_call_began_is_not_explained_already() -> None:
    assert judge(8, told(-4, 10, 0)) == Judgement(APPLIED, Proof.CHAIN)
    assert judge(8, told(-4, 10, 2)) == Judgement(APPLIED, Proof.CHAIN), "if clocks differ by as much"
    assert judge(8, told(-4, 10, 2.001)).outcome is UNDECIDABLE


def test_events_before_the_call_may_be_unexplained_so_far() -> None:
    unknown = told(-4, 6, -60)

    assert judge(4, unknown) == Judgement(APPLIED, Proof.CHAIN)
    assert judge(6, unknown) == Judgement(NOT_APPLIED, Proof.CHAIN)


def test_what_happened_after_the_reading_does_not_matter_to_it() -> None:
    later = told(-3, 1, 13)

    assert judge(8, told(None, 5, 13), later) == Judgement(APPLIED, Proof.LEVEL)
    assert judge(10, told(-1, 4, 6), later).outcome is UNDECIDABLE
    assert judge(8, told(None, 8, 12)).outcome is UNDECIDABLE, "what is of its own moment does"
    assert judge(8, told(None, 8, 12.001)) == Judgement(APPLIED, Proof.LEVEL)


def test_what_happened_while_the_reading_was_under_way_may_be_in_it() -> None:
    counted = told(None, 8, 60)
    asked_at, later = NOON + 50 * SECOND, NOON + 61 * SECOND
    quick, slow = Seen(D(8), D(0), asked_at), Seen(D(8), D(0), asked_at, later)

    assert judge_outcome(DECREASE, D(10), [counted], (), quick, WINDOW) == Judgement(APPLIED, Proof.LEVEL)
    assert judge_outcome(DECREASE, D(10), [counted], (), slow, WINDOW).outcome is UNDECIDABLE


def test_a_reading_may_be_older_than_the_last_events_that_link_up() -> None:
    assert judge(8, told(None, 8, 5), told(-3, 5, 6), write=DECREASE).outcome is UNDECIDABLE
    assert judge(8, told(1, 9, 5), told(-3, 6, 6), write=DECREASE) == Judgement(APPLIED, Proof.CHAIN)


def test_a_balance_contains_what_happened_longer_ago_than_it_may_be_old() -> None:
    """A sale of 2, a count, and then something that nobody told of: 6 is no balance of before the count."""
    sale, count = told(-2, 8, 1.5), told(None, 20, 5)
    later = NOON + 60 * SECOND

    assert judge(6, sale, count, at=later, write=DoubtfulWrite(D(-2), NOON - SECOND, NOON)).outcome is UNDECIDABLE
    assert judge(6, told(-2, 8, -30), count, at=later).outcome is UNDECIDABLE
    assert judge(6, told(-2, 8, -30), count, at=FRESH).outcome is APPLIED


def test_what_happened_right_before_the_call_may_be_explained_already() -> None:
    """Sales of 8 are in the books, and a write of +8 would undo just those."""
    write = DoubtfulWrite(D(8), NOON, NOON + 90 * MS)
    known = [told(-2, 16, -1), told(-5, 11, -0.2), told(-1, 10, -0.1)]
    later = [told(-2, 8, -0.09), told(-3, 5, 0.05), told(-1, 4, 5)]

    assert judge(None, *known, *later, write=write) == Judgement(NOT_APPLIED, Proof.CHAIN)


def test_a_movement_dated_before_the_call_may_come_after_it_as_far_as_clocks_may_differ() -> None:
    assert judge(5, told(-3, 5, -1.5)) == Judgement(APPLIED, Proof.CHAIN)
    assert judge(5, told(-3, 5, -2.001)) == Judgement(APPLIED, Proof.CHAIN)
    assert judge(5, told(-3, 5, -2.002)).outcome is UNDECIDABLE


def test_clocks_are_taken_to_agree_where_that_tells_more() -> None:
    """A sale of 5 a second after the call: the write was before it, or was not at all."""
    assert judge(5, told(-5, 5, 3.5)) == Judgement(NOT_APPLIED, Proof.CHAIN)
    assert judge(3, told(-5, 3, 3.5)) == Judgement(APPLIED, Proof.CHAIN)
    assert judge(3, told(-5, 5, 3.5)) == Judgement(APPLIED, Proof.CHAIN), "only clocks that differ explain it"


def test_undated_events_may_be_anywhere() -> None:
    undated = StockFact("e", "e", D(-3), D(5), NOON)

    assert judge(5, undated) == Judgement(APPLIED, Proof.CHAIN)


def test_which_reading_makes_the_pool_smaller() -> None:
    assert smaller_pool(D(2)) is APPLIED
    assert smaller_pool(D(-2)) is NOT_APPLIED
    assert smaller_pool(D(0)) is NOT_APPLIED


@st.composite
def stories(draw: st.DrawFn) -> tuple[DoubtfulWrite, list[StockFact], list[StockFact], Decimal, bool]:
    """A write of 1 among movements of tens: nothing that others do can look like it.

    The write, all events, those that arrive, the balance in the end, and whether the write was applied.
    """
    quantity = draw(st.sampled_from([D(1), D(-1)]))
    was_applied = draw(st.booleans())
    steps = draw(st.lists(st.tuples(st.integers(-9, 9).filter(bool), st.integers(0, 11_000)), max_size=6))
    moments = sorted({ms: D(tens * 10) for tens, ms in steps}.items())
    applied_at = draw(st.integers(0, 2_000))
    level, passed = D(1000), not was_applied
    events: list[StockFact] = []
    for ms, moved in [*moments, (99_000, D(0))]:
        if not passed and ms >= applied_at:
            level, passed = level + quantity, True
            events.append(fact_at(applied_at, quantity, level))
        if moved:
            level += moved
            events.append(fact_at(ms, moved, level))
    arrived = [event for event in events if draw(st.booleans())]
    return DoubtfulWrite(quantity, NOON, ENDED), events, arrived, level, was_applied


def fact_at(ms: int, quantity: Decimal, after: Decimal) -> StockFact:
    at = NOON + ms * MS
    name = f"{ms:06d}-{quantity}"
    return StockFact(name, name, quantity, after, at, None, at, at + MS)


@given(stories())
def test_who_hears_everything_knows(
    story: tuple[DoubtfulWrite, list[StockFact], list[StockFact], Decimal, bool],
) -> None:
    write, events, _, level, was_applied = story
    untold = [event for event in events if event.quantity != write.quantity]

    for heard in (events, untold):
        found = judge_outcome(write, D(1000), heard, (), Seen(level, D(0), FRESH), WINDOW)
        assert found.outcome is (APPLIED if was_applied else NOT_APPLIED)


@given(stories())
def test_who_hears_only_some_is_never_wrong(
    story: tuple[DoubtfulWrite, list[StockFact], list[StockFact], Decimal, bool],
) -> None:
    write, _, arrived, level, was_applied = story

    for seen in (None, Seen(level, D(0), FRESH)):
        found = judge_outcome(write, D(1000), arrived, (), seen, WINDOW)
        assert found.outcome is not (NOT_APPLIED if was_applied else APPLIED)
