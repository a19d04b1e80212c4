"""The tick: finds every piece of work that lost its wake-up, and starts what the clock asks for.

It may run twice, late, or several times at once: each thing it starts is claimed by one row's update.
"""

from __future__ import annotations

from datetime import timedelta

import queues
from clock import utcnow
from jobs.runtime import job
from models import DirtySku, Event, EventState, Run, RunType
from services import dirty, reconcile, runs, token_renewal

# Work that is younger than this has a wake-up on its way.
GRACE = timedelta(seconds=5)
# What has been open for this long without anybody's name on it was left behind by a process that is gone.
FORGOTTEN_AFTER = timedelta(seconds=20)


@job
def tick() -> None:
    """Sweep forgotten work and start due checks."""
    now = utcnow()
    forgotten = dirty.mark_forgotten(now - FORGOTTEN_AFTER)
    waiting = DirtySku.select(DirtySku.organization).where(
        (DirtySku.due_at <= now - GRACE) & (DirtySku.lease.is_null() | (DirtySku.lease_until < now))
    )
    unsorted = Event.select(Event.organization).where(
        (Event.state == EventState.PENDING) & Event.sku.is_null() & (Event.received_at <= now - GRACE)
    )
    forgotten |= {row.organization_id for row in (*waiting.distinct(), *unsorted.distinct())}
    for organization_id in sorted(one for one in forgotten if one is not None):
        queues.kick(organization_id, force=True)
    for organization in reconcile.due_organizations():
        if reconcile.claim_reconcile(organization):
            runs.start_run(organization, RunType.CRON, skus=None, reason="schedule")
    for account_id, ends_ms in token_renewal.due_for_renewal(now):
        queues.enqueue("jobs.tokens.renew", account_id, ends_ms, queue=queues.BULK)
    stalled = Run.select().where(
        Run.is_scanning() & (Run.lease.is_null() | (Run.lease_until < now)) & (Run.created_at <= now - GRACE)
    )
    for run in stalled:
        runs.wake(run)
    runs.finish_forgotten(now - GRACE)
