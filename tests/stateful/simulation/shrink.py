"""The shortest part of a story that still ends wrong in the same way."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence

from tests.stateful.simulation.play import Outcome, replay
from tests.stateful.simulation.world import Action

_DETAILS = re.compile(r"-?\d+(\.\d+)?|SKU\d|\w+/\w+|\[.*\]|(?s:\n.*)")


def kinds(broken: Sequence[str]) -> set[str]:
    """What was wrong, without numbers and places."""
    return {_DETAILS.sub("", words)[:80] for words in broken}


def shrink(outcome: Outcome, limit_s: float) -> Outcome:
    """Leave out whatever the failure does not need, for so many seconds at the most."""
    wanted = kinds(outcome.broken)
    ends_at = time.monotonic() + limit_s
    best = outcome

    def still_fails(actions: Sequence[Action]) -> bool:
        nonlocal best
        played = replay(outcome.plot, actions)
        if not kinds(played.broken) & wanted:
            return False
        best = played
        return True

    _without_chunks(lambda: best.actions, still_fails, lambda: time.monotonic() >= ends_at)
    for number in range(len(best.actions)):
        if time.monotonic() >= ends_at or number >= len(best.actions):
            break
        if best.actions[number]["luck"] != 0:
            still_fails([a | {"luck": 0} if n == number else a for n, a in enumerate(best.actions)])
    return best


def _without_chunks(
    actions: Callable[[], Sequence[Action]],
    still_fails: Callable[[Sequence[Action]], bool],
    is_over: Callable[[], bool],
) -> None:
    """Delta debugging: leave out ever smaller runs of actions, from the end, until no single one can be missed."""
    size = max(1, len(actions()) // 2)
    while True:
        has_helped = False
        end = len(actions())
        while end > 0:
            if is_over():
                return
            now = actions()
            start = max(0, end - size)
            if still_fails([*now[:start], *now[end:]]):
                has_helped = True
                end = min(start, len(actions()))
            else:
                end = start
        if size == 1 and not has_helped:
            return
        size = max(1, size // 2)
