"""Some seeds of the simulation in every run of the tests; `make simulate SEEDS=1-1000` plays as many as one likes."""

from __future__ import annotations

from typing import Any

import pytest
from peewee import Context, SqliteDatabase

from tests.stateful.simulation.author import PROFILES
from tests.stateful.simulation.books import QuickContext, StrandDatabase
from tests.stateful.simulation.play import improvise, replay
from tests.stateful.simulation.plot import Plot, plot_of
from tests.stateful.simulation.stories import tell

STEPS = 400


@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize("profile", PROFILES)
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


def test_its_queries_are_worded_as_the_programs_are(monkeypatch: pytest.MonkeyPatch) -> None:
    worded: set[tuple[str, str]] = set()

    def execute(database: StrandDatabase, query: Any, **options: Any) -> Any:
        settings = {**database.get_context_options(), **options}
        quickly, plainly = (kind(**settings).parse(query)[0] for kind in (QuickContext, Context))
        worded.add((quickly, plainly))
        return SqliteDatabase.execute(database, query, **options)

    monkeypatch.setattr(StrandDatabase, "execute", execute)
    improvise(plot_of(9), 9, STEPS, PROFILES["all"])

    assert len(worded) > 100
    assert all(quickly == plainly for quickly, plainly in worded)
