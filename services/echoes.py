"""Closing SKUs whose events tell nothing new, without a call: the decision is core/echoes.py's, the rows are here."""

from __future__ import annotations

from core.echoes import is_virtual_echo, judge_echoes
from core.events import VIRTUAL_KIND, InvalidEvent, virtual_part
from core.intents import WriteState
from core.skus import Problem
from db import database
from models import Event, EventState, StockWrite
from services.book_facts import book_of, own_write, stock_fact
from services.cases import Case
from services.dirty import LeaseLost, hold, release_done
from services.frames import PoolFrame

# Events of these say nothing that anybody could follow: a composition's balance is its components' doing, a parent
# has none, and what the merchant excepted is not looked at.
_WITHOUT_STOCK = frozenset({Problem.COMPOSITION, Problem.PARENT, Problem.IGNORED})


def close_if_echo(case: Case) -> bool:
    """Close a SKU whose events tell nothing new, without a call."""
    # What waits for a person, or for a check to be over, asks for no look; what was handed over marked the SKU so.
    waits = any(item.status not in ("queued", "held") for item in case.open_items)
    if case.claim.needs_look or waits or case.tasks or any(_is_left_over(cell.open_write) for cell in case.cells):
        return False
    followed = [frame for frame in case.frames if frame.problem not in _WITHOUT_STOCK]
    if followed and not _all_echoes(case):
        return False
    with database.atomic():
        try:
            hold(case.claim)
        except LeaseLost:
            return True
        state = EventState.ECHO if followed else EventState.IGNORED
        reason = None if followed else next((frame.problem for frame in case.frames), "no_rule")
        ids = [event.id for event in case.events]
        if ids:
            Event.update(state=state, reason=reason).where(
                Event.id.in_(ids) & (Event.state == EventState.PENDING)
            ).execute()
        release_done(case.claim)
    return True


def _is_left_over(write: StockWrite | None) -> bool:
    return write is not None and write.state == WriteState.PLANNED


def _all_echoes(case: Case) -> bool:
    """Whether every pending event of the SKU is an echo for every group; notes which writes were echoed."""
    echoed: list[str] = []
    judged: set[str] = set()
    for frame in case.frames:
        if frame.problem in _WITHOUT_STOCK:
            continue
        if frame.problem is not None:
            return False
        for cell in frame.cells:
            facts = [fact for event in cell.events if (fact := stock_fact(event)) is not None]
            book = book_of(cell)
            if not facts:
                continue
            if book is None or cell.problem is not None or cell.open_write is not None:
                return False
            verdict = judge_echoes(book, facts, [own_write(w) for w in cell.writes], virtual=frame.is_virtual)
            if verdict.needs_look:
                return False
            judged.update(fact.id for fact in facts)
            echoed.extend(verdict.echoed_writes)
        for event in frame.virtual_events:
            if not _is_virtual_echo(frame, event):
                return False
            judged.add(event.id)
    places = {(cell.account.id, cell.deposit.bling_id) for cell in case.cells}
    products = {(cell.account.id, cell.product.bling_id) for cell in case.cells}
    for event in case.events:
        if event.id in judged:
            continue
        # A deposit that no rule names, of a product that one does: nothing of ours hangs on it.
        elsewhere = event.kind != VIRTUAL_KIND and (event.account_id, event.deposit_bling_id) not in places
        if not (elsewhere and (event.account_id, event.product_bling_id) in products):
            return False
    if echoed:
        StockWrite.update(is_echoed=True).where(StockWrite.id.in_(echoed)).execute()
    return True


def _is_virtual_echo(frame: PoolFrame, event: Event) -> bool:
    cells = [
        c for c in frame.cells if c.product.bling_id == event.product_bling_id and c.account.id == event.account_id
    ]
    try:
        part = virtual_part(event.body)
    except InvalidEvent:
        return False
    books = {cell.deposit.bling_id: book for cell in cells if (book := book_of(cell)) is not None}
    if part.is_complex or len(books) != len(cells) or any(cell.problem for cell in cells):
        return False
    writes = {cell.deposit.bling_id: [own_write(w) for w in cell.writes] for cell in cells}
    return is_virtual_echo(books, writes, part.deposits, virtual=frame.is_virtual)
