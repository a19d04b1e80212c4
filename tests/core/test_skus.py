"""Which product of an account stands for a SKU, and the reason when none can."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.skus import Candidate, Problem, choose_product


def product(name: str, format: str = "simple", situation: str = "active") -> Candidate:
    return Candidate(name, format, situation)


@pytest.mark.parametrize("format", ["simple", "variation"])
def test_the_only_active_product_stands_for_the_sku(format: str) -> None:
    assert choose_product([product("caneca", format)]) == (product("caneca", format), None)


def test_an_account_without_the_sku_has_no_problem() -> None:
    assert choose_product([]) == (None, None)


def test_two_active_products_cannot_be_told_apart() -> None:
    assert choose_product([product("caneca"), product("outra")]) == (None, Problem.DUPLICATE)


@pytest.mark.parametrize("situation", ["inactive", "deleted"])
def test_a_product_that_is_not_active_does_not_compete(situation: str) -> None:
    assert choose_product([product("velha", situation=situation), product("caneca")]) == (product("caneca"), None)


@pytest.mark.parametrize(("format", "problem"), [("composition", Problem.COMPOSITION), ("parent", Problem.PARENT)])
def test_a_product_without_a_stock_of_its_own_is_named_with_the_reason(format: str, problem: Problem) -> None:
    assert choose_product([product("kit", format)]) == (product("kit", format), problem)


def test_an_inactive_product_is_named_before_a_deleted_one() -> None:
    gone, resting = product("apagada", situation="deleted"), product("parada", situation="inactive")

    assert choose_product([gone, resting]) == (None, Problem.INACTIVE)
    assert choose_product([gone]) == (None, Problem.DELETED)


@given(
    st.lists(
        st.builds(
            product,
            st.sampled_from("abc"),
            st.sampled_from(["simple", "variation", "composition", "parent"]),
            st.sampled_from(["active", "inactive", "deleted"]),
        )
    ),
    st.randoms(use_true_random=False),
)
def test_there_is_always_a_product_or_a_reason_whatever_the_order(candidates: list[Candidate], random: object) -> None:
    shuffled = list(candidates)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    chosen, problem = choose_product(iter(candidates))

    assert (chosen is None) <= (problem is not None or not candidates)
    assert chosen is None or chosen.situation == "active"
    assert choose_product(shuffled) == (chosen, problem)
