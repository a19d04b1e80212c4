"""The terms of a pool add up to it, and what they leave open is named."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from core.derivation import CellPart, CellSum, PoolParts, TermKind, pool_figures, pool_terms
from core.facts import Mode, Role

NUMBERS = st.integers(-50, 50).map(Decimal)
CELLS = st.builds(
    CellPart,
    key=st.text("abc", max_size=3),
    role=st.sampled_from(Role),
    accounted=NUMBERS,
    reserved=NUMBERS,
    doubt=NUMBERS,
    under_way=NUMBERS,
    elsewhere=NUMBERS,
)


def shelf(key: str, accounted: int, **parts: int) -> CellPart:
    return CellPart(key, Role.SOURCE, Decimal(accounted), **{name: Decimal(value) for name, value in parts.items()})


def shop(key: str, accounted: int, **parts: int) -> CellPart:
    return CellPart(key, Role.TARGET, Decimal(accounted), **{name: Decimal(value) for name, value in parts.items()})


def told(pool: PoolParts) -> list[tuple[str, str | None, int]]:
    return [(term.kind.value, term.key, int(term.quantity)) for term in pool_terms(pool)]


@given(st.sampled_from(Mode), NUMBERS, st.none() | NUMBERS, NUMBERS, st.lists(CELLS, max_size=5))
def test_the_terms_add_up(
    mode: Mode, owed: Decimal, level: Decimal | None, available: Decimal, cells: list[CellPart]
) -> None:
    terms = pool_terms(PoolParts(mode, owed, level, available, cells))

    assert sum(term.quantity for term in terms) == available


def test_every_part_is_named() -> None:
    cells = [
        shelf("a", 8, reserved=1),
        shelf("b", 0, under_way=-2, elsewhere=-1),
        shop("x", 9, reserved=2, doubt=-3),
    ]

    assert told(PoolParts(Mode.SUM, Decimal(4), None, Decimal(3), cells)) == [
        ("shelf", "a", 8),
        ("shelf", "b", 0),
        ("reserved", "a", -1),
        ("reserved", "x", -2),
        ("owed", None, 4),
        ("under_way", "b", -2),
        ("elsewhere", "b", -1),
        ("doubt", "x", -3),
    ]


def test_what_changed_since_is_a_term_of_its_own() -> None:
    assert told(PoolParts(Mode.SUM, Decimal(0), None, Decimal(5), [shelf("a", 8)])) == [
        ("shelf", "a", 8),
        (TermKind.REST, None, -3),
    ]


def test_a_mirror_begins_with_its_level() -> None:
    assert told(PoolParts(Mode.MIRROR, Decimal(0), Decimal(7), Decimal(7), [shop("x", 7)])) == [("level", None, 7)]
    assert told(PoolParts(Mode.MIRROR, Decimal(0), None, None, [shop("x", 7)])) == []


def test_what_is_not_known_has_no_rest() -> None:
    assert told(PoolParts(Mode.SUM, Decimal(0), None, None, [shelf("a", 8)])) == [("shelf", "a", 8)]


def test_the_figures_are_those_of_the_pool_and_not_of_its_targets() -> None:
    cells = [shelf("a", 8, under_way=-2), shop("x", 9, reserved=1)]

    assert pool_figures(PoolParts(Mode.SUM, Decimal(3), None, Decimal(9), cells)) == [0, 3, 0, 6, -2, 0, 1]


def test_a_cell_is_what_its_entries_say() -> None:
    assert CellSum(Decimal(7), Decimal(10), Decimal(-4), Decimal(1)).unexplained == 0
    assert CellSum(Decimal(8), Decimal(10), Decimal(-4), Decimal(1)).unexplained == 1
