"""What product.* webhooks say, taken into the catalogue: late, twice, in any order, and sometimes only half of it."""

from __future__ import annotations

import json
import logging
from typing import Any

import queues
from bling.payloads import PayloadError, parse_product
from core import values
from core.events import sortable_id
from core.values import ProductFormat, ProductSituation
from db import after_commit
from models import Event, Product
from services.departures import part_with_products
from services.product_rows import FIELDS, fields_of, find_product, skus_touched, upsert_products

log = logging.getLogger(__name__)

_LETTER_OF_FORMAT = {ProductFormat.SIMPLE: "S", ProductFormat.PARENT: "V", ProductFormat.COMPOSITION: "E"}
_LETTER_OF_SITUATION = {
    ProductSituation.ACTIVE: "A",
    ProductSituation.INACTIVE: "I",
    ProductSituation.DELETED: "E",
}
_SERVICES = ("S", "N")


def apply_product_event(event: Event) -> set[str]:
    """Apply a product.* event, in the caller's transaction; returns the SKUs to be settled again.

    An event that is older than the last one applied changes nothing. One that does not say enough about a product
    (a first word that lacks the name, say) has that product looked up by a job instead.
    """
    data = _event_data(event)
    bling_id = data.get("id", event.product_bling_id)
    if isinstance(bling_id, bool) or not isinstance(bling_id, int) or not 0 < bling_id < 2**63:
        log.warning("Event %s names no product", event.id)
        return set()
    known = find_product(event.account_id, bling_id)
    event_id = sortable_id(event.bling_event_id)
    if known and known.last_event_id and event_id and event_id < known.last_event_id:
        return set()
    try:
        product = _read_event_product(bling_id, data, known, is_deletion=event.kind.endswith(".deleted"))
    except PayloadError as error:
        log.warning("Event %s says too little about product %s: %s", event.id, bling_id, error)
        account_id = event.account_id
        after_commit(lambda: queues.enqueue("jobs.catalog.look_up_product", account_id, bling_id, queue=queues.BULK))
        return set()
    if product is None:
        return set()
    row = {**fields_of(product), "last_event_id": event_id or (known.last_event_id if known else None)}
    upsert_products(
        event.account_id, event.organization_id, [row], newer_than=event_id or "", fields=(*FIELDS, "last_event_id")
    )
    return skus_touched(known, product) | part_with_products(event.account_id, [bling_id], event_id)


def _event_data(event: Event) -> dict[str, Any]:
    try:
        body = json.loads(event.body)
    except ValueError:
        return {}
    data = body.get("data") if isinstance(body, dict) else None
    return data if isinstance(data, dict) else {}


def _read_event_product(
    bling_id: int, data: dict[str, Any], known: Product | None, *, is_deletion: bool
) -> values.Product | None:
    """The product after the event: what the event says, and for the rest what was known. None: no matter of ours.

    Raises PayloadError when the two together do not make a product.
    """
    if is_deletion or data.get("tipo") in _SERVICES:
        if known is None and not is_deletion:
            return None
        # A deletion that comes before its creation leaves a mark, so that the late creation finds it and stays out.
        return values.Product(
            id=bling_id,
            sku=known.sku if known else "",
            name=known.name if known else "",
            format=ProductFormat(known.format) if known else ProductFormat.SIMPLE,
            situation=ProductSituation.DELETED,
            parent_id=known.parent_bling_id if known else None,
        )
    before: dict[str, Any] = {"id": bling_id}
    if known is not None:
        before |= {
            "codigo": known.sku,
            "nome": known.name,
            "formato": _LETTER_OF_FORMAT[ProductFormat(known.format)],
            "situacao": _LETTER_OF_SITUATION[ProductSituation(known.situation)],
            "idProdutoPai": known.parent_bling_id,
        }
    elif "codigo" not in data:
        raise PayloadError("codigo is missing")
    return parse_product({**before, **data, "id": bling_id})
