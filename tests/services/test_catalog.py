from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta
from uuid import uuid4

import pytest
from peewee import Database

import queues
from bling.errors import Unavailable
from clock import utcnow
from core import values
from core.values import ProductFormat, ProductSituation
from ids import new_id
from models import Account, AccountState, DirtySku, Event, Product, StockGroup
from models import Deposit as DepositRow
from sandbox import Bling
from services import catalog
from services.bling_clients import client_for
from services.catalog import (
    CatalogSnapshot,
    fetch_catalog,
    refresh_account,
    resolve_product,
    sku_products,
    store_catalog,
)
from services.product_events import apply_product_event
from tests.services.merchants import connected, fresh, organization

pytestmark = pytest.mark.usefixtures("config", "database", "redis")

CAP = values.Product(101, "BONE-01", "Boné", ProductFormat.SIMPLE, ProductSituation.ACTIVE, None)


def snapshot(*products: values.Product, deposits: Iterable[values.Deposit] = (), ago: float = 0.0) -> CatalogSnapshot:
    began_at = utcnow() - timedelta(seconds=ago)
    return CatalogSnapshot(deposits=tuple(deposits), products=products, fetched_at=began_at)


def changed(product: values.Product, **fields: object) -> values.Product:
    return values.Product(**{**{name: getattr(product, name) for name in product.__slots__}, **fields})  # type: ignore[arg-type]


def event_id(seconds: float) -> str:
    """A Bling event id of now plus so many seconds; theirs have dashes."""
    ms = int((utcnow().timestamp() + seconds) * 1000)
    text = f"{ms:012x}7000e000{ms:012x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def product_event(account: Account, kind: str, seconds: float = 0.0, named: str | None = None, **data: object) -> Event:
    bling_event_id = named or event_id(seconds)
    body = {"eventId": bling_event_id, "event": kind, "companyId": account.company_id, "data": data}
    return Event.create(
        dedup_key=new_id(),
        organization=account.organization_id,
        account=account.id,
        bling_event_id=bling_event_id,
        kind=kind,
        state="pending",
        received_at=utcnow(),
        body=json.dumps(body),
    )


def the_product(account: Account, bling_id: int) -> Product:
    return Product.get((Product.account == account.id) & (Product.bling_id == bling_id))


def names(account: Account) -> dict[str, str]:
    return {row.sku: row.situation for row in Product.select().where(Product.account == account.id)}


def test_it_reads_company_deposits_and_products(bling: Bling) -> None:
    account = connected(bling, organization())
    cap = bling.add_product("matriz", "  BONE-01 ", "Boné")
    bling.add_product("matriz", "KIT", components={cap.id: 2})
    bling.add_product("matriz", "", "Sem código")
    bling.add_product("matriz", "FRETE", kind="S")
    bling.edit_deposit("matriz", "Loja virtual", situation=0)

    refresh_account(account)

    row = fresh(account)
    assert (row.company_name, row.catalog_at is not None) == ("Matriz", True)
    deposits = {
        d.name: (d.is_active, d.is_default) for d in DepositRow.select().where(DepositRow.account == account.id)
    }
    assert deposits == {"Geral": (True, True), "Loja virtual": (False, False)}
    assert {row.sku: row.format for row in Product.select()} == {
        "BONE-01": "simple",
        "KIT": "composition",
        "": "simple",
    }


def test_reading_again_changes_nothing_and_keeps_the_ids(bling: Bling) -> None:
    account = connected(bling, organization())
    bling.add_product("matriz", "BONE-01")
    assert refresh_account(account) == {"BONE-01"}
    before = [(row.id, row.bling_id) for row in Product.select().order_by(Product.id)]

    assert refresh_account(account) == set()

    assert [(row.id, row.bling_id) for row in Product.select().order_by(Product.id)] == before


def test_it_tells_old_and_new_sku_of_what_changed(bling: Bling) -> None:
    account = connected(bling, organization())
    for sku in ("A", "B", "C", "D"):
        bling.add_product("matriz", sku)
    refresh_account(account)
    bling.edit_product("matriz", "A", sku="A2")
    bling.edit_product("matriz", "B", situation="I")
    bling.edit_product("matriz", "C", name="Só outro nome")

    assert refresh_account(account) == {"A", "A2", "B"}

    assert names(account) == {"A2": "active", "B": "inactive", "C": "active", "D": "active"}
    assert Product.get(Product.sku == "C").name == "Só outro nome"


