"""The check of everything: read every balance, compare it with the books and the rules, mark what differs.

It decides with the same plan as the settling and repairs through it. It goes in small steps, remembers how far
it came, and gives way to live sales between two of them. What differs is gathered first and marked when the whole was
seen and the guard agrees (services/guards.py); only what a consent covers is marked at once.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from peewee import fn

import queues
from bling.errors import BlingError
from bling.pacing import Errand
from clock import monotonic, utcnow
from db import connection, database
from models import (
    Account,
    AccountState,
    Deposit,
    DirtySku,
    Event,
    EventState,
    GroupDeposit,
    Organization,
    Pool,
    Product,
    Run,
    RunItem,
    RunType,
    StockGroup,
)
from services.bling_clients import clients_for
from services.catalog import refresh_account
from services.dirty import RENEW_EVERY_S, LeaseLost, mark_dirty
from services.entries import Decision
from services.frame_loading import load_frames
from services.guards import RELEASING, close_superseded, gather, hold_excess
from services.reading import ClientFor, read_balances
from services.runs import (
    SCAN_ENDED,
    consented_groups,
    finish_run_if_over,
    priority_of,
    product_names,
    queue_items,
    skipped_status,
    wake,
)
from services.settle import ShouldStop, decide, never

log = logging.getLogger(__name__)

STEP = 100
RELEASED_AT_ONCE = 500
# One job scans for this long, then queues itself again behind whatever is more urgent.
TURN_S = 5.0
# A worker that died holds a check for this long at the most; one that lives renews well before.
SCAN_LEASE = timedelta(seconds=30)
# Bling's changed-since filter has its own clock and our last look took a while.
CATALOG_OVERLAP = timedelta(hours=1)
# Products that vanish are seen only where everything is read.
CATALOG_AGE = timedelta(days=1)


def scan(
    run_id: str, *, client_of: ClientFor | None = None, turn_s: float = TURN_S, should_stop: ShouldStop = never
) -> bool:
    """Go on with a check of everything for one turn; True when it is over. Safe to repeat at any point.

    Two workers never scan for the same run: a lease on its row decides, and the sweep wakes one up when it expired.
    """
    run = _claim(run_id)
    if run is None:
        return True
    ends_at = monotonic() + turn_s
    try:
        if run.cursor is None:
            _begin(run)
        while run.cursor != SCAN_ENDED:
            _advance(run, client_of or clients_for(_errand_of(run)))
            if run.cursor != SCAN_ENDED and (monotonic() >= ends_at or should_stop()):
                _move(run, lease=None, lease_until=None)
                wake(run)
                return False
    except LeaseLost:
        return False
    return True


def _errand_of(run: Run) -> Errand:
    return Errand.CHECK if run.type == RunType.CRON else Errand.MANUAL


def _claim(run_id: str) -> Run | None:
    now, lease = utcnow(), secrets.token_hex(16)
    claimed = (
        Run.update(lease=lease, lease_until=now + SCAN_LEASE, status="running")
        .where((Run.id == run_id) & Run.is_scanning() & (Run.lease.is_null() | (Run.lease_until < now)))
        .execute()
    )
    return Run.get_by_id(run_id) if claimed == 1 else None


def _renew(run: Run) -> None:
    """Hold on to the check; one that was lost meanwhile stays lost."""
    now = utcnow()
    Run.update(lease_until=now + SCAN_LEASE).where(
        (Run.id == run.id) & (Run.lease == run.lease) & (Run.lease_until >= now)
    ).execute()


def _begin(run: Run) -> None:
    _refresh_catalogs(run)
    total = _count_skus(run.organization_id)
    now = utcnow()
    # Reading catalogues takes its time; whoever took over meanwhile begins anew, which does no harm.
    begun = Run.update(cursor="", total=total, started_at=now, lease_until=now + SCAN_LEASE).where(
        (Run.id == run.id) & (Run.lease == run.lease)
    )
    if begun.execute() != 1:
        raise LeaseLost(run.id)
    run.cursor = ""


def _move(run: Run, **changes: object) -> None:
    """Go on with the run, in the caller's transaction if there is one.

    :raise LeaseLost: somebody else goes on with it; nothing of this step may be kept.
    """
    now = utcnow()
    moved = (
        Run.update({"lease_until": now + SCAN_LEASE, **changes})
        .where((Run.id == run.id) & (Run.lease == run.lease) & (Run.lease_until >= now))
        .execute()
    )
    if moved != 1:
        raise LeaseLost(run.id)


def _advance(run: Run, client_of: ClientFor) -> None:
    """One step: compare some SKUs; when there are no more, judge what was found; then hand it over to be settled."""
    if run.cursor.startswith(RELEASING):
        _release(run)
    elif skus := _next_skus(run):
        _step(run, skus, client_of)
    else:
        with database.atomic():
            hold_excess(run, utcnow())
            _move(run, cursor=RELEASING)
        run.cursor = RELEASING
        _release(run)


@dataclass(slots=True)
class _Found:
    """What a step came to. `differing`: the decisions with news, by SKU; `skipped`: why a SKU is left alone."""

    differing: dict[str, list[Decision]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    unchanged: int = 0
    unread: int = 0


def _step(run: Run, skus: Sequence[str], client_of: ClientFor) -> None:
    """Compare some SKUs, list those that differ, and move the cursor, in one transaction."""
    loaded_at = utcnow()
    frames = load_frames(run.organization_id, skus)
    readable = [frame for listed in frames.values() for frame in listed if frame.problem is None]
    readings = read_balances(readable, client_of, lambda: _renew(run))
    found = _compare({sku: decide(frames[sku], readings) for sku in skus})
    announced = _announced(run.organization_id, list(found.differing), loaded_at)
    now = utcnow()
    consented = consented_groups(run)
    # Nobody has to be asked about these any more, and they are many: they do not wait for the rest.
    free = [sku for sku, news in found.differing.items() if all(one.frame.group.id in consented for one in news)]
    asked = [one for sku, news in found.differing.items() if sku not in free for one in news]
    with database.atomic():
        queue_items(run, free, now)
        mark_dirty(run.organization_id, free, priority=priority_of(run), needs_look=True, now=now)
        gather(run, asked, announced, consented, now)
        if run.type == RunType.MANUAL and run.scope == "all":
            _list_skipped(run, found.skipped)
        counts = {"considered": Run.considered + len(skus)}
        if run.scope == "all":
            # A given list is settled as a whole, and its items say the rest.
            counts |= {
                "unchanged": Run.unchanged + found.unchanged,
                "unannounced": Run.unannounced + len(found.differing.keys() - announced),
                "unread": Run.unread + found.unread,
            }
        _move(run, cursor=skus[-1], **counts)
    run.cursor = skus[-1]
    if free:
        queues.kick(run.organization_id)


def _compare(decisions: Mapping[str, Sequence[Decision]]) -> _Found:
    found = _Found()
    for sku, listed in decisions.items():
        if not listed:
            continue
        found.unread += any(d.plan is not None and d.plan.missing for d in listed)
        news = [d for d in listed if d.plan is not None and (d.plan.has_news or _is_in_doubt(d))]
        if news:
            found.differing[sku] = news
        elif reason := next((one for d in listed if (one := d.frame.unfollowed) is not None), None):
            found.skipped[sku] = reason
        else:
            found.unchanged += 1
    return found


def _is_in_doubt(decision: Decision) -> bool:
    """Whether a write of unknown outcome can be looked into that nobody could look into before."""
    looks = decision.plan.looks if decision.plan is not None else {}
    return any(cell.is_in_doubt and cell.key in looks for cell in decision.frame.cells)


def _release(run: Run) -> None:
    """Mark the next of what was found, to be settled; when there is no more the scan has ended."""
    after = run.cursor.removeprefix(RELEASING)
    query = RunItem.select(RunItem.id, RunItem.sku).where(
        (RunItem.run == run.id) & (RunItem.status == "queued") & (RunItem.id > after)
    )
    items = list(query.order_by(RunItem.id).limit(RELEASED_AT_ONCE))
    cursor = RELEASING + items[-1].id if items else SCAN_ENDED
    with database.atomic():
        skus = [item.sku for item in items]
        mark_dirty(run.organization_id, skus, priority=priority_of(run), needs_look=True)
        if items:
            _move(run, cursor=cursor)
        else:
            _move(run, cursor=cursor, lease=None, lease_until=None)
            finish_run_if_over(run.id)
    run.cursor = cursor
    if items:
        queues.kick(run.organization_id)
    else:
        close_superseded(run.organization_id)


def _announced(organization_id: str, skus: Sequence[str], since: datetime) -> set[str]:
    """Of these SKUs, those that an event has told of or that somebody settles: their difference is no news.

    One that was settled `since` the books were loaded is no longer what was compared.
    """
    if not skus:
        return set()
    here = organization_id
    told = Event.select(Event.sku).where(
        (Event.organization == here) & Event.sku.in_(skus) & (Event.state == EventState.PENDING)
    )
    dirty = DirtySku.select(DirtySku.sku).where((DirtySku.organization == here) & DirtySku.sku.in_(skus))
    settled = Pool.select(Pool.sku).where((Pool.organization == here) & Pool.sku.in_(skus) & (Pool.settled_at >= since))
    return {row.sku for query in (told, dirty, settled) for row in query}


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


def _refresh_catalogs(run: Run) -> None:
    """Learn of new, changed and vanished products first; an account that cannot be asked keeps its old catalogue.

    Accounts that no rule names are asked too: an authorization that is not used for thirty days is gone. A large
    catalogue takes minutes, in which the lease is renewed from here.
    """
    accounts = Account.select().where(
        (Account.organization == run.organization_id) & (Account.state == AccountState.CONNECTED)
    )
    with ThreadPoolExecutor(max_workers=1) as thread:
        for account in list(accounts):
            reading = thread.submit(_refresh_catalog, account)
            while not wait((reading,), timeout=RENEW_EVERY_S).done:
                _renew(run)
            _renew(run)
            reading.result()


def _refresh_catalog(account: Account) -> None:
    is_old = account.catalog_at is None or utcnow() - account.catalog_at > CATALOG_AGE
    try:
        with connection():
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


def _next_skus(run: Run) -> list[str]:
    """The SKUs behind the cursor: of the run's own list, or of all that active rules are about."""
    if run.scope == "all":
        model, wanted = Product, _known_products(run.organization_id)
    else:
        model, wanted = RunItem, (RunItem.run == run.id) & RunItem.finished_at.is_null()
    rows = model.select(model.sku).where(wanted & (model.sku > run.cursor)).distinct().order_by(model.sku)
    return [row.sku for row in rows.limit(STEP)]


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
