"""Mode mirror: one shelf seen from several accounts, whatever happens at whichever of its windows."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest
from peewee import Database

from config import Config
from core.group_draft import GroupDraft, Limits, TargetDraft
from models import Cell, Movement, Pool, Run, RunItem, RunType, StockGroup, StockWrite
from sandbox import Bling
from services import groups
from services.activation import activate_group
from services.catalog import refresh_account
from services.runs import start_run
from tests.stage import ACCOUNTS, SHELF, SHOP, Stage, staged

pytestmark = pytest.mark.stories

# Matriz sees the shelf through two windows.
WINDOWS = [("matriz", SHOP), ("filial", SHOP), ("avulsa", SHOP), ("matriz", SHELF)]
PRODUCTS = {
    "CANECA": {"matriz": {SHOP: 10, SHELF: 2}, "filial": {SHOP: 4}, "avulsa": {SHOP: 0}},
    "BONE": {"filial": {SHOP: 7}, "avulsa": {SHOP: 3}},
}


@pytest.fixture
def stage(database: Database, config: Config, bling: Bling) -> Iterator[Stage]:
    with staged(config, bling, PRODUCTS, window_s=0) as stage:
        yield stage


def mirror(stage: Stage, targets: list[tuple[str, str]] = WINDOWS, **values: object) -> StockGroup:
    seed = stage.deposit("matriz", SHOP)
    return stage.rule((), targets, **{"mode": "mirror", "seed_deposit": seed, **values})


def seen(stage: Stage, sku: str = "CANECA") -> list[Decimal]:
    places = [place for place in WINDOWS if place[0] in PRODUCTS[sku]]
    return [stage.shown(account, sku, deposit) for account, deposit in places]


def level(sku: str = "CANECA") -> Decimal:
    found: Decimal = Pool.get(Pool.sku == sku).level
    return found


def check_everything(stage: Stage) -> int:
    """How many writes a check of everything makes."""
    before = stage.writes()
    start_run(stage.organization, RunType.CRON, skus=None)
    stage.settle()
    return stage.writes() - before


def change(stage: Stage, **changes: object) -> groups.Saved:
    group = StockGroup.get()
    draft = groups.draft_of(group)
    values = {name: getattr(draft, name) for name in GroupDraft.__slots__} | changes
    saved = groups.save_group(stage.organization, GroupDraft(**values), groups.deposits_of(stage.organization), group)
    if saved.decides_anew and saved.group.is_active:
        start_run(stage.organization, RunType.MANUAL, skus=None, reason="rules")
    stage.settle()
    return saved


def place(stage: Stage, account: str, name: str) -> groups.DepositPlace:
    return groups.DepositPlace(account, stage.deposit(account, name).bling_id)


def test_every_window_shows_what_the_seed_held(stage: Stage) -> None:
    mirror(stage)

    assert (seen(stage), level()) == ([10, 10, 10, 10], 10)
    assert Movement.select().count() == 0


def test_a_sku_that_the_seeds_account_lacks_starts_from_the_first_window_that_has_it(stage: Stage) -> None:
    mirror(stage)

    assert (seen(stage, "BONE"), level("BONE")) == ([7, 7], 7)


def test_a_seed_that_comes_to_know_a_sku_later_shows_the_pool_like_any_other_window(stage: Stage) -> None:
    mirror(stage)

    stage.bling.add_product("matriz", "BONE", stock={SHOP: 90})
    stage.deliver()
    refresh_account(stage.accounts["matriz"])
    check_everything(stage)

    assert [stage.shown(account, "BONE") for account in ACCOUNTS] == [7, 7, 7]
    assert level("BONE") == 7


@pytest.mark.parametrize("kind", ["composition", "duplicate", "inactive"])
@pytest.mark.both_databases
def test_a_seed_that_has_the_sku_but_cannot_count_it_lets_nobody_else_start_it(stage: Stage, kind: str) -> None:
    if kind == "composition":
        stage.bling.add_product("matriz", "BONE", components={"CANECA": 1})
    elif kind == "inactive":
        stage.bling.add_product("matriz", "BONE", stock={SHOP: 50}, situation="I")
    else:
        for _ in range(2):
            stage.bling.add_product("matriz", "BONE", stock={SHOP: 50})
    refresh_account(stage.accounts["matriz"])

    mirror(stage)

    assert seen(stage, "BONE") == [7, 3]
    assert RunItem.get(RunItem.sku == "BONE").error == kind
    assert seen(stage) == [10, 10, 10, 10]


@pytest.mark.parametrize("window", WINDOWS)
def test_whatever_moves_at_one_window_moves_them_all(stage: Stage, window: tuple[str, str]) -> None:
    mirror(stage)
    account, deposit = window

    stage.bling.sell(account, "CANECA", 3, deposit)
    stage.deliver()
    assert seen(stage) == [7, 7, 7, 7]
    stage.bling.receive(account, "CANECA", 5, deposit)
    stage.deliver()
    assert seen(stage) == [12, 12, 12, 12]
    stage.bling.count(account, "CANECA", 6, deposit)
    stage.deliver()
    assert seen(stage) == [6, 6, 6, 6]
    assert (level(), Pool.get(Pool.sku == "CANECA").owed) == (6, 0)
    assert check_everything(stage) == 0


@pytest.mark.both_databases
def test_sales_at_several_windows_at_once_are_all_counted(stage: Stage) -> None:
    mirror(stage)

    for account, deposit in WINDOWS:
        stage.bling.sell(account, "CANECA", 2, deposit)
    stage.deliver()

    assert (seen(stage), level()) == ([2, 2, 2, 2], 2)


def test_more_sold_than_there_is_shows_nothing_and_is_kept_in_mind(stage: Stage) -> None:
    mirror(stage)
    stage.bling.sell("avulsa", "CANECA", 8, SHOP)
    stage.bling.sell("filial", "CANECA", 8, SHOP)
    stage.deliver()
    assert (seen(stage), level()) == ([0, 0, 0, 0], -6)

    stage.bling.receive("matriz", "CANECA", 10, SHELF)
    stage.deliver()

    assert (seen(stage), level()) == ([4, 4, 4, 4], 4)


def test_an_open_order_lowers_every_window_and_its_end_counts_once(stage: Stage) -> None:
    mirror(stage)
    posted = stage.bling.reserve("avulsa", "CANECA", 4, SHOP)
    cancelled = stage.bling.reserve("matriz", "CANECA", 1, SHELF)
    stage.deliver()
    assert (seen(stage), level()) == ([5, 5, 5, 5], 10)
    assert stage.bling.balance("avulsa", "CANECA", SHOP).physical == 9

    stage.bling.post(posted.id)
    stage.bling.cancel(cancelled.id)
    stage.deliver()

    assert (seen(stage), level()) == ([6, 6, 6, 6], 6)
    assert check_everything(stage) == 0


def test_open_orders_are_nothing_to_a_rule_that_counts_physical_balances(stage: Stage) -> None:
    mirror(stage, balance="physical")

    stage.bling.reserve("avulsa", "CANECA", 4, SHOP)
    stage.deliver()

    assert [
        stage.bling.balance(*one).physical for one in (("avulsa", "CANECA", SHOP), ("matriz", "CANECA", SHELF))
    ] == [
        10,
        10,
    ]
    assert level() == 10


def test_what_no_webhook_told_is_found_by_the_check(stage: Stage) -> None:
    mirror(stage)
    stage.bling.faults.set("webhook_lost", 1.0)
    stage.bling.sell("avulsa", "CANECA", 2, SHOP)
    stage.bling.receive("filial", "CANECA", 5, SHOP)
    stage.bling.sell("filial", "BONE", 1, SHOP)
    stage.deliver()
    assert seen(stage) == [10, 15, 8, 10]

    assert check_everything(stage) == 5

    assert (seen(stage), seen(stage, "BONE")) == ([13, 13, 13, 13], [6, 6])
    assert check_everything(stage) == 0


def test_doubled_and_late_webhooks_change_nothing(stage: Stage) -> None:
    mirror(stage)
    stage.bling.faults.set("webhook_duplicate", 1.0)
    stage.bling.faults.set("webhook_reordered", 0.5, seconds=0.2)

    for account, deposit in WINDOWS * 2:
        stage.bling.sell(account, "CANECA", 1, deposit)
        stage.deliver()
    stage.bling.faults.clear()
    check_everything(stage)

    assert (seen(stage), level()) == ([2, 2, 2, 2], 2)


@pytest.mark.both_databases
def test_windows_show_their_own_part(stage: Stage) -> None:
    group = mirror(stage, activate=False)
    limits = {
        ("filial", SHOP): {"percent": 50},
        ("avulsa", SHOP): {"max": 3, "stop_at": 4},
        ("matriz", SHELF): {"reserve": 2},
    }
    for member in group.members:
        values = limits.get((member.deposit.account.key, member.deposit.name))
        if values:
            type(member).update(values).where(type(member).id == member.id).execute()
    activate_group(group)
    stage.settle()
    assert seen(stage) == [10, 5, 3, 8]

    stage.bling.sell("filial", "CANECA", 5, SHOP)
    stage.deliver()
    assert seen(stage) == [5, 2, 3, 3]
    stage.bling.sell("matriz", "CANECA", 1, SHOP)
    stage.deliver()
    assert (seen(stage), level()) == ([4, 2, 0, 2], 4)


def test_fractions_come_and_go_with_the_pool(stage: Stage) -> None:
    group = mirror(stage, activate=False)
    for member in group.members:
        if member.deposit.account.key == "filial":
            type(member).update(percent=50).where(type(member).id == member.id).execute()
    activate_group(group)
    stage.settle()
    stage.bling.sell("matriz", "CANECA", 1, SHOP)
    stage.deliver()
    assert seen(stage) == [9, 4, 9, 9]

    stage.bling.sell("avulsa", "CANECA", Decimal("0.5"), SHOP)
    stage.deliver()
    assert seen(stage) == [Decimal("8.5"), Decimal("4.25"), Decimal("8.5"), Decimal("8.5")]

    stage.bling.sell("avulsa", "CANECA", Decimal("1.5"), SHOP)
    stage.deliver()
    assert seen(stage) == [7, 3, 7, 7]
    assert check_everything(stage) == 0


class TestWindowsThatAreOverwritten:
    def test_are_set_right_again_and_the_pool_stays(self, stage: Stage) -> None:
        mirror(stage, target_movements="overwrite")

        stage.bling.sell("avulsa", "CANECA", 4, SHOP)
        stage.bling.receive("filial", "CANECA", 9, SHOP)
        stage.deliver()

        assert (seen(stage), level()) == ([10, 10, 10, 10], 10)
        assert check_everything(stage) == 0

    def test_count_with_their_open_orders(self, stage: Stage) -> None:
        mirror(stage, target_movements="overwrite")

        stage.bling.reserve("avulsa", "CANECA", 4, SHOP)
        stage.deliver()

        assert (seen(stage), level()) == ([6, 6, 6, 6], 10)


class TestAnAccountThatIsDown:
    def test_delays_only_itself_and_catches_up(self, stage: Stage) -> None:
        mirror(stage)
        stage.bling.faults.set("error_500", 1.0, account="avulsa")
        stage.bling.sell("matriz", "CANECA", 3, SHOP)
        while stage.bling.pump():
            pass
        start_run(stage.organization, RunType.CRON, skus=["CANECA"])
        settle_some(stage)
        assert seen(stage) == [7, 7, 10, 7]

        stage.bling.sell("avulsa", "CANECA", 2, SHOP)
        stage.bling.faults.clear()
        stage.deliver()

        assert (seen(stage), level()) == ([5, 5, 5, 5], 5)

    def test_that_was_the_seed_starts_its_skus_when_it_is_back(self, stage: Stage) -> None:
        mirror(stage)
        stage.bling.add_product("matriz", "NOVO", stock={SHOP: 6})
        stage.bling.add_product("filial", "NOVO", stock={SHOP: 1})
        for key in ("matriz", "filial"):
            refresh_account(stage.accounts[key])
        stage.bling.faults.set("error_500", 1.0, account="matriz")
        start_run(stage.organization, RunType.MANUAL, skus=["NOVO"])
        settle_some(stage)
        stage.bling.sell("filial", "NOVO", 1, SHOP)
        settle_some(stage)
        assert [stage.shown(account, "NOVO") for account in ("matriz", "filial")] == [6, 0]

        stage.bling.faults.clear()
        stage.deliver()
        check_everything(stage)

        assert [stage.shown(account, "NOVO") for account in ("matriz", "filial")] == [5, 5]


class TestAChangeOfTheRule:
    def test_of_its_seed_starts_nothing_anew_that_has_started(self, stage: Stage) -> None:
        mirror(stage)
        stage.bling.sell("avulsa", "CANECA", 1, SHOP)
        stage.deliver()

        change(stage, seed=place(stage, "filial", SHOP))

        assert (seen(stage), level()) == ([9, 9, 9, 9], 9)
        stage.bling.add_product("matriz", "NOVO", stock={SHOP: 6})
        stage.bling.add_product("filial", "NOVO", stock={SHOP: 1})
        for key in ("matriz", "filial"):
            refresh_account(stage.accounts[key])
        check_everything(stage)
        assert [stage.shown(account, "NOVO") for account in ("matriz", "filial")] == [1, 1]

    def test_of_its_seed_starts_what_could_not_start(self, stage: Stage) -> None:
        mirror(stage)
        stage.bling.add_product("matriz", "NOVO", stock={SHOP: 6})
        stage.bling.add_product("filial", "NOVO", stock={SHOP: 1})
        for key in ("matriz", "filial"):
            refresh_account(stage.accounts[key])
        stage.bling.revoke("matriz")
        start_run(stage.organization, RunType.MANUAL, skus=["NOVO"])
        stage.settle()
        stage.bling.receive("filial", "NOVO", 3, SHOP)
        stage.deliver()
        assert (stage.shown("filial", "NOVO"), Pool.get(Pool.sku == "NOVO").owed) == (4, 3)

        change(stage, seed=place(stage, "filial", SHOP))

        assert (level("NOVO"), Pool.get(Pool.sku == "NOVO").owed) == (4, 0)

    def test_that_adds_a_window_shows_it_the_pool_and_takes_nothing_from_it(self, stage: Stage) -> None:
        mirror(stage, WINDOWS[:2])
        stage.bling.sell("filial", "CANECA", 1, SHOP)
        stage.deliver()
        draft = groups.draft_of(StockGroup.get())

        change(stage, targets=(*draft.targets, TargetDraft(place(stage, "matriz", SHELF), Limits(percent=Decimal(50)))))

        assert [stage.shown("matriz", "CANECA"), stage.shown("matriz", "CANECA", SHELF)] == [9, 4]
        assert (level(), Movement.select().count()) == (9, 1)

    def test_that_takes_a_window_away_leaves_it_as_it_is(self, stage: Stage) -> None:
        mirror(stage)
        draft = groups.draft_of(StockGroup.get())

        change(stage, targets=draft.targets[:3])
        stage.bling.sell("matriz", "CANECA", 4, SHELF)
        stage.bling.sell("filial", "CANECA", 1, SHOP)
        stage.deliver()

        assert (seen(stage), level()) == ([9, 9, 9, 6], 9)

    def test_of_its_mode_is_refused_while_it_is_active(self, stage: Stage) -> None:
        mirror(stage)

        with pytest.raises(groups.GroupRefused, match="Desative a regra"):
            change(stage, mode="sum", seed=None, sources=(place(stage, "matriz", SHELF),))

    @pytest.mark.both_databases
    def test_to_start_from_another_seed_is_made_by_switching_it_off_and_on(self, stage: Stage) -> None:
        mirror(stage)
        groups.deactivate_group(StockGroup.get())
        change(stage, seed=place(stage, "filial", SHOP))
        stage.bling.count("filial", "CANECA", 20, SHOP)
        stage.deliver()

        activate_group(StockGroup.get())
        stage.settle()

        assert (seen(stage), level()) == ([20, 20, 20, 20], 20)
        assert Cell.select().where(Cell.baseline == 20).count() == 1
        assert Run.select().where(Run.reason == "activation").count() == 2
        assert not StockWrite.select().where(StockWrite.purpose == "write_back").exists()


def settle_some(stage: Stage) -> None:
    """One round of what a worker does; what waits for an account that is down is left waiting."""
    from services import inbox, settle

    inbox.sort_inbox(stage.organization.id)
    settle.settle_due(stage.organization.id)
