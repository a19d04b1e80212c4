"""Playing a story to its end: set the stage, let things happen, let everything settle, judge."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.stateful.simulation.author import Author, Profile
from tests.stateful.simulation.oracle import Oracle
from tests.stateful.simulation.plot import Plot
from tests.stateful.simulation.world import Action, World

QUIET_S = 30


@dataclass
class Outcome:
    """How a story went. `broken`: the promises that did not hold; `lines`: what happened, when."""

    plot: Plot
    actions: list[Action] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    reviews: int = 0
    untellable: int = 0
    movements: int = 0
    virtual_s: float = 0.0
    writes: int = 0


def improvise(plot: Plot, seed: int, steps: int, profile: Profile) -> Outcome:
    """Play the story of this seed."""

    def actions(world: World) -> Iterator[Action]:
        author = Author(seed, profile, world)
        for _ in range(steps):
            yield author.next_action()

    return _play(plot, actions)


def replay(plot: Plot, actions: Sequence[Action]) -> Outcome:
    """Play these actions."""
    return _play(plot, lambda _world: actions)


def _play(plot: Plot, actions_of: Callable[[World], Iterable[Action]]) -> Outcome:
    outcome = Outcome(plot)
    world = World(plot)
    with world.installed(), _errors_logged() as errors:
        oracle = Oracle(world)
        world.set_stage()
        stuck = world.settle()
        oracle.broken += [f"at the start: {stuck}"] if stuck else []
        for action in actions_of(world):
            outcome.actions.append(action)
            told = world.do(action)
            if told:
                outcome.lines.append(f"{world.clock.passed_s:9.3f} #{len(outcome.actions)} {told}")
            if oracle.broken or errors or world.loom.failures:
                break
        else:
            _end(world, oracle, outcome)
        outcome.broken = [*oracle.broken, *errors, *(repr(error) for error in world.loom.failures)]
        outcome.reviews, outcome.writes = oracle.reviews, oracle.writes
        outcome.untellable = len(oracle.untellable)
        outcome.virtual_s = world.clock.passed_s
        outcome.movements = len(world.bling.world.movements)
    return outcome


def _end(world: World, oracle: Oracle, outcome: Outcome) -> None:
    """Faults end, everything settles, a periodic check looks for what nobody told; then all must be true, and stay."""
    world.calm_down()
    stuck = world.settle()
    if stuck is None and oracle.has_refusals():
        world.do({"do": "ask_all", "luck": 0})
        stuck = world.settle()
    if stuck is None:
        world.clock.ms += QUIET_S * 1000
        world.do({"do": "reconcile", "luck": 0})
        stuck = world.settle()
    if stuck is not None:
        oracle.broken.append(f"it does not come to rest: {stuck}")
    outcome.lines.append(f"{world.clock.passed_s:9.3f} everything has settled")
    oracle.judge()
    if oracle.decide():
        world.settle()
        oracle.judge()
    written = oracle.writes
    world.clock.ms += QUIET_S * 1000
    world.do({"do": "reconcile", "luck": 0})
    world.settle()
    if oracle.writes != written:
        oracle.broken.append(f"{oracle.writes - written} writes although all was settled")


@contextmanager
def _errors_logged() -> Iterator[list[str]]:
    """What the program logs as an error is something that nobody expected."""
    found: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(logging.Formatter().format(record))

    collector, root = Collector(logging.ERROR), logging.getLogger()
    root.addHandler(collector)
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield found
    finally:
        logging.disable(before)
        root.removeHandler(collector)
