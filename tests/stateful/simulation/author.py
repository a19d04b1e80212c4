"""Chooses what happens next. The choice depends on the seed and on the world; what was chosen is plain data.

A profile says which faults may come. Stories have busy and quiet times, and faults that come and go, so that the
engine is met in all its states: in the middle of everything, and at rest.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.stateful.simulation.plot import Place
from tests.stateful.simulation.wire import DOWN
from tests.stateful.simulation.world import Action, World


@dataclass(frozen=True)
class Profile:
    """Which kinds of trouble a story has."""

    webhooks: bool = False
    stale: bool = False
    crash: bool = False
    unknown: bool = False
    down: bool = False
    skews_ms: tuple[int, ...] = ()


PROFILES = {
    "calm": Profile(),
    "webhooks": Profile(webhooks=True),
    "stale": Profile(stale=True),
    "crash": Profile(crash=True),
    "unknown": Profile(unknown=True),
    "down": Profile(down=True),
    "rough": Profile(webhooks=True, stale=True, down=True),
    "skew": Profile(webhooks=True, down=True, skews_ms=(0, 1000, -1000, 20_000, -20_000)),
    # A write of unknown outcome is told from others by when it happened: that needs clocks that differ by little.
    "all": Profile(webhooks=True, stale=True, crash=True, unknown=True, down=True, skews_ms=(0, 200, -200)),
}

_WEBHOOK_FAULTS = (
    ("webhook_lost", (0.2, 0.5, 1.0), None),
    ("webhook_duplicate", (0.3, 1.0), None),
    ("webhook_late", (0.2, 0.5), (2, 15, 60)),
    ("webhook_reordered", (0.3,), (3, 10)),
    ("refused", (0.3, 1.0), None),
    ("unheard", (0.3,), None),
)
_UNKNOWN_FAULTS = ("cut_before", "cut_after", "error_500_after", "error_500")


class Author:
    def __init__(self, seed: int, profile: Profile, world: World) -> None:
        self._chance = random.Random(f"story {seed}")
        self._profile = profile
        self._world = world
        self._plot = world.plot
        self._mood_ends = 0
        self._pace = 1.0
        self._step = 0
        self._favourite = self._plot.skus[0]

    def next_action(self) -> Action:
        """The next action, with the luck it draws from."""
        self._step += 1
        if self._step >= self._mood_ends:
            self._change_mood()
        action = self._choose()
        action["luck"] = self._chance.getrandbits(32)
        return action

    def _change_mood(self) -> None:
        chance = self._chance
        self._mood_ends = self._step + chance.randint(20, 200)
        self._pace = chance.choice((0.2, 1.0, 1.0, 3.0))
        self._favourite = chance.choice(self._plot.skus)

    def _choose(self) -> Action:
        chance, world = self._chance, self._world
        able = [number for number, worker in enumerate(world.loom.workers) if world.can_work(worker)]
        draw = chance.random()
        if (trouble := self._trouble()) is not None:
            return trouble
        if draw < 0.10 * self._pace:
            return self._merchant()
        due = world.bling.next_due()
        if due is not None and due * 1000 <= world.clock.ms and chance.random() < 0.15:
            return {"do": "deliver"}
        if able and chance.random() < 0.85:
            return {"do": "work", "w": chance.choice(able)}
        if not able and chance.random() < 0.05:
            return {"do": "rename", "sku": self._sku(), "account": chance.choice(self._plot.accounts)}
        if chance.random() < 0.01:
            return {"do": "reconcile"} if chance.random() < 0.7 else {"do": "ask", "sku": self._sku()}
        return self._tick(is_idle=not able)

    def _tick(self, is_idle: bool) -> Action:
        chance = self._chance
        kind = chance.random()
        if is_idle and kind < 0.5:
            return {"do": "tick", "ms": max(1, min(20_000, self._world.next_moment_ms() - self._world.clock.ms))}
        if kind < 0.75:
            return {"do": "tick", "ms": chance.randint(1, 500)}
        if kind < 0.97:
            return {"do": "tick", "ms": chance.randint(500, 5000)}
        return {"do": "tick", "ms": chance.randint(5000, 40_000)}

    def _sku(self) -> str:
        return self._favourite if self._chance.random() < 0.6 else self._chance.choice(self._plot.skus)

    def _place(self) -> Place:
        if self._chance.random() < 0.03:
            return self._chance.choice(self._plot.outside)
        return self._chance.choice(self._plot.places)

    def _merchant(self) -> Action:
        chance = self._chance
        kind = chance.choices(
            ("sell", "receive", "take", "count", "reserve", "post", "cancel", "correct"),
            (35, 15, 6, 6, 16, 11, 8, 3),
        )[0]
        if kind in ("post", "cancel"):
            return {"do": kind, "n": chance.randrange(1000)}
        if kind == "correct":
            return {"do": kind, "sku": self._sku(), "n": chance.randrange(1000), "q": chance.choice("01234")}
        quantity = str(chance.randint(0, 25) if kind == "count" else chance.choice((1, 1, 1, 2, 2, 3, 5, 8)))
        if chance.random() < 0.03:
            quantity += ".5"
        return {"do": kind, "sku": self._sku(), "at": list(self._place()), "q": quantity}

    def _trouble(self) -> Action | None:
        """A fault that begins or ends, every few dozen steps."""
        chance, profile = self._chance, self._profile
        draw = chance.random()
        if profile.webhooks and draw < 0.02:
            kind, rates, seconds = chance.choice(_WEBHOOK_FAULTS)
            action: Action = {"do": "fault", "kind": kind, "rate": chance.choice((*rates, 0.0))}
            return action | ({"seconds": chance.choice(seconds)} if seconds else {})
        if profile.stale and draw < 0.03:
            rate = chance.choice((0.0, 0.2, 0.5, 1.0))
            return {"do": "fault", "kind": "stale", "rate": rate, "seconds": chance.choice((1, 2, 3))}
        if profile.unknown and draw < 0.04:
            rate = chance.choice((0.0, 0.0, 0.1, 0.3))
            return {"do": "fault", "kind": chance.choice(_UNKNOWN_FAULTS), "rate": rate}
        if profile.crash and draw < 0.055:
            number = chance.randrange(len(self._world.loom.workers))
            kind = chance.random()
            if kind < 0.6:
                return {"do": "crash", "w": number}
            if kind < 0.9:
                return {"do": "pause", "w": number, "ms": chance.choice((5_000, 20_000, 35_000, 60_000))}
            return {"do": "forget"}
        if profile.down and draw < 0.06:
            account = chance.choice(self._plot.accounts)
            if account in self._world.wire.down:
                return {"do": "up", "account": account}
            if len(self._world.wire.down) < len(self._plot.accounts) - 1 or chance.random() < 0.2:
                return {"do": "down", "account": account, "how": chance.choice(DOWN)}
            return {"do": "up", "account": chance.choice(list(self._world.wire.down))}
        if profile.skews_ms and draw < 0.061:
            return {"do": "skew", "ms": chance.choice(self._profile.skews_ms)}
        return None
