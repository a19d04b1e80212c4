"""A fourth account: connected on the consent page, refused, paused, renamed, lost, connected again, and let go."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.accounts import authorize, begin_connecting, connect, disconnect
from tests.e2e.stack import Stack

pytestmark = pytest.mark.e2e

OpenPage = Callable[..., Page]
# A connection that failed is a page of status 4xx, which the browser notes on its console.
CALLBACK = "/bling/callback"


def test_an_account_from_its_connection_to_its_end(stack: Stack, open_page: OpenPage) -> None:
    stack.sandbox.add_account("praia", "Comércio da Praia", {"BOI-01": "7", "BOI-02": "4"})
    page = open_page("/contas", expected=CALLBACK)

    # Refused first.
    begin_connecting(page, "Loja da Praia")
    page.get_by_role("button", name="Recusar").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("A conta não foi conectada")
    assert page.url.startswith(stack.url)
    page.get_by_role("link", name="Ver as contas").click()
    expect(page.get_by_role("rowheader", name="Loja da Praia")).to_have_count(0)

    connect(page, "Loja da Praia", "Comércio da Praia", products=2)
    state = page.get_by_role("region", name="Situação").locator(".badge").first
    expect(state).to_have_text("Conectada")
    expect(page.get_by_role("table", name="Depósitos da conta Loja da Praia").get_by_role("row")).to_have_count(3)
    page.get_by_role("link", name="Contas").first.click()
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="Loja da Praia"))
    expect(row).to_contain_text("Conectada")

    # The same company once more is the same account, not a second one.
    begin_connecting(page, "Outra vez")
    authorize(page, "Comércio da Praia")
    expect(page.get_by_text("já era a conta Loja da Praia")).to_be_visible()

    page.get_by_label("Nome da conta").fill("Quiosque")
    page.get_by_role("button", name="Renomear").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Quiosque")

    page.get_by_role("button", name="Pausar").click()
    expect(state).to_have_text("Pausada")
    stack.sandbox.post("sell", account="praia", sku="BOI-01", quantity=1)
    page.get_by_role("button", name="Retomar").click()
    expect(state).to_have_text("Conectada")

    # Taken back in Bling: the next call finds out, the page says so, and the merchant connects again.
    stack.sandbox.post("revoke", account="praia")
    page.get_by_role("button", name="Atualizar catálogo").click()
    expect(state).to_have_text("Reconectar", timeout=30_000)
    page.reload()
    page.get_by_role("link", name="Reconectar").first.click()
    page.get_by_role("button", name="Continuar no Bling").click()
    authorize(page, "Comércio da Praia")
    page.wait_for_url(re.compile(r"/contas/"))
    expect(state).to_have_text("Conectada")

    # An event of the account arrives on its page by itself.
    stack.sandbox.post("sell", account="praia", sku="BOI-02", quantity=1)
    events = page.get_by_role("table", name="Últimos avisos (webhooks) da conta Quiosque")
    expect(events.get_by_role("row").filter(has_text="BOI-02").first).to_be_visible()

    disconnect(page)
    expect(page.get_by_role("row").filter(has_text="Quiosque")).to_contain_text("Desconectada")


def test_another_company_in_place_of_the_one_that_was_to_be_reconnected_is_refused(
    stack: Stack, open_page: OpenPage
) -> None:
    page = open_page("/contas", expected=CALLBACK)
    page.get_by_role("link", name="Avulsa").click()
    page.get_by_role("link", name="Reconectar").click()
    page.get_by_role("button", name="Continuar no Bling").click()

    authorize(page, "Filial")

    expect(page.get_by_role("heading", level=1)).to_have_text("A conta não foi conectada")
    expect(page.get_by_role("link", name="Reconectar Avulsa")).to_be_visible()
    page.goto("/contas")
    for name in ("Avulsa", "Filial"):
        expect(page.get_by_role("row").filter(has_text=name).first).to_contain_text("Conectada")
