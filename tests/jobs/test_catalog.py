from __future__ import annotations

import pytest

from jobs import catalog
from models import Account, Deposit, Product
from sandbox import Bling
from tests.services.merchants import connected, organization

pytestmark = pytest.mark.usefixtures("config", "database", "redis")


def rows() -> list[tuple[str, str]]:
    return sorted((row.id, row.sku) for row in Product.select())


def test_it_reads_a_catalogue_and_doing_so_twice_changes_nothing(bling: Bling) -> None:
    account = connected(bling, organization())
    bling.add_product("matriz", "BONE-01")

    catalog.refresh_account(account.id)
    first = rows()
    catalog.refresh_account(account.id)

    assert [sku for _, sku in first] == ["BONE-01"]
    assert rows() == first
    assert Deposit.select().count() == 2


def test_it_looks_one_product_up_and_doing_so_twice_changes_nothing(bling: Bling) -> None:
    account = connected(bling, organization())
    product = bling.add_product("matriz", "BONE-01")
    bling.add_product("matriz", "OUTRO")

    for _ in range(2):
        catalog.look_up_product(account.id, product.id)

    assert [sku for _, sku in rows()] == ["BONE-01"]


def test_an_account_that_is_gone_is_no_failure() -> None:
    assert Account.select().count() == 0

    catalog.refresh_account("0" * 32)
    catalog.look_up_product("0" * 32, 1)
