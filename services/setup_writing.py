"""The rows of an import, all in the caller's transaction: what is there already is left alone."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from clock import utcnow
from core.documents import REQUIRED, Fault
from core.setup_file import AccountDraft, SetupDraft, UserDraft
from models import Account, AccountState, Organization, Run, RunType, StockGroup, User
from services import groups
from services.activation import AccountBalances, store_baseline
from services.auth import change_password, hash_password, is_password_of, normalized_email
from services.bling_clients import (
    token_columns,
)
from services.catalog import store_catalog
from services.runs import RULES, start_first_run, start_run
from services.secrets import seal, unseal
from services.setup_reading import Answer, Present, SetupRefused, digest_of, to_activate


@dataclass(slots=True)
class Imported:
    """What an import did; `changes` are sentences, none when everything was there already."""

    organization: Organization
    changes: list[str] = field(default_factory=list)
    run: Run | None = None


def write_rows(
    draft: SetupDraft,
    present: Present,
    answers: Mapping[str, Answer],
    balances: Mapping[str, AccountBalances],
) -> Imported:
    changes: list[str] = []
    done = Imported(_write_organization(draft, present.organization, changes), changes)
    for user in draft.users:
        _write_user(done, user)
    for account in draft.accounts:
        _write_account(done, account, present.accounts.get(account.key), answers.get(account.key))
    for key, answer in answers.items():
        account_row = Account.get_by_id(answer.account_id)
        store_catalog(account_row, answer.catalog, full=True)
        done.changes.append(f"conta {key}: {len(answer.catalog.products)} produtos lidos")
    is_decided_anew = _write_groups(done, draft, present)
    activated = _activate_groups(done, draft, present, balances)
    # In this transaction, so that a rule is never active without it; no worker and no Redis is needed for that.
    if activated:
        done.run = start_first_run(done.organization, activated)
    elif is_decided_anew or (answers and _has_active_rule(done.organization)):
        done.run = start_run(done.organization, RunType.MANUAL, skus=None, reason=RULES)
    return done


def _write_organization(draft: SetupDraft, row: Organization | None, changes: list[str]) -> Organization:
    now = utcnow()
    next_at = now + timedelta(minutes=draft.reconcile_every_minutes)
    if row is None:
        changes.append(f"cliente {draft.slug}: criado")
        return Organization.create(
            slug=draft.slug,
            name=draft.name,
            reconcile_every_minutes=draft.reconcile_every_minutes,
            next_reconcile_at=next_at,
            created_at=now,
        )
    wanted: dict[str, Any] = {"name": draft.name, "reconcile_every_minutes": draft.reconcile_every_minutes}
    if _differs(row, wanted):
        if row.reconcile_every_minutes != draft.reconcile_every_minutes:
            wanted["next_reconcile_at"] = min(row.next_reconcile_at, next_at)
        Organization.update(**wanted).where(Organization.id == row.id).execute()
        changes.append(f"cliente {draft.slug}: alterado")
    return Organization.get_by_id(row.id)


def _write_user(done: Imported, user: UserDraft) -> None:
    email = normalized_email(user.email)
    row = User.get_or_none(User.email == email)
    if row is None:
        if user.password is None:
            raise SetupRefused([Fault(f"usuário {email}", REQUIRED)])
        User.create(
            organization=done.organization,
            email=email,
            name=user.name,
            role=user.role,
            password_hash=hash_password(user.password),
            created_at=utcnow(),
        )
        done.changes.append(f"usuário {email}: criado")
        return
    wanted = {"name": user.name, "role": user.role}
    if _differs(row, wanted):
        User.update(**wanted).where(User.id == row.id).execute()
        done.changes.append(f"usuário {email}: alterado")
    if user.password is not None and not is_password_of(row, user.password):
        change_password(row, user.password)
        done.changes.append(f"usuário {email}: nova senha")


def _write_account(done: Imported, account: AccountDraft, row: Account | None, answer: Answer | None) -> None:
    wanted: dict[str, Any] = {"name": account.name, "client_id": account.app.client_id if account.app else None}
    webhook_key = account.webhook_key or (row.webhook_key if row else None)
    if webhook_key is None and account.app is not None:
        # Events of an app of the account's own come to an address of its own.
        webhook_key = secrets.token_urlsafe(18)
    wanted["webhook_key"] = webhook_key
    account_id = row.id if row else answer.account_id  # type: ignore[union-attr]  # a new account was asked about
    if row is None or _stored_secret(row) != _wanted_secret(account, row):
        wanted["client_secret_sealed"] = _seal(_wanted_secret(account, row), account_id)
    company = answer.catalog.company if answer else None
    if answer is not None and answer.tokens is not None and company is not None and account.tokens is not None:
        wanted |= {
            **token_columns(account_id, answer.tokens.tokens),
            "imported_digest": digest_of(account.tokens),
            "company_id": company.id,
            "company_name": company.name,
            "company_cnpj": company.cnpj,
            "state": AccountState.CONNECTED,
            "state_reason": None,
            "last_error": None,
            "last_error_at": None,
            "refresh_lease": None,
            "refresh_lease_until": None,
        }
    if row is None:
        Account.create(id=account_id, organization=done.organization, key=account.key, created_at=utcnow(), **wanted)
        done.changes.append(f"conta {account.key}: criada")
    elif _differs(row, wanted):
        Account.update(**wanted).where(Account.id == row.id).execute()
        done.changes.append(f"conta {account.key}: alterada")


def _stored_secret(row: Account) -> str | None:
    return unseal(row.client_secret_sealed, owner_id=row.id) if row.client_secret_sealed else None


def _wanted_secret(account: AccountDraft, row: Account | None) -> str | None:
    if account.app is None:
        return None
    return account.app.client_secret or (_stored_secret(row) if row else None)


def _seal(text: str | None, owner_id: str) -> str | None:
    return None if text is None else seal(text, owner_id=owner_id)


def _write_groups(done: Imported, draft: SetupDraft, present: Present) -> bool:
    """Save the rules; whether an active one decides differently from now on."""
    deposits = groups.deposits_of(done.organization)
    is_decided_anew = False
    for group in draft.groups:
        saved = groups.save_group(done.organization, group, deposits, present.groups.get(group.key))
        if saved.is_new:
            done.changes.append(f"regra {group.key}: criada")
        elif saved.is_changed:
            done.changes.append(f"regra {group.key}: alterada")
        is_decided_anew = is_decided_anew or (saved.decides_anew and saved.group.is_active)
    return is_decided_anew


def _activate_groups(
    done: Imported, draft: SetupDraft, present: Present, balances: Mapping[str, AccountBalances]
) -> list[str]:
    """Switch on what the file wants active, with its baseline; returns the ids of those groups."""
    keys = [group.key for _, group in to_activate(draft, present)]
    wanted = StockGroup.select().where((StockGroup.organization == done.organization) & StockGroup.key.in_(keys))
    groups_to_start = list(wanted)
    for group in groups_to_start:
        StockGroup.update(is_active=True, activated_at=utcnow(), activated_by=None).where(
            StockGroup.id == group.id
        ).execute()
        counted = store_baseline(StockGroup.get_by_id(group.id), balances)
        done.changes.append(f"regra {group.key}: ativada, com {counted} SKUs")
    return [group.id for group in groups_to_start]


def _has_active_rule(organization: Organization) -> bool:
    return StockGroup.select().where((StockGroup.organization == organization) & (StockGroup.is_active == 1)).exists()


def _differs(row: Any, wanted: Mapping[str, Any]) -> bool:
    return any(getattr(row, name) != value for name, value in wanted.items())
