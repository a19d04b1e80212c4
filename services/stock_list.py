"""The SKUs of an organization with what their rules make of them: the list behind the search for a product.

Only reads. Pages are cut by key (SKU, then pool), in the database's own order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from core.facts import BalanceKind, Role
from models import Account, Cell, Deposit, GroupDeposit, Organization, Pool, Product, StockGroup
from services.history import like, pattern_of
from services.runs import product_names

PAGE = 50
LONE_PRODUCTS = 20


@dataclass(frozen=True, slots=True)
class Shown:
    """What one target offers, by the books. `problem`: what ails it there."""

    place: str
    quantity: Decimal
    problem: str | None


@dataclass(frozen=True, slots=True)
class Line:
    pool: Pool
    group: StockGroup
    name: str
    targets: tuple[Shown, ...]

    @property
    def problem(self) -> str | None:
        return self.pool.problem or next((target.problem for target in self.targets if target.problem), None)


@dataclass(frozen=True, slots=True)
class StockPage:
    """`lone`: (SKU, name) of products that match and that no rule has books of; only beside a search."""

    lines: tuple[Line, ...]
    following: str | None
    lone: tuple[tuple[str, str], ...]


def list_stock(organization: Organization, text: str = "", after: str | None = None, limit: int = PAGE) -> StockPage:
    """A page of the pools whose SKU or product name holds `text`, from behind the pool `after`."""
    query = Pool.select(Pool, StockGroup).join(StockGroup).where(Pool.organization == organization.id)
    if text:
        query = query.where(like(Pool.sku, pattern_of(text)) | Pool.sku.in_(_named(organization, text)))
    last = None if after is None else Pool.get_or_none((Pool.id == after) & (Pool.organization == organization.id))
    if last is not None:
        query = query.where((Pool.sku > last.sku) | ((Pool.sku == last.sku) & (Pool.id > last.id)))
    found = list(query.order_by(Pool.sku, Pool.id).limit(limit + 1))
    pools = found[:limit]
    following = pools[-1].id if len(found) > limit else None
    lone = _lone(organization, text) if text and following is None else ()
    return StockPage(tuple(_lines(organization, pools)), following, lone)


def _named(organization: Organization, text: str):  # type: ignore[no-untyped-def]
    return Product.select(Product.sku).where(
        (Product.organization == organization.id) & like(Product.name, pattern_of(text))
    )


def _lines(organization: Organization, pools: Sequence[Pool]) -> list[Line]:
    names = product_names(organization.id, sorted({pool.sku for pool in pools}))
    targets: dict[str, list[Shown]] = {}
    groups = {pool.id: pool.group for pool in pools}
    members = {
        (member.group_id, member.deposit_id): member.position
        for member in GroupDeposit.select().where(
            GroupDeposit.group.in_(sorted({pool.group_id for pool in pools})) & (GroupDeposit.role == Role.TARGET)
        )
    }
    cells = list(
        Cell.select(Cell, Account, Deposit)
        .join(Account)
        .switch(Cell)
        .join(Deposit)
        .where(Cell.pool.in_([pool.id for pool in pools]) & Cell.left_at.is_null())
    )
    for cell in sorted(cells, key=lambda cell: members.get((groups[cell.pool_id].id, cell.deposit_id), 0)):
        group = groups[cell.pool_id]
        if (group.id, cell.deposit_id) not in members:
            continue
        reserved = cell.reserved if group.balance == BalanceKind.VIRTUAL else Decimal(0)
        place = f"{cell.account.name} · {cell.deposit.name}"
        targets.setdefault(cell.pool_id, []).append(Shown(place, cell.accounted - reserved, cell.problem))
    return [Line(pool, pool.group, names.get(pool.sku, ""), tuple(targets.get(pool.id, ()))) for pool in pools]


def _lone(organization: Organization, text: str) -> tuple[tuple[str, str], ...]:
    rows = (
        Product.select(Product.sku, Product.name)
        .where(
            (Product.organization == organization.id)
            & (Product.sku != "")
            & (like(Product.sku, pattern_of(text)) | like(Product.name, pattern_of(text)))
            & Product.sku.not_in(Pool.select(Pool.sku).where(Pool.organization == organization.id))
        )
        .order_by(Product.sku)
        .limit(LONE_PRODUCTS * 4)
    )
    found: dict[str, str] = {}
    for row in rows:
        found.setdefault(row.sku, row.name)
    return tuple(found.items())[:LONE_PRODUCTS]
