"""Webhooks as Bling makes them: the envelope, the signature, one delivery per app that the account authorized.

A delivery is queued in the same change as its cause, so what was applied is always announced, unless a
fault or a switched-off webhook says otherwise.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from . import wire
from .balances import Balance, Balances
from .faults import Faults
from .records import Account, App, Delivery, Movement, Order, Product
from .world import BRASILIA_S, World, iso

COMPLEX_LINK = 200
#: Bling's identifiers and values of an order's situation.
ORDER_SITUATIONS = {"open": (6, 0), "posted": (9, 1), "cancelled": (12, 2), "deleted": (12, 2)}


def sign(body: bytes, client_secret: str) -> str:
    digest = hmac.new(client_secret.encode(), body, hashlib.sha256).hexdigest()
    return f"sha256={digest}"


class Webhooks:
    def __init__(self, world: World, faults: Faults) -> None:
        self._world = world
        self._faults = faults
        self._last_ms = 0
        self._in_ms = 0

    def announce(self, account_key: str, event: str, data: dict[str, Any]) -> None:
        """Queue the event for every app with a webhook address that the account has authorized."""
        world = self._world
        account = world.accounts[account_key]
        with world.change():
            for app in self._subscribers(account):
                delivery = self._queue(account, app, event, data)
                self._strike(delivery)

    def stock(self, kind: str, movement: Movement, product: Product, here: Balance, balances: Balances) -> None:
        """stock.created, stock.updated or stock.deleted, and the virtual_stock.updated that comes with it."""
        data: dict[str, Any] = {
            "produto": {"id": product.id},
            "deposito": {
                "id": movement.deposit_id,
                "saldoFisico": here.physical,
                "saldoVirtual": here.virtual,
            },
        }
        if kind != "deleted":
            data |= {"operacao": movement.operation, "quantidade": movement.quantity}
        data |= {
            "saldoFisicoTotal": balances.physical_total,
            "saldoVirtualTotal": balances.virtual_total,
        }
        self.announce(product.account, f"stock.{kind}", data)
        if self._world.settings.virtual_with_stock:
            self.virtual_stock(product, balances)

    def virtual_stock(self, product: Product, balances: Balances, linked: int = 0) -> None:
        data = {
            "produto": {"id": product.id},
            "saldoFisicoTotal": balances.physical_total,
            "saldoVirtualTotal": balances.virtual_total,
            "vinculoComplexo": linked > COMPLEX_LINK,
            "depositos": [
                {"id": id_, "saldoFisico": here.physical, "saldoVirtual": here.virtual}
                for id_, here in balances.deposits.items()
            ],
        }
        self.announce(product.account, "virtual_stock.updated", data)

    def product(self, action: str, product: Product) -> None:
        data: dict[str, Any] = {"id": product.id}
        if action != "deleted":
            data |= {
                "nome": product.name,
                "codigo": product.sku,
                "tipo": product.kind,
                "situacao": product.situation,
                "preco": product.price,
                "unidade": product.unit,
                "formato": product.format,
                "idProdutoPai": product.parent_id or 0,
                "categoria": {"id": 0},
                "descricaoCurta": "",
                "descricaoComplementar": "",
            }
        self.announce(product.account, f"product.{action}", data)

    def order(self, action: str, order: Order) -> None:
        data: dict[str, Any] = {"id": order.id}
        if action != "deleted":
            situation, value = ORDER_SITUATIONS[order.state]
            data |= {
                "data": iso(order.created_at + BRASILIA_S)[:10],
                "numero": order.number,
                "numeroLoja": "",
                "total": order.total,
                "contato": {"id": 0},
                "vendedor": {"id": 0},
                "loja": {"id": 0},
                "situacao": {"id": situation, "valor": value},
            }
        self.announce(order.account, f"order.{action}", data)

    def switch_on(self, account_key: str) -> None:
        """What a person does in the app's page after Bling switched webhooks off."""
        with self._world.change():
            account = self._world.account(account_key)
            account.switched_off = []
            self._world.put(account)

    def _subscribers(self, account: Account) -> list[App]:
        authorized = {g.client_id for g in self._world.grants.values() if g.account == account.key and not g.revoked}
        apps = (self._world.apps[client_id] for client_id in sorted(authorized))
        return [app for app in apps if app.webhook_url]

    def _queue(self, account: Account, app: App, event: str, data: dict[str, Any]) -> Delivery:
        world = self._world
        now = world.now()
        event_id = self._event_id(now)
        envelope = {
            "eventId": event_id,
            "date": iso(now),
            "version": "v1",
            "event": event,
            "companyId": account.company_id,
            "data": data,
        }
        body = wire.dump(envelope, world.settings.float_noise)
        number = world.next_id("delivery")
        delivery = Delivery(number, event_id, event, account.key, app.client_id, body, now, due_at=now)
        if f"{app.client_id} {event.partition('.')[0]}" in account.switched_off:
            delivery.state = "off"
        world.deliveries[number] = delivery
        world.put(delivery)
        return delivery

    def _strike(self, delivery: Delivery) -> None:
        """Let the webhook faults strike a fresh delivery."""
        if not delivery.is_open:
            return
        account, faults, world = delivery.account, self._faults, self._world
        if faults.hit("webhook_lost", account):
            delivery.state, delivery.fault = "lost", "webhook_lost"
            return
        if late := faults.hit("webhook_late", account):
            delivery.due_at += late.seconds
            delivery.fault = "webhook_late"
        elif held := faults.hit("webhook_reordered", account):
            delivery.due_at += held.seconds
            delivery.fault = "webhook_reordered"
        if faults.hit("webhook_duplicate", account):
            number = world.next_id("delivery")
            copy = Delivery(
                number,
                delivery.event_id,
                delivery.event,
                account,
                delivery.client_id,
                delivery.body,
                delivery.created_at,
                delivery.due_at,
                copy=2,
                fault="webhook_duplicate",
            )
            world.deliveries[number] = copy
            world.put(copy)

    def _event_id(self, now: float) -> str:
        """A UUIDv7 that sorts after every one before it, also within a millisecond and when the clock steps back."""
        ms = int(now * 1000)
        if ms > self._last_ms:
            self._last_ms, self._in_ms = ms, self._world.random.getrandbits(8)
        else:
            self._in_ms += 1
            if self._in_ms > 0xFFF:
                self._last_ms, self._in_ms = self._last_ms + 1, 0
        tail = 0b10 << 62 | self._world.random.getrandbits(62)
        text = f"{self._last_ms << 80 | 7 << 76 | self._in_ms << 64 | tail:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
