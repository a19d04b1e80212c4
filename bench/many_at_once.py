"""1,000 SKUs change at once: how long until the other account shows it, against what Bling's limit makes it take.

The floor is one write per SKU at three a second. Bling's limits are on: a request too many is answered 429.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.tables import table  # noqa: E402
from bench.world import World, opened  # noqa: E402

RATE = 3
WORKERS = 2
STOCK = {"Geral": 100, "Loja física": 0, "Loja virtual": 0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--skus", type=int, default=1000)
    skus = [f"SKU-{number:05}" for number in range(parser.parse_args().skus)]
    with opened(("matriz", "filial"), dict.fromkeys(skus, STOCK)) as world:
        world.rule(sources=(("matriz", "Geral"),), targets=(("filial", "Loja virtual"),))
        row = _measure(world, skus)
    print(table(("SKUs", "writes", "reads", "429", "seconds", "floor", "seconds ÷ floor"), [row]))


def _measure(world: World, skus: list[str]) -> tuple[str, ...]:
    world.limit()
    before, reads = world.written(), world.counted()[0]
    with world.workers(WORKERS):
        for sku in skus:
            world.bling.count("matriz", sku, 90, "Geral")
        began_at = time.monotonic()
        with world.webhooks():
            world.wait_until_written(before + len(skus), limit_s=len(skus))
            took_s = time.monotonic() - began_at
    wrong = sum(world.stage.shown("filial", sku) != 90 for sku in skus)
    if wrong:
        raise AssertionError(f"{wrong} SKUs are not what they should be")
    refused = Counter(r.status for r in world.bling.requests())[429]
    # The first three leave at once.
    floor_s = (len(skus) - RATE) / RATE
    told = (len(skus), len(skus), world.counted()[0] - reads, refused, f"{took_s:.1f}", f"{floor_s:.1f}")
    return (*(str(one) for one in told), f"{took_s / floor_s:.3f}")


if __name__ == "__main__":
    main()
