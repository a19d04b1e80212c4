"""A worker: `python -m jobs.worker`. Any number of them; one that dies loses nothing but time.

Told to end, it takes no new job and lets the one in hand finish. It never gives up on a Redis that is away.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any
from uuid import uuid4

from redis.exceptions import RedisError
from rq import Queue, SimpleWorker
from rq.job import Job
from rq.worker.base import StopRequested

import queues
from config import Config
from jobs import runtime

# A host kills what has not ended within 30 s of SIGTERM; we promise 25.
STOP_LIMIT_S = 22
# How long one look at the queues blocks, and so how soon an idle worker sees that it should end.
LOOK_S = 1
RECONNECT_S = 1.0
BEAT_S = 5
MAX_JOBS = 1000

log = logging.getLogger("jobs.worker")


class StockWorker(SimpleWorker):
    """RQ's worker without a fork per job: our jobs wait for the network most of the time and share what is open."""

    max_connection_wait_time = 2.0
    jobs_begun = 0

    @property
    def dequeue_timeout(self) -> int:
        return LOOK_S

    @property
    def should_run_maintenance_tasks(self) -> bool:
        """RQ asks this exactly where it holds no job, so here, and nowhere else, it may be told to end."""
        if runtime.should_stop():
            raise StopRequested
        return bool(super().should_run_maintenance_tasks)

    def heartbeat(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().heartbeat(*args, **kwargs)
        except RedisError:
            if runtime.should_stop():
                raise StopRequested from None
            raise

    def execute_job(self, job: Job, queue: Queue) -> None:
        self.jobs_begun += 1
        super().execute_job(job, queue)

    def run_maintenance_tasks(self) -> None:
        has_just_begun = self.last_cleaned_at is None  # As the scheduler may have, too.
        super().run_maintenance_tasks()
        if not has_just_begun and not queues.scheduler_alive():
            log.warning("No scheduler is alive; this worker starts the sweep itself, once a minute.")
            queues.enqueue("jobs.schedule.tick", queue=queues.TICK)

    def _install_signal_handlers(self) -> None:
        """RQ's handlers talk to Redis and may raise in the middle of a job; ours are set once, in main()."""

    def subscribe(self) -> None:
        """No second connection for RQ's remote commands, which nobody here gives."""


def main() -> int:
    config = runtime.start_process()
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    name = f"{os.uname().nodename}-{uuid4().hex[:12]}"
    with _heartbeat(config, name):
        log.info("Worker %s serves %s", name, ", ".join(queues.QUEUES))
        _work_until_stopped(config, name)
    log.info("Worker %s ends", name)
    return 0


def _work_until_stopped(config: Config, name: str) -> None:
    while not runtime.should_stop():
        connection = queues.redis_connection(config.redis_url, timeout_s=queues.TIMEOUT_S)
        try:
            worker = StockWorker(
                list(queues.QUEUES),
                name=name,
                connection=connection,
                worker_ttl=60,
                maintenance_interval=60,
                log_job_description=False,
            )
            # A name of before is still registered after Redis went away and came back.
            connection.delete(worker.key)
            worker.work(logging_level=None, max_jobs=MAX_JOBS)
        except (RedisError, StopRequested) as error:
            if not runtime.should_stop():
                log.warning("Redis is away (%s); trying again", type(error).__name__)
                time.sleep(RECONNECT_S)
            continue
        finally:
            connection.close()
        if not runtime.should_stop() and worker.jobs_begun >= MAX_JOBS:
            # Begin anew in the same process: whatever a leak has gathered is gone, and no supervisor sees a death.
            log.info("Worker %s begins anew after %d jobs", name, MAX_JOBS)
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606


def _stop(_signal: int, _frame: FrameType | None) -> None:
    """Hosts may say so several times; once is enough."""
    if not runtime.should_stop():
        runtime.request_stop()
        limit = threading.Timer(STOP_LIMIT_S, _end_now)
        limit.daemon = True
        limit.start()


def _end_now() -> None:
    log.warning("The job in hand did not end within %d s; leaving it to the sweep", STOP_LIMIT_S)
    os._exit(1)


@contextlib.contextmanager
def _heartbeat(config: Config, name: str) -> Iterator[None]:
    """Says from a thread of its own that this process lives, also in the middle of a long job."""
    connection = queues.redis_connection(config.redis_url)
    has_ended = threading.Event()

    def keep_beating() -> None:
        while not has_ended.is_set():
            with contextlib.suppress(RedisError):  # The main thread reports it.
                queues.beat("worker", name, connection)
            has_ended.wait(BEAT_S)

    thread = threading.Thread(target=keep_beating, daemon=True)
    thread.start()
    yield
    has_ended.set()
    thread.join()
    with contextlib.suppress(RedisError):
        queues.sign_off("worker", name, connection)


if __name__ == "__main__":
    sys.exit(main())
