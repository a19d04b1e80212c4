"""What the pages say of a run that was held: the groups of which it would lower too much, and the drops, biggest first.

The numbers are those of the scan. Only reads.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from peewee import fn

from models import Account, Deposit, ItemDrop, Organization, Run, RunDecision, RunItem
from services.guards import Excess, excesses_of
from services.labels import contagem, momento, quantidade

ROWS_PER_PAGE = 50


@dataclass(frozen=True, slots=True)
class DroppedSku:
    """One SKU with the deposits that would be lowered."""

    item: RunItem
    drops: tuple[ItemDrop, ...]


@dataclass(frozen=True, slots=True)
class HeldPage:
    """One page of what a run would lower. `read_at`: when the first and the last of the balances shown were read.

    `newer`: the run that waits now, where this one was superseded.
    """

    excesses: tuple[Excess, ...]
    rows: tuple[DroppedSku, ...]
    number: int
    pages: int
    total: int
    read_at: tuple[datetime, datetime] | None
    newer: Run | None

    @property
    def lowered(self) -> int:
        return sum(excess.lowered for excess in self.excesses)

    @property
    def zeroed(self) -> int:
        return sum(excess.zeroed for excess in self.excesses)


def held_page(run: Run, number: int = 1) -> HeldPage | None:
    """What this run would lower, SKUs with the biggest drops first; None for a run that was never held."""
    excesses = excesses_of(run)
    if not excesses:
        return None
    dropped = RunItem.select(RunItem.id).join(ItemDrop).where(RunItem.run == run.id).group_by(RunItem.id)
    total = dropped.count()
    pages = max(1, -(-total // ROWS_PER_PAGE))
    number = min(max(1, number), pages)
    size = fn.MAX(ItemDrop.before - ItemDrop.after)
    ids = [row.id for row in dropped.order_by(size.desc(), RunItem.id).paginate(number, ROWS_PER_PAGE)]
    first, last = _read_at(run)
    newest = Run.select().where((Run.organization == run.organization_id) & (Run.status == "held") & (Run.id > run.id))
    return HeldPage(
        tuple(excesses),
        tuple(_rows(ids)),
        number,
        pages,
        total,
        None if first is None or last is None else (first, last),
        newest.order_by(Run.id.desc()).first() if run.decision == RunDecision.SUPERSEDED else None,
    )


def _rows(ids: list[str]) -> list[DroppedSku]:
    items = {item.id: item for item in RunItem.select().where(RunItem.id.in_(ids))}
    drops: dict[str, list[ItemDrop]] = defaultdict(list)
    query = (
        ItemDrop.select(ItemDrop, Account, Deposit)
        .join(Account)
        .switch(ItemDrop)
        .join(Deposit)
        .where(ItemDrop.item.in_(ids))
        .order_by(Account.name, Deposit.name)
    )
    for drop in query:
        drops[drop.item_id].append(drop)
    return [DroppedSku(items[item_id], tuple(drops[item_id])) for item_id in ids]


def _read_at(run: Run) -> tuple[datetime | None, datetime | None]:
    of_run = ItemDrop.select().join(RunItem).where(RunItem.run == run.id)
    ends = (of_run.order_by(ItemDrop.read_at).first(), of_run.order_by(ItemDrop.read_at.desc()).first())
    first, last = (None if drop is None else drop.read_at for drop in ends)
    return first, last


def held_line(run: Run) -> str:
    """A held run in a sentence or two, with what became of it; '' for one that was never held."""
    told = [_sentence(excess) for excess in excesses_of(run)]
    if told and run.decision is not None:
        told.append(decision_line(run))
    return " ".join(told)


def _sentence(excess: Excess) -> str:
    zeroed = f", {contagem(excess.zeroed, 'deles', 'deles')} a zero" if excess.zeroed else ""
    return (
        f"Baixaria {quantidade(Decimal(excess.lowered))} dos {contagem(excess.skus, 'produto', 'produtos')} da regra "
        f"“{excess.group}” ({quantidade(excess.share)}%){zeroed}."
    )


def decision_line(run: Run) -> str:
    """Who decided what, and when; '' while nobody has."""
    if run.decision == RunDecision.SUPERSEDED:
        return f"Uma conferência mais nova tomou o lugar desta em {momento(run.decided_at)}. Esta não escreveu nada."
    who = f" por {run.decided_by.name}" if run.decided_by else ""
    if run.decision == RunDecision.APPROVED:
        return f"Aprovado{who} em {momento(run.decided_at)}."
    if run.decision == RunDecision.DISCARDED:
        return f"Descartado{who} em {momento(run.decided_at)}. Nada foi escrito."
    return ""


def runs_held(organization: Organization) -> int:
    """How many runs wait for a person."""
    waiting: int = Run.select().where((Run.organization == organization) & (Run.status == "held")).count()
    return waiting
