"""The check of everything: read every balance, compare it with the books and the rules, mark what differs.

It decides with the same plan as the settling and repairs through it. It goes in small steps, remembers how far
it came, and gives way to live sales between two of them.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Sequence
from datetime import timedelta

from peewee import fn

import queues
from bling.errors import BlingError
from clock import utcnow
from db import database
from models import (
    Account,
    AccountState,
    Deposit,
    DirtySku,
    Event,
    EventState,
    GroupDeposit,
    Organization,
    Priority,
    Product,
    Run,
    RunItem,
    RunType,
    StockGroup,
)
from services.bling_clients import client_for
from services.catalog import refresh_account
from services.dirty import mark_dirty
from services.frames import load_frames
from services.reading import ClientFor, read_balances
from services.runs import SCAN_ENDED, finish_run_if_over, product_names, queue_items, skipped_status, wake
from services.settle import ShouldStop, decide, never

log = logging.getLogger(__name__)

STEP = 100
# One job scans for this long, then queues itself again behind whatever is more urgent.
TURN_S = 5.0
SCAN_LEASE = timedelta(seconds=60)
# Bling's changed-since filter has its own clock and our last look took a while.
CATALOG_OVERLAP = timedelta(hours=1)
# Products that vanish are seen only where everything is read.
CATALOG_AGE = timedelta(days=1)


def scan(
    run_id: str, *, client_of: ClientFor = client_for, turn_s: float = TURN_S, should_stop: ShouldStop = never
) -> bool:
    """Go on with a check of everything for one turn; True when it is over. Safe to repeat at any point.

    Two workers never scan for the same run: a lease on its row decides, and the sweep wakes one up when it expired.
    """
    run = _claim(run_id)
    if run is None:
        return True
    ends_at = time.monotonic() + turn_s
    if run.cursor is None:
        _refresh_catalogs(run.organization_id)
        run.cursor = ""
        Run.update(cursor="", total=_count_skus(run.organization_id), started_at=utcnow()).where(
            (Run.id == run.id) & (Run.lease == run.lease)
        ).execute()
    while True:
        skus = _next_skus(run.organization_id, run.cursor)
        if not skus:
            _end(run)
            return True
        if not _step(run, skus, client_of):
            return False
        run.cursor = skus[-1]
        if time.monotonic() >= ends_at or should_stop():
            Run.update(lease=None, lease_until=None).where((Run.id == run.id) & (Run.lease == run.lease)).execute()
            wake(run)
            return False


def _claim(run_id: str) -> Run | None:
    now, lease = utcnow(), secrets.token_hex(16)
    claimed = (
        Run.update(lease=lease, lease_until=now + SCAN_LEASE, status="running")
        .where(
            (Run.id == run_id)
            & Run.finished_at.is_null()
            & (Run.cursor.is_null() | (Run.cursor != SCAN_ENDED))
            & (Run.lease.is_null() | (Run.lease_until < now))
        )
        .execute()
    )
    return Run.get_by_id(run_id) if claimed == 1 else None


def _step(run: Run, skus: Sequence[str], client_of: ClientFor) -> bool:
    """Compare some SKUs, mark those that differ, and move the cursor, in one transaction. False: no longer ours."""
    frames = load_frames(run.organization_id, skus)
    readings = read_balances([f for listed in frames.values() for f in listed if f.problem is None], client_of)
    differing: list[str] = []
    skipped: dict[str, str] = {}
    unchanged = unread = 0
    for sku in skus:
        decisions = decide(frames[sku], readings)
        if not decisions:
            continue
        unread += any(d.plan is not None and d.plan.missing for d in decisions)
        if any(d.plan is not None and d.plan.has_news for d in decisions):
            differing.append(sku)
        elif reason := next((one for d in decisions if (one := d.frame.unfollowed) is not None), None):
            skipped[sku] = reason
        else:
            unchanged += 1
    announced = _announced(run.organization_id, differing)
    now = utcnow()
    with database.atomic():
        moved = (
            Run.update(
                cursor=skus[-1],
                considered=Run.considered + len(skus),
                unchanged=Run.unchanged + unchanged,
                unannounced=Run.unannounced + len(set(differing) - announced),
                unread=Run.unread + unread,
                lease_until=now + SCAN_LEASE,
            )
            .where((Run.id == run.id) & (Run.lease == run.lease) & (Run.lease_until >= now))
            .execute()
        )
        if moved != 1:
            return False
        queue_items(run, differing, now)
        priority = Priority.MANUAL if run.type == RunType.MANUAL else Priority.CRON
        mark_dirty(run.organization_id, differing, priority=priority, needs_look=True, now=now)
        if run.type == RunType.MANUAL:
            _list_skipped(run, skipped)
    if differing:
        queues.kick(run.organization_id)
    return True


def _announced(organization_id: str, skus: Sequence[str]) -> set[str]:
    """Of these SKUs, those that an event has told of or that are being settled: their difference is no news."""
    if not skus:
        return set()
    told = Event.select(Event.sku).where(
        (Event.organization == organization_id) & Event.sku.in_(skus) & (Event.state == EventState.PENDING)
    )
    dirty = DirtySku.select(DirtySku.sku).where((DirtySku.organization == organization_id) & DirtySku.sku.in_(skus))
    return {row.sku for row in told} | {row.sku for row in dirty}


def _list_skipped(run: Run, skipped: dict[str, str]) -> None:
    names = product_names(run.organization_id, list(skipped))
    now = utcnow()
    for sku, problem in skipped.items():
        RunItem.create(
            organization=run.organization_id,
            run=run.id,
            sku=sku,
            product_name=names.get(sku, ""),
            status=skipped_status(problem),
            error=problem,
            created_at=now,
            finished_at=now,
        )


def _end(run: Run) -> None:
    with database.atomic():
        ended = (
            Run.update(cursor=SCAN_ENDED, lease=None, lease_until=None)
            .where((Run.id == run.id) & (Run.lease == run.lease))
            .execute()
        )
        if ended:
            finish_run_if_over(run.id)


def _refresh_catalogs(organization_id: str) -> None:
    """Learn of new, changed and vanished products first; an account that cannot be asked keeps its old catalogue.

    Accounts that no rule names are asked too: an authorization that is not used for thirty days is gone.
    """
    accounts = Account.select().where(
        (Account.organization == organization_id) & (Account.state == AccountState.CONNECTED)
    )
    for account in list(accounts):
        try:
            is_old = account.catalog_at is None or utcnow() - account.catalog_at > CATALOG_AGE
            refresh_account(account, None if is_old else account.catalog_at - CATALOG_OVERLAP)
        except BlingError as error:
            log.warning("The catalogue of account %s could not be read: %s", account.id, error)


def _known_products(organization_id: str):  # type: ignore[no-untyped-def]
    """Products that any active rule of the organization is about."""
    accounts = (
        Deposit.select(Deposit.account)
        .join(GroupDeposit)
        .join(StockGroup)
        .where((StockGroup.organization == organization_id) & (StockGroup.is_active == 1))
    )
    return (Product.organization == organization_id) & (Product.sku != "") & Product.account.in_(accounts)


def _next_skus(organization_id: str, cursor: str) -> list[str]:
    query = (
        Product.select(Product.sku)
        .where(_known_products(organization_id) & (Product.sku > cursor))
        .distinct()
        .order_by(Product.sku)
        .limit(STEP)
    )
    return [row.sku for row in query]


def _count_skus(organization_id: str) -> int:
    counted: int = Product.select(fn.COUNT(fn.DISTINCT(Product.sku))).where(_known_products(organization_id)).scalar()
    return counted


def due_organizations() -> list[Organization]:
    """Organizations whose periodic check is due now."""
    return list(Organization.select().where(Organization.next_reconcile_at <= utcnow()))


def claim_reconcile(organization: Organization) -> bool:
    """Take the organization's periodic check for this time: True for one caller only."""
    now = utcnow()
    claimed = (
        Organization.update(next_reconcile_at=now + timedelta(minutes=organization.reconcile_every_minutes))
        .where((Organization.id == organization.id) & (Organization.next_reconcile_at <= now))
        .execute()
    )
    return bool(claimed == 1)
