"""One running installation for the tests of a database; a test leaves it settled, with whatever processes it likes."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from tests.conftest import upgrade, with_database
from tests.processes.installation import IS_FULL, Installation, running

KINDS = ("sqlite", "postgres")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Marks say where a test runs: `in_short(kind)` on which database in the short version, nowhere without it;
    `database(kind)` on which one at all."""
    if "installation_on" not in metafunc.fixturenames:
        return
    short = metafunc.definition.get_closest_marker("in_short")
    only = metafunc.definition.get_closest_marker("database")
    kinds = only.args if only else KINDS
    left_out = set() if IS_FULL else set(kinds) - set(short.args if short else ())
    skip = pytest.mark.skip(reason="in the long version only: PROCESS_TESTS=full")
    parameters = [pytest.param(kind, marks=[skip] if kind in left_out else []) for kind in kinds]
    metafunc.parametrize("installation_on", parameters, indirect=True, scope="session")


@pytest.fixture(scope="session")
def installation_on(request: pytest.FixtureRequest) -> Iterator[Installation]:
    """An installation on a database of its own."""
    # Short, because a Unix socket's path has to be.
    with tempfile.TemporaryDirectory(prefix="eu-", dir="/tmp") as name:
        directory = Path(name)
        if request.param == "sqlite":
            file = directory / "installation.sqlite"
            shutil.copyfile(request.getfixturevalue("sqlite_template"), file)
            with running(directory, f"sqlite:///{file}") as installation:
                yield installation
            return
        server = request.getfixturevalue("postgres_server")
        database = f"estoqueuni_processes_{os.getpid()}"
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
        try:
            url = with_database(server, database)
            upgrade(url)
            with running(directory, url) as installation:
                yield installation
        finally:
            with psycopg.connect(server, autocommit=True) as connection:
                connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database)))


@pytest.fixture
def installation(installation_on: Installation) -> Iterator[Installation]:
    """Everything but workers runs and is settled; afterwards, whatever was done to it, every promise holds."""
    here = installation_on
    if not here.redis.is_running():
        here.redis.start()
    if not here.alive("web"):
        here.start_web()
    if not here.alive("scheduler"):
        here.scheduler()
    if here.open_work():
        here.only_workers(2)
        here.settle()
    here.bling.faults.clear()
    yield here
    here.gate.open()
    here.bling.faults.clear()
    here.bling.configure(virtual_with_stock=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that fails shows what the programs said."""
    report = yield
    installation = getattr(item, "funcargs", {}).get("installation")
    if report.failed and isinstance(installation, Installation):
        report.sections.append(("what the programs said", installation.last_words()))
    return report
