"""`make simulate SEED=1 STEPS=2000`: play the stories of some seeds; print, shrink and keep the first that ends wrong.

SEEDS=1-200 plays many, on all cores. PROFILE, MODE and BALANCE choose what the seed chooses otherwise.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.stateful.simulation import stories
from tests.stateful.simulation.author import PROFILES
from tests.stateful.simulation.play import Outcome, improvise, replay
from tests.stateful.simulation.plot import plot_of
from tests.stateful.simulation.shrink import shrink

KEPT = Path("var/simulation")
#: Seeds that are given no profile take these in turn.
IN_TURN = tuple(PROFILES)


@dataclass(frozen=True)
class Job:
    seed: int
    steps: int
    profile: str
    mode: str | None
    balance: str | None


@dataclass(frozen=True)
class Played:
    job: Job
    cpu_s: float
    movements: int
    writes: int
    reviews: int
    untellable: int
    virtual_s: float
    broken: tuple[str, ...]


def main() -> int:
    options = _options()
    if options.replay:
        outcome = replay(*stories.load(Path(options.replay)))
        print(stories.tell(outcome, last=400))
        return bool(outcome.broken)
    jobs = [_job(options, seed) for seed in _seeds(options.seeds)]
    started_at = time.monotonic()
    failed: list[Played] = []
    totals: dict[str, Counter[str]] = {}
    with multiprocessing.Pool(min(options.processes, len(jobs))) as pool:
        for played in pool.imap_unordered(_play_job, jobs):
            _count(totals.setdefault(played.job.profile, Counter()), played)
            if played.broken:
                failed.append(played)
                print(
                    f"seed {played.job.seed} ({played.job.profile}) ended wrong: {played.broken[0][:300]}", flush=True
                )
    for profile, total in sorted(totals.items()):
        print(
            f"{profile:9} {total['seeds']:5} seeds, {total['failed']} wrong, {total['reviews']} in review,"
            f" {total['untellable']} beyond telling;"
            f" {total['movements']} movements, {total['writes']} writes, {total['virtual_s'] / 3600:.1f} virtual hours;"
            f" {1000 * total['cpu_ms'] / max(1, total['steps']) / 1000:.2f} ms a step"
        )
    print(f"{len(jobs)} seeds x {options.steps} steps in {time.monotonic() - started_at:.0f} s: {len(failed)} wrong")
    for played in sorted(failed, key=lambda one: one.job.seed)[: options.tell]:
        _tell(played.job, options.shrink_s)
    return bool(failed)


def _count(total: Counter[str], played: Played) -> None:
    total.update(
        seeds=1,
        steps=played.job.steps,
        failed=int(bool(played.broken)),
        reviews=played.reviews,
        untellable=played.untellable,
        movements=played.movements,
        writes=played.writes,
        virtual_s=round(played.virtual_s),
        cpu_ms=round(played.cpu_s * 1000),
    )


def _tell(job: Job, shrink_s: float) -> None:
    """Play it again, shrink it, print the story and keep it for tests/stateful/stories."""
    outcome = shrink(_improvise(job), shrink_s)
    path = KEPT / f"seed-{job.seed}-{job.profile}.json"
    stories.save(path, outcome)
    print(f"\nSeed {job.seed}, {job.profile}, shrunk to {len(outcome.actions)} actions, kept in {path}:")
    print(stories.tell(outcome))


def _improvise(job: Job) -> Outcome:
    return improvise(plot_of(job.seed, job.mode, job.balance), job.seed, job.steps, PROFILES[job.profile])


def _play_job(job: Job) -> Played:
    began_s = time.process_time()
    outcome = _improvise(job)
    cpu_s = time.process_time() - began_s
    if path := os.environ.get("SIMULATION_LOG"):
        Path(path, f"{job.seed}-{job.profile}.txt").write_text("\n".join([*outcome.lines, *outcome.broken]))
    return Played(
        job,
        cpu_s,
        outcome.movements,
        outcome.writes,
        outcome.reviews,
        outcome.untellable,
        outcome.virtual_s,
        tuple(outcome.broken),
    )


def _job(options: argparse.Namespace, seed: int) -> Job:
    profile = options.profile or IN_TURN[seed % len(IN_TURN)]
    return Job(seed, options.steps, profile, options.mode or None, options.balance or None)


def _seeds(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--seeds", default="1", help="one seed, or two with a dash between")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--profile", choices=("", *PROFILES), default="")
    parser.add_argument("--mode", choices=("", "sum", "mirror"), default="")
    parser.add_argument("--balance", choices=("", "physical", "virtual"), default="")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--tell", type=int, default=1, help="how many of the wrong ones to shrink and print")
    parser.add_argument("--shrink-s", type=float, default=120.0)
    parser.add_argument("--replay", default="", help="play a kept story instead")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
