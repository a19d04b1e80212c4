"""A merchant from a setup file, and back into one.

1. Everything that the file and the database can tell is checked, and every fault named.
2. Bling is asked who the new accounts are, what they hold and, for rules to activate, their balances: only reads.
3. One transaction writes all of it, the first synchronization included.

A file that brings nothing new asks nothing and changes nothing. Tokens rotate, so a token pair that was imported before
never replaces what is stored.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from peewee import IntegrityError

from bling.client import BlingClient
from bling.errors import AppRefused, AuthExpired, AuthLost, BlingError
from clock import utcnow
from core.documents import REQUIRED, Fault, parse
from core.group_draft import DepositPlace, GroupDraft
from core.setup_file import AccountDraft, SetupDraft, TokenPair, UserDraft, read_setup, read_slug
from core.values import ProductSituation, Tokens
from db import database
from ids import new_id
from models import Account, AccountState, Organization, Product, Run, RunType, StockGroup, User
from services import groups
from services.activation import AccountBalances, collect_balances, store_baseline
from services.auth import change_password, hash_password, is_password_of, normalized_email
from services.bling_clients import (
    MemoryTokens,
    app_of,
    client_for,
    client_with,
    explain,
    shared_app,
    token_columns,
)
from services.catalog import CatalogSnapshot, fetch_catalog, store_catalog
from services.runs import start_run
from services.secrets import SecretUnreadable, seal, unseal

_REFUSED_ACCESS = (AuthLost, AuthExpired, AppRefused)


class SetupRefused(Exception):
    """The file cannot be imported; nothing was changed. `faults` says everything that is wrong with it."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = list(dict.fromkeys(faults))
        super().__init__("\n".join(map(str, self.faults)))


@dataclass(slots=True)
class Imported:
    """What an import did; `changes` are sentences, none when everything was there already."""

    organization: Organization
    changes: list[str] = field(default_factory=list)
    run: Run | None = None


@dataclass(frozen=True, slots=True)
class _Present:
    """What there is of the merchant before the import."""

    organization: Organization | None
    accounts: Mapping[str, Account]
    groups: Mapping[str, StockGroup]
    drafts: Mapping[str, GroupDraft]

    @classmethod
    def load(cls, slug: str) -> _Present:
        organization = Organization.get_or_none(Organization.slug == slug)
        if organization is None:
            return cls(None, {}, {}, {})
        rows = {group.id: group for group in StockGroup.select().where(StockGroup.organization == organization)}
        drafts = groups.drafts_of(organization)
        return cls(
            organization,
            {row.key: row for row in Account.select().where(Account.organization == organization)},
            {group.key: group for group in rows.values()},
            {draft.key: draft for draft in drafts.values()},
        )


@dataclass(frozen=True, slots=True)
class _Answer:
    """What Bling told of one account. `tokens`: the file's, or what a refresh made of them; None: the stored ones."""

    account_id: str
    client: BlingClient
    tokens: MemoryTokens | None
    catalog: CatalogSnapshot


def import_setup(text: bytes | str) -> Imported:
    """Create or update a merchant. Raises SetupRefused."""
    try:
        document = parse(text)
    except ValueError as error:
        raise SetupRefused([Fault("", f"O arquivo {error}")]) from error
    present = _Present.load(read_slug(document))
    draft, faults = read_setup(document, present.accounts, present.drafts.values())
    wrong = {fault.path for fault in faults}
    _refuse_if_any([*faults, *(fault for fault in _clashes(draft, present) if fault.path not in wrong)])
    answers = _ask_bling(draft, present)
    balances = _read_baselines(draft, present, answers)
    try:
        with database.atomic():
            return _write(draft, present, answers, balances)
    except IntegrityError as error:
        # Somebody stored the same e-mail, company or key between the checks and here.
        raise SetupRefused([Fault("", "Os dados mudaram durante a importação. Importe o arquivo de novo.")]) from error


def _refuse_if_any(faults: Sequence[Fault]) -> None:
    if faults:
        raise SetupRefused(faults)


def _clashes(draft: SetupDraft, present: _Present) -> list[Fault]:
    """What contradicts the database."""
    faults = []
    owner = present.organization.id if present.organization else None
    for position, user in enumerate(draft.users):
        row = User.get_or_none(User.email == normalized_email(user.email))
        if row is not None and row.organization_id != owner:
            faults.append(
                Fault(f"users[{position}].email", "este e-mail já é usado por outro cliente desta instalação")
            )
        elif row is None and user.password is None:
            faults.append(Fault(f"users[{position}].password", REQUIRED))
    for position, account in enumerate(draft.accounts):
        faults += _account_clashes(f"accounts[{position}]", account, present.accounts.get(account.key))
    for position, group in enumerate(draft.groups):
        existing = present.groups.get(group.key)
        if existing is not None and existing.is_active and existing.mode != group.mode:
            faults.append(Fault(f"groups[{position}].mode", groups.MODE_IS_FIXED))
    return faults


