"""One SQLite file of JSON documents by kind and key: what a killed sandbox has when it starts again.

The live state is in memory; every change is committed here before it is answered.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .records import Record


class StoreBusy(RuntimeError):
    """Another process already serves this file."""


class Store:
    def __init__(self, path: str | Path, read_only: bool = False) -> None:
        self.path = Path(path)
        self._lock_file = None if read_only else self._lock()
        if not read_only:
            # Tokens lie in it, and SQLite gives its side files the mode of the main one.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        target = f"file:{self.path.absolute()}?mode=ro" if read_only else str(self.path)
        self._db = sqlite3.connect(target, uri=read_only, check_same_thread=False, isolation_level=None)
        if not read_only:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS record (kind TEXT NOT NULL, key TEXT NOT NULL,"
                " doc TEXT NOT NULL, PRIMARY KEY (kind, key))"
            )

    def all(self, kind: str) -> Iterator[dict[str, Any]]:
        """The documents of a kind in the order in which they first came."""
        rows = self._db.execute("SELECT doc FROM record WHERE kind = ? ORDER BY rowid", (kind,))
        for (doc,) in rows:
            yield json.loads(doc)

    def save(self, changed: list[Record], removed: list[tuple[str, str]]) -> None:
        """Write and remove documents in one transaction."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(
                "INSERT INTO record (kind, key, doc) VALUES (?, ?, ?)"
                " ON CONFLICT (kind, key) DO UPDATE SET doc = excluded.doc",
                [
                    (r.KIND, r.key, json.dumps(r.to_doc(), ensure_ascii=False))  # type: ignore[attr-defined]
                    for r in changed
                ],
            )
            self._db.executemany("DELETE FROM record WHERE kind = ? AND key = ?", removed)
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def close(self) -> None:
        self._db.close()
        if self._lock_file is not None:
            self._lock_file.close()

    def _lock(self) -> Any:
        # Two servers over one file would each overwrite what the other remembers.
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = open(f"{self.path}.lock", "w")  # noqa: SIM115 - held as long as the store lives
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            handle.close()
            raise StoreBusy(f"{self.path} is in use by another sandbox") from error
        return handle
