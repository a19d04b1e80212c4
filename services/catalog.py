"""The catalogue: the deposits and products of each account, as Bling last told them.

Rows keep their ids and are never deleted: the books point at them, so what vanished at Bling is marked. Pages, single
look-ups and events tell of the same product in any order; an event is never undone by something older than it.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from peewee import EXCLUDED

import queues
from bling.client import BlingClient
from bling.errors import BlingError
from bling.payloads import PayloadError, parse_product
from clock import utcnow
from core import values
from core.values import ProductFormat, ProductSituation
from db import after_commit, database
from models import Account, AccountState, Cell, Deposit, Event, Pool, Priority, Product, StockGroup
from models.base import EPOCH
from services.bling_clients import client_for, note_failure
from services.dirty import mark_dirty

log = logging.getLogger(__name__)

T = TypeVar("T")

ROWS_PER_STATEMENT = 500
# An event names Bling's time and a reading ours; within this much of each other the event is taken as the newer one.
CLOCK_TOLERANCE = timedelta(seconds=30)
# Five calls. More products than that do not slip between two pages: then the merchant deleted them.
MAX_ABSENCES_ASKED = 500

_LETTER_OF_FORMAT = {ProductFormat.SIMPLE: "S", ProductFormat.PARENT: "V", ProductFormat.COMPOSITION: "E"}
_LETTER_OF_SITUATION = {
    ProductSituation.ACTIVE: "A",
    ProductSituation.INACTIVE: "I",
    ProductSituation.DELETED: "E",
}
_SERVICES = ("S", "N")


@dataclass(frozen=True, slots=True)
class CatalogSnapshot:
    """What Bling answered to one reading that began at `fetched_at`."""

    deposits: Sequence[values.Deposit]
    products: Sequence[values.Product]
    fetched_at: datetime
    company: values.Company | None = None


def fetch_catalog(client: BlingClient, changed_since: datetime | None = None) -> CatalogSnapshot:
    """Read everything, or the products changed since (deposits have no such filter). Raises BlingError; no database."""
    began_at = utcnow()
    return CatalogSnapshot(
        company=client.get_company() if changed_since is None else None,
        deposits=tuple(client.list_deposits()),
        products=tuple(client.list_products(changed_since=changed_since)),
        fetched_at=began_at,
    )


def store_catalog(account: Account, snapshot: CatalogSnapshot, *, full: bool) -> set[str]:
    """Keep what was read, in the caller's transaction; of a full reading also what is missing in it.

    Returns the SKUs to be settled again: their products, or whether those can be synced, changed.
    """
    changed = _store_deposits(account, snapshot.deposits)
    changed |= _store_products(account, snapshot, full)
    company = snapshot.company
    if company is not None and company.id == account.company_id:
        Account.update(company_name=company.name, company_cnpj=company.cnpj).where(Account.id == account.id).execute()
    if full:
        Account.update(catalog_at=snapshot.fetched_at).where(Account.id == account.id).execute()
    return changed


def refresh_account(account: Account, changed_since: datetime | None = None) -> set[str]:
    """Read the account's catalogue and keep it; SKUs that an active rule may care about are marked dirty.

    Returns those SKUs. A BlingError is noted on the account and raised again; nothing is changed then.
    """
    client = client_for(account)
    try:
        snapshot = fetch_catalog(client, changed_since)
        if changed_since is None:
            snapshot = _ask_for_absent(account, client, snapshot)
    except BlingError as error:
        note_failure(account, error)
        raise
    with database.atomic():
        changed = store_catalog(account, snapshot, full=changed_since is None)
        Account.update(last_error=None, last_error_at=None).where(Account.id == account.id).execute()
        _mark(account.organization_id, changed)
    return changed


def read_account(account_id: str) -> None:
    """What the job does: refresh the account if it is connected. A failure is on its page; the sweep tries again."""
    account = _find_connected(account_id)
    if account is None:
        return
    try:
        changed = refresh_account(account)
    except BlingError as error:
        log.warning("Could not read the catalogue of account %s: %s", account_id, error)
    else:
        log.info("Read the catalogue of account %s: %d SKUs changed", account_id, len(changed))


def read_product(account_id: str, bling_id: int) -> None:
    """What the job does: look one product up if the account is connected."""
    account = _find_connected(account_id)
    if account is None:
        return
    try:
        look_up_product(account, bling_id)
    except BlingError as error:
        log.warning("Could not read product %s of account %s: %s", bling_id, account_id, error)


def _find_connected(account_id: str) -> Account | None:
    return Account.get_or_none((Account.id == account_id) & (Account.state == AccountState.CONNECTED))


def accounts_to_read(read_before: datetime) -> list[str]:
    """Ids of the connected accounts whose catalogue was never read, or not since that moment: the sweep's question."""
    is_old = Account.catalog_at.is_null() | (Account.catalog_at < read_before)
    rows = Account.select(Account.id).where((Account.state == AccountState.CONNECTED) & is_old).order_by(Account.id)
    return [account_id for (account_id,) in rows.tuples()]


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
    known = _find(event.account_id, bling_id)
    event_id = _sortable_event_id(event.bling_event_id)
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
    row = {**_product_fields(product), "last_event_id": event_id or (known.last_event_id if known else None)}
    _upsert_products(
        event.account_id, event.organization_id, [row], newer_than=event_id or "", fields=(*_FIELDS, "last_event_id")
    )
    return _skus_touched(known, product)


