"""Dirty SKUs: rows that say *settle me*, and the lease that lets one worker at a time do it.

Redis may forget everything; these rows do not. Every mark raises the version, so that a SKU that becomes dirty
while it is being settled is settled again.
"""

from __future__ import annotations

import logging
import secrets
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from peewee import EXCLUDED, Case, chunked, fn

from clock import utcnow
from core.intents import WriteState
from db import database
from models import Cell, DirtySku, Event, EventState, Pool, Priority, Run, RunItem, StockWrite

# A worker that died holds its SKUs for this long at the most; one that lives renews well before.
LEASE = timedelta(seconds=30)
RENEW_EVERY_S = 5
_CHUNK = 200

log = logging.getLogger(__name__)


class LeaseLost(Exception):
    """Somebody else may be settling this SKU by now: stop, write nothing."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A SKU that this worker holds. `version` is the mark it answers."""

    id: str
    organization_id: str
    sku: str
    lease: str
    version: int
    priority: int
    needs_look: bool
    attempts: int
    marked_at: datetime


def mark_dirty(
    organization_id: str,
    skus: Iterable[str],
    *,
    priority: int,
    needs_look: bool,
    now: datetime | None = None,
    due_at: datetime | None = None,
) -> int:
    """Mark SKUs to be settled, at once or at `due_at`, inside the caller's transaction; returns how many.

    A SKU that waits already keeps its better priority and its earlier moment. The caller wakes the workers
    after the commit (queues.kick).
    """
    now = now or utcnow()
    rows = [
        {
            "organization": organization_id,
            "sku": sku,
            "version": 1,
            "priority": priority,
            "needs_look": needs_look,
            "marked_at": now,
            "due_at": due_at or now,
        }
        for sku in sorted({sku for sku in skus if sku})
    ]
    for chunk in chunked(rows, _CHUNK):
        DirtySku.insert_many([{"id": DirtySku.id.default(), **row} for row in chunk]).on_conflict(
            conflict_target=[DirtySku.organization, DirtySku.sku],
            update={
                DirtySku.version: DirtySku.version + 1,
                DirtySku.priority: _smaller(DirtySku.priority),
                DirtySku.needs_look: Case(None, ((EXCLUDED.needs_look > DirtySku.needs_look, 1),), DirtySku.needs_look),
                DirtySku.due_at: _smaller(DirtySku.due_at),
            },
        ).execute()
    return len(rows)


def _smaller(field):  # type: ignore[no-untyped-def]
    excluded = getattr(EXCLUDED, field.name)
    return Case(None, ((excluded < field, excluded),), field)


def claim_dirty(organization_id: str, limit: int, now: datetime | None = None) -> list[Claim]:
    """Take up to `limit` SKUs that are due and that nobody holds; [] when there are none.

    Live ones are taken by themselves, so that no sale waits for the balances and writes of what is less urgent.
    """
    now = now or utcnow()
    lease = secrets.token_hex(16)
    free = DirtySku.lease.is_null() | (DirtySku.lease_until < now)
    with database.atomic():
        due = (
            DirtySku.select(DirtySku.id, DirtySku.priority)
            .where((DirtySku.organization == organization_id) & (DirtySku.due_at <= now) & free)
            .order_by(DirtySku.priority, DirtySku.due_at, DirtySku.id)
            .limit(limit)
        )
        rows = list(due)
        ids = [row.id for row in rows if row.priority == Priority.LIVE] or [row.id for row in rows]
        if not ids:
            return []
        DirtySku.update(
            lease=lease,
            lease_until=now + LEASE,
            # Its last holder did not give it back: nobody knows how far it came, so the books alone do not do.
            needs_look=Case(None, ((DirtySku.lease.is_null(False), 1),), DirtySku.needs_look),
        ).where(DirtySku.id.in_(ids) & free).execute()
        taken = (
            DirtySku.select().where(DirtySku.lease == lease).order_by(DirtySku.priority, DirtySku.due_at, DirtySku.id)
        )
        return [
            Claim(
                id=row.id,
                organization_id=organization_id,
                sku=row.sku,
                lease=lease,
                version=row.version,
                priority=row.priority,
                needs_look=row.needs_look,
                attempts=row.attempts,
                marked_at=row.marked_at,
            )
            for row in taken
        ]


def renew(claims: Sequence[Claim], now: datetime | None = None) -> None:
    """Hold on to these SKUs; those that were lost meanwhile stay lost."""
    now = now or utcnow()
    for chunk in chunked([claim.id for claim in claims], _CHUNK):
        DirtySku.update(lease_until=now + LEASE).where(
            DirtySku.id.in_(chunk) & (DirtySku.lease == claims[0].lease) & (DirtySku.lease_until >= now)
        ).execute()


