"""What the client promises, whoever answers: the sandbox, or recorded answers that fit openapi.json.

The cast: the company *Matriz* with the deposits Geral (default), Loja virtual and Antigo (switched off), more products
than fit on a page, and a few that matter:

    COPO-1   12.5 in Geral (2.5 of it reserved), 3 in Loja virtual
    PRATO    sold out everywhere
    FACA     -2 in Geral
    CAMISA   parent of the variation CAMISA-P (7 in Geral)
    KIT      composition
    VELHO    inactive · GARFO deleted · one without SKU
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import pytest

from bling.client import BlingClient
from bling.errors import BlingError, NotFound, Rejected
from bling.payloads import find_deposit_balance
from core.values import MovementOrder, Product, ProductFormat, ProductSituation


@dataclass
class Matriz:
    """The client, and what the answering side knows to be true."""

    client: BlingClient
    company_id: str
    product_ids: dict[str, int]
    deposit_ids: dict[str, int]
    product_count: int
    changed_since: datetime
    """Only COPO-1 was changed after this."""


class BlingContract:
    """Subclass it with a fixture `matriz`."""

    def test_the_company_has_an_id(self, matriz: Matriz) -> None:
        company = matriz.client.get_company()

        assert company.id == matriz.company_id
        assert company.name == "Matriz"

    def test_all_deposits_are_listed(self, matriz: Matriz) -> None:
        deposits = {deposit.name: deposit for deposit in matriz.client.list_deposits()}

        assert {name: deposit.id for name, deposit in deposits.items()} == matriz.deposit_ids
        assert [name for name, deposit in deposits.items() if deposit.is_default] == ["Geral"]
        assert [name for name, deposit in deposits.items() if not deposit.is_active] == ["Antigo"]

    def test_all_products_are_listed_once(self, matriz: Matriz) -> None:
        products = list(matriz.client.list_products())

        assert len(products) == len({product.id for product in products}) == matriz.product_count > 100
        by_sku = {product.sku: product for product in products}
        assert {sku: by_sku[sku].id for sku in matriz.product_ids} == matriz.product_ids
        self.check_kinds(by_sku)

    def test_products_are_found_by_their_ids(self, matriz: Matriz) -> None:
        found = matriz.client.get_products([*matriz.product_ids.values(), 1])

        assert found.keys() == set(matriz.product_ids.values())
        self.check_kinds({product.sku: product for product in found.values()})

    def check_kinds(self, by_sku: dict[str, Product]) -> None:
        assert by_sku["COPO-1"].format is ProductFormat.SIMPLE
        assert by_sku["CAMISA"].format is ProductFormat.PARENT
        assert by_sku["KIT"].format is ProductFormat.COMPOSITION
        assert by_sku["CAMISA-P"].parent_id == by_sku["CAMISA"].id
        assert by_sku["COPO-1"].parent_id is None
        assert by_sku["VELHO"].situation is ProductSituation.INACTIVE
        assert by_sku["GARFO"].situation is ProductSituation.DELETED
        assert by_sku["COPO-1"].situation is ProductSituation.ACTIVE

    def test_changed_products_are_listed_alone(self, matriz: Matriz) -> None:
        assert [product.sku for product in matriz.client.list_products(matriz.changed_since)] == ["COPO-1"]

    def test_balances_are_found_whatever_their_sign(self, matriz: Matriz) -> None:
        ids = matriz.product_ids
        asked = {ids[sku] for sku in ("COPO-1", "PRATO", "FACA", "CAMISA-P")}

        result = matriz.client.get_balances(asked)

        assert result.found.keys() == asked
        assert result.absent == set()
        assert [result.filters[ids[sku]] for sku in ("COPO-1", "PRATO", "FACA")] == [1, 0, 2]
        copo = result.found[ids["COPO-1"]]
        geral = find_deposit_balance(copo, matriz.deposit_ids["Geral"])
        loja = find_deposit_balance(copo, matriz.deposit_ids["Loja virtual"])
        assert geral is not None
        assert loja is not None
        assert (geral.physical, geral.virtual) == (Decimal("12.5"), Decimal(10))
        assert (loja.physical, loja.virtual) == (Decimal(3), Decimal(3))
        assert (copo.physical_total, copo.virtual_total) == (Decimal("15.5"), Decimal(13))

    def test_a_sold_out_deposit_is_zero_and_not_unknown(self, matriz: Matriz) -> None:
        prato = matriz.product_ids["PRATO"]

        reading = matriz.client.get_balances([prato], hints={prato: 0}).found[prato]

        geral = find_deposit_balance(reading, matriz.deposit_ids["Geral"])
        assert geral is not None
        assert (geral.physical, geral.virtual) == (0, 0)

    def test_a_product_that_does_not_exist_is_absent(self, matriz: Matriz) -> None:
        result = matriz.client.get_balances([matriz.product_ids["COPO-1"], 1])

        assert result.absent == {1}

    def test_a_movement_gets_an_id(self, matriz: Matriz) -> None:
        assert matriz.client.create_movement(self.order(matriz, "COPO-1")) > 0

    @pytest.mark.parametrize("sku", ["CAMISA", "KIT"])
    def test_a_product_without_stock_of_its_own_is_refused(self, matriz: Matriz, sku: str) -> None:
        with pytest.raises(Rejected) as caught:
            matriz.client.create_movement(self.order(matriz, sku))

        assert caught.value.type == "VALIDATION_ERROR"
        assert caught.value.fields

    def test_a_movement_of_a_product_that_does_not_exist_is_refused(self, matriz: Matriz) -> None:
        order = MovementOrder(1, matriz.deposit_ids["Geral"], "E", Decimal(1), "")

        with pytest.raises((NotFound, Rejected)) as caught:
            matriz.client.create_movement(order)

        assert isinstance(caught.value, BlingError)

    def order(self, matriz: Matriz, sku: str) -> MovementOrder:
        product_id, deposit_id = matriz.product_ids[sku], matriz.deposit_ids["Geral"]
        return MovementOrder(product_id, deposit_id, "S", Decimal("0.25"), "Sincronização EstoqueUni")
