"""Activation: what is there becomes the baseline, and the rule begins to work.

What a deposit held before is no movement (DESIGN.md, "Activation"). The balances are read first; pools, cells and
the switch itself are one transaction, and the first synchronization starts with it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from peewee import chunked

from bling.client import BlingClient
from bling.errors import BlingError
from bling.payloads import find_deposit_balance
from clock import utcnow
from core.facts import Mode, Seen
from core.plan import plan_pool
from core.values import ProductBalance
from db import connection, database
from models import (
    Account,
    AccountState,
    Cell,
    Deposit,
    GroupDeposit,
    Organization,
    Pool,
    Product,
    Run,
    RunType,
    StockGroup,
    User,
)
from services.bling_clients import client_for, explain, note_failure
from services.frames import PoolFrame, Readings, Unread, load_frames, pool_input, skus_of
from services.reading import ClientFor
from services.runs import start_run
from services.settle import settle_window

log = logging.getLogger(__name__)

IDS_PER_CALL = 100
SKUS_PER_STEP = 500


class ActivationRefused(Exception):
    """The rule cannot be activated now; the message says why, in the merchant's words."""


@dataclass(frozen=True, slots=True)
class AccountBalances:
    """What one account held, from `asked_at` on. Products that are missing here are unknown."""

    found: Mapping[int, ProductBalance]
    asked_at: datetime


def collect_balances(client: BlingClient, product_ids: Collection[int]) -> AccountBalances:
    """Read the balances of these products, a hundred a call. Raises BlingError; no database."""
    asked_at = utcnow()
    found: dict[int, ProductBalance] = {}
    for chunk in chunked(sorted(product_ids), IDS_PER_CALL):
        found.update(client.get_balances(chunk).found)
    return AccountBalances(found, asked_at)


def activate_group(group: StockGroup, user: User | None = None, *, client_of: ClientFor = client_for) -> Run:
    """Read the balances of all deposits of the rule, make them the baseline, and start the first synchronization.

    :raise ActivationRefused: it is active already, or a deposit's account cannot be read.
    """
    if group.is_active:
        raise ActivationRefused("Esta regra já está ativa.")
    balances = _read_all(group, client_of)
    with database.atomic():
        switched = (
            StockGroup.update(is_active=True, activated_at=utcnow(), activated_by=None if user is None else user.id)
            .where((StockGroup.id == group.id) & (StockGroup.is_active == 0))
            .execute()
        )
        if switched != 1:
            raise ActivationRefused("Esta regra acabou de ser ativada por outra pessoa.")
        store_baseline(group, balances)
        organization = Organization.get_by_id(group.organization_id)
        return start_run(organization, RunType.MANUAL, skus=None, user=user, reason="activation")


def _read_all(group: StockGroup, client_of: ClientFor) -> dict[str, AccountBalances]:
    accounts = {
        member.deposit.account_id: member.deposit.account
        for member in GroupDeposit.select(GroupDeposit, Deposit, Account)
        .join(Deposit)
        .join(Account)
        .where(GroupDeposit.group == group.id)
    }
    for account in accounts.values():
        if account.state != AccountState.CONNECTED:
            raise ActivationRefused(f"A conta {account.name} não está conectada. Reconecte-a antes de ativar.")
        if account.catalog_at is None:
            raise ActivationRefused(f"Os produtos da conta {account.name} ainda estão sendo lidos. Tente em instantes.")
    ids = {
        account_id: [
            row.bling_id
            for row in Product.select(Product.bling_id).where(
                (Product.account == account_id) & (Product.sku != "") & (Product.situation == "active")
            )
        ]
        for account_id in accounts
    }

    def read(account: Account) -> AccountBalances:
        with connection():
            return collect_balances(client_of(account), ids[account.id])

    balances: dict[str, AccountBalances] = {}
    with ThreadPoolExecutor(max_workers=max(1, min(8, len(accounts)))) as threads:
        asked = {account.id: threads.submit(read, account) for account in accounts.values()}
        for account_id, future in asked.items():
            try:
                balances[account_id] = future.result()
            except BlingError as error:
                note_failure(accounts[account_id], error)
                raise ActivationRefused(
                    f"Não foi possível ler os saldos da conta {accounts[account_id].name}: {explain(error)}"
                ) from error
    return balances


def store_baseline(group: StockGroup, balances: Mapping[str, AccountBalances], now: datetime | None = None) -> int:
    """Begin the books of a group with the balances read, by account id, inside the caller's transaction.

    Books of an earlier activation start anew. Returns how many SKUs have books now; what could not be read gets
    its baseline when it is read for the first time.
    """
    now = now or utcnow()
    skus = skus_of(group)
    for chunk in chunked(skus, SKUS_PER_STEP):
        for frames in load_frames(group.organization_id, chunk, groups=[group], now=now).values():
            for frame in frames:
                _begin_books(frame, _readings(frame, balances), now)
    return len(skus)


def _readings(frame: PoolFrame, balances: Mapping[str, AccountBalances]) -> Readings:
    readings: dict[tuple[str, str], Seen | Unread] = {}
    ignored: dict[str, set[int]] = {}
    for cell in frame.cells:
        if cell.deposit.ignores_balance:
            ignored.setdefault(cell.account.id, set()).add(cell.deposit.bling_id)
    for cell in frame.cells:
        read = balances.get(cell.account.id)
        balance = None if read is None else read.found.get(cell.product.bling_id)
        if read is None or balance is None:
            continue
        there = find_deposit_balance(balance, cell.deposit.bling_id, ignored.get(cell.account.id, set()))
        if there is not None:
            place = (cell.product.id, cell.deposit.id)
            readings[place] = Seen(there.physical, there.physical - there.virtual, read.asked_at)
    return readings


def _begin_books(frame: PoolFrame, readings: Readings, now: datetime) -> None:
    if frame.problem is not None:
        return
    _forget(frame)
    plan = plan_pool(pool_input(frame, readings, settle_window()))
    pool = Pool.create(
        organization=frame.group.organization_id,
        group=frame.group.id,
        sku=frame.sku,
        owed=0,
        level=plan.level if frame.group.mode == Mode.MIRROR else None,
        available=plan.available,
        settled_at=now,
    )
    rows = [
        {
            "id": Cell.id.default(),
            "organization": frame.group.organization_id,
            "pool": pool.id,
            "account": cell.account.id,
            "product": cell.product.id,
            "deposit": cell.deposit.id,
            "accounted": look.accounted,
            "reserved": look.reserved,
            "baseline": look.accounted,
            "baseline_at": now,
            "read_at": now,
        }
        for cell in frame.cells
        for look in (plan.looks.get(cell.key),)
        if look is not None
    ]
    if rows:
        Cell.insert_many(rows).execute()


def _forget(frame: PoolFrame) -> None:
    """Drop the books of an earlier activation; what was written and moved then stays in the history."""
    if frame.row is not None:
        Pool.delete().where(Pool.id == frame.row.id).execute()
        frame.row = None
    for cell in frame.cells:
        cell.row, cell.writes, cell.open_write = None, [], None
