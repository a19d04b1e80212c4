"""Stories that ended wrong once: `make simulate` shrank them, and each is played again as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stateful.simulation import stories
from tests.stateful.simulation.play import replay

STORIES = sorted((Path(__file__).parent / "stories").glob("*.json"))


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_a_story_that_ended_wrong_ends_right(path: Path) -> None:
    outcome = replay(*stories.load(path))

    assert not outcome.broken, stories.tell(outcome)
