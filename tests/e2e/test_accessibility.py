"""Every page that links lead to, on a wide screen and on a phone, light and dark. Looking writes nothing."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page

from tests.e2e.stack import Stack

pytestmark = pytest.mark.e2e

OpenPage = Callable[..., Page]
AXE = (Path(__file__).parent / "vendor" / "axe-4.14.1.min.js").read_text()
STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
CONTRAST = ["color-contrast"]
# So high that no bar at the edge covers anything that scrolling would uncover.
WIDE = {"viewport": {"width": 1280, "height": 4000}}
PHONE = {"viewport": {"width": 360, "height": 8000}, "has_touch": True, "is_mobile": True}
QUIET_S = 30.0
# Of a list, the first rows stand for the others.
REPEATED = "tbody tr:nth-child(n+5), .item:nth-child(n+4), .log__entry:nth-child(n+6)"
IDS = re.compile(r"(?<=/estoque/).+|[0-9a-f]{32}|\d{4,}")


@dataclass(frozen=True)
class Quiet:
    since: float
    writes: int


@pytest.fixture(scope="module")
def quiet(stack: Stack) -> Quiet:
    """Everything has settled, and nobody moves any stock while this module runs."""
    # The newest run is a short one, so that a page of sixty products need not be judged.
    stack.sandbox.post("sell", account="matriz", sku="VEL-LAV-180", quantity=1, deposit="Geral")
    stack.wait_until_idle()
    return Quiet(time.monotonic(), stack.sandbox.writes())


@pytest.fixture(scope="module")
def in_review(stack: Stack, quiet: Quiet) -> Iterator[None]:
    """A write that waits for an answer, so that its pages are looked at as well; the books stay what they are."""
    with closing(sqlite3.connect(stack.var_dir / "estoqueuni.sqlite", timeout=30)) as database:
        newest = "SELECT MAX(id) FROM stock_write WHERE state = 'confirmed' AND quantity > 0"
        [write_id] = database.execute(newest).fetchone()
        ask = "UPDATE stock_write SET evidence = 'smaller_pool', found = before, found_at = ended_at WHERE id = ?"
        database.execute(ask, (write_id,))
        database.commit()
        yield
        forget = "UPDATE stock_write SET evidence = NULL, found = NULL, found_at = NULL WHERE id = ?"
        database.execute(forget, (write_id,))
        database.commit()


@pytest.mark.usefixtures("in_review")
@pytest.mark.parametrize("device", [WIDE, PHONE], ids=["wide", "phone"])
def test_no_page_of_ours_is_in_anybodys_way(
    stack: Stack, open_page: OpenPage, quiet: Quiet, device: dict[str, Any]
) -> None:
    page = open_page("/", **device)

    seen, found = look_at_everything(page, stack.url)

    page = open_page("/entrar", signed_in=False, **device)
    found += faults_of(page)
    page = open_page("/nada-aqui", expected="/nada-aqui", **device)
    found += faults_of(page)
    assert found == []
    assert len(seen) >= 12, sorted(seen)
    assert "/revisao/…" in seen


@pytest.mark.parametrize("device", [WIDE, PHONE], ids=["wide", "phone"])
def test_no_page_of_the_sandbox_is_in_anybodys_way(
    stack: Stack, open_page: OpenPage, quiet: Quiet, device: dict[str, Any]
) -> None:
    page = open_page(stack.sandbox.url, **device)

    seen, found = look_at_everything(page, stack.sandbox.url)

    assert found == []
    assert len(seen) >= 6, sorted(seen)


def test_thirty_quiet_seconds_pass_without_a_write(stack: Stack, quiet: Quiet) -> None:
    """The promise of the design. Pages were read and plans compared meanwhile, when the whole file is run."""
    time.sleep(max(0.0, quiet.since + QUIET_S - time.monotonic()))

    assert stack.sandbox.writes() == quiet.writes
    assert stack.status()["idle"]


def look_at_everything(page: Page, site: str) -> tuple[set[str], list[str]]:
    """Follow the links of the site, one of each kind, and gather what is wrong with each page."""
    seen: set[str] = set()
    found: list[str] = []
    ahead = ["/"]
    while ahead:
        path = ahead.pop(0)
        if IDS.sub("…", path) in seen:
            continue
        seen.add(IDS.sub("…", path))
        page.goto(f"{site}{path}")
        found += faults_of(page)
        links = page.evaluate("[...document.links].map((link) => link.href)")
        ahead += [urlsplit(link).path for link in links if link.startswith(f"{site}/")]
    return seen, found


def faults_of(page: Page) -> list[str]:
    sticks_out = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    found = [f"{page.url} sticks out by {sticks_out} px"] if sticks_out > 0 else []
    found += [f"{page.url}, light: {fault}" for fault in violations(page, {"type": "tag", "values": STANDARDS})]
    # What a scheme changes is contrast.
    page.emulate_media(color_scheme="dark")
    found += [f"{page.url}, dark: {fault}" for fault in violations(page, {"type": "rule", "values": CONTRAST})]
    page.emulate_media(color_scheme="light")
    return found


def violations(page: Page, only: dict[str, Any]) -> list[str]:
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE)
    result = page.evaluate(
        """async ({only, repeated}) => {
            const isMoving = () => document.getAnimations().some((one) => one instanceof CSSTransition);
            while (isMoving()) await new Promise(requestAnimationFrame);
            return axe.run({exclude: [repeated]}, {runOnly: only, resultTypes: ["violations"]});
        }""",
        {"only": only, "repeated": REPEATED},
    )
    return [
        f"{one['id']} ({one['help']}): {node['html'][:160]}"
        for one in result["violations"]
        for node in one["nodes"][:3]
    ]
