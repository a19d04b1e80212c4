"""What happened to one SKU, newest first: what Bling told, what others moved, what we wrote.

Pages are cut by id: ids are UUIDv7, so that they sort by the moment each entry was made, and what arrives meanwhile
moves no page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from peewee import JOIN

from models import Account, Cell, Deposit, Event, Movement, Organization, Run, StockWrite, User
from services.sku_books import runs_of

PAGE = 20


@dataclass(frozen=True, slots=True)
class Entry:
    """`kind`: event, movement or write, which says what `row` is. `place`: account and deposit, as far as known."""

    id: str
    kind: str
    at: datetime
    place: str
    row: Any
    run: Run | None


@dataclass(frozen=True, slots=True)
class TimelinePage:
    entries: tuple[Entry, ...]
    following: str | None


def timeline(
    organization: Organization, sku: str, cell_ids: Sequence[str], before: str | None = None, limit: int = PAGE
) -> TimelinePage:
    """A page of what is older than the entry `before`. `cell_ids`: the cells of the SKU, in all rules."""
    movements = _older(_movements(cell_ids), Movement.id, before, limit)
    writes = _older(_writes(cell_ids), StockWrite.id, before, limit)
    events = _older(_events(organization, sku), Event.id, before, limit)
    runs = runs_of([row.item_id for row in (*movements, *writes)])
    places = _deposit_names(organization, events)
    entries = [
        *(Entry(row.id, "event", row.received_at, _told_place(row, places), row, None) for row in events),
        *(Entry(row.id, "movement", row.booked_at, _place(row.cell), row, runs.get(row.item_id)) for row in movements),
        *(
            Entry(row.id, "write", row.sent_at or row.planned_at, _place(row), row, runs.get(row.item_id))
            for row in writes
        ),
    ]
    entries.sort(key=lambda entry: entry.id, reverse=True)
    shown = tuple(entries[:limit])
    return TimelinePage(shown, shown[-1].id if len(entries) > limit else None)


def _older(query: Any, key: Any, before: str | None, limit: int) -> list[Any]:
    if before:
        query = query.where(key < before)
    return list(query.order_by(key.desc()).limit(limit + 1))


def _movements(cell_ids: Sequence[str]) -> Any:
    return (
        Movement.select(Movement, Cell, Account, Deposit, Event)
        .join(Cell)
        .join(Account)
        .switch(Cell)
        .join(Deposit)
        .switch(Movement)
        .join(Event, JOIN.LEFT_OUTER)
        .where(Movement.cell.in_(cell_ids))
    )


def _writes(cell_ids: Sequence[str]) -> Any:
    return (
        StockWrite.select(StockWrite, Account, Deposit, User)
        .join(Account)
        .switch(StockWrite)
        .join(Deposit)
        .switch(StockWrite)
        .join(User, JOIN.LEFT_OUTER, on=(StockWrite.decided_by == User.id))
        .where(StockWrite.cell_id.in_(cell_ids))
    )


def _events(organization: Organization, sku: str) -> Any:
    return (
        Event.select(Event, Account)
        .join(Account, JOIN.LEFT_OUTER)
        .where((Event.organization == organization.id) & (Event.sku == sku))
    )


def _deposit_names(organization: Organization, events: Sequence[Event]) -> dict[tuple[str, int], str]:
    ids = sorted({event.deposit_bling_id for event in events if event.deposit_bling_id is not None})
    rows = Deposit.select(Deposit.account, Deposit.bling_id, Deposit.name).where(
        (Deposit.organization == organization.id) & Deposit.bling_id.in_(ids)
    )
    return {(row.account_id, row.bling_id): row.name for row in rows}


def _place(row: Any) -> str:
    return f"{row.account.name} · {row.deposit.name}"


def _told_place(event: Event, names: dict[tuple[str, int], str]) -> str:
    account = event.account.name if event.account is not None else ""
    deposit = names.get((event.account_id, event.deposit_bling_id), "")
    return " · ".join(part for part in (account, deposit) if part)
