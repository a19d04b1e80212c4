"""What became of a write whose outcome nobody knows: applied, or not (DESIGN.md, "Writes" 4).

Bling cannot be asked for it. What can be asked is which of the two stories links, without a gap, the last balance that
the books explain to one that is certainly newer than the call: the story in which the write was applied, or the one in
which it was not. Where both do, or neither, the reading with the smaller pool counts and a person decides.

What cannot be told apart: a movement by somebody else of exactly the same size, on the same cell, during the call, and
one that no event ever told of. Such a movement is taken for the write, or for its failure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from core.chain import find_chain
from core.facts import ZERO, OwnWrite, Seen, StockFact
from core.quantity import total

# An event of the write's size that Bling dates into the call is the write's own, give or take what clocks and queues
# inside Bling take...
PROMPT = timedelta(milliseconds=300)
# ... and one that is as close as this may be: our clock and Bling's differ. Beyond it, before and after are certain.
CLOCKS_APART = timedelta(seconds=2)


class Outcome(StrEnum):
    """OPEN: later evidence may still tell. UNDECIDABLE: what there is to be known is known, and does not tell."""

    APPLIED = "applied"
    NOT_APPLIED = "not_applied"
    OPEN = "open"
    UNDECIDABLE = "undecidable"


class Proof(StrEnum):
    """What settled a write of unknown outcome.

    EVENT: its own event. CHAIN: the events on either side of it. LEVEL: the balance alone. SMALLER_POOL: nothing, so
    that the reading with the smaller pool counts until somebody decides. EITHER: nothing, and the pool is the same
    either way. ANSWER: Bling's answer, which came late. PERSON: a person.
    """

    EVENT = "event"
    CHAIN = "chain"
    LEVEL = "level"
    SMALLER_POOL = "smaller_pool"
    EITHER = "either"
    ANSWER = "answer"
    PERSON = "person"


# Proofs that a stronger one, the write's own event or Bling's answer, may still overrule.
FALLIBLE = (Proof.CHAIN, Proof.LEVEL, Proof.SMALLER_POOL, Proof.EITHER, Proof.PERSON)


@dataclass(frozen=True, slots=True)
class DoubtfulWrite:
    """A write that may have been applied at any moment from `sent_at` to `ended_at`; `quantity` is signed units.

    `likely_until`: where nobody saw the call end, it was applied in all likelihood until then, if at all.
    """

    quantity: Decimal
    sent_at: datetime
    ended_at: datetime
    likely_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """`proof` is None while the outcome is OPEN. `event`: the id of the write's own event, if that is the proof."""

    outcome: Outcome
    proof: Proof | None = None
    event: str | None = None


def smaller_pool(quantity: Decimal) -> Outcome:
    """Which of the two readings makes the pool smaller.

    What of a balance is not explained by the write is somebody else's movement, and moves the pool: an increase that
    was applied leaves less of it, and so does a decrease that was not.
    """
    return Outcome.APPLIED if quantity > ZERO else Outcome.NOT_APPLIED


def is_own_event(write: DoubtfulWrite, event: StockFact) -> bool:
    """Whether Bling dates an event of exactly this quantity into the call."""
    likely = replace(write, ended_at=write.likely_until or write.ended_at)
    return event.quantity == write.quantity and _is_told_within(event, likely, PROMPT)


def judge_outcome(
    write: DoubtfulWrite,
    accounted: Decimal,
    events: Sequence[StockFact],
    confirmed: Sequence[OwnWrite],
    seen: Seen | None,
    window: timedelta,
) -> Judgement:
    """Whether the write was applied.

    `accounted`: the balance that the books explain, in which the `confirmed` writes are and this one is not. `events`:
    the cell's pending ones, sorted by event id. `seen`: its balance, None when it could not be read; one that is
    older than the end of the call + `window` proves nothing.
    """
    own = next((e for e in events if is_own_event(write, e) and not _is_echo(e, confirmed)), None)
    if own is not None:
        return Judgement(Outcome.APPLIED, Proof.EVENT, own.id)
    start = accounted - total(one.quantity for one in confirmed)
    for number, event in enumerate(events):
        if event.before is None or not _is_after(event, write):
            continue
        # The first movement after the call tells what the balance was right before it: exact, and never stale.
        told = _compare(write, start, _Level(event.before, number), events[:number], confirmed)
        if told is not Outcome.UNDECIDABLE:
            return Judgement(told, Proof.CHAIN)
        break
    if seen is None or seen.at < write.ended_at + window:
        return Judgement(Outcome.OPEN)
    known = [event for event in events if event.told_from is None or event.told_from <= seen.latest]
    # What happened longer ago than Bling may show an old balance is in what it showed.
    surely = [event.told_until is not None and event.told_until + CLOCKS_APART < seen.at - window for event in known]
    included = max((number for number, is_old in enumerate(surely, start=1) if is_old), default=0)
    outcome = _compare(write, start, _Level(seen.physical, included), known, confirmed)
    if outcome is Outcome.UNDECIDABLE:
        return Judgement(outcome, Proof.SMALLER_POOL)
    return Judgement(outcome, Proof.CHAIN if known else Proof.LEVEL)


