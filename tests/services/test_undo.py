"""Undoing against the sandbox: opposite movements of what we wrote, and nothing of what others did."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
from peewee import Database

import db
from clock import utcnow
from config import Config
from models import (
    Account,
    Cell,
    Deposit,
    DirtySku,
    GroupDeposit,
    ItemDeposit,
    Movement,
    Pool,
    Product,
    Run,
    RunItem,
    RunType,
    SkuOverride,
    StockGroup,
    StockWrite,
    User,
)
from sandbox import Bling
from services import settle
from services import undo as undo_service
from services.activation import activate_group
from services.groups import deactivate_group
from services.runs import start_run
from services.undo import Selection, UndoRefused, plan, start_undo
from tests.factories import make_user
from tests.stage import ACCOUNTS, SHELF, SHOP, Stage, staged

pytestmark = pytest.mark.stories

FULL = {"matriz": {SHELF: 8, SHOP: 1}, "filial": {SHELF: 5, SHOP: 3}, "avulsa": {SHELF: 0, SHOP: 0}}


@pytest.fixture
def stage(database: Database, config: Config, bling: Bling) -> Iterator[Stage]:
    """Two SKUs of which the sources hold 13; the targets showed 1, 3 and 0 before the rule was activated."""
    with staged(config, bling, {"CANECA": FULL, "BONE": FULL}, window_s=0) as stage:
        stage.rule()
        yield stage


@pytest.fixture
def ana(stage: Stage) -> User:
    return make_user(stage.organization, name="Ana")


def shown(stage: Stage, sku: str = "CANECA") -> list[Decimal]:
    return [stage.shown(account, sku) for account in ACCOUNTS]


def last_run() -> Run:
    """The latest synchronization that is no undo."""
    return Run.select().where(Run.undoes.is_null()).order_by(Run.id.desc()).get()


def undo(stage: Stage, user: User, selection: Selection, *, stop: bool = True, settle: bool = True) -> Run:
    """See the plan, consent to it, and let the workers do it."""
    seen = plan(stage.organization, selection)
    rules = [choice.group.id for choice in seen.choices] if stop else []
    run = start_undo(stage.organization, user, selection, seen.fingerprint, rules)
    if settle:
        stage.deliver()
    return Run.get_by_id(run.id)


def items(run: Run) -> dict[str, tuple[str, str | None]]:
    return {item.sku: (item.status, item.error) for item in RunItem.select().where(RunItem.run == run.id)}


def of_run(run: Run) -> Selection:
    return Selection(run_id=run.id)


def cells(run: Run) -> dict[tuple[str, str, str], tuple[Decimal, Decimal, str | None]]:
    """Before, after and reason of each deposit of the run, by SKU, account and deposit."""
    rows = ItemDeposit.select().join(RunItem).where(RunItem.run == run.id)
    return {(d.item.sku, d.account.key, d.deposit.name): (d.before, d.after, d.error) for d in rows}


def owed(sku: str = "CANECA") -> Decimal:
    total: Decimal = Pool.get(Pool.sku == sku).owed
    return total


def held_by_undo() -> int:
    count: int = StockWrite.select().where(StockWrite.undo_item_id.is_null(False)).count()
    return count


def test_a_run_is_undone_by_opposite_movements(stage: Stage, ana: User) -> None:
    assert shown(stage) == shown(stage, "BONE") == [13, 13, 13]

    run = undo(stage, ana, of_run(last_run()))

    assert shown(stage) == shown(stage, "BONE") == [1, 3, 0]
    assert (run.status, run.type, run.user, run.reason) == ("ok", "manual", ana, "undo")
    assert items(run) == {"CANECA": ("ok", None), "BONE": ("ok", None)}
    assert not StockGroup.get().is_active
    assert cells(run)["CANECA", "filial", SHOP] == (13, 3, None)
    assert len(cells(run)) == 6
    assert Movement.select().count() == DirtySku.select().count() == 0


def test_the_movements_in_bling_say_who_undid(stage: Stage, ana: User) -> None:
    undo(stage, ana, of_run(last_run()))

    made = stage.bling.movements("filial", "CANECA", "api")[-1]
    assert (made.operation, made.quantity) == ("S", 10)
    assert made.note == "EstoqueUni: desfeito por Ana (regra Estoque geral)"


def test_undoing_twice_changes_nothing_the_second_time(stage: Stage, ana: User) -> None:
    first = last_run()
    undo(stage, ana, of_run(first))
    written = stage.writes()

    again = plan(stage.organization, of_run(first))

    assert (again.due, again.refused) == (0, 6)
    assert {one.undo.refusal for item in again.items for one in item.cells} == {"undo_already"}
    with pytest.raises(UndoRefused, match="não há o que desfazer"):
        start_undo(stage.organization, ana, of_run(first), again.fingerprint, ())
    assert stage.writes() == written


@pytest.mark.both_databases
def test_who_clicks_twice_undoes_once(stage: Stage, ana: User) -> None:
    seen = plan(stage.organization, of_run(last_run()))
    rules = [choice.group.id for choice in seen.choices]
    start_undo(stage.organization, ana, seen.selection, seen.fingerprint, rules)

    with pytest.raises(UndoRefused, match="Confira o novo plano"):
        start_undo(stage.organization, ana, seen.selection, seen.fingerprint, rules)
    stage.deliver()

    assert shown(stage) == [1, 3, 0]


@pytest.mark.both_databases
def test_two_people_who_undo_at_the_same_moment_undo_once(stage: Stage, ana: User) -> None:
    seen = plan(stage.organization, of_run(last_run()))
    rules = [choice.group.id for choice in seen.choices]
    start, refused = threading.Barrier(4), []

    def click() -> None:
        with db.connection():
            start.wait()
            try:
                start_undo(stage.organization, ana, seen.selection, seen.fingerprint, rules)
            except UndoRefused:
                refused.append(True)

    threads = [threading.Thread(target=click) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stage.deliver()

    assert (len(refused), Run.select().where(Run.undoes.is_null(False)).count()) == (3, 1)
    assert shown(stage) == shown(stage, "BONE") == [1, 3, 0]


def test_an_undo_can_be_undone(stage: Stage, ana: User) -> None:
    first = undo(stage, ana, of_run(last_run()))

    second = undo(stage, ana, of_run(first))
    assert shown(stage) == shown(stage, "BONE") == [13, 13, 13]
    assert (second.status, second.undoes_run) == ("ok", first)

    third = undo(stage, ana, of_run(second))
    assert shown(stage) == [1, 3, 0]
    assert third.status == "ok"


def test_a_period_with_an_undo_in_it_is_undone_as_a_whole(stage: Stage, ana: User) -> None:
    undo(stage, ana, of_run(last_run()))

    even = plan(stage.organization, Selection(since=utcnow() - timedelta(hours=1), until=utcnow()))

    assert (even.due, even.refused) == (0, 0)


def test_what_was_sold_before_the_click_is_left_as_it_is(stage: Stage, ana: User) -> None:
    """A sale of one product since: the newer synchronization of it stands, the other product is undone."""
    first = last_run()
    stage.bling.sell("matriz", "CANECA", 2, SHELF)
    stage.deliver()

    run = undo(stage, ana, of_run(first))

    assert (shown(stage), shown(stage, "BONE")) == ([11, 11, 11], [1, 3, 0])
    assert (run.status, items(run)) == ("partial", {"CANECA": ("failed", "undo_rewritten"), "BONE": ("ok", None)})
    assert cells(run)["CANECA", "matriz", SHOP] == (11, 11, "undo_rewritten")
    assert held_by_undo() == 3, "only what was undone stays in the hands of the undo"


@pytest.mark.parametrize("place", [("avulsa", SHOP), ("matriz", SHELF)])
def test_a_sale_between_the_click_and_the_worker_refuses_its_product(
    stage: Stage, ana: User, place: tuple[str, str]
) -> None:
    """On the target itself, or on a source of what the targets show: put back, they would offer what is sold."""
    run = undo(stage, ana, of_run(last_run()), settle=False)
    stage.bling.sell(place[0], "CANECA", 2, place[1])
    stage.deliver()

    run = Run.get_by_id(run.id)
    assert [stage.physical("matriz", "CANECA", SHOP), stage.physical("filial", "CANECA", SHOP)] == [13, 13]
    assert shown(stage, "BONE") == [1, 3, 0]
    assert (run.status, items(run)["CANECA"]) == ("partial", ("failed", "undo_moved"))


def test_an_order_between_the_click_and_the_worker_refuses_its_product(stage: Stage, ana: User) -> None:
    run = undo(stage, ana, of_run(last_run()), settle=False)
    stage.bling.reserve("matriz", "CANECA", 3, SHELF)
    stage.deliver()

    assert items(run) == {"CANECA": ("failed", "undo_moved"), "BONE": ("ok", None)}


def test_one_sku_is_undone_and_ignored_by_its_rule(stage: Stage, ana: User) -> None:
    seen = plan(stage.organization, Selection(sku="CANECA"))
    assert [(choice.sku, choice.targets) for choice in seen.choices] == [("CANECA", 3)]

    undo(stage, ana, Selection(sku="CANECA"))

    assert (shown(stage), shown(stage, "BONE")) == ([1, 3, 0], [13, 13, 13])
    assert DirtySku.select().count() == 0
    assert [(o.sku, o.deposit, o.is_ignored) for o in SkuOverride.select()] == [("CANECA", None, True)]
    assert Run.select().where(Run.type == "webhook").count() == 0, "the echoes of it are no news"
    runs = Run.select().count()
    stage.bling.sell("matriz", "BONE", 2, SHELF)
    stage.bling.sell("matriz", "CANECA", 2, SHELF)
    stage.deliver()
    assert (shown(stage), shown(stage, "BONE")) == ([1, 3, 0], [11, 11, 11])
    assert Run.select().count() == runs + 1


@pytest.mark.both_databases
def test_an_exception_that_is_there_already_learns_to_ignore(stage: Stage, ana: User) -> None:
    SkuOverride.create(organization=stage.organization, group=stage.group, sku="CANECA", max=5, is_ignored=False)

    undo(stage, ana, Selection(sku="CANECA"))

    assert [(o.max, o.is_ignored) for o in SkuOverride.select()] == [(5, True)]


def test_targets_of_a_rule_that_stays_active_are_refused_and_its_sources_undone(stage: Stage, ana: User) -> None:
    """The sale's write-back is taken back; the pool is larger by that, and the rule shows it in every target."""
    stage.bling.sell("filial", "CANECA", 2, SHOP)
    stage.deliver()
    sale = last_run()
    assert (shown(stage), stage.physical("filial", "CANECA")) == ([11, 11, 11], 3)

    run = undo(stage, ana, of_run(sale), stop=False)

    assert stage.physical("filial", "CANECA") == 5
    assert (shown(stage), owed()) == ([13, 13, 13], 0)
    assert StockGroup.get().is_active
    assert (run.status, items(run)) == ("partial", {"CANECA": ("partial", "undo_rule_active")})
    assert {cell: row[2] for cell, row in cells(run).items() if row[2]} == {
        ("CANECA", "matriz", SHOP): "undo_rule_active",
        ("CANECA", "avulsa", SHOP): "undo_rule_active",
    }