def test_a_product_that_vanished_is_marked_and_comes_back_with_its_id(bling: Bling) -> None:
    account = connected(bling, organization())
    store_catalog(account, snapshot(CAP, changed(CAP, id=102, sku="OUTRO")), full=True)
    kept = the_product(account, 101).id

    assert store_catalog(account, snapshot(changed(CAP, id=102, sku="OUTRO")), full=True) == {"BONE-01"}
    assert names(account) == {"BONE-01": "deleted", "OUTRO": "active"}

    assert store_catalog(account, snapshot(CAP, changed(CAP, id=102, sku="OUTRO")), full=True) == {"BONE-01"}
    assert (the_product(account, 101).id, names(account)["BONE-01"]) == (kept, "active")


def test_a_partial_reading_says_nothing_of_what_is_not_in_it(bling: Bling) -> None:
    account = connected(bling, organization())
    store_catalog(account, snapshot(CAP, changed(CAP, id=102, sku="OUTRO")), full=True)
    read_at = fresh(account).catalog_at

    assert store_catalog(account, snapshot(changed(CAP, id=102, situation=ProductSituation.INACTIVE)), full=False) == {
        "OUTRO",
        "BONE-01",
    }

    assert the_product(account, 101).situation == "active"
    assert fresh(account).catalog_at == read_at