def hold(claim: Claim, now: datetime | None = None) -> None:
    """Make sure, inside a transaction, that the SKU is still ours, and keep it ours until the commit.

    :raise LeaseLost: it is not.
    """
    now = now or utcnow()
    held = (
        DirtySku.update(lease_until=now + LEASE)
        .where((DirtySku.id == claim.id) & (DirtySku.lease == claim.lease) & (DirtySku.lease_until >= now))
        .execute()
    )
    if held != 1:
        raise LeaseLost(claim.sku)


def release_done(claim: Claim) -> bool:
    """Give the SKU back as settled. False when it became dirty again meanwhile: then it stays, free and due."""
    done = (
        DirtySku.delete()
        .where((DirtySku.id == claim.id) & (DirtySku.lease == claim.lease) & (DirtySku.version == claim.version))
        .execute()
    )
    if done != 1:
        # Whoever marked it meanwhile said whether events may answer for it; what we were asked for is done.
        DirtySku.update(lease=None, lease_until=None, attempts=0).where(
            (DirtySku.id == claim.id) & (DirtySku.lease == claim.lease)
        ).execute()
    return done == 1


def release_until(claim: Claim, due_at: datetime, *, needs_look: bool, failed: bool = False) -> None:
    """Give the SKU back to be settled again at `due_at`, or at once when it was marked meanwhile."""
    later = DirtySku.update(
        lease=None,
        lease_until=None,
        due_at=due_at,
        needs_look=needs_look,
        attempts=claim.attempts + 1 if failed else 0,
    ).where((DirtySku.id == claim.id) & (DirtySku.lease == claim.lease) & (DirtySku.version == claim.version))
    if later.execute() != 1:
        DirtySku.update(lease=None, lease_until=None).where(
            (DirtySku.id == claim.id) & (DirtySku.lease == claim.lease)
        ).execute()


def mark_forgotten(before: datetime) -> set[str]:
    """Mark SKUs that have something open from before this moment and no row here; returns whose they are.

    Whoever gives a SKU back sees to it that this finds nothing. It is the net under a process that dies where nobody
    thought of it, or that learns of its outcome when the SKU is long in other hands.
    """
    has_row = DirtySku.select(DirtySku.id)
    events = Event.select(Event.organization, Event.sku).where(
        (Event.state == EventState.PENDING)
        & Event.sku.is_null(False)
        & (Event.received_at <= before)
        & ~fn.EXISTS(has_row.where((DirtySku.organization == Event.organization) & (DirtySku.sku == Event.sku)))
    )
    items = (
        RunItem.select(RunItem.organization, RunItem.sku)
        .join(Run)
        .where(
            RunItem.finished_at.is_null()
            & (RunItem.status != "held")
            & ~Run.is_scanning()
            & (Run.status != "held")
            & (RunItem.created_at <= before)
            & ~fn.EXISTS(has_row.where((DirtySku.organization == RunItem.organization) & (DirtySku.sku == RunItem.sku)))
        )
    )
    writes = (
        StockWrite.select(StockWrite.organization, Pool.sku)
        .join(Cell, on=(StockWrite.cell_id == Cell.id))
        .join(Pool)
        .where(
            StockWrite.state.in_((WriteState.PLANNED, WriteState.SENDING))
            & (StockWrite.planned_at <= before)
            & ~fn.EXISTS(has_row.where((DirtySku.organization == Pool.organization) & (DirtySku.sku == Pool.sku)))
        )
    )
    found: dict[str, set[str]] = defaultdict(set)
    for query in (events, items, writes):
        for organization_id, sku in query.distinct().limit(_CHUNK).tuples():
            found[organization_id].add(sku)
    for organization_id, skus in found.items():
        log.warning("Organization %s: %d SKUs had been forgotten", organization_id, len(skus))
        with database.atomic():
            mark_dirty(organization_id, skus, priority=Priority.LIVE, needs_look=True)
    return set(found)


def hasten(organization_id: str) -> bool:
    """Make due now what waits for another try; whether there is anything."""
    waiting = (DirtySku.organization == organization_id) & (DirtySku.attempts > 0) & DirtySku.lease.is_null()
    return bool(DirtySku.update(due_at=utcnow()).where(waiting).execute())


def live_waits(organization_id: str) -> bool:
    """Whether a live SKU of the organization is due and nobody holds it."""
    now = utcnow()
    waiting = DirtySku.select(DirtySku.id).where(
        (DirtySku.organization == organization_id)
        & (DirtySku.priority == Priority.LIVE)
        & (DirtySku.due_at <= now)
        & (DirtySku.lease.is_null() | (DirtySku.lease_until < now))
    )
    return bool(waiting.exists())


def next_due_at(organization_id: str) -> datetime | None:
    """When the next SKU of the organization is due, None when none waits. Those being settled do not count."""
    row = (
        DirtySku.select(DirtySku.due_at)
        .where((DirtySku.organization == organization_id) & DirtySku.lease.is_null())
        .order_by(DirtySku.due_at)
        .first()
    )
    return None if row is None else row.due_at