def test_a_run_whose_targets_the_rule_would_set_again_is_not_begun(stage: Stage, ana: User) -> None:
    with pytest.raises(UndoRefused, match="Com a regra ativa não há o que desfazer"):
        undo(stage, ana, of_run(last_run()), stop=False)

    assert Run.select().where(Run.undoes.is_null(False)).count() == held_by_undo() == 0


def test_sources_and_targets_are_undone_together_where_the_rule_is_stopped(stage: Stage, ana: User) -> None:
    stage.bling.sell("filial", "CANECA", 2, SHOP)
    stage.deliver()

    run = undo(stage, ana, of_run(last_run()))

    assert (shown(stage), stage.physical("filial", "CANECA")) == ([13, 11, 13], 5)
    assert items(run) == {"CANECA": ("ok", None)}
    again = undo(stage, ana, of_run(run))
    assert (shown(stage), stage.physical("filial", "CANECA")) == ([11, 11, 11], 3)
    assert again.status == "ok"


@pytest.mark.both_databases
def test_a_sale_goes_before_an_undo(stage: Stage, ana: User) -> None:
    """The rule has something to write: that is written first, the undo after it."""
    stage.bling.sell("filial", "CANECA", 2, SHOP)
    stage.deliver()
    run = undo(stage, ana, of_run(last_run()), stop=False, settle=False)
    stage.bling.receive("matriz", "CANECA", 4, SHELF)
    stage.deliver()

    assert (stage.physical("filial", "CANECA"), shown(stage)) == (5, [17, 17, 17])
    last = StockWrite.select().where(StockWrite.account == stage.accounts["matriz"].id).order_by(StockWrite.id)
    first_raise = next(write for write in last if write.quantity == 4)
    [undoing] = StockWrite.select().join(RunItem, on=(StockWrite.item == RunItem.id)).where(RunItem.run == run.id)
    assert first_raise.ended_at <= undoing.sent_at


