"""What keeps products from being synchronized: each cause as one query of keys over the whole catalogue.

A key is a SKU mostly. A hundred thousand products are counted and paged by the database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from peewee import ModelSelect, fn

from clock import utcnow
from core.facts import Mode
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
from services.review import UNDECIDED

# What was given up longer ago than this has been looked into, or nobody ever will.
A_MONTH = timedelta(days=30)


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


@dataclass(slots=True)
class Scope:
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


Keys = Callable[[Scope], ModelSelect]


def scope_of(organization: Organization, filters: Filters) -> Scope:
    rows = Account.select().where(
        (Account.organization == organization.id) & (Account.state != AccountState.DISCONNECTED)
    )
    accounts = {account.id: account for account in rows.order_by(Account.name, Account.id)}
    groups = list(
        StockGroup.select().where(StockGroup.organization == organization.id).order_by(StockGroup.name, StockGroup.id)
    )
    if any(group.id == filters.rule for group in groups):
        groups = [group for group in groups if group.id == filters.rule]
    scope = Scope(organization, accounts, [], groups)
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


def _duplicates(scope: Scope) -> ModelSelect:
    return (
        _skus()
        .where(_active(scope.shown) & (Product.sku != ""))
        .group_by(Product.account, Product.sku)
        .having(fn.COUNT(Product.id) > 1)
    )


def _look_alikes(scope: Scope) -> ModelSelect:
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


def _inactive(scope: Scope) -> ModelSelect:
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


def _without_sku(scope: Scope) -> ModelSelect:
    return Product.select(Product.id.alias("key")).where(
        _active(scope.shown) & (Product.sku == "") & (Product.format != ProductFormat.PARENT)
    )


def _lacking(role: DepositRole) -> Keys:
    """SKUs that no account with a deposit of this role has, rule by rule."""

    def keys(scope: Scope) -> ModelSelect:
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


def _alone(scope: Scope) -> ModelSelect:
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


def pools_of(scope: Scope) -> ModelSelect:
    active = [group.id for group in scope.groups if group.is_active]
    return Pool.select(Pool.sku.alias("key")).where(Pool.group.in_(active))


def _refused(scope: Scope) -> ModelSelect:
    return (
        pools_of(scope)
        .join(Cell)
        .where((Cell.problem == "rejected") & Cell.left_at.is_null() & Cell.account.in_(scope.shown))
    )


def _unanswered(scope: Scope) -> ModelSelect:
    """Writes of which it is not known yet whether Bling applied them, and those that somebody is asked about."""
    is_in_force = Cell.left_at.is_null() & (StockWrite.ended_at >= Cell.baseline_at)
    active = [group.id for group in scope.groups if group.is_active]
    waits = UNDECIDED & is_in_force & Pool.group.in_(active)
    return _union([_of_writes(scope, StockWrite.state == "unknown"), _of_writes(scope, waits)])


def _given_up(scope: Scope) -> ModelSelect:
    gone = (StockWrite.state == "rejected") & (StockWrite.evidence == "left") & (StockWrite.purpose == "write_back")
    return _of_writes(scope, gone & (StockWrite.ended_at > utcnow() - A_MONTH))


def _of_writes(scope: Scope, condition: Any) -> ModelSelect:
    return (
        Pool.select(Pool.sku.alias("key"))
        .join(Cell)
        .join(StockWrite, on=(StockWrite.cell_id == Cell.id))
        .where((StockWrite.organization == scope.organization.id) & StockWrite.account.in_(scope.shown) & condition)
        .where(Pool.group.in_([group.id for group in scope.groups]))
    )


def _owed(scope: Scope) -> ModelSelect:
    """What has no taker, and is not being settled at this moment."""
    busy = DirtySku.select(DirtySku.sku).where(DirtySku.organization == scope.organization.id)
    return pools_of(scope).where((Pool.owed != 0) & Pool.sku.not_in(busy))


def _excepted(scope: Scope) -> ModelSelect:
    groups = [group.id for group in scope.groups]
    return SkuOverride.select(SkuOverride.sku.alias("key")).where(
        SkuOverride.group.in_(groups) & (SkuOverride.is_ignored == 1)
    )


def _switched_off(scope: Scope) -> ModelSelect:
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
BY_LOOK, BY_PRODUCT, BY_DEPOSIT = ("look_alike",), ("empty_sku",), ("deposit_off",)
BY_ACCOUNT = ("duplicate", "composition", "parent", "inactive", "empty_sku", "deposit_off", "rejected")


def keys_left(scope: Scope, code: str, filters: Filters) -> ModelSelect:
    """The keys of a cause that the filters leave, each once."""
    keys = CAUSES[code](scope).alias("found")
    column = keys.c.key
    query = Product.select(column.alias("key")).from_(keys).distinct()
    if filters.account and code not in BY_ACCOUNT:
        query = query.where(column.in_(_keys_of_products(code, Product.account.in_(scope.shown))))
    if filters.text and code in BY_DEPOSIT:
        query = query.where(column.in_(Deposit.select(Deposit.id).where(Deposit.name.contains(filters.text))))
    elif filters.text:
        wanted = Product.sku.contains(filters.text) | Product.name.contains(filters.text)
        mine = Product.organization == scope.organization.id
        query = query.where(column.in_(_keys_of_products(code, mine & wanted)))
    return query


def _keys_of_products(code: str, condition: Any) -> ModelSelect:
    column = Product.sku_key if code in BY_LOOK else Product.id if code in BY_PRODUCT else Product.sku
    return Product.select(column).where(condition & column.is_null(False))


def keys_of(scope: Scope, code: str, filters: Filters, after: str | None, size: int) -> tuple[list[str], int]:
    """The first keys after `after`, and how many there are in all from there on; found in one go."""
    found = keys_left(scope, code, filters).alias("page")
    query = Product.select(found.c.key, fn.COUNT(found.c.key).over()).from_(found).order_by(found.c.key).limit(size)
    if after is not None:
        query = query.where(found.c.key > after)
    rows = list(query.tuples())
    return [key for key, _ in rows], rows[0][1] if rows else 0
