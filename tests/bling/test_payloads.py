from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bling.payloads import (
    PayloadError,
    encode_json,
    encode_movement,
    find_deposit_balance,
    parse_balances,
    parse_company,
    parse_created_id,
    parse_deposits,
    parse_fault,
    parse_json,
    parse_product,
    parse_products,
    parse_tokens,
)
from core.quantity import from_millionths
from core.values import (
    DepositBalance,
    MovementOrder,
    ProductBalance,
    ProductFormat,
    ProductSituation,
)
from tests.bling import openapi

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
PRODUCT = {"id": 11, "nome": "Copo", "codigo": " COPO-1 ", "tipo": "P", "situacao": "A", "formato": "S"}
DEPOSIT = {"id": 5, "descricao": "Geral", "situacao": 1, "padrao": True, "desconsiderarSaldo": False}
BALANCE = {
    "produto": {"id": 11},
    "saldoFisicoTotal": Decimal("12.5"),
    "saldoVirtualTotal": 10,
    "depositos": [{"id": 5, "saldoFisico": Decimal("12.5"), "saldoVirtual": 10}],
}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def test_the_examples_here_fit_the_description() -> None:
    openapi.check_answer("GET", "/produtos", 200, {"data": [PRODUCT]})
    openapi.check_answer("GET", "/depositos", 200, {"data": [DEPOSIT]})
    openapi.check_answer("GET", "/estoques/saldos", 200, {"data": [BALANCE]})
    for parse, example in ((parse_products, PRODUCT), (parse_deposits, DEPOSIT), (parse_balances, BALANCE)):
        assert len(parse({"data": [example]})) == 1


@pytest.mark.parametrize(
    ("letter", "expected"),
    [("S", ProductFormat.SIMPLE), ("V", ProductFormat.PARENT), ("E", ProductFormat.COMPOSITION)],
)
def test_it_reads_a_products_format(letter: str, expected: ProductFormat) -> None:
    assert parse_product({**PRODUCT, "formato": letter}).format is expected


@pytest.mark.parametrize(
    ("letter", "expected"),
    [("A", ProductSituation.ACTIVE), ("I", ProductSituation.INACTIVE), ("E", ProductSituation.DELETED)],
)
def test_it_reads_a_products_situation(letter: str, expected: ProductSituation) -> None:
    assert parse_product({**PRODUCT, "situacao": letter}).situation is expected


@pytest.mark.parametrize(
    ("code", "sku"), [(" COPO-1 ", "COPO-1"), ("007", "007"), ("aB", "aB"), ("  ", ""), ("", ""), (None, "")]
)
def test_a_sku_is_trimmed_and_otherwise_kept(code: str | None, sku: str) -> None:
    assert parse_product({**PRODUCT, "codigo": code}).sku == sku


def test_a_product_without_code_has_an_empty_sku() -> None:
    assert parse_product({key: value for key, value in PRODUCT.items() if key != "codigo"}).sku == ""


@pytest.mark.parametrize(("given_id", "parent_id"), [(7, 7), (0, None), (None, None)])
def test_only_a_variation_has_a_parent(given_id: int | None, parent_id: int | None) -> None:
    assert parse_product({**PRODUCT, "idProdutoPai": given_id}).parent_id == parent_id


def test_it_reads_the_products_of_webhook_examples() -> None:
    examples = json.loads((openapi.FILE.parent / "webhook-examples.json").read_text())

    product = parse_product(examples["product.updated"]["data"])

    assert (product.id, product.sku, product.parent_id) == (12345678, "COD-4587", 12345678)


def test_a_service_is_a_record_without_product() -> None:
    payload = {"data": [PRODUCT, {**PRODUCT, "id": 12, "tipo": "S"}, {**PRODUCT, "id": 13, "tipo": "N"}]}

    products = parse_products(payload)

    assert list(products) == [11, 12, 13]
    assert products[11] is not None
    assert (products[12], products[13]) == (None, None)


