"""The chain: events and our own writes that link one balance to another, in examples and for every history."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from core.chain import Chain, find_chain
from core.facts import OwnWrite, StockFact
from tests.core.strategies import NOON, events_of, fact, history, own, small

D = Decimal


def test_a_sale_links_the_balance_before_it_to_the_balance_after_it() -> None:
    sale = fact("venda", -2, 8)

    assert find_chain(D(10), D(8), [sale], []) == Chain(used=("venda",), foreign=("venda",))


def test_movements_link_one_after_the_other() -> None:
    events = [fact("venda", -2, 8), fact("entrada", 5, 13), fact("outra venda", -1, 12)]

    chain = find_chain(D(10), D(12), events, [])

    assert chain is not None
    assert chain.foreign == ("venda", "entrada", "outra venda")


def test_a_lost_event_leaves_a_gap_that_nothing_bridges() -> None:
    assert find_chain(D(10), D(7), [fact("segunda venda", -1, 7)], []) is None


def test_nothing_links_without_any_event() -> None:
    assert find_chain(D(10), D(8), [], []) is None
    assert find_chain(D(10), D(10), [], []) is None


def test_a_reading_older_than_the_newest_event_is_explained_by_those_before_it() -> None:
    events = [fact("venda", -2, 8), fact("outra venda", -3, 5)]

    assert find_chain(D(10), D(8), events, []) == Chain(used=("venda",), foreign=("venda",))
    assert find_chain(D(10), D(8), events, [], whole=True) is None


def test_the_longest_explanation_is_taken() -> None:
    events = [fact("venda", -2, 8), fact("devolução", 2, 10), fact("outra venda", -2, 8)]

    chain = find_chain(D(10), D(8), events, [])

    assert chain is not None
    assert len(chain.used) == 3


def test_a_count_has_no_balance_before_it_and_links_to_anything() -> None:
    assert find_chain(D(10), D(4), [fact("balanço", None, 4)], []) == Chain(("balanço",), ("balanço",))
    assert find_chain(D(10), D(3), [fact("balanço", None, 4), fact("venda", -1, 3)], []) is not None


def test_of_two_readings_of_the_same_events_the_one_with_more_of_them_is_taken() -> None:
    events = [fact("eco", 1, 1), fact("entrada", 1, 2), fact("sem ligação", 5, 100)]

    # Taking the first event for somebody else's would reach the goal as well, and leave the second unexplained.
    assert find_chain(D(0), D(2), events, [own("escrita", 1, 0)]) == Chain(("eco", "entrada"), ("entrada",))


def test_a_way_that_was_tried_already_keeps_no_other_from_being_tried() -> None:
    events = [fact("entrada", 1, 1), fact("outra", 1, 2)]

    # "outra" may be our write or not, and both lead to places known by then; only neither event being ours ends at 3.
    assert find_chain(D(0), D(3), events, [own("escrita", 1, 0)]) == Chain(("entrada", "outra"), ("entrada", "outra"))


def test_of_two_explanations_the_longer_counts_however_many_writes_are_ours() -> None:
    events = [fact("contagem", None, 0), fact("outra contagem", None, 1)]
    writes = [own("escrita", 2, 0), own("outra escrita", -1, 2)]

    chain = find_chain(D(0), D(1), events, writes)

    assert chain is not None
    assert chain.used == ("contagem", "outra contagem")


def test_our_own_write_is_a_link_whether_its_event_came_or_not() -> None:
    write = own("escrita", -3, 10)

    with_event = find_chain(D(10), D(5), [fact("eco", -3, 7), fact("venda", -2, 5)], [write])
    without = find_chain(D(10), D(5), [fact("venda", -2, 5)], [write])

    assert with_event == Chain(used=("eco", "venda"), foreign=("venda",))
    assert without == Chain(used=("venda",), foreign=("venda",))


def test_a_sale_before_our_write_landed_is_found_too() -> None:
    events = [fact("venda", -2, 8), fact("eco", -3, 5)]

    assert find_chain(D(10), D(5), events, [own("escrita", -3, 10)]) == Chain(("venda", "eco"), ("venda",))


def test_a_sale_of_the_size_of_our_write_is_still_somebody_elses() -> None:
    events = [fact("eco", -3, 7), fact("venda", -3, 4)]

    chain = find_chain(D(10), D(4), events, [own("escrita", -3, 10)])

    assert chain is not None
    assert len(chain.foreign) == 1


def test_a_repeated_event_is_not_used_twice() -> None:
    sale = fact("venda", -2, 8)

    assert find_chain(D(10), D(6), [sale, replace(sale, id="de novo")], []) is None


def test_the_whole_chain_of_nothing_is_our_writes_alone() -> None:
    assert find_chain(D(10), D(7), [], [own("escrita", -3, 10)], whole=True) == Chain((), ())
    assert find_chain(D(10), D(8), [], [own("escrita", -3, 10)], whole=True) is None


def test_quantities_are_exact() -> None:
    events = [fact("venda", D("-0.1"), D("9.9")), fact("outra", D("-0.2"), D("9.7"))]

    assert find_chain(D(10), D("9.7"), events, []) is not None
    assert find_chain(D(10), D("9.700001"), events, []) is None


def test_a_burst_that_does_not_link_is_given_up_quickly() -> None:
    count = 3000
    events = [fact(f"venda {n}", -1, count - 1 - n) for n in range(count)]
    began = time.process_time()

    assert find_chain(D(count), D("0.5"), events, [own("escrita", 7, 0)]) is None
    assert time.process_time() - began < 2


@given(small, history(), st.data())
def test_every_true_history_is_found_whichever_of_our_own_events_were_lost(
    start: Decimal, steps: list[tuple[str, Decimal]], data: st.DataObject
) -> None:
    events, writes, goal = events_of(start, steps)
    lost = data.draw(st.sets(st.sampled_from([e.id for e in events if e.id.startswith("own")] or ["none"])))
    told = [event for event in events if event.id not in lost]

    chain = find_chain(start, goal, told, writes, whole=True)

    assert chain is not None
    assert chain.used == tuple(event.id for event in told)
    if told:
        assert find_chain(start, goal, told, writes) == chain


@given(small, history(counts=False), st.data())
def test_what_a_true_history_says_others_did_adds_up(
    start: Decimal, steps: list[tuple[str, Decimal]], data: st.DataObject
) -> None:
    events, writes, goal = events_of(start, steps)
    lost = data.draw(st.sets(st.sampled_from([e.id for e in events if e.id.startswith("own")] or ["none"])))
    told = [event for event in events if event.id not in lost]

    chain = find_chain(start, goal, told, writes, whole=True)

    assert chain is not None
    assert sum_of(told, chain.foreign) == sum(q for kind, q in steps if kind == "foreign")


facts = st.lists(st.builds(fact, st.just(""), st.none() | st.integers(-3, 3), st.integers(-2, 6)), max_size=6).map(
    lambda found: [replace(event, id=f"e{n}", event_id=f"e{n}") for n, event in enumerate(found)]
)
writes_of = st.lists(st.integers(-3, 3).filter(bool), max_size=3).map(
    lambda found: [own(f"w{n}", quantity, 0) for n, quantity in enumerate(found)]
)
levels = st.integers(-2, 6).map(D)


@given(levels, levels, facts, writes_of, st.booleans())
def test_it_finds_what_trying_everything_finds(
    start: Decimal, goal: Decimal, events: list[StockFact], writes: list[OwnWrite], whole: bool
) -> None:
    possible = [
        (taken, foreign)
        for taken, applied, level, foreign in tried(start, 0, 0, (), events, writes)
        if level == goal and applied == len(writes) and (taken == len(events) if whole else taken > 0)
    ]

    chain = find_chain(start, goal, events, writes, whole=whole)

    if chain is None:
        assert not possible
    else:
        assert len(chain.used) == max(taken for taken, _ in possible)
        assert (len(chain.used), chain.foreign) in possible


@given(levels, levels, facts, writes_of)
def test_a_chain_always_sums_to_the_difference(
    start: Decimal, goal: Decimal, events: list[StockFact], writes: list[OwnWrite]
) -> None:
    chain = find_chain(start, goal, events, writes)
    if chain is None or any(event.quantity is None for event in events):
        return

    assert sum_of(events, chain.foreign) + sum(write.quantity for write in writes) == goal - start


@given(small, history(), small.filter(bool))
def test_a_goal_that_is_off_is_never_reached_by_movements_of_others(
    start: Decimal, steps: list[tuple[str, Decimal]], off: Decimal
) -> None:
    events, _, goal = events_of(start, [step for step in steps if step[0] == "foreign"])

    assert find_chain(start, goal + off, events, [], whole=True) is None


@given(small, history())
def test_telling_every_event_twice_adds_nothing(start: Decimal, steps: list[tuple[str, Decimal]]) -> None:
    events, writes, goal = events_of(start, [step for step in steps if step[0] == "foreign"])
    twice = [again for event in events for again in (event, replace(event, id=f"{event.id} again"))]

    chain = find_chain(start, goal, twice, writes)

    if chain is not None:
        assert sum_of(twice, chain.foreign) == goal - start


def sum_of(events: Sequence[StockFact], ids: Sequence[str]) -> Decimal:
    return sum((event.quantity or D(0) for event in events if event.id in ids), D(0))


def tried(
    level: Decimal,
    taken: int,
    applied: int,
    foreign: tuple[str, ...],
    events: Sequence[StockFact],
    writes: Sequence[OwnWrite],
) -> Iterator[tuple[int, int, Decimal, tuple[str, ...]]]:
    """Every way to read the events and writes, by brute force."""
    yield taken, applied, level, foreign
    if applied < len(writes):
        yield from tried(level + writes[applied].quantity, taken, applied + 1, foreign, events, writes)
    if taken < len(events):
        event = events[taken]
        if event.quantity is not None and level + event.quantity != event.after:
            return
        yield from tried(event.after, taken + 1, applied, (*foreign, event.id), events, writes)
        if applied < len(writes) and writes[applied].quantity == event.quantity:
            yield from tried(event.after, taken + 1, applied + 1, foreign, events, writes)


def test_the_times_of_events_play_no_part() -> None:
    late = replace(fact("venda", -2, 8), at=NOON - timedelta(days=3))

    assert find_chain(D(10), D(8), [late], []) is not None
