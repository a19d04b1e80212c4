from __future__ import annotations

import multiprocessing
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import Redis

from bling.errors import KeptForSales, QuotaExhausted, RateLimited
from bling.local_pacer import LocalPacer
from bling.pacing import Urgency
from bling.redis_pacer import RedisPacer
from tests.bling.conftest import NOON, FakeTime

LIVE = Urgency.LIVE_READ
Make = Callable[..., RedisPacer]


@pytest.fixture
def account() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def make_pacer(redis_url: str) -> Iterator[Make]:
    connections: list[Redis] = []

    def make(url: str = redis_url, **options: Any) -> RedisPacer:
        connections.append(Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1))
        given = {"rate_per_second": 3, "rate_per_day": 120_000, "utcnow": lambda: NOON, **options}
        return RedisPacer(connections[-1], **given)

    yield make
    for connection in connections:
        connection.close()


def take(pacer: RedisPacer, account: str) -> float:
    """One request that leaves at once; returns when."""
    ticket = pacer.wait_turn(account, LIVE)
    left_at = time.monotonic()
    pacer.note_left(account, ticket)
    return left_at


def most_in_a_second(moments: list[float]) -> int:
    return max(sum(1 for other in moments if first <= other < first + 1.0) for first in moments)


def _leave(url: str, account: str, count: int, moments: Any) -> None:
    redis = Redis.from_url(url)
    pacer = RedisPacer(redis, rate_per_second=3, rate_per_day=120_000, utcnow=lambda: NOON)
    for _ in range(count):
        moments.put(take(pacer, account))
    redis.close()


def test_the_first_turns_come_at_once(make_pacer: Make, account: str) -> None:
    pacer = make_pacer(sleep=_refuse_to_sleep)

    for _ in range(3):
        take(pacer, account)
    with pytest.raises(AssertionError, match="slept"):
        take(pacer, account)


def test_accounts_do_not_wait_for_each_other(make_pacer: Make, account: str) -> None:
    pacer = make_pacer(sleep=_refuse_to_sleep)

    for number in range(12):
        take(pacer, f"{account}-{number // 3}")


def test_no_second_sees_more_than_the_rate_from_all_threads_together(make_pacer: Make, account: str) -> None:
    pacer = make_pacer()
    started_at = time.monotonic()

    with ThreadPoolExecutor(6) as pool:
        moments = list(pool.map(lambda _: take(pacer, account), range(12)))

    assert most_in_a_second(moments) <= 3
    # Three full windows and the start of a fourth, and not the slow pace of a process alone.
    assert 3.0 <= max(moments) - started_at < 8


def test_no_second_sees_more_than_the_rate_from_all_processes_together(redis_url: str, account: str) -> None:
    context = multiprocessing.get_context("spawn")
    moments: Any = context.Queue()
    processes = [context.Process(target=_leave, args=(redis_url, account, 4, moments)) for _ in range(2)]

    for process in processes:
        process.start()
    seen = [moments.get(timeout=30) for _ in range(8)]
    for process in processes:
        process.join(10)

    assert most_in_a_second(seen) <= 3


def test_a_request_that_leaves_late_counts_from_when_it_left(make_pacer: Make, account: str) -> None:
    pacer = make_pacer(rate_per_second=1)
    ticket = pacer.wait_turn(account, LIVE)
    time.sleep(0.4)  # Making the connection.
    left_at = time.monotonic()
    pacer.note_left(account, ticket)

    assert take(pacer, account) - left_at >= 1.0


def test_a_turn_that_has_not_left_yet_holds_the_next_one_back(make_pacer: Make, account: str) -> None:
    pacer = make_pacer(rate_per_second=1, max_wait_s=2.0)
    pacer.wait_turn(account, LIVE)

    with pytest.raises(RateLimited):
        pacer.wait_turn(account, LIVE)


