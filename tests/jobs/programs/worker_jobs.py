"""Jobs for the tests of the worker itself. They leave marks in a directory, for the test to see."""

from __future__ import annotations

import time
from pathlib import Path

import db
from jobs.runtime import job, should_stop


@job
def mark(directory: str, name: str) -> None:
    Path(directory, name).touch()


@job
def work_until_told(directory: str) -> None:
    """Runs until the test says so, in small steps, as a job does that sells no half units."""
    Path(directory, "begun").touch()
    while not Path(directory, "go-on").exists():
        time.sleep(0.02)
    Path(directory, "finished").touch()


@job
def leave_when_asked(directory: str) -> None:
    Path(directory, "begun").touch()
    while not should_stop():
        time.sleep(0.02)
    Path(directory, "left").touch()


@job
def ask_database(directory: str) -> None:
    answer = db.database.execute_sql("SELECT 1").fetchone()
    Path(directory, f"answered-{answer[0]}").touch()
