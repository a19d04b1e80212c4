"""An account that accepts a question and never answers holds up itself, and nobody else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from peewee import Database

from bling.errors import CircuitOpen
from bling.transport import Transport
from config import Config
from models import Account, RunItem, StockWrite
from sandbox import Bling
from services import bling_clients, reading, silence
from services.settle import settle_due
from tests.stage import SHELF, SHOP, Stage, staged

CANECA = {account: {SHELF: 8 if account == "matriz" else 0, SHOP: 0} for account in ("matriz", "filial", "avulsa")}
PATIENCE_S = 0.4


@pytest.fixture
def stage(database: Database, config: Config, bling: Bling, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    quick = Transport(config.bling_api_url, read_timeout_s=PATIENCE_S, retry_budget_s=PATIENCE_S / 2)
    monkeypatch.setattr(bling_clients, "_transport", lambda _url: quick)
    monkeypatch.setattr(silence, "HUNG_S", PATIENCE_S / 2)
    monkeypatch.setattr("services.reading.HUNG_S", PATIENCE_S / 2)
    monkeypatch.setattr(silence, "FIRST_REST_S", 0.5)
    monkeypatch.setattr("services.concluding.RETRY_CAP_S", 3600.0)
    monkeypatch.setattr("services.concluding.RETRY_BASE_S", 3600.0)
    with staged(config, bling, {"CANECA": CANECA, "BONE": CANECA}) as stage:
        stage.rule([("matriz", SHELF)], [("filial", SHOP), ("avulsa", SHOP)])
        stage.deliver()
        yield stage


def settle_once(stage: Stage, sku: str) -> float:
    """Settle what a sale of this SKU marked; the seconds that it took."""
    stage.bling.sell("matriz", sku, 2, SHELF)
    stage.deliver(settle=False)
    started_at = time.monotonic()
    assert settle_due(stage.organization.id) >= 1
    return time.monotonic() - started_at


def test_a_target_that_hangs_delays_the_others_once_and_itself_until_it_answers(stage: Stage) -> None:
    stage.bling.faults.set("slow", rate=1.0, seconds=5 * PATIENCE_S, account="avulsa")

    settle_once(stage, "CANECA")
    assert (stage.shown("filial", "CANECA"), stage.shown("avulsa", "CANECA")) == (6, 8)

    assert settle_once(stage, "BONE") < PATIENCE_S
    assert (stage.shown("filial", "BONE"), stage.shown("avulsa", "BONE")) == (6, 8)
    assert {item.status for item in RunItem.select().where(RunItem.finished_at.is_null())} == {"retry"}

    stage.bling.faults.clear()
    stage.settle()
    assert (stage.shown("avulsa", "CANECA"), stage.shown("avulsa", "BONE")) == (6, 6)
    assert not StockWrite.select().where(StockWrite.state != "confirmed").exists()


def test_the_leases_are_kept_while_an_answer_is_awaited(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.dirty.LEASE", timedelta(seconds=0.2))
    monkeypatch.setattr("services.reading.RENEW_EVERY_S", 0.05)
    stage.bling.faults.set("slow", rate=1.0, seconds=5 * PATIENCE_S, account="avulsa")

    settle_once(stage, "CANECA")

    assert stage.shown("filial", "CANECA") == 6


def test_an_account_that_refuses_at_once_is_asked_again_at_once(stage: Stage) -> None:
    stage.bling.faults.set("error_500", rate=1.0, account="avulsa")
    asked = len(stage.bling.requests("avulsa"))

    settle_once(stage, "CANECA")
    settle_once(stage, "BONE")

    assert len(stage.bling.requests("avulsa")) > asked + 1
    assert not silence.is_silent(stage.accounts["avulsa"].id)


def test_it_is_asked_again_with_growing_rests_and_its_answer_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rests: list[float] = []
    told: list[str] = []
    monkeypatch.setattr(silence, "sleep", rests.append)
    monkeypatch.setattr(silence.threading, "Thread", InTheOpen)

    silence.note_hung("conta", lambda: len(rests) == 5, lambda: told.append("conta"))

    assert rests == [2.0, 4.0, 8.0, 15.0, 15.0]
    assert told == ["conta"]
    assert not silence.is_silent("conta")


def test_an_account_that_nobody_asks_has_not_answered(stage: Stage) -> None:
    def left_alone(_account: Account) -> Any:
        raise CircuitOpen("circuit breaker", "left alone after failures", retry_after_s=1.0)

    assert not reading._answers(stage.accounts["avulsa"], left_alone)


class InTheOpen:
    """A thread that runs where it is started."""

    def __init__(self, target: Callable[..., None], args: tuple[Any, ...], **_options: Any) -> None:
        self._run = lambda: target(*args)

    def start(self) -> None:
        self._run()
