"""`status --json` and `history --json`: the shapes that CONTRACT names, on both databases, and nobody else's rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from flask import Flask

import queues
from clock import utcnow
from services.board import board_of
from services.history import Filters, history_json, items_page, list_runs
from services.overview import header, status
from tests.factories import (
    Shop,
    make_dirty,
    make_event,
    make_item,
    make_item_deposit,
    make_run,
    make_undecided,
    make_write,
)
from tests.web.scenes import busy_shop

pytestmark = pytest.mark.usefixtures("app")


@pytest.fixture
def shop(app: Flask) -> Shop:
    return Shop()


def test_a_quiet_shop_is_idle(shop: Shop) -> None:
    told = status(shop.organization)

    assert told == {
        "idle": True,
        "events": {"pending": 0, "failed": 0},
        "dirty": 0,
        "writes": {"pending": 0, "unknown": 0, "review": 0},
        "held": 0,
        "accounts": [
            {"key": key, "state": "connected", "last_event_at": None, "requests_today": 0}
            for key in ("matriz", "filial", "avulsa")
        ],
        "last": {"webhook": None, "cron": None, "manual": None},
        "workers": 0,
    }
    json.dumps(told)


def _pending_event(shop: Shop) -> None:
    make_event(shop.accounts["matriz"], state="pending")


def _dirty(shop: Shop) -> None:
    make_dirty(shop.organization, "CANECA-01")


def _put_off(shop: Shop) -> None:
    make_dirty(shop.organization, "CANECA-01", due_at=utcnow() + timedelta(minutes=5), attempts=4)


def _planned_write(shop: Shop) -> None:
    make_write(shop.cell(shop.pool("CANECA-01"), "matriz", "Geral"), 1, state="planned")


def _sending_write(shop: Shop) -> None:
    make_write(shop.cell(shop.pool("CANECA-01"), "matriz", "Geral"), 1, state="sending")


def _queued_run(shop: Shop) -> None:
    make_run(shop.organization, "manual", status="queued")


def _running_run(shop: Shop) -> None:
    make_run(shop.organization, "cron", status="running")


@pytest.mark.parametrize(
    "work", [_pending_event, _dirty, _put_off, _planned_write, _sending_write, _queued_run, _running_run]
)
def test_work_to_be_done_is_not_idle(shop: Shop, work: Callable[[Shop], None]) -> None:
    stranger = Shop()

    work(shop)

    assert status(shop.organization)["idle"] is False
    assert status(stranger.organization)["idle"] is True
    assert status(None)["idle"] is False


def test_what_waits_for_a_person_is_idle(shop: Shop) -> None:
    run = make_run(shop.organization, "manual", status="partial")
    item = make_item(run, "CANECA-01", status="review")
    shelf = shop.cell(shop.pool("CANECA-01"), "matriz", "Geral")
    make_write(shelf, 1, item, state="unknown")
    make_undecided(shelf, 2, 11, item=item)
    make_run(shop.organization, "cron", status="held", finished_at=None)
    make_event(shop.accounts["matriz"], state="failed")

    told = status(shop.organization)

    assert told["idle"] is True
    assert told["held"] == 1
    assert told["writes"] == {"pending": 0, "unknown": 1, "review": 1}
    assert told["events"] == {"pending": 0, "failed": 1}


def test_last_is_when_the_last_one_of_each_kind_ended(shop: Shop) -> None:
    now = utcnow()
    make_run(shop.organization, "cron", at=now - timedelta(hours=2))
    last = make_run(shop.organization, "cron", at=now - timedelta(hours=1))
    make_run(shop.organization, "cron", status="running")
    shop.accounts["matriz"].last_event_at = now
    shop.accounts["matriz"].save()

    told = status(shop.organization)

    assert moment(told["last"]["cron"]) == milliseconds(last.finished_at)
    assert told["last"]["webhook"] is None
    assert moment(told["accounts"][0]["last_event_at"]) == milliseconds(now)


def test_workers_are_counted(shop: Shop) -> None:
    queues.beat("worker", "one")
    queues.beat("worker", "two")

    assert status(None)["workers"] == 2


def test_the_history_has_the_shape_of_the_contract(shop: Shop) -> None:
    run = make_run(shop.organization, account=shop.accounts["filial"])
    first = make_item(run, "CANECA-01")
    make_item_deposit(first, shop.deposits["filial", "Loja virtual"], "10", "8.5")
    make_item_deposit(first, shop.deposits["matriz", "Geral"], "10", "8.5", role="source")
    make_item(run, "CAM-AZ-P", status="failed", error="rejected")
    newer = make_run(shop.organization, "cron", scope="all")
    make_run(Shop().organization)

    told = history_json(shop.organization, 10)

    assert [entry["id"] for entry in told] == [newer.id, run.id]
    assert told[0]["items"] == []
    entry = told[1]
    assert moment(entry.pop("at")) == milliseconds(run.created_at)
    entry["items"][0]["deposits"].sort(key=lambda deposit: deposit["account"])
    assert entry == {
        "id": run.id,
        "type": "webhook",
        "account": "filial",
        "status": "ok",
        "products": 2,
        "items": [
            {
                "sku": "CANECA-01",
                "status": "ok",
                "error": None,
                "deposits": [
                    {
                        "account": "filial",
                        "deposit": shop.deposits["filial", "Loja virtual"].bling_id,
                        "before": 10,
                        "after": 8.5,
                    },
                    {
                        "account": "matriz",
                        "deposit": shop.deposits["matriz", "Geral"].bling_id,
                        "before": 10,
                        "after": 8.5,
                    },
                ],
            },
            {"sku": "CAM-AZ-P", "status": "failed", "error": "rejected", "deposits": []},
        ],
    }
    assert json.loads(json.dumps(told)) == told


def test_the_history_is_limited(shop: Shop) -> None:
    runs = [make_run(shop.organization).id for _ in range(5)]

    assert [entry["id"] for entry in history_json(shop.organization, 2)] == [runs[4], runs[3]]
    assert history_json(shop.organization, 0) == []


def test_the_screens_read_a_busy_day(shop: Shop) -> None:
    busy = busy_shop()

    board = board_of(busy.organization)
    page = list_runs(busy.organization, Filters())
    found = list_runs(busy.organization, Filters(text="CANECA", account="matriz", type="cron", status="problema"))

    assert [(problem.code, problem.count) for problem in board.problems] == [
        ("duplicate", 1),
        ("rejected", 1),
        ("unknown_write", 4),
    ]
    assert board.in_review == 3
    assert [(problem.code, problem.count) for problem in board.left_out] == [("composition", 1)]
    assert {kind.type: (kind.good, kind.bad, kind.running) for kind in board.kinds} == {
        "webhook": (3, 4, 0),
        "cron": (0, 1, 0),
        "manual": (0, 0, 1),
    }
    assert board.verdict.line == "A sincronização está parada"
    assert len(page.rows) == 11
    assert [row.run.status for row in found.rows] == ["partial"]
    check = next(row for row in page.rows if row.run.type == "cron" and row.run.status == "partial")
    assert (len(check.lines), check.more) == (3, 2)
    # What changed or went wrong comes before what was left out.
    assert "skipped" not in {line.item.status for line in check.lines}
    details, following = items_page(check.run, limit=2)
    assert following == details[-1].item.id
    assert details[0].cells[0].after == Decimal(9)


def test_the_state_pill_says_the_worst_thing_first(shop: Shop) -> None:
    assert header(shop.organization).text == "Worker parado"

    queues.beat("worker", "one")
    queues.beat("scheduler", "one")
    assert (header(shop.organization).text, header(shop.organization).tone) == ("Sincronização ativa", "ok")

    make_dirty(shop.organization, "CANECA-01")
    assert (header(shop.organization).text, header(shop.organization).queued) == ("Sincronizando", 1)

    shop.accounts["matriz"].state = "paused"
    shop.accounts["matriz"].save()
    assert header(shop.organization).text == "Sincronização com conta pausada"

    shop.accounts["filial"].state = "reconnect"
    shop.accounts["filial"].save()
    assert header(shop.organization).text == "1 conta precisa de você"


def moment(text: str) -> datetime:
    assert text.endswith("Z")
    return datetime.fromisoformat(text)


def milliseconds(value: Any) -> datetime:
    return value.replace(microsecond=value.microsecond // 1000 * 1000)
