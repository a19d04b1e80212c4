"""Workers that stand still, die, and come back: nothing is lost, nothing is invented, and the screen says so."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest
from playwright.sync_api import Page, expect

from tests.devserver.conftest import wait_until
from tests.e2e import books
from tests.e2e.stack import Stack

pytestmark = pytest.mark.e2e

OpenPage = Callable[..., Page]
# A worker that says nothing for 15 s is taken for dead; the page asks every 5 s.
MISSED_MS = 40_000
CATCHES_UP_MS = 40_000


@pytest.fixture(autouse=True)
def quiet_at_first(stack: Stack) -> None:
    stack.wait_until_idle()


def test_what_is_sold_while_the_worker_stands_still_is_caught_up(stack: Stack, open_page: OpenPage) -> None:
    page = open_page("/")
    expect(page.get_by_text("Worker parado")).to_have_count(0)

    with stack.program("worker").stopped():
        stack.sandbox.post("sell", account="matriz", sku="GAR-500-AZ", quantity=2, deposit="Geral")
        stack.sandbox.post("sell", account="filial", sku="GAR-500-AZ", quantity=1, deposit="Loja virtual")
        wait_until(stack.sandbox.has_delivered_everything)
        expect(page.get_by_text("Worker parado.")).to_be_visible(timeout=MISSED_MS)
        expect(page.get_by_role("heading", level=1)).to_have_text("A sincronização está parada")
        assert stack.sandbox.shop_windows("GAR-500-AZ") == [22, 21, 22]

    expect(page.get_by_text("Worker parado")).to_have_count(0, timeout=CATCHES_UP_MS)
    stack.wait_until_idle()
    assert stack.sandbox.shop_windows("GAR-500-AZ") == [19, 19, 19]
    assert books.faults(stack.sandbox) == []


def test_a_killed_worker_is_started_again_and_catches_up(stack: Stack, open_page: OpenPage) -> None:
    page = open_page("/historico")

    stack.program("worker").kill()
    stack.sandbox.post("sell", account="avulsa", sku="VAS-BAR-15", quantity=5, deposit="Loja virtual")

    stack.terminal.wait_for("worker was ended by SIGKILL; starting it again")
    entry = page.locator(".log__entry").filter(has_text="VAS-BAR-15").first
    expect(entry.locator(".log__status")).to_have_text("Sincronizado", timeout=CATCHES_UP_MS)
    stack.wait_until_idle()
    assert stack.sandbox.shop_windows("VAS-BAR-15") == [49, 49, 49]
    assert books.faults(stack.sandbox) == []


def test_a_worker_killed_in_the_middle_of_thirty_sales_loses_and_invents_nothing(stack: Stack) -> None:
    skus = ["CAN-POR-300", "PRA-SOB-19", "CAF-TOR-500", "ESP-VEG-03", "0042", "42", "COR-ALG-5", "TEC-CHI-FLO",
            "CHA-HOR-15", "GOI-CAS-400"]  # fmt: skip
    places = [("matriz", "Geral"), ("filial", "Geral"), ("filial", "Loja virtual")]
    writes = stack.sandbox.writes()
    with stack.program("worker").stopped():
        for sku in skus:
            for account, deposit in places:
                stack.sandbox.post("sell", account=account, sku=sku, quantity=2, deposit=deposit)

    wait_until(lambda: stack.sandbox.writes() > writes + 4)
    kill_between_two_calls(stack)

    stack.terminal.wait_for("worker was ended by SIGKILL; starting it again")
    stack.wait_until_idle()
    status = stack.status()
    assert status["writes"] == {"pending": 0, "unknown": 0, "review": 0}
    assert status["events"] == {"pending": 0, "failed": 0}
    assert books.faults(stack.sandbox) == []


def kill_between_two_calls(stack: Stack) -> None:
    """SIGKILL while work is waiting and no call is under way: what became of one that was, nobody could say."""
    path = stack.var_dir / "estoqueuni.sqlite"
    worker = stack.program("worker")
    while True:
        with worker.stopped(), closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            [waiting] = database.execute("SELECT COUNT(*) FROM dirty_sku").fetchone()
            assert waiting, "the burst was over before the worker could be killed"
            [calls] = database.execute("SELECT COUNT(*) FROM stock_write WHERE state = 'sending'").fetchone()
            if not calls:
                worker.kill()
                return
