"""The entries of the history: which runs tell of a look, before and after of each deposit, and the derivation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from core.facts import ZERO
from core.plan import PoolPlan
from core.skus import Problem
from models import Cell, Event, ItemDeposit, Run, RunItem, RunType
from services.frames import CellFrame, PoolFrame
from services.runs import open_webhook_run


@dataclass(slots=True)
class Decision:
    """A frame with its plan; `plan` is None when the SKU cannot be synchronized in this group at all."""

    frame: PoolFrame
    plan: PoolPlan | None


def obstacle(plan: PoolPlan, cell: CellFrame) -> str | None:
    """Why a cell is not written: it should change and may not, or nobody knows what became of the last write."""
    return Problem.UNKNOWN_WRITE if cell.is_in_doubt else plan.held.get(cell.key)


class Entries:
    """Which entries of the history tell of one look.

    A run that waits for the SKU gets its entry filled in. Events that changed something, or that could not be
    followed, get a run of their own; events that changed nothing leave no entry. A look that an undo asked for
    (`asked_by_undo`) needs none for a SKU that its rule leaves alone.
    """

    def __init__(
        self, events: list[Event], open_items: list[RunItem], now: datetime, *, asked_by_undo: bool = False
    ) -> None:
        self._events, self._open, self._now = events, open_items, now
        self._asked_by_undo = asked_by_undo
        self._webhook_run: Run | None = None

    def of(self, decision: Decision) -> list[RunItem]:
        """The entries for one group, the first of which the writes and movements belong to."""
        frame = decision.frame
        runs = {item.run_id: item.run for item in self._open}
        of_webhook = sorted(runs, key=lambda run_id: (runs[run_id].type != RunType.WEBHOOK, run_id))
        items = [self._item_of_run(frame, run_id) for run_id in of_webhook]
        told = self._told(frame)
        waits = any(run.type == RunType.WEBHOOK for run in runs.values())
        is_quiet = self._asked_by_undo and decision.plan is None and (not told or frame.problem == Problem.IGNORED)
        if _is_news(decision) and not is_quiet and not waits and (told or not items):
            if self._webhook_run is None:
                cause = _main_event(decision, told) if told else None
                self._webhook_run = open_webhook_run(frame.group.organization_id, cause, self._now)
            items.insert(0, _new_item(frame, self._webhook_run.id, self._now))
        return items

    def _item_of_run(self, frame: PoolFrame, run_id: str) -> RunItem:
        for item in self._open:
            if item.run_id == run_id and item.group_id in (None, frame.group.id):
                item.group = frame.group.id
                item.product_name = item.product_name or frame.product_name
                item.save()
                return item
        return _new_item(frame, run_id, self._now)

    def _told(self, frame: PoolFrame) -> list[Event]:
        products = {cell.product.bling_id for cell in frame.cells}
        told = [event for event in self._events if event.product_bling_id in products]
        return told or (self._events if frame.problem is not None or frame.left_out else [])


def _is_news(decision: Decision) -> bool:
    return decision.plan is None or decision.plan.has_news or bool(decision.plan.held)


def _main_event(decision: Decision, told: list[Event]) -> Event:
    """The event to show as the cause: one of a cell that moved, if there is one."""
    plan = decision.plan
    for cell in decision.frame.cells:
        look = plan.looks.get(cell.key) if plan is not None else None
        if look is not None and (look.movement != ZERO or look.again_at is not None) and cell.events:
            return cell.events[-1]
    return told[0]


def _new_item(frame: PoolFrame, run_id: str, now: datetime) -> RunItem:
    return RunItem.create(
        organization=frame.group.organization_id,
        run=run_id,
        group=frame.group.id,
        sku=frame.sku,
        product_name=frame.product_name,
        status="running",
        created_at=now,
    )


def show_deposits(item: RunItem, decision: Decision, cells: Mapping[str, Cell]) -> None:
    """Before and after of every deposit, and how the number came about, as it was decided."""
    frame, plan = decision.frame, decision.plan
    if plan is None:
        return
    for cell in frame.cells:
        row = cells.get(cell.key)
        if row is None:
            continue
        look = plan.looks.get(cell.key)
        movement = look.movement if look is not None else ZERO
        wanted = plan.wanted.get(cell.key)
        unread = cell.problem or plan.missing.get(cell.key) if look is None else None
        error = obstacle(plan, cell) or unread
        before = cell.row.accounted if cell.row is not None else row.accounted
        known = ItemDeposit.get_or_none((ItemDeposit.item == item.id) & (ItemDeposit.deposit == cell.deposit.id))
        if known is None:
            ItemDeposit.create(
                organization=frame.group.organization_id,
                item=item.id,
                cell_id=row.id,
                account=cell.account.id,
                deposit=cell.deposit.id,
                role=cell.role,
                before=before,
                movement=movement,
                after=before + movement,
                wanted=wanted,
                error=error,
            )
        else:
            known.movement += movement
            known.after += movement
            known.wanted, known.error = wanted, error
            known.save()
    item.available = plan.available
    item.explanation = json.dumps(_explanation(frame, plan), ensure_ascii=False)
    item.status = "running"
    item.save()


def _explanation(frame: PoolFrame, plan: PoolPlan) -> dict[str, object]:
    """The derivation of the number: what was read, what moved, what stood in for what could not be read."""
    return {
        "group": frame.group.name,
        "mode": frame.group.mode,
        "balance": frame.group.balance,
        "owed": str(plan.owed),
        "level": None if plan.level is None else str(plan.level),
        "available": None if plan.available is None else str(plan.available),
        "missing": dict(plan.missing),
        "left_out": frame.left_out,
        "cells": [
            {
                "account": cell.account.name,
                "deposit": cell.deposit.name,
                "role": cell.role,
                "accounted": str(look.accounted if look else cell.row.accounted if cell.row else None),
                "reserved": str(look.reserved if look else cell.row.reserved if cell.row else None),
                "movement": str(look.movement) if look else None,
                "evidence": look.evidence if look else None,
                "put_off": str(look.put_off) if look and look.put_off is not None else None,
                "doubt": str(look.doubt) if look else None,
                "unread": None if look else plan.missing.get(cell.key) or cell.problem,
                "wanted": str(plan.wanted[cell.key]) if cell.key in plan.wanted else None,
                "held": plan.held.get(cell.key),
            }
            for cell in frame.cells
            for look in (plan.looks.get(cell.key),)
        ],
    }
