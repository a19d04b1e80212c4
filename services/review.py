"""Revisão: writes whose outcome nobody can tell, put before the merchant with both readings of what happened.

The reading with the smaller pool holds until a person, or an event that comes late, knows better. Only reads, but for
`decide`, which hands the answer to services.writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from peewee import JOIN, SQL, ModelSelect, NodeList

import queues
from core.doubt import Proof
from core.facts import Purpose, Role, TargetMovements
from core.intents import WriteState
from core.readings import Reading, Undecided, is_pooled, offers, pool_with, read_both
from models import (
    Account,
    Cell,
    Deposit,
    Event,
    GroupDeposit,
    Organization,
    Pool,
    Product,
    Run,
    RunItem,
    StockGroup,
    StockWrite,
    User,
)
from services import writes
from services.book_facts import moment_of
from services.derivations import PoolView, derive

PAGE = 20
# What happened at the same place this long before the write and after the look is worth knowing.
AROUND = timedelta(minutes=15)
AROUND_SHOWN = 12
# What once waited, or still does: other writes were settled before anybody was asked.
ASKED = (Proof.SMALLER_POOL, Proof.PERSON, Proof.EVENT, Proof.ANSWER)
# Proof.SMALLER_POOL written out, so that both databases see that the index of these few rows serves the query.
UNDECIDED = NodeList((StockWrite.evidence, SQL("= 'smaller_pool'")))


class Standing(StrEnum):
    """Whether somebody's answer is still wanted."""

    WAITING = "waiting"
    DECIDED = "decided"
    LEFT = "left"
    """Its product or deposit has left the pool."""
    ANEW = "anew"
    """It has come back, with the balance found then: what was written before is in it."""
    RULE_OFF = "rule_off"


@dataclass(frozen=True, slots=True)
class Review:
    """One write with its place and both readings. `applied`, `not_applied`: of which one holds at present."""

    write: StockWrite
    cell: Cell
    pool: Pool
    group: StockGroup
    role: Role
    is_undo: bool
    applied: Reading
    not_applied: Reading

    @property
    def sku(self) -> str:
        return str(self.pool.sku)

    @property
    def name(self) -> str:
        return str(self.write.product.name)

    @property
    def place(self) -> str:
        return f"{self.write.account.name} · {self.write.deposit.name}"

    @property
    def taken(self) -> Reading:
        return self.applied if self.applied.is_taken else self.not_applied

    @property
    def changes_total(self) -> bool:
        """Whether the pool hangs on the answer."""
        return self.applied.more != self.not_applied.more

    @property
    def standing(self) -> Standing:
        if self.write.evidence != Proof.SMALLER_POOL:
            return Standing.DECIDED
        if self.cell.left_at is not None:
            return Standing.LEFT
        if self.write.ended_at < self.cell.baseline_at:
            return Standing.ANEW
        return Standing.WAITING if self.group.is_active else Standing.RULE_OFF

    @property
    def is_waiting(self) -> bool:
        return self.standing is Standing.WAITING


@dataclass(frozen=True, slots=True)
class ReviewPage:
    """`total`: how many wait in all; `following`: the id from behind which the next page goes on."""

    reviews: tuple[Review, ...]
    total: int
    following: str | None


@dataclass(frozen=True, slots=True)
class Offer:
    """What a target shows of the pool now, and what it would show."""

    place: str
    now: Decimal
    then: Decimal


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a reading means today. `available` None: the pool is not known, and so is nothing of the targets."""

    reading: Reading
    available: Decimal | None
    offers: tuple[Offer, ...]


@dataclass(frozen=True, slots=True)
class Around:
    """Something known of the same place at the same time: what Bling told (`event`), or another write of ours."""

    at: datetime
    quantity: Decimal | None
    after: Decimal | None
    event: Event | None = None
    write: StockWrite | None = None


@dataclass(frozen=True, slots=True)
class Dossier:
    """All that helps to answer."""

    review: Review
    applied: Outcome
    not_applied: Outcome
    around: tuple[Around, ...]


def list_waiting(
    organization: Organization, sku: str | None = None, before: str | None = None, limit: int = PAGE
) -> ReviewPage:
    """A page of what waits for an answer, the newest first, from behind the write `before`."""
    query = _selected(organization).where(_waits())
    counted = _waiting(organization, sku)
    if sku:
        query = query.where(Pool.sku == sku)
    if before:
        query = query.where(StockWrite.id < before)
    found = list(query.order_by(StockWrite.id.desc()).limit(limit + 1))
    reviews = tuple(map(_review, found[:limit]))
    return ReviewPage(reviews, counted.count(), reviews[-1].write.id if len(found) > limit else None)


def count_waiting(organization: Organization | None, sku: str | None = None) -> int:
    """How many writes wait for an answer of this organization, or of all."""
    return int(_waiting(organization, sku).count())


def skus_waiting(organization: Organization) -> list[str]:
    """Their SKUs, each once."""
    rows = _waiting(organization).select(Pool.sku).distinct()
    return [sku for (sku,) in rows.order_by(Pool.sku).tuples()]


def find_review(organization: Organization, write_id: str) -> Review | None:
    """The write, if it waits or once waited for an answer; None for any other, and for everybody else's."""
    was_asked = StockWrite.evidence.in_(ASKED) & StockWrite.found.is_null(False)
    row = _selected(organization).where((StockWrite.id == write_id) & was_asked).first()
    return None if row is None else _review(row)


