"""`Bling`: the whole sandbox as one Python object, for tests and simulations in the same process.

Quantities may be int, str or Decimal; an account is named by its key, a product by SKU or id, a deposit by
name or id (None: the default one).
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from .balances import Balance
from .catalog import Catalog
from .dispatch import Dispatcher, Sender
from .errors import SandboxError
from .faults import Faults
from .grants import Grants
from .limits import Limits
from .records import (
    Account,
    App,
    Delivery,
    Deposit,
    Grant,
    Movement,
    Order,
    OrderItem,
    Product,
    RequestEntry,
)
from .settings import Settings
from .stock import Stock, parse_quantity
from .webhooks import Webhooks
from .world import World

Quantity = int | str | Decimal
KEPT_REQUESTS = 5_000


@dataclass(frozen=True)
class Tokens:
    """What an account's authorization gives to the app."""

    access_token: str
    refresh_token: str
    expires_in: int
    client_id: str
    company_id: str


class Bling:
    def __init__(
        self,
        path: str | Path | None = None,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        seed: int | None = None,
        background: bool = True,
        send: Sender | None = None,
        read_only: bool = False,
    ) -> None:
        """In memory, or in the file `path`; without `background`, webhooks wait for `pump`."""
        self.world = World(path, clock, seed, read_only)
        self.sleep = sleep
        self.faults = Faults(seed)
        self.limits = Limits(self.world.settings)
        self.webhooks = Webhooks(self.world, self.faults)
        self.stock = Stock(self.world, self.webhooks)
        self.catalog = Catalog(self.world, self.webhooks, self.stock)
        self.grants = Grants(self.world)
        self.dispatcher = Dispatcher(self.world, send)
        self._requests: deque[RequestEntry] = deque(maxlen=KEPT_REQUESTS)
        self._request_ids = itertools.count(1)
        if background and not read_only:
            self.dispatcher.start()

    @property
    def settings(self) -> Settings:
        return self.world.settings

    def configure(self, **changes: Any) -> None:
        """Change settings by name; see `Settings`."""
        self.settings.update(changes)

    def no_limits(self) -> None:
        """Switch every quota off."""
        self.configure(rate_per_second=None, rate_per_day=None, ip_limits=False)

    def close(self) -> None:
        self.dispatcher.stop()
        self.world.close()

    def add_app(
        self,
        client_id: str | None = None,
        client_secret: str | None = None,
        *,
        name: str = "EstoqueUni",
        redirect_uri: str = "http://localhost:5000/bling/callback",
        webhook_url: str = "",
        kind: str = "shared",
        owner: str | None = None,
        scopes: list[str] | None = None,
    ) -> App:
        return self.catalog.add_app(client_id, client_secret, name, redirect_uri, webhook_url, kind, owner, scopes)

    def edit_app(self, client_id: str, **changes: Any) -> App:
        """Change webhook_url, redirect_uri, name, approved or scopes; other scopes revoke every authorization."""
        app = self.world.app(client_id)
        unknown = set(changes) - {"webhook_url", "redirect_uri", "name", "approved", "scopes"}
        if unknown:
            raise SandboxError(f"Campo que não se edita: {', '.join(sorted(unknown))}.")
        with self.world.change():
            if "scopes" in changes and changes["scopes"] != app.scopes:
                self.grants.revoke_all(client_id)
            for field, value in changes.items():
                setattr(app, field, value)
            self.world.put(app)
        return app

    def add_account(
        self,
        key: str,
        name: str | None = None,
        *,
        cnpj: str | None = None,
        deposits: Iterable[str] = ("Geral",),
    ) -> Account:
        return self.catalog.add_account(key, name, cnpj, deposits)

    def issue_tokens(self, account: str, client_id: str | None = None) -> Tokens:
        """Authorize an app (default: the shared one) for the account; its webhooks start with this."""
        app = self.world.app(client_id)
        return self._tokens(self.grants.issue(app, self.world.account(account)))

    def current_tokens(self, account: str, client_id: str | None = None) -> Tokens | None:
        """The tokens of the newest live authorization, or None."""
        grant = self.grants.live(account, self.world.app(client_id).client_id)
        return None if grant is None else self._tokens(grant)

    def authorize_code(self, account: str, client_id: str | None = None) -> str:
        """The merchant's consent without the page: an authorization code."""
        return self.grants.authorize(self.world.app(client_id), self.world.account(account))

    def revoke(self, account: str, client_id: str | None = None) -> None:
        """The merchant removes the app (default: every app) from the account."""
        self.grants.revoke_all(client_id, self.world.account(account).key)

    def add_deposit(self, account: str, name: str, **fields: Any) -> Deposit:
        return self.catalog.add_deposit(account, name, **fields)

    def edit_deposit(self, account: str, deposit: str | int, **changes: Any) -> Deposit:
        """Change name, situation (0 or 1) or ignores_balance; Bling has no webhook for that."""
        found = self.catalog.find_deposit(account, deposit)
        if set(changes) - {"name", "situation", "ignores_balance"}:
            raise SandboxError("Do depósito mudam-se nome, situação e desconsiderar saldo.")
        with self.world.change():
            for field, value in changes.items():
                setattr(found, field, value)
            self.world.put(found)
        return found

    def add_product(
        self,
        account: str,
        sku: str,
        name: str | None = None,
        *,
        stock: Mapping[Any, Quantity] | Quantity | None = None,
        components: Mapping[Any, Quantity] | None = None,
        announce: bool = True,
        **fields: Any,
    ) -> Product:
        """Add a product; `stock` is what it starts with, per deposit or in the default one.

        With `components` (SKU or id to quantity) it is a composition; `format="V"` makes a variation parent and
        `parent_id` a variation; further fields: price, kind, situation, unit, gtin, variation.
        """
        if components:
            fields.setdefault("format", "E")
        places: dict[str | int, Decimal] = {}
        if isinstance(stock, Mapping):
            places = {place: parse_quantity(amount) for place, amount in stock.items()}
        elif stock is not None:
            places = {self.catalog.find_deposit(account, None).id: parse_quantity(stock)}
        parts = {part: parse_quantity(amount) for part, amount in (components or {}).items()}
        return self.catalog.add_product(
            account,
            sku,
            name if name is not None else f"Produto {sku}",
            stock=places,
            components=parts,
            announce=announce,
            **fields,
        )

    def product(self, account: str, product: str | int) -> Product:
        with self.world.lock:
            return self.catalog.find_product(account, product)

    def edit_product(self, account: str, product: str | int, **changes: Any) -> Product:
        return self.catalog.edit_product(self.product(account, product), changes)

    def delete_product(self, account: str, product: str | int) -> None:
        self.catalog.delete_product(self.product(account, product))

    def balance(self, account: str, product: str | int, deposit: str | int | None = None) -> Balance:
        """Physical, reserved and virtual in one deposit (default: the default one)."""
        with self.world.lock:
            found = self.catalog.find_product(account, product)
            return self.stock.balance(found, self.catalog.find_deposit(account, deposit))

    def move(
        self,
        account: str,
        product: str | int,
        deposit: str | int | None,
        operation: str,
        quantity: Quantity,
        note: str = "",
    ) -> Movement:
        """A movement made by a person on Bling's stock screen: E, S or B."""
        with self.world.change():
            found = self.catalog.find_product(account, product)
            place = self.catalog.find_deposit(account, deposit)
            return self.stock.move(found, place, operation, parse_quantity(quantity), note=note)

    def receive(
        self, account: str, product: str | int, quantity: Quantity, deposit: str | int | None = None
    ) -> Movement:
        return self.move(account, product, deposit, "E", quantity, "Entrada de mercadoria")

    def count(self, account: str, product: str | int, quantity: Quantity, deposit: str | int | None = None) -> Movement:
        return self.move(account, product, deposit, "B", quantity, "Balanço")

    def sell(self, account: str, product: str | int, quantity: Quantity, deposit: str | int | None = None) -> Order:
        """An order that is posted at once."""
        with self.world.change():
            return self.stock.sell(account, self._items(account, product, quantity, deposit))

    def reserve(self, account: str, product: str | int, quantity: Quantity, deposit: str | int | None = None) -> Order:
        """An open order."""
        with self.world.change():
            return self.stock.reserve(account, self._items(account, product, quantity, deposit))

    def order(self, order_id: int) -> Order:
        if order_id not in self.world.orders:
            raise SandboxError(f"Pedido desconhecido: {order_id}.")
        return self.world.orders[order_id]

    def post(self, order_id: int) -> None:
        self.stock.post(self.order(order_id))

    def cancel(self, order_id: int) -> None:
        self.stock.cancel(self.order(order_id))

    def delete_order(self, order_id: int) -> None:
        self.stock.delete_order(self.order(order_id))

    def movement(self, movement_id: int) -> Movement:
        if movement_id not in self.world.movements:
            raise SandboxError(f"Lançamento desconhecido: {movement_id}.")
        return self.world.movements[movement_id]

    def edit_movement(self, movement_id: int, quantity: Quantity) -> Movement:
        return self.stock.edit_movement(self.movement(movement_id), parse_quantity(quantity))

    def delete_movement(self, movement_id: int) -> None:
        self.stock.delete_movement(self.movement(movement_id))

    def movements(
        self, account: str | None = None, product: str | int | None = None, origin: str | None = None
    ) -> list[Movement]:
        """Physical movements, oldest first; origin is api, screen or order."""
        with self.world.lock:
            return [
                m
                for m in self.world.movements.values()
                if account in (None, m.account)
                and product in (None, m.sku, m.product_id)
                and origin in (None, m.origin)
            ]

    def requests(
        self, account: str | None = None, method: str | None = None, path: str | None = None
    ) -> list[RequestEntry]:
        """The request log, oldest first; `path` is a part of the path."""
        with self.world.lock:
            return [
                r
                for r in self._requests
                if account in (None, r.account) and method in (None, r.method) and (path is None or path in r.path)
            ]

    def deliveries(
        self, account: str | None = None, state: str | None = None, event: str | None = None
    ) -> list[Delivery]:
        """Webhook deliveries, oldest first."""
        with self.world.lock:
            return [
                d
                for d in self.world.deliveries.values()
                if account in (None, d.account) and state in (None, d.state) and event in (None, d.event)
            ]

    def log_request(self, **fields: Any) -> None:
        with self.world.lock:
            self._requests.append(RequestEntry(id=next(self._request_ids), **fields))

    def used_today(self, account: str) -> int:
        return self.limits.used_today(account, self.world.now())

    def reset_counters(self) -> None:
        """Forget the request log, the quotas used and the deliveries that ended; the stock stays."""
        with self.world.change():
            self._requests.clear()
            self.limits.reset()
            for delivery in [d for d in self.world.deliveries.values() if not d.is_open]:
                del self.world.deliveries[delivery.id]
                self.world.drop(delivery)

    def pump(self, now: float | None = None) -> list[Delivery]:
        """Deliver the webhooks that are due; for use without the background thread."""
        return self.dispatcher.pump(now)

    def next_due(self) -> float | None:
        return self.dispatcher.next_due()

    def wait_delivered(self, timeout_s: float = 10.0) -> bool:
        """Wait until every webhook due by now was sent; False when the time was too short."""
        return self.dispatcher.wait_quiet(timeout_s)

    def redeliver(self, delivery_id: int) -> None:
        if delivery_id not in self.world.deliveries:
            raise SandboxError(f"Entrega desconhecida: {delivery_id}.")
        self.dispatcher.redeliver(self.world.deliveries[delivery_id])

    def _items(
        self, account: str, product: str | int, quantity: Quantity, deposit: str | int | None
    ) -> list[OrderItem]:
        found = self.catalog.find_product(account, product)
        place = self.catalog.find_deposit(account, deposit)
        return [OrderItem(found.id, place.id, parse_quantity(quantity), found.price)]

    def _tokens(self, grant: Grant) -> Tokens:
        return Tokens(
            grant.access_token,
            grant.refresh_token,
            round(grant.access_expires_at - self.world.now()),
            grant.client_id,
            self.world.accounts[grant.account].company_id,
        )
