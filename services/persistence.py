"""Keeping what could not be found out a second time, through a database that is away for some seconds."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from clock import monotonic, sleep
from db import UNREACHABLE, database

T = TypeVar("T")

# Less than a lease, and less than a host leaves a process that has to end.
INSIST_S = 15.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 2.0

log = logging.getLogger(__name__)


def insist(action: Callable[[], T]) -> T:
    """Carry this out, over a new connection each time that the database fails it, for INSIST_S at the most.

    Outside of transactions only. Whoever cannot be told that his commit stands does it again, so twice has to be
    harmless.
    """
    ends_at, pause_s = monotonic() + INSIST_S, FIRST_PAUSE_S
    while True:
        try:
            database.connect(reuse_if_open=True)
            return action()
        except UNREACHABLE as error:
            if monotonic() + pause_s > ends_at:
                raise
            log.warning("The database is away (%s); keeping what it has to be told", type(error).__name__)
            # A connection of the pool that broke is thrown away as it is given back.
            database.close()
        sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
