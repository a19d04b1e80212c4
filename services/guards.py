"""Held runs: one that would lower too much of a group waits until a person approves or discards it.

A guarded run gathers what differs, with what it would lower; when it has seen everything it is judged, once, group by
group. Only the SKUs of the groups of which it would lower too much are held; the others go on. Numbers shown are those
of the scan; what is approved is planned afresh. Sales go on being settled meanwhile, and end the items they touch.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal

from peewee import Case, Expression, chunked, fn

from clock import utcnow
from core.guards import Drop, Limits, foresee, judge
from db import after_commit, database
from ids import new_id
from models import (
    Deposit,
    DirtySku,
    Event,
    EventState,
    GroupDeposit,
    ItemDrop,
    Pool,
    Product,
    Run,
    RunDecision,
    RunItem,
    StockGroup,
    User,
)
from services.entries import Decision
from services.frames import CellFrame
from services.runs import SCAN_ENDED, finish_run_if_over, is_outrun_by_rules, wake

# What was found is being marked to be settled: behind it stands the last item that was.
RELEASING = SCAN_ENDED + "0"
_CHUNK = 200


@dataclass(frozen=True, slots=True)
class Excess:
    """A group of which a run would lower too much, as it was counted when the run was judged."""

    group_id: str
    group: str
    skus: int
    lowered: int
    zeroed: int
    min_skus: int
    percent: Decimal

    @property
    def share(self) -> Decimal:
        """The part of the group's SKUs that would be lowered, in whole per cent."""
        return (Decimal(self.lowered * 100) / max(self.skus, self.lowered)).quantize(Decimal(1))


def excesses_of(run: Run) -> list[Excess]:
    """Why the run was held; [] when it was not."""
    return [Excess(**{**told, "percent": Decimal(told["percent"])}) for told in json.loads(run.guard or "[]")]


def limits_of(group: StockGroup) -> Limits:
    return Limits(group.guard_min_skus, group.guard_percent)


def followed_skus(group: StockGroup) -> int:
    """How many SKUs the group follows: those with books whose product is still there."""
    accounts = Deposit.select(Deposit.account).join(GroupDeposit).where(GroupDeposit.group == group.id)
    known = Product.select(Product.sku).where(Product.account.in_(accounts) & (Product.situation == "active"))
    counted: int = Pool.select(fn.COUNT(Pool.id)).where((Pool.group == group.id) & Pool.sku.in_(known)).scalar()
    return counted


def gather(
    run: Run, decisions: Sequence[Decision], announced: Collection[str], consented: Collection[str], now: datetime
) -> None:
    """Put what differs on the run's list, SKU by SKU and group by group, in the caller's transaction.

    What events have `announced` is no doing of the run, and what a group with a fresh consent lowers was agreed to:
    both are listed, and nothing of them counts as lowered.
    """
    waiting = _listed(run, {decision.frame.sku for decision in decisions}) if run.scope == "skus" else {}
    items, drops = [], []
    for decision in decisions:
        frame = decision.frame
        item_id = waiting.pop(frame.sku, None)
        if item_id is not None:
            RunItem.update(group=frame.group.id).where(RunItem.id == item_id).execute()
        else:
            item_id = new_id()
            items.append(
                {
                    "id": item_id,
                    "organization": run.organization_id,
                    "run": run.id,
                    "group": frame.group.id,
                    "sku": frame.sku,
                    "product_name": frame.product_name,
                    "status": "queued",
                    "created_at": now,
                }
            )
        if frame.sku not in announced and frame.group.id not in consented:
            drops += _drops(decision, item_id, now)
    for model, rows in ((RunItem, items), (ItemDrop, drops)):
        for chunk in chunked(rows, _CHUNK):
            model.insert_many(chunk).execute()


def _listed(run: Run, skus: Collection[str]) -> dict[str, str]:
    """The ids of the entries that a given list of SKUs began with, by SKU: each is for the first group that differs."""
    rows = RunItem.select(RunItem.id, RunItem.sku).where(
        (RunItem.run == run.id) & RunItem.sku.in_(list(skus)) & RunItem.group.is_null() & (RunItem.status == "queued")
    )
    return {row.sku: row.id for row in rows}


def _drops(decision: Decision, item_id: str, now: datetime) -> list[dict[str, object]]:
    frame, plan = decision.frame, decision.plan
    cells: dict[str, CellFrame] = {cell.key: cell for cell in frame.cells}
    found: Sequence[Drop] = () if plan is None else foresee(plan, virtual=frame.is_virtual)
    return [
        {
            "id": new_id(),
            "organization": frame.group.organization_id,
            "item": item_id,
            "account": cells[drop.key].account.id,
            "deposit": cells[drop.key].deposit.id,
            "before": drop.before,
            "after": drop.after,
            "is_zeroed": drop.is_zeroed,
            "read_at": now,
        }
        for drop in found
    ]


