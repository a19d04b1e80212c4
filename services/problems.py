"""What keeps single products from being synchronized, grouped by cause: the Painel's list of things to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from peewee import JOIN, fn

from ids import id_at
from models import Cell, Organization, Pool, Product, Run, RunItem, StockGroup, StockWrite
from services import labels
from services.review import skus_waiting

A_DAY = timedelta(hours=24)
EXAMPLES = 12
# These pass by themselves within seconds, or are the merchant's own wish.
PASSING = ("put_off", "open_write", "ignored", "lower_only")
# The account's own line on the Painel says it already, once instead of per product.
SAID_ELSEWHERE = ("reconnect", "paused", "disconnected")
ORDER = {"error": 0, "warn": 1, "info": 2, "neutral": 3, "ok": 4}


@dataclass(frozen=True, slots=True)
class Problem:
    """SKUs that share one cause."""

    code: str
    label: labels.Label
    count: int
    examples: tuple[str, ...]

    @property
    def is_to_do(self) -> bool:
        """Whether somebody should act; otherwise the product is left out by its nature, as a kit is."""
        return self.label.tone in ("error", "warn")


def problems_of(organization: Organization, now: datetime) -> tuple[Problem, ...]:
    """What the books say is wrong with a SKU of an active rule, and what the last attempts of the day could not do."""
    skus: dict[str, set[str]] = {}
    for code, sku in [*_in_the_books(organization), *_without_answer(organization)]:
        skus.setdefault(code, set()).add(sku)
    known = set().union(*skus.values())
    for code, sku in _failed_lately(organization, now):
        if sku not in known:
            skus.setdefault(code, set()).add(sku)
    problems = [
        Problem(code, _label(code), len(names), tuple(sorted(names)[:EXAMPLES])) for code, names in skus.items()
    ]
    return tuple(sorted(problems, key=lambda problem: (ORDER[problem.label.tone], -problem.count, problem.code)))


def _label(code: str) -> labels.Label:
    return labels.PROBLEMS.get(code) or labels.STATUSES.get(code) or labels.Label(code, "error")


def _in_the_books(organization: Organization) -> Iterable[tuple[str, str]]:
    active = (StockGroup.organization == organization) & (StockGroup.is_active == 1)
    shown = (*PASSING, *SAID_ELSEWHERE)
    pools = (
        Pool.select(Pool.problem, Pool.sku)
        .join(StockGroup)
        .where(active, Pool.problem.is_null(False), Pool.problem.not_in(shown))
    )
    cells = (
        Cell.select(Cell.problem, Pool.sku)
        .join(Pool)
        .join(StockGroup)
        .where(active, Cell.left_at.is_null(), Cell.problem.is_null(False), Cell.problem.not_in(shown))
    )
    return [*pools.tuples(), *cells.tuples()]


def _without_answer(organization: Organization) -> Iterable[tuple[str, str]]:
    """SKUs with a write of which it is not known yet, or cannot be known, whether Bling applied it."""
    writes = (
        StockWrite.select(Product.sku)
        .join(Product)
        .where(StockWrite.organization == organization, StockWrite.state == "unknown")
    )
    skus = [*(sku for (sku,) in writes.tuples()), *skus_waiting(organization)]
    return [("unknown_write", sku) for sku in skus]


def _failed_lately(organization: Organization, now: datetime) -> Iterable[tuple[str, str]]:
    """(cause, SKU) where the last item of the SKU, within a day, ended without success.

    What ended in review is told by its writes, which say whether it still is.
    """
    recent = (
        RunItem.select(fn.MAX(RunItem.id).alias("id"))
        .join(Run)
        .where(Run.organization == organization, Run.id >= id_at(now - A_DAY), RunItem.finished_at.is_null(False))
        .group_by(RunItem.group, RunItem.sku)
    )
    items = (
        RunItem.select(RunItem.status, RunItem.error, RunItem.sku)
        .join(recent, JOIN.INNER, on=(RunItem.id == recent.c.id))
        .where(RunItem.status.in_(("failed", "dup")))
    )
    return [(error if error in labels.PROBLEMS else status, sku) for status, error, sku in items.tuples()]
