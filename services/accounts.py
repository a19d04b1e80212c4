"""What a person does with a connected account: look at it, rename, pause, resume, disconnect, read its catalogue anew.

Connecting is in connections.py, talking to Bling in bling_clients.py.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from peewee import fn

import config
import queues
from bling.errors import BlingError
from bling.pacing import Urgency, day_limit
from clock import utcnow
from core.values import ProductSituation
from db import database
from models import (
    Account,
    AccountState,
    Deposit,
    Event,
    GroupDeposit,
    OAuthState,
    Organization,
    Product,
    StockGroup,
    User,
)
from services.bling_clients import app_of, explain, oauth_client, requests_today
from services.consents import MAX_NAME
from services.secrets import SecretUnreadable, rotate, unseal

log = logging.getLogger(__name__)

RECENT_EVENTS = 20


@dataclass(frozen=True, slots=True)
class AccountSummary:
    """One line of the list. `requests_today` is None when Redis is away; products exclude deleted ones."""

    account: Account
    deposits: int
    products: int
    requests_today: int | None


@dataclass(frozen=True, slots=True)
class AccountDetails:
    account: Account
    deposits: Sequence[Deposit]
    products: int
    requests_today: int | None
    quota: int
    kept_for_sales: int
    events: Sequence[Event]
    rules: Sequence[StockGroup]
    webhook_url: str
    redirect_url: str


@dataclass(frozen=True, slots=True)
class Disconnection:
    """`problem`: why Bling could not be told, in a sentence; None when the authorization is revoked there."""

    problem: str | None


def list_accounts(organization: Organization) -> list[AccountSummary]:
    """Every account of the merchant, the disconnected ones last."""
    accounts = list(
        Account.select()
        .where(Account.organization == organization)
        .order_by(Account.state == AccountState.DISCONNECTED, Account.id)
    )
    deposits = _count(Deposit, organization, Deposit.is_active == True)  # noqa: E712
    products = _count(Product, organization, Product.situation != ProductSituation.DELETED)
    return [
        AccountSummary(account, deposits.get(account.id, 0), products.get(account.id, 0), requests)
        for account, requests in zip(accounts, _requests(accounts), strict=True)
    ]


def account_details(account: Account) -> AccountDetails:
    quota = config.current().bling_rate_per_day
    return AccountDetails(
        account=account,
        deposits=list(
            Deposit.select()
            .where(Deposit.account == account.id)
            .order_by(Deposit.is_active.desc(), Deposit.is_default.desc(), Deposit.name)
        ),
        products=Product.select()
        .where((Product.account == account.id) & (Product.situation != ProductSituation.DELETED))
        .count(),
        requests_today=requests_today(account),
        quota=quota,
        kept_for_sales=quota - day_limit(quota, Urgency.CHECK),
        events=_recent_events(account),
        rules=rules_with(account, only_active=False),
        webhook_url=webhook_url(account.webhook_key),
        redirect_url=redirect_url(),
    )


def rules_with(account: Account, *, only_active: bool = True) -> list[StockGroup]:
    """The stock rules that a deposit of this account takes part in."""
    query = (
        StockGroup.select()
        .where(
            StockGroup.id.in_(
                GroupDeposit.select(GroupDeposit.group).join(Deposit).where(Deposit.account == account.id)
            )
        )
        .order_by(StockGroup.name)
    )
    return list(query.where(StockGroup.is_active == True) if only_active else query)  # noqa: E712


def webhook_url(webhook_key: str | None) -> str:
    """Where Bling is to send the events: of the shared app, or of the account's own."""
    base = f"{config.current().public_url}/webhooks/bling"
    return f"{base}/{webhook_key}" if webhook_key else base


def redirect_url() -> str:
    """The redirect address to register in the app at Bling."""
    return f"{config.current().public_url}/bling/callback"


def rename(account: Account, name: str) -> str | None:
    """Give the account another name; returns what is wrong with it, None when it was taken over."""
    name = name.strip()
    if not name:
        return "O nome não pode ficar vazio."
    if len(name) > MAX_NAME:
        return f"Use no máximo {MAX_NAME} caracteres."
    if not name.isprintable():
        return "Use só letras, números e sinais comuns."
    Account.update(name=name).where(Account.id == account.id).execute()
    return None


def pause(account: Account, user: User) -> bool:
    """Neither read nor write the account until it is resumed; False when it was not connected."""
    return _move(account, AccountState.CONNECTED, AccountState.PAUSED, f"Pausada por {user.name}.")


