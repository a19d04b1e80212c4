"""Events that need more than marking a SKU: changes of the catalogue, and stock of products not known yet."""

from __future__ import annotations

import logging

from bling.errors import AuthLost, BlingError
from core.events import PRODUCT_KINDS, InvalidEvent
from db import database
from models import Account, Event, EventState, Priority
from services.bling_clients import note_failure
from services.catalog import resolve_product
from services.dirty import mark_dirty
from services.product_events import apply_product_event

log = logging.getLogger(__name__)

CHUNK = 200
# With a sweep every ten seconds, some hours of an unreachable Bling; then a person reads about it.
MAX_ATTEMPTS = 1000


def sort_inbox(organization_id: str) -> int:
    """Deal with the pending events that have no SKU yet; returns how many were dealt with.

    An event whose product cannot be asked about now stays pending and is tried again by the sweep.
    """
    waiting = (
        Event.select()
        .where((Event.organization == organization_id) & (Event.state == EventState.PENDING) & Event.sku.is_null())
        .order_by(Event.attempts, Event.bling_event_id)
        .limit(CHUNK)
    )
    silent: set[str] = set()
    done = 0
    for event in list(waiting):
        if event.account_id not in silent:
            try:
                _sort(event)
                done += 1
                continue
            except BlingError as error:
                log.warning("Event %s of account %s has to wait: %s", event.id, event.account_id, error)
                note_failure(event.account, error)
                if not isinstance(error, AuthLost):
                    silent.add(event.account_id)
                _put_off(event, "the account could not be asked")
            except InvalidEvent as error:
                _end(event, EventState.UNREADABLE, error.reason)
            except Exception:
                # Something nobody expected: this event is tried again later, and meanwhile the others go on.
                log.exception("Event %s of account %s failed", event.id, event.account_id)
                _put_off(event, "unexpected")
    return done


def _sort(event: Event) -> None:
    if event.kind in PRODUCT_KINDS:
        with database.atomic():
            skus = apply_product_event(event)
            _end(event, EventState.PROCESSED, None)
            mark_dirty(event.organization_id, skus, priority=Priority.LIVE, needs_look=True)
        return
    account: Account = event.account
    product = resolve_product(account, event.product_bling_id)
    if product is None:
        _end(event, EventState.IGNORED, "unknown_product")
        return
    if product.sku == "":
        _end(event, EventState.IGNORED, "empty_sku")
        return
    with database.atomic():
        Event.update(sku=product.sku).where(Event.id == event.id).execute()
        mark_dirty(event.organization_id, [product.sku], priority=Priority.LIVE, needs_look=False)


def _put_off(event: Event, reason: str) -> None:
    state = EventState.FAILED if event.attempts + 1 >= MAX_ATTEMPTS else EventState.PENDING
    Event.update(attempts=Event.attempts + 1, reason=reason, state=state).where(Event.id == event.id).execute()


def _end(event: Event, state: EventState, reason: str | None) -> None:
    Event.update(state=state, reason=reason).where(
        (Event.id == event.id) & (Event.state == EventState.PENDING)
    ).execute()