@pytest.mark.both_databases
def test_a_period_takes_back_everything_we_wrote_in_it(stage: Stage, ana: User) -> None:
    before = utcnow()
    GroupDeposit.update(reserve=Decimal(4)).where(GroupDeposit.role == "target").execute()
    start_run(stage.organization, RunType.MANUAL, skus=["CANECA", "BONE"])
    stage.settle()
    GroupDeposit.update(reserve=Decimal(6)).where(GroupDeposit.role == "target").execute()
    start_run(stage.organization, RunType.MANUAL, skus=["CANECA", "BONE"])
    stage.settle()
    assert shown(stage) == [7, 7, 7]

    run = undo(stage, ana, Selection(since=before, until=utcnow()))

    assert shown(stage) == shown(stage, "BONE") == [13, 13, 13]
    assert (
        StockWrite.select().join(RunItem, on=(StockWrite.item == RunItem.id)).where(RunItem.run == run.id).count() == 6
    )
    assert (run.status, run.undoes_run) == ("ok", None)


@pytest.mark.both_databases
def test_a_deposit_that_left_its_rule_gets_its_balance_back(stage: Stage, ana: User) -> None:
    """The wrong deposit was in the rule for a while: what stood there can be put back."""
    first = last_run()
    GroupDeposit.delete().where(GroupDeposit.deposit == stage.deposit("filial", SHOP)).execute()

    run = undo(stage, ana, of_run(first), stop=False)

    assert shown(stage) == [13, 3, 13]
    assert {row[2] for row in cells(run).values()} == {None, "undo_rule_active"}


