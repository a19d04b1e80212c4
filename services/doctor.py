"""The SKU doctor: what keeps products from being synchronized, by cause, with what to do. Only reads.

The causes are queries of `services.doctor_causes`; here their products are loaded, for one page only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from peewee import JOIN, fn

from core.lookalikes import differences
from core.values import ProductSituation
from models import (
    Account,
    AccountState,
    Cell,
    Deposit,
    Organization,
    Pool,
    Product,
    SkuOverride,
    StockGroup,
    StockWrite,
)
from services import labels
from services.cures import CURES, DIFFERENCES, Cure
from services.doctor_causes import (
    BY_DEPOSIT,
    BY_LOOK,
    BY_PRODUCT,
    CAUSES,
    Filters,
    Scope,
    keys_left,
    keys_of,
    pools_of,
    scope_of,
)

PAGE = 50
EXAMPLES = 4
PRODUCTS_SHOWN = 12
# How Bling's own site addresses a product; integrators report it, Bling documents it nowhere.
PRODUCT_PAGE = "https://www.bling.com.br/produtos.php#edit/{}"


@dataclass(frozen=True, slots=True)
class Line:
    """One product that an entry is about."""

    product: Product
    account: Account

    @property
    def url(self) -> str:
        return PRODUCT_PAGE.format(self.product.bling_id)


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing to mend. `sku` is None where it is none; `more`: products that are not shown."""

    key: str
    title: str
    sku: str | None
    note: str = ""
    lines: tuple[Line, ...] = ()
    more: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """One cause with its entries, or some of them."""

    code: str
    count: int
    entries: tuple[Entry, ...]
    following: str | None = None

    @property
    def label(self) -> labels.Label:
        return labels.label(self.code, "problem")

    @property
    def cure(self) -> Cure:
        return CURES[self.code]

    @property
    def is_to_do(self) -> bool:
        """Whether somebody should act; otherwise the product is left out by its nature, as a kit is."""
        return self.label.tone in ("error", "warn")


def examine(organization: Organization, filters: Filters) -> list[Finding]:
    """Every cause that there is something of, the most pressing first, each with a few examples."""
    scope = scope_of(organization, filters)
    findings = []
    for code in CAUSES:
        keys, count = keys_of(scope, code, filters, None, EXAMPLES)
        if count:
            findings.append(Finding(code, count, _entries(scope, code, keys)))
    return findings


def examine_cause(organization: Organization, filters: Filters, after: str | None) -> Finding:
    """One cause, a page of it: the entries whose keys come after `after`."""
    scope = scope_of(organization, filters)
    keys, count = keys_of(scope, filters.cause, filters, after, PAGE + 1)
    following = keys[PAGE - 1] if len(keys) > PAGE else None
    if after is not None:
        count = keys_left(scope, filters.cause, filters).count()
    return Finding(filters.cause, count, _entries(scope, filters.cause, keys[:PAGE]), following)


def _entries(scope: Scope, code: str, keys: Sequence[str]) -> tuple[Entry, ...]:
    if code in BY_DEPOSIT:
        return tuple(_deposit_entry(deposit) for deposit in _deposits(keys))
    lines = _lines(scope, code, keys)
    notes = _notes(scope, code, keys)
    return tuple(_entry(code, key, lines.get(key, []), notes.get(key, "")) for key in keys)


def _entry(code: str, key: str, lines: Sequence[Line], note: str) -> Entry:
    shown, more = tuple(lines[:PRODUCTS_SHOWN]), max(0, len(lines) - PRODUCTS_SHOWN)
    if code in BY_PRODUCT:
        name = lines[0].product.name if lines else ""
        return Entry(key, name or "Produto sem nome", None, note, shown, more)
    if code in BY_LOOK:
        skus = list(dict.fromkeys(line.product.sku for line in lines))
        what = ", ".join(DIFFERENCES[one] for one in sorted(differences(skus)))
        return Entry(key, " · ".join(f"“{sku}”" for sku in skus[:EXAMPLES]), None, f"Mudam: {what}.", shown, more)
    return Entry(key, key, key, note, shown, more)


def _lines(scope: Scope, code: str, keys: Sequence[str]) -> dict[str, list[Line]]:
    """The products that the entries are about, by key: those at fault, or, where it is none's fault, all."""
    column = Product.sku_key if code in BY_LOOK else Product.id if code in BY_PRODUCT else Product.sku
    wanted = Product.account.in_(list(scope.accounts)) & column.in_(list(keys))
    if code == "inactive":
        wanted &= Product.situation == ProductSituation.INACTIVE
    elif code in ("composition", "parent"):
        wanted &= (Product.situation == ProductSituation.ACTIVE) & (Product.format == code)
    elif code in (*BY_LOOK, "duplicate"):
        wanted &= Product.situation == ProductSituation.ACTIVE
    else:
        wanted &= Product.situation != ProductSituation.DELETED
    found: dict[str, list[Line]] = defaultdict(list)
    if not keys:
        return found
    for product in Product.select().where(wanted).order_by(Product.sku, Product.bling_id):
        found[getattr(product, column.name)].append(Line(product, scope.accounts[product.account_id]))
    order = {account_id: place for place, account_id in enumerate(scope.accounts)}
    for listed in found.values():
        if code == "duplicate":
            listed[:] = _doubles(listed)
        listed.sort(key=lambda line: order[line.account.id])
    return found


