"""Why a number is what it is: the derivation adds up from the books, whatever happened, and every gap has a name."""

from __future__ import annotations

import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from peewee import Database

import db
from config import Config
from core.derivation import TermKind
from core.facts import ZERO
from core.plan import plan_pool
from models import Cell, GroupDeposit, RunType, SkuOverride, StockWrite
from sandbox import Bling
from services import inbox, settle
from services.book_facts import pool_input
from services.derivations import Derivation, GapKind, PoolView, TargetView, derive
from services.frame_loading import load_frames
from services.groups import deactivate_group
from services.runs import start_run
from services.settle import settle_window
from services.timeline import timeline
from tests.stage import ACCOUNTS, SHELF, SHOP, Stage, staged
from tests.trouble import hit_writes_only

pytestmark = pytest.mark.stories

CANECA = {"matriz": {SHELF: 8, SHOP: 0}, "filial": {SHELF: 5, SHOP: 3}, "avulsa": {SHELF: 0, SHOP: 0}}
SOURCES = (("matriz", SHELF), ("filial", SHELF))
TARGETS = tuple((account, SHOP) for account in ACCOUNTS)


@pytest.fixture
def stage(database: Database, config: Config, bling: Bling) -> Iterator[Stage]:
    with staged(config, bling, {"CANECA": CANECA}, window_s=0.2) as stage:
        yield stage


def found(stage: Stage, sku: str = "CANECA") -> Derivation:
    derivation = derive(stage.organization, sku)
    assert derivation is not None
    return derivation


def pool_of(stage: Stage, sku: str = "CANECA") -> PoolView:
    (pool,) = found(stage, sku).pools
    adds_up(pool)
    return pool


def target_of(stage: Stage, account: str) -> TargetView:
    return next(target for target in pool_of(stage).targets if target.place.startswith(account.capitalize()))


def adds_up(pool: PoolView) -> None:
    """The three sums of the page, and that nothing is left unnamed."""
    for cell in pool.cells:
        assert cell.books.sum.unexplained == ZERO, cell.place
    assert pool.available is None or sum((term.quantity for term in pool.terms), ZERO) == pool.available
    if pool.start:
        assert pool.row is not None
        assert sum((term.quantity for term in pool.start), ZERO) == pool.row.level
    for target in pool.targets:
        if target.offered is None or target.cell is None:
            continue
        assert (target.steps[-1].result if target.steps else pool.available) == target.offered
        assert target.wanted == target.offered + target.reserved
        assert target.missing == target.wanted - target.cell.row.accounted
        assert bool(target.gaps) == (target.missing != 0), target.place


def terms(pool: PoolView) -> list[tuple[str, str, Decimal]]:
    return [(term.kind.value, pool.place_of(term.key), term.quantity) for term in pool.terms]


@pytest.mark.both_databases
def test_nobody_knows_a_sku_that_nobody_has(stage: Stage) -> None:
    assert derive(stage.organization, "NADA") is None


def test_after_a_sale_on_a_target_every_entry_is_there(stage: Stage) -> None:
    stage.rule()
    stage.bling.sell("filial", "CANECA", 2, SHOP)
    stage.deliver()

    pool = pool_of(stage)
    assert terms(pool) == [("shelf", "Filial · Geral", 3), ("shelf", "Matriz · Geral", 8)]
    assert pool.available == 11
    target = target_of(stage, "filial")
    assert (target.shown, target.offered, target.missing) == (11, 11, 0)
    cell = target.cell
    assert cell is not None
    assert (cell.row.baseline, cell.books.moved, cell.books.written) == (3, -2, 10)
    (movement,) = cell.books.latest_movements
    assert (movement.quantity, movement.before, movement.after, movement.evidence) == (-2, 13, 11, "chain")
    assert movement.event.kind == "stock.created"
    shelf = next(one for one in pool.cells if one.place == "Filial · Geral")
    assert shelf.cause is not None
    assert (shelf.cause.is_ours, shelf.cause.quantity) == (True, -2)
    assert shelf.cause.run is not None
    assert shelf.cause.run.type == "webhook"
    (write,) = shelf.books.latest_writes
    assert (write.purpose, write.state, write.before) == ("write_back", "confirmed", 5)
    assert "Filial / Loja virtual" in write.note


