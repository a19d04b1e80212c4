"""The life of one write to Bling: which state may follow which, and what each answer of the call means.

POST /estoques is not idempotent and cannot be asked about afterwards (bling/FACTS.md), so a write whose
outcome is not known is never sent again: it stays `unknown` until evidence settles it.
"""

from __future__ import annotations

from enum import StrEnum


class WriteState(StrEnum):
    PLANNED = "planned"
    SENDING = "sending"
    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    CANCELLED = "cancelled"


OPEN_STATES = (WriteState.PLANNED, WriteState.SENDING, WriteState.UNKNOWN)
# Once a call may have left, only its outcome can end the write.
IN_DOUBT_STATES = (WriteState.SENDING, WriteState.UNKNOWN)

_ARROWS = {
    WriteState.PLANNED: {WriteState.SENDING, WriteState.CANCELLED},
    WriteState.SENDING: {WriteState.CONFIRMED, WriteState.REJECTED, WriteState.PLANNED, WriteState.UNKNOWN},
    # A paused worker may wake up with the answer in its hands: that is the best evidence there is. Without it, what is
    # found in Bling says whether it was applied, or not (cancelled: what it was for is decided anew).
    WriteState.UNKNOWN: {WriteState.CONFIRMED, WriteState.REJECTED, WriteState.PLANNED, WriteState.CANCELLED},
    WriteState.CONFIRMED: set(),
    WriteState.REJECTED: set(),
    WriteState.CANCELLED: set(),
}


def may_follow(state: WriteState, following: WriteState) -> bool:
    """Whether a write in `state` may become `following`."""
    return following in _ARROWS[state]


def states_before(following: WriteState) -> tuple[WriteState, ...]:
    """The states from which a write may become `following`: the condition of the UPDATE that moves it."""
    return tuple(state for state in WriteState if may_follow(state, following))


def corrected(state: WriteState) -> WriteState:
    """The other reading of a write that was settled as confirmed or cancelled on evidence that proved wrong.

    :raise ValueError: writes in other states were never settled on evidence.
    """
    if state is WriteState.CONFIRMED:
        return WriteState.CANCELLED
    if state is WriteState.CANCELLED:
        return WriteState.CONFIRMED
    raise ValueError(state)


class Answer(StrEnum):
    """How a call to create a movement ended, seen from here."""

    CREATED = "created"
    REFUSED = "refused"
    NOT_APPLIED = "not_applied"
    NO_ANSWER = "no_answer"


_OUTCOMES = {
    Answer.CREATED: WriteState.CONFIRMED,
    Answer.REFUSED: WriteState.REJECTED,
    Answer.NOT_APPLIED: WriteState.PLANNED,
    Answer.NO_ANSWER: WriteState.UNKNOWN,
}


def outcome_of(answer: Answer) -> WriteState:
    """The state an answer puts a write into: certainly not applied goes back to planned, doubt to unknown."""
    return _OUTCOMES[answer]
