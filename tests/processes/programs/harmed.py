"""`python -m tests.processes.programs.harmed MODULE:FUNCTION WORD…` runs a program that harms itself once.

HARM says where and how: "SIGKILL before services.writes:confirm", "SIGSTOP after services.recording:record", or
"SIGKILL effect 7": right after the seventh thing it does that anybody outside could notice (a statement that stands, a
commit, a request to Bling, a wake-up), counted from the first drain that it begins. HARM_MARK is a file that is written
first and says where; where it exists, nothing happens any more.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peewee

import queues
from bling.wire import Wire
from tests.processes.programs.hurried import hurry

MARK = os.environ["HARM_MARK"]


def strike(which: signal.Signals, where: str) -> None:
    """Once in all processes that share the mark."""
    try:
        with open(os.open(MARK, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w") as file:
            file.write(where)
    except FileExistsError:
        return
    os.kill(os.getpid(), which)


def harm_function(which: signal.Signals, moment: str, where: str) -> None:
    """Replace the function (or the method, "module:Class.method") wherever a module has taken it over by its name."""
    module_name, _, path = where.partition(":")
    owner: Any = importlib.import_module(module_name)
    *classes, name = path.split(".")
    for class_name in classes:
        owner = getattr(owner, class_name)
    original = getattr(owner, name)

    @functools.wraps(original)
    def harmed(*args: Any, **kwargs: Any) -> Any:
        if moment == "before":
            strike(which, where)
        result = original(*args, **kwargs)
        if moment == "after":
            strike(which, where)
        return result

    setattr(owner, name, harmed)
    for module in list(sys.modules.values()):
        if getattr(module, name, None) is original:
            setattr(module, name, harmed)


def harm_effect(which: signal.Signals, number: int) -> None:
    """Count what can be noticed from outside, and strike right after the one of this number."""
    numbers, has_begun, lock = itertools.count(1), threading.Event(), threading.Lock()

    def counted(original: Callable[..., Any], describe: Callable[..., str | None]) -> Callable[..., Any]:
        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            what = describe(*args) if has_begun.is_set() else None
            result = original(*args, **kwargs)
            if what is not None:
                with lock:
                    mine = next(numbers)
                if mine == number:
                    strike(which, what)
            return result

        return call

    def statement(database: peewee.Database, sql: str, *_: Any) -> str | None:
        stands = not database.in_transaction() and sql.startswith(("UPDATE", "INSERT", "DELETE"))
        return " ".join(sql.split()[:3]) if stands else None

    for kind in (peewee.SqliteDatabase, peewee.PostgresqlDatabase):
        kind.execute_sql = counted(kind.execute_sql, statement)
        kind.commit = counted(kind.commit, lambda *_: f"COMMIT in {_caller()}")
    Wire.send = counted(Wire.send, lambda _, method, target, *__: f"{method} {target.partition('?')[0]}")
    for name in ("enqueue", "kick", "kick_at"):
        setattr(queues, name, counted(getattr(queues, name), lambda *_, called=name: called))
    take_wake = queues.take_wake

    def begin_drain(organization_id: str) -> None:
        has_begun.set()
        take_wake(organization_id)

    queues.take_wake = counted(begin_drain, lambda *_: "take_wake")


def _caller() -> str:
    """The function of ours that the commit ends."""
    frame = inspect.currentframe()
    while frame is not None:
        path = frame.f_code.co_filename
        if "/services/" in path or "/jobs/" in path:
            return f"{Path(path).stem}.{frame.f_code.co_name}"
        frame = frame.f_back
    return "?"


def main() -> int:
    hurry()
    which_name, moment, where = os.environ["HARM"].split(" ", 2)
    module_name, _, function = sys.argv.pop(1).partition(":")
    program = importlib.import_module(module_name)
    importlib.import_module("jobs.sync")
    importlib.import_module("jobs.schedule")
    if not Path(MARK).exists():
        which = signal.Signals[which_name]
        if moment == "effect":
            harm_effect(which, int(where))
        else:
            harm_function(which, moment, where)
    return int(getattr(program, function)() or 0)


if __name__ == "__main__":
    sys.exit(main())