@dataclass(frozen=True, slots=True)
class _Level:
    """A balance that is known, and how many of the events, from the first, are certainly in it."""

    balance: Decimal
    included: int


def _compare(
    write: DoubtfulWrite,
    start: Decimal,
    level: _Level,
    events: Sequence[StockFact],
    confirmed: Sequence[OwnWrite],
) -> Outcome:
    """The outcome whose story alone leads to `level`."""
    # An event of its size close to the call may be the write's own, or not.
    has_twin = any(
        event.quantity == write.quantity
        and _is_told_within(event, write, CLOCKS_APART)
        and not _is_echo(event, confirmed)
        for event in events
    )
    # Clocks that agree leave fewer places for the write; only where that tells nothing may they be further apart.
    for tolerance in (timedelta(0), PROMPT, CLOCKS_APART):
        as_applied = _leads(write, write.quantity, start, level, events, confirmed, tolerance)
        as_not_applied = _leads(write, ZERO, start, level, events, confirmed, tolerance)
        if as_not_applied and has_twin:
            break
        if as_applied != as_not_applied:
            return Outcome.APPLIED if as_applied else Outcome.NOT_APPLIED
    return Outcome.UNDECIDABLE


def _leads(
    write: DoubtfulWrite,
    quantity: Decimal,
    start: Decimal,
    level: _Level,
    events: Sequence[StockFact],
    confirmed: Sequence[OwnWrite],
    tolerance: timedelta,
) -> bool:
    """Whether the events lead from `start` to `level` with one step of `quantity`, that no event tells of, at the call.

    The first of them may tell of what `start` contains already, when they came late: whatever happened before the call
    may. The last may be newer than `level`, as long as they link up to it.
    """
    first = write.sent_at - tolerance
    early = next((n for n, one in enumerate(events) if one.told_until is None or one.told_until >= first), len(events))
    late = _first_after(events, write.ended_at + tolerance)
    for skipped in range(_first_after(events, write.sent_at + tolerance) + 1):
        for step in range(max(early, skipped), max(late, skipped) + 1):
            before, rest = events[skipped:step], events[step:]
            for reached in _candidates(quantity, start, level.balance, before, rest, confirmed):
                if find_chain(start, reached, before, confirmed, whole=True) is None:
                    continue
                if _passes(reached + quantity, level.balance, rest, level.included - step):
                    return True
    return False


def _first_after(events: Sequence[StockFact], moment: datetime) -> int:
    """The place of the first event that Bling dates after a moment."""
    return next(
        (n for n, one in enumerate(events) if one.told_from is not None and one.told_from > moment), len(events)
    )


def _candidates(
    quantity: Decimal,
    start: Decimal,
    level: Decimal,
    before: Sequence[StockFact],
    rest: Sequence[StockFact],
    confirmed: Sequence[OwnWrite],
) -> set[Decimal]:
    """Balances that the step may have begun from: what comes after it tells, or what came before."""
    found = {level - quantity}
    if rest and rest[0].before is not None:
        found.add(rest[0].before - quantity)
    found.add(before[-1].after if before else start + total(one.quantity for one in confirmed))
    return found


def _passes(start: Decimal, level: Decimal, events: Sequence[StockFact], at_least: int) -> bool:
    """Whether the balance is `level` after `at_least` of these events or more, one linked to the other up to there."""
    here = start
    for number, event in enumerate(events):
        links = event.before in (None, here)
        if here == level and links and number >= at_least:
            return True
        if not links:
            return False
        here = event.after
    return here == level


def _is_echo(event: StockFact, confirmed: Sequence[OwnWrite]) -> bool:
    """Whether the event tells of a write that is known to have been applied."""
    return any((event.quantity, event.after) == (one.quantity, one.after) for one in confirmed if not one.is_echoed)


def _is_after(event: StockFact, write: DoubtfulWrite) -> bool:
    return event.told_from is not None and event.told_from > write.ended_at + CLOCKS_APART


def _is_told_within(event: StockFact, write: DoubtfulWrite, tolerance: timedelta) -> bool:
    if event.told_from is None or event.told_until is None:
        return False
    return event.told_until >= write.sent_at - tolerance and event.told_from <= write.ended_at + tolerance
