"""CPU seconds to decide about 10,000 and 100,000 SKUs of six deposits, and how they grow.

Every tenth SKU was sold since: its sources differ from the books, events tell of it, and all targets are written. The
floor is what it takes to compare each balance that was read with the one in the books.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.tables import table  # noqa: E402
from core.facts import ZERO, BalanceKind, Book, Mode, Role, Seen, StockFact, TargetMovements  # noqa: E402
from core.plan import CellInput, PoolInput, plan_pool  # noqa: E402
from core.rules import TargetRule  # noqa: E402

SIZES = (10_000, 100_000)
READ_AT = datetime(2026, 3, 2, 12, tzinfo=UTC)
NOW = READ_AT + timedelta(minutes=10)
SHELF, SOLD, POOL = Decimal(40), Decimal(2), Decimal(120)
RULES = (TargetRule(), TargetRule(reserve=Decimal(2)), TargetRule(percent=Decimal(50)))


def main() -> None:
    rows = []
    for size in SIZES:
        floor_s, (plan_s, writes) = _timed(_compare, size), _timed_plans(size)
        told = (f"{size:,}", f"{plan_s:.2f}", f"{1e6 * plan_s / size:.1f}", f"{writes:,}", f"{floor_s:.2f}")
        rows.append((*told, f"{plan_s / floor_s:.1f}"))
    print(table(("SKUs", "CPU seconds", "µs a SKU", "writes", "floor", "CPU ÷ floor"), rows))
    growth = float(rows[1][1]) / float(rows[0][1]) / (SIZES[1] / SIZES[0])
    print(f"\nGrowth from {SIZES[0]:,} to {SIZES[1]:,}, per SKU: {growth:.2f}")


def _timed(action, size: int) -> float:  # type: ignore[no-untyped-def]
    took_s = 0.0
    for pool in _pools(size):
        began_s = time.process_time()
        action(pool)
        took_s += time.process_time() - began_s
    return took_s


def _timed_plans(size: int) -> tuple[float, int]:
    writes = 0

    def plan(pool: PoolInput) -> None:
        nonlocal writes
        writes += len(plan_pool(pool).wishes)

    return _timed(plan, size), writes


def _compare(pool: PoolInput) -> None:
    for cell in pool.cells:
        if cell.seen is not None and cell.book is not None:
            bool(cell.seen.physical == cell.book.accounted and cell.seen.reserved == cell.book.reserved)


def _pools(size: int) -> Iterator[PoolInput]:
    for number in range(size):
        yield _pool(is_sold=number % 10 == 0)


def _pool(*, is_sold: bool) -> PoolInput:
    cells = [_source(number, is_sold=is_sold and number == 0) for number in range(3)]
    cells += [_target(number, rule) for number, rule in enumerate(RULES)]
    return PoolInput(
        mode=Mode.SUM,
        balance=BalanceKind.VIRTUAL,
        target_movements=TargetMovements.WRITE_BACK,
        owed=ZERO,
        level=None,
        seed=None,
        cells=cells,
        window=timedelta(seconds=10),
        is_begun=True,
        had_sources=True,
    )


def _source(number: int, *, is_sold: bool) -> CellInput:
    now = SHELF - SOLD if is_sold else SHELF
    sale = StockFact("e", "e", -SOLD, now, NOW - timedelta(seconds=1))
    return CellInput(
        key=f"source-{number}",
        role=Role.SOURCE,
        position=number,
        book=Book(SHELF, ZERO, READ_AT, None),
        seen=Seen(now, ZERO, NOW),
        account=f"account-{number}",
        events=[sale] if is_sold else [],
    )


def _target(number: int, rule: TargetRule) -> CellInput:
    shown = (POOL, POOL - 2, POOL / 2)[number]
    return CellInput(
        key=f"target-{number}",
        role=Role.TARGET,
        position=number,
        book=Book(shown, ZERO, READ_AT, None),
        seen=Seen(shown, ZERO, NOW),
        rule=rule,
        account=f"account-{number}",
    )


if __name__ == "__main__":
    main()
