"""The database of a simulated world: SQLite in memory, one connection, one `Database` per strand over it.

No strand is ever overtaken inside a transaction, so that one connection shows what several would.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from peewee import SCOPE_VALUES, Context, Field, SqliteDatabase

ROOT = Path(__file__).resolve().parents[3]
_CHANGES = ("INSERT", "UPDATE", "DELETE")

Park = Callable[[str], None]


@cache
def _schema() -> bytes:
    """An empty database with the schema in it."""
    with sqlite3.connect(":memory:") as connection:
        connection.executescript((ROOT / "schema.sql").read_text(encoding="utf-8"))
        return connection.serialize()


class QuickContext(Context):
    """Writes down a model's column in one step. A quarter of a story's time was peewee putting such names together."""

    __slots__ = ()

    def sql(self, obj: Any) -> Any:
        if getattr(obj.__class__, "__sql__", None) is not Field.__sql__:
            return super().sql(obj)
        if self.scope == SCOPE_VALUES:
            return self.literal(f'"{obj.column_name}"')
        return self.literal(f'"{self.alias_manager[obj.model._meta.table]}"."{obj.column_name}"')


class StrandDatabase(SqliteDatabase):
    """What one strand holds of the shared connection; it stops where another process could come between."""

    context_class = QuickContext

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._shared = connection
        self.park: Park = _go_on
        self.is_dead = False
        super().__init__(":memory:", autoconnect=False, lock_type="IMMEDIATE", thread_safe=False)

    def _connect(self) -> sqlite3.Connection:
        return self._shared

    def _close(self, conn: sqlite3.Connection) -> None:
        """The connection is everybody's."""

    def begin(self, lock_type: str | None = None) -> None:
        self._live("begin")
        super().begin(lock_type)

    def commit(self) -> None:
        super().commit()
        self._live("commit")

    def rollback(self) -> None:
        if not self.is_dead:
            super().rollback()

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        if not self.in_transaction() and sql.startswith(_CHANGES):
            self._live("change")
        return super().execute_sql(sql, params)

    def _live(self, place: str) -> None:
        self.park(place)


def _go_on(_place: str) -> None:
    """Outside of strands nothing is overtaken."""


class Books:
    """The database and what is lent of it. `outside` is for whoever is no worker: the web program, the checks."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None, cached_statements=512)
        self.connection.deserialize(_schema())
        self.connection.execute("PRAGMA foreign_keys = 1")
        self.outside = StrandDatabase(self.connection)
        self.outside._add_conn_hooks(self.connection)
        self.outside.connect()
        self._free: list[StrandDatabase] = []

    def lend(self, park: Park) -> StrandDatabase:
        lent = self._free.pop() if self._free else StrandDatabase(self.connection)
        lent.park = park
        return lent

    def give_back(self, lent: StrandDatabase) -> None:
        if lent.is_closed() and not lent.is_dead:
            self._free.append(lent)

    def close(self) -> None:
        self.outside.close()
        self.connection.close()
