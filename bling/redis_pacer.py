"""Turns for all processes and machines, in Redis; by Redis's clock, so that theirs may differ.

What Bling counts is when a request arrives there. We know when it left and when its answer was back, and so:

- A turn that was given but has not left yet (a connection is being made) counts as leaving now.
- A request that left counts as arriving JITTER later, until its answer tells more: no answer is faster than the fastest
  seen, so by as much as it took longer, and no more, the request may have arrived later. Where the way is even, nothing
  of the second is lost; where it is not, four requests still do not arrive in one.

Whoever waits stands in a line per account, ordered by when it asked and by how long its urgency gives way to others.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from math import ceil

from redis import Redis, RedisError
from redis.commands.core import Script

from bling.errors import KeptForSales, QuotaExhausted, RateLimited
from bling.local_pacer import LocalPacer
from bling.pacing import BLING_TIME_ZONE, GIVES_WAY_S, Urgency, day_limit

log = logging.getLogger(__name__)

# Redis tells milliseconds, each rounded down, and a process is woken a moment late but never early.
SECOND_MS = 1003
JITTER_MS = 50
# Whoever is refused for the second all the same allows for twice as much, for some minutes.
MAX_JITTER_MS, JITTER_KEPT_MS = 800, 600_000
# How long answers take is known after this many of them; the fastest of the last two periods counts.
MEASURED_AFTER = 20
PERIOD_MS = 30_000
# Longer than a connection may take. A turn that has not left by then belonged to a process that died.
LEAVING_LIMIT_S = 4.0
# Whoever was told when to come back and did not within this time after it has lost its place; it died, or is slow.
GRACE_MS = 100
# An IP address may make 600 requests in ten seconds; all our accounts together stay well below.
CEILING, CEILING_MS = 480, 10_000
# And 20 calls of the token address in 60 s, beyond which it is blocked for an hour.
TOKEN_CEILING, TOKEN_CEILING_MS = 18, 61_000
# Whoever asks for a token holds the one right to refresh an account (bling.tokens.REFRESH_CLAIM_S).
TOKEN_WAIT_S = 30.0

# KEYS: 1 arrived    sorted set ticket -> ms by which its request has arrived at Bling
#       2 leaving    sorted set ticket -> ms at which its turn came; the request has not left yet
#       3 line       sorted set ticket -> ms by which it is served: when it asked, and for how long it gives way
#       4 back       sorted set ticket of the line -> ms at which it asks again
#       5 hold       ms until which nobody of the account may send
#       6 count      of the day's requests
#       7 everybody  sorted set ticket -> ms at which its turn came, of all accounts
#       8 flying     sorted set ticket -> ms at which its request left, of those without an answer
# ARGV: 1 ticket  2 rate  3 second  4 ms after which a leaving turn is given up  5 how many of the day may be used
#       6 seconds to keep the count  7 ms that it gives way from now on  8 ceiling  9 ms of the ceiling  10 grace
#       11 now in ms, empty: by Redis's clock
# Returns {0, n}: it is your turn, the n-th today · {ms, 0}: ask again after that long · {-1, n}: the day is used up
_TAKE_TURN = """
local time = redis.call('TIME')
local now = tonumber(ARGV[11]) or time[1] * 1000 + math.floor(time[2] / 1000)
local ticket, rate, second = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - second)
redis.call('ZREMRANGEBYSCORE', KEYS[8], '-inf', now - second)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - ARGV[4])
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now - ARGV[10])) do
    redis.call('ZREM', KEYS[3], gone)
    redis.call('ZREM', KEYS[4], gone)
end

local count = tonumber(redis.call('GET', KEYS[6]) or '0')
if count >= tonumber(ARGV[5]) then
    redis.call('ZREM', KEYS[3], ticket)
    redis.call('ZREM', KEYS[4], ticket)
    return {-1, count}
end
redis.call('ZADD', KEYS[3], now + ARGV[7], ticket)
local before = math.min(redis.call('ZRANK', KEYS[3], ticket), 100)