def dossier_of(review: Review) -> Dossier:
    """What each reading means for the pool and its targets, and what else is known of that place and time."""
    view = _pool_view(review)
    applied, not_applied = (_outcome(reading, view) for reading in (review.applied, review.not_applied))
    return Dossier(review, applied, not_applied, tuple(_around(review)))


def decide(review: Review, is_applied: bool, user: User) -> bool:
    """Say whether Bling applied the write. False, and nothing changes, when no answer is wanted any more."""
    if not review.is_waiting or not writes.settle_undecided(review.write, is_applied, user):
        return False
    queues.kick(review.write.organization_id)
    return True


def _waits() -> Any:
    return UNDECIDED & Cell.left_at.is_null() & (StockWrite.ended_at >= Cell.baseline_at) & (StockGroup.is_active == 1)


def _waiting(organization: Organization | None, sku: str | None = None) -> ModelSelect:
    query = (
        StockWrite.select(StockWrite.id)
        .join(Cell, on=(StockWrite.cell_id == Cell.id))
        .join(Pool)
        .join(StockGroup)
        .where(_waits())
    )
    if organization is not None:
        query = query.where(StockWrite.organization == organization.id)
    return query.where(Pool.sku == sku) if sku else query


def _selected(organization: Organization) -> ModelSelect:
    member = (GroupDeposit.group == StockGroup.id) & (GroupDeposit.deposit == StockWrite.deposit)
    return (
        StockWrite.select(
            StockWrite, Account, Deposit, Product, User, RunItem, Run, Cell, Pool, StockGroup, GroupDeposit
        )
        .join_from(StockWrite, Account)
        .join_from(StockWrite, Deposit)
        .join_from(StockWrite, Product)
        .join_from(StockWrite, User, JOIN.LEFT_OUTER, on=(StockWrite.decided_by == User.id))
        .join_from(StockWrite, RunItem, JOIN.LEFT_OUTER, on=(StockWrite.item == RunItem.id))
        .join_from(RunItem, Run, JOIN.LEFT_OUTER)
        .join_from(StockWrite, Cell, on=(StockWrite.cell_id == Cell.id), attr="cell")
        .join_from(Cell, Pool)
        .join_from(Pool, StockGroup)
        .join_from(StockGroup, GroupDeposit, JOIN.LEFT_OUTER, on=member, attr="member")
        .where(StockWrite.organization == organization.id)
    )


def _review(write: StockWrite) -> Review:
    pool, group = write.cell.pool, write.cell.pool.group
    member = getattr(group, "member", None)
    purpose = Purpose(write.purpose)
    # A deposit that is out of the rule today had the role that its writes were made for.
    stood = Role.SOURCE if purpose is Purpose.WRITE_BACK else Role.TARGET
    role = Role(member.role) if member is not None and member.role is not None else stood
    applied, not_applied = read_both(
        Undecided(
            quantity=write.quantity,
            before=write.before,
            found=write.found,
            is_taken_as_applied=write.state == WriteState.CONFIRMED,
            is_pooled=is_pooled(purpose, role, TargetMovements(group.target_movements)),
        )
    )
    run = write.item.run if write.item is not None else None
    is_undo = run is not None and run.undoes is not None
    return Review(write, write.cell, pool, group, role, is_undo, applied, not_applied)


def _pool_view(review: Review) -> PoolView | None:
    derivation = derive(review.write.organization, review.sku)
    pools: Sequence[PoolView] = () if derivation is None else derivation.pools
    return next((view for view in pools if view.group.id == review.group.id), None)


def _outcome(reading: Reading, view: PoolView | None) -> Outcome:
    if view is None or view.available is None:
        return Outcome(reading, None, ())
    rules = [target.rule for target in view.targets]
    then = pool_with(view.parts, reading.more)
    shown = zip(view.targets, offers(view.parts, rules), offers(then, rules), strict=True)
    return Outcome(reading, then.available, tuple(Offer(target.place, now, later) for target, now, later in shown))


def _around(review: Review) -> list[Around]:
    write = review.write
    since, until = write.planned_at - AROUND, (write.found_at or write.planned_at) + AROUND
    told = (
        Event.select()
        .where(
            (Event.organization == write.organization_id)
            & (Event.sku == review.sku)
            & (Event.account == write.account_id)
            & (Event.product_bling_id == write.product.bling_id)
            & (Event.deposit_bling_id == write.deposit.bling_id)
            & Event.received_at.between(since, until)
        )
        .order_by(Event.id)
    )
    ours = (
        StockWrite.select()
        .where(
            (StockWrite.cell_id == write.cell_id)
            & (StockWrite.id != write.id)
            & (StockWrite.state == WriteState.CONFIRMED)
            & StockWrite.ended_at.between(since, until)
        )
        .order_by(StockWrite.id)
    )
    found = [
        *(Around(moment_of(one), one.quantity, one.physical_after, event=one) for one in told.limit(AROUND_SHOWN)),
        *(Around(one.ended_at, one.quantity, one.before + one.quantity, write=one) for one in ours.limit(AROUND_SHOWN)),
    ]
    return sorted(found, key=lambda one: one.at)[:AROUND_SHOWN]
