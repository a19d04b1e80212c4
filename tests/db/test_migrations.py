"""The runner: fresh, older and current databases, several processes at once, failures half-way."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from peewee import Database

import migrations
from migrations import ForeignDatabase, Migration
from tests.db.test_schema import describe

ROOT = Path(__file__).resolve().parents[2]
FIRST = Migration(1, "0001_first", (ROOT / "schema.sql").read_text())
SHELF = Migration(2, "0002_shelf", "CREATE TABLE shelf (id TEXT NOT NULL PRIMARY KEY, label TEXT);")
BROKEN = Migration(
    3, "0003_broken", "ALTER TABLE shelf ADD COLUMN width BIGINT; INSERT INTO shelf (nonsense) VALUES (1);"
)


@pytest.fixture
def old(nothing: Database) -> Iterator[Database]:
    """A database of the first release."""
    migrations.migrate(nothing, [FIRST])
    return nothing


def versions(database: Database) -> list[int]:
    rows = database.execute_sql("SELECT version FROM schema_migration ORDER BY version").fetchall()
    return [version for (version,) in rows]


def test_it_gives_a_fresh_database_the_schema_and_marks_every_migration(nothing: Database) -> None:
    assert migrations.upgrade(nothing) == ["schema.sql"]

    assert versions(nothing) == [migration.version for migration in migrations.numbered()]
    assert migrations.pending(nothing) == []


def test_it_changes_nothing_the_second_time(nothing: Database) -> None:
    migrations.upgrade(nothing)
    before = describe(nothing)

    assert migrations.upgrade(nothing) == []

    assert describe(nothing) == before


def test_it_gives_an_older_database_only_what_it_lacks(old: Database) -> None:
    assert migrations.migrate(old, [FIRST, SHELF]) == ["0002_shelf"]

    assert versions(old) == [1, 2]
    assert "shelf" in old.get_tables()
    assert migrations.migrate(old, [FIRST, SHELF]) == []


def test_a_migration_that_fails_leaves_no_trace_and_those_before_it_stay(old: Database) -> None:
    with pytest.raises(Exception, match="nonsense"):
        migrations.migrate(old, [FIRST, SHELF, BROKEN])

    assert versions(old) == [1, 2]
    assert [column.name for column in old.get_columns("shelf")] == ["id", "label"]


def test_an_older_release_leaves_newer_migrations_alone(old: Database) -> None:
    migrations.migrate(old, [FIRST, SHELF])

    assert migrations.migrate(old, [FIRST]) == []
    assert versions(old) == [1, 2]


def test_it_refuses_a_database_of_another_program(nothing: Database) -> None:
    nothing.execute_sql("CREATE TABLE users (name TEXT)")

    with pytest.raises(ForeignDatabase, match="users"):
        migrations.upgrade(nothing)

    assert nothing.get_tables() == ["users"]


def test_several_processes_at_once_do_it_once(nothing: Database, empty_url: str) -> None:
    nothing.close()
    program = (
        "import sys, db, migrations\n"
        "database = db.init_database(sys.argv[1])\n"
        "sys.stdin.readline()\n"
        "with db.connection():\n"
        "    print(*migrations.upgrade(database))\n"
    )
    command = [sys.executable, "-c", program, empty_url]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(4)]

    # All are started before the first of them may go.
    answers = [process.communicate("go\n", timeout=60) for process in processes]

    nothing.connect()
    assert [(process.returncode, error) for process, (_, error) in zip(processes, answers, strict=True)] == [
        (0, "")
    ] * 4
    assert sorted(done.strip() for done, _ in answers) == ["", "", "", "schema.sql"]
    assert versions(nothing) == [migration.version for migration in migrations.numbered()]


def test_files_without_a_proper_name_or_number_are_refused(tmp_path: Path) -> None:
    (tmp_path / "0001_first.sql").touch()
    (tmp_path / "0003_third.sql").touch()
    with pytest.raises(ValueError, match=r"\[1, 3\]"):
        migrations.numbered(tmp_path)

    (tmp_path / "0002-second.sql").touch()
    with pytest.raises(ValueError, match="0002-second"):
        migrations.numbered(tmp_path)


def test_a_text_is_split_at_the_semicolons_that_end_a_statement() -> None:
    text = "SELECT 1; -- not; this\nSELECT ';--', 'it''s;' ;\n\n;SELECT 3"

    assert list(migrations.statements(text)) == ["SELECT 1", "SELECT ';--', 'it''s;'", "SELECT 3"]
