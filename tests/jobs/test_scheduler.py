from __future__ import annotations

import time
from datetime import timedelta

from redis import Redis

import queues
from clock import utcnow
from devserver.redis_server import RedisProcess
from jobs.scheduler import TICK_EVERY_S, TICK_ID, TickScheduler

from .conftest import Start, queue_length, wait_for


def test_it_plans_one_sweep_and_starts_it(redis: Redis) -> None:
    scheduler = TickScheduler(redis)

    scheduler.run_round()

    assert redis.lrange(f"rq:queue:{queues.TICK}", 0, -1) == [TICK_ID.encode()]
    [(member, due)] = redis.zrange("rq:scheduler:scheduled_jobs", 0, -1, withscores=True)
    assert member == TICK_ID.encode()
    assert 0 < due - time.time() <= TICK_EVERY_S


def test_sweeps_do_not_pile_up_while_no_worker_takes_them(redis: Redis, frozen_clock) -> None:
    scheduler = TickScheduler(redis)

    for _ in range(4):
        scheduler.run_round()
        frozen_clock.shift(TICK_EVERY_S)

    assert queue_length(redis, queues.TICK) == 1


def test_a_taken_sweep_is_followed_by_the_next_one(redis: Redis, frozen_clock) -> None:
    scheduler = TickScheduler(redis)
    scheduler.run_round()
    redis.lpop(f"rq:queue:{queues.TICK}")

    frozen_clock.shift(TICK_EVERY_S - 1)
    scheduler.run_round()
    assert queue_length(redis, queues.TICK) == 0

    frozen_clock.shift(1)
    scheduler.run_round()
    assert queue_length(redis, queues.TICK) == 1


def test_it_plans_the_sweep_anew_after_redis_lost_everything(redis: Redis) -> None:
    scheduler = TickScheduler(redis)
    scheduler.run_round()

    redis.flushall()
    scheduler.run_round()

    assert queue_length(redis, queues.TICK) == 1


def test_it_plans_the_sweep_anew_when_only_its_job_got_lost(redis: Redis) -> None:
    scheduler = TickScheduler(redis)
    scheduler.run_round()
    redis.delete(f"rq:queue:{queues.TICK}", f"rq:job:{TICK_ID}")

    scheduler.run_round()

    assert queue_length(redis, queues.TICK) == 1


def test_a_clock_that_was_set_back_does_not_silence_the_sweep(redis: Redis, frozen_clock) -> None:
    scheduler = TickScheduler(redis)
    scheduler.run_round()
    redis.delete(f"rq:queue:{queues.TICK}")

    frozen_clock.shift(timedelta(days=-1))
    scheduler.run_round()

    assert queue_length(redis, queues.TICK) == 1


def test_of_two_schedulers_one_starts_what_is_due(redis: Redis, redis_url: str) -> None:
    first, second = TickScheduler(redis), TickScheduler(queues.redis_connection(redis_url))
    first._ensure_tick(int(time.time()))
    queues.kick_at("org1", utcnow() - timedelta(seconds=1))
    due = list(first.get_jobs(until=int(time.time())))

    for scheduler in (first, second):
        for job in due:
            scheduler.enqueue_job(job)

    assert queue_length(redis, queues.TICK) == 1
    assert queue_length(redis, queues.LIVE) == 1


def test_two_processes_keep_one_sweep_and_end_promptly(own_redis: RedisProcess, start_process: Start) -> None:
    redis = Redis.from_url(own_redis.url)
    schedulers = [start_process("jobs.scheduler", own_redis.url) for _ in range(2)]
    wait_for(lambda: queue_length(redis, queues.TICK) == 1 and queues.scheduler_alive())

    redis.flushall()
    wait_for(lambda: queue_length(redis, queues.TICK) == 1)
    own_redis.kill()
    wait_for(lambda: all(scheduler.has_said("Redis is away") for scheduler in schedulers))
    own_redis.start()
    wait_for(lambda: all(scheduler.has_said("Redis is back") for scheduler in schedulers))
    wait_for(lambda: queue_length(redis, queues.TICK) == 1)

    for scheduler in schedulers:
        scheduler.end(timeout_s=5)
    assert not queues.scheduler_alive()


def test_a_wake_up_comes_when_it_is_due_and_not_before(redis: Redis, frozen_clock) -> None:
    scheduler = TickScheduler(redis)
    due = utcnow() + timedelta(seconds=7, milliseconds=300)
    assert queues.kick_at("org1", due)

    frozen_clock.shift(7)
    scheduler.run_round()
    assert queue_length(redis, queues.LIVE) == 0

    frozen_clock.shift(1)
    scheduler.run_round()
    assert queue_length(redis, queues.LIVE) == 1
