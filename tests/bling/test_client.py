from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bling.client import BlingClient
from bling.errors import AuthExpired, UnexpectedAnswer, WriteOutcomeUnknown
from bling.payloads import parse_balances
from core.values import MovementOrder
from tests.bling.conftest import NOON, FakeTokens, FreePacer
from tests.bling.recorder import Recorder, Request, cut, error, reply

NOTHING_DELETED = reply(200, {"data": []})
ORDER = MovementOrder(11, 5, "S", Decimal("2.50"), "Venda na Filial")


def product(id_: int, **changes: object) -> dict[str, object]:
    return {"id": id_, "nome": f"P{id_}", "codigo": f"P{id_}", "tipo": "P", "situacao": "A", "formato": "S"} | changes


def balance(id_: int, physical: int = 1) -> dict[str, object]:
    listed = [{"id": 5, "saldoFisico": physical, "saldoVirtual": physical}]
    return {
        "produto": {"id": id_},
        "saldoFisicoTotal": physical,
        "saldoVirtualTotal": physical,
        "depositos": listed,
    }


def holding(stock: dict[int, int]) -> Callable[..., None]:
    """Answers balance questions as Bling does: only products that the filter lets through."""

    def answer(handler: Any, request: Request) -> None:
        filter_ = int(request.values("filtroSaldoEstoque")[0])
        data = [balance(id_, stock[id_]) for id_ in request.ids if id_ in stock and _filter_of(stock[id_]) == filter_]
        reply(200, {"data": data})(handler, request)

    return answer


def _filter_of(physical: int) -> int:
    return 0 if physical == 0 else 1 if physical > 0 else 2


def asked(server: Recorder) -> list[tuple[int, list[int]]]:
    return [(int(request.values("filtroSaldoEstoque")[0]), request.ids) for request in server.requests]


def test_it_names_its_company(server: Recorder, client: BlingClient) -> None:
    server.will(reply(200, {"data": {"id": "d447", "nome": "Matriz", "cnpj": "1", "email": "m@example"}}))

    assert client.get_company().id == "d447"


class TestListings:
    def test_it_reads_until_a_page_is_not_full(self, server: Recorder, client: BlingClient) -> None:
        server.will(
            NOTHING_DELETED,
            reply(200, {"data": [product(id_) for id_ in range(1, 101)]}),
            reply(200, {"data": [product(id_) for id_ in range(101, 201)]}),
            reply(200, {"data": []}),
        )

        assert [found.id for found in client.list_products()] == list(range(1, 201))
        assert [request.values("pagina") for request in server.requests[1:]] == [["1"], ["2"], ["3"]]
        for request in server.requests[1:]:
            assert dict(request.query) == {
                "criterio": "5",
                "tipo": "T",
                "pagina": request.values("pagina")[0],
                "limite": "100",
            }

    def test_a_product_that_moves_to_the_next_page_comes_once(self, server: Recorder, client: BlingClient) -> None:
        server.will(
            NOTHING_DELETED,
            reply(200, {"data": [product(id_) for id_ in range(1, 101)]}),
            reply(200, {"data": [product(100), product(101)]}),
        )

        assert [found.id for found in client.list_products()] == list(range(1, 102))

    def test_services_fill_pages_but_are_no_products(self, server: Recorder, client: BlingClient) -> None:
        server.will(
            NOTHING_DELETED,
            reply(200, {"data": [product(id_, tipo="S") for id_ in range(1, 101)]}),
            reply(200, {"data": [product(101)]}),
        )

        assert [found.id for found in client.list_products()] == [101]

    def test_a_server_that_repeats_its_page_for_ever_is_noticed(self, server: Recorder, client: BlingClient) -> None:
        server.will(NOTHING_DELETED)
        server.always(reply(200, {"data": [product(id_) for id_ in range(1, 101)]}))

        with pytest.raises(UnexpectedAnswer):
            list(client.list_products())

        assert len(server.requests) == 3

    def test_deleted_products_are_known_whatever_the_listing_of_all_says(
        self, server: Recorder, client: BlingClient
    ) -> None:
        server.will(
            reply(200, {"data": [product(1, situacao="I"), product(2, situacao="I")]}),
            reply(200, {"data": [product(1, situacao="I"), product(3, situacao="I"), product(4)]}),
        )

        situations = {found.id: found.situation.value for found in client.list_products()}

        assert situations == {1: "deleted", 2: "deleted", 3: "inactive", 4: "active"}
        assert [request.values("criterio") for request in server.requests] == [["4"], ["5"]]

    def test_a_product_that_is_active_in_the_listing_of_deleted_ones_lives(
        self, server: Recorder, client: BlingClient
    ) -> None:
        everything = reply(200, {"data": [product(1), product(2, situacao="I")]})
        server.will(everything, everything)

        situations = {found.id: found.situation.value for found in client.list_products()}

        assert situations == {1: "active", 2: "deleted"}

    def test_changes_are_asked_for_in_blings_own_time(self, server: Recorder, client: BlingClient) -> None:
        server.will(NOTHING_DELETED, reply(200, {"data": []}))

        list(client.list_products(datetime(2026, 3, 1, 1, 30, tzinfo=UTC)))

        for request in server.requests:
            assert request.values("dataAlteracaoInicial") == ["2026-02-28 22:30:00"]

    def test_a_look_back_that_bling_refuses_lists_everything(self, server: Recorder, client: BlingClient) -> None:
        server.will(NOTHING_DELETED, reply(200, {"data": []}))

        list(client.list_products(NOON - timedelta(days=400)))

        for request in server.requests:
            assert request.values("dataAlteracaoInicial") == []

    def test_switched_off_deposits_are_deposits(self, server: Recorder, client: BlingClient) -> None:
        geral = {"id": 5, "descricao": "Geral", "situacao": 1, "padrao": True, "desconsiderarSaldo": False}
        velho = {"id": 6, "descricao": "Velho", "situacao": 0, "padrao": False, "desconsiderarSaldo": True}
        server.will(reply(200, {"data": [geral]}), reply(200, {"data": [velho]}))

        first, second = client.list_deposits()

        assert (first.name, first.is_active, first.is_default, first.ignores_balance) == ("Geral", True, True, False)
        assert (second.name, second.is_active, second.is_default, second.ignores_balance) == (
            "Velho",
            False,
            False,
            True,
        )
        assert [request.values("situacao") for request in server.requests] == [["1"], ["0"]]

    def test_products_are_fetched_a_hundred_at_a_time(self, server: Recorder, client: BlingClient) -> None:
        def answer(handler: Any, request: Request) -> None:
            reply(200, {"data": [product(id_) for id_ in request.ids if id_ != 7]})(handler, request)

        server.will(answer, answer, answer, NOTHING_DELETED)

        found = client.get_products(range(1, 251))

        assert found.keys() == set(range(1, 251)) - {7}
        assert [len(request.ids) for request in server.requests] == [100, 100, 50, 1]
        assert server.requests[0].values("criterio") == ["5"]

    def test_only_doubtful_products_are_looked_up_among_the_deleted(
        self, server: Recorder, client: BlingClient
    ) -> None:
        server.will(
            reply(200, {"data": [product(1), product(2, situacao="I"), product(3, situacao="I")]}),
            reply(200, {"data": [product(3, situacao="I"), product(4, situacao="E")]}),
        )

        found = client.get_products([1, 2, 3, 4, 5])

        assert {id_: entry.situation.value for id_, entry in found.items()} == {
            1: "active",
            2: "inactive",
            3: "deleted",
            4: "deleted",
        }
        assert server.requests[1].ids == [2, 3, 4, 5]
        assert server.requests[1].values("criterio") == ["4"]

    def test_no_ids_cost_no_call(self, server: Recorder, client: BlingClient) -> None:
        assert client.get_products([]) == {}
        assert client.get_balances([]).found == {}
        assert server.requests == []


