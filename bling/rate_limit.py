"""Pacing: every request to a Bling account waits for its turn, in whichever process it is made.

The rule it guards: no sliding second in which more requests leave than Bling allows. What Bling counts is when a
request arrives, not when its turn was given, so a turn that was taken but has not left yet (a connection being made)
counts as leaving now. Without Redis each process paces itself, slowly: late is fine, never is not.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from math import ceil
from typing import Protocol
from zoneinfo import ZoneInfo

from redis import Redis, RedisError

from bling.errors import QuotaExhausted, RateLimited

log = logging.getLogger(__name__)

BLING_TIME_ZONE = ZoneInfo("America/Sao_Paulo")
# Networks deliver unevenly: the paced second is this much longer than Bling's.
MARGIN_S = 0.03
# Longer than a connection may take. A turn that has not left by then belonged to a process that died.
LEAVING_LIMIT_S = 4.0


class Pacer(Protocol):
    def wait_turn(self, account_id: str) -> str:
        """Wait until a request of this account may leave; returns the ticket to give to `note_left`.

        Raises QuotaExhausted when the day's requests are used up, RateLimited when the wait would be too long.
        """

    def note_left(self, account_id: str, ticket: str) -> None:
        """The request of this ticket has left, or never will. Never raises."""

    def hold(self, account_id: str, seconds: float) -> None:
        """Bling asked for patience: nobody's turn comes within `seconds`. Never raises."""

    def requests_today(self, account_id: str) -> int | None:
        """How many turns were taken in Bling's current day; None when that cannot be told."""


# KEYS: 1 left     sorted set ticket -> ms at which its request left
#       2 leaving  sorted set ticket -> ms at which its turn came; the request has not left yet
#       3 line     sorted set ticket -> ms of the turn reserved for it
#       4 hold     exists as long as nobody may send
#       5 count    of the day's requests
# ARGV: 1 ticket  2 rate  3 window ms  4 quota of the day  5 ms after which a leaving turn is given up
#       6 seconds to keep the count
# Returns {0, n}: it is your turn, the n-th today · {ms, 0}: reserved, ask again after that long
#         {-1, n}: the quota is used up
_TAKE_TURN = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ticket, rate, window = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[5])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - window)

local count = tonumber(redis.call('GET', KEYS[5]) or '0')
if count >= tonumber(ARGV[4]) then
    redis.call('ZREM', KEYS[3], ticket)
    return {-1, count}
end

local ahead = {}
local function line_up(range, from)
    for i = 2, #range, 2 do
        table.insert(ahead, math.max(tonumber(range[i]), from))
    end
