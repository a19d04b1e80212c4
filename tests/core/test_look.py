"""One look at one cell: what is a movement, what may still be an old balance, and when to look again."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given

from core.facts import Book, Evidence, OpenWrite, OwnWrite, Purpose, Seen, StockFact
from core.look import Look, look_at_cell
from core.plan import CellInput, PoolInput
from tests.core.strategies import NOON, WINDOW, ago, fact, own, pools

D = Decimal
AN_HOUR_AGO = ago(3600)


def book(
    accounted: Any, reserved: Any = 0, read_at: datetime = AN_HOUR_AGO, changed_at: datetime | None = None
) -> Book:
    return Book(D(accounted), D(reserved), read_at, changed_at)


def look(
    known: Book | None,
    physical: Any,
    events: list[StockFact] | None = None,
    writes: list[OwnWrite] | None = None,
    open_write: OpenWrite | None = None,
    *,
    reserved: Any = 0,
    at: datetime = NOON,
) -> Look:
    return look_at_cell(known, Seen(D(physical), D(reserved), at), events or [], writes or [], open_write, WINDOW)


def test_the_first_look_takes_what_is_there_as_the_baseline() -> None:
    first = look(None, 7, reserved=2)

    assert (first.accounted, first.reserved, first.movement) == (7, 2, 0)
    assert first.is_baseline
    assert first.is_settled


def test_the_first_look_at_a_place_where_another_rule_has_a_write_in_doubt_writes_nothing() -> None:
    first = look(None, 7, open_write=OpenWrite(D(-3), Purpose.WRITE_BACK))

    assert first.is_baseline
    assert first.is_blocked
    assert not first.is_settled


def test_a_balance_as_the_books_have_it_is_no_movement() -> None:
    calm = look(book(10), 10, reserved=3)

    assert calm == Look(accounted=D(10), reserved=D(3))


def test_a_difference_long_after_the_last_change_is_a_movement() -> None:
    found = look(book(10, changed_at=ago(10)), 8)

    assert (found.movement, found.accounted, found.evidence) == (-2, 8, Evidence.LEVEL)
    assert found.is_settled


def test_a_difference_in_a_cell_that_never_changed_is_a_movement_at_once() -> None:
    assert look(book(10, changed_at=None), 8).movement == -2


def test_a_difference_inside_the_window_is_put_off_until_it_is_over() -> None:
    later = look(book(10, changed_at=ago(9.999)), 8)

    assert (later.movement, later.put_off, later.doubt) == (0, -2, -2)
    assert later.again_at == ago(9.999) + WINDOW
    assert later.must_look
    assert not later.is_settled


def test_a_difference_upwards_that_is_put_off_raises_nothing() -> None:
    later = look(book(10, changed_at=ago(1)), 15)

    assert (later.put_off, later.doubt, later.accounted) == (5, 0, 10)


def test_the_chain_explains_a_difference_inside_the_window() -> None:
    found = look(book(10, changed_at=ago(1)), 8, [fact("venda", -2, 8)])

    assert (found.movement, found.evidence) == (-2, Evidence.CHAIN)
    assert found.used == found.done == ("venda",)


def test_the_level_before_our_own_write_lowers_nothing_while_it_may_be_an_old_balance() -> None:
    raised = own("escrita", 5, 10, ended_at=ago(2))

    later = look(book(15, changed_at=ago(2)), 10, writes=[raised])

    assert (later.put_off, later.doubt) == (-5, 0)


def test_the_level_before_an_older_write_of_ours_is_no_excuse() -> None:
    raised = own("escrita", 5, 10, ended_at=ago(10))

    later = look(book(15, changed_at=ago(2)), 10, writes=[raised])

    assert (later.put_off, later.doubt) == (-5, -5)


def test_an_old_balance_with_fewer_reservations_does_not_raise_the_pool() -> None:
    later = look(book(8, reserved=2, changed_at=ago(1)), 10, reserved=0)

    assert later.put_off == 2
    assert later.reserved == 2


def test_an_order_that_is_posted_inside_the_window_is_not_counted_twice() -> None:
    later = look(book(10, reserved=2, changed_at=ago(1)), 8, reserved=0)

    assert (later.doubt, later.reserved) == (-2, 0)


def test_new_reservations_count_at_once_even_where_the_balance_is_put_off() -> None:
    assert look(book(10, changed_at=ago(1)), 12, reserved=3).reserved == 3


def test_our_own_write_since_the_last_reading_is_a_link_of_the_chain() -> None:
    lowered = own("escrita", -3, 10, ended_at=ago(2))
    events = [fact("venda", -2, 8, ago(3)), fact("eco", -3, 5, ago(2))]

    found = look(book(7, read_at=ago(5), changed_at=ago(2)), 5, events, [lowered])

    assert (found.movement, found.used, found.done) == (-2, ("venda",), ("venda", "eco"))


def test_a_write_that_ended_in_the_instant_of_the_last_reading_came_after_it() -> None:
    lowered = own("escrita", -3, 10, ended_at=ago(2))
    events = [fact("venda", -2, 8, ago(3)), fact("eco", -3, 5, ago(2))]

    found = look(book(7, read_at=ago(2), changed_at=ago(2)), 5, events, [lowered])

    assert found.evidence is Evidence.CHAIN


def test_a_write_that_the_last_reading_showed_already_is_no_link() -> None:
    lowered = own("escrita", -3, 10, ended_at=ago(6))

    found = look(book(7, read_at=ago(5), changed_at=ago(6)), 5, [fact("venda", -2, 5)], [lowered])

    assert found.evidence is Evidence.CHAIN


@pytest.mark.parametrize(
    ("physical", "doubt"),
    [
        pytest.param(10, 0, id="the balance without the write"),
        pytest.param(15, 0, id="the balance with the write"),
        pytest.param(9, -6, id="neither: the write and a sale of six, rather than a sale of one"),
        pytest.param(20, 0, id="neither, and both readings are entries"),
    ],
)
def test_while_a_write_is_in_doubt_nothing_is_booked_and_the_smaller_reading_counts(physical: int, doubt: int) -> None:
    blocked = look(book(10), physical, [fact("evento", -1, 9)], open_write=OpenWrite(D(5), Purpose.TARGET))

    assert (blocked.accounted, blocked.movement, blocked.doubt) == (10, 0, doubt)
    assert blocked.is_blocked
    assert not blocked.is_settled
    assert blocked.done == ()


def test_an_event_newer_than_the_reading_is_looked_into_when_no_reading_can_be_too_old_for_it() -> None:
    later = look(book(10), 10, [fact("venda", -2, 8, at=ago(1))])

    assert later.again_at == ago(1) + WINDOW
    assert not later.must_look
    assert later.done == ()
    assert later.is_settled


def test_an_event_that_the_reading_confirms_needs_no_further_look() -> None:
    assert look(book(8), 8, [fact("venda", -2, 8, at=ago(1))]).done == ("venda",)


def test_an_event_that_is_older_than_the_window_needs_no_further_look() -> None:
    done = look(book(10), 10, [fact("perdida", -2, 8, at=ago(10))])

    assert done.again_at is None
    assert done.done == ("perdida",)


def test_events_that_come_back_to_the_level_of_the_books_are_done_with_it() -> None:
    raised = own("escrita", 3, 7, ended_at=ago(2))
    events = [fact("venda", -3, 4, ago(2.5)), fact("eco", 3, 7, ago(2)), fact("devolução", 3, 10, ago(1))]

    done = look(book(10, read_at=ago(5), changed_at=ago(2)), 10, events, [raised])

    assert done.done == ("venda", "eco", "devolução")
    assert done.movement == 0


def test_a_newer_event_is_looked_into_even_where_those_before_it_come_back_to_the_books() -> None:
    events = [fact("venda", -2, 8, ago(3)), fact("devolução", 2, 10, ago(2)), fact("outra venda", -1, 9, ago(1))]

    later = look(book(10), 10, events)

    assert (later.again_at, later.done) == (ago(1) + WINDOW, ())


def test_an_own_event_whose_balance_is_gone_by_now_is_explained_by_the_writes_after_it() -> None:
    writes = [own("primeira", -3, 10, ended_at=ago(2)), own("segunda", -1, 7, ended_at=ago(1))]

    done = look(book(6, read_at=ago(5), changed_at=ago(1)), 6, [fact("eco", -3, 7, ago(2))], writes)

    assert done.again_at is None
    assert done.done == ("eco",)


def test_a_movement_booked_from_a_reading_between_two_events_leaves_the_newer_one_pending() -> None:
    found = look(book(10), 8, [fact("venda", -2, 8, ago(2)), fact("outra", -1, 7, ago(1))])

    assert (found.movement, found.done) == (-2, ("venda",))
    assert found.again_at == ago(1) + WINDOW


def test_at_the_baseline_a_newer_event_asks_for_another_look() -> None:
    first = look(None, 10, [fact("venda", -2, 8, ago(1))])

    assert first.is_baseline
    assert first.again_at == ago(1) + WINDOW


@given(pools())
def test_no_look_ever_raises_the_pool_by_doubt_or_books_what_it_puts_off(pool: PoolInput) -> None:
    for cell, found in looks(pool):
        assert found.doubt <= 0
        assert cell.book is None or found.accounted == cell.book.accounted + found.movement
        if found.put_off is not None or found.is_blocked:
            assert found.movement == 0
        if found.put_off is not None:
            assert found.again_at is not None
            assert found.again_at > cell.seen.at  # type: ignore[union-attr]


@given(pools())
def test_a_look_names_only_events_of_its_cell_and_each_of_them_once(pool: PoolInput) -> None:
    for cell, found in looks(pool):
        known = [event.id for event in cell.events]
        assert set(found.used) <= set(found.done) <= set(known)
        assert len(set(found.done)) == len(found.done)
        assert found.evidence is not Evidence.CHAIN or found.done


@given(pools())
def test_a_difference_is_never_put_off_for_longer_than_the_window(pool: PoolInput) -> None:
    for cell, found in looks(pool):
        assert cell.seen is not None
        if found.put_off is not None and found.again_at is not None:
            again = look_at_cell(
                cell.book,
                Seen(cell.seen.physical, cell.seen.reserved, found.again_at),
                cell.events,
                cell.writes,
                cell.open_write,
                WINDOW,
            )
            assert again.put_off is None
            assert again.movement == found.put_off


@given(pools())
def test_a_second_look_at_an_unchanged_cell_finds_nothing(pool: PoolInput) -> None:
    for cell, found in looks(pool):
        if not found.is_settled or cell.seen is None:
            continue
        left = [event for event in cell.events if event.id not in found.done]
        known = Book(found.accounted, found.reserved, cell.seen.at, cell.seen.at)
        again = look_at_cell(known, cell.seen, left, cell.writes, None, WINDOW)
        assert (again.movement, again.put_off, again.doubt) == (0, None, 0)


def looks(pool: PoolInput) -> list[tuple[CellInput, Look]]:
    return [
        (cell, look_at_cell(cell.book, cell.seen, cell.events, cell.writes, cell.open_write, pool.window))
        for cell in pool.cells
        if cell.seen is not None
    ]


def test_a_window_of_zero_puts_nothing_off() -> None:
    found = look_at_cell(book(10, changed_at=NOON), Seen(D(8), D(0), NOON), [], [], None, timedelta(0))

    assert found.movement == -2


# Reservations may be old, too


def reserving(reserved: int, before: int, changed_ago: float) -> Book:
    """A cell of 10 whose reservations changed from `before` to `reserved` so many seconds ago."""
    return Book(D(10), D(reserved), ago(60), None, ago(changed_ago), D(before))


def test_reservations_that_may_be_old_never_raise_the_pool() -> None:
    look = look_at_cell(reserving(3, 0, 2), Seen(D(10), D(0), NOON), (), (), None, WINDOW)

    assert (look.reserved, look.again_at, look.must_look) == (3, ago(2) + WINDOW, True)
    assert look.is_settled


@pytest.mark.parametrize("seen", [0, 1, 2])
def test_fewer_reservations_count_once_they_cannot_be_old(seen: int) -> None:
    book = reserving(3, 0, 10)

    assert look_at_cell(book, Seen(D(10), D(seen), NOON), (), (), None, WINDOW).reserved == seen


def test_an_event_says_that_fewer_reservations_are_new() -> None:
    book, seen = reserving(3, 0, 2), Seen(D(10), D(0), NOON)
    posted = fact("e1", -3, 10, ago(1), reserved=0)

    assert look_at_cell(book, seen, (), (), None, WINDOW, told_reserved=D(0)).reserved == 0
    assert look_at_cell(book, seen, [posted], (), None, WINDOW).reserved == 0
    assert look_at_cell(book, seen, [replace(posted, reserved=D(1))], (), None, WINDOW).reserved == 3
    assert look_at_cell(book, seen, [replace(posted, reserved=None)], (), None, WINDOW).reserved == 3


def test_only_the_newest_event_says_so() -> None:
    events = [fact("e1", -3, 10, ago(1), reserved=0), fact("e2", 3, 10, ago(0.5), reserved=2)]

    assert look_at_cell(reserving(3, 1, 2), Seen(D(10), D(0), NOON), events, (), None, WINDOW).reserved == 3
    assert look_at_cell(reserving(3, 1, 2), Seen(D(10), D(2), NOON), events, (), None, WINDOW).reserved == 2


def test_reservations_may_be_old_where_a_write_is_in_doubt_as_well() -> None:
    doubtful = OpenWrite(D(-2), Purpose.TARGET)

    assert look_at_cell(reserving(3, 1, 2), Seen(D(10), D(0), NOON), (), (), doubtful, WINDOW).reserved == 3
    assert look_at_cell(reserving(3, 1, 2), Seen(D(10), D(5), NOON), (), (), doubtful, WINDOW).reserved == 5


def test_the_reservations_that_the_books_say_ask_for_no_other_look() -> None:
    look = look_at_cell(reserving(3, 1, 2), Seen(D(10), D(3), NOON), (), (), None, WINDOW)

    assert (look.reserved, look.again_at, look.must_look) == (3, None, False)


def test_more_reservations_count_at_once_unless_they_were_there_a_moment_ago() -> None:
    book = reserving(1, 4, 2)

    assert look_at_cell(book, Seen(D(10), D(2), NOON), (), (), None, WINDOW).reserved == 2
    assert look_at_cell(book, Seen(D(10), D(4), NOON), (), (), None, WINDOW).reserved == 1


def test_a_movement_seen_in_the_balance_alone_leaves_reservations_that_may_be_old() -> None:
    look = look_at_cell(reserving(3, 0, 2), Seen(D(8), D(0), NOON), (), (), None, WINDOW)

    assert (look.movement, look.reserved, look.again_at) == (-2, 3, ago(2) + WINDOW)


def test_what_links_up_is_newer_than_the_books_reservations_included() -> None:
    sale = fact("e1", -2, 8, ago(1))
    look = look_at_cell(reserving(3, 0, 2), Seen(D(8), D(0), NOON), [sale], (), None, WINDOW)

    assert (look.movement, look.reserved, look.again_at) == (-2, 0, None)


def test_a_balance_of_a_moment_ago_lowers_nothing() -> None:
    book = Book(D(13), D(0), ago(2), ago(2), passed=(D(8),))

    assert look_at_cell(book, Seen(D(8), D(0), NOON), (), (), None, WINDOW).doubt == 0
    assert look_at_cell(book, Seen(D(7), D(0), NOON), (), (), None, WINDOW).doubt == -6
    in_doubt = OpenWrite(D(1), Purpose.TARGET)
    assert look_at_cell(book, Seen(D(8), D(0), NOON), (), (), in_doubt, WINDOW).doubt == 0


def test_of_two_reasons_to_look_again_the_earlier_counts() -> None:
    newer = fact("e1", None, 12, ago(9))
    look = look_at_cell(reserving(3, 0, 2), Seen(D(10), D(0), NOON), [newer], (), None, WINDOW)

    assert (look.again_at, look.must_look) == (ago(9) + WINDOW, True)
