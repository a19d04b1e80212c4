"""What routers and monitors ask: alive, ready, figures; nothing in it about a merchant."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from peewee import SqliteDatabase

import db
import queues
from devserver.redis_server import RedisProcess
from tests.conftest import Browser
from tests.factories import make_account, make_dirty, make_event, make_organization

TOKEN = "segredo-do-monitor"


@pytest.fixture
def alive(app: Flask) -> None:
    queues.beat("worker", "w1")
    queues.beat("scheduler", "s1")


@pytest.fixture
def monitored(app: Flask) -> None:
    app.config["METRICS_TOKEN"] = TOKEN


@pytest.fixture
def no_database(app: Flask, tmp_path: Path) -> Iterator[None]:
    """A database that cannot be opened: a directory stands in its place."""
    reachable = db.database.obj
    db.database.initialize(SqliteDatabase(str(tmp_path), autoconnect=False))
    yield
    db.database.initialize(reachable)


@pytest.mark.usefixtures("alive")
def test_it_is_ready_when_every_part_is_there(client: Browser) -> None:
    answer = client.get("/readyz")

    assert answer.status_code == 200
    assert answer.json == {"ready": True, "database": True, "redis": True, "worker": True, "scheduler": True}


@pytest.mark.parametrize(("role", "name"), [("worker", "w1"), ("scheduler", "s1")])
@pytest.mark.usefixtures("alive")
def test_it_names_the_process_that_is_missing(client: Browser, role: str, name: str) -> None:
    queues.sign_off(role, name)

    answer = client.get("/readyz")

    assert answer.status_code == 503
    assert {part for part, is_there in answer.json.items() if not is_there} == {"ready", role}


@pytest.mark.usefixtures("alive", "no_database")
def test_without_the_database_it_is_alive_and_not_ready(client: Browser) -> None:
    assert client.get("/healthz").status_code == 200

    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert {part for part, is_there in answer.json.items() if not is_there} == {"ready", "database"}


def test_without_redis_it_is_alive_and_not_ready(client: Browser, own_redis: RedisProcess) -> None:
    own_redis.stop()

    assert client.get("/healthz").json == {"status": "ok"}
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json["database"] is True
    assert not any(answer.json[part] for part in ("ready", "redis", "worker", "scheduler"))


@pytest.mark.parametrize("authorization", [None, "", TOKEN, f"Bearer {TOKEN}x", "Bearer", "Bearer é", f"Basic {TOKEN}"])
@pytest.mark.usefixtures("monitored")
def test_figures_are_for_the_bearer_of_the_token(client: Browser, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}

    answer = client.get("/metrics", headers=headers)

    assert answer.status_code == 401
    assert "estoqueuni_" not in answer.text


@pytest.mark.parametrize("authorization", [None, "Bearer ", "Bearer None"])
def test_without_a_token_in_the_settings_there_are_no_figures(client: Browser, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}

    assert client.get("/metrics", headers=headers).status_code == 401


@pytest.mark.usefixtures("alive", "monitored")
def test_the_figures_count_what_waits_and_name_nobody(client: Browser) -> None:
    organization = make_organization(slug="loja-secreta", name="Loja Secreta")
    account = make_account(organization, "matriz")
    make_event(account, state="pending")
    make_event(account, state="pending")
    make_event(account, state="failed")
    make_dirty(organization, "CANECA-SECRETA")

    answer = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})

    values = dict(line.split() for line in answer.text.splitlines() if not line.startswith("#"))
    assert answer.content_type.startswith("text/plain; version=0.0.4")
    assert values == {
        "estoqueuni_events_pending": "2",
        "estoqueuni_events_failed": "1",
        "estoqueuni_dirty_skus": "1",
        "estoqueuni_writes_planned": "0",
        "estoqueuni_writes_unknown": "0",
        "estoqueuni_workers": "1",
    }
    assert "ecreta" not in answer.text
