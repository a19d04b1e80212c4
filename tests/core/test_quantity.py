from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.quantity import from_millionths, to_millionths, to_quantity, total

millionths = st.integers(min_value=-(2**63) + 1, max_value=2**63 - 1)


@pytest.mark.parametrize(
    ("given_value", "printed"),
    [
        ("0.30000000000000004", "0.3"),
        ("2.9999999999999996", "3"),
        (Decimal("1E+1"), "10"),
        ("2.500000", "2.5"),
        (Decimal("-0.0"), "0"),
        ("-0.0000001", "0"),
        (7, "7"),
        (" 12 ", "12"),
        ("0.0000005", "0"),
        ("0.0000015", "0.000002"),
        ("-0.0000015", "-0.000002"),
        ("9223372036854.775807", "9223372036854.775807"),
    ],
)
def test_it_rounds_half_even_to_six_places_and_prints_plainly(given_value: Decimal | int | str, printed: str) -> None:
    assert str(to_quantity(given_value)) == printed


@pytest.mark.parametrize(
    "rubbish",
    [
        "",
        "x",
        "1,5",
        "1_000",
        "nan",
        "sNaN",
        "Infinity",
        "-inf",
        "1e400",
        "1e999999999",
        Decimal("NaN"),
        "9223372036854.775808",
        "-9223372036854.775808",
        True,
        False,
        1.0,
        None,
        b"1",
        [1],
    ],
)
def test_it_refuses_what_is_no_exact_finite_quantity(rubbish: object) -> None:
    with pytest.raises(ValueError, match="quantity"):
        to_quantity(rubbish)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rubbish", "told"),
    [
        (True, "a quantity is a Decimal, an int or a numeral, not bool"),
        ("1_" + "0" * 50, f"not a usable quantity: '1_{'0' * 38}'"),
        ("x" * 50, f"not a usable quantity: '{'x' * 40}'"),
        (10**50, f"quantity too large: '1{'0' * 39}'"),
    ],
)
def test_it_says_what_it_refuses_as_far_as_that_fits_on_a_line(rubbish: Any, told: str) -> None:
    with pytest.raises(ValueError) as refused:
        to_quantity(rubbish)

    assert str(refused.value) == told


def test_it_refuses_to_store_more_than_six_places() -> None:
    with pytest.raises(ValueError) as refused:
        to_millionths(Decimal("0." + "1" * 50))

    assert str(refused.value) == f"quantity with more than 6 places: '0.{'1' * 38}'"


@given(millionths)
def test_the_database_form_and_back_is_the_same_quantity(stored: int) -> None:
    quantity = from_millionths(stored)

    assert to_millionths(quantity) == stored
    assert to_quantity(quantity) == quantity
    assert "E" not in str(quantity)


@given(millionths)
def test_it_is_exact_whatever_the_context_of_the_caller_is(stored: int) -> None:
    with localcontext() as context:
        context.prec = 1

        assert to_millionths(from_millionths(stored)) == stored
        with pytest.raises(ValueError, match="too large"):
            to_quantity("9223372036854.775808")


@given(millionths, millionths)
def test_equal_quantities_print_alike(left: int, right: int) -> None:
    first, second = from_millionths(left), to_quantity(f"{from_millionths(right):f}0")

    assert (first == second) == (str(first) == str(second))


@given(st.lists(st.decimals(-100, 100, places=6), max_size=5))
def test_a_total_is_exact_and_a_decimal_even_of_nothing(quantities: list[Decimal]) -> None:
    result = total(quantities)

    assert isinstance(result, Decimal)
    assert result == sum(quantities)
