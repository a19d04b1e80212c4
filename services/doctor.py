"""The SKU doctor: what keeps products from being synchronized, by cause, with what to do. Only reads.

Each cause is one query of keys (a SKU mostly) over the whole catalogue, so that a hundred thousand products are counted
and paged by the database; products are loaded for one page only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from peewee import JOIN, ModelSelect, fn

from clock import utcnow
from core.facts import Mode
from core.lookalikes import differences
from core.values import ProductFormat, ProductSituation
from models import (
    Account,
    AccountState,
    Cell,
    Deposit,
    DepositRole,
    DirtySku,
    GroupDeposit,
    Organization,
    Pool,
    Product,
    SkuOverride,
    StockGroup,
    StockWrite,
)
from services import labels
from services.cures import CURES, DIFFERENCES, Cure
from services.review import UNDECIDED

PAGE = 50
EXAMPLES = 4
PRODUCTS_SHOWN = 12
# What was given up longer ago than this has been looked into, or nobody ever will.
A_MONTH = timedelta(days=30)
# How Bling's own site addresses a product; integrators report it, Bling documents it nowhere.
PRODUCT_PAGE = "https://www.bling.com.br/produtos.php#edit/{}"


@dataclass(frozen=True, slots=True)
class Filters:
    """What the address of the page asks for; everything that is no filter is left out, never an error."""

    cause: str = ""
    rule: str = ""
    account: str = ""
    text: str = ""

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> Filters:
        cause = query.get("causa", "")
        return cls(
            cause=cause if cause in CAUSES else "",
            rule=query.get("regra", "")[:80],
            account=query.get("conta", "")[:80],
            text=query.get("q", "").strip()[:100],
        )

    def query(self, **changes: str | None) -> str:
        """The same filters as a query string, with changes."""
        values = {"causa": self.cause, "regra": self.rule, "conta": self.account, "q": self.text, **changes}
        return urlencode({name: value for name, value in values.items() if value})

    @property
    def is_empty(self) -> bool:
        return self == Filters(cause=self.cause)


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


@dataclass(slots=True)
class _Scope:
    """Where to look: the accounts and rules that the filters leave.

    `accounts`: every account that SKUs are compared across; `shown`: those of them that are asked about.
    """

    organization: Organization
    accounts: dict[str, Account]
    shown: list[str]
    groups: list[StockGroup]
    members: dict[str, list[GroupDeposit]] = field(default_factory=dict)

    def of_role(self, group: StockGroup, role: DepositRole | None = None) -> list[str]:
        members = self.members.get(group.id, [])
        return sorted({m.deposit.account_id for m in members if role is None or m.role == role})


Keys = Callable[[_Scope], ModelSelect]


def examine(organization: Organization, filters: Filters) -> list[Finding]:
    """Every cause that there is something of, the most pressing first, each with a few examples."""
    scope = _scope_of(organization, filters)
    findings = []
    for code in CAUSES:
        keys, count = _page(scope, code, filters, None, EXAMPLES)
        if count:
            findings.append(Finding(code, count, _entries(scope, code, keys)))
    return findings


def examine_cause(organization: Organization, filters: Filters, after: str | None) -> Finding:
    """One cause, a page of it: the entries whose keys come after `after`."""
    scope = _scope_of(organization, filters)
    keys, count = _page(scope, filters.cause, filters, after, PAGE + 1)
    following = keys[PAGE - 1] if len(keys) > PAGE else None
    if after is not None:
        count = _filtered(scope, filters.cause, filters).count()
    return Finding(filters.cause, count, _entries(scope, filters.cause, keys[:PAGE]), following)


def _scope_of(organization: Organization, filters: Filters) -> _Scope:
    rows = Account.select().where(
        (Account.organization == organization.id) & (Account.state != AccountState.DISCONNECTED)
    )
    accounts = {account.id: account for account in rows.order_by(Account.name, Account.id)}
    groups = list(
        StockGroup.select().where(StockGroup.organization == organization.id).order_by(StockGroup.name, StockGroup.id)
    )
    if any(group.id == filters.rule for group in groups):
        groups = [group for group in groups if group.id == filters.rule]
    scope = _Scope(organization, accounts, [], groups)
    members = (
        GroupDeposit.select(GroupDeposit, Deposit)
        .join(Deposit)
        .where(GroupDeposit.group.in_([group.id for group in groups]))
    )
    for member in members if groups else ():
        scope.members.setdefault(member.group_id, []).append(member)
    named = {account_id for group in groups for account_id in scope.of_role(group)}
    if named:
        # With no rule at all, everything that is connected may become part of one.
        scope.accounts = {account_id: account for account_id, account in accounts.items() if account_id in named}
    scope.shown = [one.id for one in scope.accounts.values() if filters.account in ("", one.key)]
    return scope


def _active(accounts: Iterable[str]):  # type: ignore[no-untyped-def]
    return Product.account.in_(list(accounts)) & (Product.situation == ProductSituation.ACTIVE)


def _sellable(accounts: Iterable[str]):  # type: ignore[no-untyped-def]
    return _active(accounts) & (Product.format == ProductFormat.SIMPLE) & (Product.sku != "")


def _skus() -> ModelSelect:
    return Product.select(Product.sku.alias("key"))


def _duplicates(scope: _Scope) -> ModelSelect:
    return (
        _skus()
        .where(_active(scope.shown) & (Product.sku != ""))
        .group_by(Product.account, Product.sku)
        .having(fn.COUNT(Product.id) > 1)
    )


def _look_alikes(scope: _Scope) -> ModelSelect:
    with_look = (
        _active(scope.accounts)
        & (Product.format != ProductFormat.PARENT)
        & (Product.sku_key.is_null(False))
        & (Product.sku_key != "")
    )
    variants = fn.COUNT(fn.DISTINCT(Product.sku))
    several = (
        Product.select(Product.sku_key.alias("key"), variants.alias("n"))
        .where(with_look)
        .group_by(Product.sku_key)
        .having(variants > 1)
        .alias("several")
    )
    within = Product.alias()
    in_one = fn.COUNT(fn.DISTINCT(within.sku))
    one_account = (
        within.select(within.sku_key.alias("key"), within.account.alias("account"), in_one.alias("m"))
        .where(
            within.account.in_(list(scope.accounts))
            & (within.situation == ProductSituation.ACTIVE)
            & (within.format != ProductFormat.PARENT)
            & within.sku_key.in_(Product.select(several.c.key).from_(several))
        )
        .group_by(within.sku_key, within.account)
        .alias("one_account")
    )
    # An account that has all of them tells them apart: core.lookalikes.are_suspects.
    return (
        Product.select(several.c.key.alias("key"))
        .from_(several)
        .join(one_account, on=(several.c.key == one_account.c.key))
        .group_by(several.c.key, several.c.n)
        .having(fn.MAX(one_account.c.m) < several.c.n)
    )


def _of_format(format_: ProductFormat) -> Keys:
    return lambda scope: _skus().where(_active(scope.shown) & (Product.format == format_) & (Product.sku != ""))


def _inactive(scope: _Scope) -> ModelSelect:
    """Inactive in an account while another account sells it."""
    other = Product.alias()
    sold = other.select(other.sku).where(
        other.account.in_(list(scope.accounts)) & (other.situation == ProductSituation.ACTIVE) & (other.sku != "")
    )
    twin = Product.alias()
    replaced = twin.select(twin.id).where(
        (twin.account == Product.account) & (twin.sku == Product.sku) & (twin.situation == ProductSituation.ACTIVE)
    )
    idle = Product.account.in_(scope.shown) & (Product.situation == ProductSituation.INACTIVE) & (Product.sku != "")
    return _skus().where(idle & Product.sku.in_(sold) & ~fn.EXISTS(replaced))


def _without_sku(scope: _Scope) -> ModelSelect:
    return Product.select(Product.id.alias("key")).where(
        _active(scope.shown) & (Product.sku == "") & (Product.format != ProductFormat.PARENT)
    )


def _lacking(role: DepositRole) -> Keys:
    """SKUs that no account with a deposit of this role has, rule by rule."""

    def keys(scope: _Scope) -> ModelSelect:
        found = []
        for group in scope.groups:
            having, all_ = scope.of_role(group, role), scope.of_role(group)
            if group.mode == Mode.MIRROR or set(having) == set(all_):
                continue
            there = Product.alias()
            known = there.select(there.sku).where(
                there.account.in_(having)
                & (there.situation == ProductSituation.ACTIVE)
                & (there.format == ProductFormat.SIMPLE)
            )
            found.append(_skus().where(_sellable(all_) & Product.sku.not_in(known)))
        return _union(found)

    return keys


def _alone(scope: _Scope) -> ModelSelect:
    """SKUs that work within one account of a rule, and that no other account of it has."""
    found = []
    for group in scope.groups:
        accounts = scope.of_role(group)
        whole = set(scope.of_role(group, DepositRole.TARGET))
        if group.mode == Mode.SUM:
            whole &= set(scope.of_role(group, DepositRole.SOURCE))
        if len(accounts) < 2 or not whole:
            continue
        found.append(
            _skus()
            .where(_sellable(accounts))
            .group_by(Product.sku)
            .having((fn.COUNT(fn.DISTINCT(Product.account)) == 1) & fn.MIN(Product.account).in_(sorted(whole)))
        )
    return _union(found)


def _union(found: Sequence[ModelSelect]) -> ModelSelect:
    if not found:
        return _skus().where(Product.id.is_null())
    whole = found[0]
    for one in found[1:]:
        whole = whole | one
    return whole


def _pools(scope: _Scope) -> ModelSelect:
    active = [group.id for group in scope.groups if group.is_active]
    return Pool.select(Pool.sku.alias("key")).where(Pool.group.in_(active))


def _refused(scope: _Scope) -> ModelSelect:
    return (
        _pools(scope)
        .join(Cell)
        .where((Cell.problem == "rejected") & Cell.left_at.is_null() & Cell.account.in_(scope.shown))
    )


def _unanswered(scope: _Scope) -> ModelSelect:
    """Writes of which it is not known yet whether Bling applied them, and those that somebody is asked about."""
    is_in_force = Cell.left_at.is_null() & (StockWrite.ended_at >= Cell.baseline_at)
    active = [group.id for group in scope.groups if group.is_active]
    waits = UNDECIDED & is_in_force & Pool.group.in_(active)
    return _union([_of_writes(scope, StockWrite.state == "unknown"), _of_writes(scope, waits)])


def _given_up(scope: _Scope) -> ModelSelect:
    gone = (StockWrite.state == "rejected") & (StockWrite.evidence == "left") & (StockWrite.purpose == "write_back")
    return _of_writes(scope, gone & (StockWrite.ended_at > utcnow() - A_MONTH))


def _of_writes(scope: _Scope, condition: Any) -> ModelSelect:
    return (
        Pool.select(Pool.sku.alias("key"))
        .join(Cell)
        .join(StockWrite, on=(StockWrite.cell_id == Cell.id))
        .where((StockWrite.organization == scope.organization.id) & StockWrite.account.in_(scope.shown) & condition)
        .where(Pool.group.in_([group.id for group in scope.groups]))
    )


def _owed(scope: _Scope) -> ModelSelect:
    """What has no taker, and is not being settled at this moment."""
    busy = DirtySku.select(DirtySku.sku).where(DirtySku.organization == scope.organization.id)
    return _pools(scope).where((Pool.owed != 0) & Pool.sku.not_in(busy))


def _excepted(scope: _Scope) -> ModelSelect:
    groups = [group.id for group in scope.groups]
    return SkuOverride.select(SkuOverride.sku.alias("key")).where(
        SkuOverride.group.in_(groups) & (SkuOverride.is_ignored == 1)
    )


def _switched_off(scope: _Scope) -> ModelSelect:
    named = {member.deposit_id for listed in scope.members.values() for member in listed}
    return Deposit.select(Deposit.id.alias("key")).where(
        Deposit.id.in_(sorted(named)) & (Deposit.is_active == 0) & Deposit.account.in_(scope.shown)
    )


# In this order on the page: what may oversell or stands still, what may be wrong, what is left out by its nature.
CAUSES: Mapping[str, Keys] = {
    "duplicate": _duplicates,
    "rejected": _refused,
    "unknown_write": _unanswered,
    "left_write": _given_up,
    "deposit_off": _switched_off,
    "owed": _owed,
    "look_alike": _look_alikes,
    "inactive": _inactive,
    "empty_sku": _without_sku,
    "no_source": _lacking(DepositRole.SOURCE),
    "no_target": _lacking(DepositRole.TARGET),
    "alone": _alone,
    "ignored": _excepted,
    "composition": _of_format(ProductFormat.COMPOSITION),
    "parent": _of_format(ProductFormat.PARENT),
}
# What the keys of a cause are, where they are no SKUs.
_BY_LOOK, _BY_PRODUCT, _BY_DEPOSIT = ("look_alike",), ("empty_sku",), ("deposit_off",)
_BY_ACCOUNT = ("duplicate", "composition", "parent", "inactive", "empty_sku", "deposit_off", "rejected")


def _filtered(scope: _Scope, code: str, filters: Filters) -> ModelSelect:
    """The keys of a cause that the filters leave, each once."""
    keys = CAUSES[code](scope).alias("found")
    column = keys.c.key
    query = Product.select(column.alias("key")).from_(keys).distinct()
    if filters.account and code not in _BY_ACCOUNT:
        query = query.where(column.in_(_keys_of_products(code, Product.account.in_(scope.shown))))
    if filters.text and code in _BY_DEPOSIT:
        query = query.where(column.in_(Deposit.select(Deposit.id).where(Deposit.name.contains(filters.text))))
    elif filters.text:
        wanted = Product.sku.contains(filters.text) | Product.name.contains(filters.text)
        mine = Product.organization == scope.organization.id
        query = query.where(column.in_(_keys_of_products(code, mine & wanted)))
    return query


def _keys_of_products(code: str, condition: Any) -> ModelSelect:
    column = Product.sku_key if code in _BY_LOOK else Product.id if code in _BY_PRODUCT else Product.sku
    return Product.select(column).where(condition & column.is_null(False))


def _page(scope: _Scope, code: str, filters: Filters, after: str | None, size: int) -> tuple[list[str], int]:
    """The first keys after `after`, and how many there are in all from there on; found in one go."""
    found = _filtered(scope, code, filters).alias("page")
    query = Product.select(found.c.key, fn.COUNT(found.c.key).over()).from_(found).order_by(found.c.key).limit(size)
    if after is not None:
        query = query.where(found.c.key > after)
    rows = list(query.tuples())
    return [key for key, _ in rows], rows[0][1] if rows else 0


def _entries(scope: _Scope, code: str, keys: Sequence[str]) -> tuple[Entry, ...]:
    if code in _BY_DEPOSIT:
        return tuple(_deposit_entry(deposit) for deposit in _deposits(keys))
    lines = _lines(scope, code, keys)
    notes = _notes(scope, code, keys)
    return tuple(_entry(code, key, lines.get(key, []), notes.get(key, "")) for key in keys)


def _entry(code: str, key: str, lines: Sequence[Line], note: str) -> Entry:
    shown, more = tuple(lines[:PRODUCTS_SHOWN]), max(0, len(lines) - PRODUCTS_SHOWN)
    if code in _BY_PRODUCT:
        name = lines[0].product.name if lines else ""
        return Entry(key, name or "Produto sem nome", None, note, shown, more)
    if code in _BY_LOOK:
        skus = list(dict.fromkeys(line.product.sku for line in lines))
        what = ", ".join(DIFFERENCES[one] for one in sorted(differences(skus)))
        return Entry(key, " · ".join(f"“{sku}”" for sku in skus[:EXAMPLES]), None, f"Mudam: {what}.", shown, more)
    return Entry(key, key, key, note, shown, more)


def _lines(scope: _Scope, code: str, keys: Sequence[str]) -> dict[str, list[Line]]:
    """The products that the entries are about, by key: those at fault, or, where it is none's fault, all."""
    column = Product.sku_key if code in _BY_LOOK else Product.id if code in _BY_PRODUCT else Product.sku
    wanted = Product.account.in_(list(scope.accounts)) & column.in_(list(keys))
    if code == "inactive":
        wanted &= Product.situation == ProductSituation.INACTIVE
    elif code in ("composition", "parent"):
        wanted &= (Product.situation == ProductSituation.ACTIVE) & (Product.format == code)
    elif code in (*_BY_LOOK, "duplicate"):
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


def _notes(scope: _Scope, code: str, keys: Sequence[str]) -> dict[str, str]:
    """What there is to say of single entries, by key."""
    if not keys:
        return {}
    if code in ("no_source", "no_target", "alone") and len(scope.groups) > 1:
        return {}
    if code == "rejected":
        return _refusals(scope, keys)
    if code == "owed":
        rows = _pools(scope).select(Pool.sku, Pool.owed).where(Pool.sku.in_(list(keys)) & (Pool.owed != 0))
        return {row.sku: f"Falta lançar {labels.sinal(row.owed)}." for row in rows}
    if code == "ignored":
        return _exceptions(scope, keys)
    return {}


def _refusals(scope: _Scope, keys: Sequence[str]) -> dict[str, str]:
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


def _exceptions(scope: _Scope, keys: Sequence[str]) -> dict[str, str]:
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
