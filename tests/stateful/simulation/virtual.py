"""Virtual time: milliseconds that pass only when the story says so, and identifiers that sort by them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from clock import Clock

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
START_MS = int(datetime(2026, 3, 2, 12, 0, tzinfo=UTC).timestamp() * 1000)


class VirtualClock(Clock):
    """`skew_ms`: how far our clock is ahead of Bling's."""

    def __init__(self) -> None:
        self.ms = START_MS
        self.skew_ms = 0
        self.rest: Callable[[float], None] = lambda _seconds: None

    @property
    def passed_s(self) -> float:
        return (self.ms - START_MS) / 1000

    def utcnow(self) -> datetime:
        return EPOCH + timedelta(milliseconds=self.ms + self.skew_ms)

    def monotonic(self) -> float:
        return self.ms / 1000

    def sleep(self, seconds: float) -> None:
        self.rest(seconds)

    def seconds(self) -> float:
        """Bling's clock."""
        return self.ms / 1000


class Identifiers:
    """UUIDv7 by virtual time. Stands for the module that makes real ones."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._last_ms = 0
        self._made = 0

    def uuid7(self) -> Identifiers:
        self._last_ms = max(self._last_ms, self._clock.ms + self._clock.skew_ms)
        self._made += 1
        return self

    @property
    def hex(self) -> str:
        return f"{self._last_ms:012x}7{self._made >> 60:03x}8{self._made:015x}"
