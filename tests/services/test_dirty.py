"""Dirty SKUs and their leases: one settler at a time, and nobody who comes late writes anything."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from peewee import Database

import db
from bling.transport import LEAVE_WITHIN_S
from clock import utcnow
from models import DirtySku, Organization
from services.dirty import (
    LEASE,
    LeaseLost,
    claim_dirty,
    hold,
    mark_dirty,
    next_due_at,
    release_done,
    release_until,
    renew,
)
from tests.factories import make_organization

LIVE, CRON = 0, 20
NOW = utcnow().replace(microsecond=0)


def later(seconds: float):
    return NOW + timedelta(seconds=seconds)


@pytest.fixture
def loja(database: Database) -> Organization:
    return make_organization()


def mark(loja: Organization, *skus: str, priority: int = LIVE, needs_look: bool = False, at: float = 0, due: float = 0):
    mark_dirty(loja.id, skus, priority=priority, needs_look=needs_look, now=later(at), due_at=later(due))


def row(sku: str = "CANECA") -> DirtySku:
    return DirtySku.get(DirtySku.sku == sku)


# Marking


def test_marking_again_raises_the_version_and_keeps_the_more_urgent(loja: Organization) -> None:
    mark(loja, "CANECA", priority=CRON, due=60)
    mark(loja, "CANECA", priority=LIVE, needs_look=True, due=10)
    mark(loja, "CANECA", priority=CRON, due=90)

    assert DirtySku.select().count() == 1
    assert (row().version, row().priority, row().needs_look, row().due_at) == (3, LIVE, True, later(10))


def test_each_sku_is_marked_once_and_the_empty_one_never(loja: Organization) -> None:
    marked = mark_dirty(loja.id, ["B", "A", "B", ""], priority=LIVE, needs_look=False)

    assert marked == 2
    assert {(dirty.sku, dirty.version) for dirty in DirtySku.select()} == {("A", 1), ("B", 1)}


def test_thousands_of_skus_are_marked_at_once(loja: Organization) -> None:
    skus = [f"SKU-{number}" for number in range(2500)]

    assert mark_dirty(loja.id, skus, priority=CRON, needs_look=True) == 2500
    assert DirtySku.select().count() == 2500


def test_nothing_is_marked_when_the_transaction_fails(loja: Organization) -> None:
    with pytest.raises(ZeroDivisionError), db.database.atomic():
        mark(loja, "CANECA")
        raise ZeroDivisionError

    assert DirtySku.select().count() == 0


# Claiming


def test_the_most_urgent_and_the_longest_due_come_first(loja: Organization) -> None:
    mark(loja, "PERIODIC", priority=CRON, due=-60)
    mark(loja, "SECOND", due=-1)
    mark(loja, "FIRST", due=-5)
    mark(loja, "NOT-YET", due=1)

    assert [claim.sku for claim in claim_dirty(loja.id, 2, now=NOW)] == ["FIRST", "SECOND"]
    assert [claim.sku for claim in claim_dirty(loja.id, 9, now=NOW)] == ["PERIODIC"]
    assert claim_dirty(loja.id, 9, now=NOW) == []
    assert [claim.sku for claim in claim_dirty(loja.id, 9, now=later(1))] == ["NOT-YET"]


def test_the_claims_of_another_organization_are_its_own(loja: Organization) -> None:
    mark(loja, "CANECA")
    other = make_organization()
    mark(other, "CANECA")

    assert [claim.organization_id for claim in claim_dirty(other.id, 9, now=NOW)] == [other.id]
    assert len(claim_dirty(loja.id, 9, now=NOW)) == 1


def test_of_many_claimers_each_sku_has_one(loja: Organization) -> None:
    mark(loja, *(f"SKU-{number}" for number in range(40)))
    start = threading.Barrier(4)

    def claim(_worker: int) -> list[str]:
        with db.connection():
            start.wait()
            claimed: list[str] = []
            while claims := claim_dirty(loja.id, 3, now=NOW):
                claimed += [claim.sku for claim in claims]
            return claimed

    with ThreadPoolExecutor(4) as threads:
        claimed = [sku for skus in threads.map(claim, range(4)) for sku in skus]

    assert sorted(claimed) == sorted(f"SKU-{number}" for number in range(40))


# Giving back


def test_a_settled_sku_is_gone(loja: Organization) -> None:
    mark(loja, "CANECA")
    [claim] = claim_dirty(loja.id, 1, now=NOW)

    assert release_done(claim)
    assert DirtySku.select().count() == 0


def test_a_sku_marked_while_it_is_settled_is_settled_again(loja: Organization) -> None:
    mark(loja, "CANECA", due=-5)
    [claim] = claim_dirty(loja.id, 1, now=NOW)
    mark(loja, "CANECA", at=1)

    assert claim_dirty(loja.id, 1, now=later(1)) == []
    assert not release_done(claim)

    [again] = claim_dirty(loja.id, 1, now=later(1))
    assert (again.version, again.needs_look) == (claim.version + 1, False)
    assert release_done(again)


def test_a_look_that_is_put_off_waits_for_its_moment(loja: Organization) -> None:
    mark(loja, "CANECA")
    [claim] = claim_dirty(loja.id, 1, now=NOW)

    release_until(claim, later(10), needs_look=True, failed=True)

    assert next_due_at(loja.id) == later(10)
    assert claim_dirty(loja.id, 1, now=later(9)) == []
    [again] = claim_dirty(loja.id, 1, now=later(10))
    assert (again.needs_look, again.attempts) == (True, 1)
    release_until(again, later(20), needs_look=False)
    assert (row().needs_look, row().attempts) == (False, 0)


def test_a_put_off_look_does_not_hide_a_mark_made_meanwhile(loja: Organization) -> None:
    mark(loja, "CANECA", due=-5)
    [claim] = claim_dirty(loja.id, 1, now=NOW)
    mark(loja, "CANECA", needs_look=True, at=1, due=1)

    release_until(claim, later(60), needs_look=False)

    [again] = claim_dirty(loja.id, 1, now=later(1))
    assert again.needs_look


def test_skus_that_are_being_settled_wait_for_nobody(loja: Organization) -> None:
    mark(loja, "A", due=0)
    mark(loja, "B", due=30)
    claim_dirty(loja.id, 1, now=NOW)

    assert next_due_at(loja.id) == later(30)


# Leases that end


def test_an_expired_lease_is_taken_over_and_the_books_are_not_trusted(loja: Organization) -> None:
    mark(loja, "CANECA")
    [dead] = claim_dirty(loja.id, 1, now=NOW)

    assert claim_dirty(loja.id, 1, now=NOW + LEASE) == []
    [heir] = claim_dirty(loja.id, 1, now=NOW + LEASE + timedelta(milliseconds=1))

    assert (dead.needs_look, heir.needs_look) == (False, True)
    assert heir.lease != dead.lease


def test_two_who_take_over_are_one(loja: Organization) -> None:
    mark(loja, "CANECA")
    claim_dirty(loja.id, 1, now=NOW)
    start = threading.Barrier(4)

    def take_over(_worker: int) -> int:
        with db.connection():
            start.wait()
            return len(claim_dirty(loja.id, 1, now=later(60)))

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(take_over, range(4))) == 1


def test_who_renews_keeps_what_is_his(loja: Organization) -> None:
    mark(loja, "CANECA")
    claims = claim_dirty(loja.id, 1, now=NOW)

    renew(claims, now=later(20))

    assert claim_dirty(loja.id, 1, now=later(49)) == []
    hold(claims[0], now=later(49))


def test_who_renews_too_late_has_lost_it(loja: Organization) -> None:
    mark(loja, "CANECA")
    claims = claim_dirty(loja.id, 1, now=NOW)

    renew(claims, now=later(31))

    with pytest.raises(LeaseLost):
        hold(claims[0], now=later(31))
    assert len(claim_dirty(loja.id, 1, now=later(31))) == 1


def test_a_late_holder_changes_nothing(loja: Organization) -> None:
    mark(loja, "CANECA")
    [late] = claim_dirty(loja.id, 1, now=NOW)
    [heir] = claim_dirty(loja.id, 1, now=later(31))
    before = DirtySku.select().dicts().get()

    with pytest.raises(LeaseLost):
        hold(late, now=later(32))
    renew([late], now=later(32))
    assert not release_done(late)
    release_until(late, later(99), needs_look=False)

    assert DirtySku.select().dicts().get() == before
    hold(heir, now=later(32))


def test_holding_blocks_a_taker_until_the_commit(loja: Organization) -> None:
    """`hold` at the last moment of a lease, in a transaction: whoever claims just after it waits and gets nothing."""
    mark(loja, "CANECA")
    [claim] = claim_dirty(loja.id, 1, now=NOW)
    taken: list[int] = []

    def take() -> None:
        with db.connection():
            taken.append(len(claim_dirty(loja.id, 1, now=later(31))))

    with db.database.atomic():
        hold(claim, now=later(30))
        taker = threading.Thread(target=take)
        taker.start()
        taker.join(0.3)
    taker.join()

    assert taken == [0]


def test_a_write_leaves_long_before_the_lease_that_allowed_it_can_end() -> None:
    """Otherwise a worker that was paused at the socket could send what others have settled as never sent."""
    assert timedelta(seconds=2 * LEAVE_WITHIN_S) < LEASE
