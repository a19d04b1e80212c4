"""What an import asks Bling before it writes anything: who the accounts are, what they have, what lies there now.

Only reads, all of them before the transaction that writes. What Bling refuses becomes a fault at its place in the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

from bling.client import BlingClient
from bling.errors import AppRefused, AuthExpired, AuthLost, BlingError
from clock import utcnow
from core.documents import Fault
from core.group_draft import DepositPlace, GroupDraft
from core.setup_file import AccountDraft, SetupDraft, TokenPair
from core.values import ProductSituation, Tokens
from ids import new_id
from models import Account, AccountState, Organization, Product, StockGroup
from services import groups
from services.activation import AccountBalances, ActivationRefused, collect_balances, refuse_after_write
from services.bling_clients import (
    MemoryTokens,
    app_of,
    client_for,
    client_with,
    explain,
    shared_app,
)
from services.catalog import CatalogSnapshot, fetch_catalog
from services.secrets import SecretUnreadable, unseal

_REFUSED_ACCESS = (AuthLost, AuthExpired, AppRefused)


class SetupRefused(Exception):
    """The file cannot be imported; nothing was changed. `faults` says everything that is wrong with it."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = list(dict.fromkeys(faults))
        super().__init__("\n".join(map(str, self.faults)))


@dataclass(frozen=True, slots=True)
class Present:
    """What there is of the merchant before the import."""

    organization: Organization | None
    accounts: Mapping[str, Account]
    groups: Mapping[str, StockGroup]
    drafts: Mapping[str, GroupDraft]

    @classmethod
    def load(cls, slug: str) -> Present:
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
class Answer:
    """What Bling told of one account. `tokens`: the file's, or what a refresh made of them; None: the stored ones."""

    account_id: str
    client: BlingClient
    tokens: MemoryTokens | None
    catalog: CatalogSnapshot


def refuse_if_any(faults: Sequence[Fault]) -> None:
    if faults:
        raise SetupRefused(faults)


def ask_bling(draft: SetupDraft, present: Present) -> dict[str, Answer]:
    """Read the accounts that are new to us, and those whose deposits a rule names and we do not know yet."""
    answers = _read_accounts(draft, [account for account in draft.accounts if _is_news(account, present)], present)
    refuse_if_any(_company_faults(draft, present, answers))
    places = _known_places(present, answers)
    lacking = {
        place.account for group in draft.groups for place in group.places if place not in places
    } - answers.keys()
    if lacking:
        answers |= _read_stored_accounts(draft, sorted(lacking), present)
        places = _known_places(present, answers)
    refuse_if_any(
        [
            fault
            for position, group in enumerate(draft.groups)
            for fault in groups.unknown_deposits(f"groups[{position}]", group, places)
        ]
    )
    return answers


def _is_news(account: AccountDraft, present: Present) -> bool:
    """Whether the file brings tokens that were never imported before and are not the stored ones."""
    row = present.accounts.get(account.key)
    if row is None:
        return True
    if account.tokens is None or row.imported_digest == digest_of(account.tokens):
        return False
    if row.refresh_token_sealed is None:
        return True
    try:
        return unseal(row.refresh_token_sealed, owner_id=row.id) != account.tokens.refresh_token
    except SecretUnreadable:
        return True


def digest_of(tokens: TokenPair) -> str:
    return hashlib.sha256(f"{tokens.access_token}\n{tokens.refresh_token}".encode()).hexdigest()


def _read_accounts(draft: SetupDraft, wanted: Sequence[AccountDraft], present: Present) -> dict[str, Answer]:
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


def _read_stored_accounts(draft: SetupDraft, keys: Sequence[str], present: Present) -> dict[str, Answer]:
    rows = [present.accounts[key] for key in keys]
    return _read_catalogs(draft, {row.key: (row.id, client_for(row), None) for row in rows})


def _read_catalogs(
    draft: SetupDraft, clients: Mapping[str, tuple[str, BlingClient, MemoryTokens | None]]
) -> dict[str, Answer]:
    """Everything about these accounts, side by side. Raises SetupRefused with one fault per account that failed."""
    answers: dict[str, Answer] = {}
    faults = []
    with ThreadPoolExecutor(max_workers=8) as threads:
        asked = {key: threads.submit(fetch_catalog, client) for key, (_, client, _) in clients.items()}
        for key, future in asked.items():
            try:
                answers[key] = Answer(*clients[key], future.result())
            except BlingError as error:
                faults.append(_fault_of(draft, key, error))
    refuse_if_any(faults)
    return answers


def _fault_of(draft: SetupDraft, key: str, error: BlingError) -> Fault:
    position = next((n for n, account in enumerate(draft.accounts) if account.key == key), None)
    path = f"accounts[{position}]" if position is not None else f"conta “{key}”"
    if isinstance(error, _REFUSED_ACCESS) and position is not None:
        path += ".access_token"
    return Fault(path, f"{explain(error)} Detalhes: {error}")


def _company_faults(draft: SetupDraft, present: Present, answers: Mapping[str, Answer]) -> list[Fault]:
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


def _known_places(present: Present, answers: Mapping[str, Answer]) -> set[DepositPlace]:
    places = set(groups.deposits_of(present.organization)) if present.organization else set()
    for key, answer in answers.items():
        places |= {DepositPlace(key, deposit.id) for deposit in answer.catalog.deposits}
    return places


def to_activate(draft: SetupDraft, present: Present) -> list[tuple[int, GroupDraft]]:
    """The rules that the file wants active and that are not, with their positions."""
    active = {key for key, group in present.groups.items() if group.is_active}
    return [(n, group) for n, group in enumerate(draft.groups) if group.is_active and group.key not in active]


def read_baselines(draft: SetupDraft, present: Present, answers: Mapping[str, Answer]) -> dict[str, AccountBalances]:
    """What every account of a rule to be activated holds now, by account id."""
    wanted: dict[str, tuple[str, BlingClient, list[int]]] = {}
    faults = []
    for position, group in to_activate(draft, present):
        try:
            refuse_after_write(_deposits_of(group, present))
        except ActivationRefused as refused:
            faults.append(Fault(f"groups[{position}].active", str(refused)))
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
    refuse_if_any(faults)
    balances: dict[str, AccountBalances] = {}
    with ThreadPoolExecutor(max_workers=8) as threads:
        asked = {key: threads.submit(collect_balances, client, ids) for key, (_, client, ids) in wanted.items()}
        for key, future in asked.items():
            try:
                balances[wanted[key][0]] = future.result()
            except BlingError as error:
                faults.append(_fault_of(draft, key, error))
    refuse_if_any(faults)
    return balances


def _deposits_of(group: GroupDraft, present: Present) -> list[str]:
    """The ids of this rule's deposits, of those that we know already."""
    known = groups.deposits_of(present.organization) if present.organization else {}
    return [known[place].id for place in group.places if place in known]


def _active_products(account: Account) -> list[int]:
    rows = Product.select(Product.bling_id).where(
        (Product.account == account.id) & (Product.sku != "") & (Product.situation == ProductSituation.ACTIVE)
    )
    return [bling_id for (bling_id,) in rows.tuples()]


def _is_connected(row: Account | None) -> bool:
    return row is not None and row.state == AccountState.CONNECTED
