"""Plans that people look at: what a rule would change, read once and kept for a while.

Reading every balance takes a second and more per hundred products and account, so pages and filters of one plan share
one reading. It is kept in Redis; without Redis each look reads anew. A plan is of one exact wording of its rule.
"""

from __future__ import annotations

import json
import logging
import zlib
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from redis.exceptions import RedisError

import queues
from clock import utcnow
from models import StockGroup
from services.groups import draft_of, fingerprint
from services.preview import Preview, PreviewRow, preview_group

KEEP = timedelta(minutes=15)
# Behind this many, the rest of a page is the next page.
ROWS_PER_PAGE = 50
SHOWN = ("changed", "zeroed", "skipped", "all")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PlannedCell:
    account: str
    deposit: str
    role: str
    before: Decimal | None
    after: Decimal | None
    problem: str | None

    @property
    def delta(self) -> Decimal:
        return Decimal(0) if self.before is None or self.after is None else self.after - self.before


@dataclass(frozen=True, slots=True)
class PlannedSku:
    sku: str
    product_name: str
    available: Decimal | None
    problem: str | None
    cells: tuple[PlannedCell, ...]

    @property
    def is_changed(self) -> bool:
        return any(cell.delta for cell in self.cells)

    @property
    def is_zeroed(self) -> bool:
        return any(cell.delta < 0 and cell.after == 0 for cell in self.cells)


@dataclass(frozen=True, slots=True)
class Plan:
    """`fingerprint` names the wording of the rule that was planned."""

    fingerprint: str
    read_at: datetime
    rows: tuple[PlannedSku, ...]
    totals: dict[str, int]
    unreadable_accounts: tuple[str, ...]
    is_over_guard: bool

    def is_risky(self) -> bool:
        """Whether it takes stock away to a degree that a person should confirm."""
        return self.is_over_guard or self.totals["zeroed"] > 0


@dataclass(frozen=True, slots=True)
class PlanPage:
    rows: tuple[PlannedSku, ...]
    number: int
    pages: int
    total: int


def read_plan(group: StockGroup, *, anew: bool = False) -> Plan:
    """The plan of this rule as it is worded now: a kept one, or with `anew` (and when there is none) read now."""
    name = fingerprint(draft_of(group))
    plan = None if anew else _find(group, name)
    if plan is None:
        plan = _plan(group, preview_group(group), name)
        _keep(group, plan)
    return plan


def find_plan(group: StockGroup) -> Plan | None:
    """The kept plan of this rule as it is worded now; asks nobody."""
    return _find(group, fingerprint(draft_of(group)))


def page_of(plan: Plan, shown: str, text: str, number: int) -> PlanPage:
    """One page of the rows that a filter leaves."""
    wanted = [row for row in plan.rows if _is_shown(row, shown) and _matches(row, text)]
    pages = max(1, -(-len(wanted) // ROWS_PER_PAGE))
    number = min(max(1, number), pages)
    first = (number - 1) * ROWS_PER_PAGE
    return PlanPage(tuple(wanted[first : first + ROWS_PER_PAGE]), number, pages, len(wanted))


def _is_shown(row: PlannedSku, shown: str) -> bool:
    if shown == "changed":
        return row.is_changed
    if shown == "zeroed":
        return row.is_zeroed
    return shown == "all" or row.problem is not None or any(cell.problem for cell in row.cells)


def _matches(row: PlannedSku, text: str) -> bool:
    wanted = text.strip().casefold()
    return wanted in row.sku.casefold() or wanted in row.product_name.casefold()


def _plan(group: StockGroup, preview: Preview, name: str) -> Plan:
    totals = asdict(preview.totals)
    return Plan(
        fingerprint=name,
        read_at=utcnow(),
        rows=tuple(map(_planned, preview.rows)),
        totals=totals,
        unreadable_accounts=tuple(account.name for account in preview.unreadable_accounts),
        is_over_guard=preview.verdict.is_held,
    )


def _planned(row: PreviewRow) -> PlannedSku:
    return PlannedSku(
        sku=row.sku,
        product_name=row.product_name,
        available=row.available,
        problem=row.problem,
        cells=tuple(
            PlannedCell(cell.account.name, cell.deposit.name, cell.role, cell.before, cell.after, cell.problem)
            for cell in row.deposits
        ),
    )


def _key(group: StockGroup) -> str:
    return f"estoqueuni:plan:{group.id}"


def _keep(group: StockGroup, plan: Plan) -> None:
    text = json.dumps(asdict(plan), default=str)
    try:
        queues.shared_connection().set(_key(group), zlib.compress(text.encode()), ex=KEEP)
    except RedisError as error:
        log.warning("Could not keep the plan of rule %s: %s", group.id, type(error).__name__)


def _find(group: StockGroup, name: str) -> Plan | None:
    try:
        kept = queues.shared_connection().get(_key(group))
    except RedisError as error:
        log.warning("Could not look for the plan of rule %s: %s", group.id, type(error).__name__)
        return None
    if not isinstance(kept, bytes):
        return None
    document = json.loads(zlib.decompress(kept))
    return _loaded(document) if document["fingerprint"] == name else None


def _loaded(document: dict[str, Any]) -> Plan:
    return Plan(
        fingerprint=document["fingerprint"],
        read_at=datetime.fromisoformat(document["read_at"]),
        rows=tuple(
            PlannedSku(
                row["sku"],
                row["product_name"],
                _number(row["available"]),
                row["problem"],
                tuple(
                    PlannedCell(
                        cell["account"],
                        cell["deposit"],
                        cell["role"],
                        _number(cell["before"]),
                        _number(cell["after"]),
                        cell["problem"],
                    )
                    for cell in row["cells"]
                ),
            )
            for row in document["rows"]
        ),
        totals=document["totals"],
        unreadable_accounts=tuple(document["unreadable_accounts"]),
        is_over_guard=document["is_over_guard"],
    )


def _number(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
