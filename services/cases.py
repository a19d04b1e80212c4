"""A claimed SKU on its way through a settling, with all that is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from models import Event, EventState, RunItem
from services.dirty import Claim
from services.entries import Decision
from services.frames import CellFrame, PoolFrame, load_frames
from services.recording import Recorded
from services.writes import Sent, doubt_abandoned


@dataclass(slots=True)
class Case:
    """One claimed SKU on its way through a settling."""

    claim: Claim
    frames: list[PoolFrame]
    events: list[Event]
    open_items: list[RunItem]
    decisions: list[Decision] = field(default_factory=list)
    recorded: Recorded = field(default_factory=Recorded)
    sent: list[Sent] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)
    again_at: datetime | None = None
    must_look: bool = False

    @property
    def cells(self) -> list[CellFrame]:
        return [cell for frame in self.frames for cell in frame.cells]


def load_cases(organization_id: str, claims: Sequence[Claim]) -> list[Case]:
    skus = [claim.sku for claim in claims]
    frames = load_frames(organization_id, skus)
    events: dict[str, list[Event]] = {sku: [] for sku in skus}
    pending = Event.select().where(
        (Event.organization == organization_id) & Event.sku.in_(skus) & (Event.state == EventState.PENDING)
    )
    for event in pending.order_by(Event.bling_event_id, Event.id):
        events[event.sku].append(event)
    items: dict[str, list[RunItem]] = {sku: [] for sku in skus}
    waiting = RunItem.select().where(
        (RunItem.organization == organization_id) & RunItem.sku.in_(skus) & RunItem.finished_at.is_null()
    )
    for item in waiting.order_by(RunItem.id):
        items[item.sku].append(item)
    cases = [Case(claim, frames[claim.sku], events[claim.sku], items[claim.sku]) for claim in claims]
    for case in cases:
        for cell in case.cells:
            if cell.open_write is not None:
                doubt_abandoned([cell.open_write], case.claim)
    return cases