-- When the turn comes if those before it in the line take theirs, and each request arrived when `arrivals` say.
local free_from = math.max(now, tonumber(redis.call('GET', KEYS[5]) or now))
local function turn_after(arrivals)
    local turn
    for _ = 0, before do
        table.sort(arrivals)
        turn = free_from
        if #arrivals >= rate then
            turn = math.max(turn, arrivals[#arrivals - rate + 1] + second)
        end
        table.insert(arrivals, turn)
    end
    return turn
end
local surely, hopefully = {}, {}
local arrived = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for i = 2, #arrived, 2 do
    table.insert(surely, tonumber(arrived[i]))
    table.insert(hopefully, tonumber(redis.call('ZSCORE', KEYS[8], arrived[i - 1]) or arrived[i]))
end
for _ = 1, redis.call('ZCARD', KEYS[2]) do
    table.insert(surely, now)
    table.insert(hopefully, now)
end
local turn = turn_after(surely)
if turn > now then
    -- An answer that is on its way may bring it forward.
    turn = math.max(turn_after(hopefully), math.min(turn, now + 5))
else
    redis.call('ZREMRANGEBYSCORE', KEYS[7], '-inf', now - ARGV[9])
    if redis.call('ZCARD', KEYS[7]) >= tonumber(ARGV[8]) then
        turn = redis.call('ZRANGE', KEYS[7], 0, 0, 'WITHSCORES')[2] + ARGV[9]
    end
end
if turn > now then
    redis.call('ZADD', KEYS[4], turn, ticket)
    redis.call('PEXPIRE', KEYS[3], turn - now + 60000)
    redis.call('PEXPIRE', KEYS[4], turn - now + 60000)
    return {turn - now, 0}
end
redis.call('ZREM', KEYS[3], ticket)
redis.call('ZREM', KEYS[4], ticket)
redis.call('ZADD', KEYS[2], now, ticket)
redis.call('PEXPIRE', KEYS[2], ARGV[4])
redis.call('ZADD', KEYS[7], now, ticket)
redis.call('PEXPIRE', KEYS[7], ARGV[9])
count = redis.call('INCR', KEYS[6])
redis.call('EXPIRE', KEYS[6], ARGV[6])
return {0, count}
"""

# KEYS: 1 arrived  2 leaving  3 flying  4 jitter, ms
# ARGV: 1 ticket  2 jitter where none is noted  3 ms to keep  4 now. The request is on its way.
_NOTE_LEFT = """
local time = redis.call('TIME')
local now = tonumber(ARGV[4]) or time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('ZREM', KEYS[2], ARGV[1]) == 1 then
    redis.call('ZADD', KEYS[1], now + (redis.call('GET', KEYS[4]) or ARGV[2]), ARGV[1])
    redis.call('ZADD', KEYS[3], now, ARGV[1])
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
    redis.call('PEXPIRE', KEYS[3], ARGV[3])
end
"""

# KEYS: 1 arrived  2 flying  3 jitter  4 answers: how many, ms that the fastest took in this period and in the one
#       before, when the period began, and ms that one takes of late
# ARGV: 1 ticket  2 ms that it took  3 jitter where none is noted  4 how many it takes to know them  5 ms of a period
#       6 now
_NOTE_ANSWERED = """
local time = redis.call('TIME')
local now = tonumber(ARGV[6]) or time[1] * 1000 + math.floor(time[2] / 1000)
local took = tonumber(ARGV[2])
local known = redis.call('HMGET', KEYS[4], 'answers', 'fastest', 'before', 'since', 'typical')
local answers = tonumber(known[1] or 0) + 1
local fastest, before = tonumber(known[2] or took), tonumber(known[3] or took)
local since, typical = tonumber(known[4] or now), tonumber(known[5] or took)
if now - since > tonumber(ARGV[5]) then
    before, fastest, since = fastest, took, now
end
fastest = math.min(fastest, took)
typical = typical + (took - typical) / 10
redis.call('HSET', KEYS[4], 'answers', answers, 'typical', typical)
redis.call('HSET', KEYS[4], 'fastest', fastest, 'before', before, 'since', since)
redis.call('PEXPIRE', KEYS[4], 10 * ARGV[5])
local left = redis.call('ZSCORE', KEYS[2], ARGV[1])
if left then
    redis.call('ZREM', KEYS[2], ARGV[1])
    local late = took
    if answers > tonumber(ARGV[4]) then
        -- One that was fast on the whole may have been slow on the way there, by what is usual; and the next one may be
        -- faster than any so far, by as much again.
        local quick = math.min(fastest, before)
        local usual = math.max(typical, quick)
        late = math.max(took, usual) - math.max(0, 2 * quick - usual)
    end
    local jitter = tonumber(redis.call('GET', KEYS[3]) or ARGV[3])
    redis.call('ZADD', KEYS[1], 'XX', left + math.min(math.ceil(late), jitter), ARGV[1])
end
"""

# KEYS: 1 tokens     sorted set ticket -> ms at which its turn came
#       2 no tokens  ms until which nobody may ask for one
# ARGV: 1 ticket  2 ceiling  3 ms of the ceiling  4 now
# Returns 0: it is your turn, ms: ask again after that long.
_TAKE_OAUTH_TURN = """
local time = redis.call('TIME')
local now = tonumber(ARGV[4]) or time[1] * 1000 + math.floor(time[2] / 1000)
local free_from = tonumber(redis.call('GET', KEYS[2]) or now)
if free_from > now then return free_from - now end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[3])
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then
    return redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2] + ARGV[3] - now + 1
