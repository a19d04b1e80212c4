"""What the world of one seed is. A plot is plain data, so that a story found once can be kept as a test."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, field
from typing import Any

SHELF, SHOP, SITE, BACK = "Geral", "Loja", "Site", "Fundos"
ACCOUNTS = ("matriz", "filial", "avulsa")

Place = tuple[str, str]


@dataclass(frozen=True)
class Rule:
    """What one target shows of the pool; numbers as text, None where there is no such limit."""

    reserve: str | None = None
    percent: str | None = None
    max: str | None = None
    stop_at: str | None = None


@dataclass(frozen=True)
class Plot:
    """`stock`: SKU to account to deposit to quantity. In mode mirror the first target is the seed."""

    mode: str
    balance: str
    target_movements: str
    accounts: tuple[str, ...]
    sources: tuple[Place, ...]
    targets: tuple[Place, ...]
    rules: tuple[Rule, ...]
    stock: dict[str, dict[str, dict[str, str]]]
    workers: int = 2
    outside: tuple[Place, ...] = field(default=())

    @property
    def skus(self) -> tuple[str, ...]:
        return tuple(self.stock)

    @property
    def places(self) -> tuple[Place, ...]:
        return self.sources + self.targets

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Plot:
        places = {key: tuple(map(tuple, plain[key])) for key in ("sources", "targets", "outside")}
        rules = tuple(Rule(**rule) for rule in plain["rules"])
        return cls(**{**plain, **places, "accounts": tuple(plain["accounts"]), "rules": rules})


def plot_of(seed: int, mode: str | None = None, balance: str | None = None) -> Plot:
    """The world of this seed; mode and balance are drawn too unless they are given."""
    chance = random.Random(f"plot {seed}")
    mode_drawn, balance_drawn = chance.choice(("sum", "mirror")), chance.choice(("physical", "virtual"))
    mode, balance = mode or mode_drawn, balance or balance_drawn
    accounts = ACCOUNTS[: chance.choice((2, 3, 3))]
    sources: tuple[Place, ...] = ()
    if mode == "sum":
        holders = chance.sample(accounts, chance.choice((1, 2, 2)))
        sources = tuple((account, SHELF) for account in sorted(holders, key=accounts.index))
    targets: tuple[Place, ...] = tuple((account, SHOP) for account in accounts)
    if chance.random() < 0.3:
        targets += ((accounts[0], SITE),)
    return Plot(
        mode=mode,
        balance=balance,
        target_movements="overwrite" if chance.random() < 0.15 else "write_back",
        accounts=accounts,
        sources=sources,
        targets=targets,
        rules=tuple(_rule(chance) for _ in targets),
        stock=_stock(chance, accounts),
        workers=chance.choice((2, 2, 3)),
        outside=tuple((account, BACK) for account in accounts),
    )


def _rule(chance: random.Random) -> Rule:
    if chance.random() < 0.5:
        return Rule()
    return Rule(
        reserve=chance.choice((None, "1", "2", "3")),
        percent=chance.choice((None, "100", "50", "33", "75")),
        max=chance.choice((None, None, "5", "8")),
        stop_at=chance.choice((None, None, "1", "2")),
    )


def _stock(chance: random.Random, accounts: tuple[str, ...]) -> dict[str, dict[str, dict[str, str]]]:
    stock: dict[str, dict[str, dict[str, str]]] = {}
    for number in range(chance.choice((1, 2, 2, 3, 4))):
        has_fractions = chance.random() < 0.15
        stock[f"SKU{number}"] = {
            account: {
                SHELF: str(chance.randint(0, 30)) + (".5" if has_fractions and chance.random() < 0.5 else ""),
                SHOP: str(chance.choice((0, 0, 3, 10))),
                SITE: "0",
                BACK: str(chance.choice((0, 4))),
            }
            for account in accounts
        }
    return stock
