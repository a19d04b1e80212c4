"""The chain: do the events of a cell link its last explained balance to the balance just read?

Each stock event names its quantity and the balance after it, so events link up (before = after - quantity) in the
order of their ids. Our own confirmed writes are links even where their events were lost (DESIGN.md, "Reading" 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from core.facts import OwnWrite, StockFact


@dataclass(frozen=True, slots=True)
class Chain:
    """A way from one balance to another. `used` are the ids of all events in it, `foreign` of those not our own."""

    used: tuple[str, ...]
    foreign: tuple[str, ...]


def find_chain(
    start: Decimal, goal: Decimal, events: Sequence[StockFact], writes: Sequence[OwnWrite], *, whole: bool = False
) -> Chain | None:
    """The longest prefix of `events` (sorted by id) that leads from `start` to `goal`, all `writes` applied on the way.

    Later events may be newer than the reading, so a prefix is enough, unless `whole` asks for every one of them.
    None when nothing links.
    """
    shortest = len(events) if whole else 1
    for length in range(len(events), shortest - 1, -1):
        foreign = _walk(start, goal, events[:length], writes)
        if foreign is not None:
            return Chain(used=tuple(event.id for event in events[:length]), foreign=foreign)
    return None


def _walk(
    start: Decimal, goal: Decimal, events: Sequence[StockFact], writes: Sequence[OwnWrite]
) -> tuple[str, ...] | None:
    """Depth-first over (level, events taken, writes applied); remembers dead ends, so it is linear in practice."""
    todo: list[tuple[Decimal, int, int, tuple[str, ...]]] = [(start, 0, 0, ())]
    seen: set[tuple[Decimal, int, int]] = set()
    while todo:
        level, taken, applied, foreign = todo.pop()
        if taken == len(events) and applied == len(writes) and level == goal:
            return foreign
        if (level, taken, applied) in seen:
            continue
        seen.add((level, taken, applied))
        if applied < len(writes):
            todo.append((level + writes[applied].quantity, taken, applied + 1, foreign))
        if taken < len(events):
            event = events[taken]
            links = event.quantity is None or event.after - event.quantity == level
            if links:
                todo.append((event.after, taken + 1, applied, (*foreign, event.id)))
            if links and applied < len(writes) and event.quantity == writes[applied].quantity:
                todo.append((event.after, taken + 1, applied + 1, foreign))
    return None
