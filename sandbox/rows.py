"""What the pages show, read from the sandbox under its lock and ready for the templates."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from typing import Any

from .bling import Bling
from .records import Delivery, Product


class Rows:
    def __init__(self, bling: Bling) -> None:
        self._bling = bling
        self._world = bling.world

    def accounts(self, search: str) -> list[dict[str, Any]]:
        """The accounts with their deposits and the products that match the search, by SKU or name."""
        wanted = _folded(search)
        now = self._world.now()
        uses = Counter((p.account, p.sku) for p in self._world.products.values() if p.situation != "E")
        return [
            {
                "record": account,
                "used": self._bling.limits.used_today(account.key, now),
                "deposits": [d for d in self._world.deposits_of(account.key) if d.situation == 1],
                "products": [
                    self._stock_row(p, uses[p.account, p.sku])
                    for p in self._sorted_products(account.key)
                    if wanted in _folded(f"{p.sku} {p.name}")
                ],
            }
            for account in self._world.accounts.values()
        ]

    def balances(self, product: Product) -> list[dict[str, Any]]:
        return [
            {"deposit": deposit, "balance": self._bling.stock.balance(product, deposit)}
            for deposit in self._world.deposits_of(product.account)
        ]

    def components(self, product: Product) -> list[dict[str, Any]]:
        parts = [(self._world.products.get(c.product_id), c.quantity) for c in product.components]
        return [{"product": part, "quantity": amount} for part, amount in parts if part]

    def movements(self, product: Product, limit: int) -> list[dict[str, Any]]:
        found = [m for m in self._world.movements.values() if m.product_id == product.id]
        deposits = self._world.deposits
        return [{"record": m, "deposit": deposits[m.deposit_id].name} for m in found[: -limit - 1 : -1]]

    def orders(self, limit: int) -> list[dict[str, Any]]:
        """Open orders first, then the newest."""
        found = sorted(self._world.orders.values(), key=lambda o: (o.state != "open", -o.updated_at, -o.id))
        return [
            {
                "record": order,
                "account": self._world.accounts[order.account].name,
                "items": [
                    {
                        "product": self._world.products.get(item.product_id),
                        "deposit": self._world.deposits[item.deposit_id].name,
                        "quantity": item.quantity,
                    }
                    for item in order.items
                ],
            }
            for order in found[:limit]
        ]

    def requests(self, limit: int, account: str | None = None) -> list[Any]:
        return self._bling.requests(account)[: -limit - 1 : -1]

    def deliveries(self, limit: int, account: str | None = None) -> list[dict[str, Any]]:
        found = self._bling.deliveries(account)[: -limit - 1 : -1]
        return [self._delivery(delivery) for delivery in found]

    def delivery_counts(self, account: str | None = None) -> dict[str, int]:
        return dict(Counter(d.state for d in self._bling.deliveries(account)))

    def usage(self) -> list[dict[str, Any]]:
        with self._world.lock:
            return [
                {"account": account, "used": self._bling.used_today(account.key)}
                for account in self._world.accounts.values()
            ]

    def apps(self) -> list[dict[str, Any]]:
        return [
            {
                "record": app,
                "accounts": [
                    {
                        "record": account,
                        "is_authorized": self._bling.grants.live(account.key, app.client_id) is not None,
                        "switched_off": [
                            entry.partition(" ")[2]
                            for entry in account.switched_off
                            if entry.startswith(f"{app.client_id} ")
                        ],
                    }
                    for account in self._world.accounts.values()
                    if app.kind == "shared" or app.owner == account.key
                ],
            }
            for app in self._world.apps.values()
        ]

    def skus(self) -> list[tuple[str, str]]:
        """Each SKU once with a name, for the completion of the form."""
        return sorted({p.sku: p.name for p in self._world.products.values() if p.sku}.items())

    def deposit_names(self) -> list[str]:
        return list(dict.fromkeys(d.name for d in self._world.deposits.values() if d.situation == 1))

    def _sorted_products(self, account: str) -> list[Product]:
        found = [p for p in self._world.products_of(account) if p.situation != "E"]
        return sorted(found, key=lambda p: (_folded(p.name), p.id))

    def _stock_row(self, product: Product, uses_of_sku: int) -> dict[str, Any]:
        is_unique = bool(product.sku) and uses_of_sku == 1
        return {
            "record": product,
            "balances": list(self._bling.stock.balances(product).deposits.values()),
            "pick": product.sku if is_unique else f"#{product.id}",
            "is_repeated": bool(product.sku) and not is_unique,
        }

    def _delivery(self, delivery: Delivery) -> dict[str, Any]:
        envelope = json.loads(delivery.body)
        return {
            "record": delivery,
            "account": self._world.accounts[delivery.account].name,
            "last": delivery.attempts[-1] if delivery.attempts else None,
            "waits_s": max(0.0, delivery.due_at - self._world.now()) if delivery.is_open else None,
            "body": json.dumps(envelope, ensure_ascii=False, indent=2),
        }


def _folded(text: str) -> str:
    """Without accents and case, so that "lampada" finds "Lâmpada"."""
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in parts if not unicodedata.combining(c))
