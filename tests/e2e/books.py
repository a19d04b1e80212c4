"""The promises of DESIGN, checked in the sandbox alone: nothing lost, nothing invented, each window shows the pool.

The demo's one rule: the Geral of Matriz and of Filial are the stock, the three Lojas virtuais show it.
"""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import Any

from tests.e2e.stack import Sandbox

SOURCES = (("matriz", "Geral"), ("filial", "Geral"))
TARGETS = (("matriz", "Loja virtual"), ("filial", "Loja virtual"), ("avulsa", "Loja virtual"))


def faults(sandbox: Sandbox) -> list[str]:
    """What does not hold, of all SKUs of the rule; empty when all is well."""
    products = _products(sandbox)
    written, moved = _movements(sandbox)
    found = []
    for sku, by_account in sorted(products.items()):
        sources = [by_account[account][name] for account, name in SOURCES if account in by_account]
        targets = [by_account[account][name] for account, name in TARGETS if account in by_account]
        if sources and targets:
            found += _faults_of(sku, sources, targets, written, moved)
    assert len(products) > 50
    return found


def synchronized(sandbox: Sandbox) -> list[str]:
    """The SKUs that every account of the rule has, in order."""
    accounts = {account for account, _ in TARGETS}
    return [sku for sku, by_account in sorted(_products(sandbox).items()) if accounts <= by_account.keys()]


def _faults_of(
    sku: str,
    sources: list[dict[str, Any]],
    targets: list[dict[str, Any]],
    written: dict[tuple[str, Decimal], Decimal],
    moved: dict[tuple[str, Decimal], Decimal],
) -> list[str]:
    found = []
    # The sources hold what they held plus every movement wherever it was made: so what we wrote on them is what
    # other people moved on the targets.
    written_back = sum((written[sku, place["id"]] for place in sources), Decimal(0))
    owed = sum((moved[sku, place["id"]] for place in targets), Decimal(0))
    if written_back != owed:
        found.append(f"{sku}: {owed} was moved on the targets, {written_back} arrived on the sources")
    pool = sum((place["virtual"] for place in sources), Decimal(0)) - sum(place["reserved"] for place in targets)
    shown = [place["virtual"] for place in targets]
    if any(quantity != max(pool, Decimal(0)) for quantity in shown):
        found.append(f"{sku}: the pool is {pool}, the targets show {', '.join(map(str, shown))}")
    return found


def _products(sandbox: Sandbox) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
    """SKU → account → deposit → balances, of what can be synchronized: simple, active, the SKU once per account."""
    found: dict[str, dict[str, dict[str, dict[str, Any]]]] = defaultdict(dict)
    left_out = {""}
    for account, _ in TARGETS:
        for row in sandbox.get("balances", account=account)["balances"]:
            sku = row["sku"].strip()
            if row["format"] != "S" or row["situation"] != "A" or account in found[sku]:
                left_out.add(sku)
            found[sku][account] = {place["name"]: place for place in row["deposits"]}
    return {sku: accounts for sku, accounts in found.items() if sku not in left_out}


def _movements(
    sandbox: Sandbox,
) -> tuple[dict[tuple[str, Decimal], Decimal], dict[tuple[str, Decimal], Decimal]]:
    """Per SKU and deposit: the sum of what was written through the API, and of what people moved."""
    written: dict[tuple[str, Decimal], Decimal] = defaultdict(Decimal)
    moved: dict[tuple[str, Decimal], Decimal] = defaultdict(Decimal)
    for movement in sandbox.get("movements", limit="100000")["movements"]:
        sums = written if movement["origin"] == "api" else moved
        sums[movement["sku"], movement["deposit_id"]] += movement["after"] - movement["before"]
    return written, moved
