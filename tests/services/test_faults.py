"""The engine when Bling misbehaves: what cannot be read never raises, what may have happened is never repeated.

Time that only passes (delays before another try) is skipped: `look` makes whatever waits due at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from peewee import Database

import core.doubt
import sandbox.api
from bling.client import BlingClient
from clock import utcnow
from config import Config
from core.values import MovementOrder
from models import Account, Cell, DirtySku, Pool, Priority, Run, RunItem, RunType, StockWrite
from sandbox import Bling, SandboxError
from services import doubts, inbox, overview, settle, writes
from services.dirty import Claim, mark_dirty
from services.runs import start_run
from services.writes import settle_undecided
from tests.stage import ACCOUNTS, SHELF, SHOP, Stage, look, set_window, staged
from tests.trouble import Killed, expire_leases, hit_writes_only, mend, settle_with, skip_waits

pytestmark = pytest.mark.stories

FULL = {"matriz": {SHELF: 8, SHOP: 0}, "filial": {SHELF: 5, SHOP: 3}, "avulsa": {SHELF: 0, SHOP: 0}}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    skip_waits(monkeypatch)


@pytest.fixture
def stage(database: Database, config: Config, bling: Bling) -> Iterator[Stage]:
    """Two SKUs of which the sources hold 13, shown by every target."""
    with staged(config, bling, {"CANECA": FULL, "BONE": FULL}, window_s=0) as stage:
        stage.rule()
        yield stage


@pytest.fixture
def faults_hit_writes_only(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    hit_writes_only(stage.bling, monkeypatch)


def synchronize(stage: Stage, *skus: str, type_: RunType = RunType.MANUAL) -> Run:
    run = start_run(stage.organization, type_, skus=list(skus) or None)
    stage.settle()
    return Run.get_by_id(run.id)


def synchronize_once(stage: Stage, sku: str) -> None:
    """One settling of this SKU, whatever it asks for."""
    mark_dirty(stage.organization.id, [sku], priority=Priority.LIVE, needs_look=True)
    DirtySku.update(due_at=utcnow() - timedelta(seconds=1)).where(DirtySku.sku == sku).execute()
    settle.settle_due(stage.organization.id)


def shown(stage: Stage, sku: str = "CANECA") -> list[Decimal]:
    return [stage.shown(account, sku) for account in ACCOUNTS]


def on_shelves(stage: Stage, sku: str = "CANECA") -> Decimal:
    return stage.physical("matriz", sku) + stage.physical("filial", sku)


def posts(stage: Stage, account: str | None = None) -> int:
    return len(stage.bling.requests(account, method="POST", path="/estoques"))


def items(sku: str = "CANECA") -> list[RunItem]:
    return list(RunItem.select().where(RunItem.sku == sku).order_by(RunItem.id))


def not_read(item: RunItem) -> dict[tuple[str, str], str]:
    """The sources that the item names as not read, with the reason."""
    return {
        (row.account.name, row.deposit.name): row.error for row in item.deposits if row.role == "source" and row.error
    }


# An account that cannot be read


@pytest.mark.parametrize("fault", ["error_500", "unauthorized", "cut_read"])
def test_a_source_that_cannot_be_read_lets_targets_fall_but_not_rise(stage: Stage, fault: str) -> None:
    stage.bling.faults.set(fault, 1.0, account="filial")

    stage.bling.sell("matriz", "CANECA", 2, SHELF)
    stage.bling.receive("matriz", "BONE", 2, SHELF)
    look(stage, rounds=2)

    assert [stage.shown(account, "CANECA") for account in ("matriz", "avulsa")] == [11, 11]
    assert shown(stage, "BONE") == [13, 13, 13]
    assert (items("BONE")[-1].status, items("BONE")[-1].error) == ("retry", "unreadable")
    assert not_read(items("BONE")[-1]) == {("Filial", SHELF): "unreadable"}

    mend(stage)
    look(stage, rounds=2)

    assert shown(stage, "CANECA") == [11, 11, 11]
    assert shown(stage, "BONE") == [15, 15, 15]
    assert (items("BONE")[-1].status, not_read(items("BONE")[-1])) == ("ok", {})
    assert RunItem.select().where(RunItem.finished_at.is_null()).count() == 0


def test_a_source_without_permission_waits_for_a_person_and_the_next_check(stage: Stage) -> None:
    stage.bling.faults.set("forbidden", 1.0, account="filial")
    stage.bling.receive("matriz", "CANECA", 2, SHELF)
    look(stage, rounds=2)

    assert shown(stage) == [13, 13, 13]
    assert (items()[-1].status, items()[-1].error) == ("partial", "forbidden")
    assert DirtySku.select().count() == 0
    assert "permissão" in Account.get(Account.key == "filial").last_error

    stage.bling.faults.clear()
    synchronize(stage, type_=RunType.CRON)
    assert shown(stage) == [15, 15, 15]


def test_a_target_that_cannot_be_read_delays_only_itself(stage: Stage) -> None:
    stage.bling.faults.set("error_500", 1.0, account="avulsa")

    stage.bling.sell("matriz", "CANECA", 2, SHELF)
    stage.bling.receive("filial", "BONE", 2, SHELF)
    look(stage)

    assert shown(stage, "CANECA") == [11, 11, 13]
    assert shown(stage, "BONE") == [15, 15, 13]
    assert (items()[-1].status, items()[-1].error) == ("retry", "unreadable")

    stage.bling.faults.clear()
    look(stage)

    assert shown(stage, "CANECA") == [11, 11, 11]
    assert shown(stage, "BONE") == [15, 15, 15]
    assert items()[-1].status == "ok"


def test_a_sale_on_an_account_that_is_down_is_found_when_it_is_back(stage: Stage) -> None:
    stage.bling.faults.set("error_500", 1.0, account="filial")
    stage.bling.sell("filial", "CANECA", 2, SHOP)
    stage.bling.sell("filial", "CANECA", 1, SHELF)
    look(stage, rounds=2)

    mend(stage)
    look(stage)

    assert (shown(stage), on_shelves(stage)) == ([10, 10, 10], 10)


def test_a_paused_account_is_left_alone_and_catches_up(stage: Stage) -> None:
    Account.update(state="paused").where(Account.key == "filial").execute()
    before = len(stage.bling.requests("filial"))
    stage.bling.sell("filial", "CANECA", 2, SHOP)
    stage.bling.sell("matriz", "CANECA", 1, SHELF)
    stage.bling.receive("matriz", "BONE", 4, SHELF)
    look(stage, rounds=2)

    assert len(stage.bling.requests("filial")) == before
    assert shown(stage, "CANECA") == [12, 11, 12]
    assert shown(stage, "BONE") == [13, 13, 13]
    assert not_read(items("BONE")[-1]) == {("Filial", SHELF): "paused"}

    Account.update(state="connected").where(Account.key == "filial").execute()
    synchronize(stage, type_=RunType.CRON)

    assert (shown(stage, "CANECA"), on_shelves(stage, "CANECA")) == ([10, 10, 10], 10)
    assert (shown(stage, "BONE"), on_shelves(stage, "BONE")) == ([17, 17, 17], 17)


def test_an_account_whose_authorization_is_gone_is_marked_and_named(stage: Stage) -> None:
    stage.bling.revoke("filial")
    stage.bling.sell("matriz", "CANECA", 1, SHELF)
    look(stage, rounds=2)

    assert Account.get(Account.key == "filial").state == "reconnect"
    assert shown(stage) == [12, 13, 12]
    assert (items()[-1].status, items()[-1].error) == ("partial", "reconnect")
    assert not_read(items()[-1]) == {("Filial", SHELF): "reconnect"}
    assert DirtySku.select().count() == 0


def test_a_token_refused_once_is_renewed_in_passing(stage: Stage) -> None:
    stage.bling.faults.set("unauthorized", next=1, account="filial")
    stage.bling.sell("matriz", "CANECA", 2, SHELF)
    look(stage)

    assert shown(stage) == [11, 11, 11]
    assert items()[-1].status == "ok"


# A write whose outcome nobody knows


LOST = [("cut_before", False), ("error_500", False), ("cut_after", True), ("error_500_after", True)]


def settle_once(stage: Stage, times: int = 1, *, is_told: bool = True) -> None:
    """One settling of what is dirty, with all that Bling told so far, or with none of it."""
    for _ in range(times):
        while is_told and stage.bling.pump():
            pass
        inbox.sort_inbox(stage.organization.id)
        DirtySku.update(due_at=utcnow() - timedelta(seconds=1)).execute()
        settle.settle_due(stage.organization.id)


def lose_a_write(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write to Filial's shop is not applied, and what happens from now on is no event of its own."""
    for name in ("PROMPT", "CLOCKS_APART"):
        monkeypatch.setattr(core.doubt, name, timedelta(0))
        monkeypatch.setattr(doubts, name, timedelta(0))
    stage.bling.faults.set("cut_before", next=1, account="filial")
    stage.bling.sell("matriz", "CANECA", 2, SHELF)
    settle_once(stage)
    time.sleep(0.05)


