"""The chain: do the events of a cell link its last explained balance to the balance just read?

Each stock event names its quantity and the balance after it, so events link up (before = after - quantity) in the
order of their ids. Our own confirmed writes are links even where their events were lost (DESIGN.md, "Reading" 4).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from core.facts import OwnWrite, StockFact


@dataclass(frozen=True, slots=True)
class Chain:
    """A way from one balance to another. `used` are the ids of all events in it, `foreign` of those not our own."""

    used: tuple[str, ...]
    foreign: tuple[str, ...]


# The level, how many events were taken, and how many writes were applied.
_State = tuple[Decimal, int, int]


def find_chain(
    start: Decimal, goal: Decimal, events: Sequence[StockFact], writes: Sequence[OwnWrite], *, whole: bool = False
) -> Chain | None:
    """The longest prefix of `events` (sorted by id) that leads from `start` to `goal`, all `writes` applied on the way.

    Later events may be newer than the reading, so a prefix is enough, unless `whole` asks for every one of them.
    None when nothing links. Depth-first, every state once: a burst on one SKU leaves hundreds of events behind.
    """
    best: _State | None = None
    came: dict[_State, tuple[_State | None, str | None]] = {}
    todo: list[tuple[_State, _State | None, str | None]] = [((start, 0, 0), None, None)]
    while todo:
        state, origin, foreign = todo.pop()
        if state in came:
            continue
        came[state] = (origin, foreign)
        level, taken, applied = state
        if level == goal and applied == len(writes) and (taken == len(events) or not whole) and (taken or whole):
            best = max(best or state, state)
            if taken == len(events):
                break
        todo.extend((following, state, told) for following, told in _steps(state, events, writes))
    if best is None:
        return None
    return Chain(used=tuple(event.id for event in events[: best[1]]), foreign=_foreign(best, came))


def _steps(
    state: _State, events: Sequence[StockFact], writes: Sequence[OwnWrite]
) -> Iterator[tuple[_State, str | None]]:
    """Where one can get from here, with the id of the event if it is not our own; the last one is tried first."""
    level, taken, applied = state
    if applied < len(writes):
        yield (level + writes[applied].quantity, taken, applied + 1), None
    if taken == len(events):
        return
    event = events[taken]
    if event.quantity is None or event.after - event.quantity == level:
        yield (event.after, taken + 1, applied), event.id
        if applied < len(writes) and not writes[applied].is_echoed and event.quantity == writes[applied].quantity:
            yield (event.after, taken + 1, applied + 1), None


def _foreign(state: _State, came: Mapping[_State, tuple[_State | None, str | None]]) -> tuple[str, ...]:
    """The events on the way to `state` that are not our own, in their order."""
    found: list[str] = []
    step: _State | None = state
    while step is not None:
        step, told = came[step]
        if told is not None:
            found.append(told)
    return tuple(reversed(found))
