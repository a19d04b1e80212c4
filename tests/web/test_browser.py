"""The pages in a real browser: a quiet console, nothing sticks out, live parts live, all works without JavaScript."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import BrowserContext, Page, expect, sync_playwright
from werkzeug.serving import WSGIRequestHandler, make_server

import queues
from clock import utcnow
from models import Run
from tests.conftest import Browser
from tests.factories import PASSWORD, Shop
from tests.web.scenes import busy_shop, sale
from tests.web.test_fragments import Scene, is_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


class Quiet(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def site(app: Flask) -> Iterator[str]:
    queues.beat("worker", "w1")
    queues.beat("scheduler", "s1")
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()


@pytest.fixture
def shop(app: Flask) -> Shop:
    return busy_shop()


@pytest.fixture
def visit(chromium: Chromium, site: str, shop: Shop) -> Iterator[Callable[..., Page]]:
    """visit("/historico", width=360) is a page where the shop's owner signed in. Errors on its console end the test."""
    contexts: list[BrowserContext] = []
    faults: list[str] = []

    def open_page(path: str, width: int = 1280, expected: str = r"$^", **options: Any) -> Page:
        context = chromium.new_context(
            base_url=site,
            locale="pt-BR",
            timezone_id="America/Sao_Paulo",
            viewport={"width": width, "height": 800},
            **options,
        )
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(f"{page.url}: {error}"))
        page.on(
            "console",
            lambda message: (
                faults.append(f"{page.url}: {message.text}")
                if message.type in ("error", "warning") and not re.search(expected, message.text)
                else None
            ),
        )
        page.goto("/entrar")
        page.get_by_label("E-mail").fill(shop.owner.email)
        page.get_by_label("Senha").fill(PASSWORD)
        page.get_by_role("button", name="Entrar").click()
        page.wait_for_url("**/")
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not faults


@pytest.mark.parametrize("width", [1280, 320])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_errors_or_sticks_out(
    visit: Callable[..., Page], app: Flask, login: Callable[..., Browser], shop: Shop, width: int, scheme: str
) -> None:
    scene = Scene(app, login, shop)
    pages = sorted({address for where, html in scene.answers() if is_page(html) for who, address in [where.split()]})
    page = visit("/", width, color_scheme=scheme)

    assert len(pages) > 12
    for address in pages:
        page.goto(address)
        sticks_out = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert sticks_out <= 0, f"{address} at {width}: {sticks_out} px"


def test_a_sale_appears_on_the_history_by_itself(visit: Callable[..., Page], shop: Shop) -> None:
    page = visit("/historico")
    entries = page.locator(".log__entry")
    before = entries.count()
    second = entries.nth(1)
    second.locator("summary").click()
    expect(second.get_by_text("Como o total foi calculado")).to_be_visible()
    search = page.get_by_label("Produto ou SKU")
    search.fill("meia palavra")

    run = sale(shop, "CAM-AZ-M", utcnow())

    expect(page.locator(f"#run-{run.id}")).to_be_visible(timeout=2500)
    expect(entries).to_have_count(before + 1)
    # What somebody was reading or typing is left alone.
    expect(entries.nth(2).get_by_text("Como o total foi calculado")).to_be_visible()
    expect(search).to_have_value("meia palavra")
    expect(search).to_be_focused()


def test_a_quiet_history_costs_next_to_nothing(visit: Callable[..., Page], app: Flask) -> None:
    page = visit("/historico")
    answers: list[int] = []
    page.on("response", lambda response: answers.append(response.status) if "/historico/vivo" in response.url else None)

    page.wait_for_timeout(3500)

    assert len(answers) >= 2
    assert set(answers) == {304}


