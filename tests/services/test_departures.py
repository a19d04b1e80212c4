"""Products and deposits that leave a pool and join another: no unit is lost or invented by it, nothing is oversold.

The lines of the table in docs/sync-rules.md, "Leaving and joining", each with its test.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from peewee import Database

from clock import utcnow
from config import Config
from core.group_draft import DepositPlace, Limits, OverrideDraft, TargetDraft
from core.intents import WriteState
from models import (
    Account,
    AccountState,
    Cell,
    Deposit,
    Movement,
    Pool,
    RunItem,
    RunType,
    StockGroup,
    StockWrite,
)
from sandbox import Bling
from sandbox.records import Component
from services import inbox, settle
from services.catalog import refresh_account
from services.connections import forget_catalog
from services.derivations import derive
from services.groups import deposits_of, draft_of, save_group
from services.runs import start_run
from services.settle import settle_due
from services.writes import confirm
from tests.factories import make_write
from tests.stage import ACCOUNTS, SHELF, SHOP, Stage, staged

pytestmark = pytest.mark.stories

FULL = {"matriz": {SHELF: 8, SHOP: 0}, "filial": {SHELF: 5, SHOP: 3}, "avulsa": {SHELF: 0, SHOP: 0}}


@pytest.fixture
def stage(database: Database, config: Config, bling: Bling) -> Iterator[Stage]:
    """Matriz (8) and Filial (5) hold the stock of CANECA, all three sell it."""
    with staged(config, bling, {"CANECA": FULL}, window_s=0) as stage:
        stage.rule()
        yield stage


def shown(stage: Stage, sku: str = "CANECA") -> list[Decimal]:
    return [stage.shown(account, sku) for account in ACCOUNTS]


def rename(stage: Stage, account: str, sku: str, new: str, *, told: bool = True) -> None:
    """`told`: Bling says so by a webhook; else the catalogue finds it."""
    if not told:
        stage.bling.faults.set("webhook_lost", 1.0)
    stage.bling.edit_product(account, sku, sku=new)
    stage.bling.faults.set("webhook_lost")
    if told:
        stage.deliver()
    else:
        refresh_account(Account.get_by_id(stage.accounts[account].id))
        stage.settle()


def check(stage: Stage) -> None:
    """The periodic check: what nobody told is found."""
    start_run(stage.organization, RunType.CRON, skus=None)
    stage.settle()


def moved(stage: Stage) -> Decimal:
    return sum((movement.quantity for movement in Movement.select()), Decimal(0))


def cells_of(stage: Stage, account: str, sku: str) -> dict[str, Cell]:
    rows = Cell.select(Cell, Deposit).join(Pool).switch(Cell).join(Deposit)
    return {
        cell.deposit.name: cell for cell in rows.where((Cell.account == stage.accounts[account].id) & (Pool.sku == sku))
    }


# A SKU that changes hands


@pytest.mark.parametrize("told", [True, False], ids=["webhook", "catalogue"])
def test_what_a_target_does_under_another_sku_is_no_movement_of_the_pool_it_left(stage: Stage, told: bool) -> None:
    rename(stage, "avulsa", "CANECA", "OUTRA", told=told)
    stage.bling.count("avulsa", "OUTRA", 50, SHOP)
    stage.deliver()
    assert [stage.shown(account, "CANECA") for account in ("matriz", "filial")] == [13, 13]

    rename(stage, "avulsa", "OUTRA", "CANECA", told=told)

    assert shown(stage) == [13, 13, 13]
    assert (stage.physical("matriz", "CANECA"), stage.physical("filial", "CANECA")) == (8, 5)
    assert Movement.select().count() == 0


@pytest.mark.parametrize("told", [True, False], ids=["webhook", "catalogue"])
def test_a_source_takes_its_stock_along_and_brings_what_it_holds_by_then(stage: Stage, told: bool) -> None:
    rename(stage, "filial", "CANECA", "OUTRA", told=told)
    assert [stage.shown(account, "CANECA") for account in ("matriz", "avulsa")] == [8, 8]
    stage.bling.receive("filial", "OUTRA", 2, SHELF)
    stage.deliver()
    assert stage.shown("filial", "OUTRA") == 7

    rename(stage, "filial", "OUTRA", "CANECA", told=told)

    assert shown(stage) == [15, 15, 15]
    assert (stage.physical("matriz", "CANECA"), stage.physical("filial", "CANECA")) == (8, 7)


def test_a_target_that_another_pool_wrote_to_meanwhile_brings_nothing_of_it_along(stage: Stage) -> None:
    """The pool it stayed in for a while raised it to 40: taken for a movement on its return that would be 27 units."""
    stage.bling.add_product("matriz", "OUTRA", stock={SHELF: 40, SHOP: 0})
    stage.deliver()
    rename(stage, "avulsa", "CANECA", "OUTRA")
    assert [stage.shown(account, "OUTRA") for account in ("matriz", "avulsa")] == [40, 40]

    rename(stage, "avulsa", "OUTRA", "CANECA")

    assert shown(stage) == [13, 13, 13]
    assert stage.shown("matriz", "OUTRA") == 40
    assert stage.physical("matriz", "OUTRA") == 40
    assert moved(stage) == 0


def test_two_products_that_swap_their_skus_swap_their_pools(stage: Stage) -> None:
    for account, stock in {"matriz": {SHELF: 20, SHOP: 0}, "filial": {SHELF: 1, SHOP: 0}}.items():
        stage.bling.add_product(account, "COPO", stock=stock)
    stage.deliver()
    caneca, copo = stage.bling.product("filial", "CANECA").id, stage.bling.product("filial", "COPO").id

    stage.bling.edit_product("filial", caneca, sku="COPO")
    stage.bling.edit_product("filial", copo, sku="CANECA")
    stage.deliver()

    assert shown(stage) == [9, 9, 9]
    assert [stage.shown(account, "COPO") for account in ("matriz", "filial")] == [25, 25]
    assert [stage.physical("filial", product) for product in (caneca, copo)] == [5, 1]
    assert moved(stage) == 0


def test_a_sku_given_to_another_product_of_the_account_counts_that_one_only(stage: Stage) -> None:
    rename(stage, "filial", "CANECA", "VELHA")
    stage.bling.add_product("filial", "CANECA", stock={SHELF: 2, SHOP: 0})
    stage.deliver()

    assert shown(stage) == [10, 10, 10]
    assert moved(stage) == 0


def test_a_product_that_left_does_not_stand_in_for_doubles_of_its_old_sku(stage: Stage) -> None:
    """Nobody can tell which of the two is meant; the one that left is neither, and its stock is elsewhere now."""
    rename(stage, "filial", "CANECA", "VELHA")
    for _ in range(2):
        stage.bling.add_product("filial", "CANECA", stock={SHELF: 2, SHOP: 0})
    stage.deliver()
    stage.bling.sell("matriz", "CANECA", 1, SHELF)
    stage.deliver()

    assert [stage.shown(account, "CANECA") for account in ("matriz", "avulsa")] == [7, 7]
    item = RunItem.select().where(RunItem.sku == "CANECA").order_by(RunItem.id.desc()).first()
    assert (item.status, item.error) == ("partial", "duplicate")


def test_when_the_only_source_leaves_the_targets_offer_nothing_any_more(
    database: Database, config: Config, bling: Bling
) -> None:
    stock = {"matriz": {SHELF: 8, SHOP: 0}, "avulsa": {SHELF: 0, SHOP: 0}}
    with staged(config, bling, {"CANECA": stock}, window_s=0) as stage:
        stage.rule()
        rename(stage, "matriz", "CANECA", "OUTRA")

        assert stage.shown("avulsa", "CANECA") == 0
        assert stage.shown("matriz", "OUTRA") == 8

        rename(stage, "matriz", "OUTRA", "CANECA")
        assert [stage.shown(account, "CANECA") for account in ("matriz", "avulsa")] == [8, 8]
        assert moved(stage) == 0


def test_a_sku_that_never_had_a_source_is_left_alone(stage: Stage) -> None:
    stage.bling.add_product("avulsa", "SO-AVULSA", stock={SHOP: 4})
    stage.deliver()

    assert stage.shown("avulsa", "SO-AVULSA") == 4


@pytest.mark.parametrize("mode", ["sum", "mirror"])
def test_a_new_code_in_every_account_moves_the_whole_pool(
    database: Database, config: Config, bling: Bling, mode: str
) -> None:
    with staged(config, bling, {"CANECA": FULL}, window_s=0) as stage:
        if mode == "sum":
            stage.rule()
        else:
            stage.rule(sources=(), targets=[("filial", SHOP), ("matriz", SHOP), ("avulsa", SHOP)], mode="mirror")
        before = shown(stage)
        for account in ACCOUNTS:
            stage.bling.edit_product(account, "CANECA", sku="CANECA-NOVA")
            stage.deliver()

        assert shown(stage, "CANECA-NOVA") == before == [13 if mode == "sum" else 3] * 3
        assert moved(stage) == 0

        for account in ACCOUNTS:
            stage.bling.add_product(account, "CANECA", stock={SHELF: 1, SHOP: 1})
            stage.deliver()
        # What the old pool of this name was is gone: these are other goods.
        assert shown(stage) == [2 if mode == "sum" else 1] * 3


def test_in_a_mirror_a_target_that_leaves_takes_nothing_along(database: Database, config: Config, bling: Bling) -> None:
    with staged(config, bling, {"CANECA": FULL}, window_s=0) as stage:
        stage.rule(sources=(), targets=[("filial", SHOP), ("matriz", SHOP), ("avulsa", SHOP)], mode="mirror")
        rename(stage, "filial", "CANECA", "OUTRA")
        stage.bling.sell("avulsa", "CANECA", 1, SHOP)
        stage.bling.receive("filial", "OUTRA", 30, SHOP)
        stage.deliver()
        assert [stage.shown(account, "CANECA") for account in ("matriz", "avulsa")] == [2, 2]

        rename(stage, "filial", "OUTRA", "CANECA")
        assert shown(stage) == [2, 2, 2]


# What was told before the leaving, what is owed, what is under way


def test_a_sale_that_was_told_before_the_leaving_still_counts(stage: Stage) -> None:
    stage.bling.sell("avulsa", "CANECA", 2, SHOP)
    stage.bling.edit_product("avulsa", "CANECA", sku="OUTRA")
    stage.bling.count("avulsa", "OUTRA", 0, SHOP)
    stage.deliver()

    assert [stage.shown(account, "CANECA") for account in ("matriz", "filial")] == [11, 11]
    assert stage.physical("matriz", "CANECA") + stage.physical("filial", "CANECA") == 11
    assert moved(stage) == -2


def test_a_sale_told_before_a_deposit_was_taken_out_of_the_rule_still_counts(stage: Stage) -> None:
    stage.bling.sell("avulsa", "CANECA", 2, SHOP)
    stage.deliver(settle=False)
    edit(stage, targets=[("matriz", SHOP), ("filial", SHOP)])
    stage.settle()

    assert [stage.shown(account, "CANECA") for account in ("matriz", "filial")] == [11, 11]
    assert stage.shown("avulsa", "CANECA") == 11


def test_what_is_owed_stays_owed_when_the_target_leaves_that_owes_it(stage: Stage) -> None:
    stage.bling.faults.set("forbidden", 1.0, account="matriz")
    stage.bling.faults.set("forbidden", 1.0, account="filial")
    Pool.update(owed=-2).execute()
    rename(stage, "avulsa", "CANECA", "OUTRA")
    assert Pool.get(Pool.sku == "CANECA").owed == -2
    stage.bling.faults.set("forbidden", account="matriz")
    stage.bling.faults.set("forbidden", account="filial")

    check(stage)

    assert Pool.get(Pool.sku == "CANECA").owed == 0
    assert stage.physical("matriz", "CANECA") + stage.physical("filial", "CANECA") == 11
    assert [stage.shown(account, "CANECA") for account in ("matriz", "filial")] == [11, 11]


def test_a_write_that_never_left_is_taken_back_when_its_product_leaves(stage: Stage) -> None:
    """Left planned it would keep the place from every other pool; what it should have brought is owed again."""
    source, target = cells_of(stage, "filial", "CANECA")[SHELF], cells_of(stage, "filial", "CANECA")[SHOP]
    writes = [
        make_write(source, -2, state="planned", purpose="write_back"),
        make_write(target, -2, state="planned"),
    ]
    stage.bling.add_product("matriz", "OUTRA", stock={SHELF: 20, SHOP: 0})
    rename(stage, "filial", "CANECA", "OUTRA")

    assert {StockWrite.get_by_id(write.id).state for write in writes} == {WriteState.CANCELLED}
    assert [stage.shown(account, "OUTRA") for account in ("matriz", "filial")] == [25, 25]
    assert [stage.shown(account, "CANECA") for account in ("matriz", "avulsa")] == [6, 6]
    assert stage.physical("matriz", "CANECA") == 6


@pytest.mark.both_databases
def test_a_worker_that_decided_before_the_leaving_keeps_nothing_of_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The product leaves between the look and the bookkeeping of its old pool."""
    real = settle.read_balances

    def and_then_it_leaves(*args: object, **values: object) -> object:
        readings = real(*args, **values)  # type: ignore[arg-type]
        monkeypatch.setattr(settle, "read_balances", real)
        stage.bling.edit_product("filial", "CANECA", sku="OUTRA")
        refresh_account(Account.get_by_id(stage.accounts["filial"].id))
        return readings

    monkeypatch.setattr(settle, "read_balances", and_then_it_leaves)
    stage.bling.sell("filial", "CANECA", 2, SHOP)
    stage.deliver()

    assert [stage.shown(account, "CANECA") for account in ("matriz", "avulsa")] == [6, 6]
    assert (stage.physical("matriz", "CANECA"), stage.physical("filial", "OUTRA")) == (6, 5)
    assert stage.shown("filial", "OUTRA") == 5


