"""The control API under /sandbox/api, for tests in another process: what a person or a fault does, as JSON.

Quantities may be JSON numbers or texts. A refusal is 400 {"error": "…"}; an unknown field is refused too.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import asdict
from decimal import Decimal
from typing import Any

from flask import Blueprint, Response, request

from . import wire
from .bling import Bling
from .errors import SandboxError
from .faults import KINDS
from .records import Delivery, Order

Action = Callable[..., Any]


def create_control(bling: Bling) -> Blueprint:
    bp = Blueprint("control", __name__, url_prefix="/sandbox/api")
    control = Control(bling)

    def route(path: str, method: str, action: Action) -> None:
        def answer() -> Response:
            values = request.args.to_dict() if method == "GET" else _body()
            return _json(_call(action, values) or {"ok": True})

        bp.add_url_rule(path, f"{method}{path}", answer, methods=[method])

    route("/health", "GET", control.health)
    route("/state", "GET", control.state)
    route("/balances", "GET", control.balances)
    route("/orders", "GET", control.orders)
    route("/movements", "GET", control.movements)
    route("/requests", "GET", control.requests)
    route("/deliveries", "GET", control.deliveries)
    route("/faults", "GET", control.faults)
    route("/settings", "GET", control.settings)
    route("/move", "POST", control.move)
    for name in ("sell", "receive", "count", "reserve"):
        route(f"/{name}", "POST", getattr(control, name))
    route("/post", "POST", control.post)
    route("/cancel", "POST", control.cancel)
    route("/product", "POST", control.product)
    route("/product/edit", "POST", control.edit_product)
    route("/product/delete", "POST", control.delete_product)
    route("/account", "POST", control.account)
    route("/app", "POST", control.app)
    route("/app/edit", "POST", control.edit_app)
    route("/tokens", "POST", control.tokens)
    route("/revoke", "POST", control.revoke)
    route("/fault", "POST", control.fault)
    route("/faults/clear", "POST", control.clear_faults)
    route("/settings", "POST", control.set_settings)
    route("/redeliver", "POST", control.redeliver)
    route("/webhooks/on", "POST", control.webhooks_on)
    route("/reset", "POST", control.reset)

    @bp.errorhandler(SandboxError)
    def refuse(error: SandboxError) -> tuple[Response, int]:
        return _json({"error": str(error)}), 400

    return bp


class Control:
    """Each method is one operation; its parameters are the fields of the request."""

    def __init__(self, bling: Bling) -> None:
        self._bling = bling

    def health(self) -> Any:
        return {"ok": True, "accounts": len(self._bling.world.accounts)}

    def state(self) -> Any:
        """Everything at a glance: apps (without secrets), accounts, deposits, products with balances, open orders."""
        bling = self._bling
        with bling.world.lock:
            return {
                "now": bling.world.now(),
                "apps": [
                    {
                        "client_id": app.client_id,
                        "name": app.name,
                        "kind": app.kind,
                        "owner": app.owner,
                        "redirect_uri": app.redirect_uri,
                        "webhook_url": app.webhook_url,
                        "scopes": app.scopes,
                    }
                    for app in bling.world.apps.values()
                ],
                "accounts": [self._account(key) for key in bling.world.accounts],
                "orders": [_order(o) for o in bling.world.orders.values() if o.state == "open"],
                "faults": bling.faults.listed(),
            }

    def balances(self, account: str, product: Any = None, sku: str | None = None) -> Any:
        """Balances of an account per product and deposit, exact and never stale; one product when named."""
        bling = self._bling
        with bling.world.lock:
            bling.world.account(account)
            wanted = None if product is None and sku is None else self._product(account, product, sku)
            products = bling.world.products_of(account)
            if wanted is not None:
                products = [bling.catalog.find_product(account, wanted)]
            return {"balances": [self._balances(p) for p in products]}

    def orders(self, account: str | None = None, state: str | None = None) -> Any:
        with self._bling.world.lock:
            return {
                "orders": [
                    _order(o)
                    for o in self._bling.world.orders.values()
                    if account in (None, o.account) and state in (None, o.state)
                ]
            }

    def movements(
        self, account: str | None = None, product: Any = None, sku: str | None = None,
        origin: str | None = None, limit: Any = 1000,
    ) -> Any:  # fmt: skip
        wanted = sku if product is None else _integer(product)
        found = self._bling.movements(account, wanted, origin)
        return {"movements": [asdict(m) for m in _last(found, limit)]}

    def requests(
        self, account: str | None = None, method: str | None = None, path: str | None = None,
        limit: Any = 1000,
    ) -> Any:  # fmt: skip
        found = self._bling.requests(account, method, path)
        with self._bling.world.lock:
            today = {key: self._bling.used_today(key) for key in self._bling.world.accounts}
        return {
            "total": len(found),
            "today": today,
            "requests": [asdict(r) for r in _last(found, limit)],
        }

    def deliveries(
        self, account: str | None = None, state: str | None = None, event: str | None = None,
        limit: Any = 1000,
    ) -> Any:  # fmt: skip
        found = self._bling.deliveries(account, state, event)
        counts: dict[str, int] = {}
        for delivery in found:
            counts[delivery.state] = counts.get(delivery.state, 0) + 1
        return {"counts": counts, "deliveries": [_delivery(d) for d in _last(found, limit)]}

    def faults(self) -> Any:
        return {"kinds": list(KINDS), "faults": self._bling.faults.listed()}

    def settings(self) -> Any:
        return asdict(self._bling.settings)

    def move(
        self, account: str, operation: str, quantity: Any, product: Any = None, sku: str | None = None,
        deposit: Any = None, note: str = "",
    ) -> Any:  # fmt: skip
        """A movement on the stock screen: operation E, S or B."""
        wanted, place = self._product(account, product, sku), _deposit(deposit)
        movement = self._bling.move(account, wanted, place, operation, quantity, note)
        return {"movement": movement.id, "before": movement.before, "after": movement.after}

    def sell(
        self, account: str, quantity: Any, product: Any = None, sku: str | None = None, deposit: Any = None
    ) -> Any:  # fmt: skip
        wanted = self._product(account, product, sku)
        return _order(self._bling.sell(account, wanted, quantity, _deposit(deposit)))

    def receive(
        self, account: str, quantity: Any, product: Any = None, sku: str | None = None, deposit: Any = None
    ) -> Any:  # fmt: skip
        return self.move(account, "E", quantity, product, sku, deposit, "Entrada de mercadoria")

    def count(
        self, account: str, quantity: Any, product: Any = None, sku: str | None = None, deposit: Any = None
    ) -> Any:  # fmt: skip
        return self.move(account, "B", quantity, product, sku, deposit, "Balanço")

    def reserve(
        self, account: str, quantity: Any, product: Any = None, sku: str | None = None, deposit: Any = None
    ) -> Any:  # fmt: skip
        wanted = self._product(account, product, sku)
        return _order(self._bling.reserve(account, wanted, quantity, _deposit(deposit)))

    def post(self, order: Any) -> Any:
        self._bling.post(_integer(order))

    def cancel(self, order: Any) -> Any:
        self._bling.cancel(_integer(order))

    def product(self, account: str, sku: str, name: str | None = None, **fields: Any) -> Any:
        """Create a product; fields as in `Bling.add_product`."""
        allowed = {
            "stock", "components", "announce", "price", "kind", "format", "situation", "unit", "gtin",
            "parent_id", "variation",
        }  # fmt: skip
        if set(fields) - allowed:
            raise SandboxError(f"Campo desconhecido: {', '.join(sorted(set(fields) - allowed))}.")
        return {"product": self._bling.add_product(account, sku, name, **fields).id}

    def edit_product(self, account: str, changes: dict[str, Any], product: Any = None, sku: str | None = None) -> Any:
        self._bling.edit_product(account, self._product(account, product, sku), **changes)

    def delete_product(self, account: str, product: Any = None, sku: str | None = None) -> Any:
        self._bling.delete_product(account, self._product(account, product, sku))

    def account(self, key: str, name: str | None = None, deposits: Any = ("Geral",)) -> Any:
        self._bling.add_account(key, name, deposits=deposits)
        return self._account(key)

    def app(
        self, client_id: str, client_secret: str, redirect_uri: str, webhook_url: str = "",
        name: str = "EstoqueUni", kind: str = "shared", owner: str | None = None, scopes: Any = None,
    ) -> Any:  # fmt: skip
        self._bling.add_app(
            client_id,
            client_secret,
            name=name,
            redirect_uri=redirect_uri,
            webhook_url=webhook_url,
            kind=kind,
            owner=owner,
            scopes=scopes,
        )

    def edit_app(self, client_id: str, changes: dict[str, Any]) -> Any:
        self._bling.edit_app(client_id, **changes)

    def tokens(self, account: str, client_id: str | None = None) -> Any:
        """Authorize the app (default: the shared one) for the account and answer with its tokens."""
        return asdict(self._bling.issue_tokens(account, client_id))

    def revoke(self, account: str, client_id: str | None = None) -> Any:
        self._bling.revoke(account, client_id)

    def fault(
        self, kind: str, rate: Any = 0, next: Any = 0, seconds: Any = None, account: str | None = None
    ) -> Any:  # fmt: skip
        """Set one fault; rate 0 and next 0 turn it off."""
        if account is not None:
            self._bling.world.account(account)
        try:
            length = None if seconds is None else float(seconds)
            self._bling.faults.set(kind, float(rate), int(next), length, account)
        except (TypeError, ValueError) as error:
            raise SandboxError(str(error)) from None
        return self.faults()

    def clear_faults(self) -> Any:
        self._bling.faults.clear()

    def set_settings(self, **changes: Any) -> Any:
        self._bling.configure(**changes)
        return self.settings()

    def redeliver(self, delivery: Any) -> Any:
        self._bling.redeliver(_integer(delivery))

    def webhooks_on(self, account: str) -> Any:
        self._bling.webhooks.switch_on(account)

    def reset(self) -> Any:
        """Forget requests, quotas used and ended deliveries; faults off. The stock stays."""
        self._bling.faults.clear()
        self._bling.reset_counters()

    def _product(self, account: str, product: Any, sku: str | None) -> str | int:
        if product is not None:
            return _integer(product)
        if sku is None:
            raise SandboxError("Informe o produto (id) ou o SKU.")
        return sku

    def _account(self, key: str) -> dict[str, Any]:
        bling = self._bling
        account = bling.world.accounts[key]
        return {
            "key": key,
            "name": account.name,
            "company_id": account.company_id,
            "requests_today": bling.used_today(key),
            "switched_off": account.switched_off,
            "deposits": [
                {"id": d.id, "name": d.name, "default": d.is_default, "situation": d.situation}
                for d in bling.world.deposits_of(key)
            ],
            "products": [self._balances(p) for p in bling.world.products_of(key)],
        }

    def _balances(self, product: Any) -> dict[str, Any]:
        bling = self._bling
        return {
            "product": product.id,
            "sku": product.sku,
            "name": product.name,
            "format": product.format,
            "situation": product.situation,
            "deposits": [
                {
                    "id": deposit.id,
                    "name": deposit.name,
                    "physical": here.physical,
                    "reserved": here.reserved,
                    "virtual": here.virtual,
                }
                for deposit in bling.world.deposits_of(product.account)
                for here in (bling.stock.balance(product, deposit),)
            ],
        }


def _call(action: Action, values: dict[str, Any]) -> Any:
    try:
        inspect.signature(action).bind(**values)
    except TypeError as error:
        raise SandboxError(f"Campos inválidos: {error}.") from None
    return action(**values)


def _body() -> dict[str, Any]:
    raw = request.get_data()
    try:
        body = wire.load(raw) if raw else {}
    except ValueError:
        raise SandboxError("O corpo não é JSON.") from None
    if not isinstance(body, dict):
        raise SandboxError("O corpo deve ser um objeto JSON.")
    return body


def _json(body: Any) -> Response:
    return Response(wire.dump(_without_floats(body)), mimetype="application/json")


def _integer(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise SandboxError(f"{value!r:.40} não é um id.") from None


def _deposit(value: Any) -> str | int | None:
    """An id, also as text, or a name."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _last(rows: list[Any], limit: Any) -> list[Any]:
    return rows[-_integer(limit) :] if _integer(limit) > 0 else []


def _without_floats(value: Any) -> Any:
    """Times and rates to the thousandth, as exact numbers."""
    if isinstance(value, float):
        return Decimal(repr(round(value, 3)))
    if isinstance(value, dict):
        return {key: _without_floats(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_floats(part) for part in value]
    return value


def _order(order: Order) -> dict[str, Any]:
    return {
        "order": order.id,
        "number": order.number,
        "account": order.account,
        "state": order.state,
        "items": [{"product": i.product_id, "deposit": i.deposit_id, "quantity": i.quantity} for i in order.items],
    }


def _delivery(delivery: Delivery) -> dict[str, Any]:
    return {
        "delivery": delivery.id,
        "event_id": delivery.event_id,
        "event": delivery.event,
        "account": delivery.account,
        "client_id": delivery.client_id,
        "state": delivery.state,
        "copy": delivery.copy,
        "fault": delivery.fault,
        "created_at": delivery.created_at,
        "due_at": delivery.due_at,
        "attempts": delivery.attempts,
        "body": wire.load(delivery.body),
    }
