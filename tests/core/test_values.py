"""A movement order that moves nothing or backwards cannot be made; tokens do not show themselves."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.values import MovementOrder, Tokens

D = Decimal


def order(operation: Any, quantity: Decimal) -> MovementOrder:
    return MovementOrder(product_id=1, deposit_id=2, operation=operation, quantity=quantity, note="")


@given(st.sampled_from("ESB"), st.decimals(0, 10**6, places=6).filter(bool))
def test_an_order_moves_more_than_nothing(operation: str, quantity: Decimal) -> None:
    made = order(operation, quantity)

    assert (made.operation, made.quantity) == (operation, quantity)


@given(st.sampled_from("ESB"), st.decimals(-(10**6), 0, places=6).filter(bool))
def test_an_order_is_never_negative(operation: str, quantity: Decimal) -> None:
    with pytest.raises(ValueError, match="moves nothing or backwards"):
        order(operation, quantity)


def test_only_a_count_may_say_zero() -> None:
    assert order("B", D(0)).quantity == 0
    for operation in "ES":
        with pytest.raises(ValueError, match=f"a movement {operation} of 0 moves nothing or backwards"):
            order(operation, D(0))


@given(st.text(max_size=3).filter(lambda text: text not in ("E", "S", "B")))
def test_there_are_no_other_operations(operation: str) -> None:
    with pytest.raises(ValueError, match="unknown operation"):
        order(operation, D(1))


def test_tokens_do_not_show_themselves() -> None:
    tokens = Tokens("um-token", "outro-token", datetime(2026, 3, 2, 12, tzinfo=UTC), 3600)

    assert repr(tokens) == "Tokens(expires_at=2026-03-02T12:00:00+00:00, lifetime_s=3600)"
