"""What is decided for one SKU, in examples: Matriz holds the stock, Filial and Avulsa sell from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from core.facts import BalanceKind, Book, Mode, OpenWrite, Purpose, Role, Seen, StockFact, TargetMovements
from core.plan import CellInput, PoolInput, PoolPlan, Wish, plan_pool
from core.rules import TargetRule
from tests.core.strategies import NOON, WINDOW, ago, changed, fact, own

D = Decimal
MATRIZ, FILIAL, AVULSA = "Matriz", "Filial", "Avulsa"


def cell(
    key: str,
    role: Role,
    known: Any,
    seen: Any = ...,
    *,
    reserved: Any = 0,
    was_reserved: Any = None,
    position: int = 0,
    changed_at: Any = None,
    **values: Any,
) -> CellInput:
    """A cell whose books say `known` (None: never read) and that shows `seen` (None: unreadable; ...: the same)."""
    shown = known if seen is ... else seen
    before = D(reserved if was_reserved is None else was_reserved)
    return CellInput(
        key=key,
        role=role,
        position=position,
        book=None if known is None else Book(D(known), before, ago(3600), changed_at),
        seen=None if shown is None else Seen(D(shown), D(reserved), NOON),
        **values,
    )


def source(known: Any, seen: Any = ..., key: str = MATRIZ, write_back: int | None = 0, **values: Any) -> CellInput:
    return cell(key, Role.SOURCE, known, seen, write_back_position=write_back, **values)


def target(known: Any, seen: Any = ..., key: str = FILIAL, rule: TargetRule | None = None, **values: Any) -> CellInput:
    return cell(key, Role.TARGET, known, seen, rule=rule or TargetRule(), **values)


def pool(*cells: CellInput, **values: Any) -> PoolInput:
    fields: dict[str, Any] = {
        "mode": Mode.SUM,
        "balance": BalanceKind.VIRTUAL,
        "target_movements": TargetMovements.WRITE_BACK,
        "owed": D(0),
        "level": None,
        "seed": None,
        "window": WINDOW,
    }
    return PoolInput(cells=cells, **fields | values)


def mirror(*cells: CellInput, level: Any = None, **values: Any) -> PoolInput:
    return pool(*cells, mode=Mode.MIRROR, level=None if level is None else D(level), **values)


def writes(plan: PoolPlan) -> dict[str, Decimal]:
    return {wish.key: wish.quantity for wish in plan.wishes}


def test_a_settled_pool_needs_nothing() -> None:
    plan = plan_pool(pool(source(10), target(10)))

    assert plan.wishes == ()
    assert not plan.has_news
    assert (plan.available, plan.owed, plan.again_at) == (10, 0, None)


def test_a_baseline_is_news_and_so_is_a_movement_that_asks_for_no_write() -> None:
    joined = plan_pool(pool(source(None, 10), target(10)))
    capped = target(5, rule=TargetRule(max=D(5)))
    moved = [plan_pool(pool(source(10, seen), capped)) for seen in (8, 10, 12)]

    assert (joined.wishes, joined.has_news) == ((), True)
    assert [(plan.wishes, plan.has_news) for plan in moved] == [((), True), ((), False), ((), True)]


def test_a_sale_on_a_source_lowers_every_target() -> None:
    plan = plan_pool(pool(source(10, 8), target(10), target(10, key=AVULSA)))

    assert plan.wishes == (
        Wish(AVULSA, D(-2), D(10), Purpose.TARGET),
        Wish(FILIAL, D(-2), D(10), Purpose.TARGET),
    )
    assert plan.has_news


def test_a_sale_on_a_target_is_written_back_and_lowers_the_others() -> None:
    plan = plan_pool(pool(source(10), target(10, 7), target(10, key=AVULSA)))

    assert plan.wishes == (
        Wish(MATRIZ, D(-3), D(10), Purpose.WRITE_BACK),
        Wish(AVULSA, D(-3), D(10), Purpose.TARGET),
    )
    assert (plan.owed, plan.available) == (0, 7)


def test_a_return_on_a_target_comes_back_to_the_source() -> None:
    plan = plan_pool(pool(source(10), target(10, 12), target(10, key=AVULSA)))

    assert writes(plan) == {MATRIZ: 2, AVULSA: 2}


def test_several_sources_are_one_pool() -> None:
    assert plan_pool(pool(source(10), source(5, key=AVULSA), target(0))).wanted == {FILIAL: 15}


def test_a_source_that_was_oversold_takes_from_the_others() -> None:
    assert plan_pool(pool(source(-3), source(5, key=AVULSA), target(0))).wanted == {FILIAL: 2}
    assert plan_pool(pool(source(-3), target(4))).wanted == {FILIAL: 0}


def test_an_open_order_lowers_the_pool_at_once_and_posting_it_changes_nothing() -> None:
    ordered = pool(source(10, reserved=4, was_reserved=0), target(10))
    posted = pool(source(10, 6, reserved=0, was_reserved=4), target(6))

    assert writes(plan_pool(ordered)) == {FILIAL: -4}
    assert writes(plan_pool(posted)) == {}


def test_an_order_on_a_target_lowers_the_others_and_leaves_its_own_shelf() -> None:
    plan = plan_pool(pool(source(10), target(10, reserved=4, was_reserved=0), target(10, key=AVULSA)))

    assert plan.wanted == {FILIAL: 10, AVULSA: 6}
    assert writes(plan) == {AVULSA: -4}


def test_an_event_that_tells_of_fewer_orders_raises_the_pool_where_a_reading_alone_would_not() -> None:
    ordered = Book(D(10), D(4), ago(60), None, ago(2), D(0))
    cancelled = replace(source(10), book=ordered)

    read, told = (plan_pool(pool(replace(cancelled, told_reserved=said), target(6))) for said in (None, D(0)))

    assert (read.available, read.wishes) == (6, ())
    assert (told.available, writes(told)) == (10, {FILIAL: 4})


def test_posting_the_order_of_a_target_writes_it_back_once() -> None:
    plan = plan_pool(pool(source(10), target(10, 6, reserved=0, was_reserved=4), target(6, key=AVULSA)))

    assert writes(plan) == {MATRIZ: -4}


def test_physical_balances_do_not_count_orders() -> None:
    plan = plan_pool(pool(source(10, reserved=4), target(10, reserved=2), balance=BalanceKind.PHYSICAL))

    assert (plan.available, plan.wishes) == (10, ())


def test_a_virtual_balance_above_the_physical_one_is_counted_as_it_is() -> None:
    plan = plan_pool(pool(source(10, reserved=-2), target(12)))

    assert (plan.available, plan.wishes) == (12, ())


def test_each_target_follows_its_own_rule() -> None:
    half, few = TargetRule(percent=D(50)), TargetRule(max=D(3))

    plan = plan_pool(pool(source(9), target(0, rule=half), target(0, key=AVULSA, rule=few)))

    assert plan.wanted == {FILIAL: 4, AVULSA: 3}


def test_a_pool_with_a_fraction_keeps_three_decimals() -> None:
    plan = plan_pool(pool(source("9.5"), target(0, rule=TargetRule(percent=D(50)))))

    assert plan.wanted == {FILIAL: D("4.75")}


def test_a_fraction_on_a_target_is_no_reason_for_fractions_on_another() -> None:
    half, less = TargetRule(percent=D(50)), TargetRule(reserve=D("0.5"))

    first = plan_pool(pool(source(7), target(0, rule=half), target(0, key=AVULSA, rule=less)))
    again = plan_pool(pool(source(7), target(3, rule=half), target("6.5", key=AVULSA, rule=less)))

    assert first.wanted == {FILIAL: 3, AVULSA: D("6.5")}
    assert again.wishes == ()


def test_a_fraction_that_is_written_back_counts_as_on_the_shelf_already() -> None:
    half = TargetRule(percent=D(50))

    sold = plan_pool(pool(source(10), target(5, "4.5", rule=half)))
    returned = plan_pool(pool(source("9.5"), target("4.75", "5.25", rule=half)))

    assert (writes(sold)[MATRIZ], sold.wanted) == (D("-0.5"), {FILIAL: D("4.75")})
    assert (writes(returned)[MATRIZ], returned.wanted) == (D("0.5"), {FILIAL: 5})


def test_a_fraction_that_a_write_back_makes_whole_is_none() -> None:
    plan = plan_pool(pool(source("9.75"), target("4.75", 5, rule=TargetRule(percent=D(45)))))

    assert (writes(plan)[MATRIZ], plan.available, plan.wanted) == (D("0.25"), 10, {FILIAL: 4})


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("movements", TargetMovements)
def test_fractions_are_shown_while_a_balance_of_the_pool_has_one(mode: Mode, movements: TargetMovements) -> None:
    half = TargetRule(percent=D(50))

    def wanted(held: Any, reserved: Any) -> Decimal:
        """What a target of one half shows; whatever it shows itself, and however it moves, is no part of the pool."""
        shop = target("2.25", rule=half, reserved=reserved)
        cells = (source(held), shop) if mode is Mode.SUM else (shop, target("1.5", key=AVULSA))
        level = D(held) if mode is Mode.MIRROR else None
        plan = plan_pool(pool(*cells, mode=mode, level=level, target_movements=movements))
        return plan.wanted[FILIAL] - D(reserved)

    assert wanted(7, 0) == 3
    assert wanted("7.5", 0) == D("3.75")
    assert wanted("7.001", 0) == D("3.5")
    assert wanted(8, "0.5") == D("3.75")
    assert wanted("7.5", "0.5") == D("3.5")
    assert wanted(7, 0) == 3


def test_a_fraction_that_somebody_books_on_an_overwritten_target_is_none_of_the_pool() -> None:
    shop = target(3, "2.5", rule=TargetRule(percent=D(50)))

    plan = plan_pool(pool(source(7), shop, target_movements=TargetMovements.OVERWRITE))

    assert (plan.wanted, writes(plan)) == ({FILIAL: 3}, {FILIAL: D("0.5")})


def test_a_target_without_a_rule_of_its_own_shows_everything() -> None:
    assert plan_pool(pool(source(9), replace(target(0), rule=None))).wanted == {FILIAL: 9}


def test_write_backs_come_first_then_decreases_then_increases() -> None:
    plan = plan_pool(
        pool(source(10), target(2, key="A"), target(19, 20, key="B"), target(3, key="C"), target(12, key="D"))
    )

    assert [wish.key for wish in plan.wishes] == [MATRIZ, "B", "D", "A", "C"]


class TestAnUnreadableSource:
    def test_stands_in_with_its_last_known_balance(self) -> None:
        plan = plan_pool(pool(source(10, None, unread="reconnect"), source(5, 3, key=AVULSA), target(15)))

        assert (plan.available, writes(plan)) == (13, {FILIAL: -2})
        assert plan.missing == {MATRIZ: "reconnect"}

    def test_never_raises_a_target(self) -> None:
        plan = plan_pool(pool(source(10, None), source(5, 8, key=AVULSA), target(15)))

        assert plan.wishes == ()
        assert plan.held == {FILIAL: "lower_only"}
        assert plan.missing == {MATRIZ: "unreadable"}

    def test_does_not_take_what_is_owed_another_one_does(self) -> None:
        plan = plan_pool(pool(source(10, None), source(5, key=AVULSA, write_back=1), target(15, 13)))

        assert writes(plan) == {AVULSA: -2}
        assert plan.missing == {MATRIZ: "unreadable"}

    def test_leaves_it_owed_when_there_is_no_other(self) -> None:
        plan = plan_pool(pool(source(10, None), target(10, 7), target(10, key=AVULSA)))

        assert (plan.owed, plan.available, writes(plan)) == (-3, 7, {AVULSA: -3})

    def test_that_was_never_read_stops_the_pool(self) -> None:
        plan = plan_pool(pool(source(None, None, unread="paused"), source(5, 1, key=AVULSA), target(9, 8)))

        assert (plan.available, plan.wishes, plan.wanted) == (None, (), {})
        assert plan.missing == {MATRIZ: "paused"}
        assert plan.held == {}
        assert plan.owed == -1
        assert plan.looks[AVULSA].movement == -4

    def test_is_named_before_a_target_that_was_never_read(self) -> None:
        plan = plan_pool(pool(target(None, None, unread="paused"), source(10, None, unread="reconnect", position=1)))

        assert list(plan.missing.items()) == [(MATRIZ, "reconnect"), (FILIAL, "paused")]


class TestAnUnreadableTarget:
    def test_does_not_hold_up_the_others(self) -> None:
        plan = plan_pool(pool(source(10, 8), target(10, None, unread="reconnect"), target(10, key=AVULSA)))

        assert writes(plan) == {AVULSA: -2}
        assert plan.held == {FILIAL: "reconnect"}
        assert plan.missing == {}

    def test_stands_in_with_its_last_known_reservations(self) -> None:
        plan = plan_pool(pool(source(10), target(10, None, reserved=4), target(6, key=AVULSA)))

        assert (plan.available, plan.wishes, plan.held) == (6, (), {})

    def test_that_was_never_read_stops_a_pool_that_counts_reservations(self) -> None:
        plan = plan_pool(pool(source(10), target(None, None), target(6, key=AVULSA)))

        assert (plan.available, plan.wishes) == (None, ())
        assert plan.missing == {FILIAL: "unreadable"}

    def test_that_was_never_read_does_not_matter_to_physical_balances(self) -> None:
        plan = plan_pool(pool(source(10), target(None, None), target(6, key=AVULSA), balance=BalanceKind.PHYSICAL))

        assert (writes(plan), plan.missing) == ({AVULSA: 4}, {})


class TestABalanceThatIsPutOff:
    def test_lowers_the_pool_but_its_own_cell_is_not_written(self) -> None:
        plan = plan_pool(pool(source(10), target(10, 8, changed_at=ago(1)), target(10, key=AVULSA)))

        assert (plan.available, plan.owed, writes(plan)) == (8, 0, {AVULSA: -2})
        assert plan.held == {FILIAL: "put_off"}
        assert plan.again_at == ago(1) + WINDOW
        assert plan.must_look

    def test_never_raises_it(self) -> None:
        plan = plan_pool(pool(source(10, 14, changed_at=ago(1)), target(10)))

        assert (plan.available, plan.wishes) == (10, ())
        assert plan.has_news

    def test_takes_no_write_back(self) -> None:
        plan = plan_pool(pool(source(10, 9, changed_at=ago(1)), target(10, 8)))

        assert (plan.owed, plan.available, writes(plan)) == (-2, 7, {FILIAL: -1})
        assert plan.held == {MATRIZ: "put_off"}

    def test_the_earliest_moment_to_look_again_counts(self) -> None:
        plan = plan_pool(pool(source(10, 9, changed_at=ago(1)), target(10, 8, changed_at=ago(4))))

        assert plan.again_at == ago(4) + WINDOW


class TestAWriteInDoubt:
    def test_blocks_its_cell_only(self) -> None:
        doubtful = OpenWrite(D(-2), Purpose.TARGET)

        plan = plan_pool(pool(source(8), target(10, open_write=doubtful), target(10, key=AVULSA)))

        assert writes(plan) == {AVULSA: -2}
        assert plan.held == {FILIAL: "unknown_write"}

    @pytest.mark.parametrize("shown", [10, 7])
    def test_a_write_back_in_doubt_counts_once_whether_it_shows_or_not(self, shown: int) -> None:
        doubtful = OpenWrite(D(-3), Purpose.WRITE_BACK)

        plan = plan_pool(pool(source(10, shown, open_write=doubtful), target(7), target(7, key=AVULSA)))

        assert (plan.available, plan.wishes) == (7, ())

    def test_what_is_owed_meanwhile_waits(self) -> None:
        doubtful = OpenWrite(D(-3), Purpose.WRITE_BACK)

        plan = plan_pool(pool(source(10, open_write=doubtful), target(7, 5), target(7, key=AVULSA)))

        assert (plan.owed, plan.available, writes(plan)) == (-2, 5, {AVULSA: -2})
        assert plan.held == {MATRIZ: "unknown_write"}

    def test_an_unreadable_source_keeps_its_write_back_in_doubt(self) -> None:
        doubtful = OpenWrite(D(-3), Purpose.WRITE_BACK)

        assert plan_pool(pool(source(10, None, open_write=doubtful), target(7))).available == 7

    def test_a_write_of_another_rule_blocks_a_place_that_is_new_here(self) -> None:
        doubtful = OpenWrite(D(-3), Purpose.WRITE_BACK)

        plan = plan_pool(pool(source(None, 10, open_write=doubtful), target(9, 8)))

        assert writes(plan) == {FILIAL: -2}
        assert plan.owed == -1


class TestARefusedWrite:
    def test_is_not_repeated(self) -> None:
        plan = plan_pool(pool(source(8), target(10, refused=True), target(10, key=AVULSA)))

        assert writes(plan) == {AVULSA: -2}
        assert plan.held == {FILIAL: "rejected"}

    def test_leaves_the_write_back_to_the_next_source(self) -> None:
        plan = plan_pool(pool(source(5, refused=True), source(5, key=AVULSA, write_back=1), target(10), owed=D(-2)))

        assert writes(plan) == {AVULSA: -2, FILIAL: -2}


class TestAWriteBack:
    """A sale on a target goes to a source: the merchant's choice, or one of the target's own account, or the first."""

    def home(self, known: Any, account: str, seen: Any = ..., **values: Any) -> CellInput:
        return source(known, seen, key=f"{account} geral", account=account, write_back=None, **values)

    def test_goes_to_the_source_the_merchant_prefers(self) -> None:
        plan = plan_pool(pool(source(5, write_back=1), source(5, key=AVULSA, write_back=0), target(10, 9)))

        assert writes(plan) == {AVULSA: -1}

    def test_passes_over_a_source_that_was_not_chosen(self) -> None:
        plan = plan_pool(pool(source(5, write_back=None), source(5, key=AVULSA, write_back=0), target(10, 9)))

        assert writes(plan) == {AVULSA: -1}

    def test_goes_to_the_account_where_the_sale_was_made(self) -> None:
        plan = plan_pool(
            pool(
                self.home(5, MATRIZ, position=0),
                self.home(5, FILIAL, position=1),
                target(10, 9, account=FILIAL),
                target(10, 8, key=AVULSA, account=AVULSA),
            )
        )

        assert writes(plan) == {"Matriz geral": -2, "Filial geral": -1, FILIAL: -2, AVULSA: -1}

    def test_goes_to_the_first_source_while_its_own_cannot_take_it(self) -> None:
        plan = plan_pool(
            pool(
                self.home(5, MATRIZ, position=0),
                self.home(5, FILIAL, position=1, refused=True),
                target(10, 9, account=FILIAL),
            )
        )

        assert writes(plan) == {"Matriz geral": -1}

    def test_is_split_where_one_source_has_not_enough(self) -> None:
        plan = plan_pool(pool(source(3), source(5, key=AVULSA, write_back=1), target(8, 4)))

        assert (plan.owed, writes(plan)) == (0, {MATRIZ: -3, AVULSA: -1})

    def test_leaves_to_open_orders_the_units_they_wait_for(self) -> None:
        ordered = (source(5, reserved=3), source(5, key=AVULSA, write_back=1), target(7, 3))

        virtual, physical = plan_pool(pool(*ordered)), plan_pool(pool(*ordered, balance=BalanceKind.PHYSICAL))

        assert writes(virtual) == {MATRIZ: -2, AVULSA: -2}
        assert writes(physical)[MATRIZ] == -4

    def test_waits_for_a_source_that_has_it_rather_than_send_another_below_zero(self) -> None:
        busy = source(10, 9, changed_at=ago(1))

        plan = plan_pool(pool(busy, source(1, key=AVULSA, write_back=1), target(11, 8)))

        assert (plan.owed, plan.available, writes(plan)) == (-2, 7, {AVULSA: -1, FILIAL: -1})
        assert plan.held == {MATRIZ: "put_off"}

    def test_of_a_sale_that_no_source_can_cover_shows_as_a_negative_balance_of_the_first(self) -> None:
        plan = plan_pool(pool(source(1), source(1, key=AVULSA, write_back=1), target(2, -3)))

        assert (plan.owed, plan.available, writes(plan)) == (0, -3, {MATRIZ: -4, AVULSA: -1, FILIAL: 3})

    def test_stays_owed_while_nobody_can_take_it(self) -> None:
        plan = plan_pool(pool(self.home(10, MATRIZ, refused=True), target(10, 9, account=FILIAL), owed=D(-1)))

        assert (plan.owed, plan.available, writes(plan)) == (-2, 8, {FILIAL: -1})
        assert plan.held == {"Matriz geral": "rejected"}

    def test_that_was_owed_from_before_goes_to_the_first_source(self) -> None:
        plan = plan_pool(
            pool(self.home(5, MATRIZ, position=0), self.home(5, FILIAL, position=1), target(8), owed=D(-2))
        )

        assert (plan.owed, writes(plan)) == (0, {"Matriz geral": -2})

    def test_of_a_sale_and_a_return_of_the_same_size_is_not_made(self) -> None:
        plan = plan_pool(pool(source(10), target(10, 9), target(10, 11, key=AVULSA)))

        assert (plan.owed, writes(plan)) == (0, {FILIAL: 1, AVULSA: -1})


class TestAnOverwrittenTarget:
    """Nobody sells there: what moves on it is no stock, and is set right again."""

    def test_is_set_right_again_and_owes_nothing(self) -> None:
        plan = plan_pool(pool(source(10), target(10, 4), target_movements=TargetMovements.OVERWRITE))

        assert (plan.owed, writes(plan)) == (0, {FILIAL: 6})

    @pytest.mark.parametrize("mode", Mode)
    def test_lowers_nobody_while_its_difference_is_put_off(self, mode: Mode) -> None:
        moved, other = target(10, 4, changed_at=ago(1)), target(10, key=AVULSA)
        cells = (source(10), moved, other) if mode is Mode.SUM else (moved, other)
        level = D(10) if mode is Mode.MIRROR else None

        plan = plan_pool(pool(*cells, mode=mode, level=level, target_movements=TargetMovements.OVERWRITE))

        assert (plan.available, plan.owed, plan.wishes) == (10, 0, ())
        assert (plan.again_at, plan.must_look) == (ago(1) + WINDOW, True)

    def test_lowers_nobody_while_a_write_to_it_is_in_doubt(self) -> None:
        doubtful = OpenWrite(D(-2), Purpose.TARGET)

        plan = plan_pool(
            pool(
                source(10),
                target(10, 4, open_write=doubtful),
                target(10, key=AVULSA),
                target_movements=TargetMovements.OVERWRITE,
            )
        )

        assert (plan.available, plan.wishes) == (10, ())

    def test_counts_with_its_orders(self) -> None:
        plan = plan_pool(
            pool(
                source(10),
                target(10, reserved=4, was_reserved=0),
                target(10, key=AVULSA),
                target_movements=TargetMovements.OVERWRITE,
            )
        )

        assert (plan.available, writes(plan)) == (6, {AVULSA: -4})

    def test_counts_fewer_orders_at_once_when_its_balance_is_not_in_question(self) -> None:
        cancelled = target(10, reserved=0, was_reserved=4)

        plan = plan_pool(pool(source(10), cancelled, target(6, key=AVULSA), target_movements=TargetMovements.OVERWRITE))

        assert (plan.available, writes(plan)) == (10, {AVULSA: 4})

    def test_keeps_its_orders_while_a_balance_that_may_be_old_says_they_are_gone(self) -> None:
        posted = target(10, 6, reserved=0, was_reserved=4, changed_at=ago(1))

        plan = plan_pool(pool(source(10), posted, target(6, key=AVULSA), target_movements=TargetMovements.OVERWRITE))

        assert (plan.available, plan.wishes) == (6, ())
        assert plan.looks[FILIAL].reserved == 4

    def test_leaves_to_a_source_what_was_owed_before_the_rule_was_changed(self) -> None:
        plan = plan_pool(pool(source(10), target(8, 7), owed=D(-2), target_movements=TargetMovements.OVERWRITE))

        assert (plan.owed, writes(plan)) == (0, {MATRIZ: -2, FILIAL: 1})


def test_a_pool_without_targets_or_sources_is_not_written() -> None:
    assert plan_pool(pool(source(10, 8))).wishes == ()
    assert plan_pool(pool(target(10, 8))).wishes == ()
    assert plan_pool(pool()).available is None


def test_what_is_owed_stays_owed_while_no_target_is_known() -> None:
    plan = plan_pool(pool(source(10), owed=D(-2)))

    assert (plan.available, plan.owed, plan.wishes) == (None, -2, ())


def test_only_what_adds_is_an_increase() -> None:
    assert [Wish(FILIAL, D(n), D(5), Purpose.TARGET).is_increase for n in (-1, 0, 1)] == [False, False, True]


class TestAMirror:
    def test_starts_as_the_balance_of_its_seed(self) -> None:
        plan = plan_pool(mirror(target(None, 3), target(None, 8, key=AVULSA), seed=AVULSA))

        assert (plan.level, plan.available, writes(plan)) == (8, 8, {FILIAL: 5})

    def test_knows_its_seed_by_its_name(self) -> None:
        named_again = "".join([*FILIAL])

        assert plan_pool(mirror(target(None, 3), target(None, 8, key=AVULSA), seed=named_again)).level == 3

    def test_starts_from_the_first_target_where_the_seeds_account_lacks_the_sku(self) -> None:
        first, second = target(None, 3, position=0), target(None, 8, key=AVULSA, position=1)

        assert plan_pool(mirror(second, first)).level == 3

    def test_does_not_start_while_its_seed_was_never_read(self) -> None:
        plan = plan_pool(mirror(target(None, 3), target(None, None, key=AVULSA), seed=AVULSA))

        assert (plan.level, plan.wishes) == (None, ())

    @pytest.mark.parametrize("balance", BalanceKind)
    def test_does_not_start_from_a_later_target_while_the_first_was_never_read(self, balance: BalanceKind) -> None:
        first, second = target(None, None, position=0), target(None, 8, key=AVULSA, position=1)

        plan = plan_pool(mirror(first, second, balance=balance))

        assert (plan.level, plan.available, plan.wishes) == (None, None, ())

    def test_takes_the_movements_of_every_target(self) -> None:
        plan = plan_pool(mirror(target(8, 6), target(8, 9, key=AVULSA), level=8))

        assert (plan.level, plan.owed, writes(plan)) == (7, 0, {FILIAL: 1, AVULSA: -2})

    def test_keeps_what_was_sold_before_it_started(self) -> None:
        waiting = plan_pool(mirror(target(5, 3), target(None, None, key=AVULSA), seed=AVULSA))
        started = plan_pool(mirror(target(3), target(None, 8, key=AVULSA), seed=AVULSA, owed=waiting.owed))

        assert waiting.owed == -2
        assert (started.level, started.owed, writes(started)) == (6, 0, {FILIAL: 3, AVULSA: -2})

    def test_is_not_moved_by_targets_that_are_overwritten(self) -> None:
        plan = plan_pool(mirror(target(8, 6), level=8, target_movements=TargetMovements.OVERWRITE))

        assert (plan.level, writes(plan)) == (8, {FILIAL: 2})

    def test_counts_the_orders_of_every_target(self) -> None:
        plan = plan_pool(mirror(target(8, reserved=2), target(6, key=AVULSA), level=8))

        assert (plan.available, plan.wishes) == (6, ())

    def test_without_any_cell_it_has_no_level(self) -> None:
        assert plan_pool(mirror()).level is None


def test_an_event_that_the_reading_may_be_too_old_for_asks_for_another_look() -> None:
    told: Sequence[StockFact] = [fact("venda", -2, 8, ago(1))]

    plan = plan_pool(pool(source(10, events=told), target(10)))

    assert (plan.again_at, plan.must_look) == (ago(1) + WINDOW, False)
    assert plan.has_news


def test_the_level_before_our_own_raise_does_not_make_targets_flap() -> None:
    raised = own("escrita", 8, 2, ago(1))

    plan = plan_pool(pool(source(10), target(10, 2, changed_at=ago(1), writes=[raised]), target(10, key=AVULSA)))

    assert (plan.available, plan.wishes) == (10, ())


def test_a_reading_that_is_back_lets_targets_rise_again() -> None:
    away = pool(source(10, None), target(8))

    assert plan_pool(away).wishes == ()
    assert writes(plan_pool(changed(away, MATRIZ, seen=Seen(D(10), D(0), NOON)))) == {FILIAL: 2}


def test_a_pool_whose_sources_have_all_left_is_empty() -> None:
    plan = plan_pool(pool(target(8), target(8, key=AVULSA), had_sources=True))

    assert (plan.available, writes(plan)) == (0, {FILIAL: -8, AVULSA: -8})


def test_a_pool_that_never_had_a_source_is_none() -> None:
    assert plan_pool(pool(target(8))).available is None


def test_what_is_owed_stays_owed_while_no_source_is_left() -> None:
    plan = plan_pool(pool(target(8), had_sources=True, owed=D(-2)))

    assert (plan.owed, plan.available, writes(plan)) == (-2, -2, {FILIAL: -8})


def test_a_source_that_joins_and_cannot_be_read_keeps_a_begun_pool_from_rising_only() -> None:
    joiner = source(None, None, key=AVULSA)

    sold = plan_pool(pool(source(10, 8), joiner, target(10), is_begun=True))
    received = plan_pool(pool(source(10, 12), joiner, target(10), is_begun=True))

    assert (sold.available, writes(sold)) == (8, {FILIAL: -2})
    assert (writes(received), received.held) == ({}, {FILIAL: "lower_only"})
    assert plan_pool(pool(source(10, 8), joiner, target(10))).available is None


@pytest.mark.parametrize(
    ("told", "written_at", "waits_s"),
    [
        ((), None, None),
        ((fact("1", 5, 15, ago(3)),), None, 7),
        ((fact("1", 5, 15, ago(10)),), None, None),
        ((fact("1", 5, 10, ago(3)),), None, None),
        ((), ago(4), 6),
        ((), ago(10), None),
        ((fact("1", 5, 10, ago(5)),), ago(4), 6),
        ((fact("1", 5, 10, ago(4)),), ago(5), None),
        ((fact("1", 5, 10, ago(4)),), ago(4), None),
        ((fact("1", 5, 15, ago(2)),), ago(5), 8),
    ],
    ids=[
        "nothing known",
        "an event disagrees",
        "it is old",
        "it agrees",
        "a write of ours",
        "an old one",
        "the event is the older one",
        "the event vouches",
        "it vouches for a write of its own moment",
        "the newer counts",
    ],
)
def test_books_do_not_start_from_a_balance_that_may_be_old(told: Any, written_at: Any, waits_s: int | None) -> None:
    plan = plan_pool(pool(source(10), target(None, 10, events=told, written_at=written_at)))

    assert plan.joins_at == ({} if waits_s is None else {FILIAL: ago(-waits_s)})
    assert (FILIAL in plan.looks) is (waits_s is None)
    assert plan.missing == ({} if waits_s is None else {FILIAL: "put_off"})


def test_a_mirror_that_cannot_be_worked_out_yet_keeps_its_level() -> None:
    plan = plan_pool(mirror(target(5, 3, changed_at=None), target(None, None, key=AVULSA), level=5))

    assert (plan.available, plan.level, plan.owed) == (None, D(3), D(0))


def test_a_cell_that_joins_later_is_named_beside_those_that_are_written() -> None:
    newcomer = target(None, 4, key=AVULSA, written_at=ago(1))

    plan = plan_pool(pool(source(10), target(12), newcomer, is_begun=True))

    assert writes(plan) == {FILIAL: -2}
    assert set(plan.joins_at) == {AVULSA}