def test_a_hidden_tab_asks_nothing(visit: Callable[..., Page]) -> None:
    page = visit("/historico")
    asked: list[str] = []
    page.evaluate("Object.defineProperty(document, 'hidden', {get: () => window.isHidden, configurable: true})")
    page.evaluate("window.isHidden = true")
    page.wait_for_timeout(500)
    page.on("request", lambda request: asked.append(request.url))

    page.wait_for_timeout(2500)
    assert asked == []

    page.evaluate("window.isHidden = false; document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_timeout(500)
    assert [url for url in asked if "/historico/vivo" in url]


def test_a_run_is_followed_to_its_end(visit: Callable[..., Page], shop: Shop) -> None:
    run = Run.get(Run.status == "running")
    page = visit(f"/execucoes/{run.id}")
    expect(page.get_by_role("progressbar")).to_be_visible()

    Run.update(status="ok", finished_at=utcnow(), unchanged=60).where(Run.id == run.id).execute()

    expect(page.get_by_role("progressbar")).to_have_count(0, timeout=3000)
    expect(page.locator("#andamento .badge").first).to_have_text("Sincronizado")
    assert page.locator("#andamento").get_attribute("hx-trigger") is None


def test_the_dialog_starts_one_product(visit: Callable[..., Page], shop: Shop) -> None:
    page = visit("/historico")
    opener = page.get_by_role("button", name="Sincronizar agora")
    opener.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    expect(dialog.get_by_label("SKU (código do produto)")).to_be_hidden()

    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(opener).to_be_focused()

    opener.click()
    dialog.get_by_text("Um produto").click()
    dialog.get_by_label("SKU (código do produto)").fill("00123")
    dialog.get_by_role("button", name="Sincronizar", exact=True).click()

    page.wait_for_url("**/execucoes/*")
    expect(page.get_by_role("heading", name="Sincronização manual")).to_be_visible()
    expect(page.get_by_text("Chaveiro")).to_be_visible()


def test_a_wrong_sku_gets_the_focus(visit: Callable[..., Page]) -> None:
    page = visit("/sincronizar", expected="422")
    form = page.locator("main form")
    form.get_by_text("Um produto").click()
    form.get_by_label("SKU (código do produto)").fill("nada")
    form.get_by_role("button", name="Sincronizar", exact=True).click()

    expect(form.get_by_text("Nenhuma conta tem o SKU “nada”.")).to_be_visible()
    expect(form.get_by_label("SKU (código do produto)")).to_be_focused()


def test_a_lost_connection_is_said_once_and_taken_back(visit: Callable[..., Page]) -> None:
    page = visit("/historico", expected="ERR_INTERNET_DISCONNECTED|Failed to fetch|htmx")
    lines = page.locator(".log__entry").count()

    page.context.set_offline(True)
    toast = page.get_by_role("alert").filter(has_text="Sem conexão")
    expect(toast).to_be_visible(timeout=4000)
    page.wait_for_timeout(2500)
    expect(toast).to_have_count(1)
    expect(page.locator(".log__entry")).to_have_count(lines)

    page.context.set_offline(False)
    expect(toast).to_have_count(0, timeout=4000)


def test_a_session_that_ended_leads_to_the_sign_in_page(visit: Callable[..., Page], shop: Shop) -> None:
    page = visit("/historico?tipo=cron", expected="401")

    shop.owner.session_version += 1
    shop.owner.save()

    page.wait_for_url(re.compile(r"/entrar\?volta="), timeout=4000)
    page.get_by_label("E-mail").fill(shop.owner.email)
    page.get_by_label("Senha").fill(PASSWORD)
    page.get_by_role("button", name="Entrar").click()
    page.wait_for_url(re.compile(r"/historico\?tipo=cron$"))


def test_a_filter_is_in_the_address_and_back_restores_it(visit: Callable[..., Page]) -> None:
    page = visit("/historico")
    page.get_by_label("Tipo").select_option("Agendada")
    page.wait_for_url(re.compile(r"tipo=cron"))
    expect(page.locator(".log__entry")).to_have_count(2)

    page.go_back()

    page.wait_for_url("**/historico")
    expect(page.get_by_label("Tipo")).to_have_value("")


def test_everything_works_without_javascript(visit: Callable[..., Page]) -> None:
    page = visit("/historico", java_script_enabled=False)
    page.get_by_label("Tipo").select_option("Agendada")
    page.get_by_role("button", name="Filtrar").click()
    page.wait_for_url(re.compile(r"tipo=cron"))
    assert page.locator(".log__entry").count() == 2

    page.locator(".log__row").nth(0).click()
    page.get_by_role("link", name="Ver todos os detalhes desta sincronização").first.click()
    page.wait_for_url("**/execucoes/*")

    page.get_by_role("button", name="Sincronizar agora").click()
    page.wait_for_url(re.compile(r"/sincronizar"))
    page.locator("main").get_by_text("Um produto").click()
    page.locator("main").get_by_label("SKU (código do produto)").fill("00123")
    page.locator("main").get_by_role("button", name="Sincronizar", exact=True).click()
    page.wait_for_url("**/execucoes/*")

    page.get_by_role("button", name="Tema escuro").first.click()
    assert page.locator("html").get_attribute("data-tema") == "escuro"
    page.get_by_role("button", name="Sair").first.click()
    page.wait_for_url("**/entrar")
