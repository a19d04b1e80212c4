"""Asking for an undo: which writes, what would become of each deposit, what of the rules; then it is a run like others.

Nothing is written from here: the items are rows, their SKUs are dirty, and the workers settle them
(services/undoing.py). Nothing is asked of Bling either: the plan is what our books say, and each balance is read
again right before it is written.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from peewee import Case, chunked

import queues
from clock import utcnow
from core.intents import IN_DOUBT_STATES, WriteState
from core.undo import Refusal, Undo, plan_undo
from db import after_commit, database
from ids import id_at, new_id
from models import ItemDeposit, Organization, Priority, Run, RunItem, RunType, SkuOverride, StockGroup, StockWrite, User
from services.dirty import mark_dirty
from services.groups import deactivate_group
from services.labels import contagem
from services.runs import finish_run_if_over
from services.undo_books import ChosenCell, cells_of, choose

MAX_PERIOD = timedelta(days=7)
MAX_PRODUCTS = 1000
ROWS_PER_STATEMENT = 200
REASON = "undo"
CHANGED = "Algo mudou depois do plano que você viu. Confira o novo plano antes de desfazer."
NO_BOOKS = (
    "A regra foi ativada de novo ou excluída depois disto: não há mais registro do que mudou desde então, e por isso "
    "nada é desfeito."
)


class UndoRefused(Exception):
    """This cannot be undone, or not like this; the message is for the merchant."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What somebody wants undone: a run, a SKU, a period, or a SKU inside a period, which ends before `until`."""

    run_id: str | None = None
    sku: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def as_json(self) -> str:
        moments = {name: value.isoformat() if (value := getattr(self, name)) else None for name in ("since", "until")}
        return json.dumps({"run": self.run_id, "sku": self.sku, **moments})


@dataclass(frozen=True, slots=True)
class PlannedUndo:
    """One deposit of the plan: `undo` is what is meant to become of it."""

    cell: ChosenCell
    undo: Undo

    @property
    def taken(self) -> list[StockWrite]:
        """The writes that would be undone."""
        ids = set(self.undo.writes)
        return [write for write in self.cell.chosen if write.id in ids]

    @property
    def is_even(self) -> bool:
        """Whether the writes cancel each other, so that there is nothing to undo."""
        return self.undo.refusal is None and not self.undo.is_due


@dataclass(frozen=True, slots=True)
class UndoItem:
    """One SKU of one rule."""

    sku: str
    product_name: str
    group: StockGroup
    cells: tuple[PlannedUndo, ...]

    @property
    def is_due(self) -> bool:
        return any(one.undo.is_due for one in self.cells)

    @property
    def is_left(self) -> bool:
        """Whether anything of it is still in effect, be it possible to undo it or not."""
        return any(one.undo.refusal != Refusal.ALREADY and not one.is_even for one in self.cells)


@dataclass(frozen=True, slots=True)
class Choice:
    """A rule that is active and would set its targets again. `sku`: the only one concerned, which it can ignore."""

    group: StockGroup
    sku: str | None
    targets: int


@dataclass(frozen=True)
class UndoPlan:
    """What an undo would do, if every rule that would write it again is stopped.

    `lost`: balances that were written too, but whose rule was activated anew or deleted since: nothing is known of it.
    """

    selection: Selection
    run: Run | None
    items: tuple[UndoItem, ...]
    choices: tuple[Choice, ...]
    lost: int

    @cached_property
    def due(self) -> int:
        """How many balances would be written."""
        return sum(one.undo.is_due for item in self.items for one in item.cells)

    @cached_property
    def refused(self) -> int:
        return sum(one.undo.refusal is not None for item in self.items for one in item.cells)

    @cached_property
    def fingerprint(self) -> str:
        """Names what would be undone, so that what is started is what was seen."""
        writes = [one.undo.writes for item in self.items for one in item.cells if one.undo.is_due]
        rules = [(choice.group.id, choice.sku) for choice in self.choices]
        return hashlib.sha256(repr((self.selection, writes, rules)).encode()).hexdigest()[:32]


def plan(organization: Organization, selection: Selection) -> UndoPlan:
    """What undoing this selection would do, by our books.

    :raise UndoRefused: the selection is too large, its run is not over, or nothing was written in it.
    """
    run = _run_of(organization, selection)
    writes, items_chosen = _conditions(organization, selection)
    _check_size(writes)
    chosen, lost = choose(writes), _count_lost(items_chosen)
    if not chosen:
        raise UndoRefused(NO_BOOKS if lost else _nothing_written(selection))
    items = _items([_stopped(cell) for cell in cells_of(chosen)])
    return UndoPlan(selection, run, items, _choices(items), lost)


