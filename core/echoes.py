"""Echoes: events that tell only what we already know. They cost no call (DESIGN.md, "Reading" 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from core.facts import Book, OwnWrite, StockFact


@dataclass(frozen=True, slots=True)
class EchoVerdict:
    """Which events are echoes, which writes they are the echo of, and whether anything is left to look at."""

    echoes: tuple[str, ...]
    echoed_writes: tuple[str, ...]
    needs_look: bool


def judge_echoes(book: Book, events: Sequence[StockFact], writes: Sequence[OwnWrite], *, virtual: bool) -> EchoVerdict:
    """Judge a cell's pending events, sorted by event id, against its books and our recent confirmed writes.

    An event is an echo when its (quantity, balance after) is one of our writes, each write used once; and all
    that remain are, when the newest of them says exactly what the books say. In virtual mode an event that tells
    of other reservations than the books know asks for a look.
    """

    def told_more(event: StockFact) -> bool:
        return virtual and event.reserved is not None and event.reserved != book.reserved

    free = [write for write in writes if not write.is_echoed]
    echoes: list[str] = []
    echoed: list[str] = []
    left: list[StockFact] = []
    for event in events:
        match = next((w for w in free if (w.quantity, w.after) == (event.quantity, event.after)), None)
        if match is not None and not told_more(event):
            free.remove(match)
            echoes.append(event.id)
            echoed.append(match.id)
        else:
            left.append(event)
    is_known = not left or (left[-1].after == book.accounted and not told_more(left[-1]))
    if is_known:
        echoes.extend(event.id for event in left)
    return EchoVerdict(echoes=tuple(echoes), echoed_writes=tuple(echoed), needs_look=not is_known)


def is_virtual_echo(
    books: Mapping[int, Book],
    writes: Mapping[int, Sequence[OwnWrite]],
    told: Mapping[int, tuple[Decimal, Decimal]],
    *,
    virtual: bool,
) -> bool:
    """Whether a virtual_stock event, (physical, virtual) per deposit, tells nothing new about our cells of its product.

    The physical side may be any level that our own recent writes passed through: Bling sends one such event per
    change, and the ones in between describe a moment that is already over.
    """
    for deposit, book in books.items():
        if deposit not in told:
            return False
        physical, free = told[deposit]
        levels = {book.accounted}
        for write in writes.get(deposit, ()):
            levels.update((write.before, write.after))
        if physical not in levels or (virtual and physical - free != book.reserved):
            return False
    return True
