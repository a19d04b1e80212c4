"""What Bling shows of a product's stock: per deposit, and in total."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from .records import ZERO


@dataclass(frozen=True)
class Balance:
    """Physical is what lies on the shelf, virtual is that less what open orders reserve."""

    physical: Decimal = ZERO
    reserved: Decimal = ZERO

    @property
    def virtual(self) -> Decimal:
        return self.physical - self.reserved


@dataclass
class Balances:
    """Per active deposit, with totals that leave out deposits whose balance is to be ignored."""

    deposits: dict[int, Balance] = field(default_factory=dict)
    physical_total: Decimal = ZERO
    virtual_total: Decimal = ZERO

    def add(self, deposit: int, balance: Balance, counts: bool) -> None:
        self.deposits[deposit] = balance
        if counts:
            self.physical_total += balance.physical
            self.virtual_total += balance.virtual
