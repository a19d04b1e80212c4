"""Connecting accounts of the sandbox as a merchant does."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect


def begin_connecting(page: Page, name: str) -> None:
    """From Contas to the consent page."""
    page.goto("/contas")
    page.get_by_role("link", name="Conectar conta").click()
    page.get_by_label("Nome da conta").fill(name)
    page.get_by_role("button", name="Continuar no Bling").click()
    expect(page.get_by_role("heading", name="quer acessar uma conta do Bling")).to_be_visible()


def authorize(page: Page, company: str) -> None:
    """On the consent page: yes, for this company."""
    page.get_by_role("radio", name=re.compile(company)).check()
    page.get_by_role("button", name="Autorizar").click()


def connect(page: Page, name: str, company: str, products: int) -> None:
    """Connect the company and wait until its catalogue is there. The page is the account's afterwards."""
    begin_connecting(page, name)
    authorize(page, company)
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    expect(page.locator(".stat").filter(has_text="Produtos").locator("dd")).to_have_text(str(products), timeout=30_000)


def disconnect(page: Page) -> None:
    """From the account's page."""
    page.get_by_role("link", name="Desconectar…").click()
    page.get_by_role("button", name="Desconectar").click()
    expect(page.get_by_text("o Bling encerrou o acesso")).to_be_visible()
