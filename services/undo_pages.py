"""What the pages show of undoing: the form that chooses, the plan in pages, and what a run undid or was undone by."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import urlencode

from peewee import JOIN, fn

from core.intents import WriteState
from models import Run, RunItem, StockWrite, User
from services.labels import ZONE, momento
from services.undo import Selection, UndoItem, UndoPlan, UndoRefused

ITEMS_PER_PAGE = 50
_MINUTE = timedelta(minutes=1)


@dataclass(slots=True)
class UndoForm:
    """What the address asks to undo, as it was typed. `faults`: field name to what is wrong with it."""

    run_id: str = ""
    sku: str = ""
    since: str = ""
    until: str = ""
    faults: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> UndoForm:
        names = ("execucao", "sku", "de", "ate")
        return cls(*(query.get(name, "").strip()[:200] for name in names))

    @property
    def fields(self) -> dict[str, str]:
        return {"execucao": self.run_id, "sku": self.sku, "de": self.since, "ate": self.until}

    def query(self, **changes: object) -> str:
        """The address of this form's plan, with changes."""
        return urlencode({name: value for name, value in {**self.fields, **changes}.items() if value})

    @property
    def is_empty(self) -> bool:
        return not any(self.fields.values())

    def selection(self) -> Selection:
        """What is selected; both minutes that name a period are part of it.

        :raise UndoRefused: something is wrong with what was typed; `faults` says what.
        """
        if self.run_id:
            return Selection(run_id=self.run_id)
        since, until = self._moment("de", self.since), self._moment("ate", self.until)
        if not self.sku and not self.since:
            self.faults["de"] = "Diga desde quando desfazer, ou um SKU."
        if self.faults:
            raise UndoRefused("; ".join(self.faults.values()))
        return Selection(sku=self.sku or None, since=since, until=None if until is None else until + _MINUTE)

    def _moment(self, name: str, text: str) -> datetime | None:
        if not text:
            return None
        try:
            return datetime.fromisoformat(text).replace(tzinfo=ZONE)
        except ValueError:
            self.faults[name] = "Esta data não existe."
            return None


@dataclass(frozen=True, slots=True)
class PlanPage:
    items: Sequence[UndoItem]
    number: int
    pages: int


def page_of(plan: UndoPlan, number: int) -> PlanPage:
    """One page of the plan: what will be undone first, then what will not and why."""
    items = sorted(plan.items, key=lambda item: not item.is_due)
    pages = max(1, -(-len(items) // ITEMS_PER_PAGE))
    number = min(max(1, number), pages)
    first = (number - 1) * ITEMS_PER_PAGE
    return PlanPage(items[first : first + ITEMS_PER_PAGE], number, pages)


@dataclass(frozen=True, slots=True)
class UndoneBy:
    """A run that took back, or is taking back, `count` balances of another one."""

    run: Run
    count: int


def undone_by(run: Run) -> list[UndoneBy]:
    """The runs that undo something of this one, the newest first."""
    undoing = RunItem.alias()
    counted = (
        StockWrite.select(undoing.run, fn.COUNT(fn.DISTINCT(StockWrite.cell_id)))
        .join(RunItem, on=(StockWrite.item == RunItem.id))
        .join(undoing, on=(StockWrite.undo_item_id == undoing.id))
        .where(RunItem.run == run.id)
        .group_by(undoing.run)
    )
    counts: dict[str, int] = dict(counted.tuples())
    runs = Run.select(Run, User).join(User, JOIN.LEFT_OUTER).where(Run.id.in_(list(counts)))
    return [UndoneBy(one, counts[one.id]) for one in runs.order_by(Run.id.desc())] if counts else []


def can_be_undone(run: Run) -> bool:
    """Whether the run is over and wrote something of which the books are still there."""
    written = (
        StockWrite.select()
        .join(RunItem, on=(StockWrite.item == RunItem.id))
        .where((RunItem.run == run.id) & (StockWrite.state == WriteState.CONFIRMED))
    )
    return run.finished_at is not None and bool(written.exists())


def undone_words(run: Run) -> str:
    """What an undo run was asked to take back, where that was no run: a SKU, a period, or both. '' for other runs."""
    if run.undoes is None:
        return ""
    told = json.loads(run.undoes)
    since, until = (datetime.fromisoformat(told[name]) if told[name] else None for name in ("since", "until"))
    words = f"o que foi escrito no SKU {told['sku']}" if told["sku"] else "o que foi escrito"
    if since is None and until is None:
        return f"{words} nos sete dias antes" if told["sku"] else "outra sincronização"
    # The end was made to include its last minute.
    end = f" até {momento(until - _MINUTE)}" if until is not None else ""
    return f"{words} de {momento(since)}{end}" if since is not None else f"{words}{end}"
