"""Pacing: every request to Bling waits for its turn, in whichever process and on whichever machine it is made.

Bling allows an account 3 requests in a sliding second and 120,000 a day, all integrations together, and an IP address
600 requests and 300 errors in ten seconds (limites, developer.bling.com.br). Here is what a turn is asked for; who gets
it is decided in `bling.redis_pacer`.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Protocol
from zoneinfo import ZoneInfo

BLING_TIME_ZONE = ZoneInfo("America/Sao_Paulo")


class Errand(StrEnum):
    """What a client was made for."""

    LIVE = "live"
    MANUAL = "manual"
    CHECK = "check"
    CATALOG = "catalog"


class Urgency(IntEnum):
    """What a request is for; the smaller goes first."""

    LIVE_WRITE = 0
    LIVE_READ = 1
    MANUAL = 2
    CHECK = 3
    CATALOG = 4


# How long a request of the urgency gives way to ones of the first: after that it is as old as they are, so that nobody
# waits for ever behind sales that never end.
GIVES_WAY_S = {
    Urgency.LIVE_WRITE: 0.0,
    Urgency.LIVE_READ: 2.0,
    Urgency.MANUAL: 10.0,
    Urgency.CHECK: 20.0,
    Urgency.CATALOG: 30.0,
}
# How much of an account's day may be used up before requests of the urgency have to wait for the next one: the rest is
# kept for sales.
SHARE_OF_DAY = {
    Urgency.LIVE_WRITE: 1.0,
    Urgency.LIVE_READ: 1.0,
    Urgency.MANUAL: 0.9,
    Urgency.CHECK: 0.8,
    Urgency.CATALOG: 0.8,
}


def day_limit(quota: int, urgency: Urgency) -> int:
    """How many requests of the day may have been made for one of this urgency to leave."""
    return int(quota * SHARE_OF_DAY[urgency])


def urgency_of(errand: Errand, *, is_write: bool) -> Urgency:
    if errand is Errand.LIVE:
        return Urgency.LIVE_WRITE if is_write else Urgency.LIVE_READ
    return Urgency[errand.name]


class TokenPacer(Protocol):
    def wait_token_turn(self) -> None:
        """Wait until the token address may be called. Raises RateLimited when the wait would be too long."""

    def hold_tokens(self, seconds: float) -> None:
        """The token address asked for patience: nobody calls it within `seconds`. Never raises."""


class Pacer(Protocol):
    def wait_turn(self, account_id: str, urgency: Urgency) -> str:
        """Wait until a request of this account may leave; returns the ticket to give to `note_left`.

        Raises QuotaExhausted when the day's requests are used up, RateLimited when the wait would be too long.
        """

    def note_left(self, account_id: str, ticket: str) -> None:
        """The request of this ticket has left, or never will. Never raises."""

    def note_answered(self, account_id: str, ticket: str, took_s: float) -> None:
        """Its answer came, this long after it left. Never raises."""

    def hold(self, account_id: str, seconds: float) -> None:
        """Bling asked for patience: nobody's turn comes within `seconds`. Never raises."""

    def requests_today(self, account_id: str) -> int | None:
        """How many turns were taken in Bling's current day; None when that cannot be told."""
