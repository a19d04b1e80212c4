"""Taking in what Bling posts: verified, stored once, its SKU marked, answered. No call to Bling, no wait for Redis.

One INSERT decides whether an event is a repetition. An event is stored as it came, also when nobody can read it.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import config
import queues
from clock import utcnow
from core.events import KEPT_KINDS, PRODUCT_KINDS, STOCK_KINDS, VIRTUAL_KIND, Envelope, InvalidEvent, parse_event
from core.signatures import verify_bling_signature
from db import database
from ids import new_id
from models import Account, AccountState, Event, EventState, Priority, Product
from services.dirty import mark_dirty
from services.secrets import SecretUnreadable, unseal

log = logging.getLogger(__name__)

SHARED = "shared"
_LONGEST_ID = 200


class Intake(StrEnum):
    STORED = "stored"
    REPEATED = "repeated"
    FORGED = "forged"


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a webhook. `wake`: the organization whose workers to wake once Bling has its answer."""

    intake: Intake
    wake: str | None = None


def accept_event(webhook_key: str | None, signature: str | None, raw_body: bytes) -> Accepted:
    """Verify and store one webhook. `webhook_key` None: the address of the shared app.

    FORGED: nothing was stored. Anything the database raises means it could not be stored: Bling shall try again.
    """
    owner: Account | None = None
    if webhook_key is None:
        secret = config.current().bling_client_secret
    else:
        owner = Account.get_or_none(Account.webhook_key == webhook_key)
        secret = _own_secret(owner)
    if secret is None or not verify_bling_signature(raw_body, signature, [secret]):
        return Accepted(Intake.FORGED)
    return _store(owner, raw_body, utcnow())


def wake_workers(organization_id: str) -> None:
    """Tell the workers of what was stored; the sweep does it again should this get lost."""
    queues.kick(organization_id)


def _own_secret(account: Account | None) -> str | None:
    if account is None or account.client_secret_sealed is None:
        return None
    try:
        return unseal(account.client_secret_sealed, owner_id=account.id)
    except SecretUnreadable:
        log.error("Account %s: its client secret cannot be opened with ENCRYPTION_KEYS", account.id)
        return None


def _store(owner: Account | None, raw_body: bytes, now: datetime) -> Accepted:
    # PostgreSQL stores no NUL, and an unreadable body may hold anything.
    body = raw_body.decode("utf-8", errors="replace").replace("\x00", "\ufffd")
    scope = SHARED if owner is None else owner.id
    try:
        envelope = parse_event(raw_body)
    except InvalidEvent as error:
        digest = hashlib.sha256(raw_body).hexdigest()
        fields = {
            "dedup_key": f"{scope}:unreadable:{digest}",
            "organization": None if owner is None else owner.organization_id,
            "account": None if owner is None else owner.id,
            "kind": "unreadable",
            "state": EventState.UNREADABLE,
            "reason": error.reason,
            "received_at": now,
            "body": body,
        }
        return Accepted(_insert(fields))
    with database.atomic():
        account = _account_of(envelope.company_id, owner)
        fields = _fields(envelope, account, now) | {"dedup_key": _dedup_key(scope, envelope), "body": body}
        intake = _insert(fields)
        wake = None
        if account is not None and intake is Intake.STORED:
            wake = _follow_up(account, fields, now)
    return Accepted(intake, wake)


def _account_of(company_id: str, owner: Account | None) -> Account | None:
    """The account an event is about; an account's own app speaks for its own organization only."""
    query = (Account.company_id == company_id) & (Account.state != AccountState.DISCONNECTED)
    if owner is not None:
        query &= Account.organization == owner.organization_id
    return Account.get_or_none(query)


def _dedup_key(scope: str, envelope: Envelope) -> str:
    event_id, company_id = envelope.event_id, envelope.company_id
    if len(event_id) + len(company_id) > _LONGEST_ID:
        event_id, company_id = hashlib.sha256(f"{company_id}:{event_id}".encode()).hexdigest(), "long"
    return f"{scope}:{company_id}:{event_id}"


def _fields(envelope: Envelope, account: Account | None, now: datetime) -> dict[str, object]:
    stock = envelope.stock
    return {
        "organization": None if account is None else account.organization_id,
        "account": None if account is None else account.id,
        "company_id": envelope.company_id,
        "bling_event_id": envelope.event_id,
        "kind": envelope.kind,
        "received_at": now,
        "happened_at": envelope.happened_at,
        "product_bling_id": envelope.product_id,
        "deposit_bling_id": None if stock is None else stock.deposit_id,
        "quantity": None if stock is None else stock.quantity,
        "physical_after": None if stock is None else stock.physical_after,
        "virtual_after": None if stock is None else stock.virtual_after,
        **_first_state(envelope, account),
    }


def _first_state(envelope: Envelope, account: Account | None) -> dict[str, object]:
    """Where an event starts: pending when there is something to do about it, kept when there is not."""
    if account is None:
        return {"state": EventState.KEPT, "reason": "unknown_company"}
    if envelope.kind in PRODUCT_KINDS:
        return {"state": EventState.PENDING}
    if envelope.kind in STOCK_KINDS or envelope.kind == VIRTUAL_KIND:
        product = Product.get_or_none((Product.account == account.id) & (Product.bling_id == envelope.product_id))
        if product is not None and product.sku == "":
            return {"state": EventState.IGNORED, "reason": "empty_sku"}
        # Of a product that the catalogue does not know yet: a job looks it up.
        return {"state": EventState.PENDING, "sku": None if product is None else product.sku}
    return {"state": EventState.KEPT, "reason": None if envelope.kind in KEPT_KINDS else "unknown_kind"}


def _insert(fields: dict[str, object]) -> Intake:
    row: dict[str, object] = {"id": new_id(), "attempts": 0, **fields}
    stored = Event.insert(row).on_conflict(conflict_target=[Event.dedup_key], action="NOTHING").as_rowcount().execute()
    return Intake.STORED if stored else Intake.REPEATED


def _follow_up(account: Account, fields: dict[str, object], now: datetime) -> str | None:
    """Mark what the event is about; the organization to wake if there is anything to do."""
    Account.update(last_event_at=now).where(Account.id == account.id).execute()
    if fields["state"] != EventState.PENDING:
        return None
    organization_id: str = account.organization_id
    if fields.get("sku"):
        mark_dirty(organization_id, [str(fields["sku"])], priority=Priority.LIVE, needs_look=False, now=now)
    return organization_id
