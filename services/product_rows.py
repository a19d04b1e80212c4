"""One product's row in the catalogue: comparing what is known with what is said, and writing it in few statements.

Lists, single look-ups and events tell of the same product in any order; an event is never undone by something older.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from peewee import EXCLUDED

import queues
from core import values
from core.lookalikes import look_of
from core.values import ProductSituation
from db import after_commit
from models import Priority, Product, StockGroup
from models.base import EPOCH
from services.dirty import mark_dirty

T = TypeVar("T")

ROWS_PER_STATEMENT = 500
# An event names Bling's time and a reading ours; within this much of each other the event is taken as the newer one.
CLOCK_TOLERANCE = timedelta(seconds=30)
FIELDS = ("sku", "name", "format", "situation", "parent_bling_id", "sku_key")


def fields_of(product: values.Product) -> dict[str, Any]:
    return {
        "bling_id": product.id,
        "sku": product.sku,
        "name": product.name,
        "format": str(product.format),
        "situation": str(product.situation),
        "parent_bling_id": product.parent_id,
        "sku_key": look_of(product.sku),
    }


def is_same(row: Product, fields: dict[str, Any]) -> bool:
    return all(getattr(row, name) == fields[name] for name in FIELDS)


def is_newer(row: Product, event_id: str) -> bool:
    return row.last_event_id is not None and row.last_event_id >= event_id


def skus_touched(known: Product | None, product: values.Product) -> set[str]:
    """The SKUs, old and new, whose set of products or whose fitness to be synced changes; '' is none."""
    if known is None:
        return {product.sku} - {""} if product.situation != ProductSituation.DELETED else set()
    if (known.sku, known.format, known.situation) == (product.sku, product.format, product.situation):
        return set()
    return {known.sku, product.sku} - {""}


def upsert_products(
    account_id: str,
    organization_id: str,
    rows: Sequence[dict[str, Any]],
    newer_than: str,
    fields: Sequence[str] = FIELDS,
) -> None:
    """Insert or update; a row whose last event is at or after `newer_than` is left as that event made it ('' for none).

    The comparison is part of the statement: an event may be applied by another process since the rows were compared.
    """
    update = {getattr(Product, name): getattr(EXCLUDED, name) for name in fields}
    where = Product.last_event_id.is_null() | (Product.last_event_id <= newer_than) if newer_than else None
    for chunk in chunks(rows):
        complete = [{**row, "organization": organization_id, "account": account_id} for row in chunk]
        Product.insert_many(complete).on_conflict(
            conflict_target=[Product.account, Product.bling_id], update=update, where=where
        ).as_rowcount().execute()


def find_product(account_id: str, bling_id: int) -> Product | None:
    return Product.get_or_none((Product.account == account_id) & (Product.bling_id == bling_id))


def known_products(account_id: str, bling_ids: list[int] | None) -> Iterator[Product]:
    mine = Product.select().where(Product.account == account_id)
    if bling_ids is None:
        yield from mine
        return
    for chunk in chunks(bling_ids):
        yield from mine.where(Product.bling_id.in_(chunk))


def mark_changed(organization_id: str, skus: set[str]) -> None:
    """Have these SKUs settled; without an active rule there is nothing to settle, and activation reads everything."""
    active = StockGroup.is_active == True  # noqa: E712  A comparison in SQL: PostgreSQL takes no bare integer for one.
    is_ruled = StockGroup.select().where((StockGroup.organization == organization_id) & active).exists()
    if skus and is_ruled:
        mark_dirty(organization_id, skus, priority=Priority.CRON, needs_look=True)
        after_commit(lambda: queues.kick(organization_id))


def first_event_id(moment: datetime, tolerance: timedelta = CLOCK_TOLERANCE) -> str:
    """The smallest UUIDv7 of this moment less the tolerance."""
    ms = (moment - tolerance - EPOCH) // timedelta(milliseconds=1)
    return f"{ms:012x}7000{0:016x}"


def chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + ROWS_PER_STATEMENT] for start in range(0, len(items), ROWS_PER_STATEMENT))
