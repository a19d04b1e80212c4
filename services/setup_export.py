"""A merchant as a setup file, such that importing it again changes nothing."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from clock import utcnow
from core.group_draft import DepositPlace, GroupDraft, Limits
from models import Account, Organization, User
from services.groups import drafts_of
from services.secrets import unseal


def export_setup(organization: Organization, *, with_secrets: bool = False) -> dict[str, Any]:
    """The document. Passwords are known to nobody; tokens and client secrets come only when asked for."""
    accounts = Account.select().where(Account.organization == organization).order_by(Account.created_at, Account.id)
    users = User.select().where(User.organization == organization).order_by(User.created_at, User.id)
    return {
        "organization": {
            "slug": organization.slug,
            "name": organization.name,
            "reconcile_every_minutes": organization.reconcile_every_minutes,
        },
        "users": [{"email": user.email, "name": user.name, "role": user.role, "password": None} for user in users],
        "accounts": [_account_document(account, with_secrets) for account in accounts],
        "groups": [_group_document(draft) for draft in drafts_of(organization).values()],
    }


def _account_document(account: Account, with_secrets: bool) -> dict[str, Any]:
    document: dict[str, Any] = {
        "key": account.key,
        "name": account.name,
        "access_token": None,
        "refresh_token": None,
        "expires_in": None,
        "client_id": account.client_id,
        "client_secret": None,
        "webhook_key": account.webhook_key,
    }
    if not with_secrets:
        return document
    if account.access_token_sealed and account.refresh_token_sealed:
        remaining = (account.token_expires_at or utcnow()) - utcnow()
        document["access_token"] = unseal(account.access_token_sealed, owner_id=account.id)
        document["refresh_token"] = unseal(account.refresh_token_sealed, owner_id=account.id)
        document["expires_in"] = max(0, int(remaining.total_seconds()))
    if account.client_secret_sealed:
        document["client_secret"] = unseal(account.client_secret_sealed, owner_id=account.id)
    return document


def _group_document(draft: GroupDraft) -> dict[str, Any]:
    return {
        "key": draft.key,
        "name": draft.name,
        "mode": draft.mode,
        "balance": draft.balance,
        "active": draft.is_active,
        "sources": [_place_document(place) for place in draft.sources],
        "targets": [{**_place_document(target.place), **_limits_document(target.limits)} for target in draft.targets],
        "write_back": [_place_document(place) for place in draft.write_back],
        "seed": _place_document(draft.seed) if draft.seed else None,
        "target_movements": draft.target_movements,
        "guard": {"min_skus": draft.guard_min_skus, "percent": _numeral(draft.guard_percent)},
        "overrides": [
            {
                "sku": override.sku,
                "target": _place_document(override.target) if override.target else None,
                **_limits_document(override.limits),
                "ignore": override.is_ignored,
            }
            for override in draft.overrides
        ],
    }


def _place_document(place: DepositPlace) -> dict[str, Any]:
    return {"account": place.account, "deposit": place.deposit}


def _limits_document(limits: Limits) -> dict[str, str | None]:
    return {
        "reserve": _numeral(limits.reserve),
        "percent": _numeral(limits.percent),
        "max": _numeral(limits.max),
        "stop_at": _numeral(limits.stop_at),
    }


def _numeral(number: Decimal | None) -> str | None:
    return None if number is None else f"{number:f}"