def test_a_fresh_write_of_ours_is_not_a_movement_of_the_pool_its_target_joins(
    database: Database, config: Config, bling: Bling
) -> None:
    """Bling still shows the balance of before our write when the product is looked at under its new SKU."""
    with staged(config, bling, {"CANECA": FULL}, window_s=1.5) as stage:
        stage.rule()
        stage.bling.add_product("matriz", "OUTRA", stock={SHELF: 40, SHOP: 0})
        stage.deliver()
        bling.faults.set("stale", 1.0, seconds=1.2, account="avulsa")
        stage.bling.receive("matriz", "CANECA", 5, SHELF)
        while bling.pump():
            pass
        while stage.shown("avulsa", "CANECA") != 18:
            settle_due(stage.organization.id)
        stage.bling.edit_product("avulsa", "CANECA", sku="OUTRA")
        stage.deliver()
        bling.faults.set("stale", account="avulsa")
        check(stage)

        assert [stage.shown(account, "OUTRA") for account in ("matriz", "avulsa")] == [40, 40]
        assert stage.physical("matriz", "OUTRA") == 40
        assert {movement.quantity for movement in Movement.select()} == {5}


# Deleted, inactive, switched off, out of the rule, disconnected


@pytest.mark.parametrize("told", [True, False], ids=["webhook", "catalogue"])
def test_a_product_that_was_deleted_and_restored_starts_anew(stage: Stage, told: bool) -> None:
    product = stage.bling.product("avulsa", "CANECA").id
    if not told:
        stage.bling.faults.set("webhook_lost", 1.0)
    stage.bling.edit_product("avulsa", product, situation="E")
    stage.deliver()
    check(stage)
    assert cells_of(stage, "avulsa", "CANECA")[SHOP].left_at is not None
    stage.bling.world.cells[product, stage.bling.catalog.find_deposit("avulsa", SHOP).id].physical = Decimal(99)
    stage.bling.edit_product("avulsa", product, situation="A")
    stage.deliver()
    check(stage)

    assert shown(stage) == [13, 13, 13]
    assert Movement.select().count() == 0


