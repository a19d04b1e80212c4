"""Events that need more than a mark: product changes, and stock of products that nobody knows yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from peewee import Database

from config import Config
from models import Account, DirtySku, Event, Product
from sandbox import Bling
from services import inbox
from tests.factories import make_deposit, make_event, make_group
from tests.services.merchants import connected, organization
from tests.trouble import skip_waits

pytestmark = pytest.mark.usefixtures("config", "database", "redis")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    skip_waits(monkeypatch)


@pytest.fixture
def matriz(database: Database, config: Config, bling: Bling) -> Iterator[Account]:
    bling.add_product("matriz", "CANECA")
    account = connected(bling, organization(), "matriz", read=True)
    make_group(account.organization, [make_deposit(account, "Outro")])
    return account


def stock(account: Account, bling_id: int, **values: Any) -> Event:
    return make_event(
        account, "stock.created", state="pending", product_bling_id=bling_id, deposit_bling_id=1, **values
    )


def state(event: Event) -> tuple[str, str | None, str | None]:
    event = Event.get_by_id(event.id)
    return event.state, event.reason, event.sku


def sort(account: Account) -> int:
    return inbox.sort_inbox(account.organization_id)


def test_stock_of_an_unknown_product_has_it_looked_up_and_marked(matriz: Account, bling: Bling) -> None:
    product = bling.add_product("matriz", "NOVO")
    event = stock(matriz, product.id)

    assert sort(matriz) == 1

    assert state(event) == ("pending", None, "NOVO")
    assert [dirty.sku for dirty in DirtySku.select()] == ["NOVO"]
    assert Product.get(Product.sku == "NOVO").bling_id == product.id
    assert sort(matriz) == 0


def test_a_product_that_bling_does_not_know_ends_the_event(matriz: Account) -> None:
    event = stock(matriz, 99)

    assert sort(matriz) == 1
    assert state(event) == ("ignored", "unknown_product", None)
    assert DirtySku.select().count() == 0


def test_a_product_without_sku_ends_the_event_with_its_reason(matriz: Account, bling: Bling) -> None:
    event = stock(matriz, bling.add_product("matriz", "").id)

    sort(matriz)

    assert state(event) == ("ignored", "empty_sku", None)


def test_two_events_of_one_unknown_product_cost_one_call(matriz: Account, bling: Bling) -> None:
    product = bling.add_product("matriz", "NOVO")
    events = [stock(matriz, product.id) for _ in range(3)]
    before = len(bling.requests())

    assert sort(matriz) == 3
    assert len(bling.requests()) == before + 1
    assert {state(event) for event in events} == {("pending", None, "NOVO")}


def test_an_account_that_is_down_lets_its_events_wait_and_no_others(matriz: Account, bling: Bling) -> None:
    filial = connected(bling, matriz.organization, "filial", read=True)
    here = [stock(matriz, bling.add_product("matriz", "NOVO").id) for _ in range(2)]
    there = stock(filial, bling.add_product("filial", "NOVO").id)
    bling.faults.set("error_500", 1.0, account="matriz")
    before = len(bling.requests("matriz"))

    assert sort(matriz) == 1
    assert len(bling.requests("matriz")) == before + 4, "one question with its retries, not one per event"
    assert state(there) == ("pending", None, "NOVO")
    assert Event.get_by_id(here[0].id).attempts == 1
    assert "respondeu" in Account.get_by_id(matriz.id).last_error

    bling.faults.clear()
    assert sort(matriz) == 2
    assert {state(event)[2] for event in here} == {"NOVO"}


def test_an_event_is_given_up_in_the_end(matriz: Account, bling: Bling) -> None:
    event = stock(matriz, bling.add_product("matriz", "NOVO").id, attempts=inbox.MAX_ATTEMPTS - 1)
    bling.faults.set("error_500", 1.0)

    sort(matriz)

    assert state(event)[0] == "failed"
    bling.faults.clear()
    assert sort(matriz) == 0


def test_product_events_change_the_catalogue_and_mark_both_names(matriz: Account, bling: Bling) -> None:
    product = Product.get(Product.sku == "CANECA")
    body = '{"data": {"id": %d, "nome": "Caneca", "codigo": "CANECA-2", "formato": "S", "situacao": "A", "tipo": "P"}}'
    event = make_event(
        matriz, "product.updated", state="pending", product_bling_id=product.bling_id, body=body % product.bling_id
    )

    assert sort(matriz) == 1
    assert state(event)[0] == "processed"
    assert Product.get_by_id(product.id).sku == "CANECA-2"
    assert {(dirty.sku, dirty.needs_look) for dirty in DirtySku.select()} == {("CANECA", True), ("CANECA-2", True)}
    assert sort(matriz) == 0


def test_events_of_other_merchants_are_none_of_its_business(matriz: Account, bling: Bling) -> None:
    other = connected(bling, organization("outra"), "filial", read=True)
    event = stock(other, bling.add_product("filial", "NOVO").id)

    assert sort(matriz) == 0
    assert state(event)[2] is None


def test_a_name_that_no_database_takes_is_mended_and_holds_up_nobody(matriz: Account) -> None:
    odd = make_event(
        matriz,
        "product.created",
        state="pending",
        product_bling_id=77,
        body='{"data": {"id": 77, "nome": "Copo \\u0000 \\ud800", "codigo": "COPO\\u0000", "situacao": "A"}}',
    )

    assert sort(matriz) == 1

    assert state(odd)[0] == "processed"
    product = Product.get(Product.bling_id == 77)
    assert (product.name, product.sku) == ("Copo \ufffd ?", "COPO\ufffd")


def test_an_event_that_fails_unexpectedly_waits_and_the_others_go_on(
    matriz: Account, bling: Bling, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_event(matriz, "product.updated", state="pending", product_bling_id=1, bling_event_id="0" * 32)
    second = stock(matriz, bling.add_product("matriz", "NOVO").id, bling_event_id="f" * 32)

    def fail(_event: Event) -> set[str]:
        raise ZeroDivisionError

    monkeypatch.setattr(inbox, "apply_product_event", fail)

    assert sort(matriz) == 1

    assert state(first) == ("pending", "unexpected", None)
    assert state(second) == ("pending", None, "NOVO")
