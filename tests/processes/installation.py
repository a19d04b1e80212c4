"""The whole program as an operator runs it: a Redis, a database, gunicorn, workers, a scheduler, each a real process.

Bling is the sandbox, served over real HTTP from the test's own process, so that a test can look into it and hold back
an answer for as long as it likes.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
from flask import request
from redis import Redis
from rq import Queue

from devserver import demo
from devserver.redis_server import RedisProcess
from sandbox import Bling, Server, serve
from tests.devserver.conftest import ROOT, free_port

CLIENT_ID, CLIENT_SECRET = "processos-id", "processos-segredo"
ACCOUNTS = tuple(demo.ACCOUNTS)
SOURCES, TARGETS = demo.SOURCES, demo.TARGETS
SKUS = tuple(f"SKU-{number:02d}" for number in range(1, 41))
# What lies there at first: the targets show the pool already, so the first check of everything writes nothing.
STOCK = {("matriz", "Geral"): 6_000_000, ("filial", "Geral"): 4_000_000, **dict.fromkeys(TARGETS, 10_000_000)}
# The short version is part of `make test`; the long one is `make test-processes`.
IS_FULL = os.environ.get("PROCESS_TESTS") == "full"
# How many times shorter than in earnest everybody's patience is: a dead worker's lease, the sweep, a lock.
HURRY = 1 if IS_FULL else 5
LEASE_S = 30.0 / HURRY
START_S = 60.0
# The lease of a dead worker, the sweep, and the work itself on a machine that is busy with other things.
SETTLE_S = 150.0
WINDOW_S = 1.0


class Process:
    """One of our programs. What it says is kept in a file."""

    def __init__(self, name: str, command: Sequence[str], environment: dict[str, str], log: Path) -> None:
        self.name = name
        self._log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "devserver.child", sys.executable, *command],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def text(self) -> str:
        return self._log.read_text(errors="replace")

    def send(self, which: signal.Signals) -> None:
        """To it and to all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, which)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self.process.wait(30)

    def end(self, timeout_s: float) -> int:
        """SIGTERM to the program itself, as a host does. The exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def is_stopped(self) -> bool:
        return _state_of(self.pid) == "T"

    def children(self) -> list[int]:
        found = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [int(word) for word in found]


def _state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""


class Gate:
    """Stands in Bling's way: requests wait at it, before they are carried out or after, until the test lets them go.

    It takes the place of the sandbox's sleep; the faults `slow` and `slow_after` lead each request past it.
    """

    BEFORE_S, AFTER_S = 0.0, 0.001

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._hold: tuple[float, str, str] | None = None
        self._left = 0
        self.waiting = 0

    def close(self, bling: Bling, method: str, path: str, *, after: bool = False, times: int = 1) -> None:
        """Hold up the next `times` requests of this method whose path holds this text."""
        with self._changed:
            self._hold, self._left = (self.AFTER_S if after else self.BEFORE_S, method, path), times
        bling.faults.set("slow", rate=1, seconds=self.BEFORE_S)
        bling.faults.set("slow_after", rate=1, seconds=self.AFTER_S)

    def open(self) -> None:
        """Let everybody go, and hold up nobody any more."""
        with self._changed:
            self._hold, self._left = None, 0
            self._changed.notify_all()

    def __call__(self, seconds: float) -> None:
        if seconds not in (self.BEFORE_S, self.AFTER_S):
            time.sleep(seconds)
            return
        with self._changed:
            held = self._hold
            if held is None or not self._left or not self._meets(held, seconds):
                return
            self._left -= 1
            self.waiting += 1
            self._changed.wait_for(lambda: self._hold is None, SETTLE_S)
            self.waiting -= 1

    @staticmethod
    def _meets(held: tuple[float, str, str], seconds: float) -> bool:
        moment, method, path = held
        return seconds == moment and request.method == method and path in request.path


class Installation:
    """Everything runs, on this database; `rows` reads it past the program."""

    def __init__(self, directory: Path, database_url: str) -> None:
        self.directory = directory
        self.database_url = database_url
        self.processes: list[Process] = []
        self.gate = Gate()
        self.bling = Bling(sleep=self.gate, seed=1)
        self.server: Server | None = None
        self.redis = RedisProcess(directory / "redis")
        self.port = free_port()
        self._settings: dict[str, str] = {}
        self._count = 0
        self._reader: psycopg.Connection[tuple[Any, ...]] | None = None

    @property
    def is_sqlite(self) -> bool:
        return self.database_url.startswith("sqlite:")

    # How it begins and ends.

    def start(self) -> None:
        """Build the merchant's stock, import his setup file, start one of each process but no worker."""
        self.redis.start()
        bling = self.bling
        bling.no_limits()
        bling.configure(retry_delays_s=(1, 2, 4))
        url = f"http://127.0.0.1:{self.port}"
        bling.add_app(
            CLIENT_ID, CLIENT_SECRET, redirect_uri=f"{url}/bling/callback", webhook_url=f"{url}/webhooks/bling"
        )
        for key, name in demo.ACCOUNTS.items():
            bling.add_account(key, name, deposits=("Geral", "Loja virtual"))
            stock = {deposit: quantity for (account, deposit), quantity in STOCK.items() if account == key}
            for sku in SKUS:
                bling.add_product(key, sku, stock=stock, announce=False)
        self.server = serve(bling)
        self._settings = {
            "APP_ENV": "development",
            "VAR_DIR": str(self.directory / "var"),
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis.url,
            "PORT": str(self.port),
            "BIND_HOST": "127.0.0.1",
            "PUBLIC_URL": url,
            "WEB_CONCURRENCY": "1",
            "LOG_LEVEL": "INFO",
            "BLING_CLIENT_ID": CLIENT_ID,
            "BLING_CLIENT_SECRET": CLIENT_SECRET,
            "BLING_API_URL": f"{self.server.url}/Api/v3",
            "BLING_AUTHORIZE_URL": f"{self.server.url}/Api/v3/oauth/authorize",
            "BLING_RATE_PER_SECOND": "100",
            "SETTLE_WINDOW_S": str(WINDOW_S),
            "PYTHONUNBUFFERED": "1",
            "HURRY": str(HURRY),
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }
        self._import_setup()
        self.start_web()
        self.scheduler()

    def _import_setup(self) -> None:
        accounts = []
        for key in ACCOUNTS:
            tokens = self.bling.issue_tokens(key, CLIENT_ID)
            deposits = [{"id": d.id, "name": d.name} for d in self.bling.world.deposits_of(key)]
            accounts.append(
                {
                    "key": key,
                    "deposits": deposits,
                    "access_token": tokens.access_token,
                    "refresh_token": tokens.refresh_token,
                    "expires_in": tokens.expires_in,
                }
            )
        document = demo.setup_document(accounts)
        document["organization"]["reconcile_every_minutes"] = 10_080
        path = self.directory / "setup.json"
        path.write_text(json.dumps(document))
        self.command("setup", "import", str(path))
        path.unlink()

    def end(self) -> None:
        """Kill what is left, stopped processes too, and let nobody wait at the gate."""
        self.gate.open()
        for process in self.processes:
            process.kill()
        if self.server is not None:
            self.server.stop()
        if self._reader is not None:
            self._reader.close()
        self.bling.close()
        self.redis.kill()

    # Processes.

    def environment(self, **more: str) -> dict[str, str]:
        return {**os.environ, **self._settings, **more}

    def run(self, name: str, *command: str, **environment: str) -> Process:
        self._count += 1
        log = self.directory / f"{self._count:03d}-{name}.log"
        process = Process(name, command, self.environment(**environment), log)
        self.processes.append(process)
        return process

    def worker(self) -> Process:
        return self._hurried("worker", "jobs.worker:main")

    def harmed_worker(self, harm: str) -> tuple[Process, Path]:
        """A worker that harms itself at a named place (programs/harmed.py), and the file that says that it did."""
        return self._harmed("worker", harm, "jobs.worker:main")

    def harmed_web(self, harm: str) -> Path:
        """In place of the web program one whose process harms itself; its master starts another one."""
        for web in self.alive("web"):
            web.kill()
        web, mark = self._harmed("web", harm, "gunicorn.app.wsgiapp:run", "-c", "gunicorn.conf.py")
        wait_until(lambda: self.answers("/healthz"), START_S, web.text)
        return mark

    def _hurried(self, name: str, program: str, *words: str) -> Process:
        return self.run(name, "-m", "tests.processes.programs.hurried", program, *words)

    def _harmed(self, name: str, harm: str, program: str, *words: str) -> tuple[Process, Path]:
        mark = self.directory / f"harm-{self._count}"
        command = ("-m", "tests.processes.programs.harmed", program, *words)
        return self.run(name, *command, HARM=harm, HARM_MARK=str(mark)), mark

    def scheduler(self) -> Process:
        return self._hurried("scheduler", "jobs.scheduler:main")

    def start_web(self) -> Process:
        web = self._hurried("web", "gunicorn.app.wsgiapp:run", "-c", "gunicorn.conf.py")
        wait_until(lambda: self.answers("/healthz"), START_S, lambda: web.text()[-3000:])
        return web

    def alive(self, name: str) -> list[Process]:
        return [process for process in self.processes if process.name == name and process.is_alive()]

    def only_workers(self, count: int) -> list[Process]:
        """Exactly so many healthy workers, whatever the test before left; they are all ready to work."""
        for process in self.alive("worker"):
            process.kill()
        started = [self.worker() for _ in range(count)]
        for process in started:
            wait_until(lambda one=process: "serves" in one.text(), START_S, process.text)
        return started

    def wake(self, times: int = 1) -> None:
        """Wake-ups for workers; a dead one may have taken the last one with it, and the tick comes every ten seconds
        only. More of them than needed are harmless."""
        [(organization_id,)] = self.rows("SELECT id FROM organization")
        with Redis.from_url(self.redis.url) as redis:
            for _ in range(times):
                Queue("live", connection=redis).enqueue_call("jobs.sync.drain", args=(organization_id,), result_ttl=0)

    def command(self, *words: str) -> str:
        return self._once("-m", "flask", "--app", "app", *words)

    def _once(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=ROOT,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=START_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def answer(self, was_applied: Mapping[str, bool]) -> None:
        """A person says of these writes, by id, whether Bling applied them."""
        words = [f"{write_id}={'yes' if applied else 'no'}" for write_id, applied in was_applied.items()]
        self._once("-m", "tests.processes.programs.person", *words)
        self.wake()

    def answers(self, path: str) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"http://127.0.0.1:{self.port}{path}", timeout=15) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.HTTPError):
            return False

    # What the database says.

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Read past the program; a database that is away for a moment is asked again."""
        deadline = time.monotonic() + START_S
        while True:
            try:
                return self._rows(query)
            except (sqlite3.OperationalError, psycopg.OperationalError):
                self._reader = None
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        if self.is_sqlite:
            path = self.database_url.removeprefix("sqlite:///")
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
                return connection.execute(query).fetchall()
        if self._reader is None:
            self._reader = psycopg.connect(self.database_url, autocommit=True)
        return self._reader.execute(query).fetchall()

    def count(self, table: str, where: str = "1 = 1") -> int:
        [(found,)] = self.rows(f"SELECT COUNT(*) FROM {table} WHERE {where}")
        return int(found)

    def open_work(self) -> dict[str, int]:
        """What is not over yet, by name; empty when all is settled."""
        deliveries = [d for d in self.bling.deliveries() if d.state in ("queued", "retry")]
        found = {
            "webhooks to be delivered": len(deliveries),
            "events pending": self.count("event", "state = 'pending'"),
            "dirty SKUs": self.count("dirty_sku"),
            "writes on their way": self.count("stock_write", "state IN ('planned', 'sending', 'unknown')"),
            "open runs": self.count("run", "finished_at IS NULL"),
            "open items": self.count("run_item", "finished_at IS NULL"),
        }
        return {name: count for name, count in found.items() if count}

    def settle(self, timeout_s: float = SETTLE_S) -> float:
        """Wait until nothing is left to do; how long that took."""
        started_at = time.monotonic()
        wait_until(lambda: not self.open_work(), timeout_s, lambda: f"still open: {self.open_work()}", every_s=0.3)
        return time.monotonic() - started_at

    def last_words(self) -> str:
        """The end of each process's log, for a test that failed."""
        parts = [f"--- {p.name} {p.pid} ({p.process.poll()})\n{p.text()[-2500:]}" for p in self.processes[-8:]]
        return "\n".join(parts)


def wait_until(
    is_true: Callable[[], object],
    timeout_s: float = 60.0,
    why: Callable[[], str] = lambda: "it did not happen in time",
    every_s: float = 0.05,
) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_true():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {why()}")
        time.sleep(every_s)


@contextlib.contextmanager
def running(directory: Path, database_url: str) -> Iterator[Installation]:
    installation = Installation(directory, database_url)
    try:
        installation.start()
        yield installation
    finally:
        installation.end()
