"""Settling SKUs: judge echoes, read, decide, record, write. One code path for webhooks, the clock and people.

Each SKU is settled under its lease. A process may die between any two lines: what was committed says what was
intended, and whoever holds the SKU next goes on from there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import config
from clock import utcnow
from core.backoff import delay_s
from core.echoes import is_virtual_echo, judge_echoes
from core.events import VIRTUAL_KIND, InvalidEvent, virtual_part
from core.facts import Seen
from core.intents import IN_DOUBT_STATES, WriteState
from core.plan import PoolPlan, plan_pool
from core.skus import Problem
from db import connection, database
from models import Account, Cell, Event, EventState, ItemDeposit, Priority, RunItem, StockWrite
from services.bling_clients import client_for
from services.dirty import (
    RENEW_EVERY_S,
    Claim,
    LeaseLost,
    claim_dirty,
    hold,
    mark_dirty,
    release_done,
    release_until,
    renew,
)
from services.frames import CellFrame, PoolFrame, Readings, Unread, book_of, load_frames, own_write, pool_input, stock_fact
from services.reading import PASSING, ClientFor, read_balances
from services.recording import BooksMoved, Decision, Recorded, close_events, record
from services.runs import finish_run_if_over
from services.writes import Sent, doubt_abandoned, send_write

log = logging.getLogger(__name__)

BATCH = 100
SENDERS = 6
RETRY_BASE_S, RETRY_CAP_S = 2.0, 300.0
_SKIPPED = {Problem.DUPLICATE: "dup", Problem.DELETED: "missing"}


@dataclass(slots=True)
class Case:
    """One claimed SKU on its way through a settling."""

    claim: Claim
    frames: list[PoolFrame]
    events: list[Event]
    open_items: list[RunItem]
    decisions: list[Decision] = field(default_factory=list)
    recorded: Recorded = field(default_factory=Recorded)
    sent: list[Sent] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)
    again_at: datetime | None = None
    must_look: bool = False

    @property
    def cells(self) -> list[CellFrame]:
        return [cell for frame in self.frames for cell in frame.cells]


def settle_due(organization_id: str, *, client_of: ClientFor = client_for, limit: int = BATCH) -> int:
    """Claim what is due and settle it; returns how many SKUs were claimed, 0 when nothing is due."""
    claims = claim_dirty(organization_id, limit)
    if claims:
        settle_batch(organization_id, claims, client_of)
    return len(claims)


def settle_batch(organization_id: str, claims: Sequence[Claim], client_of: ClientFor = client_for) -> None:
    """Settle claimed SKUs together, so that one question per account serves them all.

    One SKU that fails does not stop the others: it keeps its lease until that expires and is taken up again.
    """
    cases = _load(organization_id, claims)
    looking = [case for case in cases if not _close_if_echo(case)]
    if not looking:
        return
    readings = read_balances(_frames(looking), client_of)
    renew(claims)
    sending: list[Case] = []
    for case in looking:
        try:
            if _decide_and_record(case, readings):
                sending.append(case)
            else:
                _conclude(case)
        except (LeaseLost, BooksMoved) as reason:
            _give_back(case, reason)
    _send_all(sending, client_of)


def _frames(cases: Iterable[Case]) -> list[PoolFrame]:
    return [frame for case in cases for frame in case.frames if frame.problem is None]


def _load(organization_id: str, claims: Sequence[Claim]) -> list[Case]:
    skus = [claim.sku for claim in claims]
    frames = load_frames(organization_id, skus)
    events: dict[str, list[Event]] = {sku: [] for sku in skus}
    pending = Event.select().where(
        (Event.organization == organization_id) & Event.sku.in_(skus) & (Event.state == EventState.PENDING)
    )
    for event in pending.order_by(Event.bling_event_id, Event.id):
        events[event.sku].append(event)
    items: dict[str, list[RunItem]] = {sku: [] for sku in skus}
    waiting = RunItem.select().where(
        (RunItem.organization == organization_id) & RunItem.sku.in_(skus) & RunItem.finished_at.is_null()
    )
    for item in waiting.order_by(RunItem.id):
        items[item.sku].append(item)
    cases = [Case(claim, frames[claim.sku], events[claim.sku], items[claim.sku]) for claim in claims]
    for case in cases:
        for cell in case.cells:
            if cell.open_write is not None:
                doubt_abandoned([cell.open_write], case.claim)
    return cases


def _close_if_echo(case: Case) -> bool:
    """Close a SKU whose events tell nothing new, without a call."""
    if case.claim.needs_look or case.open_items or any(_is_left_over(cell.open_write) for cell in case.cells):
        return False
    if case.frames and not _all_echoes(case):
        return False
    with database.atomic():
        try:
            hold(case.claim)
        except LeaseLost:
            return True
        state = EventState.ECHO if case.frames else EventState.IGNORED
        reason = None if case.frames else "no_rule"
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
        if frame.problem is not None:
            return False
        for cell in frame.cells:
            facts = [fact for event in cell.events if (fact := stock_fact(event)) is not None]
            book = book_of(cell)
            if not facts:
                continue
            if book is None or cell.problem is not None:
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
    cells = [c for c in frame.cells if c.product.bling_id == event.product_bling_id and c.account.id == event.account_id]
    try:
        part = virtual_part(event.body)
    except InvalidEvent:
        return False
    books = {cell.deposit.bling_id: book for cell in cells if (book := book_of(cell)) is not None}
    if part.is_complex or len(books) != len(cells) or any(cell.problem for cell in cells):
        return False
    writes = {cell.deposit.bling_id: [own_write(w) for w in cell.writes] for cell in cells}
    return is_virtual_echo(books, writes, part.deposits, virtual=frame.is_virtual)


def settle_window() -> timedelta:
    return timedelta(seconds=config.current().settle_window_s)


def decide(frames: Iterable[PoolFrame], readings: Readings) -> list[Decision]:
    """The plans of these frames; none for a frame that cannot be synchronized at all."""
    window = settle_window()
    return [
        Decision(frame, None if frame.problem is not None else plan_pool(pool_input(frame, readings, window)))
        for frame in frames
    ]


def _decide_and_record(case: Case, readings: Readings) -> bool:
    """Decide, and commit books, history and intended writes. True when there are writes to send."""
    case.decisions = decide(case.frames, readings)
    for cell in case.cells:
        reading = readings.get((cell.product.id, cell.deposit.id))
        if cell.problem is None and isinstance(reading, Unread):
            case.unread[cell.key] = reading.reason
    plans = [decision.plan for decision in case.decisions if decision.plan is not None]
    waiting, virtual_again = _unconfirmed_virtual(case, readings)
    moments = [plan.again_at for plan in plans if plan.again_at is not None] + virtual_again
    case.again_at = min(moments, default=None)
    case.must_look = any(plan.must_look for plan in plans)
    passing = {key for key, reason in case.unread.items() if reason in PASSING}
    now = utcnow()
    with database.atomic():
        hold(case.claim)
        case.recorded = record(case.decisions, case.claim.lease, case.events, case.open_items, now)
        close_events(case.decisions, case.events, waiting, passing)
    return bool(case.recorded.writes)


def _unconfirmed_virtual(case: Case, readings: Readings) -> tuple[set[str], list[datetime]]:
    """Reservation events that a reading may have been too old for: they stay, and are looked into when W is over."""
    waiting: set[str] = set()
    again: list[datetime] = []
    for frame in case.frames:
        if not frame.is_virtual or not frame.virtual_events:
            continue
        newest = {(event.account_id, event.product_bling_id): event for event in frame.virtual_events}
        for event in newest.values():
            over_at = min(event.happened_at or event.received_at, event.received_at) + settle_window()
            if any(_disagrees(cell, event, readings, over_at) for cell in frame.cells):
                waiting.add(event.id)
                again.append(over_at)
    return waiting, again


def _disagrees(cell: CellFrame, event: Event, readings: Readings, over_at: datetime) -> bool:
    if (cell.account.id, cell.product.bling_id) != (event.account_id, event.product_bling_id):
        return False
    seen = readings.get((cell.product.id, cell.deposit.id))
    told = virtual_part(event.body).deposits.get(cell.deposit.bling_id)
    if told is None or not isinstance(seen, Seen) or seen.at >= over_at:
        return False
    return told[0] - told[1] != seen.reserved


def _send_all(cases: Sequence[Case], client_of: ClientFor) -> None:
    """Send the writes of these SKUs, several SKUs at a time; each SKU is given back when its own are done.

    Leases are renewed from here: a process that is stopped renews nothing, and loses them.
    """
    if len(cases) == 1:
        _send_and_conclude(cases[0], client_of)
        return
    if not cases:
        return
    with ThreadPoolExecutor(max_workers=SENDERS) as threads:
        running: dict[Future[None], Case] = {
            threads.submit(_in_thread, _send_and_conclude, case, client_of): case for case in cases
        }
        while running:
            done, _ = wait(running, timeout=RENEW_EVERY_S, return_when=FIRST_COMPLETED)
            for future in done:
                case = running.pop(future)
                error = future.exception()
                if error is not None:
                    log.error("SKU %s of %s: %r", case.claim.sku, case.claim.organization_id, error, exc_info=error)
            if running:
                renew([case.claim for case in running.values()])


def _in_thread(work: Callable[[Case, ClientFor], None], case: Case, client_of: ClientFor) -> None:
    with connection():
        work(case, client_of)


def _send_and_conclude(case: Case, client_of: ClientFor) -> None:
    accounts: dict[str, Account] = {cell.account.id: cell.account for cell in case.cells}
    try:
        for write in case.recorded.writes:
            case.sent.append(send_write(write.id, case.claim, client_of(accounts[write.account_id])))
        _conclude(case)
    except (LeaseLost, BooksMoved) as reason:
        _give_back(case, reason)


def _conclude(case: Case) -> None:
    """Say how it ended, and give the SKU back: as settled, or to be looked at again."""
    now = utcnow()
    passing = [reason for reason in case.unread.values() if reason in PASSING]
    failed = [sent for sent in case.sent if sent.state is WriteState.PLANNED]
    retry_at = None
    if passing or failed:
        retry_at = now + timedelta(seconds=delay_s(case.claim.attempts + 1, 0.5, RETRY_BASE_S, RETRY_CAP_S))
    elif case.recorded.again:
        retry_at = now
    moments = [moment for moment in (retry_at, case.again_at) if moment is not None]
    again_at = min(moments, default=None)
    with database.atomic():
        hold(case.claim)
        runs = {item.run_id for item in (*case.recorded.items, *case.open_items)}
        if not case.decisions:
            _skip_items(case.open_items, "no_rule", now)
        for decision in case.decisions:
            items = [item for item in case.recorded.items if item.group_id == decision.frame.group.id]
            _conclude_items(case, decision, items, again_at if retry_at or case.must_look else None, now)
        for run_id in sorted(runs):
            finish_run_if_over(run_id, now)
        if again_at is None:
            release_done(case.claim)
        else:
            # Where only events ask for another look, they are judged again then: an echo by that time costs no call.
            release_until(
                case.claim, again_at, needs_look=case.must_look or retry_at is not None, failed=bool(passing or failed)
            )
        if any(_is_shared(sent) for sent in case.sent if sent.state is WriteState.CONFIRMED):
            mark_dirty(case.claim.organization_id, [case.claim.sku], priority=Priority.LIVE, needs_look=True)


def _is_shared(sent: Sent) -> bool:
    """Whether the deposit of a write is in the books of another group too, for which it is a change like any other."""
    write = StockWrite.get_by_id(sent.write_id)
    others = Cell.select().where(
        (Cell.product == write.product_id) & (Cell.deposit == write.deposit_id) & (Cell.id != write.cell_id)
    )
    return bool(others.exists())


def _skip_items(items: Sequence[RunItem], reason: str, now: datetime) -> None:
    for item in items:
        RunItem.update(status=_SKIPPED.get(Problem(reason), "skipped") if reason in set(Problem) else "skipped",
                       error=reason, finished_at=now).where(RunItem.id == item.id).execute()  # fmt: skip


def _conclude_items(
    case: Case, decision: Decision, items: Sequence[RunItem], again_at: datetime | None, now: datetime
) -> None:
    if decision.plan is None:
        _skip_items(items, decision.frame.problem or Problem.NO_SOURCE, now)
        return
    for item in items:
        status, error = _status_of(case, decision, decision.plan, item, waits=again_at is not None)
        finished = None if status == "retry" else now
        RunItem.update(status=status, error=error, finished_at=finished).where(RunItem.id == item.id).execute()


def _status_of(
    case: Case, decision: Decision, plan: PoolPlan, item: RunItem, *, waits: bool
) -> tuple[str, str | None]:
    """The item's status, and the code of the reason where it is not simply well."""
    keys = {cell.key for cell in decision.frame.cells}
    unread = {key: reason for key, reason in case.unread.items() if key in keys}
    mine = {write.id: write for write in case.recorded.writes if write.cell_id in _cell_ids(decision)}
    sent = [one for one in case.sent if one.write_id in mine]
    held = set(plan.held.values())
    if waits:
        reason = next(iter(unread.values()), None) or next((s.error for s in sent if s.error), None)
        return "retry", reason or (Problem.PUT_OFF if Problem.PUT_OFF in held else None)
    if any(one.state in IN_DOUBT_STATES for one in sent) or Problem.UNKNOWN_WRITE in held:
        return "review", Problem.UNKNOWN_WRITE
    refused = next((one.error for one in sent if one.state is WriteState.REJECTED), None)
    if refused is not None or Problem.REJECTED in held:
        worked = any(one.state is WriteState.CONFIRMED for one in sent)
        return "partial" if worked else "failed", refused or Problem.REJECTED
    if plan.available is None:
        return "skipped", next(iter(plan.missing.values()), Problem.NEVER_READ)
    if plan.missing or unread or held - {Problem.PUT_OFF}:
        reason = next(iter((*plan.missing.values(), *unread.values(), *sorted(held))), None)
        return "partial", reason
    if decision.frame.left_out:
        return "partial", next(iter(decision.frame.left_out.values()))
    changed = ItemDeposit.select().where(
        (ItemDeposit.item == item.id) & ((ItemDeposit.movement != 0) | (ItemDeposit.written != 0))
    )
    return ("ok" if changed.exists() or item.run.type == "webhook" else "unchanged"), None


def _cell_ids(decision: Decision) -> set[str]:
    pool_cells = {cell.row.id for cell in decision.frame.cells if cell.row is not None}
    places = {(cell.product.id, cell.deposit.id) for cell in decision.frame.cells if cell.row is None}
    if places:
        rows = Cell.select().where(Cell.product.in_([product for product, _ in places]))
        pool_cells |= {row.id for row in rows if (row.product_id, row.deposit_id) in places}
    return pool_cells


def _give_back(case: Case, reason: Exception) -> None:
    """Stop without a trace: the SKU stays dirty, and whoever holds it settles it from the books."""
    log.info("SKU %s of %s: %r, settled again", case.claim.sku, case.claim.organization_id, reason)
    with database.atomic():
        release_until(case.claim, utcnow(), needs_look=True)
