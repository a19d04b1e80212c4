"""Some seeds of the simulation in every run of the tests; `make simulate SEEDS=1-1000` plays as many as one likes."""

from __future__ import annotations

import pytest

from tests.stateful.simulation.author import PROFILES
from tests.stateful.simulation.play import improvise, replay
from tests.stateful.simulation.plot import Plot, plot_of
from tests.stateful.simulation.stories import tell

STEPS = 400


@pytest.mark.parametrize("seed", range(1, 5))
@pytest.mark.parametrize("profile", ["calm", "webhooks", "stale", "rough"])
def test_everything_that_must_hold_holds(seed: int, profile: str) -> None:
    outcome = improvise(plot_of(seed), seed, STEPS, PROFILES[profile])

    assert not outcome.broken, tell(outcome)
    assert outcome.writes


def test_a_seed_tells_the_same_story_each_time() -> None:
    first, second = (improvise(plot_of(7), 7, STEPS, PROFILES["rough"]) for _ in range(2))

    assert first.lines == second.lines
    assert first.actions == second.actions


def test_a_story_is_replayed_from_its_actions_alone() -> None:
    told = improvise(plot_of(8), 8, STEPS, PROFILES["rough"])

    again = replay(Plot.from_dict(told.plot.to_dict()), told.actions)

    assert again.lines == told.lines