class TestBalances:
    def test_products_in_stock_cost_one_call(self, server: Recorder, client: BlingClient) -> None:
        server.always(holding({1: 5, 2: 6}))

        result = client.get_balances([1, 2])

        assert asked(server) == [(1, [1, 2])]
        assert result.found[2].physical_total == 6
        assert (result.absent, result.filters) == (set(), {1: 1, 2: 1})

    def test_a_sold_out_product_is_found_under_another_filter(self, server: Recorder, client: BlingClient) -> None:
        server.always(holding({1: 5, 2: 0, 3: -2}))

        result = client.get_balances([1, 2, 3])

        assert {id_: found.physical_total for id_, found in result.found.items()} == {1: 5, 2: 0, 3: -2}
        assert asked(server) == [(1, [1, 2, 3]), (0, [2, 3]), (2, [3])]
        assert result.filters == {1: 1, 2: 0, 3: 2}

    def test_hints_save_the_detours(self, server: Recorder, client: BlingClient) -> None:
        stock = {1: 5, 2: 0, 3: -2}
        server.always(holding(stock))

        result = client.get_balances([1, 2, 3], hints={1: 1, 2: 0, 3: 2})

        assert result.found.keys() == stock.keys()
        assert len(server.requests) == 3

    def test_a_wrong_hint_is_put_right_by_a_call_that_has_room(self, server: Recorder, client: BlingClient) -> None:
        server.always(holding({1: 0, 2: 0, 3: 0}))

        result = client.get_balances([1, 2, 3], hints={1: 0, 2: 0, 3: 1})

        assert asked(server) == [(0, [1, 2, 3])]
        assert result.filters == {1: 0, 2: 0, 3: 0}

    def test_a_missing_product_is_asked_for_twice_under_every_filter(
        self, server: Recorder, client: BlingClient
    ) -> None:
        server.always(holding({1: 5}))

        result = client.get_balances([1, 9])

        assert result.absent == {9}
        assert 9 not in result.found
        assert asked(server) == [(1, [1, 9]), (0, [9]), (2, [9]), (1, [9]), (0, [9]), (2, [9])]

    def test_a_product_that_moves_between_filters_meanwhile_is_found(
        self, server: Recorder, client: BlingClient
    ) -> None:
        positive, zero = holding({1: 5}), holding({1: 0})
        server.will(zero, positive, positive, zero, zero)

        result = client.get_balances([1])

        assert asked(server) == [(1, [1]), (0, [1]), (2, [1]), (1, [1]), (0, [1])]
        assert result.found[1].physical_total == 0
        assert (result.absent, result.filters) == (set(), {1: 0})

    def test_a_call_takes_a_hundred_ids_and_a_sane_address(self, server: Recorder, client: BlingClient) -> None:
        ids = [16_201_000_000 + number for number in range(250)]
        server.always(holding(dict.fromkeys(ids, 1)))

        result = client.get_balances(ids)

        assert result.found.keys() == set(ids)
        assert [len(request.ids) for request in server.requests] == [100, 100, 50]
        assert all(len(urlencode(request.query)) < 4000 for request in server.requests)

    def test_very_long_ids_make_smaller_batches(self, server: Recorder, client: BlingClient) -> None:
        ids = [9 * 10**18 + number for number in range(100)]
        server.always(holding(dict.fromkeys(ids, 1)))

        assert client.get_balances(ids).found.keys() == set(ids)
        assert all(len(urlencode(request.query)) < 3700 for request in server.requests)

    def test_a_product_that_nobody_asked_for_is_left_out(self, server: Recorder, client: BlingClient) -> None:
        server.will(reply(200, {"data": [balance(1), balance(2)]}))

        assert client.get_balances([1]).found.keys() == {1}

    @settings(max_examples=60, deadline=None)
    @given(
        stock=st.dictionaries(st.integers(1, 400), st.integers(-2, 2), max_size=230),
        unknown=st.sets(st.integers(401, 420)),
        hints=st.dictionaries(st.integers(1, 420), st.integers(-1, 3)),
    )
    def test_every_product_is_found_or_absent_whatever_the_hints(
        self, stock: dict[int, int], unknown: set[int], hints: dict[int, int]
    ) -> None:
        transport = InMemory(stock)
        client = BlingClient(transport, FakeTokens(), FreePacer(), "matriz", utcnow=lambda: NOON)  # type: ignore[arg-type]

        result = client.get_balances(stock.keys() | unknown, hints)

        assert {id_: found.physical_total for id_, found in result.found.items()} == stock
        assert result.absent == unknown
        assert result.filters == {id_: _filter_of(physical) for id_, physical in stock.items()}
        assert all(0 < len(ids) <= 100 for _, ids in transport.asked)