def _doubles(lines: Sequence[Line]) -> list[Line]:
    """Those that share their SKU with another one of their account."""
    accounts = [line.account.id for line in lines]
    return [line for line in lines if accounts.count(line.account.id) > 1]


def _notes(scope: Scope, code: str, keys: Sequence[str]) -> dict[str, str]:
    """What there is to say of single entries, by key."""
    if not keys:
        return {}
    if code in ("no_source", "no_target", "alone") and len(scope.groups) > 1:
        return {}
    if code == "rejected":
        return _refusals(scope, keys)
    if code == "owed":
        rows = pools_of(scope).select(Pool.sku, Pool.owed).where(Pool.sku.in_(list(keys)) & (Pool.owed != 0))
        return {row.sku: f"Falta lançar {labels.sinal(row.owed)}." for row in rows}
    if code == "ignored":
        return _exceptions(scope, keys)
    return {}


def _refusals(scope: Scope, keys: Sequence[str]) -> dict[str, str]:
    """What Bling said, with the deposit: the last refusal of each SKU."""
    newest = (
        StockWrite.select(fn.MAX(StockWrite.id).alias("id"))
        .join(Cell, on=(StockWrite.cell_id == Cell.id))
        .join(Pool, on=(Cell.pool == Pool.id))
        .where(
            (StockWrite.organization == scope.organization.id)
            & (StockWrite.state == "rejected")
            & Pool.sku.in_(list(keys))
        )
        .group_by(Pool.sku)
        .alias("newest")
    )
    rows = (
        StockWrite.select(Pool.sku, Account.name, Deposit.name, StockWrite.error)
        .join(newest, JOIN.INNER, on=(StockWrite.id == newest.c.id))
        .switch(StockWrite)
        .join(Cell, on=(StockWrite.cell_id == Cell.id))
        .join(Pool, on=(Cell.pool == Pool.id))
        .switch(StockWrite)
        .join(Deposit)
        .switch(StockWrite)
        .join(Account)
    )
    return {sku: f"{account} · {deposit}: {error or ''}".strip() for sku, account, deposit, error in rows.tuples()}


def _exceptions(scope: Scope, keys: Sequence[str]) -> dict[str, str]:
    names = {group.id: group.name for group in scope.groups}
    rows = (
        SkuOverride.select(SkuOverride.sku, SkuOverride.group, Deposit.name, Account.name)
        .join(Deposit, JOIN.LEFT_OUTER)
        .join(Account, JOIN.LEFT_OUTER)
        .where(SkuOverride.group.in_(list(names)) & SkuOverride.sku.in_(list(keys)) & (SkuOverride.is_ignored == 1))
        .order_by(SkuOverride.id)
    )
    said: dict[str, list[str]] = defaultdict(list)
    for sku, group_id, deposit, account in rows.tuples():
        said[sku].append(f"{names[group_id]}: {'em tudo' if deposit is None else f'só em {account} · {deposit}'}")
    return {sku: "; ".join(parts) for sku, parts in said.items()}


def _deposits(keys: Sequence[str]) -> list[Deposit]:
    rows = Deposit.select(Deposit, Account).join(Account).where(Deposit.id.in_(list(keys))).order_by(Deposit.id)
    return list(rows) if keys else []


def _deposit_entry(deposit: Deposit) -> Entry:
    cells = Cell.select().where((Cell.deposit == deposit.id) & Cell.left_at.is_null()).count()
    held = f"{cells} {'produto está parado' if cells == 1 else 'produtos estão parados'} neste depósito."
    return Entry(deposit.id, f"{deposit.account.name} · {deposit.name}", None, held if cells else "")


def rules_of(organization: Organization) -> list[tuple[str, str]]:
    """(id, name) of every rule, for the filter."""
    rows = StockGroup.select().where(StockGroup.organization == organization.id).order_by(StockGroup.name)
    return [(group.id, group.name) for group in rows]


def checked_at(organization: Organization) -> datetime | None:
    """When the oldest of the catalogues looked at was read; None while one was never read."""
    rows = Account.select(Account.catalog_at).where(
        (Account.organization == organization.id) & (Account.state != AccountState.DISCONNECTED)
    )
    moments = [account.catalog_at for account in rows]
    return None if not moments or None in moments else min(moments)
