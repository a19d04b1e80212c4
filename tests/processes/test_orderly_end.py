"""A host that stops or replaces everything in the middle of the work: each process ends in time, nothing is lost."""

from __future__ import annotations

import signal
import time

import pytest

from tests.processes.installation import Installation, wait_until
from tests.processes.merchant import Merchant, check

pytestmark = pytest.mark.processes

# Hosts kill after 30 s.
ENDS_S = 25.0


@pytest.mark.in_short("sqlite")
def test_everything_ends_in_time_in_the_middle_of_the_work(installation: Installation) -> None:
    installation.only_workers(3)
    with Merchant(installation, seed=31, pause_s=0.05) as merchant:
        wait_until(lambda: merchant.done > 15)
        programs = [p for name in ("web", "worker", "scheduler") for p in installation.alive(name)]
        told_at = time.monotonic()
        for _ in range(2):  # Hosts may say so more than once.
            for program in programs:
                program.process.send_signal(signal.SIGTERM)
        codes = {program.name: program.process.wait(ENDS_S) for program in programs}
        took_s = time.monotonic() - told_at
    installation.start_web()
    installation.scheduler()
    installation.only_workers(2)

    installation.settle()
    print(f"everything ended within {took_s:.1f} s")
    assert codes == {"web": 0, "worker": 0, "scheduler": 0}
    assert took_s < ENDS_S
    check(installation)


def test_a_new_release_runs_beside_the_old_one_for_a_while(installation: Installation) -> None:
    """Two schedulers, old and new workers: as at every deployment."""
    old = [*installation.only_workers(2), *installation.alive("scheduler")]
    with Merchant(installation, seed=32) as merchant:
        wait_until(lambda: merchant.done > 10)
        new = [installation.scheduler(), installation.worker(), installation.worker()]
        due = merchant.done + 30
        wait_until(lambda: merchant.done > due)
        for program in old:
            program.process.send_signal(signal.SIGTERM)
        assert [program.process.wait(ENDS_S) for program in old] == [0, 0, 0]
        due = merchant.done + 10
        wait_until(lambda: merchant.done > due)

    installation.settle()
    assert all(program.is_alive() for program in new)
    check(installation)
