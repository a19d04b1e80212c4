"""A merchant with accounts of the sandbox, for the tests of accounts, tokens and catalogue."""

from __future__ import annotations

from datetime import timedelta

from clock import utcnow
from core.values import Tokens
from ids import new_id
from models import Account, AccountState, Organization, Role, User
from sandbox import Bling
from services.bling_clients import token_columns
from services.catalog import refresh_account


def organization(slug: str = "loja") -> Organization:
    return Organization.create(slug=slug, name=slug.capitalize(), next_reconcile_at=utcnow(), created_at=utcnow())


def user(merchant: Organization, role: Role = Role.OWNER, name: str = "Ana") -> User:
    email = f"{name.lower()}@{merchant.slug}.example"
    return User.create(
        organization=merchant, email=email, name=name, role=role, password_hash="unusable", created_at=utcnow()
    )


def connected(
    bling: Bling, merchant: Organization, key: str = "matriz", *, read: bool = False, **fields: object
) -> Account:
    """An account that holds fresh tokens of the sandbox; with `read`, its catalogue too."""
    account_id = new_id()
    issued = bling.issue_tokens(key, "shared-id")
    columns: dict[str, object] = {
        **token_columns(account_id, tokens_of(issued.access_token, issued.refresh_token, issued.expires_in)),
        "id": account_id,
        "organization": merchant,
        "key": key,
        "name": key.capitalize(),
        "state": AccountState.CONNECTED,
        "company_id": issued.company_id,
        "created_at": utcnow(),
    }
    Account.insert(**{**columns, **fields}).execute()
    if read:
        refresh_account(Account.get_by_id(account_id))
    return Account.get_by_id(account_id)


def tokens_of(access_token: str, refresh_token: str, expires_in: int = 21600) -> Tokens:
    return Tokens(access_token, refresh_token, utcnow() + timedelta(seconds=expires_in), expires_in)


def fresh(account: Account) -> Account:
    return Account.get_by_id(account.id)
