from __future__ import annotations

import signal
import socket
import threading
import time
from datetime import timedelta

import pytest
from redis import Redis

import queues
from clock import utcnow
from devserver.redis_server import RedisProcess

LIVE_KEY = f"rq:queue:{queues.LIVE}"


def test_many_kicks_are_one_wake_up(redis: Redis) -> None:
    assert all(queues.kick("org1") for _ in range(50))

    assert redis.llen(LIVE_KEY) == 1


def test_each_organization_is_woken_by_itself(redis: Redis) -> None:
    queues.kick("org1")
    queues.kick("org2")

    assert redis.llen(LIVE_KEY) == 2


def test_a_kick_after_the_drain_began_wakes_anew(redis: Redis) -> None:
    queues.kick("org1")
    queues.take_wake("org1")

    queues.kick("org1")

    assert redis.llen(LIVE_KEY) == 2


def test_the_sweep_wakes_even_when_a_wake_up_is_noted(redis: Redis) -> None:
    queues.kick("org1")
    redis.delete(LIVE_KEY)  # The wake-up got lost.

    queues.kick("org1", force=True)

    assert redis.llen(LIVE_KEY) == 1


def test_the_sweeps_wake_ups_do_not_pile_up_while_every_worker_is_busy(redis: Redis) -> None:
    for _ in range(3):
        queues.kick("org1", force=True)
        queues.kick("org2", force=True)

    assert redis.llen(LIVE_KEY) == 2
    assert redis.ttl("estoqueuni:wake:org1") > queues.WAKE_TTL_S - 5


def test_a_noted_wake_up_that_got_lost_does_not_silence_the_organization_for_ever(redis: Redis) -> None:
    queues.kick("org1")

    assert 0 < redis.ttl("estoqueuni:wake:org1") <= queues.WAKE_TTL_S


def test_wake_ups_for_the_same_second_are_one(redis: Redis) -> None:
    moment = (utcnow() + timedelta(seconds=9)).replace(microsecond=100)

    queues.kick_at("org1", moment)
    queues.kick_at("org1", moment + timedelta(milliseconds=500))
    queues.kick_at("org1", moment + timedelta(seconds=1))
    queues.kick_at("org2", moment)

    assert redis.zcard("rq:scheduler:scheduled_jobs") == 3


def test_without_redis_everything_answers_and_nothing_raises(own_redis: RedisProcess) -> None:
    own_redis.kill()

    assert queues.kick("org1") is False
    assert queues.kick_at("org1", utcnow()) is False
    assert queues.enqueue("jobs.sync.drain", "org1") is False
    queues.take_wake("org1")
    assert queues.is_reachable() is False
    assert queues.worker_count() == 0
    assert queues.scheduler_alive() is False


def test_it_works_again_as_soon_as_redis_is_back(own_redis: RedisProcess) -> None:
    assert queues.kick("org1")
    own_redis.kill()
    assert not queues.kick("org1")

    own_redis.start()

    assert queues.kick("org1")


def test_a_redis_that_hangs_holds_nobody_up_for_long(own_redis: RedisProcess) -> None:
    assert queues.is_reachable()
    own_redis.send_signal(signal.SIGSTOP)
    try:
        begun = time.monotonic()
        assert queues.kick("org1") is False
        assert time.monotonic() - begun < 2.5
    finally:
        own_redis.send_signal(signal.SIGCONT)


def test_a_server_that_accepts_and_says_nothing_holds_nobody_up_for_long() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        queues.init_queues(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        begun = time.monotonic()
        assert queues.kick("org1") is False
        assert time.monotonic() - begun < 2.5


def test_who_says_nothing_any_more_is_not_alive(redis: Redis) -> None:
    queues.beat("worker", "first")
    queues.beat("worker", "second")
    queues.beat("scheduler", "only")
    assert queues.worker_count() == 2

    redis.delete("estoqueuni:alive:worker:first")  # As its expiry does.

    assert queues.worker_count() == 1
    assert queues.scheduler_alive()


def test_it_is_safe_from_many_threads(redis: Redis) -> None:
    threads = [threading.Thread(target=queues.kick, args=(f"org{number % 5}",)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert redis.llen(LIVE_KEY) == 5


def test_a_process_that_was_not_set_up_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "_connection", None)
    # Another test of this process may have met a Redis that hung.
    monkeypatch.setattr(queues, "_resting_until", 0.0)

    with pytest.raises(RuntimeError, match="init_queues"):
        queues.kick("org1")


def test_a_redis_that_hangs_costs_one_kick_its_patience_and_not_the_next_ones() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        queues.init_queues(f"redis://127.0.0.1:{deaf.getsockname()[1]}/0")
        assert queues.kick("org1") is False

        started_at = time.monotonic()
        assert not any(queues.kick("org1") for _ in range(100))

        assert time.monotonic() - started_at < queues.TIMEOUT_S