end
local reserved = redis.call('ZSCORE', KEYS[3], ticket)
line_up(redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES'), 0)
line_up(redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES'), now)
line_up(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', '(' .. (reserved or 'inf'), 'WITHSCORES'), now)
table.sort(ahead)

local turn = math.max(now, now + redis.call('PTTL', KEYS[4]))
if #ahead >= rate then
    turn = math.max(turn, ahead[#ahead - rate + 1] + window)
end
if turn > now then
    redis.call('ZADD', KEYS[3], turn, ticket)
    redis.call('PEXPIRE', KEYS[3], turn - now + 60000)
    return {turn - now, 0}
end
redis.call('ZREM', KEYS[3], ticket)
redis.call('ZADD', KEYS[2], now, ticket)
redis.call('PEXPIRE', KEYS[2], ARGV[5])
count = redis.call('INCR', KEYS[5])
redis.call('EXPIRE', KEYS[5], ARGV[6])
return {0, count}
"""

# KEYS: 1 left  2 leaving · ARGV: 1 ticket  2 ms to keep. The request counts from now on.
_NOTE_LEFT = """
local time = redis.call('TIME')
if redis.call('ZREM', KEYS[2], ARGV[1]) == 1 then
    redis.call('ZADD', KEYS[1], time[1] * 1000 + math.floor(time[2] / 1000), ARGV[1])
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
"""

# KEYS: 1 hold · ARGV: 1 ms. A longer hold is never shortened.
_HOLD = """
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then
    redis.call('SET', KEYS[1], '1', 'PX', ARGV[1])
end
"""

_KEEP_COUNT_S = 3 * 24 * 3600


class RedisPacer:
    """One budget per account for all processes, in Redis; falls back to a `LocalPacer` while Redis is away.

    The Redis connection should have short time-outs: after a failure it is left alone for `redis_rest_s`.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        rate_per_second: int,
        rate_per_day: int,
        utcnow: Callable[[], datetime],
        prefix: str = "estoqueuni:",
        max_wait_s: float = 60.0,
        redis_rest_s: float = 5.0,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._take_turn = redis.register_script(_TAKE_TURN)
        self._note_left = redis.register_script(_NOTE_LEFT)
        self._hold = redis.register_script(_HOLD)
        self._redis = redis
        self._rate = rate_per_second
        self._quota = rate_per_day
        self._utcnow = utcnow
        self._prefix = prefix
        self._max_wait_s = max_wait_s
        self._rest_s = redis_rest_s
        self._rests_until = 0.0
        self._sleep = sleep
        self._monotonic = monotonic
        self._fallback = LocalPacer(max_wait_s=max_wait_s, sleep=sleep, monotonic=monotonic)

    def wait_turn(self, account_id: str) -> str:
        ticket = uuid.uuid4().hex
        asked_at = self._monotonic()
        while True:
            try:
                wait_ms, _ = self._take(account_id, ticket)
            except RedisError as error:
                self._let_redis_rest(error)
                return self._fallback.wait_turn(account_id)
            if wait_ms == 0:
                return ticket
            if wait_ms < 0:
                raise QuotaExhausted(
                    "pacing", f"{self._quota} requests made today", retry_after_s=self._seconds_to_midnight()
                )
            self._refuse_long_wait(account_id, ticket, asked_at, wait_ms / 1000)
            self._sleep(wait_ms / 1000)

    def note_left(self, account_id: str, ticket: str) -> None:
        try:
            if self._is_redis_trusted():
                self._note_left(keys=self._keys(account_id, "left", "leaving"), args=[ticket, 10_000])
        except RedisError as error:
            self._let_redis_rest(error)

    def hold(self, account_id: str, seconds: float) -> None:
        self._fallback.hold(account_id, seconds)
        try:
            if self._is_redis_trusted():
                self._hold(keys=self._keys(account_id, "hold"), args=[max(1, ceil(seconds * 1000))])
        except RedisError as error:
            self._let_redis_rest(error)

    def requests_today(self, account_id: str) -> int | None:
        try:
            return int(self._redis.get(self._count_key(account_id)) or 0)
        except RedisError:
            return None

    def _take(self, account_id: str, ticket: str) -> tuple[int, int]:
        if not self._is_redis_trusted():
            raise RedisError("resting after a failure")
        wait_ms, count = self._take_turn(
            keys=[*self._keys(account_id, "left", "leaving", "line", "hold"), self._count_key(account_id)],
            args=[
                ticket,
                self._rate,
                ceil((1 + MARGIN_S) * 1000),
                self._quota,
                ceil(LEAVING_LIMIT_S * 1000),
                _KEEP_COUNT_S,
            ],
        )
        return int(wait_ms), int(count)

    def _refuse_long_wait(self, account_id: str, ticket: str, asked_at: float, wait_s: float) -> None:
        if self._monotonic() - asked_at + wait_s <= self._max_wait_s:
            return
        try:
            self._redis.zrem(self._keys(account_id, "line")[0], ticket)
        except RedisError as error:
            self._let_redis_rest(error)
        raise RateLimited("pacing", f"no turn within {self._max_wait_s:.0f} s", retry_after_s=wait_s)

    def _keys(self, account_id: str, *names: str) -> list[str]:
        # The braces keep an account's keys together on a Redis Cluster, where a script may touch one slot only.
        return [f"{self._prefix}pace:{{{account_id}}}:{name}" for name in names]

    def _count_key(self, account_id: str) -> str:
        day = self._utcnow().astimezone(BLING_TIME_ZONE).date()
        return f"{self._prefix}pace:{{{account_id}}}:count:{day.isoformat()}"

    def _seconds_to_midnight(self) -> float:
        now = self._utcnow().astimezone(BLING_TIME_ZONE)
        midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        return (midnight - now).total_seconds()

    def _is_redis_trusted(self) -> bool:
        return self._monotonic() >= self._rests_until

    def _let_redis_rest(self, error: RedisError) -> None:
        if self._is_redis_trusted():
            log.warning("pacing without Redis for %.0f s: %s", self._rest_s, error)
            self._rests_until = self._monotonic() + self._rest_s


class LocalPacer:
    """Paces this process alone, so slowly that several processes together should still stay below Bling's limit."""

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

    def wait_turn(self, account_id: str) -> str:
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

    def hold(self, account_id: str, seconds: float) -> None:
        with self._lock:
            free_at = self._monotonic() + seconds
            self._next_turn[account_id] = max(free_at, self._next_turn.get(account_id, free_at))

    def requests_today(self, account_id: str) -> int | None:
        return None
