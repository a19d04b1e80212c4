"""SKUs that look alike are suspects; they are named, and never made one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.lookalikes import Difference, are_suspects, differences, look_of

CASE, ZEROS, SIGNS, FORMS = Difference.CASE, Difference.ZEROS, Difference.SIGNS, Difference.FORMS


@pytest.mark.parametrize(
    ("one", "other", "what"),
    [
        ("A-1", "a-1", {CASE}),
        ("00123", "123", {ZEROS}),
        ("CAM AZ P", "CAM-AZ-P", {SIGNS}),
        ("CAM AZ", "CAMAZ", {SIGNS}),
        ("CAM\u00a0AZ", "CAM AZ", {FORMS}),
        ("CAM\u200bAZ", "CAMAZ", {SIGNS}),
        ("CAM\u2013AZ", "CAM-AZ", {SIGNS}),
        ("12.345/6", "123456", {SIGNS}),
        ("\uff21\uff22", "AB", {FORMS}),
        ("BONE\u0301", "BON\u00c9", {FORMS}),
        ("0A-1", "a1", {CASE, ZEROS, SIGNS}),
        ("000", "0", {ZEROS}),
    ],
)
def test_these_look_alike(one: str, other: str, what: set[Difference]) -> None:
    assert look_of(one) == look_of(other)
    assert differences([one, other]) == what


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A1", "A2"),
        ("123", "1230"),
        ("100", "1"),
        ("BONÉ", "BONE"),
        ("O1", "01"),
        ("X1", "1"),
        ("-", "/"),
        ("A-01", "A-1"),
    ],
)
def test_these_do_not(one: str, other: str) -> None:
    assert look_of(one) != look_of(other)


def test_a_look_is_what_is_left() -> None:
    assert [look_of(sku) for sku in (" A-01 ", "00120", "000", "-")] == ["a01", "120", "0", "-"]


def test_the_same_sku_differs_in_nothing() -> None:
    assert differences(["A-1", "A-1"]) == set()
    assert differences([]) == set()


@pytest.mark.parametrize(
    ("accounts", "expected"),
    [
        ([{"A-1"}, {"a-1"}], True),
        ([{"A-1"}, {"A-1", "a-1"}], False),
        ([{"A-1", "a-1"}, {"A-1", "a-1"}], False),
        ([{"A-1", "a-1"}, {"a1"}], True),
        ([{"A-1"}, {"A-1"}], False),
        ([{"A-1"}], False),
        ([], False),
    ],
)
def test_an_account_that_has_all_of_them_tells_them_apart(accounts: list[set[str]], expected: bool) -> None:
    assert are_suspects(accounts) is expected


skus = st.text(st.sampled_from("aAb0012- ./\u00a0é"), max_size=8) | st.text(max_size=8)


@given(skus)
def test_a_look_looks_like_itself_and_is_empty_for_nothing_else(sku: str) -> None:
    assert look_of(look_of(sku)) == look_of(sku)
    assert (look_of(sku) == "") is (sku == "")


@given(skus, st.sampled_from([" ", "-", ".", "\u00a0"]))
def test_signs_at_the_ends_and_case_change_nothing(sku: str, sign: str) -> None:
    if any(char.isalpha() or char.isdigit() for char in sku):
        assert look_of(sign + sku) == look_of(sku + sign) == look_of(sku)


@given(st.lists(skus, min_size=2, max_size=4))
def test_skus_of_one_look_that_are_not_the_same_differ_in_something(listed: list[str]) -> None:
    if len({look_of(sku) for sku in listed}) == 1:
        assert bool(differences(listed)) is (len(set(listed)) > 1)
