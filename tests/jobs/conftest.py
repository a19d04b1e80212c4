"""Workers and schedulers as real processes, with jobs of the tests' own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

ROOT = Path(__file__).resolve().parents[2]
TEST_JOBS = Path(__file__).parent / "programs"


class Running:
    """One of our processes, and what it has said so far."""

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=lambda: self.lines.extend(self.process.stdout or ()))
        self._reader.start()

    def has_said(self, words: str) -> bool:
        return any(words in line for line in self.lines)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def end(self, timeout_s: float = 10.0) -> None:
        """SIGTERM, and exit code 0 in time."""
        self.terminate()
        self.wait(timeout_s)

    def wait(self, timeout_s: float = 10.0) -> None:
        assert self.process.wait(timeout_s) == 0, self.lines
        self._reader.join()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()


Start = Callable[..., Running]


@pytest.fixture
def start_process(tmp_path: Path) -> Iterator[Start]:
    """Start the main() of one of our modules against a Redis, with some of its constants changed; what still runs
    after the test is killed."""
    started: list[Running] = []

    def start(module: str, redis_url: str, **constants: object) -> Running:
        environment = {
            **os.environ,
            "REDIS_URL": redis_url,
            "DATABASE_URL": f"sqlite:///{tmp_path / 'jobs.sqlite'}",
            "VAR_DIR": str(tmp_path / "var"),
            "APP_ENV": "development",
            "PYTHONPATH": str(TEST_JOBS),
        }
        changed = "; ".join(f"module.{name} = {value!r}" for name, value in constants.items()) or "pass"
        code = f"import sys, {module} as module; {changed}; sys.exit(module.main())"
        started.append(Running(["-c", code] if constants else ["-m", module], environment))
        return started[-1]

    yield start
    for running in started:
        running.kill()


def wait_for(is_true: Callable[[], object], timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def queue_length(redis: Redis, queue: str) -> int:
    return int(redis.llen(f"rq:queue:{queue}"))