def test_it_reads_balances_exactly() -> None:
    body = encode_json({"data": [BALANCE]}).replace("12.5", "12.300000000000001").encode()

    (balance,) = parse_balances(parse_json(body))

    assert balance == ProductBalance(
        11, Decimal("12.3"), Decimal(10), {5: DepositBalance(5, Decimal("12.3"), Decimal(10))}
    )


def _without(entry: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != key}


@pytest.mark.parametrize(
    ("parse", "payload"),
    [
        (parse_products, {"data": [_without(PRODUCT, "id")]}),
        (parse_products, {"data": [_without(PRODUCT, "nome")]}),
        (parse_products, {"data": [{**PRODUCT, "formato": "X"}]}),
        (parse_products, {"data": [{**PRODUCT, "situacao": None}]}),
        (parse_products, {"data": [{**PRODUCT, "id": True}]}),
        (parse_products, {"data": [{**PRODUCT, "codigo": 7}]}),
        (parse_products, {"data": {"id": 1}}),
        (parse_products, {"dados": []}),
        (parse_products, []),
        (parse_deposits, {"data": [{**DEPOSIT, "situacao": True}]}),
        (parse_deposits, {"data": [{**DEPOSIT, "situacao": 2}]}),
        (parse_deposits, {"data": [{**DEPOSIT, "padrao": 1}]}),
        (parse_balances, {"data": {"5": 1}}),
        (parse_company, {"data": {"nome": "Sem id"}}),
        (parse_company, {"data": None}),
        (parse_created_id, {"data": {}}),
        (parse_created_id, {"data": {"id": 0}}),
        (parse_created_id, {"data": {"id": 2**63}}),
    ],
)
def test_another_shape_is_a_payload_error(parse: Any, payload: object) -> None:
    with pytest.raises(PayloadError):
        parse(payload)


@pytest.mark.parametrize(
    "entry",
    [
        {**BALANCE, "saldoVirtualTotal": None},
        {**BALANCE, "produto": None},
        {**BALANCE, "depositos": [{"id": 5, "saldoFisico": 1}]},
        {**BALANCE, "depositos": [{"id": 5, "saldoFisico": "x", "saldoVirtual": 1}]},
        {**BALANCE, "depositos": {"5": 1}},
        {
            **BALANCE,
            "depositos": [
                {"id": 5, "saldoFisico": 1, "saldoVirtual": 1},
                {"id": 5, "saldoFisico": 2, "saldoVirtual": 1},
            ],
        },
    ],
)
def test_a_balance_that_cannot_be_read_leaves_its_product_unknown_and_the_others_not(entry: dict[str, Any]) -> None:
    other = {**BALANCE, "produto": {"id": 12}}

    assert [balance.product_id for balance in parse_balances({"data": [entry, other]})] == [12]


def test_what_the_description_does_not_require_may_be_missing() -> None:
    deposits = parse_deposits({"data": [_without(_without(DEPOSIT, "desconsiderarSaldo"), "padrao")]})
    (balance,) = parse_balances({"data": [_without(BALANCE, "saldoFisicoTotal")]})

    assert [(deposit.is_default, deposit.ignores_balance) for deposit in deposits.values()] == [(False, False)]
    assert balance.physical_total is None
    assert find_deposit_balance(balance, 999) is None


@given(json_values)
def test_rubbish_is_a_payload_error_and_nothing_else(payload: object) -> None:
    for parse in (parse_products, parse_deposits, parse_company, parse_created_id):
        with pytest.raises(PayloadError):
            parse({"data": [payload]} if parse is not parse_company else payload)
    assert parse_balances({"data": [payload]}) == []


@given(st.binary())
def test_no_error_body_is_too_strange(body: bytes) -> None:
    assert parse_fault(body).text


