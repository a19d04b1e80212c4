from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from flask import Flask
from peewee import Database, InterfaceError, OperationalError, SqliteDatabase

import db
from models import Organization
from tests.factories import make_organization


def one() -> int:
    return int(db.database.execute_sql("SELECT 1").fetchone()[0])


def test_nothing_connects_by_itself(database_url: str) -> None:
    db.init_database(database_url)

    with pytest.raises(InterfaceError):
        one()


def test_a_connection_inside_another_one_is_the_same(database_url: str) -> None:
    db.init_database(database_url)

    with db.connection():
        outer = db.database.obj.connection()
        with db.connection():
            assert db.database.obj.connection() is outer
        assert one() == 1

    assert db.database.is_closed()


def test_each_thread_has_its_own(database: Database) -> None:
    seen: list[object] = []

    def look() -> None:
        assert db.database.is_closed()
        with db.connection():
            seen.append(db.database.obj.connection())
            assert one() == 1

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()

    assert len(seen) == 1
    assert seen[0] is not database.connection()


def test_what_follows_a_commit_waits_for_it(database: Database) -> None:
    called: list[str] = []

    with database.atomic():
        with database.atomic():
            db.after_commit(lambda: called.append("wake"))
        assert called == []
    assert called == ["wake"]


def test_what_follows_a_commit_never_happens_after_a_rollback(database: Database) -> None:
    called: list[str] = []

    with pytest.raises(ZeroDivisionError), database.atomic():
        db.after_commit(lambda: called.append("wake"))
        raise ZeroDivisionError

    assert called == []


def test_without_a_transaction_it_happens_at_once(database: Database) -> None:
    called: list[str] = []

    db.after_commit(lambda: called.append("wake"))

    assert called == ["wake"]


def test_a_forked_process_dials_for_itself(database: Database) -> None:
    """A connection shared by two processes would mix their answers up, or be closed for both by one."""
    assert one() == 1
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if db.database.is_closed():
                with db.connection():
                    code = 0 if one() == 1 else 2
        finally:
            os._exit(code)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert one() == 1


def test_threads_that_write_at_once_wait_for_each_other(database: Database) -> None:
    database.execute_sql("CREATE TABLE counter (n INTEGER NOT NULL)")
    database.execute_sql("INSERT INTO counter VALUES (0)")
    faults: list[Exception] = []

    def count() -> None:
        try:
            with db.connection():
                for _ in range(20):
                    with db.database.atomic():
                        db.database.execute_sql("UPDATE counter SET n = n + 1")
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=count) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        assert faults == []
        assert database.execute_sql("SELECT n FROM counter").fetchone() == (120,)
    finally:
        database.execute_sql("DROP TABLE counter")


def test_a_transaction_that_stands_still_lets_go_of_its_locks(
    database: Database, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """A worker that was paused in the middle of one must not hold up the others until it wakes up."""
    if isinstance(database, SqliteDatabase):
        pytest.skip("SQLite has no server that could end a session")
    monkeypatch.setattr(db, "IDLE_TRANSACTION_S", 1)
    organization = make_organization()
    paused = db._postgres(request.getfixturevalue("postgres_database"), max_connections=1)
    paused.connect()
    with pytest.raises((OperationalError, InterfaceError)), paused.atomic():
        paused.execute_sql("UPDATE organization SET name = 'paused'")
        Organization.update(name="others").where(Organization.id == organization.id).execute()
        paused.execute_sql("UPDATE organization SET name = 'late'")
    paused.close()

    assert Organization.get_by_id(organization.id).name == "others"
    paused.connect()
    assert paused.execute_sql("SELECT 1").fetchone() == (1,)
    paused.close_all()


def test_nobody_waits_for_a_lock_for_ever(
    database: Database, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if isinstance(database, SqliteDatabase):
        pytest.skip("SQLite's busy timeout does that")
    monkeypatch.setattr(db, "LOCK_WAIT_S", 1)
    make_organization()
    other = db._postgres(request.getfixturevalue("postgres_database"), max_connections=1)
    other.connect()
    with database.atomic():
        Organization.update(name="held").execute()
        with pytest.raises(OperationalError, match="lock timeout"):
            other.execute_sql("UPDATE organization SET name = 'other'")
    other.execute_sql("UPDATE organization SET name = 'other'")
    other.close_all()

    assert Organization.get().name == "other"


def web(database_url: str) -> Flask:
    app = Flask(__name__)
    db.init_database(database_url)
    db.init_app(app)
    app.add_url_rule("/one", view_func=lambda: str(one()), endpoint="one")
    app.add_url_rule("/state", view_func=db.without_database(lambda: str(db.database.is_closed())), endpoint="state")

    @app.get("/fault")
    def fault() -> str:
        raise ZeroDivisionError

    return app


def test_a_request_has_a_connection_and_leaves_none_behind(database_url: str) -> None:
    client = web(database_url).test_client()

    assert client.get("/one").text == "1"
    assert db.database.is_closed()
    assert client.get("/fault").status_code == 500
    assert db.database.is_closed()


def test_a_view_that_says_so_gets_none(database_url: str) -> None:
    assert web(database_url).test_client().get("/state").text == "True"


def test_a_request_leaves_a_connection_of_before_open(database_url: str) -> None:
    app = web(database_url)

    with db.connection():
        assert app.test_client().get("/one").text == "1"
        assert not db.database.is_closed()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_database_that_is_away_is_503_and_not_an_error_of_ours(kind: str, tmp_path: Path) -> None:
    nowhere = f"sqlite:///{tmp_path}" if kind == "sqlite" else "postgresql://nobody@127.0.0.1:9/none"

    answer = web(nowhere).test_client().get("/one")

    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
