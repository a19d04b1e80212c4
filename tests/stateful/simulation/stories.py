"""Stories as files: what one was played with, to be played again as a test, and what it tells to a person."""

from __future__ import annotations

import json
from pathlib import Path

from tests.stateful.simulation.play import Outcome
from tests.stateful.simulation.plot import Plot
from tests.stateful.simulation.world import Action


def save(path: Path, outcome: Outcome) -> None:
    """One action a line, so that a person can read it and a change of it."""
    actions = ",\n".join("  " + json.dumps(action) for action in outcome.actions)
    plot = json.dumps(outcome.plot.to_dict())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{{"plot": {plot},\n "actions": [\n{actions}\n]}}\n', encoding="utf-8")


def load(path: Path) -> tuple[Plot, list[Action]]:
    stored = json.loads(path.read_text(encoding="utf-8"))
    return Plot.from_dict(stored["plot"]), stored["actions"]


def tell(outcome: Outcome, last: int = 80) -> str:
    """The story, its last lines at least, and what should have been."""
    plot = outcome.plot
    rules = [
        f"{account}/{deposit}" + "".join(f" {name} {value}" for name, value in vars(rule).items() if value is not None)
        for (account, deposit), rule in zip(plot.targets, plot.rules, strict=True)
    ]
    sources = ", ".join("/".join(place) for place in plot.sources) or "none"
    lines = [
        f"mode {plot.mode}, balance {plot.balance}, movements on targets: {plot.target_movements}",
        f"sources: {sources} · targets: {', '.join(rules)}",
        *(f"{sku} begins with {_begun(plot, sku)}" for sku in plot.skus),
    ]
    if len(outcome.lines) > last:
        lines.append(f"   … {len(outcome.lines) - last} lines before …")
    return "\n".join([*lines, *outcome.lines[-last:], *(f"BROKEN: {words}" for words in outcome.broken)])


def _begun(plot: Plot, sku: str) -> str:
    return ", ".join(f"{plot.stock[sku][account][deposit]} in {account}/{deposit}" for account, deposit in plot.places)
