"""The web program goes away, answers with an error, forgets who we are: the page keeps what it shows and says so."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from devserver.demo import EMAIL, PASSWORD
from tests.e2e.stack import Stack

pytestmark = pytest.mark.e2e

OpenPage = Callable[..., Page]
AWAY = "Sem conexão com o servidor"


def test_a_web_program_that_died_leaves_the_page_as_it_is_until_it_is_back(stack: Stack, open_page: OpenPage) -> None:
    page = open_page("/historico", expected=r"ERR_|Failed to fetch|NetworkError|^htmx|/vivo|/estado")
    lines = page.locator(".log__entry").count()
    assert lines > 0

    # The supervisor looks away, so that nobody starts it again while we look.
    stack.terminal.send(signal.SIGSTOP)
    try:
        stack.program("web").kill()
        toast = page.get_by_role("alert").filter(has_text=AWAY)
        expect(toast).to_be_visible()
        expect(page.locator(".log__entry")).to_have_count(lines)
        expect(page.get_by_role("heading", name="Histórico")).to_be_visible()
    finally:
        stack.terminal.send(signal.SIGCONT)

    stack.terminal.wait_for("web was ended by SIGKILL; starting it again")
    expect(toast).to_have_count(0, timeout=30_000)
    stack.sandbox.post("sell", account="matriz", sku="REG-1L-CB", quantity=1, deposit="Geral")
    expect(page.locator(".log__entry").filter(has_text="REG-1L-CB").first).to_be_visible(timeout=30_000)


def test_an_answer_500_leaves_the_page_as_it_is(stack: Stack, open_page: OpenPage) -> None:
    page = open_page("/historico", expected="500")
    lines = page.locator(".log__entry").count()

    page.route("**/historico/vivo*", lambda route: route.fulfill(status=500, body="<h1>Erro interno</h1>"))
    toast = page.get_by_role("alert").filter(has_text=AWAY)
    expect(toast).to_be_visible()
    expect(page.locator(".log__entry")).to_have_count(lines)
    expect(page.get_by_text("Erro interno")).to_have_count(0)

    page.unroute("**/historico/vivo*")
    expect(toast).to_have_count(0)


def test_a_session_that_ended_leads_to_the_sign_in_page_and_back(stack: Stack, open_page: OpenPage) -> None:
    page = open_page("/historico?tipo=manual", expected="401")

    page.context.clear_cookies()

    page.wait_for_url(re.compile(r"/entrar\?volta="))
    page.get_by_label("E-mail").fill(EMAIL)
    page.get_by_label("Senha").fill(PASSWORD)
    page.get_by_role("button", name="Entrar").click()
    page.wait_for_url(re.compile(r"/historico\?tipo=manual$"))
    expect(page.get_by_label("Tipo")).to_have_value("manual")