def _account_clashes(path: str, account: AccountDraft, row: Account | None) -> list[Fault]:
    faults = []
    if row is None and account.tokens is None:
        faults += [Fault(f"{path}.{key}", REQUIRED) for key in ("access_token", "refresh_token", "expires_in")]
    if account.app and account.app.client_secret is None and (row is None or row.client_id != account.app.client_id):
        faults.append(Fault(f"{path}.client_secret", REQUIRED))
    if account.webhook_key:
        holder = Account.get_or_none(Account.webhook_key == account.webhook_key)
        if holder is not None and (row is None or holder.id != row.id):
            faults.append(Fault(f"{path}.webhook_key", "já é usada por outra conta"))
    return faults


def _ask_bling(draft: SetupDraft, present: _Present) -> dict[str, _Answer]:
    """Read the accounts that are new to us, and those whose deposits a rule names and we do not know yet."""
    answers = _read_accounts(draft, [account for account in draft.accounts if _is_news(account, present)], present)
    _refuse_if_any(_company_faults(draft, present, answers))
    places = _known_places(present, answers)
    lacking = {
        place.account for group in draft.groups for place in group.places if place not in places
    } - answers.keys()
    if lacking:
        answers |= _read_stored_accounts(draft, sorted(lacking), present)
        places = _known_places(present, answers)
    _refuse_if_any(
        [
            fault
            for position, group in enumerate(draft.groups)
            for fault in groups.unknown_deposits(f"groups[{position}]", group, places)
        ]
    )
    return answers


def _is_news(account: AccountDraft, present: _Present) -> bool:
    """Whether the file brings tokens that were never imported before and are not the stored ones."""
    row = present.accounts.get(account.key)
    if row is None:
        return True
    if account.tokens is None or row.imported_digest == _digest(account.tokens):
        return False
    if row.refresh_token_sealed is None:
        return True
    try:
        return unseal(row.refresh_token_sealed, owner_id=row.id) != account.tokens.refresh_token
    except SecretUnreadable:
        return True


def _digest(tokens: TokenPair) -> str:
    return hashlib.sha256(f"{tokens.access_token}\n{tokens.refresh_token}".encode()).hexdigest()


def _read_accounts(draft: SetupDraft, wanted: Sequence[AccountDraft], present: _Present) -> dict[str, _Answer]:
    prepared: dict[str, tuple[str, BlingClient, MemoryTokens | None]] = {}
    for account in wanted:
        if account.tokens is None:  # A new account without tokens was refused.
            continue
        row = present.accounts.get(account.key)
        account_id = row.id if row else new_id()
        lifetime_s = account.tokens.expires_in_s
        expires_at = utcnow() + timedelta(seconds=lifetime_s)
        tokens = MemoryTokens(Tokens(account.tokens.access_token, account.tokens.refresh_token, expires_at, lifetime_s))
        prepared[account.key] = (account_id, client_with(tokens, *_app_for(account, row), account_id), tokens)
    return _read_catalogs(draft, prepared)


def _app_for(account: AccountDraft, row: Account | None) -> tuple[str, str]:
    """Who speaks for the account. With no app at all its tokens still serve as long as they last."""
    if account.app is None:
        return shared_app() or ("", "")
    if account.app.client_secret is None and row is not None:
        return app_of(row)
    return account.app.client_id, account.app.client_secret or ""


def _read_stored_accounts(draft: SetupDraft, keys: Sequence[str], present: _Present) -> dict[str, _Answer]:
    rows = [present.accounts[key] for key in keys]
    return _read_catalogs(draft, {row.key: (row.id, client_for(row), None) for row in rows})


def _read_catalogs(
    draft: SetupDraft, clients: Mapping[str, tuple[str, BlingClient, MemoryTokens | None]]
) -> dict[str, _Answer]:
    """Everything about these accounts, side by side. Raises SetupRefused with one fault per account that failed."""
    answers: dict[str, _Answer] = {}
    faults = []
    with ThreadPoolExecutor(max_workers=8) as threads:
        asked = {key: threads.submit(fetch_catalog, client) for key, (_, client, _) in clients.items()}
        for key, future in asked.items():
            try:
                answers[key] = _Answer(*clients[key], future.result())
            except BlingError as error:
                faults.append(_fault_of(draft, key, error))
    _refuse_if_any(faults)
    return answers


def _fault_of(draft: SetupDraft, key: str, error: BlingError) -> Fault:
    position = next((n for n, account in enumerate(draft.accounts) if account.key == key), None)
    path = f"accounts[{position}]" if position is not None else f"conta “{key}”"
    if isinstance(error, _REFUSED_ACCESS) and position is not None:
        path += ".access_token"
    return Fault(path, f"{explain(error)} Detalhes: {error}")