class InMemory:
    """Transport.read for balances alone, without sockets."""

    def __init__(self, stock: dict[int, int]) -> None:
        self.stock = stock
        self.asked: list[tuple[int, list[int]]] = []

    def read(self, caller: object, path: str, query: Iterable[tuple[str, int]], parse: Callable[..., Any]) -> Any:
        (_, filter_), *ids = query
        self.asked.append((filter_, [id_ for _, id_ in ids]))
        found = [id_ for _, id_ in ids if id_ in self.stock and _filter_of(self.stock[id_]) == filter_]
        assert parse is parse_balances
        return parse({"data": [balance(id_, self.stock[id_]) for id_ in found]})


class TestMovements:
    def test_it_creates_a_movement(self, server: Recorder, client: BlingClient) -> None:
        server.will(reply(201, {"data": {"id": 31}}))

        assert client.create_movement(ORDER) == 31

        assert json.loads(server.requests[0].body, parse_float=Decimal) == {
            "produto": {"id": 11},
            "deposito": {"id": 5},
            "operacao": "S",
            "quantidade": Decimal("2.5"),
            "observacoes": "Venda na Filial",
        }

    def test_a_401_is_followed_by_one_try_with_a_new_token(
        self, server: Recorder, client: BlingClient, tokens: FakeTokens
    ) -> None:
        server.will(error(401, "UNAUTHORIZED"), reply(201, {"data": {"id": 31}}))

        assert client.create_movement(ORDER) == 31

        assert tokens.renewals == ["token-one"]
        assert [request.headers["Authorization"] for request in server.requests] == [
            "Bearer token-one",
            "Bearer token-two",
        ]

    def test_a_second_401_is_final(self, server: Recorder, client: BlingClient, tokens: FakeTokens) -> None:
        server.will(error(401, "UNAUTHORIZED"), error(401, "UNAUTHORIZED"))

        with pytest.raises(AuthExpired):
            client.create_movement(ORDER)

        assert tokens.renewals == ["token-one"]

    def test_after_a_401_the_second_try_may_still_end_in_doubt_and_is_not_repeated(
        self, server: Recorder, client: BlingClient
    ) -> None:
        server.will(error(401, "UNAUTHORIZED"), cut)

        with pytest.raises(WriteOutcomeUnknown):
            client.create_movement(ORDER)

        assert len(server.requests) == 2

    def test_a_read_gets_a_new_token_too(self, server: Recorder, client: BlingClient) -> None:
        server.will(error(401, "UNAUTHORIZED"), reply(200, {"data": {"id": "d447", "nome": "Matriz"}}))

        assert client.get_company().name == "Matriz"
