"""The whole program as `make run` starts it, once, and a browser in front of it."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, StorageState, expect, sync_playwright

from devserver.demo import EMAIL, PASSWORD
from tests.e2e.stack import Stack

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
LAST_LINES = 150
NOTHING = r"$^"
PATIENCE_MS = 15_000

OpenPage = Callable[..., Page]


# Of the package, not of the session: Playwright's loop would be in the way of other modules that start their own.
@pytest.fixture(scope="package")
def stack() -> Iterator[Stack]:
    """Everything runs, and the demo merchant's first synchronization is over."""
    # Short, because a Unix socket's path has to be.
    with tempfile.TemporaryDirectory(prefix="eu-", dir="/tmp") as directory:
        stack = Stack(Path(directory) / "var")
        try:
            stack.wait_until_idle()
            yield stack
        finally:
            code = stack.end()
        assert code == 0, stack.terminal.text()[-5000:]


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        expect.set_options(timeout=PATIENCE_MS)
        yield browser
        expect.set_options()
        browser.close()


@pytest.fixture(scope="package")
def signed_in(chromium: Browser, stack: Stack) -> StorageState:
    """The cookies of somebody who signed in."""
    context = chromium.new_context(base_url=stack.url)
    page = context.new_page()
    sign_in(page)
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def open_page(chromium: Browser, stack: Stack, request: pytest.FixtureRequest) -> Iterator[OpenPage]:
    """open_page("/historico") is a tab of a browser in which the demo user signed in.

    Errors and htmx's warnings on its console end the test, unless `expected`, a pattern, is found in the address they
    come from or in their text. `signed_in=False`: a browser that knows nobody.
    """
    contexts: list[BrowserContext] = []
    faults: list[str] = []

    def open_(path: str, expected: str = NOTHING, signed_in: bool = True, **options: Any) -> Page:
        state = request.getfixturevalue("signed_in") if signed_in else None
        context = chromium.new_context(
            **{
                "base_url": stack.url,
                "locale": "pt-BR",
                "timezone_id": "America/Sao_Paulo",
                "viewport": {"width": 1280, "height": 900},
                "storage_state": state,
                **options,
            }
        )
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        context.on("page", lambda page: watch(page, expected, faults))
        page = context.new_page()
        page.goto(path)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not faults


def watch(page: Page, expected: str, faults: list[str]) -> None:
    """Gather what goes wrong inside the page."""

    def note(where: str, text: str) -> None:
        if not re.search(expected, where) and not re.search(expected, text):
            faults.append(f"{page.url}: {text} ({where})")

    def heard(message: ConsoleMessage) -> None:
        if message.type == "error" or (message.type == "warning" and message.text.lower().startswith("htmx")):
            note(message.location.get("url", ""), message.text)

    page.on("console", heard)
    page.on("pageerror", lambda error: note(page.url, str(error)))


def sign_in(page: Page) -> None:
    page.goto("/entrar")
    page.get_by_label("E-mail").fill(EMAIL)
    page.get_by_label("Senha").fill(PASSWORD)
    page.get_by_role("button", name="Entrar").click()
    page.wait_for_url(re.compile(r"/$"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that fails shows what the programs said."""
    report = yield
    stack = getattr(item, "funcargs", {}).get("stack")
    if report.failed and isinstance(stack, Stack):
        report.sections.append(("what the stack said", "".join(stack.terminal.lines[-LAST_LINES:])))
    return report
