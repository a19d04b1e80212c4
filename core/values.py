"""What Bling tells us and what we ask of it, as plain immutable values.

Quantities are exact Decimals as core/quantity.py makes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Literal


class ProductFormat(StrEnum):
    SIMPLE = "simple"
    PARENT = "parent"
    """Has variations, which are products of their own; holds no stock itself."""
    COMPOSITION = "composition"
    """Its stock follows its components and cannot be written."""


class ProductSituation(StrEnum):
    ACTIVE = "active"
    INACTIVE = "inactive"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Company:
    """The company behind an account; `id` is the companyId that its webhooks carry."""

    id: str
    name: str
    cnpj: str
    email: str


@dataclass(frozen=True, slots=True)
class Deposit:
    """A stock location; with `ignores_balance` it does not count in its product's totals."""

    id: int
    name: str
    is_active: bool
    is_default: bool
    ignores_balance: bool


@dataclass(frozen=True, slots=True)
class Product:
    """One product of one account; `sku` is trimmed and '' when Bling has none. A variation names its `parent_id`."""

    id: int
    sku: str
    name: str
    format: ProductFormat
    situation: ProductSituation
    parent_id: int | None


@dataclass(frozen=True, slots=True)
class DepositBalance:
    """`physical` is on the shelf; `virtual` is that less what open orders reserve."""

    deposit_id: int
    physical: Decimal
    virtual: Decimal


@dataclass(frozen=True, slots=True)
class ProductBalance:
    """One reading of a product.

    A deposit that is not among `deposits` is unknown, not zero (bling.payloads.find_deposit_balance). The totals are
    None where the answer leaves them out.
    """

    product_id: int
    physical_total: Decimal | None
    virtual_total: Decimal | None
    deposits: Mapping[int, DepositBalance]


Operation = Literal["E", "S", "B"]
"""Bling's letters: E adds, S takes away, B sets the balance."""


@dataclass(frozen=True, slots=True)
class MovementOrder:
    """One stock movement to create; the quantity is never negative, the operation gives the direction."""

    product_id: int
    deposit_id: int
    operation: Operation
    quantity: Decimal
    note: str

    def __post_init__(self) -> None:
        if self.operation not in ("E", "S", "B"):
            raise ValueError(f"unknown operation {self.operation!r}")
        if self.quantity < 0 or (self.quantity == 0 and self.operation != "B"):
            raise ValueError(f"a movement {self.operation} of {self.quantity} moves nothing or backwards")


@dataclass(frozen=True, slots=True)
class Tokens:
    """The OAuth tokens of one account; the repr shows neither of them."""

    access_token: str
    refresh_token: str
    expires_at: datetime
    lifetime_s: int

    def __repr__(self) -> str:
        return f"Tokens(expires_at={self.expires_at.isoformat()}, lifetime_s={self.lifetime_s})"
