"""Bling's JSON to our values and back. Pure and strict: what does not fit is a PayloadError, never a KeyError.

The rule it guards: unknown is not zero (`find_deposit_balance`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from json import dumps, loads
from typing import NoReturn, TypeVar

from bling.errors import FieldFault, quote_foreign
from core.quantity import to_quantity
from core.texts import storable
from core.values import (
    Company,
    Deposit,
    DepositBalance,
    MovementOrder,
    Product,
    ProductBalance,
    ProductFormat,
    ProductSituation,
    Tokens,
)

FORMATS = {"S": ProductFormat.SIMPLE, "V": ProductFormat.PARENT, "E": ProductFormat.COMPOSITION}
SITUATIONS = {"A": ProductSituation.ACTIVE, "I": ProductSituation.INACTIVE, "E": ProductSituation.DELETED}
_SERVICES = ("S", "N")


T = TypeVar("T")


class PayloadError(ValueError):
    """The JSON has another shape than Bling documents; the message names the place."""


def parse_json(body: bytes) -> object:
    """JSON with exact numbers: no value passes through a float, and NaN and Infinity are errors."""

    def refuse(constant: str) -> NoReturn:
        raise PayloadError(f"{constant} is no JSON")

    try:
        return loads(body, parse_float=Decimal, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise PayloadError(f"not JSON: {error}") from error


@dataclass(frozen=True, slots=True)
class Fault:
    """The documented error body, or what could be made of another one."""

    type: str
    text: str
    fields: tuple[FieldFault, ...]


def parse_fault(body: bytes) -> Fault:
    """Never raises: a proxy's HTML page is an error body too."""
    try:
        payload = parse_json(body)
    except PayloadError:
        payload = None
    error = payload.get("error") if isinstance(payload, dict) else None
    if isinstance(error, str) and isinstance(payload, dict):  # The short form of RFC 6749.
        error = {"type": error, "description": payload.get("error_description")}
    if not isinstance(error, dict):
        return Fault("", "no readable error body", ())
    listed = error.get("fields")
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    words = [str(error[key]) for key in ("message", "description") if error.get(key)]
    words += [f"{entry.get('element') or '?'}: {entry.get('msg')}" for entry in entries]
    return Fault(str(error.get("type") or ""), "; ".join(words), tuple(map(_field_fault, entries)))


def parse_company(payload: object) -> Company:
    data = _object(_data(payload), "data")
    return Company(
        id=_text(data, "id"), name=_text(data, "nome"), cnpj=_text(data, "cnpj", ""), email=_text(data, "email", "")
    )


def parse_deposits(payload: object) -> dict[int, Deposit]:
    deposits = (_deposit(_object(entry, "data[]")) for entry in _list(_data(payload), "data"))
    return {deposit.id: deposit for deposit in deposits}


def parse_products(payload: object) -> dict[int, Product | None]:
    """The records of a page; None stands for a service, which holds no stock."""
    entries = (_object(entry, "data[]") for entry in _list(_data(payload), "data"))
    return {_id(entry, "id"): None if entry.get("tipo") in _SERVICES else parse_product(entry) for entry in entries}


def parse_product(payload: object) -> Product:
    """One product as it stands in listings and in product events."""
    entry = _object(payload, "product")
    return Product(
        id=_id(entry, "id"),
        sku=_text(entry, "codigo", "").strip(),
        name=_text(entry, "nome"),
        format=_choice({"formato": "S", **entry}, "formato", FORMATS),
        situation=_choice(entry, "situacao", SITUATIONS),
        parent_id=_id(entry, "idProdutoPai") if entry.get("idProdutoPai") else None,
    )


def parse_balances(payload: object) -> list[ProductBalance]:
    """The balances of an answer. What cannot be read is left out: that product stays unknown, the others do not."""
    balances: list[ProductBalance] = []
    for entry in _list(_data(payload), "data"):
        with suppress(PayloadError):
            balances.append(_balance(_object(entry, "data[]")))
    return balances


def parse_created_id(payload: object) -> int:
    return _id(_object(_data(payload), "data"), "id")


def parse_tokens(payload: object, now: datetime) -> Tokens:
    entry = _object(payload, "token answer")
    lifetime_s = _integer(entry, "expires_in")
    if lifetime_s <= 0:
        raise PayloadError("expires_in is not positive")
    return Tokens(
        access_token=_token(entry, "access_token"),
        refresh_token=_token(entry, "refresh_token"),
        expires_at=now + timedelta(seconds=lifetime_s),
        lifetime_s=lifetime_s,
    )


