from __future__ import annotations

import pytest

from core.numerals import plain_numeral


@pytest.mark.parametrize(
    ("typed", "understood"),
    [
        ("12", "12"),
        (" 12 ", "12"),
        ("12,5", "12.5"),
        ("12.5", "12.5"),
        ("1.234,5", "1234.5"),
        ("1234.5", "1234.5"),
        ("1234,5", "1234.5"),
        ("1.234", "1234"),
        ("1.234.567", "1234567"),
        ("1.234.567,89", "1234567.89"),
        ("0.125", "0.125"),
        ("0,125", "0.125"),
        ("1 234,5", "1234.5"),
        ("50%", "50"),
        ("12,5 %", "12.5"),
        ("-3", "-3"),
        ("−3,5", "-3.5"),
        ("+7", "7"),
        ("", ""),
        ("abc", "abc"),
        ("1,2,3", "1,2,3"),
        ("1.23,4", "1.23,4"),
        ("1,234.5", "1,234.5"),
        ("1.2.3", "1.2.3"),
        ("-", "-"),
    ],
)
def test_it_understands_numbers_as_people_type_them(typed: str, understood: str) -> None:
    assert plain_numeral(typed) == understood
