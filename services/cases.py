"""A claimed SKU on its way through a settling, with all that is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from models import Event, EventState, Run, RunItem
from services.departures import give_up_departed
from services.dirty import Claim
from services.entries import Decision
from services.frame_loading import load_frames
from services.frames import CellFrame, PoolFrame, settle_window
from services.group_books import release_orphans
from services.recording import Recorded
from services.undoing import Task, load_tasks
from services.writes import Sent, doubt_abandoned


@dataclass(slots=True)
class Case:
    """One claimed SKU on its way through a settling. `open_items` wait for it; `tasks` undo something of it.

    `doubt_over_at`: when writes of unknown outcome can be settled that could not be now. `undecided`: cells with one
    that was settled just now without evidence.
    """

    claim: Claim
    frames: list[PoolFrame]
    events: list[Event]
    open_items: list[RunItem]
    tasks: list[Task] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    recorded: Recorded = field(default_factory=Recorded)
    sent: list[Sent] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)
    again_at: datetime | None = None
    must_look: bool = False
    doubt_over_at: datetime | None = None
    undecided: set[str] = field(default_factory=set)

    @property
    def cells(self) -> list[CellFrame]:
        undone = [cell for task in self.tasks for frame in task.frames for cell in frame.cells]
        return [cell for frame in self.frames for cell in frame.cells] + undone


def load_cases(organization_id: str, claims: Sequence[Claim]) -> list[Case]:
    skus = [claim.sku for claim in claims]
    frames = load_frames(organization_id, skus)
    if release_orphans(claims, (frame for listed in frames.values() for frame in listed)):
        frames = load_frames(organization_id, skus)
    events: dict[str, list[Event]] = {sku: [] for sku in skus}
    pending = Event.select().where(
        (Event.organization == organization_id) & Event.sku.in_(skus) & (Event.state == EventState.PENDING)
    )
    for event in pending.order_by(Event.bling_event_id, Event.id):
        events[event.sku].append(event)
    items: dict[str, list[RunItem]] = {sku: [] for sku in skus}
    undoing: list[RunItem] = []
    waiting = (
        RunItem.select(RunItem, Run)
        .join(Run)
        .where((RunItem.organization == organization_id) & RunItem.sku.in_(skus) & RunItem.finished_at.is_null())
    )
    for item in waiting.order_by(RunItem.id):
        (undoing if item.run.undoes is not None else items[item.sku]).append(item)
    tasks = load_tasks(organization_id, undoing)
    cases = [Case(claim, frames[claim.sku], events[claim.sku], items[claim.sku], tasks[claim.sku]) for claim in claims]
    for case in cases:
        for cell in case.cells:
            if cell.open_write is not None:
                doubt_abandoned([cell.open_write], case.claim)
        _give_up_departed(case)
    return cases


def reload_frames(case: Case) -> None:
    """The books of a case again, after they changed."""
    claim = case.claim
    case.frames = load_frames(claim.organization_id, [claim.sku])[claim.sku]
    case.tasks = load_tasks(claim.organization_id, [task.item for task in case.tasks])[claim.sku]


def _give_up_departed(case: Case) -> None:
    """A write of unknown outcome must not keep a place for ever from the pool its product is in now."""
    opened = [cell.open_write for cell in case.cells if cell.open_write is not None]
    doubtful = [*opened, *(write for frame in case.frames for write in frame.departed)]
    given_up = {write.id for write in give_up_departed(doubtful, settle_window())} if doubtful else set()
    for cell in case.cells:
        if cell.open_write is not None and cell.open_write.id in given_up:
            cell.open_write = None