def test_what_an_inactive_product_did_meanwhile_counts_when_it_is_active_again(stage: Stage) -> None:
    """It stays the same product of the same rule: an order that was open is posted, a return comes in."""
    stage.bling.edit_product("avulsa", "CANECA", situation="I")
    stage.deliver()
    stage.bling.sell("avulsa", "CANECA", 2, SHOP)
    stage.deliver()

    stage.bling.edit_product("avulsa", "CANECA", situation="A")
    stage.deliver()

    assert shown(stage) == [11, 11, 11]
    assert moved(stage) == -2


def edit(stage: Stage, **changes: list[tuple[str, str]]) -> None:
    """Change the deposits of the rule as its form does."""
    assert stage.group is not None
    draft = draft_of(stage.group)
    places = {
        name: [DepositPlace(a, stage.deposit(a, d).bling_id) for a, d in listed] for name, listed in changes.items()
    }
    if "targets" in places:
        draft = replace(draft, targets=tuple(TargetDraft(place, Limits()) for place in places["targets"]))
    if "sources" in places:
        draft = replace(draft, sources=tuple(places["sources"]))
    save_group(stage.organization, draft, deposits_of(stage.organization), stage.group)
    check(stage)


def test_a_deposit_that_comes_back_into_the_rule_starts_anew(stage: Stage) -> None:
    edit(stage, targets=[("matriz", SHOP), ("filial", SHOP)])
    stage.bling.count("avulsa", "CANECA", 50, SHOP)
    stage.deliver()
    edit(stage, targets=[("matriz", SHOP), ("filial", SHOP), ("avulsa", SHOP)])

    assert shown(stage) == [13, 13, 13]
    assert stage.physical("matriz", "CANECA") + stage.physical("filial", "CANECA") == 13
    assert Movement.select().count() == 0