def lost() -> StockWrite:
    """The one write whose answer was lost."""
    return StockWrite.get((StockWrite.state == "unknown") | StockWrite.evidence.is_null(False))


@pytest.mark.parametrize(("fault", "was_applied"), LOST)
@pytest.mark.usefixtures("faults_hit_writes_only")
def test_an_unknown_outcome_stops_the_cell_and_nothing_else(
    stage: Stage, config: Config, monkeypatch: pytest.MonkeyPatch, fault: str, was_applied: bool
) -> None:
    stage.bling.faults.set(fault, next=1, account="filial")
    stage.bling.sell("matriz", "CANECA", 2, SHELF)
    set_window(monkeypatch, config, 60)
    synchronize_once(stage, "CANECA")

    assert shown(stage) == [11, 11 if was_applied else 13, 11]
    assert (lost().state, lost().account.key, lost().quantity) == ("unknown", "filial", -2)
    assert (items()[-1].status, items()[-1].error) == ("retry", "unknown_write")
    asked = posts(stage, "filial")

    stage.bling.sell("avulsa", "CANECA", 1, SHOP)
    stage.bling.sell("filial", "BONE", 1, SHELF)
    synchronize_once(stage, "BONE")
    synchronize_once(stage, "CANECA")

    assert shown(stage, "BONE") == [12, 12, 12]
    assert posts(stage, "filial") == asked + 1, "BONE's write, and none for the cell in doubt"

    set_window(monkeypatch, config, 0)
    look(stage, rounds=3, is_told=False)

    assert (shown(stage), on_shelves(stage)) == ([10, 10, 10], 10)
    assert lost().state == ("confirmed" if was_applied else "cancelled")
    assert {item.status for item in items()} == {"ok"}
    assert overview.status(stage.organization)["writes"] == {"pending": 0, "unknown": 0, "review": 0}


