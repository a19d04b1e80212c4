"""Activation: what is there becomes the baseline, and the rule begins to work.

What a deposit held before is no movement (DESIGN.md, "Activation"). The balances are read first; pools, cells and
the switch itself are one transaction, and the first synchronization starts with it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from peewee import ModelSelect, chunked

from bling.client import BlingClient
from bling.errors import BlingError
from bling.pacing import Errand
from bling.payloads import find_deposit_balance
from clock import utcnow
from core.facts import Mode, Seen
from core.intents import WriteState
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
    StockGroup,
    StockWrite,
    User,
)
from services.bling_clients import clients_for, explain, note_failure
from services.book_facts import pool_input
from services.dirty import LEASE
from services.frame_loading import load_frames, skus_of
from services.frames import PoolFrame, Readings, Unread, settle_window
from services.reading import ClientFor
from services.runs import start_first_run

log = logging.getLogger(__name__)

IDS_PER_CALL = 100
SKUS_PER_STEP = 500
# A person waits for the answer.
_CLIENT = clients_for(Errand.MANUAL)


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


def activate_group(group: StockGroup, user: User | None = None, *, client_of: ClientFor = _CLIENT) -> Run:
    """Read the balances of all deposits of the rule, make them the baseline, and start the first synchronization.

    :raise ActivationRefused: it is active already, or a deposit's account cannot be read.
    """
    if group.is_active:
        raise ActivationRefused("Esta regra já está ativa.")
    refuse_after_write(GroupDeposit.select(GroupDeposit.deposit).where(GroupDeposit.group == group.id))
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
        return start_first_run(organization, [group.id], user)


def refuse_after_write(deposits: ModelSelect | Sequence[str]) -> None:
    """Refuse to take what these deposits show now for their baseline while it may be from before a write of ours.

    The write would be found later as a movement that nobody made: units out of nothing.

    :raise ActivationRefused: one of them was written within the settle window, or is being written.
    """
    since = utcnow() - settle_window()
    fresh = (StockWrite.ended_at > since) | (
        (StockWrite.state == WriteState.SENDING) & (StockWrite.sent_at > since - LEASE)
    )
    if StockWrite.select().where(StockWrite.deposit.in_(deposits) & fresh).exists():
        raise ActivationRefused(
            "A última escrita nestes depósitos acabou de sair, e o Bling ainda pode mostrar o saldo antigo. "
            "Tente de novo em alguns segundos."
        )


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

    Books of an earlier activation end here, those of SKUs that cannot be synchronized now or that nobody has any more
    included: what happened in between is no movement. Returns how many SKUs were looked at; what could not be read gets
    its baseline when it is read for the first time.
    """
    now = now or utcnow()
    Pool.delete().where(Pool.group == group.id).execute()
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