def test_a_product_that_slipped_between_two_pages_is_not_taken_for_deleted(
    bling: Bling, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = connected(bling, organization())
    first = bling.add_product("matriz", "A")
    bling.add_product("matriz", "B")
    refresh_account(account)
    bling.delete_product("matriz", "B")
    whole = fetch_catalog

    def slipping(*args: object) -> CatalogSnapshot:
        read = whole(*args)  # type: ignore[arg-type]
        return CatalogSnapshot(read.deposits, [p for p in read.products if p.id != first.id], read.fetched_at)

    monkeypatch.setattr(catalog, "fetch_catalog", slipping)
    refresh_account(account)

    assert names(account) == {"A": "active", "B": "deleted"}


def test_a_deposit_that_is_gone_is_inactive_and_keeps_its_row(bling: Bling) -> None:
    account = connected(bling, organization())
    shop = values.Deposit(7, "Loja", True, False, False)
    store_catalog(account, snapshot(deposits=[shop, values.Deposit(8, "Geral", True, True, False)]), full=True)
    kept = DepositRow.get(DepositRow.bling_id == 7).id

    store_catalog(account, snapshot(deposits=[values.Deposit(8, "Central", True, True, True)]), full=False)

    rows = {d.bling_id: (d.name, d.is_active, d.ignores_balance) for d in DepositRow.select()}
    assert rows == {7: ("Loja", False, False), 8: ("Central", True, True)}
    assert DepositRow.get(DepositRow.bling_id == 7).id == kept


def test_thousands_of_products_take_few_statements(bling: Bling, database: Database) -> None:
    account = connected(bling, organization())
    many = [changed(CAP, id=1000 + n, sku=f"SKU-{n}") for n in range(3000)]
    statements: list[str] = []
    execute = database.execute_sql

    def counting(sql: str, *args: object, **kwargs: object) -> object:
        statements.append(sql)
        return execute(sql, *args, **kwargs)

    database.execute_sql = counting  # type: ignore[method-assign]
    try:
        with database.atomic():
            assert len(store_catalog(account, snapshot(*many), full=True)) == 3000
        written = len(statements)
        with database.atomic():
            assert store_catalog(account, snapshot(*many), full=True) == set()
    finally:
        del database.execute_sql

    assert written <= 20
    assert len(statements) - written <= 6
    assert Product.select().count() == 3000


def test_changes_are_marked_dirty_only_where_a_rule_is_active(bling: Bling) -> None:
    merchant = organization()
    account = connected(bling, merchant)
    bling.add_product("matriz", "A")
    refresh_account(account)
    assert DirtySku.select().count() == 0

    StockGroup.create(
        organization=merchant,
        key="g",
        name="G",
        mode="sum",
        balance="virtual",
        target_movements="write_back",
        is_active=True,
        created_at=utcnow(),
    )
    bling.add_product("matriz", "B")
    refresh_account(account)

    assert [(row.sku, row.needs_look) for row in DirtySku.select()] == [("B", True)]


def test_a_failed_reading_changes_nothing_and_stands_on_the_account(
    bling: Bling, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = connected(bling, organization(), read=True)
    bling.add_product("matriz", "A")

    def fail(*_: object) -> CatalogSnapshot:
        raise Unavailable("GET /produtos", "timed out")

    monkeypatch.setattr(catalog, "fetch_catalog", fail)
    with pytest.raises(Unavailable):
        refresh_account(account)

    assert Product.select().count() == 0
    assert fresh(account).last_error.startswith("O Bling não respondeu.")


def test_a_reading_that_works_takes_the_old_error_away(bling: Bling) -> None:
    account = connected(bling, organization(), last_error="O Bling não respondeu.", last_error_at=utcnow())

    refresh_account(account)

    assert fresh(account).last_error is None


def test_the_job_leaves_paused_accounts_alone_and_survives_errors(bling: Bling) -> None:
    account = connected(bling, organization(), state=AccountState.PAUSED)
    catalog.read_account(account.id)
    catalog.read_account(new_id())
    assert bling.requests() == []

    Account.update(state=AccountState.CONNECTED, token_expires_at=utcnow()).execute()
    bling.revoke("matriz")
    catalog.read_account(account.id)
    catalog.read_product(account.id, 5)

    assert fresh(account).state == AccountState.RECONNECT


# Events of products.


def test_an_event_creates_changes_and_deletes(bling: Bling) -> None:
    account = connected(bling, organization())
    full = {
        "id": 101,
        "nome": "Boné",
        "codigo": " BONE-01 ",
        "tipo": "P",
        "situacao": "A",
        "formato": "S",
        "novidade": 1,
    }

    assert apply_product_event(product_event(account, "product.created", 1, **full)) == {"BONE-01"}
    assert apply_product_event(product_event(account, "product.updated", 2, **{**full, "codigo": "B2"})) == {
        "BONE-01",
        "B2",
    }
    assert (
        apply_product_event(product_event(account, "product.updated", 3, **{**full, "codigo": "B2", "nome": "X"}))
        == set()
    )
    assert the_product(account, 101).name == "X"
    assert apply_product_event(product_event(account, "product.deleted", 4, id=101)) == {"B2"}
    assert (the_product(account, 101).sku, the_product(account, 101).situation) == ("B2", "deleted")


def test_an_event_may_say_only_what_changed(bling: Bling) -> None:
    account = connected(bling, organization())
    store_catalog(account, snapshot(changed(CAP, parent_id=55)), full=True)

    assert apply_product_event(product_event(account, "product.updated", 1, id=101, situacao="I")) == {"BONE-01"}

    row = the_product(account, 101)
    assert (row.sku, row.name, row.situation, row.parent_bling_id) == ("BONE-01", "Boné", "inactive", 55)


def test_a_situation_of_deleted_comes_as_an_update(bling: Bling) -> None:
    account = connected(bling, organization())
    store_catalog(account, snapshot(CAP), full=True)

    assert apply_product_event(product_event(account, "product.updated", 1, id=101, situacao="E")) == {"BONE-01"}
    assert the_product(account, 101).situation == "deleted"


def test_an_older_event_that_comes_late_changes_nothing(bling: Bling) -> None:
    account = connected(bling, organization())
    full = {"id": 101, "nome": "Boné", "codigo": "NOVO", "tipo": "P", "situacao": "A", "formato": "S"}
    apply_product_event(product_event(account, "product.updated", 5, **full))

    assert apply_product_event(product_event(account, "product.created", 1, **{**full, "codigo": "VELHO"})) == set()

    assert names(account) == {"NOVO": "active"}


def test_a_deletion_that_comes_before_its_creation_wins(bling: Bling) -> None:
    account = connected(bling, organization())
    full = {"id": 101, "nome": "Boné", "codigo": "BONE-01", "tipo": "P", "situacao": "A", "formato": "S"}
    apply_product_event(product_event(account, "product.deleted", 5, id=101))

    assert apply_product_event(product_event(account, "product.created", 1, **full)) == set()

    assert the_product(account, 101).situation == "deleted"


def test_event_ids_that_do_not_sort_by_time_hold_nothing_back(bling: Bling) -> None:
    account = connected(bling, organization())
    full = {"id": 101, "nome": "Boné", "codigo": "UM", "tipo": "P", "situacao": "A", "formato": "S"}
    apply_product_event(product_event(account, "product.created", named="ffffffff-" + str(uuid4())[9:], **full))

    apply_product_event(product_event(account, "product.updated", named=str(uuid4()), **{**full, "codigo": "DOIS"}))

    assert names(account) == {"DOIS": "active"}


def test_a_reading_that_began_before_an_event_does_not_undo_it(bling: Bling) -> None:
    account = connected(bling, organization())
    store_catalog(account, snapshot(CAP), full=True)
    apply_product_event(product_event(account, "product.updated", 0, id=101, codigo="NOVO"))

    assert store_catalog(account, snapshot(CAP, ago=5), full=True) == set()
    assert store_catalog(account, snapshot(ago=5), full=True) == set()
    assert names(account) == {"NOVO": "active"}


def test_a_reading_that_began_well_after_an_event_has_the_last_word(bling: Bling) -> None:
    account = connected(bling, organization())
    store_catalog(account, snapshot(CAP), full=True)
    apply_product_event(product_event(account, "product.updated", -120, id=101, codigo="ANTIGO"))

    assert store_catalog(account, snapshot(CAP), full=True) == {"BONE-01", "ANTIGO"}


def test_a_product_made_known_during_a_reading_is_not_missing_in_it(bling: Bling) -> None:
    account = connected(bling, organization())
    created = bling.add_product("matriz", "NOVO")
    assert resolve_product(account, created.id) is not None

    assert store_catalog(account, snapshot(ago=5), full=True) == set()
    assert names(account) == {"NOVO": "active"}


def test_services_are_no_matter_of_ours(bling: Bling) -> None:
    account = connected(bling, organization())
    service = {"id": 9, "nome": "Frete", "codigo": "F", "tipo": "S", "situacao": "A", "formato": "S"}

    assert apply_product_event(product_event(account, "product.created", 1, **service)) == set()
    assert Product.select().count() == 0


@pytest.mark.parametrize(
    "data", [{"id": 101, "codigo": "X"}, {"id": 101, "nome": "Y"}, {"id": 101, "nome": 5, "codigo": "X"}]
)
def test_an_event_that_says_too_little_has_the_product_looked_up(
    bling: Bling, monkeypatch: pytest.MonkeyPatch, data: dict[str, object]
) -> None:
    account = connected(bling, organization())
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(queues, "enqueue", lambda *args, **_: asked.append(args))

    assert apply_product_event(product_event(account, "product.updated", 1, **data)) == set()

    assert asked == [("jobs.catalog.look_up_product", account.id, 101)]
    assert Product.select().count() == 0


@pytest.mark.parametrize("data", [{}, {"id": "rubbish"}, {"id": 0}, {"id": True}, {"id": 2**70}])
def test_an_event_without_a_product_is_passed_over(bling: Bling, data: dict[str, object]) -> None:
    account = connected(bling, organization())

    assert apply_product_event(product_event(account, "product.updated", 1, **data)) == set()

    assert Product.select().count() == 0


def test_the_sandbox_announces_what_the_catalogue_understands(bling: Bling) -> None:
    account = connected(bling, organization(), read=True)
    bling.edit_app("shared-id", webhook_url="http://localhost/webhooks/bling")
    created = bling.add_product("matriz", "A")
    bling.edit_product("matriz", "A", sku="B")
    bling.delete_product("matriz", "B")
    deliveries = [d for d in bling.deliveries(account="matriz") if d.event.startswith("product.")]

    for delivery in reversed(deliveries):
        body = json.loads(delivery.body)
        apply_product_event(product_event(account, delivery.event, named=body["eventId"], **body["data"]))

    assert len(deliveries) >= 3
    assert the_product(account, created.id).situation == "deleted"


# Single products, and all of a SKU.


def test_it_asks_bling_once_for_a_product_it_does_not_know(bling: Bling) -> None:
    account = connected(bling, organization())
    created = bling.add_product("matriz", "A")

    found = resolve_product(account, created.id)
    again = resolve_product(account, created.id)

    assert found is not None
    assert again is not None
    assert (found.sku, found.id) == ("A", again.id)
    assert len(bling.requests(account="matriz")) == 1


def test_a_product_that_bling_does_not_know_is_none(bling: Bling) -> None:
    assert resolve_product(connected(bling, organization()), 999) is None


def test_it_groups_the_products_of_all_connected_accounts_by_sku(bling: Bling, database: Database) -> None:
    merchant, stranger = organization(), organization("vizinha")
    first, second = connected(bling, merchant, "matriz"), connected(bling, merchant, "filial")
    gone = connected(bling, merchant, "avulsa", state=AccountState.DISCONNECTED, company_id="gone")
    other = connected(bling, stranger, "avulsa")
    for number, account in enumerate((first, second, gone, other)):
        store_catalog(account, snapshot(changed(CAP, id=number + 1), changed(CAP, id=number + 50, sku="B")), full=True)

    found = sku_products(merchant.id, ["BONE-01", "NADA"])

    assert list(found) == ["BONE-01", "NADA"]
    assert [product.account.key for product in found["BONE-01"]] == ["matriz", "filial"]
    assert found["NADA"] == []


def test_a_client_reads_only_changes_when_asked(bling: Bling) -> None:
    account = connected(bling, organization(), read=True)
    bling.add_product("matriz", "A")

    read = fetch_catalog(client_for(account), utcnow() - timedelta(minutes=1))

    assert ([product.sku for product in read.products], read.company) == (["A"], None)
    assert "dataAlteracaoInicial" in bling.requests(path="/produtos")[-1].query
