"""Settling SKUs: judge echoes, read, decide, record, write. One code path for webhooks, the clock and people.

Each SKU is settled under its lease. A process may die between any two lines: what was committed says what was
intended, and whoever holds the SKU next goes on from there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import datetime

from bling.pacing import Errand
from clock import utcnow
from core.doubt import Proof
from core.facts import Seen
from core.plan import plan_pool
from db import connection, database
from models import Account, Event, Priority, StockWrite
from services import undoing
from services.bling_clients import clients_for
from services.book_facts import moment_of, pool_input
from services.cases import Case, load_cases, reload_frames
from services.concluding import conclude, give_back, put_off
from services.dirty import RENEW_EVERY_S, Claim, LeaseLost, claim_dirty, hold, live_waits, renew
from services.doubts import doubt_over_at, heed_late_events, settle_doubts, settled_lately
from services.echoes import close_if_echo
from services.entries import Decision
from services.frames import CellFrame, PoolFrame, Readings, Unread, settle_window
from services.reading import PASSING, ClientFor, read_balances
from services.recording import BooksMoved, close_events, record
from services.writes import send_write

log = logging.getLogger(__name__)

BATCH = 100
SENDERS = 6


ShouldStop = Callable[[], bool]

_ERRANDS = {Priority.LIVE: Errand.LIVE, Priority.MANUAL: Errand.MANUAL, Priority.CRON: Errand.CHECK}


def never() -> bool:
    """Nobody asks this process to end."""
    return False


def settle_due(
    organization_id: str,
    *,
    client_of: ClientFor | None = None,
    limit: int = BATCH,
    should_stop: ShouldStop = never,
) -> int:
    """Claim what is due and settle it; returns how many SKUs were claimed, 0 when nothing is due.

    Once `should_stop` says so, no further write leaves, and what is left is given back for others to take up.
    """
    claims = claim_dirty(organization_id, limit)
    if claims:
        settle_batch(organization_id, claims, client_of, should_stop)
    return len(claims)


def settle_batch(
    organization_id: str,
    claims: Sequence[Claim],
    client_of: ClientFor | None = None,
    should_stop: ShouldStop = never,
) -> None:
    """Settle claimed SKUs together, so that one question per account serves them all.

    One SKU that fails does not stop the others: it is put off and tried again.
    """
    client_of = client_of or clients_for(_ERRANDS[min(claim.priority for claim in claims)])
    cases = load_cases(organization_id, claims)
    settled = settled_lately(cell for case in cases for cell in case.cells)
    looking = [case for case in cases if _needs_look(case, settled)]
    if not looking:
        return
    readings = read_balances(_frames(looking), client_of, lambda: renew(claims))
    renew(claims)
    sending: list[Case] = []
    for case in looking:
        try:
            if _decide_and_record(case, readings):
                sending.append(case)
            else:
                conclude(case)
        except (LeaseLost, BooksMoved) as reason:
            give_back(case, reason)
        except Exception as error:
            put_off(case, error)
    _send_all(sending, client_of, should_stop)


def _needs_look(case: Case, settled: Mapping[str, Sequence[StockWrite]]) -> bool:
    try:
        if heed_late_events(case.claim, case.cells, settled, settle_window()):
            reload_frames(case)
    except LeaseLost:
        return False
    return not close_if_echo(case)


def _frames(cases: Iterable[Case]) -> list[PoolFrame]:
    cases = list(cases)
    undone = [frame for case in cases for task in case.tasks for frame in task.frames]
    return [frame for case in cases for frame in case.frames if frame.problem is None] + undone


def decide(frames: Iterable[PoolFrame], readings: Readings) -> list[Decision]:
    """The plans of these frames; none for a frame that cannot be synchronized at all."""
    window = settle_window()
    return [
        Decision(frame, None if frame.problem is not None else plan_pool(pool_input(frame, readings, window)))
        for frame in frames
    ]


def _decide_and_record(case: Case, readings: Readings) -> bool:
    """Decide, and commit books, history and intended writes. True when there are writes to send."""
    _settle_doubts(case, readings)
    case.decisions = decide(case.frames, readings)
    for cell in case.cells:
        reading = readings.get((cell.product.id, cell.deposit.id))
        if cell.problem is None and isinstance(reading, Unread):
            case.unread[cell.key] = reading.reason
    plans = [decision.plan for decision in case.decisions if decision.plan is not None]
    waiting, virtual_again = _unconfirmed_virtual(case, readings)
    moments = [plan.again_at for plan in plans if plan.again_at is not None] + virtual_again
    if case.doubt_over_at is not None:
        moments.append(case.doubt_over_at)
    case.again_at = min(moments, default=None)
    case.must_look = case.doubt_over_at is not None or any(plan.must_look for plan in plans)
    for task in case.tasks:
        undoing.decide(task, readings, settle_window(), case.claim.attempts)
    passing = {key for key, reason in case.unread.items() if reason in PASSING}
    now = utcnow()
    with database.atomic():
        hold(case.claim)
        case.recorded = record(
            case.decisions, case.claim.lease, case.events, case.open_items, now, asked_by_undo=bool(case.tasks)
        )
        is_calm = not any(plan.wishes for plan in plans)
        for task in case.tasks:
            case.recorded.undoing.extend(undoing.record(task, case.claim.lease, now, is_calm=is_calm))
        close_events(case.decisions, case.events, waiting, passing)
    return bool(case.recorded.to_send)


def _settle_doubts(case: Case, readings: Readings) -> None:
    """First what became of writes of unknown outcome: the rest is decided from books that say so."""
    proofs = settle_doubts(case.claim, case.cells, readings, settle_window())
    if proofs:
        reload_frames(case)
    case.undecided = {cell_id for cell_id, proof in proofs.items() if proof is Proof.SMALLER_POOL}
    case.doubt_over_at = doubt_over_at(case.cells, readings, settle_window(), utcnow())


def _unconfirmed_virtual(case: Case, readings: Readings) -> tuple[set[str], list[datetime]]:
    """Reservation events that a reading may have been too old for: they stay, and are looked into when W is over."""
    waiting: set[str] = set()
    again: list[datetime] = []
    for frame in case.frames:
        if not frame.is_virtual or not frame.virtual_events:
            continue
        newest = {(event.account_id, event.product_bling_id): event for event in frame.virtual_events}
        for event in newest.values():
            over_at = moment_of(event) + settle_window()
            if any(_disagrees(cell, event, readings, over_at) for cell in frame.cells):
                waiting.add(event.id)
                again.append(over_at)
    return waiting, again


def _disagrees(cell: CellFrame, event: Event, readings: Readings, over_at: datetime) -> bool:
    if (cell.account.id, cell.product.bling_id) != (event.account_id, event.product_bling_id):
        return False
    seen = readings.get((cell.product.id, cell.deposit.id))
    if cell.told_reserved is None or not isinstance(seen, Seen) or seen.at >= over_at:
        return False
    return cell.told_reserved != seen.reserved


def _send_all(cases: Sequence[Case], client_of: ClientFor, should_stop: ShouldStop) -> None:
    """Send the writes of these SKUs, several SKUs at a time; each SKU is given back when its own are done.

    Leases are renewed from here: a process that is stopped renews nothing, and loses them.
    """
    if len(cases) == 1:
        _send_and_conclude(cases[0], client_of, should_stop)
        return
    if not cases:
        return
    with ThreadPoolExecutor(max_workers=SENDERS) as threads:
        running: dict[Future[None], Case] = {
            threads.submit(_in_thread, case, client_of, should_stop): case for case in cases
        }
        while running:
            done, _ = wait(running, timeout=RENEW_EVERY_S, return_when=FIRST_COMPLETED)
            for future in done:
                del running[future]
                future.result()
            if running:
                renew([case.claim for case in running.values()])


def _in_thread(case: Case, client_of: ClientFor, should_stop: ShouldStop) -> None:
    with connection():
        _send_and_conclude(case, client_of, should_stop)


class Stopping(Exception):
    """This process was told to end, or a sale waits: what was not sent is taken up again."""


def _send_and_conclude(case: Case, client_of: ClientFor, should_stop: ShouldStop) -> None:
    accounts: dict[str, Account] = {cell.account.id: cell.account for cell in case.cells}
    try:
        if case.claim.priority != Priority.LIVE and live_waits(case.claim.organization_id):
            raise Stopping
        for write in case.recorded.to_send:
            if should_stop():
                raise Stopping
            case.sent.append(send_write(write.id, case.claim, client_of(accounts[write.account_id])))
        conclude(case)
    except (LeaseLost, BooksMoved, Stopping) as reason:
        give_back(case, reason)
    except Exception as error:
        put_off(case, error)