def test_a_turn_of_a_process_that_died_is_given_up(
    make_pacer: Make, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bling.redis_pacer.LEAVING_LIMIT_S", 0.3)
    pacer = make_pacer(rate_per_second=2, sleep=_refuse_to_sleep)
    pacer.wait_turn(account, LIVE)
    time.sleep(0.2)
    take(pacer, account)
    time.sleep(0.2)

    # In the last second one request left and one died: the second place is free.
    take(pacer, account)


def test_turns_come_in_the_order_of_asking(make_pacer: Make, account: str) -> None:
    pacer = make_pacer(rate_per_second=1)
    take(pacer, account)
    order: list[int] = []

    def ask(number: int) -> None:
        take(pacer, account)
        order.append(number)

    with ThreadPoolExecutor(3) as pool:
        for number in range(3):
            pool.submit(ask, number)
            while pacer._redis.zcard(f"estoqueuni:{{pace}}:{account}:line") + len(order) <= number:
                time.sleep(0.005)

    assert order == [0, 1, 2]


def test_a_hold_stops_every_process(make_pacer: Make, account: str) -> None:
    make_pacer().hold(account, 0.5)
    make_pacer().hold(account, 0.1)
    held_at = time.monotonic()

    assert 0.4 <= take(make_pacer(), account) - held_at < 5


def test_an_unreasonable_wait_is_refused_and_leaves_no_place_in_the_line(make_pacer: Make, account: str) -> None:
    pacer = make_pacer(max_wait_s=10.0)
    pacer.hold(account, 600)

    with pytest.raises(RateLimited) as caught:
        pacer.wait_turn(account, LIVE)

    assert 590 < caught.value.retry_after_s <= 600
    assert pacer._redis.zcard(f"estoqueuni:{{pace}}:{account}:line") == 0


class TestQuota:
    def test_it_counts_the_days_requests(self, make_pacer: Make, account: str) -> None:
        pacer = make_pacer()
        assert pacer.requests_today(account) == 0

        take(pacer, account)
        take(pacer, account)

        assert make_pacer().requests_today(account) == 2

    def test_it_ends_at_the_quota_and_says_when_to_come_back(self, make_pacer: Make, account: str) -> None:
        pacer = make_pacer(rate_per_day=2)
        take(pacer, account)
        take(pacer, account)

        with pytest.raises(QuotaExhausted) as caught:
            take(pacer, account)

        # Noon in UTC is nine o'clock in Brasília.
        assert caught.value.retry_after_s == 15 * 3600
        assert pacer.requests_today(account) == 2

    @pytest.mark.parametrize(
        ("urgency", "share"), [(Urgency.MANUAL, 9), (Urgency.CHECK, 8), (Urgency.CATALOG, 8), (Urgency.LIVE_WRITE, 10)]
    )
    def test_the_rest_of_it_is_kept_for_sales(
        self, make_pacer: Make, account: str, urgency: Urgency, share: int
    ) -> None:
        pacer = make_pacer(rate_per_day=10, rate_per_second=100)
        for _ in range(share):
            pacer.note_left(account, pacer.wait_turn(account, urgency))

        with pytest.raises(QuotaExhausted) as caught:
            pacer.wait_turn(account, urgency)

        assert isinstance(caught.value, KeptForSales) == (share < 10)
        assert caught.value.retry_after_s == 15 * 3600

    def test_the_day_is_blings(self, make_pacer: Make, account: str) -> None:
        day = datetime(2026, 3, 2, 2, 59, tzinfo=UTC)
        pacer = make_pacer(rate_per_day=1, utcnow=lambda: day)
        take(pacer, account)
        with pytest.raises(QuotaExhausted):
            take(pacer, account)

        day += timedelta(minutes=1)
        take(pacer, account)

    def test_what_it_keeps_in_redis_goes_away_by_itself(self, make_pacer: Make, account: str) -> None:
        pacer = make_pacer()
        for _ in range(3):
            take(pacer, account)
        reserved = pacer._take(account, "someone", LIVE)
        pacer.hold(account, 1)

        keys = list(pacer._redis.scan_iter(f"*{account}*"))

        assert reserved[0] > 0
        assert len(keys) == 7
        assert all(key.startswith(b"estoqueuni:") and pacer._redis.ttl(key) >= 0 for key in keys)


class TestWithoutRedis:
    def test_it_goes_on_slowly_and_does_not_ask_redis_each_time(
        self, make_pacer: Make, account: str, fake_time: FakeTime
    ) -> None:
        pacer = make_pacer("redis://127.0.0.1:1", sleep=fake_time.sleep, monotonic=fake_time.monotonic)

        for _ in range(3):
            pacer.note_left(account, pacer.wait_turn(account, LIVE))
        pacer.hold(account, 30)
        pacer.wait_turn(account, LIVE)

        assert fake_time.sleeps == [1.0, 1.0, 30.0]
        assert pacer.requests_today(account) is None

    def test_it_comes_back_to_redis(self, own_redis: Any, account: str, fake_time: FakeTime, make_pacer: Make) -> None:
        pacer = make_pacer(own_redis.url, monotonic=fake_time.monotonic, sleep=fake_time.sleep)
        pacer._let_redis_rest(ConnectionError("gone"))  # type: ignore[arg-type]
        take(pacer, account)
        assert pacer.requests_today(account) == 0

        fake_time.now += 5
        take(pacer, account)

        assert pacer.requests_today(account) == 1

    def test_a_process_alone_keeps_its_distance(self, fake_time: FakeTime) -> None:
        pacer = LocalPacer(sleep=fake_time.sleep, monotonic=fake_time.monotonic, max_wait_s=5)

        for _ in range(3):
            pacer.wait_turn("matriz", LIVE)
        pacer.wait_turn("filial", LIVE)
        pacer.hold("matriz", 60)

        assert fake_time.sleeps == [1.0, 1.0]
        with pytest.raises(RateLimited):
            pacer.wait_turn("matriz", LIVE)
        assert pacer.requests_today("matriz") is None


class TestTokenAddress:
    def test_it_is_never_called_as_often_as_bling_blocks(self, redis_url: str) -> None:
        now = 1_770_000_000.0
        slept: list[float] = []

        def sleep(seconds: float) -> None:
            nonlocal now
            slept.append(seconds)
            now += seconds

        pacer = RedisPacer(
            Redis.from_url(redis_url),
            rate_per_second=3,
            rate_per_day=10,
            utcnow=lambda: NOON,
            prefix=f"{uuid.uuid4().hex}:",
            sleep=sleep,
            monotonic=lambda: now,
            now_ms=lambda: int(now * 1000),
        )
        calls: list[float] = []
        while now < 1_770_000_600:
            try:
                pacer.wait_token_turn()
            except RateLimited as refused:
                now += refused.retry_after_s
            else:
                calls.append(now)
                now += 0.5

        assert max(sum(1 for other in calls if one <= other <= one + 60) for one in calls) == 18
        assert len(calls) > 170
        assert max(slept, default=0) <= 30

    def test_a_refusal_of_it_stops_every_process(self, make_pacer: Make) -> None:
        prefix = f"{uuid.uuid4().hex}:"
        make_pacer(prefix=prefix).hold_tokens(300)

        with pytest.raises(RateLimited) as refused:
            make_pacer(prefix=prefix, sleep=_refuse_to_sleep).wait_token_turn()

        assert 290 < refused.value.retry_after_s <= 300

    def test_without_redis_it_is_called_slowly(self, make_pacer: Make, fake_time: FakeTime) -> None:
        pacer = make_pacer("redis://127.0.0.1:1", sleep=fake_time.sleep, monotonic=fake_time.monotonic)

        for _ in range(3):
            pacer.wait_token_turn()

        assert fake_time.sleeps == [15.0, 15.0]


def _refuse_to_sleep(seconds: float) -> None:
    raise AssertionError(f"slept {seconds}")