class TestMissingDeposits:
    def test_a_listed_deposit_has_its_balance(self) -> None:
        assert find_deposit_balance(_reading(3, 2, {5: (1, 1), 6: (2, 1)}), 6) == _zero(6, 2, 1)

    def test_a_missing_deposit_is_zero_when_the_others_add_up_to_the_totals(self) -> None:
        assert find_deposit_balance(_reading(3, 2, {5: (1, 1), 6: (2, 1)}), 7) == _zero(7, 0, 0)
        assert find_deposit_balance(_reading(0, 0, {}), 7) == _zero(7, 0, 0)

    @pytest.mark.parametrize("totals", [(4, 2), (3, 3), (2, 2)])
    def test_else_a_missing_deposit_is_unknown(self, totals: tuple[int, int]) -> None:
        assert find_deposit_balance(_reading(*totals, {5: (1, 1), 6: (2, 1)}), 7) is None

    def test_a_deposit_outside_the_totals_proves_nothing(self) -> None:
        reading = _reading(3, 3, {5: (3, 3), 9: (100, 100)})

        assert find_deposit_balance(reading, 7, ignored={9}) == _zero(7, 0, 0)
        assert find_deposit_balance(_reading(3, 3, {5: (3, 3)}), 9, ignored={9}) is None
        assert find_deposit_balance(_reading(3, 3, {5: (2, 2), 9: (1, 1)}), 7, ignored={9}) is None


def _zero(deposit_id: int, physical: int, virtual: int) -> DepositBalance:
    return DepositBalance(deposit_id, Decimal(physical), Decimal(virtual))


def _reading(physical: int, virtual: int, deposits: dict[int, tuple[int, int]]) -> ProductBalance:
    listed = {id_: DepositBalance(id_, Decimal(p), Decimal(v)) for id_, (p, v) in deposits.items()}
    return ProductBalance(11, Decimal(physical), Decimal(virtual), listed)


class TestMovements:
    @pytest.mark.parametrize(("quantity", "sent"), [("2", "2"), ("2.50", "2.5"), ("0.1", "0.1"), ("1E+3", "1000")])
    def test_a_quantity_is_sent_with_its_own_digits(self, quantity: str, sent: str) -> None:
        body = encode_movement(MovementOrder(11, 5, "E", Decimal(quantity), "nota")).decode()

        assert f'"quantidade":{sent},' in body

    def test_the_body_fits_the_description(self) -> None:
        body = encode_movement(MovementOrder(11, 5, "S", Decimal("0.000001"), 'Venda "Açaí"\n'))

        openapi.check_request("POST", "/estoques", [], body)
        assert json.loads(body)["observacoes"] == 'Venda "Açaí"\n'

    @given(st.integers(1, 2**63 - 1))
    def test_no_quantity_passes_through_a_float(self, millionths: int) -> None:
        quantity = from_millionths(millionths)
        body = encode_movement(MovementOrder(11, 5, "B", quantity, ""))

        assert json.loads(body, parse_float=Decimal, parse_int=Decimal)["quantidade"] == quantity

    @pytest.mark.parametrize(("operation", "quantity"), [("E", 0), ("S", -1), ("B", -1), ("X", 1)])
    def test_an_order_that_moves_nothing_or_backwards_cannot_be_made(self, operation: Any, quantity: int) -> None:
        with pytest.raises(ValueError):
            MovementOrder(11, 5, operation, Decimal(quantity), "")


def test_json_refuses_what_it_cannot_say_exactly() -> None:
    with pytest.raises(ValueError):
        encode_json({"x": float("nan")})


class TestTokens:
    ANSWER = {"access_token": "a.b.c", "refresh_token": "r", "expires_in": 21600, "token_type": "Bearer", "scope": "1"}

    def test_it_reads_the_token_answer(self) -> None:
        tokens = parse_tokens(self.ANSWER, NOON)

        assert tokens.expires_at == NOON + timedelta(hours=6)
        assert (tokens.access_token, tokens.refresh_token, tokens.lifetime_s) == ("a.b.c", "r", 21600)

    def test_tokens_do_not_show_themselves(self) -> None:
        assert "a.b.c" not in repr(parse_tokens(self.ANSWER, NOON))

    @pytest.mark.parametrize(
        "change",
        [
            {"access_token": ""},
            {"access_token": "with space"},
            {"access_token": "é"},
            {"refresh_token": None},
            {"expires_in": 0},
            {"expires_in": "21600"},
        ],
    )
    def test_an_unusable_answer_is_a_payload_error(self, change: dict[str, object]) -> None:
        with pytest.raises(PayloadError):
            parse_tokens({**self.ANSWER, **change}, NOON)
