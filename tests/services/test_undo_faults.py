"""Undoing when Bling misbehaves and workers die: each movement once, and nothing owed that an undo failed to bring."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from peewee import Database

import sandbox.api
from clock import utcnow
from config import Config
from core.values import MovementOrder
from models import Account, Cell, DirtySku, ItemDeposit, Pool, Run, RunItem, StockWrite, User
from sandbox import Bling, SandboxError
from services import settle
from services.derivations import derive
from services.undo import Selection, plan, start_undo
from tests.factories import make_user
from tests.stage import ACCOUNTS, SHELF, SHOP, Stage, look, set_window, staged
from tests.trouble import Killed, expire_leases, hit_writes_only, mend, settle_with, skip_waits

pytestmark = pytest.mark.stories

FULL = {"matriz": {SHELF: 8, SHOP: 1}, "filial": {SHELF: 5, SHOP: 3}, "avulsa": {SHELF: 0, SHOP: 0}}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    skip_waits(monkeypatch)


@pytest.fixture
def stage(database: Database, config: Config, bling: Bling) -> Iterator[Stage]:
    with staged(config, bling, {"CANECA": FULL, "BONE": FULL}, window_s=0) as stage:
        stage.rule()
        yield stage


@pytest.fixture
def ana(stage: Stage) -> User:
    return make_user(stage.organization, name="Ana")


@pytest.fixture
def faults_hit_writes_only(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    hit_writes_only(stage.bling, monkeypatch)


def begin(stage: Stage, user: User, *, stop: bool = True, sku: str | None = None) -> Run:
    """Consent to the undo of the latest synchronization, or of a SKU; no worker has seen it yet."""
    latest = Run.select().where(Run.undoes.is_null()).order_by(Run.id.desc()).get()
    seen = plan(stage.organization, Selection(sku=sku) if sku else Selection(run_id=latest.id))
    rules = [choice.group.id for choice in seen.choices] if stop else []
    return start_undo(stage.organization, user, seen.selection, seen.fingerprint, rules)


def shown(stage: Stage, sku: str = "CANECA") -> list[Any]:
    return [stage.physical(account, sku, SHOP) for account in ACCOUNTS]


def fate(run: Run, sku: str = "CANECA") -> tuple[str, str | None]:
    item = RunItem.get((RunItem.run == run.id) & (RunItem.sku == sku))
    return item.status, item.error


def written(run: Run) -> list[StockWrite]:
    made = StockWrite.select().join(RunItem, on=(StockWrite.item == RunItem.id)).where(RunItem.run == run.id)
    return list(made.order_by(StockWrite.id))


def in_hand() -> int:
    count: int = StockWrite.select().where(StockWrite.undo_item_id.is_null(False)).count()
    return count


@pytest.mark.parametrize("fault", ["error_500", "unauthorized", "cut_read"])
def test_a_balance_that_cannot_be_read_is_tried_a_few_times_then_refused(stage: Stage, ana: User, fault: str) -> None:
    run = begin(stage, ana)
    stage.bling.faults.set(fault, 1.0, account="avulsa")

    look(stage)
    assert fate(run) == ("retry", "unreadable")
    assert shown(stage) == [1, 3, 13], "those that are lowered do not wait for the others"

    look(stage, rounds=6)
    assert fate(run) == ("partial", "unreadable")
    assert (shown(stage), Run.get_by_id(run.id).status) == ([1, 3, 13], "partial")
    assert in_hand() == 4


def test_what_could_not_be_read_for_a_moment_is_undone_after_it(stage: Stage, ana: User) -> None:
    run = begin(stage, ana)
    stage.bling.faults.set("error_500", 1.0, account="avulsa")
    look(stage)
    stage.bling.faults.clear()
    look(stage)

    assert (shown(stage), fate(run)) == ([1, 3, 0], ("ok", None))


def test_nothing_is_raised_while_a_source_cannot_be_read(stage: Stage, ana: User) -> None:
    """What is put back would be more than before: without knowing what was sold, it is not."""
    first = begin(stage, ana)
    look(stage)
    seen = plan(stage.organization, Selection(run_id=first.id))
    stage.bling.sell("filial", "BONE", 5, SHELF)
    stage.bling.faults.set("error_500", 1.0, account="filial")
    again = start_undo(stage.organization, ana, seen.selection, seen.fingerprint, ())
    look(stage, rounds=7)

    assert shown(stage) == [1, 3, 0]
    assert fate(again) == ("failed", "unreadable")

    mend(stage)
    seen = plan(stage.organization, Selection(run_id=first.id))
    again = start_undo(stage.organization, ana, seen.selection, seen.fingerprint, ())
    look(stage, rounds=2)
    assert (shown(stage, "CANECA"), shown(stage, "BONE")) == ([13, 13, 13], [1, 3, 0])
    assert fate(again, "BONE") == ("failed", "undo_moved")


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


@pytest.mark.both_databases
def test_what_bling_refuses_is_said_and_owed_to_nobody(stage: Stage, ana: User, refused: set[tuple[str, str]]) -> None:
    stage.bling.sell("filial", "CANECA", 2, SHOP)
    look(stage)
    refused.add(("filial", SHELF))

    run = begin(stage, ana, stop=False)
    look(stage, rounds=2)

    status, error = fate(run)
    assert (status, "O depósito está em inventário." in (error or "")) == ("failed", True)
    assert Pool.get(Pool.sku == "CANECA").owed == 0
    assert (shown(stage), stage.physical("filial", "CANECA")) == ([11, 11, 11], 3)
    assert in_hand() == 0
    assert "inventário" in ItemDeposit.get((ItemDeposit.role == "source") & ItemDeposit.error.contains("inv")).error

    refused.clear()
    Cell.update(problem=None).execute()
    again = begin(stage, ana, stop=False)
    look(stage, rounds=2)
    assert (fate(again)[0], stage.physical("filial", "CANECA"), shown(stage)) == ("partial", 5, [13, 13, 13])


@pytest.mark.usefixtures("refused")
@pytest.mark.both_databases
def test_where_bling_refused_before_nothing_is_undone(stage: Stage, ana: User) -> None:
    at = Cell.select().join(Account).where((Account.key == "filial") & (Cell.deposit == stage.deposit("filial", SHOP)))
    Cell.update(problem="rejected").where(Cell.id.in_([cell.id for cell in at])).execute()

    run = begin(stage, ana)
    look(stage)

    assert (shown(stage), fate(run)) == ([1, 13, 0], ("partial", "rejected"))


@pytest.mark.usefixtures("faults_hit_writes_only")
@pytest.mark.parametrize("fault", ["rate_limited", "unauthorized"])
def test_a_movement_that_surely_did_not_happen_is_made_again(stage: Stage, ana: User, fault: str) -> None:
    run = begin(stage, ana)
    stage.bling.faults.set(fault, 1.0, account="filial")
    look(stage)
    assert (shown(stage), fate(run)[0]) == ([1, 13, 0], "retry")

    stage.bling.faults.clear()
    Account.update(refresh_lease=None, refresh_lease_until=None).execute()
    look(stage)
    assert (shown(stage), fate(run)) == ([1, 3, 0], ("ok", None))


# Of unknown outcome


@pytest.mark.usefixtures("faults_hit_writes_only")
@pytest.mark.parametrize(("fault", "was_applied"), [("cut_before", False), ("cut_after", True)])
def test_a_source_that_may_have_been_lowered_lowers_the_pool_at_once(
    stage: Stage, ana: User, config: Config, monkeypatch: pytest.MonkeyPatch, fault: str, was_applied: bool
) -> None:
    """Five came in on a target and were written back; the undo of that may have taken them, or not."""
    stage.bling.receive("filial", "CANECA", 5, SHOP)
    look(stage)
    assert shown(stage) == [18, 18, 18]
    stage.bling.faults.set(fault, next=1, account="filial")

    set_window(monkeypatch, config, 60)
    run = begin(stage, ana, stop=False)
    look(stage, rounds=2, is_told=False)

    assert fate(run) == ("retry", "unknown_write")
    assert stage.physical("filial", "CANECA") == (5 if was_applied else 10)
    assert shown(stage) == [13, 13, 13]
    derivation = derive(stage.organization, "CANECA")
    assert derivation is not None
    [pool] = derivation.pools
    named = [(term.kind.value, term.quantity) for term in pool.terms]
    assert (pool.available, sorted(named)) == (13, [("shelf", 8), ("shelf", 10), ("under_way", -5)])
    assert Pool.get(Pool.sku == "CANECA").owed == 0

    set_window(monkeypatch, config, 0)
    look(stage, rounds=3, is_told=False)

    assert fate(run) == ("partial", "undo_rewritten"), "the rule goes on writing to its targets"
    assert (stage.physical("filial", "CANECA"), shown(stage)) == (5, [13, 13, 13])


@pytest.mark.usefixtures("faults_hit_writes_only")
@pytest.mark.parametrize("fault", ["cut_before", "cut_after"])
@pytest.mark.both_databases
def test_a_source_that_may_have_been_raised_raises_nothing_before_it_is_known(
    stage: Stage, ana: User, fault: str
) -> None:
    stage.bling.sell("filial", "CANECA", 2, SHOP)
    look(stage)
    stage.bling.faults.set(fault, next=1, account="filial")

    begin(stage, ana, stop=False)
    DirtySku.update(due_at=utcnow() - timedelta(seconds=1)).execute()
    settle.settle_due(stage.organization.id)

    [undoing] = StockWrite.select().where(StockWrite.state == "unknown")
    assert (undoing.quantity, undoing.purpose) == (2, "target")
    assert shown(stage) == [11, 11, 11]


# Workers that die


@pytest.mark.parametrize("made", [0, 1, 2])
@pytest.mark.both_databases
def test_a_worker_that_dies_half_way_is_followed_by_another(stage: Stage, ana: User, made: int) -> None:
    run = begin(stage, ana, sku="CANECA")
    count = iter(range(10))

    def die_after(client: Any, order: MovementOrder, before_leaving: Callable[[], None]) -> int | None:
        if next(count) == made:
            raise Killed
        movement: int | None = client.create_movement(order, before_leaving=before_leaving)
        return movement

    with pytest.raises(Killed):
        settle_with(stage, die_after)
    assert len([write for write in written(run) if write.state == "confirmed"]) == made
    look(stage)
    assert fate(run)[0] == "running", "the lease of the dead still holds"

    expire_leases()
    look(stage, rounds=2)

    assert (shown(stage), fate(run)) == ([1, 3, 0], ("ok", None))
    assert len([write for write in written(run) if write.state == "confirmed"]) == 3
    assert {write.state for write in written(run)} <= {"confirmed", "cancelled"}
    assert Run.get_by_id(run.id).status == "ok"


@pytest.mark.both_databases
def test_a_worker_that_dies_before_it_said_how_it_ended_undoes_nothing_twice(
    stage: Stage, ana: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begin(stage, ana, sku="CANECA")
    with monkeypatch.context() as patched:
        patched.setattr(settle, "conclude", lambda case: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            settle.settle_due(stage.organization.id)
    assert shown(stage) == [1, 3, 0]

    expire_leases()
    look(stage, rounds=2)

    assert (shown(stage), fate(run)) == ([1, 3, 0], ("ok", None))
    assert len(written(run)) == 3


def test_a_worker_that_is_told_to_end_leaves_the_rest_to_the_next(stage: Stage, ana: User) -> None:
    run = begin(stage, ana, sku="CANECA")
    asked = iter([False, True])
    settle.settle_due(stage.organization.id, should_stop=lambda: next(asked, True))
    assert len([write for write in written(run) if write.state == "confirmed"]) == 1

    look(stage)

    assert (shown(stage), fate(run)) == ([1, 3, 0], ("ok", None))


@pytest.mark.both_databases
def test_books_that_change_under_the_decision_stop_it(stage: Stage, ana: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that came late changes the books between the look and its commit: nothing is written on old ones."""
    run = begin(stage, ana, sku="CANECA")
    target = Cell.get((Cell.deposit == stage.deposit("avulsa", SHOP)) & (Cell.pool == Pool.get(Pool.sku == "CANECA")))
    decide = settle.undoing.decide
    once: list[bool] = []

    def decide_then_change(*arguments: Any) -> None:
        decide(*arguments)
        if not once:
            once.append(True)
            Cell.update(accounted=Cell.accounted + 1).where(Cell.id == target.id).execute()

    monkeypatch.setattr(settle.undoing, "decide", decide_then_change)
    look(stage, rounds=2)

    assert shown(stage) == [13, 13, 13]
    assert (fate(run), written(run)) == (("failed", "undo_moved"), [])


def test_a_second_undo_does_not_reach_past_the_first(stage: Stage, ana: User) -> None:
    stage.bling.sell("matriz", "CANECA", 2, SHELF)
    look(stage)
    first = begin(stage, ana)

    second = plan(stage.organization, Selection(sku="CANECA"))
    assert {one.undo.refusal for item in second.items for one in item.cells} == {"undo_rewritten"}

    look(stage)
    assert (fate(first), shown(stage)) == (("ok", None), [13, 13, 13])