@pytest.mark.both_databases
def test_after_a_new_activation_there_are_no_books_to_compare_with(stage: Stage, ana: User) -> None:
    first = last_run()
    Pool.delete().where(Pool.sku == "CANECA").execute()
    assert plan(stage.organization, of_run(first)).lost == 3

    deactivate_group(StockGroup.get())
    activate_group(StockGroup.get())
    stage.settle()

    with pytest.raises(UndoRefused, match="ativada de novo ou excluída"):
        plan(stage.organization, of_run(first))


@pytest.mark.both_databases
def test_books_that_go_while_it_waits_end_it(stage: Stage, ana: User) -> None:
    run = undo(stage, ana, of_run(last_run()), settle=False)
    Cell.delete().where(Cell.pool == Pool.get(Pool.sku == "CANECA")).execute()
    stage.deliver()

    assert items(run) == {"CANECA": ("failed", "undo_no_books"), "BONE": ("ok", None)}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"situation": "deleted"}, "deleted"),
        ({"situation": "inactive"}, "inactive"),
        ({"format": "composition"}, "composition"),
        ({"format": "parent"}, "parent"),
        ({"sku": "OUTRO"}, "undo_renamed"),
    ],
)
@pytest.mark.both_databases
def test_a_product_that_is_not_what_it_was_is_refused(
    stage: Stage, ana: User, change: dict[str, str], reason: str
) -> None:
    first = last_run()
    at_filial = (Product.account == stage.accounts["filial"].id) & (Product.sku == "CANECA")
    Product.update(**change).where(at_filial).execute()

    run = undo(stage, ana, of_run(first))

    assert (shown(stage, "BONE"), stage.physical("filial", "CANECA", SHOP)) == ([1, 3, 0], 13)
    assert cells(run)["CANECA", "filial", SHOP][2] == reason


@pytest.mark.both_databases
def test_a_deposit_that_is_switched_off_or_whose_account_is_paused_is_refused(stage: Stage, ana: User) -> None:
    Deposit.update(is_active=False).where(Deposit.id == stage.deposit("filial", SHOP).id).execute()
    Account.update(state="paused").where(Account.key == "avulsa").execute()

    run = undo(stage, ana, of_run(last_run()))

    assert [stage.physical(account, "CANECA", SHOP) for account in ACCOUNTS] == [1, 13, 13]
    assert {cell[1]: row[2] for cell, row in cells(run).items() if cell[0] == "CANECA"} == {
        "matriz": None,
        "filial": "deposit_off",
        "avulsa": "paused",
    }