def _run_of(organization: Organization, selection: Selection) -> Run | None:
    if selection.run_id is None:
        return None
    run = Run.get_or_none((Run.id == selection.run_id) & (Run.organization == organization.id))
    if run is None:
        raise UndoRefused("Esta sincronização não existe.")
    if run.finished_at is None:
        raise UndoRefused("Esta sincronização ainda não terminou. Espere o fim dela para desfazê-la.")
    return run


def _conditions(organization: Organization, selection: Selection) -> tuple[Any, Any]:
    """Of the selection, which writes and which items. Each belongs to the moment that is in its id: when it began."""
    writes, items = StockWrite.organization == organization.id, RunItem.organization == organization.id
    if selection.run_id is not None:
        items &= RunItem.run == selection.run_id
        return writes & StockWrite.item.in_(RunItem.select(RunItem.id).where(items)), items
    until = selection.until or utcnow()
    since = selection.since or until - MAX_PERIOD
    if since >= until:
        raise UndoRefused("O fim do período vem antes do começo.")
    if until - since > MAX_PERIOD:
        raise UndoRefused(f"O período é longo demais: desfaça no máximo {MAX_PERIOD.days} dias de cada vez.")
    writes &= (StockWrite.id >= id_at(since)) & (StockWrite.id < id_at(until))
    if selection.sku is not None:
        items &= RunItem.sku == selection.sku
        writes &= StockWrite.item.in_(RunItem.select(RunItem.id).where(items))
    return writes, items & (RunItem.id >= id_at(since)) & (RunItem.id < id_at(until))


def _check_size(condition: Any) -> None:
    products = (
        StockWrite.select(RunItem.group, RunItem.sku)
        .join(RunItem, on=(StockWrite.item == RunItem.id))
        .where(condition & StockWrite.state.in_((WriteState.CONFIRMED, *IN_DOUBT_STATES)))
        .distinct()
        .count()
    )
    if products > MAX_PRODUCTS:
        raise UndoRefused(
            f"Aqui há escritas em {contagem(products, 'produto', 'produtos')}, e dá para desfazer no máximo "
            f"{contagem(MAX_PRODUCTS, 'produto', 'produtos')} de cada vez. Escolha um período menor, ou um SKU."
        )


def _count_lost(items: Any) -> int:
    """How many balances were written for these items of which the books, and with them the writes, are gone."""
    rows = ItemDeposit.select().join(RunItem).where(items & ItemDeposit.cell_id.is_null() & (ItemDeposit.written != 0))
    lost: int = rows.count()
    return lost


def _nothing_written(selection: Selection) -> str:
    if selection.run_id is not None:
        return "Esta sincronização não escreveu nada no Bling: não há o que desfazer."
    if selection.sku is not None:
        return f"Não escrevemos nada do SKU “{selection.sku[:60]}” neste período. Maiúsculas e zeros à esquerda contam."
    return "Não escrevemos nada no Bling neste período: não há o que desfazer."


def _stopped(cell: ChosenCell) -> PlannedUndo:
    """The plan for a cell as if its rule did not ask for it any more."""
    return PlannedUndo(cell, plan_undo(replace(cell.state, is_ruled=False)))


def _items(cells: Sequence[PlannedUndo]) -> tuple[UndoItem, ...]:
    by_item: dict[tuple[str, str], list[PlannedUndo]] = defaultdict(list)
    for one in cells:
        by_item[(one.cell.sku, one.cell.group.id)].append(one)
    return tuple(
        UndoItem(sku, some[0].cell.chosen[-1].item.product_name, some[0].cell.group, tuple(some))
        for (sku, _), some in by_item.items()
    )


def _choices(items: Sequence[UndoItem]) -> tuple[Choice, ...]:
    concerned: dict[str, list[UndoItem]] = defaultdict(list)
    for item in items:
        if any(one.undo.is_due and one.cell.state.is_ruled for one in item.cells):
            concerned[item.group.id].append(item)
    return tuple(
        Choice(
            group=some[0].group,
            sku=some[0].sku if len(some) == 1 else None,
            targets=sum(one.undo.is_due and one.cell.state.is_ruled for item in some for one in item.cells),
        )
        for some in concerned.values()
    )


