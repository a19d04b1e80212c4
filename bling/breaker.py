"""Circuit breakers: an account that keeps failing is left alone for a while, and so is Bling as a whole.

Bling blocks an address that causes 300 errors in ten seconds (limites, developer.bling.com.br), and whoever asks a
server that is down keeps others waiting. The state is in Redis, by Redis's clock, for all processes and machines.
After a rest one request is let through as a probe; its outcome opens the way again, or begins a longer rest.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from enum import StrEnum
from math import ceil
from typing import Any, Protocol

from redis import Redis, RedisError
from redis.commands.core import Script

from bling.errors import CircuitOpen

log = logging.getLogger(__name__)

# So many failures of an account, one after the other, open its circuit...
FAILURES = 5
# ... and so many of this many accounts, with no answer to anybody in between, open the one of Bling as a whole.
FAILURES_OF_ALL, ACCOUNTS = 10, 3
FIRST_REST_MS, LONGEST_REST_MS, LONGEST_OF_ALL_MS = 1_000, 30_000, 5_000
# Longer than a request may take. A probe that was not heard of by then belonged to a process that died.
PROBE_MS = 15_000
# Well below what an address is blocked for.
ERRORS, ERRORS_MS = 150, 10_000
# A block lasts ten minutes; asking now and then shows when it is over.
BLOCK_REST_S, LONGEST_BLOCK_REST_S = 60.0, 600.0
KEEP_MS = 600_000
# How long Redis is left alone after it failed.
REDIS_REST_S = 5.0


class Ending(StrEnum):
    """How a request ended. FAILED: no answer, or one that says that the server is unwell; it may be another's fault."""

    WELL = "well"
    REFUSED = "refused"
    FAILED = "failed"


class Breaker(Protocol):
    def admit(self, account_id: str) -> None:
        """Raises CircuitOpen while the account, or Bling as a whole, is left alone."""

    def note(self, account_id: str, ending: Ending) -> None:
        """How a request that was admitted ended. Never raises."""

    def give_back(self, account_id: str) -> None:
        """A request that was admitted was not made after all. Never raises."""

    def trip(self, seconds: float) -> None:
        """Bling blocks us: leave it alone. Never raises."""


class NoBreaker:
    """Lets everything through."""

    def admit(self, account_id: str) -> None:
        """Nobody is left alone."""

    def note(self, account_id: str, ending: Ending) -> None:
        """Nobody counts."""

    def give_back(self, account_id: str) -> None:
        """Nobody counts."""

    def trip(self, seconds: float) -> None:
        """Nobody is left alone."""


# KEYS: the circuits, of the account and of everybody. A hash: fails, in a row; opens, in a row; until, ms of the rest;
#       probe, ms until which the request that was let through counts as under way; blocked, where Bling said so
# ARGV: 1 ms of a probe  2 now in ms, empty: by Redis's clock
# Returns {ms to wait, 0: go, more than 0 where a success is news}
_ADMIT = """
local time = redis.call('TIME')
local now = tonumber(ARGV[2]) or time[1] * 1000 + math.floor(time[2] / 1000)
local fails, resting = 0, {}
for n, key in ipairs(KEYS) do
    local known = redis.call('HMGET', key, 'fails', 'until', 'probe', 'blocked')
    local is_well = n == 2 and fails == 0
    fails = fails + tonumber(known[1] or 0)
    if known[2] then
        local free_from = tonumber(known[2])
        -- Where no answer came to others, one that has not failed itself need not wait for what becomes of them.
        if known[4] or not is_well then free_from = math.max(free_from, tonumber(known[3] or 0)) end
        if free_from > now then return {free_from - now, fails + 1} end
        table.insert(resting, key)
    end
end
for _, key in ipairs(resting) do
    redis.call('HSET', key, 'probe', now + ARGV[1])
end
return {0, fails + #resting}
"""

# KEYS: the circuits. The request that was let through first was not made.
_GIVE_BACK = """
for _, key in ipairs(KEYS) do
    if redis.call('HEXISTS', key, 'probe') == 1 then redis.call('HSET', key, 'probe', 0) end
end
"""

