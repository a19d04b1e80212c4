"""The guard: a check that would lower too much writes nothing until a named person says so; sales go on meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
from peewee import Database

import db
from clock import utcnow
from config import Config
from models import (
    DirtySku,
    Event,
    GroupDeposit,
    ItemDrop,
    Product,
    Run,
    RunItem,
    RunType,
    StockGroup,
    User,
)
from sandbox import Bling
from services import guards, reconcile, settle
from services.activation import activate_group
from services.catalog import refresh_account
from services.dirty import mark_forgotten
from services.groups import deactivate_group
from services.overview import status
from services.runs import RULES, SCAN_ENDED, start_run
from tests.factories import make_group, make_organization, make_run, make_user
from tests.stage import SHELF, SHOP, Stage, staged

pytestmark = pytest.mark.stories

SKUS = tuple(f"SKU-{number}" for number in range(1, 5))
ACCOUNTS = ("matriz", "filial")
TARGETS = [("matriz", SHOP), ("filial", SHOP)]
FULL = {"matriz": {SHELF: 10, SHOP: 0}, "filial": {SHOP: 0}}


@pytest.fixture
def stage(database: Database, config: Config, bling: Bling) -> Iterator[Stage]:
    """Four SKUs of which 10 are shown; more than one of them and more than 30 % are too many to be lowered unasked."""
    with staged(config, bling, dict.fromkeys(SKUS, FULL), window_s=0, accounts=ACCOUNTS) as stage:
        stage.rule([("matriz", SHELF)], TARGETS, guard_min_skus=1, guard_percent=Decimal(30))
        stage.deliver()
        yield stage


@pytest.fixture
def ana(stage: Stage) -> User:
    return make_user(stage.organization, name="Ana")


def vanish(stage: Stage, *skus: str, quantity: int = 4) -> None:
    """Stock leaves the shelf and no webhook tells of it."""
    stage.bling.faults.set("webhook_lost", 1.0)
    for sku in skus:
        stage.bling.sell("matriz", sku, quantity, SHELF)
    stage.bling.faults.clear()


def appear(stage: Stage, *skus: str, quantity: int = 4) -> None:
    stage.bling.faults.set("webhook_lost", 1.0)
    for sku in skus:
        stage.bling.receive("matriz", sku, quantity, SHELF)
    stage.bling.faults.clear()


def check(stage: Stage, type_: RunType = RunType.CRON, skus: list[str] | None = None, **values: object) -> Run:
    """A check of everything, carried as far as it goes by itself."""
    run = start_run(stage.organization, type_, skus=skus, **values)
    stage.settle()
    return fresh(run)


def held(stage: Stage, *skus: str) -> Run:
    vanish(stage, *(skus or SKUS[:2]))
    run = check(stage)
    assert run.status == "held"
    return run


def fresh(run: Run) -> Run:
    return Run.get_by_id(run.id)


def statuses(run: Run) -> dict[str, str]:
    return {item.sku: item.status for item in RunItem.select().where(RunItem.run == run.id)}


def shown(stage: Stage) -> list[Decimal]:
    return [stage.shown("filial", sku) for sku in SKUS]


class TestJudging:
    def test_a_mass_drop_is_held_and_nothing_is_written(self, stage: Stage) -> None:
        written = stage.writes()
        vanish(stage, *SKUS[:2])

        run = check(stage)

        assert (run.status, run.finished_at, run.cursor) == ("held", None, SCAN_ENDED)
        assert statuses(run) == dict.fromkeys(SKUS[:2], "held")
        assert (stage.writes(), DirtySku.select().count()) == (written, 0)
        assert shown(stage) == [10] * 4
        [excess] = guards.excesses_of(run)
        assert (excess.group, excess.skus, excess.lowered, excess.zeroed) == (stage.group.name, 4, 2, 0)
        assert (excess.min_skus, excess.percent, excess.share) == (1, 30, 50)

    @pytest.mark.both_databases
    def test_the_numbers_of_the_scan_are_kept(self, stage: Stage) -> None:
        vanish(stage, SKUS[0])
        vanish(stage, SKUS[1], quantity=10)

        run = check(stage)

        drops = {
            (drop.item.sku, drop.account.key): (drop.before, drop.after, drop.is_zeroed)
            for drop in ItemDrop.select().where(ItemDrop.item.in_(RunItem.select().where(RunItem.run == run.id)))
        }
        assert drops == {
            (sku, account): (10, 0, True) if sku == SKUS[1] else (10, 6, False)
            for sku in SKUS[:2]
            for account in ACCOUNTS
        }
        assert guards.excesses_of(run)[0].zeroed == 1

    @pytest.mark.parametrize("limits", [(2, "30"), (1, "50"), (1, "100")])
    @pytest.mark.both_databases
    def test_what_its_limits_allow_goes_on(self, stage: Stage, limits: tuple[int, str]) -> None:
        StockGroup.update(guard_min_skus=limits[0], guard_percent=Decimal(limits[1])).execute()
        vanish(stage, *SKUS[:2])

        run = check(stage)

        assert (run.status, run.guard, run.decision) == ("ok", None, None)
        assert shown(stage) == [6, 6, 10, 10]
        assert ItemDrop.select().count() == 0

    def test_a_mass_rise_goes_on(self, stage: Stage) -> None:
        appear(stage, *SKUS)

        assert check(stage).status == "ok"
        assert shown(stage) == [14] * 4

    def test_nothing_is_marked_before_everything_was_seen(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        """The first SKUs alone would be no mass drop."""
        monkeypatch.setattr(reconcile, "STEP", 1)
        vanish(stage, *SKUS[:2])
        run = start_run(stage.organization, RunType.CRON, skus=None)

        marked = []
        while not reconcile.scan(run.id, turn_s=0):
            marked.append(DirtySku.select().count())

        assert marked == [0] * 4
        assert fresh(run).status == "held"

    def test_skus_of_catalogues_that_no_rule_follows_do_not_hide_a_drop(self, stage: Stage) -> None:
        """Of four followed SKUs two are half, whatever else the accounts sell."""
        for number in range(20):
            stage.bling.add_product("matriz", f"SO-MATRIZ-{number}", stock={SHELF: 1}, announce=False)
        vanish(stage, *SKUS[:2])

        run = check(stage)

        assert run.status == "held"
        assert guards.excesses_of(run)[0].skus == 4

    @pytest.mark.both_databases
    def test_products_that_are_gone_do_not_hide_a_drop(self, stage: Stage) -> None:
        Product.update(situation="deleted").where(Product.sku.in_(SKUS[1:])).execute()

        assert guards.followed_skus(stage.group) == 1

    @pytest.mark.parametrize(("type_", "reason"), [(RunType.MANUAL, None), (RunType.MANUAL, RULES)])
    def test_a_persons_check_and_that_of_a_changed_rule_are_guarded_too(
        self, stage: Stage, type_: RunType, reason: str | None
    ) -> None:
        vanish(stage, *SKUS[:2])

        assert check(stage, type_, reason=reason).status == "held"

    @pytest.mark.both_databases
    def test_a_changed_rule_that_takes_too_much_is_held(self, stage: Stage) -> None:
        GroupDeposit.update(percent=Decimal(10)).where(GroupDeposit.role == "target").execute()

        run = check(stage, RunType.MANUAL, reason=RULES)

        assert run.status == "held"
        assert guards.excesses_of(run)[0].lowered == 4
        assert shown(stage) == [10] * 4


class TestGroups:
    @pytest.mark.both_databases
    def test_only_the_skus_of_the_group_that_drops_are_held(self, stage: Stage) -> None:
        stage.bling.add_deposit("filial", "Reserva")
        for number in range(3):
            sku = f"OUTRO-{number}"
            stage.bling.add_product("filial", sku, stock={SHELF: 5, "Reserva": 0}, announce=False)
        refresh_account(stage.accounts["filial"])
        other = make_group(
            stage.organization,
            [stage.deposit("filial", SHELF)],
            [stage.deposit("filial", "Reserva")],
            is_active=False,
            name="Outra",
        )
        activate_group(other)
        stage.settle()
        vanish(stage, *SKUS[:2])
        stage.bling.faults.set("webhook_lost", 1.0)
        stage.bling.sell("filial", "OUTRO-1", 2, SHELF)
        stage.bling.faults.clear()

        run = check(stage)

        waiting = RunItem.select().where((RunItem.run == run.id) & RunItem.finished_at.is_null())
        assert {(item.sku, item.status) for item in waiting} == {(sku, "held") for sku in SKUS[:2]}
        assert run.status == "held"
        assert stage.shown("filial", "OUTRO-1", "Reserva") == 3
        assert shown(stage) == [10] * 4

    def test_the_first_run_after_an_activation_is_covered_by_the_consent(self, stage: Stage) -> None:
        deactivate_group(stage.group)
        vanish(stage, *SKUS)

        run = activate_group(StockGroup.get_by_id(stage.group.id))
        stage.settle()

        assert fresh(run).status == "ok"
        assert shown(stage) == [6] * 4

    def test_another_rule_is_not_covered_by_that_consent(self, stage: Stage) -> None:
        """What is held of one rule does not slip through because another one is activated."""
        first = held(stage, *SKUS[:2])
        stage.bling.add_deposit("filial", "Reserva")
        refresh_account(stage.accounts["filial"])
        other = make_group(
            stage.organization,
            [stage.deposit("filial", SHELF)],
            [stage.deposit("filial", "Reserva")],
            is_active=False,
        )

        run = activate_group(other)
        stage.settle()

        assert fresh(run).status == "held"
        assert [excess.group_id for excess in guards.excesses_of(fresh(run))] == [stage.group.id]
        assert fresh(first).decision == "superseded"
        assert shown(stage) == [10] * 4

    @pytest.mark.both_databases
    def test_a_rule_changed_after_its_consent_is_no_longer_covered(self, stage: Stage) -> None:
        deactivate_group(stage.group)
        vanish(stage, *SKUS)
        first = activate_group(StockGroup.get_by_id(stage.group.id))
        second = start_run(stage.organization, RunType.MANUAL, skus=None, reason=RULES)
        assert second.id != first.id

        stage.settle()

        assert (fresh(first).status, fresh(first).decision) == ("skipped", "superseded")
        assert fresh(second).status == "held"
        assert shown(stage) == [10] * 4

    def test_a_check_that_a_changed_rule_outran_gives_way(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        """Half of it was decided by a rule that is no longer there: too few to be held would slip through."""
        monkeypatch.setattr(reconcile, "STEP", 3)
        vanish(stage, SKUS[0])
        run = start_run(stage.organization, RunType.CRON, skus=None)
        reconcile.scan(run.id, turn_s=0)
        newer = start_run(stage.organization, RunType.MANUAL, skus=None, reason=RULES)

        while not reconcile.scan(run.id):
            pass

        assert (fresh(run).status, fresh(run).decision) == ("skipped", "superseded")
        assert (set(statuses(run).values()), DirtySku.select().count()) == ({"skipped"}, 0)
        stage.settle()
        assert fresh(newer).status == "ok"
        assert shown(stage) == [6, 10, 10, 10]


class TestSales:
    def test_a_sale_goes_on_while_a_run_is_held_and_ends_its_item(self, stage: Stage) -> None:
        run = held(stage)

        stage.bling.sell("filial", SKUS[0], 1, SHOP)
        stage.bling.sell("filial", SKUS[3], 1, SHOP)
        stage.deliver()

        assert shown(stage) == [5, 10, 10, 9]
        assert fresh(run).status == "held"
        assert statuses(run)[SKUS[0]] in ("ok", "unchanged")
        assert statuses(run)[SKUS[1]] == "held"

    def test_a_run_whose_skus_were_all_sold_meanwhile_is_over(self, stage: Stage) -> None:
        run = held(stage)

        for sku in SKUS[:2]:
            stage.bling.sell("filial", sku, 1, SHOP)
        stage.deliver()

        assert (fresh(run).status, fresh(run).finished_at is not None, fresh(run).decision) == ("ok", True, None)
        assert shown(stage) == [5, 5, 10, 10]

    @pytest.mark.both_databases
    def test_an_echo_of_our_own_write_is_no_sale(self, stage: Stage) -> None:
        """Bling tells of what we wrote when the SKU has long been held: it stays so."""
        stage.bling.sell("filial", SKUS[0], 1, SHOP)
        stage.deliver(settle=False)
        settle.settle_due(stage.organization.id)
        vanish(stage, *SKUS[:2])
        run = start_run(stage.organization, RunType.CRON, skus=None)
        reconcile.scan(run.id)

        stage.deliver()

        assert Event.select().where(Event.state == "echo").count() > 0
        assert statuses(run) == dict.fromkeys(SKUS[:2], "held")
        assert shown(stage) == [9, 10, 10, 10]

    def test_what_events_have_announced_does_not_count_as_lowered(self, stage: Stage) -> None:
        vanish(stage, SKUS[0])
        stage.bling.sell("matriz", SKUS[1], 4, SHELF)
        stage.deliver(settle=False)

        run = check(stage)

        assert run.status == "ok"
        assert shown(stage) == [6, 6, 10, 10]

    def test_what_is_announced_before_the_judgement_does_not_count_either(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reconcile, "STEP", 4)
        vanish(stage, *SKUS[:2])
        run = start_run(stage.organization, RunType.CRON, skus=None)
        reconcile.scan(run.id, turn_s=0)
        stage.bling.sell("matriz", SKUS[1], 1, SHELF)
        stage.deliver(settle=False)

        stage.settle()

        assert fresh(run).status == "ok"

    def test_the_sweep_takes_nothing_up_that_a_check_has_listed_and_not_judged(self, stage: Stage) -> None:
        vanish(stage, *SKUS[:2])
        run = start_run(stage.organization, RunType.CRON, skus=None)
        reconcile.scan(run.id, turn_s=0)
        assert statuses(run) == dict.fromkeys(SKUS[:2], "queued")

        mark_forgotten(utcnow() + timedelta(minutes=5))

        assert DirtySku.select().count() == 0
        reconcile.scan(run.id)
        mark_forgotten(utcnow() + timedelta(minutes=5))
        assert (fresh(run).status, DirtySku.select().count()) == ("held", 0)


class TestGivenSkus:
    def test_a_few_start_at_once(self, stage: Stage) -> None:
        vanish(stage, *SKUS)

        run = start_run(stage.organization, RunType.MANUAL, skus=[SKUS[0]])

        assert (run.cursor, DirtySku.select().count()) == (None, 1)
        stage.settle()
        assert shown(stage) == [6, 10, 10, 10]

    @pytest.mark.both_databases
    def test_more_than_a_guard_lets_pass_are_looked_at_first(self, stage: Stage) -> None:
        vanish(stage, *SKUS)

        run = start_run(stage.organization, RunType.MANUAL, skus=list(SKUS[:2]))
        assert (run.cursor, DirtySku.select().count()) == ("", 0)
        stage.settle()

        assert fresh(run).status == "held"
        assert statuses(run) == dict.fromkeys(SKUS[:2], "held")
        assert shown(stage) == [10] * 4

    def test_a_list_that_lowers_little_is_settled_as_a_whole(self, stage: Stage) -> None:
        vanish(stage, SKUS[0])

        run = check(stage, RunType.MANUAL, [*SKUS, "NAO-EXISTE"])

        assert (run.status, run.considered, run.total) == ("ok", 5, 5)
        expected = {SKUS[0]: "ok", **dict.fromkeys(SKUS[1:], "unchanged"), "NAO-EXISTE": "skipped"}
        assert statuses(run) == expected
        assert RunItem.select().where(RunItem.run == run.id).count() == 5

    @pytest.mark.both_databases
    def test_a_short_list_closes_no_check_of_everything(self, stage: Stage) -> None:
        run = held(stage)

        check(stage, RunType.MANUAL, [*SKUS[2:], "A", "B"])

        assert fresh(run).status == "held"


class TestDeciding:
    def test_what_is_approved_is_planned_afresh(self, stage: Stage, ana: User) -> None:
        run = held(stage)
        appear(stage, SKUS[0], quantity=1)

        assert guards.approve(run, ana)
        stage.settle()

        run = fresh(run)
        assert (run.status, run.decision, run.decided_by, run.user) == ("ok", "approved", ana, None)
        assert run.decided_at is not None
        assert shown(stage) == [7, 6, 10, 10]
        assert statuses(run) == dict.fromkeys(SKUS[:2], "ok")
        assert ItemDrop.select().count() == 4, "what was approved stays to be seen"

    def test_what_is_discarded_writes_nothing(self, stage: Stage, ana: User) -> None:
        run = held(stage)
        written = stage.writes()

        assert guards.discard(run, ana)
        stage.settle()

        run = fresh(run)
        assert (run.status, run.decision, run.decided_by, run.finished_at is not None) == (
            "skipped",
            "discarded",
            ana,
            True,
        )
        assert {(item.status, item.error) for item in RunItem.select().where(RunItem.run == run.id)} == {
            ("skipped", "discarded")
        }
        assert (stage.writes(), shown(stage)) == (written, [10] * 4)

    @pytest.mark.parametrize("second", [guards.approve, guards.discard])
    @pytest.mark.parametrize("first", [guards.approve, guards.discard])
    def test_the_first_decision_stands(
        self, stage: Stage, ana: User, first: Callable[[Run, User], bool], second: Callable[[Run, User], bool]
    ) -> None:
        run = held(stage)
        bia = make_user(stage.organization, name="Bia")

        assert first(run, ana)
        assert not second(run, bia)
        stage.settle()
        assert not second(run, bia)

        assert fresh(run).decided_by == ana
        assert shown(stage) == ([6, 6, 10, 10] if first is guards.approve else [10] * 4)

    @pytest.mark.both_databases
    def test_of_many_at_once_one_decides(self, stage: Stage) -> None:
        run = held(stage)
        people = [make_user(stage.organization) for _ in range(4)]
        start = threading.Barrier(4)
        decided: list[tuple[User, str]] = []

        def decide(user: User, decision: Callable[[Run, User], bool]) -> None:
            with db.connection():
                start.wait()
                if decision(run, user):
                    decided.append((user, "approved" if decision is guards.approve else "discarded"))

        ways = (guards.approve, guards.discard, guards.approve, guards.discard)
        threads = [threading.Thread(target=decide, args=pair) for pair in zip(people, ways, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        stage.settle()

        assert len(decided) == 1
        assert (fresh(run).decided_by, fresh(run).decision) == decided[0]
        assert shown(stage) == ([6, 6, 10, 10] if decided[0][1] == "approved" else [10] * 4)

    @pytest.mark.both_databases
    def test_a_worker_that_dies_after_the_approval_loses_nothing(
        self, stage: Stage, ana: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It dies after one of two was marked; the sweep finds the run by its row and goes on."""
        monkeypatch.setattr(reconcile, "RELEASED_AT_ONCE", 1)
        run = held(stage)
        guards.approve(run, ana)
        assert not reconcile.scan(run.id, turn_s=0)
        assert DirtySku.select().count() == 1

        class Died(BaseException):
            pass

        def die(*_: object, **__: object) -> None:
            raise Died

        with monkeypatch.context() as patch, pytest.raises(Died):
            patch.setattr(reconcile, "mark_dirty", die)
            reconcile.scan(run.id)
        Run.update(lease=None).where(Run.id == run.id).execute()

        assert reconcile.scan(run.id)
        assert DirtySku.select().count() == 2
        stage.settle()
        assert (fresh(run).status, shown(stage)) == ("ok", [6, 6, 10, 10])

    @pytest.mark.both_databases
    def test_a_worker_that_dies_while_judging_judges_again(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        vanish(stage, *SKUS[:2])
        run = start_run(stage.organization, RunType.CRON, skus=None)

        class Died(BaseException):
            pass

        judged = guards.hold_excess

        def die(*args: object) -> None:
            judged(*args)  # type: ignore[arg-type]
            raise Died

        with monkeypatch.context() as patch, pytest.raises(Died):
            patch.setattr(reconcile, "hold_excess", die)
            reconcile.scan(run.id)
        assert set(statuses(run).values()) == {"queued"}
        Run.update(lease=None).where(Run.id == run.id).execute()
        stage.settle()

        assert (fresh(run).status, shown(stage)) == ("held", [10] * 4)

    def test_approving_what_a_rule_switched_off_meanwhile_writes_nothing(self, stage: Stage, ana: User) -> None:
        run = held(stage)
        deactivate_group(stage.group)

        guards.approve(run, ana)
        stage.settle()

        assert fresh(run).finished_at is not None
        ended = RunItem.select().where(RunItem.run == run.id)
        assert {(item.status, item.error) for item in ended} == {("skipped", "no_rule")}
        assert shown(stage) == [10] * 4

    @pytest.mark.both_databases
    def test_an_entry_of_a_rule_that_was_switched_off_ends_though_another_rule_has_the_sku(
        self, stage: Stage, ana: User
    ) -> None:
        stage.bling.add_deposit("filial", "Reserva")
        refresh_account(stage.accounts["filial"])
        other = make_group(
            stage.organization, [stage.deposit("filial", SHELF)], [stage.deposit("filial", "Reserva")], is_active=False
        )
        activate_group(other)
        stage.settle()
        run = held(stage)
        deactivate_group(stage.group)

        guards.approve(run, ana)
        stage.settle()

        assert fresh(run).finished_at is not None
        ended = RunItem.select().where((RunItem.run == run.id) & (RunItem.group == stage.group.id))
        assert {(item.status, item.error) for item in ended} == {("skipped", "no_rule")}


class TestSuperseding:
    def test_a_newer_held_check_takes_the_place_of_the_older(self, stage: Stage, ana: User) -> None:
        older = held(stage)

        newer = check(stage)

        assert (fresh(older).status, fresh(older).decision, fresh(older).decided_by) == ("skipped", "superseded", None)
        assert newer.status == "held"
        assert not guards.approve(older, ana)
        assert shown(stage) == [10] * 4

    @pytest.mark.both_databases
    def test_a_newer_check_that_finds_the_cause_mended_closes_it(self, stage: Stage) -> None:
        older = held(stage)
        appear(stage, *SKUS[:2])

        newer = check(stage)

        assert (fresh(older).status, fresh(older).decision) == ("skipped", "superseded")
        assert newer.status == "ok"
        assert Run.select().where(Run.status == "held").count() == 0

    def test_a_check_that_could_not_read_everything_has_not_shown_that(self, stage: Stage) -> None:
        older = held(stage)
        stage.bling.faults.set("forbidden", 1.0, account="filial")
        stage.bling.faults.set("forbidden", 1.0, account="matriz")

        newer = check(stage)

        assert newer.unread > 0
        assert fresh(older).status == "held"

    def test_one_judged_after_a_newer_one_does_not_come_back(self, stage: Stage) -> None:
        vanish(stage, *SKUS[:2])
        older = start_run(stage.organization, RunType.CRON, skus=None)
        newer = start_run(stage.organization, RunType.MANUAL, skus=None)
        reconcile.scan(newer.id)

        reconcile.scan(older.id)

        assert (fresh(older).decision, fresh(newer).status) == ("superseded", "held")

    def test_what_was_approved_is_not_closed_by_a_newer_check(self, stage: Stage, ana: User) -> None:
        run = held(stage)
        guards.approve(run, ana)

        check(stage)

        assert (fresh(run).decision, fresh(run).status) == ("approved", "ok")


def test_who_waits_for_a_machine_does_not_wait_for_a_person(stage: Stage) -> None:
    held(stage)

    told = status(stage.organization)
    assert (told["idle"], told["dirty"], told["held"]) == (True, 0, 1)


@pytest.mark.both_databases
def test_a_scan_that_lost_its_lease_keeps_nothing_of_its_step(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    vanish(stage, *SKUS[:2])
    run = start_run(stage.organization, RunType.CRON, skus=None)
    read = reconcile.read_balances

    def read_and_lose(*args: object) -> object:
        readings = read(*args)  # type: ignore[arg-type]
        Run.update(lease="other").where(Run.id == run.id).execute()
        return readings

    with monkeypatch.context() as patch:
        patch.setattr(reconcile, "read_balances", read_and_lose)
        assert reconcile.scan(run.id) is False

    assert RunItem.select().where(RunItem.run == run.id).count() == 0
    assert ItemDrop.select().count() == 0


def test_other_merchants_are_not_concerned(stage: Stage) -> None:
    run = held(stage)
    other = make_organization()
    newer = make_run(other, "cron", scope="all", cursor=SCAN_ENDED)
    assert newer.id > run.id

    guards.close_superseded(other.id)

    assert fresh(run).status == "held"
