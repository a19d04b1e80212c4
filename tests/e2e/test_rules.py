"""A rule from its first draft to its end: faults at their fields, the plan, activation, a sale, deactivation."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.accounts import connect, disconnect
from tests.e2e.stack import Stack

pytestmark = pytest.mark.e2e

OpenPage = Callable[..., Page]


def test_a_rule_from_its_draft_to_its_end(stack: Stack, open_page: OpenPage) -> None:
    stack.sandbox.add_account("serra", "Empório da Serra", {"QJO-01": "40", "QJO-02": "9", "QJO-03": "0"})
    page = open_page("/contas", expected="/regras/nova")  # The form with faults is an answer 422.
    connect(page, "Serra", "Empório da Serra", products=3)
    account = page.url

    page.get_by_role("link", name="Regras").first.click()
    page.get_by_role("link", name="Nova regra").click()
    page.get_by_label("Nome da regra").fill("Queijos")
    choose(deposit(page, "Geral"), "Principal")
    choose(deposit(page, "Loja virtual"), "Compartilhado")
    deposit(page, "Loja virtual").get_by_label("Percentual").fill("130")
    page.get_by_role("button", name="Salvar e ver o que mudaria").click()

    # The fault is at its field, which has the focus, and what was typed is still there.
    percent = deposit(page, "Loja virtual").get_by_label("Percentual")
    expect(page.get_by_text("Nada foi salvo.")).to_be_visible()
    expect(percent).to_have_attribute("aria-invalid", "true")
    expect(percent).to_be_focused()
    expect(percent).to_have_value("130")
    fault = (percent.get_attribute("aria-describedby") or "").split()[-1]
    expect(page.locator(f"#{fault}")).to_contain_text("100")

    percent.fill("50")
    page.get_by_role("button", name="Salvar e ver o que mudaria").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Queijos")
    rule = page.url
    plan = page.get_by_role("table", name="O que muda em cada produto")
    row = plan.get_by_role("row").filter(has_text="QJO-01")
    expect(row).to_contain_text("+20")
    expect(page.locator("#plano .stat").filter(has_text="Sobem").locator("dd")).to_have_text("2")
    assert stack.sandbox.physical("serra", "QJO-01", "Loja virtual") == 0  # A plan writes nothing.

    page.get_by_role("button", name="Ativar regra").click()
    page.wait_for_url(re.compile("/execucoes/"))
    expect(page.locator("#andamento .badge").first).to_have_text("Sincronizado", timeout=60_000)
    assert shown(stack) == [20, 4, 0]

    stack.sandbox.post("sell", account="serra", sku="QJO-01", quantity=5, deposit="Geral")
    stack.wait_until_idle()
    assert shown(stack) == [17, 4, 0]

    page.goto(rule)
    page.get_by_role("button", name="Desativar regra").click()
    expect(page.get_by_text("A regra “Queijos” foi desativada.")).to_be_visible()
    stack.sandbox.post("sell", account="serra", sku="QJO-01", quantity=5, deposit="Geral")
    stack.wait_until_idle()
    assert shown(stack) == [17, 4, 0]

    page.get_by_role("button", name="Excluir regra").click()
    expect(page.get_by_text("A regra “Queijos” foi excluída.")).to_be_visible()
    page.goto(account)
    disconnect(page)


def deposit(page: Page, name: str) -> Locator:
    return page.get_by_role("group", name=f"Serra, depósito {name}")


def choose(place: Locator, role: str) -> None:
    place.get_by_role("radio", name=role).check()


def shown(stack: Stack) -> list[Decimal]:
    return [stack.sandbox.physical("serra", sku, "Loja virtual") for sku in ("QJO-01", "QJO-02", "QJO-03")]
