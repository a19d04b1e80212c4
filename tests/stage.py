"""A merchant on the sandbox for tests of the engine: three accounts, one rule, webhooks over real HTTP.

Time is real; the settle window is short. `settle()` does what the workers do, in this process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal

import pytest
from playhouse.pool import PooledDatabase
from werkzeug.serving import make_server

import config as configuration
import db
from app import create_app
from clock import utcnow
from config import Config
from core.values import Tokens
from ids import new_id
from models import Account, Deposit, DirtySku, Event, Organization, Run, StockGroup, StockWrite
from sandbox import Bling
from services import dirty, inbox, reconcile, settle
from services.activation import activate_group
from services.bling_clients import token_columns
from services.catalog import refresh_account
from tests.factories import make_group, make_organization

ACCOUNTS = ("matriz", "filial", "avulsa")
SHELF, SHOP = "Geral", "Loja virtual"


@dataclass
class Stage:
    """The world of a test. Stock is named by account key, SKU and deposit name."""

    bling: Bling
    config: Config
    organization: Organization
    accounts: dict[str, Account]
    group: StockGroup | None = None

    def deposit(self, account: str, name: str) -> Deposit:
        return Deposit.get((Deposit.account == self.accounts[account].id) & (Deposit.name == name))

    def rule(
        self,
        sources: Sequence[tuple[str, str]] = (("matriz", SHELF), ("filial", SHELF)),
        targets: Sequence[tuple[str, str]] = (("matriz", SHOP), ("filial", SHOP), ("avulsa", SHOP)),
        *,
        activate: bool = True,
        **values: object,
    ) -> StockGroup:
        """A rule over these deposits; activated and settled unless told otherwise."""
        self.group = make_group(
            self.organization,
            [self.deposit(*place) for place in sources],
            [self.deposit(*place) for place in targets],
            is_active=False,
            **values,
        )
        if activate:
            activate_group(self.group)
            self.group = StockGroup.get_by_id(self.group.id)
            self.settle()
        return self.group

    def deliver(self, *, settle: bool = True) -> None:
        """Send all webhooks that are due to our web program; then settle what they marked."""
        while self.bling.pump():
            pass
        if settle:
            self.settle()

    def settle(self, timeout_s: float = 120.0) -> None:
        """Do what workers do until nothing is left, waiting for looks that are due later."""
        ends_at = time.monotonic() + timeout_s
        organization_id = self.organization.id
        while time.monotonic() < ends_at:
            for run in Run.select().where(Run.is_scanning()):
                reconcile.scan(run.id)
            inbox.sort_inbox(organization_id)
            settled = settle.settle_due(organization_id)
            due_at = dirty.next_due_at(organization_id)
            if not settled and due_at is None and not self.bling_is_due():
                return
            if not settled and due_at is not None:
                time.sleep(min(0.2, max(0.005, (due_at - utcnow()).total_seconds())))
            while self.bling.pump():
                pass
        raise AssertionError(f"not settled: {[(d.sku, d.due_at, d.attempts) for d in DirtySku.select()]}")

    def bling_is_due(self) -> bool:
        due = self.bling.next_due()
        return due is not None and due <= time.time()

    def shown(self, account: str, sku: str, deposit: str = SHOP) -> Decimal:
        """What a deposit offers: its virtual balance."""
        return self.bling.balance(account, sku, deposit).virtual

    def physical(self, account: str, sku: str, deposit: str = SHELF) -> Decimal:
        return self.bling.balance(account, sku, deposit).physical

    def writes(self) -> int:
        return StockWrite.select().count()

    def calls(self) -> Sequence[str]:
        return [f"{r.method} {r.path}" for r in self.bling.requests()]

    def events(self) -> Mapping[str, str]:
        return {event.id: event.state for event in Event.select()}


@contextmanager
def staged(
    config: Config,
    bling: Bling,
    products: Mapping[str, Mapping[str, Mapping[str, object]]],
    *,
    window_s: float = 0.5,
    accounts: Sequence[str] = ACCOUNTS,
) -> Iterator[Stage]:
    """`products`: SKU to account to deposit to quantity; every account of it has the product."""
    for sku, places in products.items():
        for account, stock in places.items():
            bling.add_product(account, sku, stock=stock, announce=False)
    chosen = configuration.activate(replace(config, settle_window_s=window_s))
    app = create_app(chosen)
    # Web server, workers and their threads share one process here, and so one pool.
    db.init_database(chosen.database_url, max_connections=40)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    bling.edit_app("shared-id", webhook_url=f"http://127.0.0.1:{server.server_port}/webhooks/bling")
    try:
        with db.connection():
            organization = make_organization()
            connected = {key: connect(bling, organization, key) for key in accounts}
            yield Stage(bling, chosen, organization, connected)
    finally:
        server.shutdown()
        thread.join()
        if isinstance(db.database.obj, PooledDatabase):
            db.database.obj.close_all()


def connect(bling: Bling, organization: Organization, key: str) -> Account:
    issued = bling.issue_tokens(key, "shared-id")
    account_id = new_id()
    tokens = Tokens(issued.access_token, issued.refresh_token, utcnow() + timedelta(hours=6), 21600)
    Account.create(
        id=account_id,
        organization=organization,
        key=key,
        name=key.capitalize(),
        company_id=issued.company_id,
        created_at=utcnow(),
        **token_columns(account_id, tokens),
    )
    account = Account.get_by_id(account_id)
    refresh_account(account)
    return Account.get_by_id(account_id)


def look(stage: Stage, rounds: int = 1, *, is_told: bool = True) -> None:
    """What workers do, with the waiting left out: everything that is dirty is due now, settled `rounds` times.

    Without being told of what happened since, when `is_told` is False.
    """
    for _ in range(rounds):
        while is_told and stage.bling.pump():
            pass
        inbox.sort_inbox(stage.organization.id)
        DirtySku.update(due_at=utcnow() - timedelta(seconds=1)).execute()
        while settle.settle_due(stage.organization.id):
            pass


def set_window(monkeypatch: pytest.MonkeyPatch, config: Config, seconds: int) -> None:
    """How long Bling may show an old balance, from now on."""
    monkeypatch.setattr(configuration, "current", lambda: replace(config, settle_window_s=seconds))