@pytest.mark.both_databases
def test_the_history_of_a_deposit_outlives_its_leaving(stage: Stage) -> None:
    stage.bling.sell("avulsa", "CANECA", 2, SHOP)
    stage.deliver()
    written = stage.writes()
    edit(stage, targets=[("matriz", SHOP), ("filial", SHOP)])
    edit(stage, targets=[("matriz", SHOP), ("filial", SHOP), ("avulsa", SHOP)])

    assert Movement.select().where(Movement.quantity == -2).count() == 1
    derivation = derive(stage.organization, "CANECA")
    assert derivation is not None
    assert {cell.books.sum.unexplained for pool in derivation.pools for cell in pool.cells} == {0}
    assert stage.writes() == written


def test_a_deposit_that_is_switched_off_and_on_keeps_its_books(stage: Stage) -> None:
    """What was sold from it before it was switched off counts, also when that is seen only afterwards."""
    stage.bling.faults.set("webhook_lost", 1.0)
    stage.bling.sell("avulsa", "CANECA", 2, SHOP)
    stage.bling.faults.set("webhook_lost")
    stage.bling.edit_deposit("avulsa", SHOP, situation=0)
    refresh_account(Account.get_by_id(stage.accounts["avulsa"].id))
    stage.settle()
    assert [stage.shown(account, "CANECA") for account in ("matriz", "filial")] == [13, 13]

    stage.bling.edit_deposit("avulsa", SHOP, situation=1)
    check(stage)

    assert shown(stage) == [11, 11, 11]


