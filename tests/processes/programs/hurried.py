"""`python -m tests.processes.programs.hurried MODULE:FUNCTION WORD…` runs a program that waits less for what is gone.

HURRY is the factor by which the leases, the sweep and the rest of its patience are shortened, in proportion to each
other. The long version of the tests runs with 1: what merchants run.
"""

from __future__ import annotations

import importlib
import os
import sys
from datetime import timedelta

# In the order in which they import each other, so that nobody has taken over a name before it is changed.
PATIENCE = (
    ("db", ("LOCK_WAIT_S",)),
    ("bling.transport", ("LEAVE_WITHIN_S",)),
    ("services.dirty", ("LEASE", "RENEW_EVERY_S")),
    ("services.reconcile", ("SCAN_LEASE",)),
    ("jobs.schedule", ("GRACE", "FORGOTTEN_AFTER")),
    ("jobs.scheduler", ("TICK_EVERY_S",)),
)


def hurry() -> None:
    factor = int(os.environ["HURRY"])
    for module_name, names in PATIENCE:
        module = importlib.import_module(module_name)
        for name in names:
            usual = getattr(module, name)
            setattr(module, name, usual / factor if isinstance(usual, timedelta) else round(usual / factor))


def main() -> int:
    hurry()
    module_name, _, function = sys.argv.pop(1).partition(":")
    return int(getattr(importlib.import_module(module_name), function)() or 0)


if __name__ == "__main__":
    sys.exit(main())
