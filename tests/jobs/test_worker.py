from __future__ import annotations

from pathlib import Path

from redis import Redis
from rq.job import Job

import queues
from devserver.redis_server import RedisProcess
from jobs import runtime
from jobs.worker import StockWorker

from .conftest import Start, queue_length, wait_for


def test_it_runs_a_job_with_an_open_database(
    redis: Redis, redis_url: str, start_process: Start, tmp_path: Path
) -> None:
    start_process("jobs.worker", redis_url)

    assert queues.enqueue("worker_jobs.ask_database", str(tmp_path))

    wait_for((tmp_path / "answered-1").exists)


def test_it_serves_the_tick_before_live_before_bulk(
    redis: Redis, redis_url: str, start_process: Start, tmp_path: Path
) -> None:
    for queue in (queues.BULK, queues.LIVE, queues.TICK):
        queues.enqueue("worker_jobs.mark", str(tmp_path), queue, queue=queue)

    start_process("jobs.worker", redis_url)

    wait_for((tmp_path / queues.BULK).exists)
    age = {queue: (tmp_path / queue).stat().st_mtime_ns for queue in queues.QUEUES}
    assert age[queues.TICK] <= age[queues.LIVE] <= age[queues.BULK]


def test_it_finishes_the_job_in_hand_on_sigterm_and_takes_no_other(
    redis: Redis, redis_url: str, start_process: Start, tmp_path: Path
) -> None:
    worker = start_process("jobs.worker", redis_url)
    queues.enqueue("worker_jobs.work_until_told", str(tmp_path))
    wait_for((tmp_path / "begun").exists)
    queues.enqueue("worker_jobs.mark", str(tmp_path), "next")

    worker.terminate()
    worker.terminate()
    (tmp_path / "go-on").touch()
    worker.wait()

    assert (tmp_path / "finished").exists()
    assert not (tmp_path / "next").exists()
    assert queue_length(redis, queues.LIVE) == 1


def test_a_long_job_learns_that_it_should_leave(
    redis: Redis, redis_url: str, start_process: Start, tmp_path: Path
) -> None:
    worker = start_process("jobs.worker", redis_url)
    queues.enqueue("worker_jobs.leave_when_asked", str(tmp_path))
    wait_for((tmp_path / "begun").exists)

    worker.end()

    assert (tmp_path / "left").exists()


def test_an_idle_worker_ends_at_once_and_is_no_longer_counted(
    redis: Redis, redis_url: str, start_process: Start
) -> None:
    worker = start_process("jobs.worker", redis_url)
    wait_for(lambda: queues.worker_count() == 1)

    worker.end(timeout_s=5)

    assert queues.worker_count() == 0


def test_it_survives_a_redis_that_restarts_and_says_so(
    own_redis: RedisProcess, start_process: Start, tmp_path: Path
) -> None:
    worker = start_process("jobs.worker", own_redis.url)
    wait_for(lambda: queues.worker_count() == 1)

    own_redis.kill()
    wait_for(lambda: worker.has_said("could not connect to Redis") or worker.has_said("Redis is away"))
    own_redis.start()
    assert queues.enqueue("worker_jobs.mark", str(tmp_path), "after")

    wait_for((tmp_path / "after").exists)
    worker.end()


def test_it_ends_while_redis_is_away(own_redis: RedisProcess, start_process: Start) -> None:
    worker = start_process("jobs.worker", own_redis.url)
    wait_for(lambda: queues.worker_count() == 1)

    own_redis.kill()

    worker.end()


def test_it_starts_the_sweep_itself_when_no_scheduler_is_alive(redis: Redis) -> None:
    worker = StockWorker(list(queues.QUEUES), connection=redis)

    worker.run_maintenance_tasks()
    assert queue_length(redis, queues.TICK) == 0  # Both may have just begun.
    worker.run_maintenance_tasks()
    assert queue_length(redis, queues.TICK) == 1

    queues.beat("scheduler", "s")
    worker.run_maintenance_tasks()
    assert queue_length(redis, queues.TICK) == 1


def test_a_job_that_does_not_end_does_not_hold_the_worker_for_ever(
    redis: Redis, redis_url: str, start_process: Start, tmp_path: Path
) -> None:
    worker = start_process("jobs.worker", redis_url, STOP_LIMIT_S=0.5)
    queues.enqueue("worker_jobs.work_until_told", str(tmp_path))
    wait_for((tmp_path / "begun").exists)

    worker.terminate()

    assert worker.process.wait(5) == 1
    assert not (tmp_path / "finished").exists()


def test_it_begins_anew_in_the_same_process_after_many_jobs(
    redis: Redis, redis_url: str, start_process: Start, tmp_path: Path
) -> None:
    worker = start_process("jobs.worker", redis_url, MAX_JOBS=2)

    for name in ("first", "second", "third"):
        queues.enqueue("worker_jobs.mark", str(tmp_path), name)

    wait_for((tmp_path / "third").exists)
    assert worker.has_said("begins anew after 2 jobs")
    worker.end()


def test_the_runtime_says_stop_only_once_it_was_told() -> None:
    assert not runtime.should_stop()


def test_failed_jobs_do_not_stay_for_a_year(redis: Redis) -> None:
    queues.enqueue("worker_jobs.no_such_job")

    [job_id] = redis.lrange(f"rq:queue:{queues.LIVE}", 0, -1)

    assert Job.fetch(job_id.decode(), connection=redis).failure_ttl == queues.FAILED_JOB_TTL_S
