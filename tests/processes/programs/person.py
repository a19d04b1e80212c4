"""`python -m tests.processes.programs.person WRITE=yes WRITE=no …` answers for writes that nobody else can settle."""

from __future__ import annotations

import sys

import db
from jobs import runtime
from models import StockWrite
from services.writes import settle_undecided


def main() -> int:
    runtime.start_process()
    with db.connection():
        for word in sys.argv[1:]:
            write_id, _, said = word.partition("=")
            if not settle_undecided(StockWrite.get_by_id(write_id), said == "yes", None):
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