def resolve_product(account: Account, bling_id: int) -> Product | None:
    """The product, asked from Bling (one call) when the catalogue does not know it; None when Bling does not either."""
    return _find(account.id, bling_id) or look_up_product(account, bling_id)


def look_up_product(account: Account, bling_id: int) -> Product | None:
    """Ask Bling for one product and keep the answer; None when there is none. Raises BlingError."""
    began_at = utcnow()
    product = client_for(account).get_products([bling_id]).get(bling_id)
    if product is None:
        return None
    with database.atomic():
        known = _find(account.id, bling_id)
        _upsert_products(account.id, account.organization_id, [_product_fields(product)], _first_id_after(began_at))
        _mark(account.organization_id, _skus_touched(known, product))
    return _find(account.id, bling_id)


def sku_products(organization_id: str, skus: Iterable[str]) -> dict[str, list[Product]]:
    """Every product that carries one of these SKUs, deleted ones included, in the accounts that are not disconnected.

    Each SKU asked for is a key; its products are in the order in which their accounts were connected.
    """
    found: dict[str, list[Product]] = {sku: [] for sku in skus}
    for chunk in _chunks(list(found)):
        rows = (
            Product.select(Product, Account)
            .join(Account)
            .where(
                (Product.organization == organization_id)
                & Product.sku.in_(chunk)
                & (Account.state != AccountState.DISCONNECTED)
            )
            .order_by(Account.id, Product.bling_id)
        )
        for product in rows:
            found[product.sku].append(product)
    return found


def _ask_for_absent(account: Account, client: BlingClient, snapshot: CatalogSnapshot) -> CatalogSnapshot:
    # The list is read page by page while the merchant works: where a product is deleted meanwhile, another one moves
    # over the edge into a page that was read already. So an absence is believed only when asking for it confirms it.
    listed = {product.id for product in snapshot.products}
    rows = Product.select(Product.bling_id).where(
        (Product.account == account.id) & (Product.situation != ProductSituation.DELETED)
    )
    absent = [bling_id for (bling_id,) in rows.tuples() if bling_id not in listed]
    if not absent or len(absent) > MAX_ABSENCES_ASKED:
        return snapshot
    return replace(snapshot, products=(*snapshot.products, *client.get_products(absent).values()))


def _store_deposits(account: Account, deposits: Sequence[values.Deposit]) -> set[str]:
    known = {row.bling_id: row for row in Deposit.select().where(Deposit.account == account.id)}
    listed = {deposit.id: deposit for deposit in deposits}
    rows: list[dict[str, Any]] = []
    switched: list[str] = []
    for deposit in listed.values():
        row = known.get(deposit.id)
        fields = {
            "name": deposit.name,
            "is_active": deposit.is_active,
            "is_default": deposit.is_default,
            "ignores_balance": deposit.ignores_balance,
        }
        if row is None or any(getattr(row, name) != value for name, value in fields.items()):
            rows.append(
                {
                    "organization": account.organization_id,
                    "account": account.id,
                    "bling_id": deposit.id,
                    **fields,
                }
            )
        if row is not None and row.is_active != deposit.is_active:
            switched.append(row.id)
    for chunk in _chunks(rows):
        Deposit.insert_many(chunk).on_conflict(
            conflict_target=[Deposit.account, Deposit.bling_id],
            preserve=[Deposit.name, Deposit.is_active, Deposit.is_default, Deposit.ignores_balance],
        ).as_rowcount().execute()
    gone = [row.id for row in known.values() if row.bling_id not in listed and row.is_active]
    if gone:
        Deposit.update(is_active=False).where(Deposit.id.in_(gone)).execute()
    return _skus_in(switched + gone)


def _skus_in(deposit_ids: Sequence[str]) -> set[str]:
    """The SKUs whose books have a cell in one of these deposits."""
    if not deposit_ids:
        return set()
    pools = Pool.select(Pool.sku).join(Cell).where(Cell.deposit.in_(deposit_ids)).distinct()
    return {sku for (sku,) in pools.tuples()}


