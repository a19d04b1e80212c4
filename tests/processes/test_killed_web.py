"""The web program dies around the storing of an event: Bling sends it again, or the sweep finds it."""

from __future__ import annotations

import time

import pytest

from tests.processes.installation import Installation, wait_until
from tests.processes.merchant import Merchant, check

pytestmark = pytest.mark.processes

# The sweep leaves alone what is younger than 5 s and comes every 10 s; the rest is for a machine that is busy.
SWEPT_S = 15.0 + 15.0


@pytest.mark.in_short("postgres")
def test_killed_between_storing_and_answering_it_gets_the_event_again(installation: Installation) -> None:
    installation.only_workers(1)
    mark = installation.harmed_web("SIGKILL after services.intake:_store")
    known = len(installation.bling.deliveries())
    stored = installation.count("event")

    installation.bling.sell("matriz", "SKU-01", 1, "Geral")
    wait_until(mark.exists)
    took_s = installation.settle()

    first = installation.bling.deliveries()[known]
    assert (first.attempts[0]["status"], first.attempts[-1]["status"]) == (0, 200)
    events = len(installation.bling.deliveries()) - known
    assert installation.count("event") == stored + events
    print(f"settled {took_s:.1f} s after the death")
    check(installation)


@pytest.mark.in_short("sqlite")
def test_killed_between_answering_and_waking_the_sweep_finds_the_event(installation: Installation) -> None:
    [worker] = installation.only_workers(1)
    mark = installation.harmed_web("SIGKILL before services.intake:wake_workers")
    # No second event that would wake somebody after all.
    installation.bling.configure(virtual_with_stock=False)
    known = len(installation.bling.deliveries())

    installation.bling.sell("matriz", "SKU-02", 1, "Geral")
    sold_at = time.monotonic()
    wait_until(mark.exists)
    installation.settle()
    took_s = time.monotonic() - sold_at

    assert installation.bling.deliveries()[known].attempts[0]["status"] == 200
    print(f"swept {took_s:.1f} s after the sale")
    assert took_s < SWEPT_S
    assert worker.is_alive()
    check(installation)


def test_killed_altogether_under_load_it_misses_nothing(installation: Installation) -> None:
    installation.only_workers(2)
    with Merchant(installation, seed=6) as merchant:
        for _ in range(2):
            due = merchant.done + 10
            wait_until(lambda due=due: merchant.done > due)
            [web] = installation.alive("web")
            web.kill()
            wait_until(lambda due=due: merchant.done > due + 10)
            installation.start_web()

    installation.settle()
    check(installation)