def test_reservations_are_terms_of_the_pool_and_of_the_target(stage: Stage) -> None:
    stage.rule()
    stage.bling.reserve("avulsa", "CANECA", 4, SHOP)
    stage.bling.reserve("matriz", "CANECA", 1, SHELF)
    stage.deliver()

    pool = pool_of(stage)
    assert [term for term in terms(pool) if term[0] == "reserved"] == [
        ("reserved", "Avulsa · Loja virtual", -4),
        ("reserved", "Matriz · Geral", -1),
    ]
    target = target_of(stage, "avulsa")
    assert (target.offered, target.reserved, target.wanted, target.shown) == (8, 4, 12, 8)


@pytest.mark.both_databases
def test_the_rule_and_its_exceptions_say_where_each_figure_comes_from(stage: Stage) -> None:
    group = stage.rule(activate=False)
    GroupDeposit.update(reserve=Decimal(2), percent=Decimal(50)).where(GroupDeposit.role == "target").execute()
    shop = stage.deposit("avulsa", SHOP)
    for deposit, values in ((None, {"reserve": Decimal(1)}), (shop.id, {"max": Decimal(3)})):
        SkuOverride.create(
            organization=stage.organization, group=group, sku="CANECA", deposit=deposit, is_ignored=False, **values
        )
    settle_activation(stage)

    assert [(f.name, f.value, f.origin) for f in target_of(stage, "avulsa").figures] == [
        ("reserve", 1, "sku"),
        ("percent", 50, "rule"),
        ("max", 3, "sku_here"),
    ]
    assert [(s.kind.value, s.result) for s in target_of(stage, "avulsa").steps] == [
        ("reserve", 12),
        ("percent", 6),
        ("limited", 3),
    ]
    assert target_of(stage, "matriz").shown == 6


def settle_activation(stage: Stage) -> None:
    from models import StockGroup
    from services.activation import activate_group

    activate_group(StockGroup.get_by_id(stage.group.id if stage.group else ""))
    stage.settle()


@pytest.mark.both_databases
def test_a_rule_that_is_not_active_shows_no_number(stage: Stage) -> None:
    stage.rule(activate=False)

    (pool,) = found(stage).pools
    assert (pool.group.is_active, pool.row, pool.available) == (False, None, None)
    assert [(target.shown, target.wanted) for target in pool.targets] == [(None, None)] * 3


def test_what_a_rule_counted_before_it_was_switched_off_counts_no_more(stage: Stage) -> None:
    deactivate_group(stage.rule())

    (pool,) = found(stage).pools
    assert (pool.row, pool.available, pool.terms) == (None, None, ())
    assert [(cell.counts, cell.books.sum.unexplained) for cell in pool.cells] == [(False, 0)] * 5


def test_a_source_that_cannot_be_read_is_named(stage: Stage) -> None:
    stage.rule()
    stage.bling.faults.set("forbidden", 1.0, account="filial")
    stage.bling.receive("matriz", "CANECA", 3, SHELF)
    stage.deliver()

    pool = pool_of(stage)
    assert (pool.available, pool.problem) == (16, "forbidden")
    target = target_of(stage, "avulsa")
    assert (target.shown, target.missing) == (13, 3)
    assert [(gap.kind, gap.code) for gap in target.gaps] == [
        (GapKind.PROBLEM, "lower_only"),
        (GapKind.PROBLEM, "forbidden"),
    ]
    assert next(c for c in pool.cells if c.place == "Filial · Geral").reason == "forbidden"


