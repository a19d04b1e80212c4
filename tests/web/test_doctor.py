"""Doutor de SKU as people see it."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from services import doctor
from services.doctor_causes import Filters
from tests.conftest import Browser
from tests.factories import Shop, make_cell, make_product, make_write


@pytest.fixture
def shop(app: object) -> Shop:
    return Shop()


@pytest.fixture
def browser(shop: Shop, login: Callable[..., Browser]) -> Browser:
    return login(role="reader", organization=shop.organization)


def sick(shop: Shop) -> None:
    for _ in range(2):
        make_product(shop.accounts["filial"], "DUPLO", name="Boné <b>")
    make_product(shop.accounts["matriz"], "A-1", name="Meia")
    make_product(shop.accounts["filial"], "a-1", name="Meia")
    make_product(shop.accounts["matriz"], "KIT", format="composition")
    cell = shop.cell(shop.pool("CANECA-01"), "filial", "Loja virtual", problem="rejected")
    make_write(cell, -3, state="rejected", error="O depósito está inativo.")


def test_it_says_that_there_is_nothing_to_mend(browser: Browser) -> None:
    page = browser.get("/doutor")

    assert page.status_code == 200
    assert "Nada a corrigir" in page.text
    assert re.search(r'<a href="/doutor" aria-current="page">.*?Doutor de SKU', page.text, re.S)


def test_it_says_what_is_wrong_what_it_means_and_what_to_do(shop: Shop, browser: Browser) -> None:
    sick(shop)

    page = browser.get("/doutor").text

    for text in (
        "SKU duplicado na conta",
        "O estoque deste SKU não é sincronizado nesta conta.",
        "O que fazer",
        "Boné &lt;b&gt;",
        "SKUs que parecem o mesmo",
        "Mudam: maiúsculas e minúsculas",
        "O depósito está inativo.",
        "Fora da sincronização, com o motivo",
        "Composição (kit)",
    ):
        assert text in page, text
    assert page.index("SKU duplicado na conta") < page.index("SKUs que parecem o mesmo")
    double = doctor.examine_cause(shop.organization, Filters(cause="duplicate"), None).entries[0].lines[0]
    assert f'href="{double.url}" target="_blank" rel="noopener noreferrer"' in page
    assert f"id {double.product.bling_id}" in page
    assert 'href="/estoque/DUPLO"' in page


def test_a_cause_has_a_page_of_its_own_with_pages(
    shop: Shop, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "PAGE", 1)
    for sku in ("KIT-1", "KIT-2"):
        make_product(shop.accounts["matriz"], sku, format="composition")

    first = browser.get("/doutor?causa=composition").text
    following = re.search(r'href="(/doutor\?[^"]*depois=KIT-1[^"]*)"', first)
    assert following is not None
    second = browser.get(following[1].replace("&amp;", "&")).text

    assert ("KIT-1" in first, "/estoque/KIT-2" in first) == (True, False)
    assert ("/estoque/KIT-1" in second, "KIT-2" in second, "Do começo" in second) == (False, True, True)


def test_filters_stand_in_the_address_and_nonsense_is_no_filter(shop: Shop, browser: Browser) -> None:
    sick(shop)

    page = browser.get("/doutor?q=bon%C3%A9&conta=filial").text
    assert 'value="boné"' in page
    assert "SKU duplicado na conta" in page
    assert 'id="c-look_alike"' not in page
    assert "Nada a corrigir com estes filtros" in browser.get("/doutor?q=nada-disso").text
    assert "Nada a corrigir aqui" in browser.get("/doutor?causa=parent").text
    for nonsense in (
        "causa=x",
        "regra=x",
        "depois=%00",
        "q=%25%27%22",
        f"regra={'x' * 300}",
        "causa=owed&depois=%F0%9F%98%80",
    ):
        assert browser.get(f"/doutor?{nonsense}").status_code == 200, nonsense


def test_a_rule_links_to_its_own_findings(shop: Shop, browser: Browser) -> None:
    page = browser.get(f"/regras/{shop.group.id}").text
    assert f'href="/doutor?regra={shop.group.id}"' in page
    assert browser.get(f"/doutor?regra={shop.group.id}").status_code == 200


def test_the_panel_leads_there_when_something_needs_attention(shop: Shop, browser: Browser) -> None:
    sick(shop)
    assert 'href="/doutor">Doutor de SKU</a>' in browser.get("/").text


def test_it_shows_nothing_of_others(shop: Shop, browser: Browser) -> None:
    other = Shop()
    sick(other)
    make_cell(other.pool("CAM-AZ-P"), other.products["matriz", "CAM-AZ-P"], other.deposits["matriz", "Geral"], 3)

    for path in ("/doutor", "/doutor?causa=duplicate", f"/doutor?regra={other.group.id}", "/doutor?conta=filial"):
        page = browser.get(path).text
        assert "DUPLO" not in page
        assert other.group.id not in page.replace(f"regra={other.group.id}", "")