def hold_excess(run: Run, now: datetime) -> None:
    """Judge a run that has gathered everything: hold the SKUs of the groups of which it would lower too much.

    In the caller's transaction, which also moves the run's cursor: it is judged once. A run that a changed rule has
    outrun gives all of it up: part of it was found by a rule that is no longer there.
    """
    mine = RunItem.run == run.id
    if is_outrun_by_rules(run):
        _end_items(mine & (RunItem.status == "queued"), RunDecision.SUPERSEDED, now)
        Run.update(decision=RunDecision.SUPERSEDED, decided_at=now).where(Run.id == run.id).execute()
    excesses = [excess for group_id, *counts in _counted(run) if (excess := _excess(group_id, *counts)) is not None]
    if excesses:
        other = RunItem.alias()
        skus = other.select(other.sku).where((other.run == run.id) & other.group.in_([e.group_id for e in excesses]))
        RunItem.update(status="held").where(mine & (RunItem.status == "queued") & RunItem.sku.in_(skus)).execute()
        Run.update(guard=json.dumps([asdict(e) for e in excesses], default=str)).where(Run.id == run.id).execute()
    _forget_drops(mine & (RunItem.status != "held"))


def _counted(run: Run) -> list[tuple[str, int, int]]:
    """Group by group: how many SKUs the run would lower, and how many of them to nothing.

    What events have announced or somebody has marked meanwhile will be settled without the run.
    """
    here = run.organization_id
    dirty = DirtySku.select(DirtySku.sku).where(DirtySku.organization == here)
    told = Event.select(Event.sku).where(
        (Event.organization == here) & (Event.state == EventState.PENDING) & Event.sku.is_null(False)
    )
    zeroed = Case(None, [(ItemDrop.is_zeroed == 1, RunItem.sku)], None)
    rows = (
        RunItem.select(RunItem.group, fn.COUNT(RunItem.sku.distinct()), fn.COUNT(zeroed.distinct()))
        .join(ItemDrop)
        .where(
            (RunItem.run == run.id)
            & (RunItem.status == "queued")
            & RunItem.group.is_null(False)
            & RunItem.sku.not_in(dirty)
            & RunItem.sku.not_in(told)
        )
        .group_by(RunItem.group)
        .order_by(RunItem.group)
    )
    return list(rows.tuples())


def _excess(group_id: str, lowered: int, zeroed: int) -> Excess | None:
    group = StockGroup.get_by_id(group_id)
    skus, limits = followed_skus(group), limits_of(group)
    if not judge(lowered, skus, limits).is_held:
        return None
    return Excess(group.id, group.name, skus, lowered, zeroed, limits.min_skus, limits.percent)


def close_superseded(organization_id: str, now: datetime | None = None) -> None:
    """Close held runs after which everything was checked anew: a newer one is held, or the cause is mended.

    A newer check that could not read everything and is not held has not shown that the cause is mended.
    """
    now = now or utcnow()
    here = Run.organization == organization_id
    newest = (
        Run.select(fn.MAX(Run.id))
        .where(here & (Run.scope == "all") & (Run.cursor == SCAN_ENDED))
        .where(Run.guard.is_null(False) | (Run.unread == 0))
        .scalar()
    )
    older = Run.select().where(here & (Run.status == "held") & Run.decision.is_null() & (Run.id < (newest or "")))
    for run in list(older):
        _decide(run, RunDecision.SUPERSEDED, None, now)


def approve(run: Run, user: User) -> bool:
    """Let a held run go on: its SKUs are looked at and planned afresh. False: somebody was faster, or it is over."""
    return _decide(run, RunDecision.APPROVED, user, utcnow())


def discard(run: Run, user: User) -> bool:
    """Close a held run without writing anything. False: somebody was faster, or it is over."""
    return _decide(run, RunDecision.DISCARDED, user, utcnow())


class _TooLate(Exception):
    pass


def _decide(run: Run, decision: RunDecision, user: User | None, now: datetime) -> bool:
    """Decide about a held run, once: of many who try, one does."""
    held = (RunItem.run == run.id) & (RunItem.status == "held")
    changes: dict[str, object] = {"decision": decision, "decided_by": user, "decided_at": now}
    try:
        with database.atomic():
            # Items before their run, as everywhere: two who lock them the other way round would wait for each other.
            if decision is RunDecision.APPROVED:
                RunItem.update(status="queued").where(held).execute()
                # From here on the scan's job marks them, in steps that may stop anywhere, as after any other scan.
                changes |= {"cursor": RELEASING, "status": "running"}
            else:
                _end_items(held, decision, now)
            if decision is RunDecision.SUPERSEDED:
                _forget_drops(RunItem.run == run.id)
            decided = Run.update(changes).where(
                (Run.id == run.id) & (Run.status == "held") & Run.decision.is_null() & Run.finished_at.is_null()
            )
            if decided.execute() != 1:
                raise _TooLate
            if decision is not RunDecision.APPROVED:
                finish_run_if_over(run.id, now)
            else:
                after_commit(lambda: wake(Run.get_by_id(run.id)))
    except _TooLate:
        return False
    return True


def _end_items(which: Expression, decision: RunDecision, now: datetime) -> None:
    RunItem.update(status="skipped", error=decision, finished_at=now).where(which).execute()


def _forget_drops(which: Expression) -> None:
    ItemDrop.delete().where(ItemDrop.item.in_(RunItem.select(RunItem.id).where(which))).execute()
