"""The life of a write: which state may follow which, and what each answer of the call makes of it."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.intents import (
    IN_DOUBT_STATES,
    OPEN_STATES,
    Answer,
    WriteState,
    corrected,
    may_follow,
    outcome_of,
    states_before,
)

PLANNED, SENDING, CONFIRMED = WriteState.PLANNED, WriteState.SENDING, WriteState.CONFIRMED
REJECTED, UNKNOWN, CANCELLED = WriteState.REJECTED, WriteState.UNKNOWN, WriteState.CANCELLED
FINAL = (CONFIRMED, REJECTED, CANCELLED)


def test_only_these_steps_are_possible() -> None:
    possible = {(one, other) for one, other in product(WriteState, WriteState) if may_follow(one, other)}

    assert possible == {
        (PLANNED, SENDING),
        (PLANNED, CANCELLED),
        (SENDING, CONFIRMED),
        (SENDING, REJECTED),
        (SENDING, PLANNED),
        (SENDING, UNKNOWN),
        (UNKNOWN, CONFIRMED),
        (UNKNOWN, REJECTED),
        (UNKNOWN, PLANNED),
        (UNKNOWN, CANCELLED),
    }


@pytest.mark.parametrize("state", FINAL)
def test_what_is_final_stays_so(state: WriteState) -> None:
    assert not [following for following in WriteState if may_follow(state, following)]


def test_a_write_that_is_on_its_way_is_never_cancelled() -> None:
    assert states_before(CANCELLED) == (PLANNED, UNKNOWN)


def test_the_other_reading_of_what_was_settled_on_evidence() -> None:
    assert (corrected(CONFIRMED), corrected(CANCELLED)) == (CANCELLED, CONFIRMED)


@pytest.mark.parametrize("state", [PLANNED, SENDING, UNKNOWN, REJECTED])
def test_what_no_evidence_settled_has_no_other_reading(state: WriteState) -> None:
    with pytest.raises(ValueError, match=state.value):
        corrected(state)


def test_nothing_is_sent_but_what_was_planned() -> None:
    assert states_before(SENDING) == (PLANNED,)


def test_open_are_exactly_those_that_are_not_final() -> None:
    assert set(OPEN_STATES) == set(WriteState) - set(FINAL)


def test_in_doubt_are_the_open_ones_whose_call_may_have_left() -> None:
    assert set(IN_DOUBT_STATES) == set(OPEN_STATES) - {PLANNED}


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (Answer.CREATED, CONFIRMED),
        (Answer.REFUSED, REJECTED),
        (Answer.NOT_APPLIED, PLANNED),
        (Answer.NO_ANSWER, UNKNOWN),
    ],
)
def test_an_answer_decides(answer: Answer, state: WriteState) -> None:
    assert outcome_of(answer) is state
    assert may_follow(SENDING, state)


@given(st.sampled_from(WriteState), st.sampled_from(WriteState))
def test_looking_forward_and_looking_back_say_the_same(one: WriteState, other: WriteState) -> None:
    assert may_follow(one, other) == (one in states_before(other))


def test_the_words_are_those_of_the_database() -> None:
    assert [state.value for state in WriteState] == [
        "planned",
        "sending",
        "confirmed",
        "rejected",
        "unknown",
        "cancelled",
    ]
