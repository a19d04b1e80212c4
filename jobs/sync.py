"""Draining dirty SKUs and going on with checks of everything. Twice, late or side by side is harmless:
the rows say what is to be done, and a lease says who does it."""

from __future__ import annotations

import queues
from clock import monotonic, utcnow
from jobs.runtime import job, should_stop
from services import dirty, inbox, reconcile, settle

# A merchant who never stops selling must not keep the others waiting: after this the drain queues itself anew.
TURN_S = 60.0


@job
def drain(organization_id: str) -> None:
    """Settle what is due in the organization until nothing is, then say when to come back."""
    # First the wake-up is taken, then the rows are read: a mark that comes later wakes anew.
    queues.take_wake(organization_id)
    ends_at = monotonic() + TURN_S
    while not should_stop() and monotonic() < ends_at:
        sorted_events = inbox.sort_inbox(organization_id)
        if not settle.settle_due(organization_id, should_stop=should_stop) and not sorted_events:
            break
    due_at = dirty.next_due_at(organization_id)
    if due_at is None:
        return
    if due_at <= utcnow():
        queues.kick(organization_id)
    else:
        queues.kick_at(organization_id, due_at)


@job
def scan(run_id: str) -> None:
    """One turn of a check of everything; it queues itself again until it is over."""
    reconcile.scan(run_id, should_stop=should_stop)
