"""Exceções: the list, the form and its faults, what follows a change, and who may do what."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from models import Cell, DirtySku, Pool, Run, RunItem, SkuOverride, StockGroup
from tests.conftest import Browser
from tests.factories import Shop, make_group
from tests.web.test_groups import fault_at, words

Login = Callable[..., Browser]
SKU = "CANECA-01"


@pytest.fixture
def shop(app: Any) -> Shop:
    return Shop()


@pytest.fixture
def browser(login: Login, shop: Shop) -> Browser:
    return login(shop.owner)


def address(shop: Shop, rest: str = "") -> str:
    return f"/regras/{shop.group.id}/excecoes{rest}"


def exception(shop: Shop, sku: str = SKU, where: tuple[str, str] | None = None, **values: Any) -> SkuOverride:
    deposit = None if where is None else shop.deposits[where]
    return SkuOverride.create(organization=shop.organization, group=shop.group, sku=sku, deposit=deposit, **values)


def form(**typed: str) -> dict[str, str]:
    return {"sku": SKU, "target": "", "ignore": "", **typed}


def test_without_an_exception_the_page_says_what_one_is_for(shop: Shop, browser: Browser) -> None:
    page = words(browser.get(address(shop)))

    assert "Todos os produtos seguem a regra" in page
    assert "Criar a primeira exceção" in page


def test_the_list_says_each_exception_and_what_it_comes_to(shop: Shop, browser: Browser) -> None:
    shop.pool(SKU, available=Decimal(13))
    exception(shop, reserve=Decimal(3), percent=Decimal(50), stop_at=Decimal(2))
    exception(shop, where=("filial", "Loja virtual"), max=Decimal(4))
    exception(shop, "CAM-AZ-P", is_ignored=True)
    exception(shop, "SUMIU", max=Decimal(1))

    page = words(browser.get(address(shop)))

    assert "deixa 3 de reserva, mostra 50%, zera quando restam 2 ou menos em todos os compartilhados" in page
    assert "Matriz · Loja virtual mostra 5 de 13 Filial · Loja virtual mostra 4 de 13" in page
    assert "no máximo 4 em Filial · Loja virtual Filial · Loja virtual mostra 4 de 13" in page
    assert "CAM-AZ-P fica de fora em todos os compartilhados os saldos ficam como estão no Bling" in page
    assert "Produto que nenhuma conta tem agora SUMIU" in page


@pytest.mark.parametrize(("part", "shown"), [("0.5", "4,75"), ("0", "5")])
def test_what_it_comes_to_has_the_decimals_of_the_pool(shop: Shop, browser: Browser, part: str, shown: str) -> None:
    pool = shop.pool(SKU, available=Decimal("9.5") if part != "0" else Decimal(10))
    shop.cell(pool, "matriz", "Geral", Decimal(10) - Decimal(part))
    shop.cell(pool, "filial", "Loja virtual", "2.5")
    exception(shop, percent=Decimal(50))

    assert f"mostra {shown} de" in words(browser.get(address(shop)))


def test_it_is_found_by_sku_and_by_name_page_by_page(shop: Shop, browser: Browser) -> None:
    for number in range(60):
        exception(shop, f"PECA-{number:02}", max=Decimal(1))
    exception(shop, max=Decimal(1))

    def found(query: str) -> str:
        return words(browser.get(address(shop, query)))

    assert "61 exceções" in found("")
    assert "Página 1 de 2" in found("")
    assert "PECA-59" in found("?pagina=2")
    assert "PECA-59" in found("?pagina=99")
    assert "1 exceção" in found("?q=caneca")
    assert "1 exceção" in found("?q=Produto+CANECA")
    assert "Nenhuma exceção com “xyz”" in found("?q=xyz")


def test_other_pages_lead_to_the_exceptions_of_one_product(shop: Shop, browser: Browser) -> None:
    exception(shop, max=Decimal(1))
    exception(shop, "CAM-AZ-P", max=Decimal(2))

    assert "CAM-AZ-P" not in words(browser.get(address(shop, f"?sku={SKU}")))
    page = browser.get(address(shop, "?sku=CAM-AZ-M"))
    assert "O SKU CAM-AZ-M segue a regra como os outros" in words(page)
    assert f"{address(shop)}/nova?sku=CAM-AZ-M" in page.text
    assert 'value="CAM-AZ-M"' in browser.get(address(shop, "/nova?sku=CAM-AZ-M")).text


def test_a_new_exception_of_an_active_rule_has_its_product_settled(shop: Shop, browser: Browser) -> None:
    answer = browser.post(address(shop, "/nova"), data=form(reserve="1.234,5", percent="12,5%", max="", stop_at="2"))

    assert answer.status_code == 303
    row = SkuOverride.get()
    assert (row.sku, row.deposit_id, row.reserve, row.percent) == (SKU, None, Decimal("1234.5"), Decimal("12.5"))
    assert (row.max, row.stop_at, row.is_ignored) == (None, 2, False)
    run = Run.get()
    assert (run.reason, run.type, run.scope, run.user_id) == ("override", "manual", "skus", browser.user.id)
    assert [item.sku for item in RunItem.select()] == [d.sku for d in DirtySku.select()] == [SKU]
    assert "já está sendo conferido" in words(browser.get(address(shop)))
    assert "Exceção de um produto alterada" in words(browser.get(f"/execucoes/{run.id}"))


def test_one_of_a_rule_that_is_off_starts_nothing(shop: Shop, browser: Browser) -> None:
    StockGroup.update(is_active=False).execute()

    browser.post(address(shop, "/nova"), data=form(max="4"))

    assert SkuOverride.select().count() == 1
    assert not Run.select().exists()
    assert "conferido" not in words(browser.get(address(shop)))


@pytest.mark.parametrize(
    ("typed", "field", "said"),
    [
        ({"sku": ""}, "sku", "Obrigatório"),
        ({"sku": "NADA"}, "sku", "Nenhuma conta conectada tem"),
        ({"sku": "caneca-01"}, "sku", "o do Bling é “CANECA-01”"),
        ({"percent": "120"}, "percent", "entre 0 e 100"),
        ({"reserve": "muito"}, "reserve", "deve ser um número"),
        ({"max": "-1"}, "max", "não pode ser negativo"),
        ({"stop_at": "0,0000001"}, "stop_at", "casas decimais"),
        ({"target": "f" * 32}, "target", "não está entre os compartilhados"),
        ({"max": ""}, "limits", "pelo menos um limite"),
    ],
)
def test_what_is_wrong_stands_at_its_field_and_nothing_is_saved(
    shop: Shop, browser: Browser, typed: dict[str, str], field: str, said: str
) -> None:
    answer = browser.post(address(shop, "/nova"), data=form(**{"max": "4", **typed}))

    assert answer.status_code == 422
    assert said.lower() in fault_at(answer, field).lower()
    assert not SkuOverride.select().exists()
    assert not Run.select().exists()


def test_all_that_is_wrong_is_said_at_once(shop: Shop, browser: Browser) -> None:
    answer = browser.post(address(shop, "/nova"), data=form(sku="NADA", percent="140", target="f" * 32))

    assert "3 campos precisam de correção" in words(answer)
    for field in ("sku", "percent", "target"):
        assert fault_at(answer, field)


def test_a_product_may_be_left_out_of_one_deposit_only(shop: Shop, browser: Browser) -> None:
    shop.pool(SKU, available=Decimal(13))
    exception(shop, where=("filial", "Loja virtual"), is_ignored=True)

    page = words(browser.get(address(shop)))

    assert "fica de fora em Filial · Loja virtual Filial · Loja virtual fica como está no Bling" in page
    form_page = words(browser.get(address(shop, f"/{SkuOverride.get().id}")))
    assert "Matriz · Loja virtual mostra 13 de 13 Filial · Loja virtual fica como está no Bling" in form_page


def test_there_is_one_exception_per_product_and_place(shop: Shop, browser: Browser) -> None:
    exception(shop, max=Decimal(1))
    filial = shop.deposits["filial", "Loja virtual"].id
    exception(shop, where=("filial", "Loja virtual"), max=Decimal(1))

    everywhere = browser.post(address(shop, "/nova"), data=form(max="4"))
    there = browser.post(address(shop, "/nova"), data=form(max="4", target=filial))

    assert "para todos os compartilhados" in fault_at(everywhere, "target")
    assert "para este depósito" in fault_at(there, "target")
    matriz = shop.deposits["matriz", "Loja virtual"].id
    assert browser.post(address(shop, "/nova"), data=form(max="4", target=matriz)).status_code == 303


def test_it_is_edited_with_what_it_says_now(shop: Shop, browser: Browser) -> None:
    row = exception(shop, reserve=Decimal("1234.5"), percent=Decimal(50))

    page = browser.get(address(shop, f"/{row.id}"))
    assert 'value="1.234,5"' in page.text
    unchanged = browser.post(address(shop, f"/{row.id}"), data=form(reserve="1.234,5", percent="50"))
    assert (unchanged.status_code, Run.select().count()) == (303, 0)

    browser.post(address(shop, f"/{row.id}"), data=form(sku="OUTRO", reserve="", percent="0"))

    row = SkuOverride.get_by_id(row.id)
    assert (row.sku, row.reserve, row.percent) == (SKU, None, 0)
    assert Run.get().reason == "override"
    refused = browser.post(address(shop, f"/{row.id}"), data=form())
    assert "pelo menos um limite" in fault_at(refused, "limits")


def test_a_product_that_is_left_out_has_no_limits(shop: Shop, browser: Browser) -> None:
    row = exception(shop, reserve=Decimal(2))

    browser.post(address(shop, f"/{row.id}"), data=form(ignore="yes", reserve="2"))

    row = SkuOverride.get_by_id(row.id)
    assert (row.is_ignored, row.reserve) == (True, None)
    assert "Deixar de fora" in words(browser.get(address(shop, f"/{row.id}")))


@pytest.mark.parametrize("how", ["removed", "changed", "moved"])
def test_a_product_that_comes_back_begins_anew(shop: Shop, browser: Browser, how: str) -> None:
    row = exception(shop, is_ignored=True)
    pool, other = shop.pool(SKU, level=Decimal(3)), shop.pool("CAM-AZ-P", level=Decimal(4))
    away = [shop.cell(pool, "matriz", "Geral", 10), shop.cell(pool, "filial", "Loja virtual", 10)]
    shop.cell(other, "matriz", "Geral", 10)
    filial = shop.deposits["filial", "Loja virtual"].id

    if how == "removed":
        browser.post(address(shop, f"/{row.id}/remover"))
    else:
        typed = {"max": "4"} if how == "changed" else {"ignore": "yes", "target": filial}
        browser.post(address(shop, f"/{row.id}"), data=form(**typed))

    left = Cell.select().where(Cell.left_at.is_null(False)).order_by(Cell.id)
    # What an exception of one target says nothing about stays: the product was left out everywhere before.
    assert [cell.id for cell in left] == [cell.id for cell in away]
    assert [pool.level for pool in Pool.select().order_by(Pool.id)] == [None, 4]
    assert DirtySku.get().sku == SKU


def test_a_deposit_that_comes_back_begins_anew_and_the_others_go_on(shop: Shop, browser: Browser) -> None:
    row = exception(shop, where=("filial", "Loja virtual"), is_ignored=True)
    pool = shop.pool(SKU)
    kept = shop.cell(pool, "matriz", "Geral", 10)
    shop.cell(pool, "filial", "Loja virtual", 10)

    browser.post(address(shop, f"/{row.id}/remover"))

    assert [cell.id for cell in Cell.select().where(Cell.left_at.is_null())] == [kept.id]


def test_removing_one_has_the_rule_hold_again(shop: Shop, browser: Browser) -> None:
    row = exception(shop, max=Decimal(1))
    pool = shop.pool(SKU)

    answer = browser.post(address(shop, f"/{row.id}/remover"))

    assert answer.status_code == 303
    assert not SkuOverride.select().exists()
    assert Pool.get().id == pool.id
    assert Run.get().reason == "override"
    assert browser.post(address(shop, f"/{row.id}/remover")).status_code == 404


def test_one_of_another_rule_is_not_found_here(shop: Shop, browser: Browser) -> None:
    row = exception(shop, max=Decimal(1))
    other = make_group(shop.organization, name="Outra", is_active=False)

    for method, rest in (("get", ""), ("post", ""), ("post", "/remover")):
        answer = getattr(browser, method)(f"/regras/{other.id}/excecoes/{row.id}{rest}")
        assert answer.status_code == 404


def test_a_reader_looks_and_does_not_touch(shop: Shop, login: Login) -> None:
    row = exception(shop, max=Decimal(1))
    reader = login(organization=shop.organization, role="reader")

    page = words(reader.get(address(shop)))

    assert "no máximo 1" in page
    assert "Nova exceção" not in page
    assert "Remover" not in page
    assert reader.get(address(shop, "/nova")).status_code == 403
    assert reader.get(address(shop, f"/{row.id}")).status_code == 403


def test_the_page_of_a_product_leads_to_its_exceptions_and_back(shop: Shop, browser: Browser) -> None:
    shop.pool(SKU, available=Decimal(13))
    exception(shop, max=Decimal(1))

    assert f'href="{address(shop)}?sku={SKU}"' in browser.get(f"/estoque/{SKU}").text
    assert f'href="/estoque/{SKU}"' in browser.get(address(shop, f"?sku={SKU}")).text


def test_the_rule_leads_to_its_exceptions(shop: Shop, browser: Browser) -> None:
    assert f"{address(shop)}/nova" in browser.get(f"/regras/{shop.group.id}").text
    exception(shop, max=Decimal(1))

    page = browser.get(f"/regras/{shop.group.id}")

    assert f'href="{address(shop)}"' in page.text
    assert "1 exceção por SKU" in words(page)
