"""The database is locked, cuts its connections, or refuses new ones for seconds: nothing is lost, and every process
goes on by itself."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from tests.conftest import with_database
from tests.processes.installation import HURRY, Installation, wait_until
from tests.processes.merchant import Merchant, check

pytestmark = pytest.mark.processes

# Somewhat shorter, and somewhat longer, than a statement of ours waits for a lock.
SHORT_S, LONG_S = 8.0 / HURRY, 13.0 / HURRY


def under_load(installation: Installation, seed: int, trouble: Callable[[], object]) -> None:
    """The same processes live before, during and after the trouble, and everything is right in the end."""
    workers = installation.only_workers(2)
    [web], [scheduler] = installation.alive("web"), installation.alive("scheduler")
    with Merchant(installation, seed=seed) as merchant:
        wait_until(lambda: merchant.done > 10)
        trouble()
        due = merchant.done + 10
        wait_until(lambda: merchant.done > due)
    took_s = installation.settle()
    print(f"settled {took_s:.1f} s after the last deed")
    assert all(process.is_alive() for process in (*workers, web, scheduler))
    check(installation)


@pytest.mark.database("sqlite")
@pytest.mark.in_short("sqlite")
@pytest.mark.parametrize("length_s", [LONG_S])
def test_a_file_that_another_process_locks(installation: Installation, length_s: float) -> None:
    known = len(installation.bling.deliveries())

    def lock() -> None:
        path = installation.database_url.removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            time.sleep(length_s)
            connection.execute("ROLLBACK")

    under_load(installation, 21, lock)
    tries = [attempt for delivery in installation.bling.deliveries()[known:] for attempt in delivery.attempts]
    # Bling gives up waiting after five seconds and sends again; what could not be stored is never answered with 200.
    assert {attempt["status"] for attempt in tries} <= {0, 200, 503}
    assert any(attempt["status"] != 200 for attempt in tries)


@pytest.mark.database("postgres")
def test_connections_that_are_cut(installation: Installation) -> None:
    def cut() -> None:
        for _ in range(4):
            with psycopg.connect(installation.database_url, autocommit=True) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            time.sleep(1)

    under_load(installation, 22, cut)


@pytest.mark.database("postgres")
@pytest.mark.in_short("postgres")
def test_a_server_that_refuses_connections(installation: Installation) -> None:
    known = len(installation.bling.deliveries())
    name = urlsplit(installation.database_url).path.strip("/")
    allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")

    def refuse() -> None:
        with psycopg.connect(with_database(installation.database_url, "postgres"), autocommit=True) as connection:
            connection.execute(allow.format(sql.Identifier(name), sql.SQL("false")))
            try:
                connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
                time.sleep(SHORT_S)
                assert not installation.answers("/readyz")
                assert installation.answers("/healthz")
            finally:
                connection.execute(allow.format(sql.Identifier(name), sql.SQL("true")))

    under_load(installation, 23, refuse)
    tries = [attempt for delivery in installation.bling.deliveries()[known:] for attempt in delivery.attempts]
    statuses = {attempt["status"] for attempt in tries}
    assert 503 in statuses
    assert statuses <= {0, 200, 503}


@pytest.mark.database("postgres")
@pytest.mark.parametrize("length_s", [SHORT_S, LONG_S])
def test_tables_that_somebody_locks(installation: Installation, length_s: float) -> None:
    def lock() -> None:
        with psycopg.connect(installation.database_url) as connection:
            connection.execute("LOCK TABLE dirty_sku, stock_write, cell IN ACCESS EXCLUSIVE MODE")
            time.sleep(length_s)
            connection.rollback()

    under_load(installation, 24, lock)