def resume(account: Account) -> bool:
    """Go on with a paused account and look at once for what happened meanwhile; False when it was not paused."""
    with database.atomic():
        resumed = _move(account, AccountState.PAUSED, AccountState.CONNECTED, None)
        if resumed:
            Organization.update(next_reconcile_at=utcnow()).where(Organization.id == account.organization_id).execute()
    if resumed:
        request_catalog(account)
    return resumed


def disconnect(account: Account) -> Disconnection:
    """End the authorization at Bling and forget tokens and secret; also when Bling cannot be told. Its books stay."""
    # Read anew: a refresh since the row was loaded would leave us with a token that Bling knows no more.
    problem = _revoke(Account.get_by_id(account.id))
    Account.update(
        state=AccountState.DISCONNECTED,
        state_reason=None,
        access_token_sealed=None,
        refresh_token_sealed=None,
        client_secret_sealed=None,
        token_expires_at=None,
        token_lifetime_s=None,
        refresh_lease=None,
        refresh_lease_until=None,
        last_error=problem,
        last_error_at=utcnow() if problem else None,
    ).where(Account.id == account.id).execute()
    return Disconnection(problem)


def request_catalog(account: Account) -> bool:
    """Have a worker read deposits and products anew; False when it cannot be asked right now."""
    return queues.enqueue("jobs.catalog.refresh_account", account.id, queue=queues.BULK)


def reseal_secrets() -> int:
    """Bring every stored secret under the newest of the ENCRYPTION_KEYS; returns how many rows it changed.

    A row whose tokens are refreshed at the same moment is left as that refresh made it, which is the newest key too.
    """
    changed = 0
    for account in Account.select():
        columns = ("access_token_sealed", "refresh_token_sealed", "client_secret_sealed")
        changed += _reseal(account, columns, account.id, Account.id == account.id)
    for started in OAuthState.select().where(OAuthState.client_secret_sealed.is_null(False)):
        digest = started.state_digest
        changed += _reseal(started, ("client_secret_sealed",), digest, OAuthState.state_digest == digest)
    return changed


def _recent_events(account: Account) -> list[Event]:
    # Without the bodies, each of which may be a megabyte.
    columns = (
        Event.id,
        Event.kind,
        Event.state,
        Event.reason,
        Event.received_at,
        Event.sku,
        Event.product_bling_id,
        Event.quantity,
        Event.physical_after,
    )
    mine = Event.select(*columns).where(Event.account == account.id)
    return list(mine.order_by(Event.id.desc()).limit(RECENT_EVENTS))


def _reseal(row: Account | OAuthState, columns: Sequence[str], owner_id: str, is_row: object) -> int:
    model = type(row)
    sealed: Mapping[str, str] = {name: value for name in columns if (value := getattr(row, name)) is not None}
    if not sealed:
        return 0
    try:
        renewed = {name: rotate(value, owner_id=owner_id) for name, value in sealed.items()}
    except SecretUnreadable as error:
        log.error("Left as it is: %s", error)
        return 0
    is_unchanged = is_row
    for name, value in sealed.items():
        is_unchanged &= getattr(model, name) == value
    return int(model.update(renewed).where(is_unchanged).execute())


def _count(model: type[Deposit] | type[Product], organization: Organization, condition: object) -> dict[str, int]:
    rows = (
        model.select(model.account, fn.COUNT(model.id))
        .where((model.organization == organization) & condition)
        .group_by(model.account)
    )
    return dict(rows.tuples())


def _requests(accounts: Sequence[Account]) -> list[int | None]:
    """Per account. When Redis does not answer for one it is not asked for the others: each would take a second."""
    counts: list[int | None] = []
    for account in accounts:
        counts.append(requests_today(account) if not counts or counts[-1] is not None else None)
    return counts


def _move(account: Account, before: AccountState, after: AccountState, reason: str | None) -> bool:
    moved = (
        Account.update(state=after, state_reason=reason)
        .where((Account.id == account.id) & (Account.state == before))
        .execute()
    )
    return bool(moved == 1)


def _revoke(account: Account) -> str | None:
    if account.refresh_token_sealed is None:
        return None
    advice = "Remova o acesso do EstoqueUni também na página de aplicativos do Bling."
    try:
        refresh_token = unseal(account.refresh_token_sealed, owner_id=account.id)
        oauth_client(*app_of(account)).revoke(refresh_token)
    except SecretUnreadable:
        return f"Os tokens guardados não puderam ser abertos, e o Bling não foi avisado. {advice}"
    except BlingError as error:
        log.warning("Could not revoke the authorization of account %s: %s", account.id, error)
        return f"{explain(error)} O acesso não pôde ser encerrado lá. {advice}"
    return None
