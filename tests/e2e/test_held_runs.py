"""A mass drop that nobody announced: it is shown before anything is written, and goes on when somebody approves it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.e2e import books
from tests.e2e.stack import Stack

pytestmark = pytest.mark.e2e

OpenPage = Callable[..., Page]
RUN_MS = 90_000
# More than 20 and more than 30 % of the demo's 56.
DROPPED = 24


@pytest.fixture
def dropped(stack: Stack) -> Iterator[list[str]]:
    """SKUs of which one unit left the shelf of Matriz without a word from Bling."""
    stack.wait_until_idle()
    writes = stack.sandbox.writes()
    stack.sandbox.post("fault", kind="webhook_lost", rate=1)
    skus = [sku for sku in books.synchronized(stack.sandbox) if min(stack.sandbox.shop_windows(sku)) >= 1][:DROPPED]
    for sku in skus:
        stack.sandbox.post("sell", account="matriz", sku=sku, quantity=1, deposit="Geral")
    stack.sandbox.post("faults/clear")
    assert len(skus) == DROPPED
    assert stack.sandbox.writes() == writes
    yield skus
    stack.sandbox.post("faults/clear")


def test_a_mass_drop_waits_until_somebody_approves_it(stack: Stack, open_page: OpenPage, dropped: list[str]) -> None:
    writes = stack.sandbox.writes()
    page = open_page("/historico")
    page.get_by_role("button", name="Sincronizar agora").click()
    page.get_by_role("dialog").get_by_role("button", name="Sincronizar", exact=True).click()
    page.wait_for_url(re.compile(r"/execucoes/"))

    # The page follows the check by itself, to where it asks.
    expect(page.get_by_role("button", name="Aprovar")).to_be_visible(timeout=RUN_MS)
    page.goto("/")
    expect(page.get_by_role("heading", name="Uma sincronização espera a sua aprovação")).to_be_visible()
    page.get_by_role("link", name="Ver o que mudaria").click()
    drops = page.get_by_role("table")
    expect(drops.get_by_role("row")).to_have_count(DROPPED + 1)
    expect(page.locator("#retida .stat").filter(has_text="Baixariam").locator("dd")).to_contain_text(str(DROPPED))
    assert stack.sandbox.writes() == writes
    assert stack.status()["idle"], "a machine has nothing to do while a person decides"

    # Without the tick the browser sends nothing.
    page.get_by_role("button", name="Aprovar").click()
    expect(page.get_by_role("checkbox")).to_be_focused()
    page.get_by_role("checkbox").check()
    page.get_by_role("button", name="Aprovar").click()

    expect(page.get_by_text("Aprovado por Demonstração em")).to_be_visible()
    expect(page.locator("#andamento .badge").first).to_have_text("Sincronizado", timeout=RUN_MS)
    expect(page.get_by_role("article").filter(has_text=dropped[0]).first).to_be_visible()
    stack.wait_until_idle()
    assert stack.status()["held"] == 0
    assert books.faults(stack.sandbox) == []
