"""“Sincronizar agora”: what no event announced is found, and the work is followed to its end."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.e2e import books
from tests.e2e.stack import Stack

pytestmark = pytest.mark.e2e

OpenPage = Callable[..., Page]
RUN_MS = 60_000


@pytest.fixture
def unannounced(stack: Stack) -> Iterator[Callable[..., None]]:
    """unannounced(account, sku, quantity) is a sale that no webhook tells of."""

    def sell(account: str, sku: str, quantity: int) -> None:
        # The stock event and that of the virtual balance, and the same for each composition: all are lost.
        stack.sandbox.post("fault", kind="webhook_lost", rate=1)
        stack.sandbox.post("sell", account=account, sku=sku, quantity=quantity, deposit="Geral")
        stack.sandbox.post("faults/clear")

    stack.wait_until_idle()
    yield sell
    stack.sandbox.post("faults/clear")


def test_one_product_is_compared_and_put_right(
    stack: Stack, open_page: OpenPage, unannounced: Callable[..., None]
) -> None:
    unannounced("matriz", "TAB-BAM-M", 4)
    assert stack.sandbox.shop_windows("TAB-BAM-M") == [39, 39, 39]

    page = open_page("/")
    page.get_by_role("button", name="Sincronizar agora").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Um produto").click()
    dialog.get_by_label("SKU (código do produto)").fill("TAB-BAM-M")
    dialog.get_by_role("button", name="Sincronizar", exact=True).click()

    page.wait_for_url(re.compile(r"/execucoes/"))
    expect(page.locator("#andamento .badge").first).to_have_text("Sincronizado", timeout=RUN_MS)
    expect(page.get_by_role("article").filter(has_text="TAB-BAM-M")).to_contain_text("Como o total foi calculado")
    assert stack.sandbox.shop_windows("TAB-BAM-M") == [35, 35, 35]


def test_everything_is_compared_with_its_progress_on_screen(
    stack: Stack, open_page: OpenPage, unannounced: Callable[..., None]
) -> None:
    skus = ["PRA-RAS-26", "PRA-FUN-22", "COA-PAN-G", "SEM-MAN-01", "CAD-A5-KRA", "TOA-ROS-BR"]
    for sku in skus:
        unannounced("filial", sku, 1)
    # Each write takes a second, so that there is something to watch.
    stack.sandbox.post("fault", kind="slow", rate=1, seconds=1)

    page = open_page("/historico")
    page.get_by_role("button", name="Sincronizar agora").click()
    page.get_by_role("dialog").get_by_role("button", name="Sincronizar", exact=True).click()
    page.wait_for_url(re.compile(r"/execucoes/"))
    expect(page.get_by_role("progressbar", name="Andamento")).to_be_visible()
    expect(page.get_by_text(re.compile(r"^\d+ de \d+\sprodutos$"))).to_be_visible(timeout=RUN_MS)

    address = page.url
    page.reload()
    assert page.url == address
    expect(page.get_by_role("heading", name="Sincronização manual")).to_be_visible()
    expect(page.get_by_role("progressbar")).to_be_visible()
    stack.sandbox.post("faults/clear")

    expect(page.get_by_role("progressbar")).to_have_count(0, timeout=RUN_MS)
    expect(page.locator("#andamento .badge").first).to_have_text("Sincronizado")
    for sku in skus:
        expect(page.get_by_role("article").filter(has_text=sku)).to_be_visible()
    assert page.locator("#andamento").get_attribute("hx-trigger") is None
    page.get_by_role("link", name="Histórico").first.click()
    newest = page.locator(".log__entry").filter(has_text="Manual").first
    expect(newest.locator(".log__status")).to_have_text("Sincronizado")
    stack.wait_until_idle()
    assert books.faults(stack.sandbox) == []