def test_what_an_account_did_while_it_was_disconnected_counts_when_it_is_back(stage: Stage) -> None:
    disconnect(stage, "avulsa")
    stage.bling.sell("avulsa", "CANECA", 2, SHOP)
    stage.deliver()
    connect(stage, "avulsa")
    check(stage)

    assert shown(stage) == [11, 11, 11]
    assert stage.physical("matriz", "CANECA") + stage.physical("filial", "CANECA") == 11


def test_a_product_renamed_while_its_account_was_disconnected_has_left(stage: Stage) -> None:
    """Its catalogue is read before any balance of it is taken for a movement."""
    disconnect(stage, "avulsa")
    stage.bling.edit_product("avulsa", "CANECA", sku="OUTRA")
    stage.bling.count("avulsa", "OUTRA", 0, SHOP)
    stage.deliver()
    connect(stage, "avulsa")
    stage.bling.sell("matriz", "CANECA", 1, SHELF)
    stage.deliver()
    check(stage)

    assert [stage.shown(account, "CANECA") for account in ("matriz", "filial")] == [12, 12]
    assert moved(stage) == -1


def disconnect(stage: Stage, account: str) -> None:
    Account.update(state=AccountState.DISCONNECTED).where(Account.id == stage.accounts[account].id).execute()


def connect(stage: Stage, account: str) -> None:
    Account.update(state=AccountState.CONNECTED).where(Account.id == stage.accounts[account].id).execute()
    forget_catalog(stage.accounts[account].id)


# Writes of unknown outcome on what has left


def doubtful(stage: Stage, deposit: str, quantity: int, purpose: str, *, ended_s_ago: float) -> StockWrite:
    cell = cells_of(stage, "filial", "CANECA")[deposit]
    ended_at = utcnow() - timedelta(seconds=ended_s_ago)
    return make_write(cell, quantity, state="unknown", purpose=purpose, ended_at=ended_at)


@pytest.mark.parametrize(("quantity", "pool"), [(-2, 6), (2, 8)], ids=["taken away", "added"])
def test_a_write_back_of_unknown_outcome_to_a_source_that_left_counts_as_the_smaller_pool(
    stage: Stage, quantity: int, pool: int
) -> None:
    write = doubtful(stage, SHELF, quantity, "write_back", ended_s_ago=60)
    stage.bling.add_product("matriz", "OUTRA", stock={SHELF: 20, SHOP: 0})
    rename(stage, "filial", "CANECA", "OUTRA")

    write = StockWrite.get_by_id(write.id)
    assert (write.state, write.evidence) == (WriteState.REJECTED, "left")
    assert [stage.shown(account, "CANECA") for account in ("matriz", "avulsa")] == [pool, pool]
    assert stage.physical("matriz", "CANECA") == pool
    assert [stage.shown(account, "OUTRA") for account in ("matriz", "filial")] == [25, 25]


