"""The catalogue: the deposits and products of each account, as Bling last told them.

Rows keep their ids and are never deleted: the books point at them, so what vanished at Bling is marked. What events say
of products is in product_events.py, how single words about a product are weighed in product_rows.py.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from bling.client import BlingClient
from bling.errors import BlingError
from bling.pacing import Errand
from clock import utcnow
from core import values
from core.values import ProductSituation
from db import database
from models import Account, AccountState, Cell, Deposit, Pool, Product
from services.bling_clients import client_for, note_failure
from services.departures import part_with_products
from services.product_rows import (
    chunks,
    fields_of,
    find_product,
    first_event_id,
    is_newer,
    is_same,
    known_products,
    mark_changed,
    skus_touched,
    upsert_products,
)

log = logging.getLogger(__name__)

# Five calls. More products than that do not slip between two pages: then the merchant deleted them.
MAX_ABSENCES_ASKED = 500


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
    client = client_for(account, Errand.CATALOG)
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
        mark_changed(account.organization_id, changed)
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


def resolve_product(account: Account, bling_id: int) -> Product | None:
    """The product, asked from Bling (one call) when the catalogue does not know it; None when Bling does not either."""
    return find_product(account.id, bling_id) or look_up_product(account, bling_id)


def look_up_product(account: Account, bling_id: int) -> Product | None:
    """Ask Bling for one product and keep the answer; None when there is none. Raises BlingError."""
    began_at = utcnow()
    product = client_for(account).get_products([bling_id]).get(bling_id)
    if product is None:
        return None
    with database.atomic():
        known = find_product(account.id, bling_id)
        upsert_products(account.id, account.organization_id, [fields_of(product)], first_event_id(began_at))
        left = part_with_products(account.id, [bling_id])
        mark_changed(account.organization_id, skus_touched(known, product) | left)
    return find_product(account.id, bling_id)


def sku_products(organization_id: str, skus: Iterable[str]) -> dict[str, list[Product]]:
    """Every product that carries one of these SKUs, deleted ones included, in the accounts that are not disconnected.

    Each SKU asked for is a key; its products are in the order in which their accounts were connected.
    """
    found: dict[str, list[Product]] = {sku: [] for sku in skus}
    for chunk in chunks(list(found)):
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
    for chunk in chunks(rows):
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
    known = {row.bling_id: row for row in known_products(account.id, None if full else list(listed))}
    newer_than = first_event_id(snapshot.fetched_at)
    changed: set[str] = set()
    rows: list[dict[str, Any]] = []
    for product in listed.values():
        row = known.get(product.id)
        fields = fields_of(product)
        if row is None and product.situation == ProductSituation.DELETED:
            continue
        if row is not None and (is_newer(row, newer_than) or is_same(row, fields)):
            continue
        rows.append(fields)
        changed |= skus_touched(row, product)
    if full:
        # A row made since the reading began belongs to a product that the pages could not show yet.
        made_before = first_event_id(snapshot.fetched_at, tolerance=timedelta(0))
        gone = [
            row
            for row in known.values()
            if row.bling_id not in listed
            and row.situation != ProductSituation.DELETED
            and row.id < made_before
            and not is_newer(row, newer_than)
        ]
        for chunk in chunks([row.id for row in gone]):
            Product.update(situation=ProductSituation.DELETED).where(Product.id.in_(chunk)).execute()
        changed |= {row.sku for row in gone if row.sku}
    upsert_products(account.id, account.organization_id, rows, newer_than)
    changed |= part_with_products(account.id, None if full else [row["bling_id"] for row in rows])
    return changed
