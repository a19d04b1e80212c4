"""One look at one cell: is the difference between the books and Bling a movement, or a balance that is still old?

Bling may show an old balance for some seconds after any change; W, the settle window, is how long. The rules are
those of DESIGN.md, "Reading".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from core.chain import find_chain
from core.facts import ZERO, Book, Evidence, OpenWrite, OwnWrite, Seen, StockFact
from core.quantity import total


@dataclass(frozen=True, slots=True)
class Look:
    """What a look came to.

    `accounted`, `reserved`: the books from now on. `movement`: what others did, with its `evidence`.
    `doubt`: never positive; what a put-off difference takes off the pool. `put_off`: the difference itself.
    `done`: ids of events that need no further look; `used`: those that prove the movement.
    `again_at`: when to look again, with (`must_look`) or without regard to what events say by then.
    """

    accounted: Decimal
    reserved: Decimal
    movement: Decimal = ZERO
    evidence: Evidence | None = None
    doubt: Decimal = ZERO
    put_off: Decimal | None = None
    done: tuple[str, ...] = ()
    used: tuple[str, ...] = ()
    again_at: datetime | None = None
    must_look: bool = False
    is_baseline: bool = False
    is_blocked: bool = False

    @property
    def is_settled(self) -> bool:
        """Whether the books now say what was read, so that a write may start from them."""
        return self.put_off is None and not self.is_blocked


def look_at_cell(
    book: Book | None,
    seen: Seen,
    events: Sequence[StockFact],
    writes: Sequence[OwnWrite],
    open_write: OpenWrite | None,
    window: timedelta,
    told_reserved: Decimal | None = None,
) -> Look:
    """Compare the books with what was read. `events`: pending ones, sorted by event id; `writes`: our confirmed ones.

    `told_reserved`: what the newest event about reservations says of them.
    Without a book, what is there becomes the baseline: it was there before us and is no movement. Another group may
    have a write of unknown outcome there, and that blocks the place for this one as well.
    """
    if book is None:
        baseline = Look(
            accounted=seen.physical, reserved=seen.reserved, is_baseline=True, is_blocked=open_write is not None
        )
        return _with_newest_event(baseline, seen, events, None, window)
    reserved, reserved_again_at = _reserved(book, seen, events, window, told_reserved)
    if open_write is not None:
        return _blocked(book, seen, reserved, open_write, writes, window)
    difference = seen.physical - book.accounted
    if difference == ZERO and not events:
        return _until(reserved_again_at, Look(accounted=book.accounted, reserved=reserved))
    since = [write for write in writes if write.ended_at >= book.read_at]
    start = book.accounted - total(write.quantity for write in since)
    if difference == ZERO:
        calm = Look(accounted=book.accounted, reserved=reserved)
        return _until(reserved_again_at, _with_newest_event(calm, seen, events, (start, since), window))
    chain = find_chain(start, seen.physical, events, since)
    opens_at = None if book.changed_at is None else book.changed_at + window
    if chain is None and opens_at is not None and seen.at < opens_at:
        doubt = ZERO if _is_passed(book, seen, writes, window) else min(ZERO, difference)
        return Look(
            accounted=book.accounted,
            # A balance that may be old tells of reservations that may be old: fewer of them must not raise the pool.
            reserved=max(seen.reserved, book.reserved + doubt),
            doubt=doubt,
            put_off=difference,
            again_at=opens_at,
            must_look=True,
        )
    found = Look(
        accounted=seen.physical,
        # What links up to the last reading is newer than it, reservations included.
        reserved=reserved if chain is None else seen.reserved,
        movement=difference,
        evidence=Evidence.LEVEL if chain is None else Evidence.CHAIN,
        used=() if chain is None else chain.foreign,
        done=() if chain is None else chain.used,
    )
    left = [event for event in events if event.id not in found.done]
    return _until(reserved_again_at if chain is None else None, _with_newest_event(found, seen, left, None, window))


def _reserved(
    book: Book, seen: Seen, events: Sequence[StockFact], window: timedelta, told: Decimal | None
) -> tuple[Decimal, datetime | None]:
    """The reservations that count, and when to look again where those that were read may be old.

    Within the window of their last change fewer of them must not raise the pool, and as many as before that change
    tell nothing: both may be from before it, unless the newest event says so.
    """
    over_at = None if book.reserved_at is None else book.reserved_at + window
    if over_at is None or seen.at >= over_at:
        return seen.reserved, None
    newest = [event.reserved for event in events if event.reserved is not None][-1:]
    if seen.reserved in (told, *newest):
        return seen.reserved, None
    counted = book.reserved if seen.reserved == book.reserved_before else max(seen.reserved, book.reserved)
    return counted, None if counted == seen.reserved else over_at


def _until(again_at: datetime | None, look: Look) -> Look:
    """The same, looked at again by then, whatever events say."""
    if again_at is None:
        return look
    return replace(look, again_at=min(again_at, look.again_at or again_at), must_look=True)


def _is_passed(book: Book, seen: Seen, writes: Sequence[OwnWrite], window: timedelta) -> bool:
    """Whether what was read is a balance that the cell had a moment ago: before a write of ours, or a movement."""
    ours = any(seen.physical == write.before for write in writes if write.ended_at + window > seen.at)
    return ours or seen.physical in book.passed


def baseline_due(
    seen: Seen, events: Sequence[StockFact], written_at: datetime | None, window: timedelta
) -> datetime | None:
    """When a cell without books may be given its baseline, if not now: what was read may be older than its last change.

    Books that start from an old balance would take the new one for a movement. `written_at`: when a write of ours last
    ended there, of whichever pool; a newer event that tells of the very balance that was read vouches for it.
    """
    newest = events[-1] if events else None
    if newest is not None and newest.after == seen.physical and (written_at is None or newest.at >= written_at):
        return None
    moments = [*([newest.at] if newest is not None else ()), *([written_at] if written_at is not None else ())]
    over_at = max(moments, default=seen.at) + window
    return over_at if moments and seen.at < over_at else None


def _blocked(
    book: Book,
    seen: Seen,
    reserved: Decimal,
    open_write: OpenWrite,
    writes: Sequence[OwnWrite],
    window: timedelta,
) -> Look:
    """A cell with a write whose outcome is unknown: nothing is booked, and the smaller of the two readings counts."""
    difference = seen.physical - book.accounted
    readings = (difference, difference - open_write.quantity)
    is_known = ZERO in readings or _is_passed(book, seen, writes, window)
    doubt = ZERO if is_known else min(ZERO, *readings)
    return Look(accounted=book.accounted, reserved=reserved, doubt=doubt, is_blocked=True)


def _with_newest_event(
    look: Look,
    seen: Seen,
    events: Sequence[StockFact],
    before: tuple[Decimal, Sequence[OwnWrite]] | None,
    window: timedelta,
) -> Look:
    """Rule 2: where the newest event disagrees with a reading that may be too old for it, look again when it is not.

    The events in question stay pending until then; all others are done. `before`: the balance that the events may start
    from, and our writes since, where they may have come back to what the books say.
    """
    if not events:
        return look
    newest = events[-1]
    agrees = newest.after == seen.physical or (
        before is not None and find_chain(before[0], seen.physical, events, before[1], whole=True) is not None
    )
    over_at = newest.at + window
    if agrees or seen.at >= over_at:
        return replace(look, done=(*look.done, *(event.id for event in events)))
    return replace(look, again_at=over_at)
