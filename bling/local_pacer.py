"""Pacing of one process by itself, while Redis is away: late is fine, never is not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from bling.errors import RateLimited
from bling.pacing import Urgency


class LocalPacer:
    """So slow that several processes together should still stay below Bling's limit; knows no urgency."""

    def __init__(
        self,
        *,
        interval_s: float = 1.0,
        max_wait_s: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval_s = interval_s
        self._max_wait_s = max_wait_s
        self._sleep = sleep
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._next_turn: dict[str, float] = {}

    def wait_turn(self, account_id: str, _urgency: Urgency) -> str:
        with self._lock:
            now = self._monotonic()
            turn = max(now, self._next_turn.get(account_id, now))
            if turn - now > self._max_wait_s:
                raise RateLimited("pacing", f"no turn within {self._max_wait_s:.0f} s", retry_after_s=turn - now)
            self._next_turn[account_id] = turn + self._interval_s
        if turn > now:
            self._sleep(turn - now)
        return ""

    def note_left(self, account_id: str, ticket: str) -> None:
        """Turns are far enough apart to do without."""

    def note_answered(self, account_id: str, ticket: str, took_s: float) -> None:
        """Turns are far enough apart to do without."""

    def hold(self, account_id: str, seconds: float) -> None:
        with self._lock:
            free_at = self._monotonic() + seconds
            self._next_turn[account_id] = max(free_at, self._next_turn.get(account_id, free_at))

    def requests_today(self, account_id: str) -> int | None:
        return None
