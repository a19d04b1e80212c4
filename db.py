"""The one database connection of a request, a job or a thread; SQLite and PostgreSQL behind the same name.

Nothing connects by itself: code that forgot to open a connection fails loudly instead of leaking one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from flask import Flask, g, request
from peewee import (
    Database,
    DatabaseProxy,
    DataError,
    InterfaceError,
    OperationalError,
    PostgresqlDatabase,
    SqliteDatabase,
)
from playhouse.pool import MaxConnectionsExceeded, PooledPostgresqlDatabase
from werkzeug.exceptions import ServiceUnavailable

View = TypeVar("View", bound=Callable[..., Any])

database = DatabaseProxy()

# Seconds that a statement waits for another process's lock, or for a free connection of the pool.
LOCK_WAIT_S = 10
CONNECT_TIMEOUT_S = 5
# A process that stands still in the middle of a transaction, or whose machine is gone, would keep its locks for hours.
# Nothing of ours leaves a transaction idle for longer than a blink.
IDLE_TRANSACTION_S = 15
# How soon a server that vanished without a word is noticed, in seconds of silence.
KEEPALIVE = {"keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000}
UNREACHABLE = (OperationalError, InterfaceError, MaxConnectionsExceeded)
# Raised for what the database takes as no value: a NUL in a text, say.
UNFIT: type[Exception] = DataError


def init_database(url: str, max_connections: int = 4) -> Database:
    """Point `database` at this address, without connecting. A second call replaces the first."""
    if database.obj is not None and not database.is_closed():
        database.close()
    chosen = _sqlite(url) if is_sqlite(url) else _postgres(url, max_connections)
    database.initialize(chosen)
    return chosen


def is_sqlite(url: str) -> bool:
    return url.startswith("sqlite:")


def sqlite_path(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def _sqlite(url: str) -> SqliteDatabase:
    path = sqlite_path(url)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return SqliteDatabase(
        str(path),
        autoconnect=False,
        timeout=LOCK_WAIT_S,
        # A transaction that reads first and writes later cannot wait for the lock in between: it fails at once. So each
        # takes the write lock as it begins.
        lock_type="IMMEDIATE",
        pragmas={
            "journal_mode": "wal",
            # FULL: an event answered with 200 is on the disk, also when the power fails.
            "synchronous": 2,
            "foreign_keys": 1,
        },
    )


class _Bounded(PostgresqlDatabase):
    """PostgreSQL that neither waits for a lock nor holds one for ever."""

    def _connect(self) -> Any:
        connection = super()._connect()  # type: ignore[misc]
        # Not as options of the connection: poolers in between refuse those.
        connection.execute(f"SET lock_timeout = '{LOCK_WAIT_S}s'")
        connection.execute(f"SET idle_in_transaction_session_timeout = '{IDLE_TRANSACTION_S}s'")
        return connection


class _BoundedPool(PooledPostgresqlDatabase, _Bounded):
    """The settings are made once per connection, not each time that one is taken from the pool."""


def _postgres(url: str, max_connections: int) -> PooledPostgresqlDatabase:
    address = "postgresql://" + url.partition("://")[2]
    query = urlsplit(address).query
    defaults = {"application_name": "estoqueuni", "connect_timeout": CONNECT_TIMEOUT_S, **KEEPALIVE}
    options: dict[str, Any] = {name: value for name, value in defaults.items() if name not in query}
    return _BoundedPool(
        address,
        autoconnect=False,
        max_connections=max_connections,
        stale_timeout=240,
        timeout=LOCK_WAIT_S,
        **options,
    )


@contextmanager
def connection() -> Iterator[None]:
    """An open connection for this thread; inside another one, the same."""
    if not database.is_closed():
        yield
        return
    database.connect()
    try:
        yield
    finally:
        database.close()


def after_commit(callback: Callable[[], object]) -> None:
    """Call this once the open transaction is committed (never when it is rolled back); at once if none is open."""
    database.after_commit(callback)


def without_database(view: View) -> View:
    """Marks a view that has to answer when the database does not."""
    view.__dict__["needs_database"] = False
    return view


def init_app(app: Flask) -> None:
    """Open a connection for each request that needs one, and close what was opened."""

    @app.before_request
    def connect() -> None:
        view = app.view_functions.get(request.endpoint or "")
        if request.endpoint == "static" or not getattr(view, "needs_database", True) or not database.is_closed():
            return
        try:
            database.connect()
        except UNREACHABLE as error:
            app.logger.error("No database connection for a request: %s", type(error).__name__)
            raise ServiceUnavailable(retry_after=5) from error
        g.opened_database = True

    @app.teardown_request
    def close(_error: BaseException | None) -> None:
        if g.pop("opened_database", False) and not database.is_closed():
            database.close()


def _forget_inherited_connection() -> None:
    # A connection shared with the parent process would mix up both conversations; closing it would end the parent's.
    if database.obj is not None:
        database.obj.dispose()


os.register_at_fork(after_in_child=_forget_inherited_connection)