def find_deposit_balance(
    balance: ProductBalance, deposit_id: int, ignored: Collection[int] = frozenset()
) -> DepositBalance | None:
    """The balance of one deposit, or None when the reading does not tell it.

    A deposit that is missing among a product's deposits is unknown, with one exception: it is zero when the listed
    ones already add up to the totals of the product, physical and virtual. `ignored` are the deposits with
    `ignores_balance`: Bling leaves them out of the totals, so nothing follows about them, nor from them for others.
    """
    if deposit_id in balance.deposits:
        return balance.deposits[deposit_id]
    counted = [listed for listed in balance.deposits.values() if listed.deposit_id not in ignored]
    is_complete = (
        sum((listed.physical for listed in counted), Decimal(0)) == balance.physical_total
        and sum((listed.virtual for listed in counted), Decimal(0)) == balance.virtual_total
    )
    if is_complete and deposit_id not in ignored:
        return DepositBalance(deposit_id, Decimal(0), Decimal(0))
    return None


def encode_movement(order: MovementOrder) -> bytes:
    """The body of POST /estoques."""
    body: dict[str, object] = {
        "produto": {"id": order.product_id},
        "deposito": {"id": order.deposit_id},
        "operacao": order.operation,
        "quantidade": to_quantity(order.quantity),
    }
    if order.note:
        body["observacoes"] = order.note
    return encode_json(body).encode()


def encode_json(value: object) -> str:
    """JSON in which a Decimal is a number with exactly its digits; the standard encoder knows floats only."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{dumps(str(key))}:{encode_json(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(encode_json, value)) + "]"
    return dumps(value, allow_nan=False)


def _field_fault(entry: Mapping[str, object]) -> FieldFault:
    code = entry.get("code")
    return FieldFault(
        code=code if isinstance(code, int) else None,
        message=quote_foreign(entry.get("msg") or ""),
        element=quote_foreign(entry.get("element") or ""),
        namespace=quote_foreign(entry.get("namespace") or ""),
    )


def _deposit(entry: Mapping[str, object]) -> Deposit:
    return Deposit(
        id=_id(entry, "id"),
        name=_text(entry, "descricao"),
        is_active=_choice(entry, "situacao", {0: False, 1: True}),
        is_default=_flag({"padrao": False, **entry}, "padrao"),
        ignores_balance=_flag({"desconsiderarSaldo": False, **entry}, "desconsiderarSaldo"),
    )


def _balance(entry: Mapping[str, object]) -> ProductBalance:
    listed = (_object(item, "depositos[]") for item in _list(entry.get("depositos", []), "depositos"))
    return ProductBalance(
        product_id=_id(_object(entry.get("produto"), "produto"), "id"),
        physical_total=_quantity(entry, "saldoFisicoTotal") if "saldoFisicoTotal" in entry else None,
        virtual_total=_quantity(entry, "saldoVirtualTotal") if "saldoVirtualTotal" in entry else None,
        deposits=_by_id(
            DepositBalance(_id(item, "id"), _quantity(item, "saldoFisico"), _quantity(item, "saldoVirtual"))
            for item in listed
        ),
    )


def _by_id(balances: Iterable[DepositBalance]) -> dict[int, DepositBalance]:
    known: dict[int, DepositBalance] = {}
    for balance in balances:
        if known.setdefault(balance.deposit_id, balance) != balance:
            raise PayloadError(f"deposit {balance.deposit_id} is listed twice with different balances")
    return known


def _data(payload: object) -> object:
    return _object(payload, "answer").get("data")


def _object(value: object, place: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise PayloadError(f"{place} is {type(value).__name__}, not an object")
    return value


def _list(value: object, place: str) -> list[object]:
    if not isinstance(value, list):
        raise PayloadError(f"{place} is {type(value).__name__}, not a list")
    return value


def _integer(entry: Mapping[str, object], key: str) -> int:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise PayloadError(f"{key} is {type(value).__name__}, not an integer")
    return value


def _id(entry: Mapping[str, object], key: str) -> int:
    value = _integer(entry, key)
    if not 0 < value < 2**63:
        raise PayloadError(f"{key} is no id")
    return value


def _text(entry: Mapping[str, object], key: str, default: str | None = None) -> str:
    value = entry.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise PayloadError(f"{key} is {type(value).__name__}, not a text")
    return storable(value)


def _token(entry: Mapping[str, object], key: str) -> str:
    value = _text(entry, key)
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        raise PayloadError(f"{key} is no token")
    return value


def _flag(entry: Mapping[str, object], key: str) -> bool:
    value = entry.get(key)
    if not isinstance(value, bool):
        raise PayloadError(f"{key} is {type(value).__name__}, not a boolean")
    return value


def _choice(entry: Mapping[str, object], key: str, choices: Mapping[str, T] | Mapping[int, T]) -> T:
    for code, meaning in choices.items():
        # Compared with its type: True would pass for 1.
        if type(entry.get(key)) is type(code) and entry[key] == code:
            return meaning
    raise PayloadError(f"{key} is none of {', '.join(map(str, choices))}")


def _quantity(entry: Mapping[str, object], key: str) -> Decimal:
    value = entry.get(key)
    if not isinstance(value, Decimal | int | str):
        raise PayloadError(f"{key} is {type(value).__name__}, not a number")
    try:
        return to_quantity(value)
    except ValueError as error:
        raise PayloadError(f"{key}: {error}") from error
