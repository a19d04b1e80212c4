"""Reading balances: one question per account for up to a hundred products, the accounts side by side.

What cannot be read is `Unread` with its reason, never a number.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from decimal import Decimal

from bling.client import NEGATIVE, POSITIVE, BlingClient
from bling.errors import AuthLost, BlingError, CircuitOpen, Forbidden, QuotaExhausted, Unavailable
from bling.payloads import find_deposit_balance
from clock import monotonic, utcnow
from core.facts import Seen
from core.skus import Problem
from core.values import ProductBalance
from db import connection
from models import Account, Deposit, Product
from services.bling_clients import client_for, note_failure, take_up
from services.dirty import RENEW_EVERY_S
from services.frames import CellFrame, PoolFrame, Readings, Unread
from services.silence import HUNG_S, is_silent, note_hung

log = logging.getLogger(__name__)

ClientFor = Callable[[Account], BlingClient]
# Reasons that pass by themselves: the SKU is looked at again soon. The others wait for a person.
PASSING = frozenset({Problem.UNREADABLE, "quota"})


def read_balances(
    frames: Iterable[PoolFrame], client_of: ClientFor = client_for, while_waiting: Callable[[], None] | None = None
) -> Readings:
    """Read every cell of these frames that can be read, each account's products in one go.

    Each reading carries the moment before its question left, so that it is never taken for newer than it is.
    `while_waiting` is called every few seconds until all answers are there, to keep the leases of the SKUs. An account
    that hung before is left out at once: nobody waits for the same silence twice.
    """
    by_account: dict[str, list[CellFrame]] = defaultdict(list)
    for cell in (cell for frame in frames for cell in frame.cells):
        if cell.problem is None:
            by_account[cell.account.id].append(cell)
    found: dict[tuple[str, str], Seen | Unread] = {}
    asked: list[tuple[Account, list[CellFrame]]] = []
    for cells in by_account.values():
        account = cells[0].account
        if is_silent(account.id):
            found.update(_unread(cells, Problem.UNREADABLE))
        else:
            asked.append((account, cells))
    if not asked:
        return found
    with ThreadPoolExecutor(max_workers=min(8, len(asked))) as threads:
        waiting = {threads.submit(_read_account, account, cells, client_of) for account, cells in asked}
        while waiting:
            done, waiting = wait(waiting, timeout=RENEW_EVERY_S)
            for future in done:
                found.update(future.result())
            if waiting and while_waiting is not None:
                while_waiting()
    return found


def _unread(cells: Iterable[CellFrame], reason: str) -> dict[tuple[str, str], Unread]:
    return {(cell.product.id, cell.deposit.id): Unread(reason) for cell in cells}


def _answers(account: Account, client_of: ClientFor) -> bool:
    """Whether the account answers a small question, in whatever way but by hanging."""
    started_at = monotonic()
    try:
        client_of(account).get_company()
    except CircuitOpen:
        return False
    except BlingError:
        return monotonic() - started_at < HUNG_S
    return True


def _read_account(
    account: Account, cells: list[CellFrame], client_of: ClientFor
) -> Mapping[tuple[str, str], Seen | Unread]:
    hints = {cell.product.bling_id: cell.product.balance_filter for cell in cells} | _likely_filters(cells)
    asked_at, started_at = utcnow(), monotonic()
    try:
        client = client_of(account)
        result = client.get_balances(list(hints), hints)
        answered_at = utcnow()
        off = _switched_off(client, [cell for cell in cells if _has_vanished(cell, result.found)])
    except BlingError as error:
        log.warning("Account %s could not be read: %s", account.id, error)
        if isinstance(error, Unavailable) and monotonic() - started_at >= HUNG_S:
            note_hung(account.id, lambda: _answers(account, client_of), lambda: take_up(account.id))
        with connection():
            note_failure(account, error)
        return _unread(cells, _reason(error))
    with connection():
        _remember_filters(account, hints, result.filters)
        ignored = _deposits_outside_totals(account)
    found: dict[tuple[str, str], Seen | Unread] = {}
    for cell in cells:
        balance = result.found.get(cell.product.bling_id)
        there = None if balance is None else find_deposit_balance(balance, cell.deposit.bling_id, ignored)
        place = (cell.product.id, cell.deposit.id)
        if cell.deposit.bling_id in off:
            found[place] = Unread(Problem.DEPOSIT_OFF)
        elif there is None:
            found[place] = Unread(Problem.ABSENT)
        else:
            found[place] = Seen(there.physical, there.physical - there.virtual, asked_at, answered_at)
    return found


def _has_vanished(cell: CellFrame, found: Mapping[int, ProductBalance]) -> bool:
    """Whether Bling tells of the product without a word about a deposit where our books have stock of it."""
    balance = found.get(cell.product.bling_id)
    is_told = balance is None or cell.deposit.bling_id in balance.deposits
    return not is_told and cell.row is not None and cell.row.accounted != 0


def _switched_off(client: BlingClient, vanished: Iterable[CellFrame]) -> set[int]:
    """Of the deposits of these cells, those that are switched off or gone.

    Bling leaves them out of a product's list and totals alike, as it may leave out an empty one; and nobody announces
    it. Taken for empty, a switched-off target would be a sale of all it holds.
    """
    deposits = {cell.deposit.bling_id for cell in vanished}
    return deposits - {deposit.id for deposit in client.list_deposits() if deposit.is_active} if deposits else set()


def _likely_filters(cells: list[CellFrame]) -> dict[int, int]:
    """Where our books say that there is stock, or less than none, the product is asked for under that filter first."""
    known: dict[int, Decimal] = defaultdict(Decimal)
    for place in {(cell.product.bling_id, cell.row) for cell in cells if cell.row is not None}:
        known[place[0]] += place[1].accounted
    return {bling_id: POSITIVE if total > 0 else NEGATIVE for bling_id, total in known.items() if total != 0}


def _reason(error: BlingError) -> str:
    # AuthExpired passes: a token that is refused now may be taken, or be replaced by another, a moment later.
    if isinstance(error, AuthLost):
        return Problem.RECONNECT
    if isinstance(error, Forbidden):
        return "forbidden"
    return "quota" if isinstance(error, QuotaExhausted) else Problem.UNREADABLE


def _remember_filters(account: Account, hints: Mapping[int, int], filters: Mapping[int, int]) -> None:
    """A product that was found under another filter is asked for there first next time."""
    moved: dict[int, list[int]] = defaultdict(list)
    for bling_id, filter_ in filters.items():
        if hints.get(bling_id) != filter_:
            moved[filter_].append(bling_id)
    for filter_, bling_ids in moved.items():
        Product.update(balance_filter=filter_).where(
            (Product.account == account.id) & Product.bling_id.in_(bling_ids)
        ).execute()


def _deposits_outside_totals(account: Account) -> frozenset[int]:
    rows = Deposit.select(Deposit.bling_id).where((Deposit.account == account.id) & (Deposit.ignores_balance == 1))
    return frozenset(row.bling_id for row in rows)
