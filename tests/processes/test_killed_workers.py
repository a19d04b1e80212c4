"""Workers that die: whatever they had in hand is taken over, nothing is lost, nothing is written twice."""

from __future__ import annotations

import itertools
import random
import time

import pytest

from tests.processes.installation import IS_FULL, LEASE_S, SKUS, WINDOW_S, Installation, wait_until
from tests.processes.merchant import Merchant, check

pytestmark = pytest.mark.processes

KILLS = 100 if IS_FULL else 8
SKUS_A_ROUND = 4
PATIENCE_S = 8.0
# A sale on a shared deposit takes some twenty things that can be noticed from outside; what follows are its echoes.
EFFECTS = range(1, 36) if IS_FULL else range(2, 26, 5)


@pytest.mark.in_short("sqlite")
def test_workers_killed_again_and_again_under_load_lose_and_invent_nothing(installation: Installation) -> None:
    # Bling takes its time, so that many of them die with a call under way.
    installation.bling.faults.set("slow", rate=1, seconds=0.05)
    kill_under_load(installation, seed=7)
    check(installation)


def test_workers_killed_again_and_again_while_nothing_can_be_relied_on(installation: Installation) -> None:
    """Answers get lost, balances are old, events come late, twice or never, all at once."""
    faults = installation.bling.faults
    faults.set("slow", rate=1, seconds=0.05)
    for kind in ("cut_before", "cut_after", "error_500_after"):
        faults.set(kind, rate=0.07)
    faults.set("stale", rate=0.3, seconds=0.8 * WINDOW_S)
    faults.set("webhook_late", rate=0.2, seconds=3)
    faults.set("webhook_duplicate", rate=0.2)
    faults.set("webhook_lost", rate=0.2)
    kill_under_load(installation, seed=8)
    # What no event told of is found by a check of everything.
    installation.command("reconcile", "--org", "demo")
    installation.settle()
    check(installation, is_told=False)


def kill_under_load(installation: Installation, seed: int) -> None:
    """Two workers at a time, at any moment of their work. What they held rests until their leases end, so the merchant
    goes on with other SKUs in the meantime, and comes back to the first ones later."""
    chance = random.Random(seed)
    in_doubt = "evidence IS NOT NULL"
    doubted = installation.count("stock_write", in_doubt)
    kills, rounds, at_work = 0, itertools.count(), 0
    with Merchant(installation, seed=seed, pause_s=0.1) as merchant:
        while kills < KILLS:
            first = next(rounds) * SKUS_A_ROUND % len(SKUS)
            merchant.skus = SKUS[first : first + SKUS_A_ROUND]
            workers = installation.only_workers(2)
            installation.wake(len(workers))
            since = time.time()
            wait_until(lambda due=since: claimed_since(installation, due) or time.time() > due + PATIENCE_S)
            time.sleep(chance.uniform(0.0, 1.0))
            at_work += claimed_since(installation, since)
            for worker in workers:
                assert worker.is_alive(), worker.text()
                worker.kill()
                kills += 1
    installation.bling.faults.clear()
    installation.only_workers(2)
    took_s = installation.settle()

    doubted = installation.count("stock_write", in_doubt) - doubted
    print(
        f"{kills} workers killed among {merchant.done} deeds, in {at_work} of {next(rounds)} rounds with SKUs in hand,"
        f" {doubted} writes were in doubt; settled {took_s:.1f} s after the last deed"
    )
    assert at_work > KILLS / 4


def claimed_since(installation: Installation, moment: float) -> bool:
    """Whether somebody took SKUs, or held on to them, after this moment."""
    return installation.count("dirty_sku", f"lease_until > {(moment + LEASE_S) * 1000:.0f}") > 0


@pytest.mark.in_short("postgres")
def test_a_worker_may_die_after_anything_it_does(installation: Installation) -> None:
    """One after the other dies right after the first, the second, the third thing that it does about a sale of its own:
    a commit, a call, a wake-up. The healthy ones that come last find everything."""
    installation.only_workers(0)
    died = []
    for sku, number in zip(SKUS, EFFECTS, strict=False):
        worker, mark = installation.harmed_worker(f"SIGKILL effect {number}")
        wait_until(lambda one=worker: "serves" in one.text(), why=worker.text)
        installation.bling.sell("avulsa", sku, 2, "Loja virtual")
        wait_until(lambda due=sku, harm=mark: installation.count("dirty_sku", f"sku = '{due}'") or harm.exists())
        installation.wake()
        wait_until(lambda one=worker: not one.is_alive(), why=worker.text)
        died.append(f"{number}: {mark.read_text()}")
    installation.only_workers(2)

    took_s = installation.settle()
    print("died after", *died, f"settled {took_s:.1f} s after the last death", sep="\n  ")
    check(installation)
