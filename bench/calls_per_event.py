"""API calls for one stock event: two accounts, three sources, two targets, as merchants run it.

The floor is what no program can do without: one read per account and one write per target. The published Node
program needs 14 calls for the same case, the published Make.com scenario 9 to 10.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.tables import table  # noqa: E402
from bench.world import World, opened  # noqa: E402

SKU = "CANECA"
FLOOR = {"reads": 2, "writes": 2}


def main() -> None:
    rows = []
    with opened(("matriz", "filial")) as world:
        world.rule(
            sources=(("matriz", "Geral"), ("matriz", "Loja física"), ("filial", "Geral")),
            targets=(("matriz", "Loja virtual"), ("filial", "Loja virtual")),
        )
        rows.append(_measure(world, "sale on a source", lambda: world.bling.sell("matriz", SKU, 1, "Geral"), 4))
        rows.append(_measure(world, "sale on a target", lambda: world.bling.sell("filial", SKU, 1, "Loja virtual"), 4))
        rows.append(_measure(world, "reservation", lambda: world.bling.reserve("filial", SKU, 1, "Geral"), 4))
        rows.append(_measure(world, "burst: 20 sales on one SKU", lambda: _burst(world), 4))
        rows.append(_measure(world, "echoes of all of it, sent again", world.redeliver, 0))
    print(table(("event", "reads", "writes", "calls", "floor", "calls ÷ floor"), rows))
    print("\nThe same event costs 14 calls in the program merchants use today, 9 to 10 in the Make.com scenario.")


def _burst(world: World) -> None:
    for _ in range(20):
        world.bling.sell("matriz", SKU, 1, "Geral")


def _measure(world: World, name: str, act, floor: int) -> tuple[str, ...]:  # type: ignore[no-untyped-def]
    before = world.counted()
    act()
    world.settle()
    reads, writes = (after - then for after, then in zip(world.counted(), before, strict=True))
    calls = reads + writes
    ratio = f"{calls / floor:.2f}" if floor else ("1.00" if calls == 0 else "∞")
    return name, str(reads), str(writes), str(calls), str(floor), ratio


if __name__ == "__main__":
    main()
