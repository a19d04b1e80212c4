"""The one place that reads clocks and sleeps, so that tests and simulations can move time."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class Clock:
    """The clocks of the machine. A simulation puts one of its own in their place with `use`."""

    def utcnow(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


_clock = Clock()


def use(clock: Clock) -> Clock:
    """Take the time from this clock from now on; returns the one used before."""
    global _clock
    before, _clock = _clock, clock
    return before


def utcnow() -> datetime:
    """The present moment, aware, in UTC."""
    return _clock.utcnow()


def monotonic() -> float:
    """Seconds since some moment, never going back: for measuring how long something takes."""
    return _clock.monotonic()


def sleep(seconds: float) -> None:
    """Do nothing for so long."""
    _clock.sleep(seconds)
