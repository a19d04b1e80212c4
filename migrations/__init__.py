"""Brings a database to the current schema: a fresh one gets schema.sql, an older one the numbered files it lacks.

Each step is one transaction under a lock that all processes share, and looks at what is there only when it holds the
lock: starting this in several processes at once, killing it anywhere, and repeating it are all harmless. A migration
only adds (the release phase runs while the old processes still serve); what is no longer used goes a release later.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from peewee import Database, SqliteDatabase

import clock
from models.base import MomentField

HERE = Path(__file__).resolve().parent
SCHEMA = HERE.parent / "schema.sql"
# Any number will do, as long as nothing else in this database takes an advisory lock by it.
ADVISORY_LOCK = 7_210_436_519_001
_FILE_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
# A comment, a quoted text, or the end of a statement: the only places where a semicolon means something.
_TOKEN = re.compile(r"--[^\n]*|'(?:[^']|'')*'|;")


class ForeignDatabase(Exception):
    """The database is not empty and not ours; nothing was changed."""


@dataclass(frozen=True)
class Migration:
    version: int
    name: str
    sql: str


def upgrade(database: Database, schema: Path = SCHEMA, directory: Path = HERE) -> list[str]:
    """Make the schema current, on this open database; return what was done, one name per step (empty: nothing)."""
    migrations = numbered(directory)
    if create(database, schema.read_text(encoding="utf-8"), migrations):
        return [schema.name]
    return migrate(database, migrations)


def numbered(directory: Path = HERE) -> list[Migration]:
    """The numbered files in their order."""
    found = []
    for path in sorted(directory.glob("*.sql")):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            raise ValueError(f"{path.name} is no name for a migration: it wants 0002_words_with_underscores.sql")
        found.append(Migration(int(match[1]), path.stem, path.read_text(encoding="utf-8")))
    versions = [migration.version for migration in found]
    if versions != list(range(1, len(found) + 1)):
        raise ValueError(f"migrations have to be numbered 1, 2, 3, … without gaps or repetitions, not {versions}")
    return found


def create(database: Database, schema: str, migrations: list[Migration]) -> bool:
    """Give a fresh database the whole schema at once; False when it has one already."""
    with _exclusive_transaction(database):
        existing = set(database.get_tables())
        if "schema_migration" in existing:
            return False
        if taken := existing & set(re.findall(r"CREATE TABLE IF NOT EXISTS (\w+)", schema)):
            raise ForeignDatabase(
                f"O banco de dados já tem tabelas de outro programa: {', '.join(sorted(taken))}. Nada foi alterado."
            )
        _execute(database, schema)
        for migration in migrations:
            _record(database, migration)
        return True


def migrate(database: Database, migrations: list[Migration]) -> list[str]:
    """Apply what is missing, one transaction each.

    Versions that this release does not know are left alone: migrations only add, so an older release still runs.
    """
    done: list[str] = []
    while True:
        with _exclusive_transaction(database):
            applied = _applied(database)
            pending = [migration for migration in migrations if migration.version not in applied]
            if not pending:
                return done
            _execute(database, pending[0].sql)
            _record(database, pending[0])
        done.append(pending[0].name)


def pending(database: Database) -> list[str]:
    """The names of the migrations that this database lacks; reads only."""
    applied = _applied(database)
    return [migration.name for migration in numbered() if migration.version not in applied]


def statements(sql: str) -> Iterator[str]:
    """The single statements of a text, without its comments."""
    current, end = [], 0
    for token in _TOKEN.finditer(sql):
        current.append(sql[end : token.start()])
        end = token.end()
        if token[0] == ";":
            if statement := "".join(current).strip():
                yield statement
            current = []
        elif token[0].startswith("'"):
            current.append(token[0])
    if statement := ("".join(current) + sql[end:]).strip():
        yield statement


@contextmanager
def _exclusive_transaction(database: Database) -> Iterator[None]:
    if isinstance(database, SqliteDatabase):
        with database.atomic("IMMEDIATE"):
            yield
    else:
        with database.atomic():
            database.execute_sql("SELECT pg_advisory_xact_lock(%s)", (ADVISORY_LOCK,))
            yield


def _applied(database: Database) -> set[int]:
    if "schema_migration" not in database.get_tables():
        return set()
    return {version for (version,) in database.execute_sql("SELECT version FROM schema_migration").fetchall()}


def _execute(database: Database, sql: str) -> None:
    # Without parameters, not even none of them: to psycopg a % in the text would then be a placeholder.
    cursor = database.cursor()
    for statement in statements(sql):
        cursor.execute(statement)


def _record(database: Database, migration: Migration) -> None:
    now = MomentField().db_value(clock.utcnow())
    mark = database.param
    database.execute_sql(
        f"INSERT INTO schema_migration (version, name, applied_at) VALUES ({mark}, {mark}, {mark})",  # noqa: S608
        (migration.version, migration.name, now),
    )
