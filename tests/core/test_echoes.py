"""Echoes: events that tell only what we know already cost no call; anything else does."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.echoes import is_virtual_echo, judge_echoes
from core.facts import Book, OwnWrite, StockFact
from tests.core.strategies import NOON, events_of, fact, history, own, small

D = Decimal


def book(accounted: Any, reserved: Any = 0) -> Book:
    return Book(D(accounted), D(reserved), NOON, NOON)


def test_the_event_of_our_own_write_is_its_echo() -> None:
    verdict = judge_echoes(book(7), [fact("eco", -3, 7)], [own("escrita", -3, 10)], virtual=False)

    assert (verdict.echoes, verdict.echoed_writes, verdict.needs_look) == (("eco",), ("escrita",), False)


def test_a_sale_is_no_echo() -> None:
    verdict = judge_echoes(book(10), [fact("venda", -2, 8)], [own("escrita", -3, 13)], virtual=False)

    assert (verdict.echoes, verdict.needs_look) == ((), True)


def test_an_event_of_the_same_size_at_another_balance_is_no_echo() -> None:
    assert judge_echoes(book(7), [fact("venda", -3, 4)], [own("escrita", -3, 10)], virtual=False).needs_look


def test_an_event_that_says_what_the_books_say_tells_nothing_new() -> None:
    verdict = judge_echoes(book(8), [fact("venda", -2, 8)], [], virtual=False)

    assert (verdict.echoes, verdict.echoed_writes, verdict.needs_look) == (("venda",), (), False)


def test_only_the_newest_event_has_to_say_what_the_books_say() -> None:
    events = [fact("venda", -2, 8), fact("devolução", 2, 10)]

    assert judge_echoes(book(10), events, [], virtual=False).echoes == ("venda", "devolução")
    assert judge_echoes(book(8), events, [], virtual=False).needs_look


def test_a_write_has_one_echo_only() -> None:
    twice = [fact("eco", -3, 7), fact("venda", 3, 10), fact("outra venda", -3, 7), fact("terceira", -1, 6)]

    verdict = judge_echoes(book(7), twice, [own("escrita", -3, 10)], virtual=False)

    assert verdict.echoes == ("eco",)
    assert verdict.needs_look


def test_a_write_whose_echo_came_already_explains_no_other_event() -> None:
    heard = own("escrita", -3, 10, is_echoed=True)

    verdict = judge_echoes(book(6), [fact("venda", -3, 7)], [heard], virtual=False)

    assert (verdict.echoes, verdict.needs_look) == ((), True)


def test_a_count_is_never_the_echo_of_a_write() -> None:
    assert judge_echoes(book(6), [fact("balanço", None, 7)], [own("escrita", -3, 10)], virtual=False).needs_look


@pytest.mark.parametrize(("virtual", "needs_look"), [(True, True), (False, False)])
def test_other_reservations_than_the_books_know_matter_where_they_count(virtual: bool, needs_look: bool) -> None:
    told = [fact("eco", -3, 7, reserved=2)]

    assert judge_echoes(book(7), told, [own("escrita", -3, 10)], virtual=virtual).needs_look is needs_look
    assert judge_echoes(book(7), told, [], virtual=virtual).needs_look is needs_look


def test_the_reservations_that_the_books_know_are_no_news() -> None:
    assert not judge_echoes(book(7, reserved=2), [fact("eco", -3, 7, reserved=2)], [], virtual=True).needs_look


def test_nothing_told_needs_no_look() -> None:
    assert not judge_echoes(book(7), [], [own("escrita", -3, 10)], virtual=True).needs_look


@given(small, history(counts=False), st.booleans(), st.data())
def test_the_events_of_our_own_writes_never_ask_for_a_look(
    start: Decimal, steps: list[tuple[str, Decimal]], virtual: bool, data: st.DataObject
) -> None:
    events, writes, level = events_of(start, [step for step in steps if step[0] == "own"])
    told = data.draw(st.permutations(events))

    verdict = judge_echoes(book(level), told, writes, virtual=virtual)

    assert set(verdict.echoes) == {event.id for event in events}
    assert not verdict.needs_look


some_facts = st.lists(st.builds(fact, st.just(""), st.none() | st.integers(-3, 3), st.integers(-2, 6)), max_size=5).map(
    lambda found: [StockFact(f"e{n}", f"e{n}", e.quantity, e.after, e.at) for n, e in enumerate(found)]
)
some_writes = st.lists(
    st.builds(own, st.just(""), st.sampled_from([-2, -1, 1, 2]), st.integers(-2, 6)), max_size=4
).map(lambda found: [OwnWrite(f"w{n}", w.quantity, w.before, w.ended_at) for n, w in enumerate(found)])


@given(small, some_facts, some_writes)
def test_whatever_is_no_echo_is_looked_into(level: Decimal, events: list[StockFact], writes: list[OwnWrite]) -> None:
    verdict = judge_echoes(book(level), events, writes, virtual=False)

    assert len(set(verdict.echoes)) == len(verdict.echoes)
    assert len(set(verdict.echoed_writes)) == len(verdict.echoed_writes) <= len(verdict.echoes)
    assert verdict.needs_look == (len(verdict.echoes) < len(events))
    ours = {(write.quantity, write.after) for write in writes}
    for event in events:
        if event.id in verdict.echoes and events[-1].after != level:
            assert (event.quantity, event.after) in ours or any(later.after == level for later in events)


class TestAVirtualEvent:
    def is_echo(self, told: dict[int, tuple[int, int]], *writes: OwnWrite, virtual: bool = True) -> bool:
        books = {1: book(10, reserved=2), 2: book(4)}
        numbers = {deposit: (D(physical), D(free)) for deposit, (physical, free) in told.items()}
        return is_virtual_echo(books, {1: writes}, numbers, virtual=virtual)

    def test_that_says_what_the_books_say_is_an_echo(self) -> None:
        assert self.is_echo({1: (10, 8), 2: (4, 4)})

    def test_that_tells_of_a_new_order_is_none(self) -> None:
        assert not self.is_echo({1: (10, 7), 2: (4, 4)})

    def test_that_tells_of_a_new_order_is_one_where_orders_do_not_count(self) -> None:
        assert self.is_echo({1: (10, 7), 2: (4, 4)}, virtual=False)

    def test_that_tells_of_another_balance_is_none(self) -> None:
        assert not self.is_echo({1: (9, 7), 2: (4, 4)}, virtual=False)
        assert not self.is_echo({1: (10, 8), 2: (5, 5)})

    def test_that_does_not_tell_of_every_deposit_is_none(self) -> None:
        assert not self.is_echo({1: (10, 8)})

    def test_that_tells_of_a_level_our_own_writes_passed_through_is_an_echo(self) -> None:
        write = own("escrita", 3, 7)

        assert self.is_echo({1: (7, 5), 2: (4, 4)}, write)
        assert self.is_echo({1: (10, 8), 2: (4, 4)}, write)
        assert not self.is_echo({1: (8, 6), 2: (4, 4)}, write)
