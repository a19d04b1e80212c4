"""The scheduler: `python -m jobs.scheduler`. Starts the sweep every ten seconds, and wake-ups when they are due.

What it plans lives in Redis, which may lose everything; so it makes sure of the sweep in every round. Any number of
schedulers may run: whatever is due is claimed in one step, so one of them starts it.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from types import FrameType
from uuid import uuid4

from redis import Redis
from redis.exceptions import RedisError
from rq.job import Job

import queues
from clock import utcnow
from jobs import runtime

TICK_ID = "tick"
TICK_EVERY_S = 10
TICK_TIMEOUT_S = 300
ROUND_S = 1.0

# KEYS: the scheduled jobs. ARGV: job, now, when next (empty: never). Answers 1 to the one caller that may start it.
CLAIM = """
local due = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not due or tonumber(due) > tonumber(ARGV[2]) then return 0 end
if ARGV[3] == '' then redis.call('ZREM', KEYS[1], ARGV[1]) else redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1]) end
return 1
"""

log = logging.getLogger("jobs.scheduler")


class TickScheduler(queues.WakeScheduler):
    def __init__(self, connection: Redis) -> None:
        super().__init__(queue_name=queues.LIVE, connection=connection, interval=ROUND_S)
        self._claim = connection.register_script(CLAIM)

    def run_round(self) -> None:
        """Make sure of the sweep, then start what is due. Raises RedisError."""
        now = int(utcnow().timestamp())
        self._ensure_tick(now)
        for job in self.get_jobs(until=now):
            self.enqueue_job(job)

    def enqueue_job(self, job: Job) -> None:
        now = int(utcnow().timestamp())
        interval = job.meta.get("interval")
        if not self._claim(keys=[self.scheduled_jobs_key], args=[job.id, now, now + interval if interval else ""]):
            return
        queue = self.get_queue_for_job(job)
        # With no worker alive, sweeps would pile up; one waiting is enough.
        if job.id != TICK_ID or job.id not in queue.get_job_ids():
            queue.enqueue_job(job)

    def _ensure_tick(self, now: int) -> None:
        due = self.connection.zscore(self.scheduled_jobs_key, TICK_ID)
        if due is not None and due <= now + TICK_EVERY_S and self.connection.exists(Job.key_for(TICK_ID)):
            return
        job = self._create_job(
            "jobs.schedule.tick",
            id=TICK_ID,
            queue_name=queues.TICK,
            timeout=TICK_TIMEOUT_S,
            result_ttl=-1,
            commit=False,
        )
        job.meta["interval"] = TICK_EVERY_S
        job.save()
        self.connection.zadd(self.scheduled_jobs_key, {TICK_ID: now})
        log.info("The sweep is planned, every %d s", TICK_EVERY_S)


def main() -> int:
    config = runtime.start_process()
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    name = f"{os.uname().nodename}-{uuid4().hex[:12]}"
    connection = queues.redis_connection(config.redis_url)
    log.info("Scheduler %s begins", name)
    _run_until_stopped(TickScheduler(connection), connection, name)
    try:
        queues.sign_off("scheduler", name, connection)
    except RedisError:
        log.warning("Redis is away; this scheduler counts as alive for %d s more", queues.HEARTBEAT_TTL_S)
    log.info("Scheduler %s ends", name)
    return 0


def _run_until_stopped(scheduler: TickScheduler, connection: Redis, name: str) -> None:
    is_away = False
    while not runtime.should_stop():
        try:
            queues.beat("scheduler", name, connection)
            scheduler.run_round()
            if is_away:
                log.info("Redis is back")
            is_away = False
        except RedisError as error:
            if not is_away:
                log.warning("Redis is away (%s); trying again", type(error).__name__)
            is_away = True
        time.sleep(ROUND_S)


def _stop(_signal: int, _frame: FrameType | None) -> None:
    runtime.request_stop()


if __name__ == "__main__":
    sys.exit(main())
