"""Revisão from end to end: what it says an answer would change is what is shown in Bling afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
from peewee import Database

from clock import utcnow
from config import Config
from models import DirtySku, Priority
from sandbox import Bling
from services import review, settle
from services.dirty import mark_dirty
from services.review import Dossier, Outcome, Standing
from tests.factories import make_user
from tests.stage import ACCOUNTS, SHELF, SHOP, Stage, staged
from tests.trouble import hit_writes_only

pytestmark = pytest.mark.both_databases
FULL = {"matriz": {SHELF: 8, SHOP: 0}, "filial": {SHELF: 5, SHOP: 3}, "avulsa": {SHELF: 0, SHOP: 0}}


@pytest.fixture
def stage(database: Database, config: Config, bling: Bling, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """Faults hit writes only, and nothing tells of what happens but what is read."""
    with staged(config, bling, {"CANECA": FULL}, window_s=0) as stage:
        stage.rule()
        hit_writes_only(bling, monkeypatch)
        yield stage


def look(stage: Stage, rounds: int = 3) -> None:
    for _ in range(rounds):
        mark_dirty(stage.organization.id, ["CANECA"], priority=Priority.LIVE, needs_look=True)
        DirtySku.update(due_at=utcnow() - timedelta(seconds=1)).execute()
        settle.settle_due(stage.organization.id)


def shown(stage: Stage) -> dict[str, Decimal]:
    return {f"{account.capitalize()} · {SHOP}": stage.shown(account, "CANECA") for account in ACCOUNTS}


def told(outcome: Outcome) -> dict[str, Decimal]:
    return {offer.place: offer.then for offer in outcome.offers}


def asked(stage: Stage, fault: str, moved: int) -> Dossier:
    """Matriz's shelf moves, the write that shows it in Filial gets no answer, and Filial sells 5 at that moment."""
    stage.bling.faults.set(fault, next=1, account="filial")
    if moved < 0:
        stage.bling.sell("matriz", "CANECA", -moved, SHELF)
    else:
        stage.bling.receive("matriz", "CANECA", moved, SHELF)
    look(stage, rounds=1)
    stage.bling.sell("filial", "CANECA", 5, SHOP)
    look(stage)
    [found] = review.list_waiting(stage.organization).reviews
    return review.dossier_of(found)


@pytest.mark.parametrize("moved", [-2, 2])
@pytest.mark.parametrize(("fault", "was_applied"), [("cut_before", False), ("cut_after", True)])
def test_what_an_answer_changes_is_told_beforehand(stage: Stage, fault: str, was_applied: bool, moved: int) -> None:
    dossier = asked(stage, fault, moved)
    right, wrong = dossier.applied, dossier.not_applied
    if not was_applied:
        right, wrong = wrong, right
    taken = right if right.reading.is_taken else wrong
    assert right.reading.others == -5
    assert shown(stage) == told(taken)
    assert taken.available == min(outcome.available or 0 for outcome in (right, wrong))

    assert review.decide(dossier.review, was_applied, make_user(stage.organization))
    look(stage)

    assert shown(stage) == told(right) == dict.fromkeys(told(right), Decimal(13 + moved - 5))
    assert review.count_waiting(stage.organization) == 0
    decided = review.find_review(stage.organization, dossier.review.write.id)
    assert decided is not None
    assert (decided.standing, decided.taken.is_applied) == (Standing.DECIDED, was_applied)
    assert not review.decide(decided, not was_applied, make_user(stage.organization))


def test_in_a_mirror_an_answer_moves_the_common_stock(stage: Stage) -> None:
    assert stage.group is not None
    stage.group.is_active = False
    stage.group.save()
    windows = [(account, SHOP) for account in ACCOUNTS]
    stage.rule((), windows, mode="mirror", seed_deposit=stage.deposit("matriz", SHOP), key="espelho")
    stage.bling.faults.set("cut_after", next=1, account="filial")
    stage.bling.sell("matriz", "CANECA", 2, SHOP)
    look(stage, rounds=1)
    stage.bling.sell("filial", "CANECA", 5, SHOP)
    look(stage)
    [found] = review.list_waiting(stage.organization).reviews
    dossier = review.dossier_of(found)
    assert shown(stage) == told(dossier.not_applied)

    assert review.decide(found, True, make_user(stage.organization))
    look(stage)

    assert shown(stage) == told(dossier.applied) == dict.fromkeys(told(dossier.applied), Decimal(6))
