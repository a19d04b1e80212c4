"""Company, deposits, products, balances and movements, over HTTP and against the published description."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
import requests

from sandbox import Bling, Server
from tests.sandbox.conftest import Api
from tests.sandbox.receiver import Receiver


def test_the_company_tells_who_its_webhooks_come_from(api: Api, bling: Bling) -> None:
    company = api.data("/empresas/me/dados-basicos")

    assert company["id"] == bling.world.accounts["matriz"].company_id
    assert len(company["id"]) == 32
    assert company["nome"] == "Matriz"


def test_deposits_show_the_active_ones_unless_asked(api: Api, bling: Bling, geral: int) -> None:
    bling.edit_deposit("matriz", "Loja virtual", situation=0)

    active, inactive = api.data("/depositos"), api.data("/depositos", situacao=0)

    assert [d["id"] for d in active] == [geral]
    assert active[0]["padrao"] is True
    assert [d["descricao"] for d in inactive] == ["Loja virtual"]


def test_a_deposit_is_created_and_read_by_its_id(api: Api) -> None:
    body = {"descricao": "Vitrine", "situacao": 1, "padrao": False, "desconsiderarSaldo": True}

    created = api.call("POST", "/depositos", json=body)

    assert created.status_code == 201
    number = created.json()["data"]["id"]
    assert api.data(f"/depositos/{number}") == body | {"id": number}


def test_a_deposit_without_its_description_is_refused(api: Api) -> None:
    body = {"situacao": 1, "padrao": False, "desconsiderarSaldo": False}

    answer = api.call("POST", "/depositos", json=body)

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "MISSING_REQUIRED_FIELD_ERROR"


def test_products_come_in_pages_until_one_is_short(api: Api, bling: Bling) -> None:
    for number in range(105):
        bling.add_product("matriz", f"SKU-{number}")

    pages = [api.data("/produtos", pagina=page, criterio=5) for page in (1, 2, 3)]

    assert [len(page) for page in pages] == [100, 5, 0]
    assert len({product["id"] for page in pages for product in page}) == 105


def test_a_page_never_holds_more_than_a_hundred(api: Api, bling: Bling) -> None:
    for number in range(101):
        bling.add_product("matriz", f"SKU-{number}")

    assert len(api.data("/produtos", limite=500)) == 100
    assert api.get("/produtos", pagina=0).status_code == 400
    assert api.get("/produtos", limite=0).status_code == 400


def test_criteria_tell_active_inactive_and_deleted_products_apart(api: Api, bling: Bling) -> None:
    bling.add_product("matriz", "A")
    bling.add_product("matriz", "I", situation="I")
    bling.add_product("matriz", "E", situation="E")

    shown = {
        criterion: sorted(p["codigo"] for p in api.data("/produtos", criterio=criterion))
        for criterion in (1, 2, 3, 4, 5)
    }

    assert shown == {1: ["A", "I"], 2: ["A"], 3: ["I"], 4: ["E"], 5: ["A", "E", "I"]}


def test_types_tell_simple_products_variations_compositions_and_services_apart(api: Api, bling: Bling) -> None:
    bling.add_product("matriz", "SIMPLES", stock="4")
    parent = bling.add_product("matriz", "PAI", format="V")
    bling.add_product("matriz", "FILHA", parent_id=parent.id, variation="Cor:Azul")
    bling.add_product("matriz", "KIT", components={"SIMPLES": "2"})
    bling.add_product("matriz", "SERVICO", kind="S")

    shown = {
        kind: sorted(p["codigo"] for p in api.data("/produtos", tipo=kind))
        for kind in ("T", "P", "S", "E", "PS", "C", "V")
    }

    assert shown == {
        "T": ["FILHA", "KIT", "PAI", "SERVICO", "SIMPLES"],
        "P": ["FILHA", "KIT", "PAI", "SIMPLES"],
        "S": ["SERVICO"],
        "E": ["KIT"],
        "PS": ["SIMPLES"],
        "C": ["PAI"],
        "V": ["FILHA"],
    }


def test_products_are_found_by_sku_and_id_also_when_two_share_a_sku(api: Api, bling: Bling) -> None:
    first = bling.add_product("matriz", "REP")
    second = bling.add_product("matriz", "REP")
    other = bling.add_product("matriz", "")

    by_sku = api.data("/produtos", **{"codigos[]": ["REP", "NADA"]})
    by_id = api.data("/produtos", **{"idsProdutos[]": [other.id, first.id]})

    assert {p["id"] for p in by_sku} == {first.id, second.id}
    assert {p["id"]: p["codigo"] for p in by_id} == {other.id: "", first.id: "REP"}


def test_products_are_found_by_the_time_of_their_change(api: Api, bling: Bling) -> None:
    bling.add_product("matriz", "NOVO")

    found = api.data("/produtos", dataAlteracaoInicial="2100-01-01 00:00:00")
    refused = api.get("/produtos", dataAlteracaoInicial="2020-01-01 00:00:00")
    unreadable = api.get("/produtos", dataAlteracaoInicial="ontem")

    assert found == []
    assert refused.status_code == 400, "a filter may span one year"
    assert unreadable.status_code == 400


def test_one_product_shows_its_structure_and_its_variations(api: Api, bling: Bling) -> None:
    part = bling.add_product("matriz", "PARTE", stock="5")
    kit = bling.add_product("matriz", "KIT", components={"PARTE": "2"})
    parent = bling.add_product("matriz", "PAI", format="V")
    child = bling.add_product("matriz", "FILHA", parent_id=parent.id, variation="Cor:Azul")

    assert api.data(f"/produtos/{part.id}")["estoque"]["saldoVirtualTotal"] == 5
    assert api.data(f"/produtos/{kit.id}")["estrutura"] == api.data(f"/produtos/estruturas/{kit.id}")
    assert api.data(f"/produtos/estruturas/{kit.id}")["componentes"] == [{"produto": {"id": part.id}, "quantidade": 2}]
    assert [v["id"] for v in api.data(f"/produtos/variacoes/{parent.id}")["variacoes"]] == [child.id]
    assert api.get(f"/produtos/estruturas/{part.id}").status_code == 404
    assert api.get(f"/produtos/variacoes/{part.id}").status_code == 404


def test_balances_show_physical_and_virtual_per_deposit(api: Api, bling: Bling, geral: int, loja: int) -> None:
    product = bling.add_product("matriz", "CAN", stock={"Geral": "10", "Loja virtual": "2.5"})
    bling.reserve("matriz", "CAN", "3")

    (shown,) = api.balances([product.id])

    assert shown == {
        "produto": {"id": product.id, "codigo": "CAN"},
        "saldoFisicoTotal": 12.5,
        "saldoVirtualTotal": 9.5,
        "depositos": [
            {"id": geral, "saldoFisico": 10, "saldoVirtual": 7},
            {"id": loja, "saldoFisico": 2.5, "saldoVirtual": 2.5},
        ],
    }


def test_a_sold_out_product_is_missing_until_all_three_filters_were_asked(api: Api, bling: Bling) -> None:
    ids = {
        sku: bling.add_product("matriz", sku, stock=stock).id
        for sku, stock in (("POS", "1"), ("ZERO", "0"), ("NEG", "-2"), ("NADA", None))
    }
    asked = list(ids.values())

    shown = {sign: {balance["produto"]["codigo"] for balance in api.balances(asked, sign)} for sign in (None, 1, 0, 2)}

    assert shown == {None: {"POS"}, 1: {"POS"}, 0: {"ZERO", "NADA"}, 2: {"NEG"}}


def test_balances_can_be_asked_by_sku_but_not_without_any_product(api: Api, bling: Bling) -> None:
    bling.add_product("matriz", "REP", stock="1")
    bling.add_product("matriz", "REP", stock="2")

    by_sku = api.data("/estoques/saldos", **{"codigos[]": ["REP"]})
    unbracketed = api.get("/estoques/saldos", idsProdutos=1)

    assert sorted(balance["saldoFisicoTotal"] for balance in by_sku) == [1, 2]
    assert api.get("/estoques/saldos").status_code == 400
    assert unbracketed.status_code == 400
    assert unbracketed.json()["error"]["type"] == "MISSING_REQUIRED_FIELD_ERROR"


@pytest.mark.parametrize(
    "params",
    [{"idsProdutos[]": "abc"}, {"idsProdutos[]": "1", "filtroSaldoEstoque": 3}, {"idsProdutos[]": range(101)}],
)
def test_balances_refuse_bad_parameters(api: Api, params: dict[str, Any]) -> None:
    assert api.get("/estoques/saldos", **params).status_code == 400


def test_one_deposit_shows_only_its_own_balances(api: Api, bling: Bling, loja: int) -> None:
    product = bling.add_product("matriz", "CAN", stock={"Geral": "10", "Loja virtual": "2"})

    (shown,) = api.data(f"/estoques/saldos/{loja}", **{"idsProdutos[]": [product.id]})

    assert shown["saldoFisicoTotal"] == 2
    assert api.get("/estoques/saldos/1", **{"idsProdutos[]": [product.id]}).status_code == 404


def test_an_ignored_deposit_does_not_count_in_the_totals(api: Api, bling: Bling) -> None:
    product = bling.add_product("matriz", "CAN", stock={"Geral": "10", "Loja virtual": "2"})
    bling.edit_deposit("matriz", "Loja virtual", ignores_balance=True)

    (shown,) = api.balances([product.id])

    assert shown["saldoFisicoTotal"] == 10
    assert [d["saldoFisico"] for d in shown["depositos"]] == [10, 2]


def test_an_entry_an_exit_and_a_count_change_the_balance(api: Api, bling: Bling, geral: int) -> None:
    product = bling.add_product("matriz", "CAN", stock="10")

    after = []
    for operation, quantity in (("E", 2.5), ("S", 0.1), ("B", 7), ("S", 9)):
        assert api.move(product.id, geral, operation, quantity).status_code == 201
        after.append(bling.balance("matriz", "CAN").physical)

    assert after == [Decimal("12.5"), Decimal("12.4"), Decimal(7), Decimal(-2)]


def test_the_same_write_twice_is_two_movements(api: Api, bling: Bling, geral: int) -> None:
    product = bling.add_product("matriz", "CAN", stock="10")

    answers = [api.move(product.id, geral, "S", 1).json()["data"]["id"] for _ in range(2)]

    assert answers[0] != answers[1]
    assert [m.id for m in bling.movements("matriz", origin="api")] == answers
    assert bling.balance("matriz", "CAN").physical == 8


def test_quantities_stay_exact_over_many_small_movements(api: Api, bling: Bling, geral: int) -> None:
    product = bling.add_product("matriz", "CAN", stock="0")

    for _ in range(30):
        api.move(product.id, geral, "E", 0.1)

    assert bling.balance("matriz", "CAN").physical == Decimal(3)
    assert '"saldoFisicoTotal":3,' in api.get("/estoques/saldos", **{"idsProdutos[]": [product.id]}).text


def test_float_noise_is_shown_only_when_asked_for(api: Api, bling: Bling) -> None:
    product = bling.add_product("matriz", "CAN", stock="15")
    bling.configure(float_noise=True)

    (shown,) = api.balances([product.id])

    assert shown["saldoFisicoTotal"] != 15
    assert shown["saldoFisicoTotal"] == pytest.approx(15)


@pytest.mark.parametrize(
    "change",
    [
        {"quantidade": 0},
        {"quantidade": -1},
        {"quantidade": "2"},
        {"quantidade": True},
        {"quantidade": 0.1234567},
        {"quantidade": 1e30},
        {"quantidade": None},
        {"operacao": "X"},
        {"operacao": None},
        {"produto": None},
        {"produto": {"id": "abc"}},
        {"deposito": {}},
        {"deposito": {"id": 1}},
        {"observacoes": 7},
        {"preco": "caro"},
    ],
)
def test_a_wrong_movement_is_refused_and_changes_nothing(
    api: Api, bling: Bling, geral: int, change: dict[str, Any]
) -> None:
    product = bling.add_product("matriz", "CAN", stock="10")
    body: dict[str, Any] = {
        "produto": {"id": product.id},
        "deposito": {"id": geral},
        "operacao": "S",
        "quantidade": 1,
    }

    answer = api.call("POST", "/estoques", json=body | change)

    assert answer.status_code == 400
    assert answer.json()["error"]["fields"]
    assert bling.movements() == []


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"quantidade": NaN}'])
def test_a_body_that_is_no_json_object_is_refused(api: Api, raw: bytes) -> None:
    assert api.call("POST", "/estoques", data=raw).status_code == 400


def test_an_unknown_product_is_not_found(api: Api, geral: int) -> None:
    answer = api.move(1, geral, "E", 1)

    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "RESOURCE_NOT_FOUND"


def test_stock_of_compositions_parents_services_and_deleted_products_cannot_be_written(
    api: Api, bling: Bling, geral: int
) -> None:
    bling.add_product("matriz", "PARTE", stock="5")
    refused = [
        bling.add_product("matriz", "KIT", components={"PARTE": 1}),
        bling.add_product("matriz", "PAI", format="V"),
        bling.add_product("matriz", "SERVICO", kind="S"),
        bling.add_product("matriz", "EXCLUIDO", situation="E"),
    ]

    assert [api.move(p.id, geral, "E", 1).status_code for p in refused] == [400] * 4


def test_a_switched_off_deposit_takes_no_movement(api: Api, bling: Bling, loja: int) -> None:
    product = bling.add_product("matriz", "CAN", stock="5")
    bling.edit_deposit("matriz", "Loja virtual", situation=0)

    assert api.move(product.id, loja, "E", 1).status_code == 400


def test_a_composition_follows_its_components(api: Api, bling: Bling) -> None:
    bling.add_product("matriz", "CANECA", stock="9")
    bling.add_product("matriz", "CAFE", stock="5")
    kit = bling.add_product("matriz", "KIT", components={"CANECA": 2, "CAFE": 1})
    bling.reserve("matriz", "CAFE", "4")

    (shown,) = api.balances([kit.id])

    assert (shown["saldoFisicoTotal"], shown["saldoVirtualTotal"]) == (4, 1)


def test_selling_a_composition_takes_its_components_off_the_shelf(bling: Bling) -> None:
    bling.add_product("matriz", "CANECA", stock="9")
    bling.add_product("matriz", "CAFE", stock="5")
    bling.add_product("matriz", "KIT", components={"CANECA": 2, "CAFE": 1})

    bling.sell("matriz", "KIT", "2")

    assert bling.balance("matriz", "CANECA").physical == 5
    assert bling.balance("matriz", "CAFE").physical == 3
    assert bling.balance("matriz", "KIT").physical == 2


def test_another_company_s_records_do_not_exist(api: Api, bling: Bling, geral: int) -> None:
    foreign = bling.add_product("filial", "CAN", stock="5")
    place = bling.catalog.find_deposit("filial", None).id
    own = bling.add_product("matriz", "CAN", stock="5")

    assert api.get(f"/produtos/{foreign.id}").status_code == 404
    assert api.get(f"/depositos/{place}").status_code == 404
    assert api.balances([foreign.id]) == []
    assert api.move(foreign.id, geral, "E", 1).status_code == 404
    assert api.move(own.id, place, "E", 1).status_code == 400


def test_orders_reserve_are_posted_and_are_cancelled(api: Api, bling: Bling) -> None:
    bling.add_product("matriz", "CAN", stock="10", price="5")

    first, second = bling.reserve("matriz", "CAN", "2"), bling.reserve("matriz", "CAN", "3")
    assert bling.balance("matriz", "CAN").virtual == 5
    bling.post(first.id)
    bling.cancel(second.id)

    balance = bling.balance("matriz", "CAN")
    assert (balance.physical, balance.reserved) == (Decimal(8), Decimal(0))
    assert [o["situacao"] for o in api.data("/pedidos/vendas")] == [
        {"id": 12, "valor": 2},
        {"id": 9, "valor": 1},
    ]
    assert api.data(f"/pedidos/vendas/{first.id}")["total"] == 10
    assert api.get("/pedidos/vendas/1").status_code == 404


def test_an_unknown_path_or_method_is_answered_like_bling_does(server: Server) -> None:
    missing = requests.get(f"{server.url}/Api/v3/nada", timeout=5)
    refused = requests.delete(f"{server.url}/Api/v3/estoques", timeout=5)

    assert (missing.status_code, missing.json()["error"]["type"]) == (404, "RESOURCE_NOT_FOUND")
    assert (refused.status_code, refused.json()["error"]["type"]) == (405, "METHOD_NOT_ALLOWED")


def test_writes_of_many_clients_at_once_all_count(bling: Bling, server: Server, receiver: Receiver, geral: int) -> None:
    product = bling.add_product("matriz", "CAN", stock="100")
    token = bling.issue_tokens("matriz").access_token

    def write(number: int) -> int:
        quantity = 0.1 if number % 2 else 1
        return Api(server.url, token).move(product.id, geral, "S", quantity).status_code

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(write, range(80)))

    assert statuses == [201] * 80
    assert bling.balance("matriz", "CAN").physical == 56
    links = [(m.before, m.after) for m in bling.movements("matriz")]
    assert all(before[1] == after[0] for before, after in itertools.pairwise(links))
    assert bling.wait_delivered()
    assert len(receiver.events("stock.created")) == 80
