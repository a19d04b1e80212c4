"""Bling's webhooks as values: what a raw body says, or why it cannot be read.

All kinds of webhook-examples.json are known; anything else that has an envelope is kept under its own name.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from core.quantity import to_quantity
from core.texts import storable

STOCK_KINDS = frozenset({"stock.created", "stock.updated", "stock.deleted"})
VIRTUAL_KIND = "virtual_stock.updated"
PRODUCT_KINDS = frozenset({"product.created", "product.updated", "product.deleted"})
KEPT_KINDS = frozenset(
    f"{resource}.{action}"
    for resource in ("order", "product_supplier", "invoice", "consumer_invoice")
    for action in ("created", "updated", "deleted")
)
_MAX_ID = 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UUID7 = re.compile("[0-9a-f]{12}7[0-9a-f]{19}")
_MAX_DIGITS = len(str(_MAX_ID))


@dataclass(frozen=True, slots=True)
class Envelope:
    """What is common to all events. `product_id` is the Bling product that a stock or product event is about."""

    event_id: str
    kind: str
    company_id: str
    happened_at: datetime | None
    product_id: int | None = None
    stock: StockPart | None = None


@dataclass(frozen=True, slots=True)
class StockPart:
    """The movement a stock event tells of. `quantity` is signed; None for a count (B) or where there is none."""

    deposit_id: int
    quantity: Decimal | None
    physical_after: Decimal
    virtual_after: Decimal | None


@dataclass(frozen=True, slots=True)
class VirtualPart:
    """Balances that a virtual_stock event tells, (physical, virtual) per deposit; `is_complex`: they must be read."""

    is_complex: bool
    deposits: dict[int, tuple[Decimal, Decimal]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProductPart:
    """What a product event says; None where it does not say."""

    product_id: int
    sku: str | None
    name: str | None
    format: str | None
    situation: str | None
    parent_id: int | None
    is_deleted: bool


class InvalidEvent(ValueError):
    """The body is no event of a shape we know; `reason` is a short word for the record."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def parse_event(raw: bytes | str) -> Envelope:
    """Read a webhook's body.

    :raise InvalidEvent: it is not JSON, has no envelope, or is a stock or product event without its essentials.
    """
    body = _load(raw)
    event_id, kind, company_id = (_text(body.get(name)) for name in ("eventId", "event", "companyId"))
    if not event_id or not kind or not company_id or "." not in kind:
        raise InvalidEvent("no_envelope")
    data = body.get("data")
    product_id: int | None = None
    stock: StockPart | None = None
    if kind in STOCK_KINDS:
        product_id = _inner_id(data, "produto")
        stock = _stock_part(data, kind)
    elif kind == VIRTUAL_KIND:
        product_id = _inner_id(data, "produto")
    elif kind in PRODUCT_KINDS:
        product_id = _id(data.get("id")) if isinstance(data, dict) else None
        if product_id is None:
            raise InvalidEvent("no_product")
    return Envelope(event_id, kind, company_id, _moment(body.get("date")), product_id, stock)


def virtual_part(raw: bytes | str) -> VirtualPart:
    """The balances in a virtual_stock event. A deposit with numbers that cannot be read is left out, never zero."""
    data = _load(raw).get("data")
    if not isinstance(data, dict):
        return VirtualPart(is_complex=True)
    deposits: dict[int, tuple[Decimal, Decimal]] = {}
    listed = data.get("depositos")
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict):
            deposit_id, physical = _id(one.get("id")), _number(one.get("saldoFisico"))
            free = _number(one.get("saldoVirtual"))
            if deposit_id is not None and physical is not None and free is not None:
                deposits[deposit_id] = (physical, free)
    return VirtualPart(is_complex=data.get("vinculoComplexo") is True and not deposits, deposits=deposits)


def product_part(raw: bytes | str, kind: str) -> ProductPart:
    """What a product event says of its product.

    :raise InvalidEvent: it names no product.
    """
    data = _load(raw).get("data")
    product_id = _id(data.get("id")) if isinstance(data, dict) else None
    if product_id is None or not isinstance(data, dict):
        raise InvalidEvent("no_product")
    sku = data.get("codigo")
    return ProductPart(
        product_id=product_id,
        sku=storable(str(sku)).strip() if isinstance(sku, str | int) and not isinstance(sku, bool) else None,
        name=_text(data.get("nome")),
        format=_text(data.get("formato")),
        situation=_text(data.get("situacao")),
        parent_id=_id(data.get("idProdutoPai")),
        is_deleted=kind == "product.deleted",
    )


def _load(raw: bytes | str) -> dict[str, Any]:
    try:
        # UTF-8 only: json would guess other encodings too, but the body is stored and read again as UTF-8.
        text = raw.decode("utf-8") if isinstance(raw, bytes) else raw
        body = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError, InvalidOperation) as error:
        raise InvalidEvent("not_json") from error
    if not isinstance(body, dict):
        raise InvalidEvent("no_envelope")
    return body


def _stock_part(data: Any, kind: str) -> StockPart:
    deposit = data.get("deposito") if isinstance(data, dict) else None
    deposit_id = _inner_id(data, "deposito")
    physical = _number(deposit.get("saldoFisico")) if isinstance(deposit, dict) else None
    if not isinstance(deposit, dict) or deposit_id is None or physical is None:
        raise InvalidEvent("no_balance")
    return StockPart(deposit_id, _signed(data, kind), physical, _number(deposit.get("saldoVirtual")))


def _signed(data: dict[str, Any], kind: str) -> Decimal | None:
    """+quantity for an entry, -quantity for an exit of a new movement; a changed or deleted one has no before."""
    quantity = _number(data.get("quantidade"))
    sign = {"E": 1, "S": -1}.get(str(data.get("operacao")))
    if quantity is None or sign is None or kind != "stock.created":
        return None
    return sign * quantity


def _inner_id(data: Any, name: str) -> int | None:
    inner = data.get(name) if isinstance(data, dict) else None
    found = _id(inner.get("id")) if isinstance(inner, dict) else None
    if found is None:
        raise InvalidEvent("no_product" if name == "produto" else "no_deposit")
    return found


def _id(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 < value <= _MAX_ID else None


def _number(value: Any) -> Decimal | None:
    try:
        return to_quantity(value)
    except ValueError:
        return None


def _text(value: Any) -> str | None:
    return storable(value[:300]) if isinstance(value, str) and value.strip() else None


def _moment(value: Any) -> datetime | None:
    """ISO 8601 with a zone, as the examples have it; a moment without one is UTC."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        # Overflow: the first or the last day of all, in a zone where it is another day.
        return None


def sortable_id(event_id: str | None) -> str | None:
    """The id as 32 hexadecimal characters if it is a UUIDv7: only those sort by time and may be compared."""
    digits = (event_id or "").replace("-", "").lower()
    # Bling's ids carry the version digit of UUIDv7 but not always the variant.
    return digits if _UUID7.fullmatch(digits) else None


def told_span(event_id: str | None, happened_at: datetime | None) -> tuple[datetime, datetime] | tuple[None, None]:
    """Between which two moments of Bling's clock an event happened: its UUIDv7 tells the millisecond, its date the
    second; (None, None) when neither can be read.
    """
    digits = sortable_id(event_id)
    try:
        if digits is not None:
            start = _EPOCH + timedelta(milliseconds=int(digits[:12], 16))
            return start, start + timedelta(milliseconds=1)
        if happened_at is not None:
            start = happened_at.replace(microsecond=0)
            return start, start + timedelta(seconds=1)
    except OverflowError:
        # A moment after the year 9999.
        pass
    return None, None
