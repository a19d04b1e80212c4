"""Databases that begin without a single table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from peewee import Database
from playhouse.pool import PooledDatabase
from psycopg import sql

import db
import ids


@pytest.fixture
def empty_url(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a database without a single table."""
    if database_kind == "sqlite":
        yield f"sqlite:///{tmp_path}/new.sqlite"
        return
    server = request.getfixturevalue("postgres_server")
    name = f"estoqueuni_schema_{ids.new_id()}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def nothing(empty_url: str) -> Iterator[Database]:
    """A connection to a database without a single table."""
    opened = db.init_database(empty_url)
    with db.connection():
        yield opened
    if isinstance(opened, PooledDatabase):
        opened.close_all()
