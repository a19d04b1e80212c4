"""Redis is killed, emptied, or away: every webhook is answered all the same, and the rows bring the work back."""

from __future__ import annotations

import time

import pytest
from redis import Redis

from tests.processes.installation import Installation, wait_until
from tests.processes.merchant import Merchant, check

pytestmark = pytest.mark.processes

AWAY_S = 20.0


def test_redis_may_be_away_for_twenty_seconds(installation: Installation) -> None:
    workers = installation.only_workers(2)
    known = len(installation.bling.deliveries())
    with Merchant(installation, seed=3) as merchant:
        wait_until(lambda: merchant.done > 10)
        installation.redis.kill()
        gone_at = time.monotonic()
        wait_until(lambda: time.monotonic() - gone_at > AWAY_S)
        installation.redis.start()

    took_s = installation.settle()
    print(f"Redis was away for {AWAY_S:g} s; settled {took_s:.1f} s after the last deed")
    tries = [attempt for delivery in installation.bling.deliveries()[known:] for attempt in delivery.attempts]
    # The sandbox gives up waiting after five seconds, as Bling does.
    assert {attempt["status"] for attempt in tries} == {200}
    assert all(worker.is_alive() for worker in workers)
    assert installation.alive("scheduler")
    check(installation)


@pytest.mark.in_short("postgres")
def test_redis_may_forget_everything_again_and_again(installation: Installation) -> None:
    workers = installation.only_workers(2)
    with Merchant(installation, seed=4) as merchant:
        for round_ in range(6):
            due = merchant.done + 8
            wait_until(lambda due=due: merchant.done > due)
            if round_ % 3 == 2:
                installation.redis.kill()
                installation.redis.start()  # Empty.
            else:
                Redis.from_url(installation.redis.url).flushall()

    took_s = installation.settle()
    print(f"Redis forgot everything six times; settled {took_s:.1f} s after the last deed")
    assert all(worker.is_alive() for worker in workers)
    assert installation.alive("scheduler")
    check(installation)
