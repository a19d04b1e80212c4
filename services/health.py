"""Which parts of the installation are there, and how much waits in it."""

from __future__ import annotations

from peewee import PeeweeException

import queues
from core.intents import WriteState
from db import UNREACHABLE, connection, database
from models import DirtySku, Event, EventState, StockWrite


def readiness() -> dict[str, bool]:
    """Whether database, Redis, a worker and the scheduler can be reached."""
    has_redis = queues.is_reachable()
    return {
        "database": _has_database(),
        "redis": has_redis,
        "worker": has_redis and queues.worker_count() > 0,
        "scheduler": has_redis and queues.scheduler_alive(),
    }


def _has_database() -> bool:
    try:
        with connection():
            database.execute_sql("SELECT 1")
    except (*UNREACHABLE, PeeweeException):
        return False
    return True


def figures() -> dict[str, tuple[str, int]]:
    """Name, meaning and value of each figure, over all merchants."""
    return {
        "events_pending": ("Events that wait to be looked into.", _count(Event, EventState.PENDING)),
        "events_failed": ("Events that could not be followed.", _count(Event, EventState.FAILED)),
        "dirty_skus": ("SKUs that wait to be settled.", DirtySku.select().count()),
        "writes_planned": ("Writes that have not left yet.", _count(StockWrite, WriteState.PLANNED)),
        "writes_unknown": ("Writes whose outcome is not known.", _count(StockWrite, WriteState.UNKNOWN)),
        "workers": ("Workers alive.", queues.worker_count()),
    }


def _count(table: type[Event] | type[StockWrite], state: str) -> int:
    counted: int = table.select().where(table.state == state).count()
    return counted
