"""Wake-up calls through Redis. They are hints, never the truth: the work itself is rows, and a sweep finds it again.

Therefore nothing here raises because Redis is away, and nothing waits long for it: a caller in the middle of a request
learns False, and the log says so.
"""

from __future__ import annotations

import logging
import math
import time
from datetime import datetime
from typing import Any
from uuid import uuid4

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeout
from redis.retry import Retry
from rq import Queue
from rq.job import Job
from rq_scheduler import Scheduler

TICK, LIVE, BULK = "tick", "live", "bulk"
# A worker serves them in this order.
QUEUES = (TICK, LIVE, BULK)

TIMEOUT_S = 1.0
# How long wake-ups are left to the sweep after Redis did not answer in time.
REST_S = 2.0
# How long one wake-up stands for the next ones, should it get lost between being noted and being read.
WAKE_TTL_S = 60
JOB_TIMEOUT_S = 600
FAILED_JOB_TTL_S = 86_400
# A process that has not said so for this long is not alive.
HEARTBEAT_TTL_S = 15

log = logging.getLogger(__name__)
_connection: Redis | None = None
_resting_until = 0.0


def init_queues(redis_url: str) -> None:
    """Point this process at its Redis, without connecting. A second call replaces the first."""
    global _connection, _resting_until
    _resting_until = 0.0
    if _connection is not None:
        _connection.close()
    _connection = redis_connection(redis_url)


def redis_connection(url: str, timeout_s: float | None = TIMEOUT_S) -> Redis:
    """A client of its own that fails fast and never repeats a command by itself."""
    return Redis.from_url(
        url,
        socket_connect_timeout=timeout_s,
        socket_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=30,
    )


def shared_connection() -> Redis:
    """The client of this process (thread-safe; after a fork each process dials anew)."""
    if _connection is None:
        raise RuntimeError("init_queues() has not been called")
    return _connection


def enqueue(function: str, *args: Any, queue: str = LIVE, timeout_s: int = JOB_TIMEOUT_S) -> bool:
    """Have a worker call this function, named as "module.function", with ids. False: Redis is away; logged."""
    try:
        _push(function, args, queue, timeout_s)
    except RedisError as error:
        log.warning("Could not enqueue %s: %s", function, type(error).__name__)
        return False
    return True


def kick(organization_id: str, force: bool = False) -> bool:
    """Wake the organization's drain, unless a wake-up is on its way already. False: Redis is away; logged.

    The sweep uses `force`: what it finds may be there because the wake-up that is noted got lost. Only one that still
    stands in the queue keeps it from pushing another, or they would pile up while every worker is busy.
    """
    global _resting_until
    if time.monotonic() < _resting_until and not force:
        return False
    try:
        redis, key, job_id = shared_connection(), _wake_key(organization_id), uuid4().hex
        if force and _stands_in_queue(redis, redis.get(key)):
            redis.expire(key, WAKE_TTL_S)
        elif redis.set(key, job_id, nx=not force, ex=WAKE_TTL_S):
            _push("jobs.sync.drain", (organization_id,), LIVE, JOB_TIMEOUT_S, job_id)
    except RedisError as error:
        log.warning("Could not wake organization %s: %s", organization_id, type(error).__name__)
        if isinstance(error, RedisTimeout):
            # A Redis that hangs would cost every webhook a second of its thread; the sweep finds the work anyway.
            _resting_until = time.monotonic() + REST_S
        return False
    return True


def take_wake(organization_id: str) -> None:
    """The drain says that it begins. Called before it reads the database: a change that comes later wakes anew."""
    try:
        shared_connection().delete(_wake_key(organization_id))
    except RedisError as error:
        log.warning("Could not take the wake-up of organization %s: %s", organization_id, type(error).__name__)


def kick_at(organization_id: str, when: datetime) -> bool:
    """Wake the organization's drain at this moment or up to two seconds later. Several for one second are one."""
    second = math.ceil(when.timestamp())
    try:
        WakeScheduler(queue_name=LIVE, connection=shared_connection()).enqueue_at(
            datetime.fromtimestamp(second, tz=when.tzinfo),
            "jobs.sync.drain",
            organization_id,
            job_id=f"wake-{organization_id}-{second}",
            job_result_ttl=0,
            timeout=JOB_TIMEOUT_S,
        )
    except RedisError as error:
        log.warning("Could not set a wake-up for organization %s: %s", organization_id, type(error).__name__)
        return False
    return True


class WakeScheduler(Scheduler):
    """rq-scheduler, whose failed jobs do not stay in Redis for a year."""

    def _create_job(self, func: str, *args: Any, commit: bool = True, **kwargs: Any) -> Job:
        job: Job = super()._create_job(func, *args, commit=False, **kwargs)
        job.failure_ttl = FAILED_JOB_TTL_S
        if commit:
            job.save()
        return job


def beat(role: str, name: str, redis: Redis | None = None) -> None:
    """A process of this role ("worker", "scheduler") says that it is alive. Raises RedisError."""
    pipeline = (redis or shared_connection()).pipeline()
    pipeline.sadd(_role_key(role), name)
    pipeline.set(f"{_role_key(role)}:{name}", 1, ex=HEARTBEAT_TTL_S)
    pipeline.execute()


def sign_off(role: str, name: str, redis: Redis | None = None) -> None:
    """The process ends. Raises RedisError."""
    pipeline = (redis or shared_connection()).pipeline()
    pipeline.srem(_role_key(role), name)
    pipeline.delete(f"{_role_key(role)}:{name}")
    pipeline.execute()


def worker_count() -> int:
    """Workers alive now; 0 when Redis is away."""
    return _count_alive("worker")


def scheduler_alive() -> bool:
    return _count_alive("scheduler") > 0


def is_reachable() -> bool:
    try:
        return bool(shared_connection().ping())
    except RedisError:
        return False


def _count_alive(role: str) -> int:
    try:
        redis = shared_connection()
        names = [name.decode() if isinstance(name, bytes) else name for name in redis.smembers(_role_key(role))]
        if not names:
            return 0
        beats = redis.mget([f"{_role_key(role)}:{name}" for name in names])
        gone = [name for name, is_alive in zip(names, beats, strict=True) if is_alive is None]
        if gone:
            redis.srem(_role_key(role), *gone)
        return len(names) - len(gone)
    except RedisError as error:
        log.warning("Could not count the %ss: %s", role, type(error).__name__)
        return 0


def _stands_in_queue(redis: Redis, job_id: bytes | str | None) -> bool:
    return isinstance(job_id, bytes) and job_id.decode() in Queue(LIVE, connection=redis).get_job_ids()


def _push(function: str, args: tuple[Any, ...], queue: str, timeout_s: int, job_id: str | None = None) -> None:
    Queue(queue, connection=shared_connection()).enqueue_call(
        function, args=args, timeout=timeout_s, result_ttl=0, failure_ttl=FAILED_JOB_TTL_S, job_id=job_id
    )


def _wake_key(organization_id: str) -> str:
    return f"estoqueuni:wake:{organization_id}"


def _role_key(role: str) -> str:
    return f"estoqueuni:alive:{role}"
