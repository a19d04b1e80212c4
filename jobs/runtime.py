"""What surrounds every job: the process's settings, a database connection, and the word that it is time to stop."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import db
import logs
import queues
from config import Config, activate

P = ParamSpec("P")
R = TypeVar("R")

# For the connection of the job and for those of the threads that it starts.
MAX_CONNECTIONS = 8

_is_stopping = False


def start_process(config: Config | None = None) -> Config:
    """Settings, log, database and queues of a process that runs jobs. Connects to nothing."""
    config = activate(config or Config.from_env())
    logs.configure(config.log_level)
    db.init_database(config.database_url, max_connections=MAX_CONNECTIONS)
    queues.init_queues(config.redis_url)
    return config


def job(function: Callable[P, R]) -> Callable[P, R]:
    """Runs the function with a database connection open and its name and ids on every line of the log."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        about = {"job": function.__name__, **({"ids": ",".join(map(str, args))} if args else {})}
        with logs.log_context(**about), db.connection():
            return function(*args, **kwargs)

    return run


def should_stop() -> bool:
    """True once this process has been told to end: a long loop asks between two items, and leaves the rest."""
    return _is_stopping


def request_stop() -> None:
    """Called from signal handlers, hence no Event: its lock may be held by the very code that was interrupted."""
    global _is_stopping
    _is_stopping = True
