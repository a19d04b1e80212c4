"""Activation: what is there becomes the baseline, once; and the preview tells beforehand exactly what follows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from decimal import Decimal

import pytest
from peewee import Database

import db
from config import Config
from models import Account, Cell, Movement, Pool, Run, RunItem, StockGroup, StockWrite
from sandbox import Bling
from services.activation import ActivationRefused, activate_group
from services.preview import preview_group
from tests.factories import make_user
from tests.stage import ACCOUNTS, SHELF, SHOP, Stage, staged
from tests.trouble import skip_waits

FULL = {"matriz": {SHELF: 8, SHOP: 1}, "filial": {SHELF: 5, SHOP: 30}, "avulsa": {SHELF: 7, SHOP: 0}}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    skip_waits(monkeypatch)


@pytest.fixture
def stage(database: Database, config: Config, bling: Bling) -> Iterator[Stage]:
    with staged(config, bling, {"CANECA": FULL, "SO-AVULSA": {"avulsa": {SHOP: 3}}}, window_s=0) as stage:
        yield stage


def physical(stage: Stage) -> dict[tuple[str, str], Decimal]:
    return {(a, d): stage.physical(a, "CANECA", d) for a in ACCOUNTS for d in (SHELF, SHOP)}


def test_what_is_there_becomes_the_baseline_and_no_movement(stage: Stage) -> None:
    group = stage.rule(activate=False)
    ana = make_user(stage.organization)

    run = activate_group(group, ana)

    baselines = {(cell.account.key, cell.deposit.name): cell.baseline for cell in Cell.select()}
    assert baselines == {
        ("matriz", SHELF): 8,
        ("filial", SHELF): 5,
        ("matriz", SHOP): 1,
        ("filial", SHOP): 30,
        ("avulsa", SHOP): 0,
    }
    assert all(cell.accounted == cell.baseline for cell in Cell.select())
    assert (Pool.get().owed, Pool.get().available) == (0, 13)
    group = StockGroup.get_by_id(group.id)
    assert (group.is_active, group.activated_by) == (True, ana)
    assert (run.type, run.reason, run.user) == ("manual", "activation", ana)

    stage.settle()
    assert Movement.select().count() == 0
    assert [stage.shown(account, "CANECA") for account in ACCOUNTS] == [13, 13, 13]
    assert (stage.physical("matriz", "CANECA"), stage.physical("filial", "CANECA")) == (8, 5)
    assert Run.get_by_id(run.id).status in ("ok", "partial")


def test_a_sale_between_baseline_and_first_synchronization_is_a_movement(stage: Stage) -> None:
    activate_group(stage.rule(activate=False))
    stage.bling.sell("filial", "CANECA", 2, SHOP)
    stage.settle()
    stage.deliver()

    assert [stage.shown(account, "CANECA") for account in ACCOUNTS] == [11, 11, 11]
    assert stage.physical("matriz", "CANECA") + stage.physical("filial", "CANECA") == 11


def test_it_is_activated_once(stage: Stage) -> None:
    group = stage.rule()
    cells = {cell.id for cell in Cell.select()}

    with pytest.raises(ActivationRefused, match="já está ativa"):
        activate_group(group)

    assert {cell.id for cell in Cell.select()} == cells
    assert Run.select().count() == 1


def test_of_two_who_activate_at_once_one_is_told(stage: Stage) -> None:
    group = stage.rule(activate=False)
    start = threading.Barrier(2)
    answers: list[object] = []

    def activate() -> None:
        with db.connection():
            start.wait()
            try:
                answers.append(activate_group(StockGroup.get_by_id(group.id)).id)
            except ActivationRefused as refused:
                answers.append(str(refused))

    threads = [threading.Thread(target=activate) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(answer in {run.id for run in Run.select()} for answer in answers) == [False, True]
    assert any("ativa" in str(answer) for answer in answers)
    assert (Run.select().count(), Pool.select().count(), Cell.select().count()) == (1, 1, 5)


@pytest.mark.parametrize("trouble", ["error_500", "forbidden", "paused", "reconnect", "no catalogue"])
def test_it_is_refused_while_an_account_cannot_be_read(stage: Stage, trouble: str) -> None:
    group = stage.rule(activate=False)
    if trouble in ("error_500", "forbidden"):
        stage.bling.faults.set(trouble, 1.0, account="filial")
    elif trouble == "no catalogue":
        Account.update(catalog_at=None).where(Account.key == "filial").execute()
    else:
        Account.update(state=trouble).where(Account.key == "filial").execute()

    with pytest.raises(ActivationRefused, match="Filial"):
        activate_group(group)

    assert not StockGroup.get_by_id(group.id).is_active
    assert (Cell.select().count(), Pool.select().count(), Run.select().count()) == (0, 0, 0)


def test_activating_again_begins_anew(stage: Stage) -> None:
    group = stage.rule()
    StockGroup.update(is_active=False).execute()
    stage.bling.sell("filial", "CANECA", 2, SHOP)
    stage.bling.receive("matriz", "CANECA", 4, SHELF)
    stage.deliver()
    assert stage.shown("avulsa", "CANECA") == 13

    activate_group(StockGroup.get_by_id(group.id))
    stage.settle()

    assert [stage.shown(account, "CANECA") for account in ACCOUNTS] == [17, 17, 17]
    assert Movement.select().count() == 0


def test_the_plan_is_exactly_what_the_activation_then_does(stage: Stage) -> None:
    group = stage.rule(activate=False)

    plan = preview_group(group)
    promised = {
        (one.account.key, one.deposit.name): one.after
        for row in plan.rows
        for one in row.deposits
        if row.sku == "CANECA"
    }
    assert stage.writes() == 0
    activate_group(group)
    stage.settle()

    found = physical(stage)
    assert promised == {place: found[place] for place in promised}
    assert found[("avulsa", SHELF)] == 7
    deltas = sorted(one.delta for row in plan.rows for one in row.deposits if one.delta)
    assert deltas == sorted(write.quantity for write in StockWrite.select())
    assert plan.totals.changed == RunItem.select().where(RunItem.status == "ok").count() == 1