def _store_products(account: Account, snapshot: CatalogSnapshot, full: bool) -> set[str]:
    listed = {product.id: product for product in snapshot.products}
    known = {row.bling_id: row for row in _known_products(account.id, None if full else list(listed))}
    newer_than = _first_id_after(snapshot.fetched_at)
    changed: set[str] = set()
    rows: list[dict[str, Any]] = []
    for product in listed.values():
        row = known.get(product.id)
        fields = _product_fields(product)
        if row is None and product.situation == ProductSituation.DELETED:
            continue
        if row is not None and (_is_newer(row, newer_than) or _is_same(row, fields)):
            continue
        rows.append(fields)
        changed |= _skus_touched(row, product)
    if full:
        # A row made since the reading began belongs to a product that the pages could not show yet.
        made_before = _first_id_after(snapshot.fetched_at, tolerance=timedelta(0))
        gone = [
            row
            for row in known.values()
            if row.bling_id not in listed
            and row.situation != ProductSituation.DELETED
            and row.id < made_before
            and not _is_newer(row, newer_than)
        ]
        for chunk in _chunks([row.id for row in gone]):
            Product.update(situation=ProductSituation.DELETED).where(Product.id.in_(chunk)).execute()
        changed |= {row.sku for row in gone if row.sku}
    _upsert_products(account.id, account.organization_id, rows, newer_than)
    return changed


_FIELDS = ("sku", "name", "format", "situation", "parent_bling_id")


def _product_fields(product: values.Product) -> dict[str, Any]:
    return {
        "bling_id": product.id,
        "sku": product.sku,
        "name": product.name,
        "format": str(product.format),
        "situation": str(product.situation),
        "parent_bling_id": product.parent_id,
    }


def _is_same(row: Product, fields: dict[str, Any]) -> bool:
    return all(getattr(row, name) == fields[name] for name in _FIELDS)


def _is_newer(row: Product, event_id: str) -> bool:
    return row.last_event_id is not None and row.last_event_id >= event_id


def _skus_touched(known: Product | None, product: values.Product) -> set[str]:
    """The SKUs, old and new, whose set of products or whose fitness to be synced changes; '' is none."""
    if known is None:
        return {product.sku} - {""} if product.situation != ProductSituation.DELETED else set()
    if (known.sku, known.format, known.situation) == (product.sku, product.format, product.situation):
        return set()
    return {known.sku, product.sku} - {""}


def _upsert_products(
    account_id: str,
    organization_id: str,
    rows: Sequence[dict[str, Any]],
    newer_than: str,
    fields: Sequence[str] = _FIELDS,
) -> None:
    """Insert or update; a row whose last event is at or after `newer_than` is left as that event made it ('' for none).

    The comparison is part of the statement: an event may be applied by another process since the rows were compared.
    """
    update = {getattr(Product, name): getattr(EXCLUDED, name) for name in fields}
    where = Product.last_event_id.is_null() | (Product.last_event_id <= newer_than) if newer_than else None
    for chunk in _chunks(rows):
        complete = [{**row, "organization": organization_id, "account": account_id} for row in chunk]
        Product.insert_many(complete).on_conflict(
            conflict_target=[Product.account, Product.bling_id], update=update, where=where
        ).as_rowcount().execute()


def _find(account_id: str, bling_id: int) -> Product | None:
    return Product.get_or_none((Product.account == account_id) & (Product.bling_id == bling_id))


def _known_products(account_id: str, bling_ids: list[int] | None) -> Iterator[Product]:
    mine = Product.select().where(Product.account == account_id)
    if bling_ids is None:
        yield from mine
        return
    for chunk in _chunks(bling_ids):
        yield from mine.where(Product.bling_id.in_(chunk))


def _mark(organization_id: str, skus: set[str]) -> None:
    """Have these SKUs settled; without an active rule there is nothing to settle, and activation reads everything."""
    active = StockGroup.is_active == True  # noqa: E712  A comparison in SQL: PostgreSQL takes no bare integer for one.
    is_ruled = StockGroup.select().where((StockGroup.organization == organization_id) & active).exists()
    if skus and is_ruled:
        mark_dirty(organization_id, skus, priority=Priority.CRON, needs_look=True)
        after_commit(lambda: queues.kick(organization_id))


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


def _sortable_event_id(event_id: str | None) -> str | None:
    """The id as 32 hexadecimal characters if it is a UUIDv7: only those sort by time and may be compared."""
    try:
        parsed = uuid.UUID(event_id or "")
    except ValueError:
        return None
    # Bling's ids carry the version digit of UUIDv7 but not always the variant, so `parsed.version` may be None.
    return parsed.hex if parsed.hex[12] == "7" else None


def _first_id_after(moment: datetime, tolerance: timedelta = CLOCK_TOLERANCE) -> str:
    """The smallest UUIDv7 of this moment less the tolerance."""
    ms = (moment - tolerance - EPOCH) // timedelta(milliseconds=1)
    return f"{ms:012x}7000{0:016x}"


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + ROWS_PER_STATEMENT] for start in range(0, len(items), ROWS_PER_STATEMENT))