def _company_faults(draft: SetupDraft, present: _Present, answers: Mapping[str, _Answer]) -> list[Fault]:
    """Accounts whose tokens are another company's than before, or of one that is connected already."""
    faults = []
    first: dict[str, str] = {}
    for position, account in enumerate(draft.accounts):
        answer = answers.get(account.key)
        company = answer.catalog.company if answer else None
        if answer is None or company is None:
            continue
        path = f"accounts[{position}].access_token"
        row = present.accounts.get(account.key)
        holder = Account.get_or_none(
            (Account.company_id == company.id)
            & (Account.state != AccountState.DISCONNECTED)
            & (Account.id != answer.account_id)
        )
        if row is not None and row.company_id not in (None, company.id):
            faults.append(Fault(path, f"este acesso é da empresa {company.name}, e a conta “{row.key}” é de outra"))
        elif company.id in first:
            faults.append(Fault(path, f"é a mesma empresa de {first[company.id]}: {company.name}"))
        elif holder is not None:
            is_ours = present.organization is not None and holder.organization_id == present.organization.id
            where = f"como a conta “{holder.key}”" if is_ours else "por outro cliente desta instalação"
            faults.append(Fault(path, f"a empresa {company.name} já está conectada {where}"))
        first.setdefault(company.id, f"accounts[{position}]")
    return faults


def _known_places(present: _Present, answers: Mapping[str, _Answer]) -> set[DepositPlace]:
    places = set(groups.deposits_of(present.organization)) if present.organization else set()
    for key, answer in answers.items():
        places |= {DepositPlace(key, deposit.id) for deposit in answer.catalog.deposits}
    return places


def _to_activate(draft: SetupDraft, present: _Present) -> list[tuple[int, GroupDraft]]:
    """The rules that the file wants active and that are not, with their positions."""
    active = {key for key, group in present.groups.items() if group.is_active}
    return [(n, group) for n, group in enumerate(draft.groups) if group.is_active and group.key not in active]


def _read_baselines(draft: SetupDraft, present: _Present, answers: Mapping[str, _Answer]) -> dict[str, AccountBalances]:
    """What every account of a rule to be activated holds now, by account id."""
    wanted: dict[str, tuple[str, BlingClient, list[int]]] = {}
    faults = []
    for position, group in _to_activate(draft, present):
        for key in dict.fromkeys(place.account for place in group.places):
            answer, row = answers.get(key), present.accounts.get(key)
            if answer is not None and (answer.tokens is not None or _is_connected(row)):
                products = [
                    product.id
                    for product in answer.catalog.products
                    if product.sku and product.situation == ProductSituation.ACTIVE
                ]
                wanted[key] = (answer.account_id, answer.client, products)
            elif row is not None and _is_connected(row):
                wanted[key] = (row.id, client_for(row), _active_products(row))
            else:
                faults.append(Fault(f"groups[{position}].active", f"a conta “{key}” não está conectada"))
    _refuse_if_any(faults)
    balances: dict[str, AccountBalances] = {}
    with ThreadPoolExecutor(max_workers=8) as threads:
        asked = {key: threads.submit(collect_balances, client, ids) for key, (_, client, ids) in wanted.items()}
        for key, future in asked.items():
            try:
                balances[wanted[key][0]] = future.result()
            except BlingError as error:
                faults.append(_fault_of(draft, key, error))
    _refuse_if_any(faults)
    return balances


def _active_products(account: Account) -> list[int]:
    rows = Product.select(Product.bling_id).where(
        (Product.account == account.id) & (Product.sku != "") & (Product.situation == ProductSituation.ACTIVE)
    )
    return [bling_id for (bling_id,) in rows.tuples()]


def _is_connected(row: Account | None) -> bool:
    return row is not None and row.state == AccountState.CONNECTED


def _write(
    draft: SetupDraft,
    present: _Present,
    answers: Mapping[str, _Answer],
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
    is_activated = _activate_groups(done, draft, present, balances)
    if is_activated or is_decided_anew or (answers and _has_active_rule(done.organization)):
        # In this transaction, so that the rule is never active without it; no worker and no Redis is needed for that.
        done.run = start_run(
            done.organization, RunType.MANUAL, skus=None, reason="activation" if is_activated else "rules"
        )
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


def _write_account(done: Imported, account: AccountDraft, row: Account | None, answer: _Answer | None) -> None:
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
            "imported_digest": _digest(account.tokens),
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


def _write_groups(done: Imported, draft: SetupDraft, present: _Present) -> bool:
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
    done: Imported, draft: SetupDraft, present: _Present, balances: Mapping[str, AccountBalances]
) -> bool:
    keys = [group.key for _, group in _to_activate(draft, present)]
    for group in StockGroup.select().where((StockGroup.organization == done.organization) & StockGroup.key.in_(keys)):
        StockGroup.update(is_active=True, activated_at=utcnow(), activated_by=None).where(
            StockGroup.id == group.id
        ).execute()
        counted = store_baseline(StockGroup.get_by_id(group.id), balances)
        done.changes.append(f"regra {group.key}: ativada, com {counted} SKUs")
    return bool(keys)


def _has_active_rule(organization: Organization) -> bool:
    return StockGroup.select().where((StockGroup.organization == organization) & (StockGroup.is_active == 1)).exists()


def _differs(row: Any, wanted: Mapping[str, Any]) -> bool:
    return any(getattr(row, name) != value for name, value in wanted.items())
