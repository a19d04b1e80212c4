"""A database that goes away after Bling did what it was asked: the answer is kept until it is back."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from peewee import Database
from psycopg import sql

import db
import sandbox.api
from bling.client import BlingClient
from clock import utcnow
from config import Config
from jobs.worker import STOP_LIMIT_S
from models import DirtySku, StockWrite
from sandbox import Bling, SandboxError
from services import persistence, settle
from services.dirty import LEASE
from tests.conftest import with_database
from tests.stage import SHELF, SHOP, Stage, staged

CANECA = {"matriz": {SHELF: 8, SHOP: 0}, "filial": {SHELF: 5, SHOP: 3}, "avulsa": {SHELF: 0, SHOP: 0}}


@pytest.fixture
def stage(database: Database, config: Config, bling: Bling) -> Iterator[Stage]:
    with staged(config, bling, {"CANECA": CANECA}, window_s=0) as stage:
        stage.rule(targets=[("filial", SHOP)])
        yield stage


class Outage:
    """The database lets nobody in from the moment that Bling has applied a movement until `end`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._end: Callable[[], None] = lambda: None
        self._has_begun = False

    def begin(self) -> None:
        if self._has_begun:
            return
        self._has_begun = True
        if db.is_sqlite(self.url):
            db.database.obj.timeout = 0.05
            other = sqlite3.connect(db.sqlite_path(self.url), isolation_level=None, check_same_thread=False)
            other.execute("BEGIN EXCLUSIVE")
            self._end = other.close
            return
        self._allow(False)
        self._end = lambda: self._allow(True)

    def end(self) -> None:
        self._end()
        self._end = lambda: None

    def _allow(self, is_allowed: bool) -> None:
        name = urlsplit(self.url).path.strip("/")
        with psycopg.connect(with_database(self.url, "postgres"), autocommit=True) as admin:
            allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
            admin.execute(allow.format(sql.Identifier(name), sql.SQL(str(is_allowed))))
            if not is_allowed:
                admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))


@pytest.fixture
def outage(stage: Stage, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outage]:
    outage = Outage(database_url)
    create = BlingClient.create_movement

    def create_and_begin(client: BlingClient, *args: Any, **kwargs: Any) -> int:
        try:
            return create(client, *args, **kwargs)
        finally:
            outage.begin()

    monkeypatch.setattr(BlingClient, "create_movement", create_and_begin)
    stage.bling.sell("matriz", "CANECA", 2, SHELF)
    stage.deliver(settle=False)
    yield outage
    outage.end()


def test_an_answer_is_kept_until_the_database_is_back(stage: Stage, outage: Outage) -> None:
    back = threading.Timer(1.0, outage.end)
    back.start()

    settle.settle_due(stage.organization.id)

    back.join()
    write = StockWrite.get(StockWrite.quantity == -2)
    assert (write.state, write.evidence) == ("confirmed", None)
    assert write.bling_id == stage.bling.movements("filial", "CANECA", "api")[-1].id
    assert (stage.shown("filial", "CANECA"), DirtySku.select().count()) == (11, 0)


def test_a_refusal_is_kept_too(stage: Stage, outage: Outage, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise SandboxError("O depósito está em inventário.")

    monkeypatch.setattr(sandbox.api, "check_movement", refuse)
    back = threading.Timer(1.0, outage.end)
    back.start()

    settle.settle_due(stage.organization.id)

    back.join()
    assert StockWrite.get(StockWrite.quantity == -2).state == "rejected"


def test_a_database_that_stays_away_leaves_the_outcome_to_the_next_holder(
    stage: Stage, outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(persistence, "INSIST_S", 0.5)

    with pytest.raises(db.UNREACHABLE):
        settle.settle_due(stage.organization.id)

    outage.end()
    db.database.close()
    db.database.connect()
    assert StockWrite.get(StockWrite.quantity == -2).state == "sending"
    DirtySku.update(lease_until=utcnow() - timedelta(seconds=1)).execute()
    stage.settle()
    write = StockWrite.get(StockWrite.quantity == -2)
    assert (write.state, write.evidence) == ("confirmed", "level")
    assert stage.shown("filial", "CANECA") == 11


def test_an_outage_is_over_before_a_lease_and_before_a_host_kills() -> None:
    assert timedelta(seconds=persistence.INSIST_S) < LEASE
    assert persistence.INSIST_S < STOP_LIMIT_S
