"""SKUs settled a second with 1, 2 and 4 worker processes, against a sandbox without limits.

Eight merchants with two accounts each; all their SKUs have changed and been told of before the workers begin. Two cores
are shared by the workers, Redis, and the sandbox, which answers from a process of its own here: its share is the floor
under what is left for the workers.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.tables import table  # noqa: E402
from bench.world import opened  # noqa: E402

MERCHANTS = 8
PROCESSES = (1, 2, 4)
STOCK = {"Geral": 100, "Loja virtual": 0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--skus", type=int, default=40, help="of each merchant")
    skus = [f"SKU-{number:03}" for number in range(parser.parse_args().skus)]
    rates = {count: _measure(count, skus) for count in PROCESSES}
    rows = [(str(count), f"{rate:.1f}", f"{rate / rates[1]:.2f}") for count, rate in rates.items()]
    print(table(("processes", "SKUs a second", "÷ one process"), rows))


def _measure(count: int, skus: list[str]) -> float:
    with opened((), {}) as world:
        for number in range(MERCHANTS):
            world.merchant(f"loja{number}", dict.fromkeys(skus, STOCK))
        before, asked = world.written(), len(world.bling.requests())
        for number in range(MERCHANTS):
            for sku in skus:
                world.bling.count(f"loja{number}-matriz", sku, 90, "Geral")
        while world.bling.pump():
            pass
        with world.workers(count):
            world.wait_until_written(before + MERCHANTS * len(skus), limit_s=600)
        requests = world.bling.requests()[asked:]
        took_s = max(r.at for r in requests) - min(r.at for r in requests)
    return MERCHANTS * len(skus) / took_s


if __name__ == "__main__":
    main()