def test_a_balance_that_is_still_old_is_waited_for(database: Database, config: Config, bling: Bling) -> None:
    """Bling shows for a while what stood there before our write: that is no movement, and no reason to refuse."""
    with staged(config, bling, {"CANECA": FULL}, window_s=1.5) as stage:
        stage.rule()
        time.sleep(1.6)
        first = last_run()
        bling.faults.set("stale", 1.0, seconds=1.0)
        user = make_user(stage.organization)
        run = undo(stage, user, of_run(first))
        assert (run.status, shown(stage)) == ("ok", [1, 3, 0])
        again = undo(stage, user, of_run(run))
        assert (again.status, shown(stage)) == ("ok", [13, 13, 13])


def test_a_mirror_is_undone_and_its_pool_stays_what_it_is(database: Database, config: Config, bling: Bling) -> None:
    with staged(config, bling, {"CANECA": FULL}, window_s=0) as stage:
        seed = stage.deposit("filial", SHOP)
        targets = [(account, SHOP) for account in ACCOUNTS]
        stage.rule([], targets, mode="mirror", seed_deposit=seed)
        assert (shown(stage), Pool.get().level) == ([3, 3, 3], 3)

        run = undo(stage, make_user(stage.organization), of_run(last_run()))

        assert (shown(stage), Pool.get().level, run.status) == ([1, 3, 0], 3, "ok")


def test_a_selection_is_of_one_organization(stage: Stage, ana: User) -> None:
    first = last_run()
    stranger = make_user()

    with pytest.raises(UndoRefused, match="não existe"):
        plan(stranger.organization, of_run(first))
    with pytest.raises(UndoRefused, match="Não escrevemos nada"):
        plan(stranger.organization, Selection(sku="CANECA"))


def test_it_says_what_is_too_much_too_early_or_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    now = utcnow()
    loja = stage.organization
    with pytest.raises(UndoRefused, match="no máximo 7 dias"):
        plan(loja, Selection(since=now - timedelta(days=8), until=now))
    with pytest.raises(UndoRefused, match="antes do começo"):
        plan(loja, Selection(since=now, until=now))
    with pytest.raises(UndoRefused, match="neste período: não há o que desfazer"):
        plan(loja, Selection(since=now - timedelta(days=3), until=now - timedelta(days=2)))
    with pytest.raises(UndoRefused, match="do SKU “caneca”"):
        plan(loja, Selection(sku="caneca"))
    monkeypatch.setattr(undo_service, "MAX_PRODUCTS", 1)
    with pytest.raises(UndoRefused, match=r"escritas em 2\sprodutos, e dá para desfazer no máximo 1\sproduto"):
        plan(loja, Selection(since=now - timedelta(days=1), until=now))
    run = start_run(loja, RunType.MANUAL, skus=["CANECA"])
    with pytest.raises(UndoRefused, match="ainda não terminou"):
        plan(loja, of_run(run))
    stage.settle()
    with pytest.raises(UndoRefused, match="não escreveu nada"):
        plan(loja, of_run(run))


def test_nothing_but_what_was_seen_is_undone(stage: Stage, ana: User) -> None:
    since = utcnow() - timedelta(minutes=5)
    selection = Selection(since=since, until=utcnow() + timedelta(minutes=5))
    seen = plan(stage.organization, selection)
    stage.bling.sell("matriz", "CANECA", 2, SHELF)
    stage.deliver()

    with pytest.raises(UndoRefused, match="Confira o novo plano"):
        start_undo(stage.organization, ana, selection, seen.fingerprint, ())


@pytest.mark.both_databases
def test_an_echo_that_comes_while_the_undo_is_under_way_is_no_news(stage: Stage, ana: User) -> None:
    """The worker ends after the first movement; what Bling tells of it finds the rest of the undo still waiting."""
    run = undo(stage, ana, Selection(sku="CANECA"), settle=False)
    asked = iter([False, True])
    settle.settle_due(stage.organization.id, should_stop=lambda: next(asked, True))
    assert items(run)["CANECA"][0] == "running"
    stage.deliver()

    assert (shown(stage), items(run)) == ([1, 3, 0], {"CANECA": ("ok", None)})
    assert Run.select().where(Run.type == "webhook").count() == 0
