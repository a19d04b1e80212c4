"""A rule that is switched off and on again, or whose members and mode change: the count begins anew where it must."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from peewee import Database

import config as configuration
from clock import utcnow
from config import Config
from core.group_draft import GroupDraft, Limits, TargetDraft
from models import Cell, GroupDeposit, Movement, Pool, RunType, SkuOverride, StockGroup, StockWrite
from sandbox import Bling
from services import groups
from services.activation import ActivationRefused, activate_group
from services.catalog import refresh_account
from services.preview import preview_group
from services.runs import start_run
from tests.stage import ACCOUNTS, SHELF, SHOP, Stage, staged

pytestmark = pytest.mark.both_databases
CANECA = {"matriz": {SHELF: 8, SHOP: 0}, "filial": {SHELF: 5, SHOP: 3}, "avulsa": {SHELF: 0, SHOP: 0}}


@pytest.fixture
def stage(database: Database, config: Config, bling: Bling) -> Iterator[Stage]:
    with opened(config, bling) as stage:
        yield stage


@contextmanager
def opened(config: Config, bling: Bling) -> Iterator[Stage]:
    with staged(config, bling, {"CANECA": CANECA}, window_s=0) as stage:
        yield stage


def rule_of_mode(stage: Stage, mode: str) -> StockGroup:
    if mode == "sum":
        return stage.rule()
    return stage.rule(sources=(), mode="mirror", seed_deposit=stage.deposit("filial", SHOP))


def change(stage: Stage, **changes: object) -> groups.Saved:
    """What saving the form does."""
    group = StockGroup.get()
    draft = groups.draft_of(group)
    values = {name: getattr(draft, name) for name in GroupDraft.__slots__} | changes
    saved = groups.save_group(stage.organization, GroupDraft(**values), groups.deposits_of(stage.organization), group)
    if saved.decides_anew and saved.group.is_active:
        start_run(stage.organization, RunType.MANUAL, skus=None, reason="rules")
    return saved


def place(stage: Stage, account: str, name: str) -> groups.DepositPlace:
    return groups.DepositPlace(account, stage.deposit(account, name).bling_id)


def switch_off(stage: Stage) -> StockGroup:
    groups.deactivate_group(StockGroup.get())
    return StockGroup.get()


def switch_on(stage: Stage) -> None:
    activate_group(StockGroup.get())
    stage.settle()


def shops(stage: Stage, sku: str = "CANECA") -> list[int]:
    return [int(stage.shown(account, sku)) for account in ACCOUNTS]


def shelves(stage: Stage, sku: str = "CANECA") -> list[int]:
    return [int(stage.physical(account, sku)) for account in ("matriz", "filial")]


@pytest.mark.parametrize(("mode", "before", "after"), [("sum", 13, 17), ("mirror", 3, 1)])
def test_what_happened_while_a_rule_was_off_is_no_movement(stage: Stage, mode: str, before: int, after: int) -> None:
    rule_of_mode(stage, mode)
    assert shops(stage) == [before] * 3
    switch_off(stage)
    stage.bling.receive("matriz", "CANECA", 4, SHELF)
    stage.bling.sell("filial", "CANECA", 2, SHOP)
    stage.deliver()
    stage.bling.receive("avulsa", "CANECA", 30, SHOP)
    stage.deliver()

    switch_on(stage)

    assert (shops(stage), Movement.select().count()) == ([after] * 3, 0)
    assert shelves(stage) == [12, 5]


@pytest.mark.parametrize("mode", ["sum", "mirror"])
def test_the_plan_of_a_rule_that_is_switched_on_again_is_what_it_then_does(stage: Stage, mode: str) -> None:
    rule_of_mode(stage, mode)
    group = switch_off(stage)
    stage.bling.receive("filial", "CANECA", 4, SHOP)
    stage.bling.receive("matriz", "CANECA", 2, SHELF)

    promised = {
        (one.account.key, one.deposit.name): one.after for row in preview_group(group).rows for one in row.deposits
    }
    switch_on(stage)

    found = {place: stage.bling.balance(place[0], "CANECA", place[1]).physical for place in promised}
    assert promised == found


@pytest.mark.parametrize("mode", ["sum", "mirror"])
def test_books_end_also_where_the_sku_could_not_be_synchronized_when_the_rule_was_switched_on(
    stage: Stage, mode: str
) -> None:
    group = rule_of_mode(stage, mode)
    switch_off(stage)
    exception = SkuOverride.create(
        organization=stage.organization, group=group, sku="CANECA", deposit=None, is_ignored=True
    )
    stage.bling.receive("filial", "CANECA", 10, SHOP)
    stage.deliver()
    switch_on(stage)

    exception.delete_instance()
    start_run(stage.organization, RunType.MANUAL, skus=["CANECA"])
    stage.settle()

    assert Movement.select().count() == 0
    assert shops(stage) == [13, 13, 13]
    assert shelves(stage) == [8, 5]


def test_books_end_also_of_a_sku_that_nobody_had_when_the_rule_was_switched_on(stage: Stage) -> None:
    stage.rule()
    switch_off(stage)
    for account in ACCOUNTS:
        stage.bling.edit_product(account, "CANECA", sku="OUTRA")
        refresh_account(stage.accounts[account])
    switch_on(stage)
    stage.bling.receive("matriz", "OUTRA", 4, SHELF)
    stage.deliver()
    assert shops(stage, "OUTRA") == [17, 17, 17]

    for account in ACCOUNTS:
        stage.bling.edit_product(account, "OUTRA", sku="CANECA")
        refresh_account(stage.accounts[account])
    start_run(stage.organization, RunType.MANUAL, skus=["CANECA", "OUTRA"])
    stage.settle()

    assert shops(stage) == [17, 17, 17]
    assert shelves(stage) == [12, 5]


def test_it_is_not_switched_on_while_bling_may_still_show_balances_of_before_our_last_write(stage: Stage) -> None:
    stage.rule()
    switch_off(stage)
    configuration.activate(replace(configuration.current(), settle_window_s=600))

    with pytest.raises(ActivationRefused, match="saldo antigo"):
        activate_group(StockGroup.get())

    StockWrite.update(ended_at=utcnow() - timedelta(seconds=601)).execute()
    StockWrite.update(state="sending", ended_at=None).where(StockWrite.id == StockWrite.select().get().id).execute()
    with pytest.raises(ActivationRefused, match="saldo antigo"):
        activate_group(StockGroup.get())

    StockWrite.update(state="confirmed").execute()
    activate_group(StockGroup.get())
    assert StockGroup.get().is_active


def test_a_rule_that_becomes_a_mirror_starts_as_its_seed_and_owes_nothing_of_before(stage: Stage) -> None:
    stage.rule()
    Pool.update(owed=Decimal(-4)).execute()
    switch_off(stage)

    change(stage, mode="mirror", sources=(), seed=place(stage, "filial", SHOP))
    switch_on(stage)

    assert shops(stage) == [13, 13, 13]
    stage.bling.sell("avulsa", "CANECA", 2, SHOP)
    stage.deliver()
    assert (shops(stage), Pool.get().level, Pool.get().owed) == ([11, 11, 11], 11, 0)
    assert shelves(stage) == [8, 5]


def test_a_mirror_that_becomes_a_sum_counts_its_sources_and_no_old_level(stage: Stage) -> None:
    rule_of_mode(stage, "mirror")
    switch_off(stage)

    change(stage, mode="sum", seed=None, sources=(place(stage, "matriz", SHELF), place(stage, "filial", SHELF)))
    switch_on(stage)

    assert (shops(stage), Pool.get().level) == ([13, 13, 13], None)
    stage.bling.sell("avulsa", "CANECA", 2, SHOP)
    stage.deliver()
    assert (shops(stage), sum(shelves(stage))) == ([11, 11, 11], 11)


class TestWhatWasPlannedAndNeverSent:
    def planned(self, stage: Stage) -> StockWrite:
        """A write-back whose worker died before it left."""
        stage.rule()
        cell = next(c for c in Cell.select() if (c.account.key, c.deposit.name) == ("matriz", SHELF))
        return StockWrite.create(
            organization=stage.organization,
            cell_id=cell.id,
            account=cell.account,
            product=cell.product,
            deposit=cell.deposit,
            purpose="write_back",
            quantity=Decimal(-3),
            before=cell.accounted,
            state="planned",
            lease="ninguém",
            planned_at=cell.read_at,
        )

    @pytest.mark.parametrize(
        ("left", "state", "ended", "owed"),
        [
            ("rule", "planned", "cancelled", -3),
            ("rule", "sending", "unknown", 0),
            ("product", "planned", "cancelled", 0),
            ("exception", "planned", "cancelled", 0),
        ],
    )
    def test_ends_also_when_it_came_back_to_wait_after_nobody_looked_there_any_more(
        self, stage: Stage, left: str, state: str, ended: str, owed: int
    ) -> None:
        write = self.planned(stage)
        # It is on its way while the change is made, so that the change cannot take it back.
        StockWrite.update(state="sending", sent_at=utcnow()).where(StockWrite.id == write.id).execute()
        if left == "rule":
            StockGroup.update(is_active=False).execute()
        elif left == "product":
            stage.bling.edit_product("matriz", "CANECA", sku="OUTRA")
            refresh_account(stage.accounts["matriz"])
        else:
            shop = next(c for c in Cell.select() if (c.account.key, c.deposit.name) == ("filial", SHOP))
            StockWrite.update(
                cell_id=shop.id, account=shop.account, product=shop.product, deposit=shop.deposit, purpose="target"
            ).execute()
            group = StockGroup.get()
            SkuOverride.create(
                organization=stage.organization, group=group, sku="CANECA", deposit=shop.deposit, is_ignored=True
            )
        StockWrite.update(state=state, sent_at=utcnow()).where(StockWrite.id == write.id).execute()

        start_run(stage.organization, RunType.MANUAL, skus=["CANECA"])
        stage.settle()

        assert (StockWrite.get_by_id(write.id).state, Pool.get(Pool.sku == "CANECA").owed) == (ended, owed)
        assert stage.physical("filial", "CANECA") == (2 if left == "product" else 5)

    def test_is_owed_when_the_rule_is_switched_off(self, stage: Stage) -> None:
        write = self.planned(stage)

        switch_off(stage)

        assert (StockWrite.get_by_id(write.id).state, Pool.get().owed) == ("cancelled", -3)

    @pytest.mark.parametrize("role", ["none", "target"])
    def test_is_taken_by_another_source_when_its_own_leaves_the_rule(self, stage: Stage, role: str) -> None:
        self.planned(stage)
        draft = groups.draft_of(StockGroup.get())
        left = place(stage, "matriz", SHELF)
        targets = draft.targets if role == "none" else (*draft.targets, TargetDraft(left, Limits()))

        change(stage, sources=tuple(one for one in draft.sources if one != left), targets=targets)
        stage.settle()

        assert Pool.get().owed == 0
        assert stage.physical("filial", "CANECA") == 2
        assert shops(stage) == [2, 2, 2]
        assert stage.physical("matriz", "CANECA") == (8 if role == "none" else 2)


class TestADepositThatJoinsOrLeaves:
    def test_brings_no_movement_and_shows_the_pool(self, stage: Stage) -> None:
        stage.rule(targets=[("matriz", SHOP), ("avulsa", SHOP)])
        draft = groups.draft_of(StockGroup.get())
        joining = place(stage, "filial", SHOP)

        change(stage, targets=(*draft.targets, TargetDraft(joining, Limits())))
        stage.settle()

        assert (shops(stage), shelves(stage), Movement.select().count()) == ([13, 13, 13], [8, 5], 0)

    def test_leaves_as_it_is_and_comes_back_without_a_movement(self, stage: Stage) -> None:
        stage.rule()
        draft = groups.draft_of(StockGroup.get())
        change(stage, targets=draft.targets[:2])
        stage.settle()
        stage.bling.sell("matriz", "CANECA", 1, SHELF)
        stage.bling.receive("avulsa", "CANECA", 20, SHOP)
        stage.deliver()
        assert shops(stage) == [12, 12, 33]

        change(stage, targets=draft.targets)
        stage.settle()

        assert (shops(stage), shelves(stage)) == ([12, 12, 12], [7, 5])
        assert GroupDeposit.select().count() == 5