def start_undo(
    organization: Organization, user: User, selection: Selection, fingerprint: str, stop: Collection[str]
) -> Run:
    """Start the undo that was seen as a plan; `stop`: ids of the rules that may be stopped for it.

    Of several that want the same write only one gets it. It returns at once: the workers do the rest.

    :raise UndoRefused: the plan is no longer what was seen, or nothing of it is left to do.
    """
    # Before the transaction: on SQLite nobody else writes while that lasts. What changes in between is seen when the
    # writes are taken in hand, and by the workers.
    planned = plan(organization, selection)
    if planned.fingerprint != fingerprint:
        raise UndoRefused(CHANGED)
    kept = {choice.group.id for choice in planned.choices if choice.group.id not in stop}
    if not any(_is_worth(item, kept) for item in planned.items):
        raise UndoRefused("Com a regra ativa não há o que desfazer: ela pediria os mesmos saldos de novo.")
    items = [item for item in planned.items if item.is_left]
    now = utcnow()
    with database.atomic():
        for choice in planned.choices:
            if choice.group.id in stop:
                _stop(choice)
        run = _open_run(organization, user, planned, len(items), now)
        _take_in_hand(run, items, now)
        mark_dirty(organization.id, {item.sku for item in items}, priority=Priority.MANUAL, needs_look=True, now=now)
        finish_run_if_over(run.id, now)
        after_commit(lambda: queues.kick(organization.id))
    return run


def _stop(choice: Choice) -> None:
    """Make the rule let go of what is put back: it ignores the one SKU, or it is switched off."""
    if choice.sku is None:
        deactivate_group(choice.group)
        return
    whole = (SkuOverride.group == choice.group.id) & (SkuOverride.sku == choice.sku) & SkuOverride.deposit.is_null()
    if SkuOverride.update(is_ignored=True).where(whole).execute() == 0:
        SkuOverride.create(
            organization=choice.group.organization_id, group=choice.group.id, sku=choice.sku, is_ignored=True
        )


def _is_worth(item: UndoItem, kept: Collection[str]) -> bool:
    """Whether anything of the item can be done while these rules stay as they are."""
    return any(one.undo.is_due and not (item.group.id in kept and one.cell.state.is_ruled) for one in item.cells)


def _open_run(organization: Organization, user: User, planned: UndoPlan, total: int, now: datetime) -> Run:
    run: Run = Run.create(
        organization=organization.id,
        type=RunType.MANUAL,
        status="queued",
        scope="skus",
        user=user.id,
        reason=REASON,
        total=total,
        created_at=now,
        undoes=planned.selection.as_json(),
        undoes_run=planned.run.id if planned.run is not None else None,
    )
    return run


def _take_in_hand(run: Run, items: Sequence[UndoItem], now: datetime) -> None:
    """The run's items, with the writes that each takes back in its hands: no other undo takes them meanwhile.

    Where the outcome of all writes of an item is unknown there is nothing to take up, and it ends with that.

    :raise UndoRefused: another undo was quicker.
    """
    rows: list[dict[str, object]] = []
    taken: dict[str, str] = {}
    earlier: set[str] = set()
    for item in items:
        writes = [write for one in item.cells if one.undo.quantity for write in one.taken]
        refusal = next((one.undo.refusal for one in item.cells if one.undo.refusal is not None), None)
        rows.append(
            {
                "id": (item_id := new_id()),
                "organization": run.organization_id,
                "run": run.id,
                "group": item.group.id,
                "sku": item.sku,
                "product_name": item.product_name,
                "status": "queued" if writes else "failed",
                "error": None if writes else refusal,
                "created_at": now,
                "finished_at": None if writes else now,
            }
        )
        taken.update((write.id, item_id) for write in writes)
        earlier.update(write.undo_item_id for write in writes if write.undo_item_id is not None)
    for some in chunked(rows, ROWS_PER_STATEMENT):
        RunItem.insert_many(some).execute()
    for ids in chunked(taken, ROWS_PER_STATEMENT):
        is_free = StockWrite.undo_item_id.is_null() | StockWrite.undo_item_id.in_(list(earlier))
        item_of = Case(StockWrite.id, [(id_, taken[id_]) for id_ in ids])
        if StockWrite.update(undo_item_id=item_of).where(StockWrite.id.in_(ids) & is_free).execute() != len(ids):
            raise UndoRefused(CHANGED)
