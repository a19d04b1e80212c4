from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.backoff import delay_s, should_retry_read


@given(attempt=st.integers(1, 10_000), jitter=st.floats(0, 1))
def test_a_delay_lies_in_the_upper_half_of_its_span(attempt: int, jitter: float) -> None:
    span = min(8.0, 0.5 * 2.0 ** min(attempt - 1, 100))

    assert span / 2 <= delay_s(attempt, jitter) <= span


def test_delays_double_up_to_the_cap() -> None:
    assert [delay_s(attempt, 1.0, base=1.0, cap=5.0) for attempt in (1, 2, 3, 4, 5)] == [1, 2, 4, 5, 5]


@pytest.mark.parametrize("status", [None, 408, 429, 500, 502, 503, 504, 599])
def test_it_repeats_a_read_that_only_needs_time(status: int | None) -> None:
    assert should_retry_read(status, attempt=1, attempts=3, elapsed_s=0, wait_s=1, budget_s=10)


@pytest.mark.parametrize("status", [200, 301, 400, 401, 403, 404, 405, 409, 422])
def test_it_never_repeats_a_refused_read(status: int) -> None:
    assert not should_retry_read(status, attempt=1, attempts=3, elapsed_s=0, wait_s=1, budget_s=10)


def test_it_stops_at_the_number_of_attempts_and_at_the_budget() -> None:
    assert not should_retry_read(500, attempt=3, attempts=3, elapsed_s=0, wait_s=1, budget_s=10)
    assert should_retry_read(500, attempt=2, attempts=3, elapsed_s=9, wait_s=1, budget_s=10)
    assert not should_retry_read(500, attempt=2, attempts=3, elapsed_s=9.5, wait_s=1, budget_s=10)