end
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 0
"""

# KEYS: 1 hold · ARGV: 1 ms  2 now. A longer hold is never shortened.
_HOLD = """
local time = redis.call('TIME')
local now = tonumber(ARGV[2]) or time[1] * 1000 + math.floor(time[2] / 1000)
if tonumber(redis.call('GET', KEYS[1]) or 0) < now + ARGV[1] then
    redis.call('SET', KEYS[1], now + ARGV[1], 'PX', ARGV[1])
end
"""

# KEYS: 1 hold  2 jitter · ARGV: 1 ms  2 now  3 jitter where none is noted  4 most jitter  5 ms to keep it
_HOLD_AND_ALLOW_FOR_MORE = (
    _HOLD
    + """
local jitter = 2 * (redis.call('GET', KEYS[2]) or ARGV[3])
redis.call('SET', KEYS[2], math.min(jitter, ARGV[4]), 'PX', ARGV[5])
"""
)

_KEEP_COUNT_S = 3 * 24 * 3600
_KEEP_ARRIVED_MS = 10_000


class RedisPacer:
    """One budget per account for all processes; falls back to a `LocalPacer` while Redis is away.

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
        now_ms: Callable[[], int | str] = lambda: "",
    ) -> None:
        """`now_ms`: a clock in place of Redis's."""
        self._take_turn = redis.register_script(_TAKE_TURN)
        self._note_left = redis.register_script(_NOTE_LEFT)
        self._note_answered = redis.register_script(_NOTE_ANSWERED)
        self._take_token_turn = redis.register_script(_TAKE_OAUTH_TURN)
        self._hold = redis.register_script(_HOLD_AND_ALLOW_FOR_MORE)
        self._hold_tokens = redis.register_script(_HOLD)
        self._redis = redis
        self._rate = rate_per_second
        self._quota = rate_per_day
        self._utcnow = utcnow
        # The braces keep all keys together on a Redis Cluster, where a script may touch one slot only.
        self._prefix = f"{prefix}{{pace}}:"
        self._max_wait_s = max_wait_s
        self._rest_s = redis_rest_s
        self._rests_until = 0.0
        self._sleep = sleep
        self._monotonic = monotonic
        self._now_ms = now_ms
        self._fallback = LocalPacer(max_wait_s=max_wait_s, sleep=sleep, monotonic=monotonic)
        self._token_fallback = LocalPacer(interval_s=15.0, max_wait_s=TOKEN_WAIT_S, sleep=sleep, monotonic=monotonic)

    def wait_turn(self, account_id: str, urgency: Urgency) -> str:
        ticket = uuid.uuid4().hex
        asked_at = self._monotonic()
        while True:
            waited_s = self._monotonic() - asked_at
            try:
                wait_ms, count = self._take(account_id, ticket, urgency, waited_s)
            except RedisError as error:
                self._let_redis_rest(error)
                return self._fallback.wait_turn(account_id, urgency)
            if wait_ms == 0:
                return ticket
            if wait_ms < 0:
                refusal = QuotaExhausted if count >= self._quota else KeptForSales
                words = f"{count} of {self._quota} requests made today"
                raise refusal("pacing", words, retry_after_s=self._seconds_to_midnight())
            if waited_s + wait_ms / 1000 > self._max_wait_s:
                self._leave_line(account_id, ticket)
                raise RateLimited("pacing", f"no turn within {self._max_wait_s:.0f} s", retry_after_s=wait_ms / 1000)
            self._sleep(wait_ms / 1000)

    def wait_token_turn(self) -> None:
        """Wait until the token address may be called. Raises RateLimited when the wait would be too long."""
        ticket, asked_at = uuid.uuid4().hex, self._monotonic()
        while True:
            try:
                wait_ms = self._ask_token_turn(ticket)
            except RedisError as error:
                self._let_redis_rest(error)
                self._token_fallback.wait_turn("tokens", Urgency.LIVE_READ)
                return
            if not wait_ms:
                return
            if self._monotonic() - asked_at + wait_ms / 1000 > TOKEN_WAIT_S:
                raise RateLimited("pacing", f"no token call within {TOKEN_WAIT_S:.0f} s", retry_after_s=wait_ms / 1000)
            self._sleep(wait_ms / 1000)

    def hold_tokens(self, seconds: float) -> None:
        """The token address asked for patience: nobody calls it within `seconds`. Never raises."""
        self._token_fallback.hold("tokens", seconds)
        self._tell(self._hold_tokens, [f"{self._prefix}no-tokens"], [ceil(seconds * 1000), self._now_ms()])

    def note_left(self, account_id: str, ticket: str) -> None:
        keys = self._keys(account_id, "arrived", "leaving", "flying", "jitter")
        self._tell(self._note_left, keys, [ticket, JITTER_MS, _KEEP_ARRIVED_MS, self._now_ms()])

    def note_answered(self, account_id: str, ticket: str, took_s: float) -> None:
        keys = [*self._keys(account_id, "arrived", "flying", "jitter"), f"{self._prefix}answers"]
        took_ms = round(took_s * 1000, 1)
        self._tell(self._note_answered, keys, [ticket, took_ms, JITTER_MS, MEASURED_AFTER, PERIOD_MS, self._now_ms()])

    def hold(self, account_id: str, seconds: float) -> None:
        self._fallback.hold(account_id, seconds)
        args = [max(1, ceil(seconds * 1000)), self._now_ms(), JITTER_MS, MAX_JITTER_MS, JITTER_KEPT_MS]
        self._tell(self._hold, self._keys(account_id, "hold", "jitter"), args)

    def requests_today(self, account_id: str) -> int | None:
        try:
            return int(self._redis.get(self._count_key(account_id)) or 0)
        except RedisError:
            return None

    def _take(self, account_id: str, ticket: str, urgency: Urgency, waited_s: float = 0.0) -> tuple[int, int]:
        if not self._is_redis_trusted():
            raise RedisError("resting after a failure")
        wait_ms, count = self._take_turn(
            keys=[
                *self._keys(account_id, "arrived", "leaving", "line", "back", "hold"),
                self._count_key(account_id),
                f"{self._prefix}everybody",
                *self._keys(account_id, "flying"),
            ],
            args=[
                ticket,
                self._rate,
                SECOND_MS,
                ceil(LEAVING_LIMIT_S * 1000),
                day_limit(self._quota, urgency),
                _KEEP_COUNT_S,
                round((GIVES_WAY_S[urgency] - waited_s) * 1000),
                CEILING,
                CEILING_MS,
                GRACE_MS,
                self._now_ms(),
            ],
        )
        return int(wait_ms), int(count)

    def _ask_token_turn(self, ticket: str) -> int:
        if not self._is_redis_trusted():
            raise RedisError("resting after a failure")
        keys = [f"{self._prefix}tokens", f"{self._prefix}no-tokens"]
        return int(self._take_token_turn(keys=keys, args=[ticket, TOKEN_CEILING, TOKEN_CEILING_MS, self._now_ms()]))

    def _tell(self, script: Script, keys: list[str], args: Sequence[str | float]) -> None:
        """Run a script whose answer nobody waits for; a Redis that is away is let rest."""
        try:
            if self._is_redis_trusted():
                script(keys=keys, args=args)
        except RedisError as error:
            self._let_redis_rest(error)

    def _leave_line(self, account_id: str, ticket: str) -> None:
        try:
            for key in self._keys(account_id, "line", "back"):
                self._redis.zrem(key, ticket)
        except RedisError as error:
            self._let_redis_rest(error)

    def _keys(self, account_id: str, *names: str) -> list[str]:
        return [f"{self._prefix}{account_id}:{name}" for name in names]

    def _count_key(self, account_id: str) -> str:
        day = self._utcnow().astimezone(BLING_TIME_ZONE).date()
        return f"{self._prefix}{account_id}:count:{day.isoformat()}"

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