def test_a_difference_that_is_put_off_says_until_when(
    stage: Stage, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.rule()
    stage.bling.faults.set("webhook_lost", 1.0)
    stage.bling.receive("matriz", "CANECA", 1, SHELF)
    stage.settle()
    start_run(stage.organization, RunType.MANUAL, skus=["CANECA"])
    stage.settle()
    monkeypatch.setattr(settle, "settle_window", lambda: settle_window() * 100)
    stage.bling.receive("avulsa", "CANECA", 5, SHOP)
    stage.bling.sell("matriz", "CANECA", 2, SHELF)
    start_run(stage.organization, RunType.MANUAL, skus=["CANECA"])
    inbox.sort_inbox(stage.organization.id)
    settle.settle_due(stage.organization.id)

    target = target_of(stage, "avulsa")
    gaps = {gap.kind: gap for gap in target.gaps}
    assert gaps[GapKind.PUT_OFF].until is not None
    assert GapKind.QUEUED in gaps
    assert ("doubt", "Matriz · Geral", -2) in terms(pool_of(stage))


def test_a_write_without_an_answer_is_named_until_it_is_settled(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.rule()
    hit_writes_only(stage.bling, monkeypatch)
    stage.bling.faults.set("cut_before", next=1, account="matriz")
    stage.bling.sell("filial", "CANECA", 2, SHELF)
    stage.deliver(settle=False)
    inbox.sort_inbox(stage.organization.id)
    settle.settle_due(stage.organization.id)

    assert StockWrite.select().where(StockWrite.state == "unknown").count() == 1
    target = target_of(stage, "matriz")
    assert (target.shown, target.wanted, target.missing) == (13, 11, -2)
    assert target.gaps[0].kind is GapKind.UNKNOWN
    assert target.gaps[0].write is not None


def test_a_write_back_without_an_answer_is_under_way_and_not_lost(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.rule()
    hit_writes_only(stage.bling, monkeypatch)
    stage.bling.faults.set("cut_before", next=1, account="filial")
    stage.bling.sell("filial", "CANECA", 2, SHOP)
    stage.deliver(settle=False)
    inbox.sort_inbox(stage.organization.id)
    settle.settle_due(stage.organization.id)

    assert ("under_way", "Filial · Geral", -2) in terms(pool_of(stage))
    assert pool_of(stage).available == 11


def test_a_refused_write_is_named(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.rule()
    hit_writes_only(stage.bling, monkeypatch)
    stage.bling.faults.set("forbidden", 1.0, account="avulsa")
    stage.bling.sell("filial", "CANECA", 2, SHELF)
    stage.deliver()

    assert [(gap.kind, gap.code) for gap in target_of(stage, "avulsa").gaps] == [(GapKind.PROBLEM, "rejected")]


def test_a_mirror_tells_its_start_and_all_that_moved(stage: Stage) -> None:
    stage.rule(
        sources=(), targets=TARGETS, mode="mirror", seed_deposit=stage.deposit("filial", SHOP), balance="virtual"
    )
    stage.bling.sell("avulsa", "CANECA", 1, SHOP)
    stage.bling.receive("matriz", "CANECA", 4, SHOP)
    stage.deliver()

    pool = pool_of(stage)
    assert terms(pool) == [("level", "", 6)]
    assert [(term.kind, pool.place_of(term.key), term.quantity) for term in pool.start] == [
        (TermKind.SHELF, "Filial · Loja virtual", 3),
        (TermKind.OWED, "Avulsa · Loja virtual", -1),
        (TermKind.OWED, "Matriz · Loja virtual", 4),
    ]
    assert [target.shown for target in pool.targets] == [6, 6, 6]


def test_a_deposit_that_left_the_rule_keeps_its_books_and_counts_no_more(stage: Stage) -> None:
    stage.rule()
    GroupDeposit.delete().where(GroupDeposit.deposit == stage.deposit("filial", SHELF).id).execute()

    pool = pool_of(stage)
    gone = next(cell for cell in pool.cells if cell.place == "Filial · Geral")
    assert (gone.counts, gone.role) == (False, None)
    assert terms(pool)[-1] == ("rest", "", 5)


def test_another_organization_sees_nothing_of_it(stage: Stage) -> None:
    from tests.factories import make_organization

    stage.rule()

    assert derive(make_organization(), "CANECA") is None


@pytest.mark.parametrize(("mode", "balance"), [("sum", "virtual"), ("sum", "physical"), ("mirror", "virtual")])
def test_whatever_merchants_do_the_sums_add_up(stage: Stage, mode: str, balance: str) -> None:
    chance = random.Random(f"{mode} {balance}")
    values: dict[str, Any] = {"mode": mode, "balance": balance}
    if mode == "mirror":
        values |= {"sources": (), "seed_deposit": stage.deposit("filial", SHOP)}
    stage.rule(**values)
    GroupDeposit.update(percent=Decimal(70), reserve=Decimal(1)).where(
        GroupDeposit.deposit == stage.deposit("avulsa", SHOP).id
    ).execute()
    stage.bling.faults.set("webhook_lost", 0.3)
    stage.bling.faults.set("webhook_duplicate", 0.2)
    orders: list[int] = []
    for _ in range(14):
        play(stage, chance, TARGETS if mode == "mirror" else SOURCES + TARGETS, orders)
        stage.deliver(settle=False)
        inbox.sort_inbox(stage.organization.id)
        settle.settle_due(stage.organization.id)
        pool_of(stage)
        agrees_with_the_engine(stage)
    stage.bling.faults.clear()
    start_run(stage.organization, RunType.MANUAL, skus=None)
    stage.settle()

    pool = pool_of(stage)
    assert [target.missing for target in pool.targets] == [0, 0, 0]
    for account in ACCOUNTS:
        shown = stage.shown(account, "CANECA") if balance == "virtual" else stage.physical(account, "CANECA", SHOP)
        assert target_of(stage, account).shown == shown
    agrees_with_the_engine(stage)


def play(stage: Stage, chance: random.Random, places: Any, orders: list[int]) -> None:
    account, deposit = chance.choice(places)
    kind = chance.choice(("sell", "receive", "count", "reserve", "post", "cancel"))
    if kind in ("post", "cancel") and orders:
        getattr(stage.bling, kind)(orders.pop())
    elif kind == "reserve":
        orders.append(stage.bling.reserve(account, "CANECA", chance.randint(1, 3), deposit).id)
    elif kind == "count":
        stage.bling.count(account, "CANECA", chance.randint(0, 20), deposit)
    else:
        getattr(stage.bling, "sell" if kind == "sell" else "receive")(account, "CANECA", chance.randint(1, 4), deposit)


def agrees_with_the_engine(stage: Stage) -> None:
    """What the page says the pool and the targets should be is what the planner makes of the same books."""
    (frame,) = load_frames(stage.organization.id, ["CANECA"])["CANECA"]
    plan = plan_pool(pool_input(frame, {}, settle_window()))
    pool = pool_of(stage)
    doubt = sum((cell.row.doubt or ZERO for cell in pool.cells), ZERO)
    assert plan.available is not None
    assert pool.available == plan.available + doubt
    if not doubt:
        keys = {f"{c.row.product_id}:{c.row.deposit_id}": c for c in pool.cells}
        for target in pool.targets:
            assert target.cell is not None
            key = next(key for key, cell in keys.items() if cell is target.cell)
            assert target.wanted == plan.wanted[key]


def test_the_number_of_queries_does_not_grow(stage: Stage) -> None:
    stage.rule()
    few = queries(stage)
    stage.rule(sources=(("matriz", SHELF),), targets=(("avulsa", SHELF),))
    for _ in range(8):
        stage.bling.sell("matriz", "CANECA", 1, SHELF)
        stage.bling.receive("filial", "CANECA", 2, SHOP)
        stage.deliver()

    assert len(found(stage).pools) == 2
    assert queries(stage) <= few
    assert few <= 26


def queries(stage: Stage) -> int:
    executed = []
    plain = db.database.obj.execute_sql

    def counting(sql: str, *args: Any, **kwargs: Any) -> Any:
        executed.append(sql)
        return plain(sql, *args, **kwargs)

    db.database.obj.execute_sql = counting
    try:
        derivation = found(stage)
        timeline(stage.organization, "CANECA", derivation.cell_ids)
        for pool in derivation.pools:
            for target in pool.targets:
                assert target.cell is not None
    finally:
        db.database.obj.execute_sql = plain
    return len(executed)


@pytest.mark.both_databases
def test_the_timeline_tells_everything_once_and_in_order(stage: Stage) -> None:
    stage.rule()
    stage.bling.sell("filial", "CANECA", 2, SHOP)
    stage.deliver()
    cells = found(stage).cell_ids

    whole = timeline(stage.organization, "CANECA", cells, limit=100)
    pages = []
    before = None
    while True:
        page = timeline(stage.organization, "CANECA", cells, before, limit=4)
        pages += [entry.id for entry in page.entries]
        before = page.following
        if before is None:
            break

    assert whole.following is None
    assert pages == [entry.id for entry in whole.entries] == sorted(pages, reverse=True)
    kinds = [entry.kind for entry in whole.entries]
    assert (kinds.count("movement"), kinds.count("write")) == (1, StockWrite.select().count())
    moved = next(entry for entry in whole.entries if entry.kind == "movement")
    assert (moved.place, moved.row.quantity, moved.run is not None) == ("Filial · Loja virtual", -2, True)
    told = [entry for entry in whole.entries if entry.kind == "event" and entry.row.deposit_bling_id]
    assert {entry.place for entry in told} >= {"Filial · Loja virtual", "Filial · Geral"}


def test_the_cells_of_the_books_are_all_there(stage: Stage) -> None:
    stage.rule()

    assert len(pool_of(stage).cells) == Cell.select().count() == 5
