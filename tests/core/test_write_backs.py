"""Who takes what targets owe: the order, what each source has, and what happens when nobody has enough."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.facts import ZERO
from core.write_backs import Debt, Shares, Taker, in_order, share_out
from tests.core.strategies import ACCOUNTS, small

D = Decimal
MATRIZ, FILIAL, AVULSA = ACCOUNTS


def taker(account: str, on_shelf: Any, reserved: Any = 0, **values: Any) -> Taker:
    fields: dict[str, Any] = {"preference": None, "is_writable": True, **values}
    return Taker(account, account, on_shelf=D(on_shelf), reserved=D(reserved), **fields)


def share(quantity: Any, *takers: Taker, account: str | None = None) -> Shares:
    return share_out([Debt(D(quantity), account)], takers)


class TestASale:
    def test_is_taken_from_the_first_that_has_it(self) -> None:
        assert share(-3, taker(MATRIZ, 3), taker(FILIAL, 9)).taken == {MATRIZ: -3}

    def test_goes_on_to_the_next_with_what_is_left(self) -> None:
        assert share(-9, taker(MATRIZ, 3), taker(FILIAL, 4), taker(AVULSA, 9)).taken == {
            MATRIZ: -3,
            FILIAL: -4,
            AVULSA: -2,
        }

    def test_of_a_fraction_is_split_as_exactly(self) -> None:
        assert share("-2.75", taker(MATRIZ, "0.5"), taker(FILIAL, 9)).taken == {MATRIZ: D("-0.5"), FILIAL: D("-2.25")}

    def test_passes_over_a_shelf_that_is_empty_or_below_zero(self) -> None:
        assert share(-1, taker(MATRIZ, 0), taker(FILIAL, -4), taker(AVULSA, 1)).taken == {AVULSA: -1}

    def test_takes_what_is_free_everywhere_before_what_orders_wait_for(self) -> None:
        takers = (taker(MATRIZ, 5, 4), taker(FILIAL, 5, 3))

        assert share(-3, *takers).taken == {MATRIZ: -1, FILIAL: -2}
        assert share(-5, *takers).taken == {MATRIZ: -3, FILIAL: -2}
        assert share(-9, *takers).taken == {MATRIZ: -5, FILIAL: -4}

    def test_finds_no_more_on_a_shelf_than_is_there_whatever_bling_says_of_its_orders(self) -> None:
        assert share(-4, taker(MATRIZ, 3, -2), taker(FILIAL, 9)).taken == {MATRIZ: -3, FILIAL: -1}

    def test_that_nobody_has_is_shown_by_the_first_below_zero(self) -> None:
        assert share(-9, taker(MATRIZ, 3), taker(FILIAL, 4)) == Shares(
            {MATRIZ: D(-5), FILIAL: D(-4)}, ZERO, frozenset()
        )

    def test_goes_to_the_next_while_the_first_cannot_be_written(self) -> None:
        away = taker(MATRIZ, 9, is_writable=False)

        assert share(-2, away, taker(FILIAL, 4)).taken == {FILIAL: -2}
        assert share(-6, away, taker(FILIAL, 4)) == Shares({FILIAL: D(-6)}, ZERO, frozenset())

    def test_waits_for_one_that_has_it_and_can_be_written_before_long(self) -> None:
        busy = taker(MATRIZ, 9, is_writable=False, is_waiting=True)

        assert share(-6, busy, taker(FILIAL, 4)) == Shares({FILIAL: D(-4)}, D(-2), frozenset({MATRIZ}))
        assert share(-6, busy) == Shares({}, D(-6), frozenset({MATRIZ}))

    def test_does_not_wait_for_one_that_has_nothing_either(self) -> None:
        busy = taker(MATRIZ, 0, is_writable=False, is_waiting=True)

        assert share(-6, busy, taker(FILIAL, 4)) == Shares({FILIAL: D(-6)}, ZERO, frozenset())

    def test_that_stays_owed_names_those_it_waits_for_beside_other_debts(self) -> None:
        busy = taker(FILIAL, 9, is_writable=False, is_waiting=True)
        debts = [Debt(D(-3)), Debt(D(-2)), Debt(D(-1))]

        assert share_out(debts, [taker(MATRIZ, 4), busy]) == Shares({MATRIZ: D(-4)}, D(-2), frozenset({FILIAL}))

    def test_stays_owed_while_nobody_can_be_written(self) -> None:
        away = (taker(MATRIZ, 9, is_writable=False), taker(FILIAL, 9, is_writable=False, is_waiting=True))

        assert share(-6, *away) == Shares({}, D(-6), frozenset({MATRIZ, FILIAL}))


class TestAReturn:
    def test_goes_whole_to_the_first_that_can_take_it(self) -> None:
        busy = taker(MATRIZ, 3, is_writable=False, is_waiting=True)

        assert share(4, taker(MATRIZ, 9), taker(FILIAL, -2)).taken == {MATRIZ: 4}
        assert share(4, busy, taker(FILIAL, -2)).taken == {FILIAL: 4}

    def test_stays_owed_while_nobody_can_be_written(self) -> None:
        assert share(4, taker(MATRIZ, 9, is_writable=False)) == Shares({}, D(4), frozenset({MATRIZ}))

    def test_is_there_for_a_sale_of_the_same_moment(self) -> None:
        debts = [Debt(D(-3), FILIAL), Debt(D(2), AVULSA)]
        takers = [taker(MATRIZ, 1, preference=0), taker(FILIAL, 9, preference=1)]

        assert share_out(debts, takers) == share_out(debts[::-1], takers) == Shares({MATRIZ: D(-1)}, ZERO, frozenset())

    def test_and_a_sale_of_the_same_size_leave_nothing_to_do(self) -> None:
        assert share_out([Debt(D(2)), Debt(D(-2))], [taker(MATRIZ, 0)]) == Shares({}, ZERO, frozenset())

    def test_waits_for_nobody_while_somebody_can_be_written(self) -> None:
        busy = taker(FILIAL, 9, is_writable=False, is_waiting=True)

        assert share(4, taker(MATRIZ, 0), busy) == Shares({MATRIZ: D(4)}, ZERO, frozenset())

    def test_is_no_sale_and_neither_is_nothing(self) -> None:
        assert [Debt(D(n)).is_sale for n in (-1, 0, 1)] == [True, False, False]


class TestTheOrder:
    @pytest.mark.parametrize(
        ("account", "order"),
        [
            (None, [MATRIZ, FILIAL, AVULSA]),
            (MATRIZ, [MATRIZ, FILIAL, AVULSA]),
            (FILIAL, [FILIAL, MATRIZ, AVULSA]),
        ],
    )
    def test_begins_where_the_sale_was_made(self, account: str | None, order: list[str]) -> None:
        takers = [taker(name, 1) for name in ACCOUNTS]

        assert [one.key for one in in_order(takers, account)] == order

    def test_is_the_merchants_where_there_is_one_and_leaves_the_others_out(self) -> None:
        takers = [taker(MATRIZ, 1, preference=1), taker(FILIAL, 9), taker(AVULSA, 1, preference=0)]

        assert [one.key for one in in_order(takers, FILIAL)] == [AVULSA, MATRIZ]
        assert share_out([Debt(D(-5), FILIAL)], takers).taken == {AVULSA: -4, MATRIZ: -1}


takers = st.builds(
    Taker,
    key=st.just(""),
    account=st.sampled_from(ACCOUNTS),
    preference=st.none(),
    on_shelf=small,
    reserved=small,
    is_writable=st.booleans(),
    is_waiting=st.just(False),
)


@st.composite
def many_takers(draw: st.DrawFn) -> list[Taker]:
    listed = draw(st.lists(takers, min_size=1, max_size=4))
    chosen = draw(st.permutations([None, None, 0, 1, 2]))
    return [
        Taker(
            f"principal {n}",
            one.account,
            chosen[n],
            one.on_shelf,
            one.reserved,
            one.is_writable,
            not one.is_writable and draw(st.booleans()),
        )
        for n, one in enumerate(listed)
    ]


debts = st.lists(st.builds(Debt, small, st.none() | st.sampled_from(ACCOUNTS)), max_size=4)


class TestEverySharing:
    @given(debts, many_takers())
    def test_takes_or_leaves_exactly_what_is_owed(self, owed: list[Debt], takers: list[Taker]) -> None:
        shares = share_out(owed, takers)

        assert sum(shares.taken.values(), shares.left) == sum((debt.quantity for debt in owed), ZERO)

    @given(debts, many_takers())
    def test_writes_only_what_can_be_written_and_leaves_nothing_out_without_saying_why(
        self, owed: list[Debt], takers: list[Taker]
    ) -> None:
        shares = share_out(owed, takers)

        able = {one.key for one in takers if one.is_writable}
        assert shares.taken.keys() <= able
        assert ZERO not in shares.taken.values()
        assert shares.held.isdisjoint(able)
        assert shares.held or shares.left == ZERO

    @given(st.integers(-30, -1).map(D), many_takers())
    def test_of_a_sale_takes_no_unit_that_an_order_waits_for_while_another_source_has_a_free_one(
        self, quantity: Decimal, takers: list[Taker]
    ) -> None:
        shares = share_out([Debt(quantity)], takers)

        def left(one: Taker, there: Decimal) -> Decimal:
            return there + shares.taken.get(one.key, ZERO)

        able = [one for one in in_order(takers, None) if one.is_writable]
        taking = [one for one in able if one.key in shares.taken]
        if any(left(one, one.free) < 0 for one in taking):
            assert all(left(one, one.free) <= 0 for one in able)
        if any(left(one, one.on_shelf) < 0 for one in taking):
            assert all(left(one, one.on_shelf) <= 0 for one in able)
            assert not [one for one in in_order(takers, None) if one.is_waiting and one.on_shelf > 0]
