"""What merchants' catalogues bring: products that cannot be synchronized, that come late, change or go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

import pytest
from peewee import Database

from config import Config
from models import Account, Cell, Deposit, DirtySku, Event, Movement, Pool, Product, Run, RunItem, RunType, StockWrite
from sandbox import Bling
from services.catalog import refresh_account
from services.runs import start_run
from tests.stage import ACCOUNTS, SHELF, SHOP, Stage, staged

FULL = {"matriz": {SHELF: 8, SHOP: 0}, "filial": {SHELF: 5, SHOP: 3}, "avulsa": {SHELF: 0, SHOP: 0}}
ONLY_MATRIZ = {"matriz": {SHELF: 4, SHOP: 0}}
ONLY_AVULSA = {"avulsa": {SHELF: 4, SHOP: 6}}


@pytest.fixture
def stage(database: Database, config: Config, bling: Bling) -> Iterator[Stage]:
    with opened(config, bling) as stage:
        yield stage


@contextmanager
def opened(config: Config, bling: Bling) -> Iterator[Stage]:
    """Matriz and Filial hold the stock, everybody sells it; CANECA is as it should be."""
    with staged(config, bling, {"CANECA": FULL}, window_s=0) as stage:
        stage.rule()
        yield stage


def shown(stage: Stage, sku: str = "CANECA") -> list[Decimal]:
    return [stage.shown(account, sku) for account in ACCOUNTS]


def synchronize(stage: Stage, *skus: str, type_: RunType = RunType.MANUAL) -> dict[str, tuple[str, str | None]]:
    """Status and reason of each item of a run over these SKUs, or over everything."""
    run = start_run(stage.organization, type_, skus=list(skus) or None)
    stage.settle()
    assert Run.get_by_id(run.id).finished_at is not None
    return {item.sku: (item.status, item.error) for item in RunItem.select().where(RunItem.run == run.id)}


def test_what_cannot_be_synchronized_is_named_with_its_reason(database: Database, config: Config, bling: Bling) -> None:
    for account in ACCOUNTS:
        bling.add_product(account, "PARTE", stock={SHELF: 2, SHOP: 0})
        bling.add_product(account, "KIT", components={"PARTE": 2})
        bling.add_product(account, "PAI", format="V")
        bling.add_product(account, "DUPLO", stock={SHELF: 2, SHOP: 9})
        bling.add_product(account, "PARADO", stock={SHELF: 2, SHOP: 9}, situation="I" if account == "filial" else "A")
        bling.add_product(account, "", stock={SHELF: 2, SHOP: 9})
        bling.add_product(account, " 007 ", stock={SHELF: 2, SHOP: 9})
    bling.add_product("filial", "DUPLO", stock={SHELF: 3, SHOP: 0})
    bling.add_product("avulsa", "SEM-FONTE", stock={SHELF: 3, SHOP: 4})
    with opened(config, bling) as stage:
        named = synchronize(stage)
        synchronize(stage, type_=RunType.CRON)

        assert named == {
            "KIT": ("skipped", "composition"),
            "PAI": ("skipped", "parent"),
            "DUPLO": ("dup", "duplicate"),
            "PARADO": ("skipped", "inactive"),
            "SEM-FONTE": ("skipped", "no_source"),
        }
        assert [stage.shown(account, "DUPLO") for account in ("matriz", "avulsa")] == [9, 9]
        assert shown(stage, "PARADO") == [9, 9, 9]
        assert stage.shown("avulsa", "SEM-FONTE") == 4
        assert shown(stage, "PARTE") == [4, 4, 4]
        assert {sku for (sku,) in Pool.select(Pool.sku).tuples()} == {"CANECA", "PARTE", "007"}
        written = {write.product.sku for write in StockWrite.select()}
        assert written == {"CANECA", "PARTE", "007"}


def test_asking_for_one_of_them_says_why_too(database: Database, config: Config, bling: Bling) -> None:
    for account in ACCOUNTS:
        bling.add_product(account, "DUPLO", stock={SHELF: 2})
    bling.add_product("filial", "DUPLO", stock={SHELF: 3})
    with opened(config, bling) as stage:
        assert synchronize(stage, "DUPLO", "NUNCA-VISTO", "CANECA") == {
            "DUPLO": ("dup", "duplicate"),
            "NUNCA-VISTO": ("skipped", "no_rule"),
            "CANECA": ("unchanged", None),
        }


def test_letter_case_and_leading_zeros_tell_skus_apart(database: Database, config: Config, bling: Bling) -> None:
    for account, sku in (("matriz", "001"), ("filial", "1"), ("avulsa", "01"), ("matriz", "boné"), ("filial", "BONÉ")):
        bling.add_product(account, sku, stock={SHELF: 5, SHOP: 0})
    with opened(config, bling) as stage:
        assert stage.shown("matriz", "001") == 5
        assert stage.shown("filial", "1") == 5
        assert stage.shown("avulsa", "01") == 0
        assert (stage.shown("matriz", "boné"), stage.shown("filial", "BONÉ")) == (5, 5)


def test_a_sale_of_a_composition_moves_its_components(database: Database, config: Config, bling: Bling) -> None:
    for account in ACCOUNTS:
        bling.add_product(account, "PARTE", stock={SHELF: 4, SHOP: 0})
        bling.add_product(account, "KIT", components={"PARTE": 2})
    with opened(config, bling) as stage:
        stage.bling.sell("matriz", "KIT", 1, SHELF)
        stage.deliver()

        assert shown(stage, "PARTE") == [6, 6, 6]


def test_a_product_of_one_account_is_synchronized_within_it(database: Database, config: Config, bling: Bling) -> None:
    bling.add_product("matriz", "SO-MATRIZ", stock={SHELF: 4, SHOP: 0})
    with opened(config, bling) as stage:
        assert stage.shown("matriz", "SO-MATRIZ") == 4


def test_a_product_that_comes_later_joins_with_what_it_holds(stage: Stage) -> None:
    """What lies there when it is first seen is its baseline and no movement."""
    for account, stock in FULL.items():
        stage.bling.add_product(account, "NOVO", stock=stock)
    stage.deliver()

    assert shown(stage, "NOVO") == [13, 13, 13]
    assert (stage.physical("matriz", "NOVO"), stage.physical("filial", "NOVO")) == (8, 5)
    assert Movement.select().count() == 0


def test_a_product_that_one_account_gets_later_starts_there_without_a_movement(stage: Stage) -> None:
    stage.bling.add_product("matriz", "NOVO", stock={SHELF: 8, SHOP: 0})
    stage.deliver()
    assert stage.shown("matriz", "NOVO") == 8

    stage.bling.add_product("filial", "NOVO", stock={SHELF: 5, SHOP: 3})
    stage.deliver()

    assert [stage.shown(account, "NOVO") for account in ("matriz", "filial")] == [13, 13]
    assert Movement.select().count() == 0


def test_stock_of_a_product_whose_first_event_was_lost_is_looked_up(stage: Stage) -> None:
    stage.bling.add_product("matriz", "NOVO", stock={SHELF: 8, SHOP: 0}, announce=False)
    stage.bling.sell("matriz", "NOVO", 1, SHELF)
    stage.deliver()

    assert stage.shown("matriz", "NOVO") == 7


def test_a_product_that_was_never_told_of_is_found_by_the_periodic_check(stage: Stage) -> None:
    stage.bling.add_product("matriz", "NOVO", stock={SHELF: 8, SHOP: 0}, announce=False)

    synchronize(stage, type_=RunType.CRON)

    assert stage.shown("matriz", "NOVO") == 8


def test_a_renamed_product_leaves_one_pool_and_joins_the_other(stage: Stage) -> None:
    for account in ("matriz", "avulsa"):
        stage.bling.add_product(account, "CANECA-2", stock={SHELF: 1, SHOP: 0})
    stage.deliver()
    assert [stage.shown(account, "CANECA-2") for account in ("matriz", "avulsa")] == [1, 1]

    stage.bling.edit_product("filial", "CANECA", sku="CANECA-2")
    stage.deliver()

    assert [stage.shown(account, "CANECA") for account in ("matriz", "avulsa")] == [8, 8]
    assert shown(stage, "CANECA-2") == [6, 6, 6]
    assert Movement.select().count() == 0

    stage.bling.sell("filial", "CANECA-2", 2, SHOP)
    stage.deliver()
    assert shown(stage, "CANECA-2") == [4, 4, 4]


def test_a_product_renamed_back_and_forth_ends_where_it_began(stage: Stage) -> None:
    stage.bling.edit_product("avulsa", "CANECA", sku="OUTRO")
    stage.deliver()
    stage.bling.sell("matriz", "CANECA", 2, SHELF)
    stage.deliver()
    assert stage.shown("avulsa", "OUTRO") == 13

    stage.bling.edit_product("avulsa", "OUTRO", sku="CANECA")
    stage.deliver()

    assert shown(stage) == [11, 11, 11]
    assert stage.physical("matriz", "CANECA") + stage.physical("filial", "CANECA") == 11


def test_a_second_product_with_the_same_sku_keeps_targets_from_rising_until_one_goes(stage: Stage) -> None:
    """What Filial holds of it cannot be told any more; its last known balance stands in."""
    double = stage.bling.add_product("filial", "CANECA", stock={SHELF: 50, SHOP: 50})
    stage.deliver()
    stage.bling.sell("matriz", "CANECA", 2, SHELF)
    stage.deliver()
    stage.bling.receive("matriz", "CANECA", 9, SHELF)
    stage.deliver()

    assert [stage.shown(account, "CANECA") for account in ("matriz", "avulsa")] == [11, 11]
    assert not stage.bling.movements("filial", double.id)
    item = RunItem.select().where(RunItem.sku == "CANECA").order_by(RunItem.id.desc()).first()
    assert (item.status, item.error) == ("partial", "duplicate")

    stage.bling.delete_product("filial", double.id)
    stage.deliver()

    assert shown(stage) == [20, 20, 20]


def test_a_product_that_was_deleted_is_written_no_more(stage: Stage) -> None:
    stage.bling.delete_product("avulsa", "CANECA")
    stage.bling.sell("matriz", "CANECA", 2, SHELF)
    stage.deliver()

    assert [stage.shown(account, "CANECA") for account in ("matriz", "filial")] == [11, 11]
    assert {write.state for write in StockWrite.select()} == {"confirmed"}
    assert DirtySku.select().count() == 0


def test_an_inactive_target_is_left_alone_and_named(stage: Stage) -> None:
    stage.bling.edit_product("avulsa", "CANECA", situation="I")
    stage.bling.sell("matriz", "CANECA", 2, SHELF)
    stage.deliver()

    assert shown(stage) == [11, 11, 13]
    item = RunItem.select().where(RunItem.sku == "CANECA").order_by(RunItem.id.desc()).first()
    assert (item.status, item.error) == ("partial", "inactive")

    stage.bling.edit_product("avulsa", "CANECA", situation="A")
    stage.deliver()
    assert shown(stage) == [11, 11, 11]


def test_a_deposit_that_is_switched_off_is_written_no_more(stage: Stage) -> None:
    stage.bling.edit_deposit("avulsa", SHOP, situation=0)
    refresh_account(Account.get(Account.key == "avulsa"))
    stage.bling.sell("matriz", "CANECA", 2, SHELF)
    stage.deliver()

    assert not stage.deposit("avulsa", SHOP).is_active
    assert [stage.shown(account, "CANECA") for account in ("matriz", "filial")] == [11, 11]
    assert Cell.get(Cell.deposit == stage.deposit("avulsa", SHOP)).problem == "deposit_off"

    stage.bling.edit_deposit("avulsa", SHOP, situation=1)
    refresh_account(Account.get(Account.key == "avulsa"))
    stage.settle()
    assert shown(stage) == [11, 11, 11]


def test_a_source_that_is_switched_off_unannounced_is_unknown_and_never_zero(stage: Stage) -> None:
    stage.bling.edit_deposit("filial", SHELF, situation=0)
    stage.bling.receive("matriz", "CANECA", 2, SHELF)
    stage.deliver()
    assert shown(stage) == [13, 13, 13]

    stage.bling.sell("matriz", "CANECA", 5, SHELF)
    stage.deliver()
    assert shown(stage) == [10, 10, 10]
    item = RunItem.select().where(RunItem.sku == "CANECA").order_by(RunItem.id.desc()).first()
    assert (item.status, item.error) == ("partial", "deposit_off")

    stage.bling.edit_deposit("filial", SHELF, situation=1)
    stage.bling.receive("filial", "CANECA", 1, SHELF)
    stage.deliver()
    assert shown(stage) == [11, 11, 11]


def test_a_target_that_is_switched_off_unannounced_has_sold_nothing(stage: Stage) -> None:
    stage.bling.edit_deposit("avulsa", SHOP, situation=0)
    stage.bling.sell("matriz", "CANECA", 2, SHELF)
    stage.deliver()
    synchronize(stage, type_=RunType.CRON)

    assert [stage.shown(account, "CANECA") for account in ("matriz", "filial")] == [11, 11]
    assert stage.physical("matriz", "CANECA") + stage.physical("filial", "CANECA") == 11
    assert Movement.select().where(Movement.quantity != -2).count() == 0

    stage.bling.edit_deposit("avulsa", SHOP, situation=1)
    synchronize(stage, type_=RunType.CRON)
    assert shown(stage) == [11, 11, 11]


def test_fractions_are_exact(stage: Stage) -> None:
    stage.bling.sell("matriz", "CANECA", "0.25", SHELF)
    stage.bling.sell("filial", "CANECA", "0.1", SHOP)
    stage.bling.sell("filial", "CANECA", "0.2", SHOP)
    stage.deliver()

    assert shown(stage) == [Decimal("12.45")] * 3
    assert stage.physical("matriz", "CANECA") == Decimal("7.75")
    assert stage.physical("filial", "CANECA") == Decimal("4.7")
    for _ in range(10):
        stage.bling.sell("avulsa", "CANECA", "0.1", SHOP)
    stage.deliver()
    assert shown(stage) == [Decimal("11.45")] * 3
    written = stage.writes()
    synchronize(stage)
    assert stage.writes() == written


def test_a_count_is_a_movement_like_any_other(stage: Stage) -> None:
    stage.bling.count("filial", "CANECA", 2, SHELF)
    stage.deliver()
    assert shown(stage) == [10, 10, 10]

    stage.bling.count("avulsa", "CANECA", 6, SHOP)
    stage.deliver()
    assert shown(stage) == [6, 6, 6]
    assert stage.physical("matriz", "CANECA") + stage.physical("filial", "CANECA") == 6


def test_a_movement_that_is_corrected_and_then_deleted_is_undone(stage: Stage) -> None:
    entry = stage.bling.receive("matriz", "CANECA", 5, SHELF)
    stage.deliver()
    assert shown(stage) == [18, 18, 18]

    stage.bling.edit_movement(entry.id, 3)
    stage.deliver()
    assert shown(stage) == [16, 16, 16]

    stage.bling.delete_movement(entry.id)
    stage.deliver()
    assert shown(stage) == [13, 13, 13]


def test_a_balance_below_zero_is_shown_as_zero_and_paid_back(stage: Stage) -> None:
    stage.bling.sell("matriz", "CANECA", 20, SHELF)
    stage.deliver()
    assert (shown(stage), stage.physical("matriz", "CANECA")) == ([0, 0, 0], -12)

    stage.bling.receive("filial", "CANECA", 10, SHELF)
    stage.deliver()
    assert shown(stage) == [3, 3, 3]


def test_two_sales_of_the_last_unit_are_told_by_a_shelf_below_zero(stage: Stage) -> None:
    stage.bling.count("filial", "CANECA", 0, SHELF)
    stage.bling.count("matriz", "CANECA", 1, SHELF)
    stage.deliver()
    assert shown(stage) == [1, 1, 1]

    stage.bling.sell("avulsa", "CANECA", 1, SHOP)
    stage.bling.sell("matriz", "CANECA", 1, SHOP)
    stage.deliver()

    assert shown(stage) == [0, 0, 0]
    assert stage.physical("matriz", "CANECA") + stage.physical("filial", "CANECA") == -1


@pytest.mark.parametrize("fault", ["webhook_duplicate", "webhook_reordered"])
def test_events_twice_and_out_of_order_change_nothing(stage: Stage, fault: str) -> None:
    stage.bling.faults.set(fault, 1.0, seconds=0.05)
    for account in ACCOUNTS:
        stage.bling.sell(account, "CANECA", 1, SHOP)
        stage.bling.sell(account, "CANECA", 1, SHOP)
    while stage.bling.next_due() is not None:
        stage.deliver()

    assert shown(stage) == [7, 7, 7]
    assert stage.physical("matriz", "CANECA") + stage.physical("filial", "CANECA") == 7


def test_an_event_about_a_deposit_without_a_rule_costs_no_call(stage: Stage) -> None:
    stage.deliver()
    before = len(stage.calls())

    stage.bling.receive("avulsa", "CANECA", 2, SHELF)
    stage.deliver()

    assert len(stage.calls()) == before
    assert shown(stage) == [13, 13, 13]
    assert "pending" not in {event.state for event in Event.select()}


def test_the_books_know_each_product_and_deposit_once(stage: Stage) -> None:
    assert Cell.select().count() == 5
    assert Product.select().count() == 3
    assert Deposit.select().count() == 6