@pytest.mark.parametrize(("fault", "was_applied"), LOST)
@pytest.mark.parametrize("is_told", [True, False])
@pytest.mark.usefixtures("faults_hit_writes_only")
def test_a_write_back_in_doubt_is_settled_exactly(stage: Stage, fault: str, was_applied: bool, is_told: bool) -> None:
    stage.bling.sell("filial", "CANECA", 2, SHOP)
    stage.bling.faults.set(fault, next=1, account="filial")
    settle_once(stage)
    settle_once(stage, times=3, is_told=is_told)

    assert (shown(stage), on_shelves(stage)) == ([11, 11, 11], 11)
    assert lost().state == ("confirmed" if was_applied else "cancelled")
    assert lost().evidence == ("event" if was_applied and is_told else "level")
    applied = (StockWrite.purpose == "write_back") & (StockWrite.state == "confirmed")
    assert [write.quantity for write in StockWrite.select().where(applied)] == [-2]


@pytest.mark.usefixtures("faults_hit_writes_only")
def test_a_sale_on_a_cell_in_doubt_lowers_the_others_at_once(
    stage: Stage, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.bling.faults.set("cut_before", next=1, account="filial")
    stage.bling.sell("matriz", "CANECA", 2, SHELF)
    set_window(monkeypatch, config, 60)
    settle_once(stage)

    stage.bling.sell("filial", "CANECA", 1, SHOP)
    settle_once(stage)

    assert [stage.shown(account, "CANECA") for account in ("matriz", "avulsa")] == [10, 10]


@pytest.mark.parametrize(("fault", "was_applied"), LOST)
@pytest.mark.usefixtures("faults_hit_writes_only")
def test_a_sale_that_nobody_told_of_beside_a_write_in_doubt_is_a_case_for_a_person(
    stage: Stage, fault: str, was_applied: bool
) -> None:
    stage.bling.faults.set(fault, next=1, account="filial")
    stage.bling.sell("matriz", "CANECA", 2, SHELF)
    synchronize_once(stage, "CANECA")
    stage.bling.sell("filial", "CANECA", 5, SHOP)
    look(stage, rounds=3, is_told=False)

    # 13 - 2 - 5 is right; where the decrease was applied, it is counted as a sale until somebody says so.
    short = 2 if was_applied else 0
    assert shown(stage) == [6 - short] * 3
    assert (lost().state, lost().evidence, lost().found) == ("cancelled", "smaller_pool", 8 - 2 * was_applied)
    assert items()[-1].status == "review"
    assert overview.status(stage.organization)["writes"]["review"] == 1

    decided = settle_undecided(lost(), was_applied, None)
    again = settle_undecided(lost(), not was_applied, None)
    look(stage, rounds=2, is_told=False)

    assert (decided, again) == (True, False)
    assert (shown(stage), on_shelves(stage)) == ([6] * 3, 6)
    assert (lost().state, lost().evidence) == ("confirmed" if was_applied else "cancelled", "person")
    assert overview.status(stage.organization)["writes"]["review"] == 0


@pytest.mark.parametrize(("fault", "was_applied"), LOST)
@pytest.mark.usefixtures("faults_hit_writes_only")
def test_an_increase_that_nothing_settles_counts_as_applied(stage: Stage, fault: str, was_applied: bool) -> None:
    stage.bling.faults.set(fault, next=1, account="filial")
    stage.bling.receive("matriz", "CANECA", 2, SHELF)
    synchronize_once(stage, "CANECA")
    stage.bling.sell("filial", "CANECA", 5, SHOP)
    look(stage, rounds=3, is_told=False)

    short = 0 if was_applied else 2
    assert shown(stage) == [10 - short] * 3
    assert (lost().state, lost().evidence) == ("confirmed", "smaller_pool")

    assert settle_undecided(lost(), was_applied, None)
    look(stage, rounds=2, is_told=False)

    assert (shown(stage), on_shelves(stage)) == ([10] * 3, 10)


@pytest.mark.usefixtures("faults_hit_writes_only")
def test_an_event_that_comes_late_settles_what_was_undecided(stage: Stage) -> None:
    stage.bling.faults.set("cut_after", next=1, account="filial")
    stage.bling.sell("matriz", "CANECA", 2, SHELF)
    settle_once(stage)
    stage.bling.sell("filial", "CANECA", 5, SHOP)
    settle.settle_due(stage.organization.id)
    DirtySku.update(due_at=utcnow() - timedelta(seconds=1)).execute()
    while settle.settle_due(stage.organization.id):
        pass
    assert lost().evidence == "smaller_pool"

    look(stage, rounds=3)

    assert (lost().state, lost().evidence) == ("confirmed", "event")
    assert (shown(stage), on_shelves(stage)) == ([6] * 3, 6)
    assert overview.status(stage.organization)["writes"]["review"] == 0


@pytest.mark.usefixtures("faults_hit_writes_only")
def test_an_event_that_comes_late_corrects_what_the_balance_alone_had_settled(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody sells exactly as much as the write that failed would have taken away, and we hear of it too late."""
    lose_a_write(stage, monkeypatch)
    stage.bling.sell("filial", "CANECA", 2, SHOP)
    look(stage, rounds=2, is_told=False)
    assert (lost().state, lost().evidence) == ("confirmed", "level")

    look(stage, rounds=3)

    assert (lost().state, lost().evidence) == ("cancelled", "chain")
    assert (shown(stage), on_shelves(stage)) == ([9] * 3, 9)


@pytest.mark.usefixtures("faults_hit_writes_only")
def test_what_happens_while_a_balance_is_on_its_way_to_us_is_no_write_of_ours(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody sells exactly as much as was not written, after we asked for the balance, before Bling looks it up."""
    lose_a_write(stage, monkeypatch)
    get_balances = BlingClient.get_balances

    def sell_meanwhile(client: BlingClient, *what: Any) -> Any:
        if client._account_id == stage.accounts["filial"].id:
            time.sleep(0.05)
            stage.bling.sell("filial", "CANECA", 2, SHOP)
        return get_balances(client, *what)

    with monkeypatch.context() as patched:
        patched.setattr(BlingClient, "get_balances", sell_meanwhile)
        settle_once(stage, is_told=False)
    assert (lost().state, lost().evidence) == ("confirmed", "level")

    look(stage, rounds=3)

    assert (lost().state, lost().evidence) == ("cancelled", "chain")
    assert (shown(stage), on_shelves(stage)) == ([9] * 3, 9)


@pytest.mark.usefixtures("faults_hit_writes_only")
def test_a_count_that_is_told_late_leaves_what_the_balance_had_settled_to_a_person(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_a_write(stage, monkeypatch)
    stage.bling.count("filial", "CANECA", 11, SHOP)
    look(stage, rounds=2, is_told=False)
    assert (lost().state, lost().evidence) == ("confirmed", "level")

    look(stage, rounds=3)

    assert (lost().state, lost().evidence) == ("cancelled", "smaller_pool")
    assert (shown(stage), on_shelves(stage)) == ([9] * 3, 9)


@pytest.mark.usefixtures("faults_hit_writes_only")
def test_a_check_of_everything_settles_a_write_in_doubt_that_was_left(stage: Stage) -> None:
    stage.bling.faults.set("cut_after", next=1, account="filial")
    stage.bling.sell("matriz", "CANECA", 2, SHELF)
    synchronize_once(stage, "CANECA")
    DirtySku.delete().execute()

    synchronize(stage, type_=RunType.CRON)

    assert (lost().state, lost().evidence) == ("confirmed", "level")


# A write that was not applied


@pytest.mark.usefixtures("faults_hit_writes_only")
@pytest.mark.both_databases
def test_a_write_refused_for_its_token_leaves_again_with_a_new_one(stage: Stage) -> None:
    stage.bling.faults.set("unauthorized", next=1, account="filial")
    stage.bling.sell("matriz", "CANECA", 2, SHELF)
    asked = posts(stage, "filial")
    look(stage)

    assert (shown(stage), items()[-1].status) == ([11, 11, 11], "ok")
    assert posts(stage, "filial") == asked + 2
    write = StockWrite.select().join(Account).where((Account.key == "filial") & (StockWrite.quantity == -2)).get()
    assert (write.state, write.attempts) == ("confirmed", 2)


@pytest.mark.usefixtures("faults_hit_writes_only")
@pytest.mark.parametrize("fault", ["rate_limited", "unauthorized"])
@pytest.mark.both_databases
def test_a_write_that_surely_did_not_happen_is_planned_again(stage: Stage, fault: str) -> None:
    stage.bling.faults.set(fault, 1.0, account="filial")
    stage.bling.sell("matriz", "CANECA", 2, SHELF)
    look(stage)

    assert shown(stage) == [11, 13, 11]
    assert items()[-1].status == "retry"
    assert DirtySku.get().due_at > utcnow()

    stage.bling.faults.clear()
    Account.update(refresh_lease=None, refresh_lease_until=None).execute()
    look(stage)

    assert (shown(stage), items()[-1].status) == ([11, 11, 11], "ok")
    assert len(stage.bling.movements("filial", "CANECA", "api")) == 2
    assert StockWrite.select().where(StockWrite.state.in_(("planned", "sending", "unknown"))).count() == 0


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, str]]:
    """(account, deposit) whose movements Bling refuses with 400; empty it to mend the cause."""
    check = sandbox.api.check_movement
    places: set[tuple[str, str]] = set()

    def check_place(product: Any, deposit: Any, *rest: Any) -> None:
        if (deposit.account, deposit.name) in places:
            raise SandboxError("O depósito está em inventário.")
        check(product, deposit, *rest)

    monkeypatch.setattr(sandbox.api, "check_movement", check_place)
    return places


def test_a_refused_write_is_shown_and_not_repeated(stage: Stage, refused: set[tuple[str, str]]) -> None:
    refused.add(("filial", SHOP))
    stage.bling.sell("matriz", "CANECA", 2, SHELF)
    look(stage)

    assert shown(stage) == [11, 13, 11]
    assert items()[-1].status == "partial"
    assert "O depósito está em inventário." in items()[-1].error
    asked = posts(stage, "filial")

    for _ in range(3):
        stage.bling.sell("matriz", "CANECA", 1, SHELF)
        look(stage)
    synchronize(stage, type_=RunType.CRON)

    assert shown(stage) == [8, 13, 8]
    assert posts(stage, "filial") == asked
    assert (items()[-1].status, items()[-1].error) == ("partial", "rejected")


def test_a_person_may_have_a_refused_write_tried_again(stage: Stage, refused: set[tuple[str, str]]) -> None:
    refused.add(("filial", SHOP))
    stage.bling.sell("matriz", "CANECA", 2, SHELF)
    look(stage)
    refused.clear()

    run = synchronize(stage, "CANECA")

    assert (shown(stage), run.status) == ([11, 11, 11], "ok")
    assert Cell.select().where(Cell.problem.is_null(False)).count() == 0


def rejected() -> list[tuple[str, Decimal]]:
    writes = StockWrite.select().where(StockWrite.state == "rejected").order_by(StockWrite.id)
    return [(write.account.key, write.quantity) for write in writes]


def test_a_refused_write_back_stays_owed(stage: Stage, refused: set[tuple[str, str]]) -> None:
    """Each shelf is asked once; then the debt waits for a person, and nobody sells what is owed."""
    refused.update({("matriz", SHELF), ("filial", SHELF)})
    stage.bling.sell("matriz", "CANECA", 2, SHOP)
    look(stage)

    assert (shown(stage), on_shelves(stage)) == ([11, 11, 11], 13)
    assert (Pool.get(Pool.sku == "CANECA").owed, items()[-1].status) == (-2, "partial")

    for _ in range(2):
        stage.bling.sell("matriz", "CANECA", 1, SHOP)
        look(stage, rounds=2)
    synchronize(stage, type_=RunType.CRON)
    assert (shown(stage), on_shelves(stage)) == ([9, 9, 9], 13)
    assert (Pool.get(Pool.sku == "CANECA").owed, rejected()) == (-4, [("matriz", -2), ("filial", -3)])

    refused.clear()
    synchronize(stage, "CANECA")
    assert (shown(stage), on_shelves(stage)) == ([9, 9, 9], 9)
    assert Pool.get(Pool.sku == "CANECA").owed == 0


@pytest.mark.both_databases
def test_what_one_source_refuses_the_next_one_takes(stage: Stage, refused: set[tuple[str, str]]) -> None:
    refused.add(("matriz", SHELF))
    stage.bling.sell("matriz", "CANECA", 2, SHOP)
    look(stage)
    stage.bling.sell("avulsa", "CANECA", 1, SHOP)
    look(stage, rounds=2)

    assert (shown(stage), on_shelves(stage)) == ([10, 10, 10], 10)
    assert (Pool.get(Pool.sku == "CANECA").owed, rejected()) == (0, [("matriz", -2)])


# Workers that die or come late


@pytest.mark.both_databases
def test_writes_planned_by_a_worker_that_died_are_made_by_the_next(stage: Stage) -> None:
    def die(*_: object) -> None:
        raise Killed

    written = StockWrite.select().where(StockWrite.state == "confirmed").count()
    stage.bling.sell("filial", "CANECA", 2, SHOP)
    with pytest.raises(Killed):
        settle_with(stage, die)
    assert {write.state for write in StockWrite.select().where(StockWrite.ended_at.is_null())} == {"planned"}
    assert (shown(stage), on_shelves(stage)) == ([13, 11, 13], 13)

    look(stage)
    assert shown(stage) == [13, 11, 13], "the lease of the dead still holds"

    expire_leases()
    look(stage, rounds=2)

    assert (shown(stage), on_shelves(stage)) == ([11, 11, 11], 11)
    assert StockWrite.select().where(StockWrite.state == "confirmed").count() == written + 3
    assert RunItem.select().where(RunItem.finished_at.is_null()).count() == 0


@pytest.mark.parametrize("has_left", [False, True])
def test_a_write_on_its_way_when_its_worker_died_is_in_doubt(stage: Stage, has_left: bool) -> None:
    def die(client: Any, order: MovementOrder, before_leaving: Callable[[], None]) -> None:
        if has_left:
            client.create_movement(order, before_leaving=before_leaving)
        else:
            before_leaving()
        raise Killed

    stage.bling.sell("filial", "CANECA", 2, SHOP)
    with pytest.raises(Killed):
        settle_with(stage, die)
    expire_leases()
    look(stage, rounds=2)

    assert (shown(stage), on_shelves(stage)) == ([11, 11, 11], 11)
    assert (lost().purpose, lost().attempts) == ("write_back", 1)
    assert lost().state == ("confirmed" if has_left else "cancelled")
    assert items()[-1].status == "ok"


@pytest.mark.both_databases
def test_who_wakes_up_late_sends_nothing(stage: Stage) -> None:
    """The worker stops right before its first write leaves; another one takes over; then the first one goes on."""
    slept: list[bool] = []

    def sleep_long(client: Any, order: MovementOrder, before_leaving: Callable[[], None]) -> int | None:
        if not slept:
            slept.append(True)
            expire_leases()
            look(stage)
        movement: int | None = client.create_movement(order, before_leaving=before_leaving)
        return movement

    stage.bling.sell("filial", "CANECA", 2, SHOP)
    asked = posts(stage)
    settle_with(stage, sleep_long)
    look(stage, rounds=2)

    assert (shown(stage), on_shelves(stage)) == ([11, 11, 11], 11)
    assert posts(stage) == asked + 3


@pytest.mark.both_databases
def test_who_stands_still_after_it_said_that_it_sends_does_not_send(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_hold, asked = writes.hold, posts(stage)

    def hold_long(claim: Claim) -> None:
        real_hold(claim)
        time.sleep(0.1)

    stage.bling.sell("filial", "CANECA", 2, SHOP)
    with monkeypatch.context() as patched:
        patched.setattr("bling.transport.LEAVE_WITHIN_S", 0.05)
        patched.setattr(writes, "hold", hold_long)
        look(stage)
    assert (posts(stage), shown(stage)) == (asked, [13, 11, 13])

    look(stage, rounds=2)

    assert (shown(stage), on_shelves(stage)) == ([11, 11, 11], 11)
    assert (posts(stage), Pool.get(Pool.sku == "CANECA").owed) == (asked + 3, 0)


@pytest.mark.both_databases
def test_an_answer_that_comes_late_corrects_what_the_balance_had_settled(stage: Stage) -> None:
    """While the worker stops, somebody receives what the write took away, and no event has told of it yet."""
    settled: list[tuple[str, str]] = []

    def sleep_long(client: Any, order: MovementOrder, before_leaving: Callable[[], None]) -> int | None:
        movement: int | None = client.create_movement(order, before_leaving=before_leaving)
        if not settled:
            [account] = [key for key, row in stage.accounts.items() if row.id == client._account_id]
            stage.bling.receive(account, "CANECA", abs(order.quantity), SHOP)
            expire_leases()
            look(stage, rounds=2, is_told=False)
            settled.append((lost().state, lost().evidence))
        return movement

    stage.bling.sell("matriz", "CANECA", 2, SHELF)
    settle_with(stage, sleep_long)
    assert settled == [("cancelled", "level")]
    assert (lost().state, lost().evidence) == ("confirmed", "answer")

    look(stage, rounds=3)

    assert (shown(stage), on_shelves(stage)) == ([13, 13, 13], 13)


@pytest.mark.both_databases
def test_an_answer_that_comes_late_settles_the_doubt(stage: Stage) -> None:
    """The worker stops while it waits for the answer; another one takes over and finds the write in doubt."""
    slept: list[str] = []

    def sleep_long(client: Any, order: MovementOrder, before_leaving: Callable[[], None]) -> int | None:
        movement: int | None = client.create_movement(order, before_leaving=before_leaving)
        if not slept:
            expire_leases()
            look(stage)
            slept.append(lost().evidence)
        return movement

    stage.bling.sell("filial", "CANECA", 2, SHOP)
    settle_with(stage, sleep_long)
    look(stage, rounds=2)
    synchronize(stage, type_=RunType.CRON)

    assert slept == ["event"]
    assert (shown(stage), on_shelves(stage)) == ([11, 11, 11], 11)
    assert {write.state for write in StockWrite.select()} == {"confirmed", "cancelled"}
    assert Pool.get(Pool.sku == "CANECA").problem is None