# KEYS: 1 the account's circuit  2 everybody's  3 set of accounts that fail  4 errors: sorted set number -> ms
# ARGV: 1 ending  2 account  3 failures that open it  4 of all  5 accounts  6 first rest  7 longest  8 errors  9 ms
#       10 ms to keep  11 longest of all  12 now
# Returns 2 when this closed the circuit of everybody, 1 when it closed the account's
_NOTE = """
local time = redis.call('TIME')
local now = tonumber(ARGV[12]) or time[1] * 1000 + math.floor(time[2] / 1000)
local ending, keep = ARGV[1], ARGV[10]
local closed = 0
if ending ~= 'failed' then
    if redis.call('HEXISTS', KEYS[1], 'until') == 1 then closed = 1 end
    if redis.call('HEXISTS', KEYS[2], 'until') == 1 then closed = 2 end
    redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
    if ending == 'well' then return closed end
end
local function rest(key, ms)
    redis.call('HSET', key, 'until', now + ms, 'probe', 0)
    redis.call('HINCRBY', key, 'opens', 1)
    redis.call('PEXPIRE', key, keep)
end
local function fail(key, limit, longest)
    local fails = redis.call('HINCRBY', key, 'fails', 1)
    redis.call('PEXPIRE', key, keep)
    -- Requests that had left before the rest began say nothing new.
    if fails >= tonumber(limit) and tonumber(redis.call('HGET', key, 'until') or 0) <= now then
        local opens = tonumber(redis.call('HGET', key, 'opens') or 0)
        rest(key, math.min(ARGV[6] * 2 ^ opens, longest))
    end
end
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', now - ARGV[9])
redis.call('ZADD', KEYS[4], now, now .. '-' .. redis.call('INCR', KEYS[4] .. ':number'))
redis.call('PEXPIRE', KEYS[4], ARGV[9])
redis.call('PEXPIRE', KEYS[4] .. ':number', keep)
if redis.call('ZCARD', KEYS[4]) >= tonumber(ARGV[8]) then
    rest(KEYS[2], redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')[2] + ARGV[9] - now)
end
if ending == 'failed' then
    fail(KEYS[1], ARGV[3], ARGV[7])
    redis.call('SADD', KEYS[3], ARGV[2])
    redis.call('PEXPIRE', KEYS[3], keep)
    if redis.call('SCARD', KEYS[3]) >= tonumber(ARGV[5]) then fail(KEYS[2], ARGV[4], ARGV[11]) end
end
return closed
"""

# KEYS: 1 everybody's circuit · ARGV: 1 ms  2 ms to keep  3 now
_TRIP = """
local time = redis.call('TIME')
local now = tonumber(ARGV[3]) or time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], 'until', now + ARGV[1], 'probe', 0, 'blocked', 1)
redis.call('HINCRBY', KEYS[1], 'opens', 1)
redis.call('PEXPIRE', KEYS[1], ARGV[1] + ARGV[2])
"""


class RedisBreaker:
    """While Redis is away nobody is left alone: each process meets Bling's troubles by itself, as its retries do.

    `on_closed` is told of an account that answers again, or of None when Bling as a whole does.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        prefix: str = "estoqueuni:",
        on_closed: Callable[[str | None], None] = lambda _account_id: None,
        now_ms: Callable[[], int | str] = lambda: "",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`now_ms`: a clock in place of Redis's."""
        self._admit = redis.register_script(_ADMIT)
        self._note = redis.register_script(_NOTE)
        self._give_back = redis.register_script(_GIVE_BACK)
        self._trip = redis.register_script(_TRIP)
        # The braces keep all keys together on a Redis Cluster, where a script may touch one slot only.
        self._prefix = f"{prefix}{{breaker}}:"
        self._on_closed = on_closed
        self._now_ms = now_ms
        self._monotonic = monotonic
        self._rests_until = 0.0
        # Accounts of which the last admission told of failures: only then a success has to be noted.
        self._failing: set[str] = set()

    def admit(self, account_id: str) -> None:
        found = self._call(self._admit, self._circuits(account_id), [PROBE_MS, self._now_ms()])
        if not found:
            return
        wait_ms, news = found
        if news:
            self._failing.add(account_id)
        if wait_ms:
            raise CircuitOpen("circuit breaker", "left alone after failures", retry_after_s=wait_ms / 1000)

    def note(self, account_id: str, ending: Ending) -> None:
        if ending is Ending.WELL and account_id not in self._failing:
            return
        if ending is not Ending.FAILED:
            self._failing.discard(account_id)
        keys = [*self._circuits(account_id), f"{self._prefix}failing", f"{self._prefix}errors"]
        limits = [FAILURES, FAILURES_OF_ALL, ACCOUNTS, FIRST_REST_MS, LONGEST_REST_MS, ERRORS, ERRORS_MS, KEEP_MS]
        closed = self._call(self._note, keys, [ending, account_id, *limits, LONGEST_OF_ALL_MS, self._now_ms()])
        if not closed:
            return
        log.info("%s answers again", f"Account {account_id}" if closed == 1 else "Bling")
        try:
            self._on_closed(account_id if closed == 1 else None)
        except Exception:
            # What became of the request must not get lost over it; whoever waits comes back by itself.
            log.exception("Could not tell that account %s answers again", account_id)

    def give_back(self, account_id: str) -> None:
        if account_id in self._failing:
            self._call(self._give_back, self._circuits(account_id), [])

    def trip(self, seconds: float) -> None:
        seconds = min(seconds, LONGEST_BLOCK_REST_S)
        log.warning("Bling blocks this installation; nothing is asked for %.0f s", seconds)
        self._call(self._trip, [f"{self._prefix}everybody"], [ceil(seconds * 1000), KEEP_MS, self._now_ms()])

    def _call(self, script: Script, keys: list[str], args: list[Any]) -> Any:
        """What the script returns; None while Redis is away."""
        if self._monotonic() < self._rests_until:
            return None
        try:
            return script(keys=keys, args=args)
        except RedisError as error:
            log.warning("no circuit breaker for %.0f s: %s", REDIS_REST_S, error)
            self._rests_until = self._monotonic() + REDIS_REST_S
            return None

    def _circuits(self, account_id: str) -> list[str]:
        return [f"{self._prefix}{account_id}", f"{self._prefix}everybody"]