@pytest.mark.both_databases
def test_while_its_outcome_may_still_come_it_lowers_the_pool_and_keeps_the_place(
    database: Database, config: Config, bling: Bling
) -> None:
    with staged(config, bling, {"CANECA": FULL}, window_s=2) as stage:
        stage.rule()
        # Given up in half a minute only, so that a slow machine is no reason to give it up.
        write = doubtful(stage, SHELF, -2, "write_back", ended_s_ago=-30)
        bling.edit_product("filial", "CANECA", sku="OUTRA")
        while bling.pump():
            pass
        inbox.sort_inbox(stage.organization.id)
        settle_due(stage.organization.id)

        assert StockWrite.get_by_id(write.id).state == WriteState.UNKNOWN
        assert [stage.shown(account, "CANECA") for account in ("matriz", "avulsa")] == [6, 6]
        assert Pool.get(Pool.sku == "CANECA").owed == 0
        assert not cells_of(stage, "filial", "OUTRA")

        confirm(StockWrite.get_by_id(write.id), 4711)
        stage.settle()
        check(stage)
        assert [stage.shown(account, "CANECA") for account in ("matriz", "avulsa")] == [8, 8]
        assert stage.shown("filial", "OUTRA") == 5


@pytest.mark.both_databases
def test_a_write_of_unknown_outcome_does_not_keep_a_target_from_its_next_pool(stage: Stage) -> None:
    write = doubtful(stage, SHOP, 7, "target", ended_s_ago=60)
    stage.bling.add_product("matriz", "OUTRA", stock={SHELF: 20, SHOP: 0})
    rename(stage, "filial", "CANECA", "OUTRA")

    assert StockWrite.get_by_id(write.id).state == WriteState.REJECTED
    assert [stage.shown(account, "OUTRA") for account in ("matriz", "filial")] == [25, 25]
    assert Pool.get(Pool.sku == "CANECA").owed == 0
    assert moved(stage) == 0


# What the merchant excepts


@pytest.mark.parametrize("deposit", [None, SHOP], ids=["everywhere", "in one target"])
def test_what_happens_while_a_sku_is_excepted_is_no_movement_afterwards(stage: Stage, deposit: str | None) -> None:
    assert stage.group is not None
    draft = draft_of(stage.group)
    place = None if deposit is None else DepositPlace("avulsa", stage.deposit("avulsa", SHOP).bling_id)
    exception = OverrideDraft("CANECA", place, Limits(), is_ignored=True)
    places = deposits_of(stage.organization)
    save_group(stage.organization, replace(draft, overrides=(exception,)), places, stage.group)
    check(stage)
    stage.bling.count("avulsa", "CANECA", 2, SHOP)
    stage.deliver()

    save_group(stage.organization, replace(draft, overrides=()), places, StockGroup.get_by_id(stage.group.id))
    check(stage)

    assert shown(stage) == [13, 13, 13]
    assert moved(stage) == 0


@pytest.mark.both_databases
def test_a_product_that_becomes_a_kit_holds_no_stock_of_its_own_any_more(stage: Stage) -> None:
    stage.bling.add_product("filial", "PARTE", stock={SHELF: 50, SHOP: 50})
    caneca, part = stage.bling.product("filial", "CANECA"), stage.bling.product("filial", "PARTE")
    caneca.format, caneca.components = "E", [Component(part.id, Decimal(1))]
    stage.bling.edit_product("filial", "CANECA", name="Kit caneca")
    stage.deliver()
    stage.bling.receive("matriz", "CANECA", 1, SHELF)
    stage.deliver()
    assert [stage.shown(account, "CANECA") for account in ("matriz", "avulsa")] == [8, 8]
    item = RunItem.select().where(RunItem.sku == "CANECA").order_by(RunItem.id.desc()).first()
    assert (item.status, item.error) == ("partial", "composition")

    caneca.format, caneca.components = "S", []
    stage.bling.edit_product("filial", "CANECA", name="Caneca")
    stage.deliver()
    assert shown(stage) == [14, 14, 14]
    assert moved(stage) == 1
