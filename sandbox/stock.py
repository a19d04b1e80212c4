"""Balances, movements and orders. Physical is what lies on the shelf; virtual is that less what open orders reserve.

A composition holds nothing: what it shows follows its components, and selling it moves them.
"""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal
from typing import Any

from . import wire
from .balances import Balance, Balances
from .errors import SandboxError
from .records import Cell, Deposit, Movement, Order, OrderItem, Product
from .webhooks import COMPLEX_LINK, Webhooks
from .world import World

#: How long the past of a cell is remembered for stale answers.
REMEMBERED_S = 900.0


class Stock:
    def __init__(self, world: World, webhooks: Webhooks) -> None:
        self._world = world
        self._webhooks = webhooks

    def balance(self, product: Product, deposit: Deposit, moment: float | None = None) -> Balance:
        """The balance now, or as it was at `moment`."""
        if product.format == "E":
            return self._composed(product, deposit, moment)
        cell = self._world.cells.get((product.id, deposit.id))
        if cell is None:
            return Balance()
        if moment is None:
            return Balance(cell.physical, cell.reserved)
        return Balance(*cell.as_of(moment))

    def balances(self, product: Product, moment: float | None = None) -> Balances:
        shown = Balances()
        for deposit in self._world.deposits_of(product.account):
            if deposit.situation == 1:
                balance = self.balance(product, deposit, moment)
                shown.add(deposit.id, balance, counts=not deposit.ignores_balance)
        return shown

    def move(
        self,
        product: Product,
        deposit: Deposit,
        operation: str,
        quantity: Decimal,
        origin: str = "screen",
        note: str = "",
        client_id: str | None = None,
    ) -> Movement:
        """Apply one physical movement and announce it: E adds, S takes away, B sets the balance."""
        check_movement(product, deposit, operation, quantity)
        with self._world.change():
            movement = self._apply(product, deposit, operation, quantity, origin, note, client_id)
            self._announce("created", movement, product)
        return movement

    def edit_movement(self, movement: Movement, quantity: Decimal) -> Movement:
        """Correct the quantity of an entry or exit, as on the stock screen: fires stock.updated."""
        if movement.operation == "B" or movement.deleted:
            raise SandboxError("Só entradas e saídas podem ser corrigidas.")
        if quantity <= 0:
            raise SandboxError("A quantidade deve ser maior que zero.")
        with self._world.change():
            sign = 1 if movement.operation == "E" else -1
            product = self._shift(movement, sign * (quantity - movement.quantity))
            movement.after += sign * (quantity - movement.quantity)
            movement.quantity = quantity
            self._world.put(movement)
            self._announce("updated", movement, product)
        return movement

    def delete_movement(self, movement: Movement) -> None:
        """Take a movement back, as on the stock screen: fires stock.deleted."""
        if movement.deleted:
            raise SandboxError("O lançamento já foi excluído.")
        with self._world.change():
            product = self._shift(movement, movement.before - movement.after)
            movement.deleted = True
            self._world.put(movement)
            self._announce("deleted", movement, product)

    def reserve(self, account: str, items: list[OrderItem]) -> Order:
        """Open an order: its items are reserved from now on."""
        order = self._new_order(account, items, "open")
        with self._world.change():
            self._webhooks.order("created", order)
            self._reserve(order, 1)
        return order

    def sell(self, account: str, items: list[OrderItem]) -> Order:
        """An order that is posted at once: the items leave the shelf."""
        order = self._new_order(account, items, "posted")
        with self._world.change():
            self._webhooks.order("created", order)
            self._ship(order)
        return order

    def post(self, order: Order) -> None:
        """Attend an open order: reservation and physical balance fall together."""
        with self._world.change():
            self._close(order, "posted")
            self._reserve(order, -1, announce=False)
            self._ship(order)
            self._webhooks.order("updated", order)

    def cancel(self, order: Order) -> None:
        with self._world.change():
            self._close(order, "cancelled")
            self._reserve(order, -1)
            self._webhooks.order("updated", order)

    def delete_order(self, order: Order) -> None:
        with self._world.change():
            self._close(order, "deleted")
            self._reserve(order, -1)
            self._webhooks.order("deleted", order)

    def set_initial(self, product: Product, deposit: Deposit, quantity: Decimal) -> None:
        """The balance a product starts with: no movement, nothing announced."""
        cell = self._cell(product.id, deposit.id)
        cell.physical = quantity
        self._world.put(cell)

    def _composed(self, product: Product, deposit: Deposit, moment: float | None) -> Balance:
        physical: list[Decimal] = []
        virtual: list[Decimal] = []
        for component in product.components:
            part = self._world.products.get(component.product_id)
            if part is None:
                return Balance()
            balance = self.balance(part, deposit, moment)
            physical.append(_whole(balance.physical / component.quantity))
            virtual.append(_whole(balance.virtual / component.quantity))
        if not physical:
            return Balance()
        return Balance(min(physical), min(physical) - min(virtual))

    def _cell(self, product_id: int, deposit_id: int) -> Cell:
        cells = self._world.cells
        if (product_id, deposit_id) not in cells:
            cells[product_id, deposit_id] = Cell(product_id, deposit_id)
        return cells[product_id, deposit_id]

    def _apply(
        self,
        product: Product,
        deposit: Deposit,
        operation: str,
        quantity: Decimal,
        origin: str,
        note: str,
        client_id: str | None,
    ) -> Movement:
        world, now = self._world, self._world.now()
        cell = self._cell(product.id, deposit.id)
        before = cell.physical
        cell.remember(now, REMEMBERED_S)
        cell.physical = {
            "E": before + quantity,
            "S": before - quantity,
            "B": quantity,
        }[operation]
        world.put(cell)
        movement = Movement(
            world.next_id("movement"),
            product.account,
            product.id,
            product.sku,
            deposit.id,
            operation,
            quantity,
            before,
            cell.physical,
            now,
            origin,
            note,
            client_id,
        )
        world.movements[movement.id] = movement
        world.put(movement)
        return movement

    def _shift(self, movement: Movement, delta: Decimal) -> Product:
        product = self._world.products.get(movement.product_id)
        if product is None:
            raise SandboxError("O produto deste lançamento não existe mais.")
        cell = self._cell(movement.product_id, movement.deposit_id)
        cell.remember(self._world.now(), REMEMBERED_S)
        cell.physical += delta
        self._world.put(cell)
        return product

    def _new_order(self, account_key: str, items: list[OrderItem], state: str) -> Order:
        world = self._world
        if not items:
            raise SandboxError("O pedido não tem itens.")
        for item in items:
            check_sale(world.products[item.product_id], item.quantity)
        with world.change():
            account, now = world.account(account_key), world.now()
            number, account.next_order = account.next_order, account.next_order + 1
            order = Order(world.next_id("order"), account.key, number, state, now, now, items)
            world.orders[order.id] = order
            world.put(order)
            world.put(account)
        return order

    def _close(self, order: Order, state: str) -> None:
        if order.state != "open":
            raise SandboxError(f"O pedido {order.number} não está mais em aberto.")
        order.state, order.updated_at = state, self._world.now()
        self._world.put(order)

    def _parts(self, order: Order) -> list[tuple[Product, Deposit, Decimal]]:
        """The order's items with compositions taken apart."""
        world = self._world
        parts: list[tuple[Product, Deposit, Decimal]] = []
        for item in order.items:
            product, deposit = (
                world.products.get(item.product_id),
                world.deposits[item.deposit_id],
            )
            if product is None:
                continue
            if product.format != "E":
                parts.append((product, deposit, item.quantity))
                continue
            for component in product.components:
                part = world.products.get(component.product_id)
                if part is not None:
                    parts.append((part, deposit, item.quantity * component.quantity))
        return parts

    def _reserve(self, order: Order, sign: int, announce: bool = True) -> None:
        touched: dict[int, Product] = {}
        for product, deposit, quantity in self._parts(order):
            cell = self._cell(product.id, deposit.id)
            cell.remember(self._world.now(), REMEMBERED_S)
            cell.reserved += sign * quantity
            self._world.put(cell)
            touched[product.id] = product
        if announce:
            for product in touched.values():
                self._webhooks.virtual_stock(product, self.balances(product))
                self._announce_compositions(product)

    def _ship(self, order: Order) -> None:
        note = f"Pedido de venda nº {order.number}"
        for product, deposit, quantity in self._parts(order):
            movement = self._apply(product, deposit, "S", quantity, "order", note, None)
            self._announce("created", movement, product)

    def _announce(self, kind: str, movement: Movement, product: Product) -> None:
        here = self.balance(product, self._world.deposits[movement.deposit_id])
        self._webhooks.stock(kind, movement, product, here, self.balances(product))
        self._announce_compositions(product)

    def _announce_compositions(self, part: Product) -> None:
        compositions = self._world.compositions.get(part.account, set())
        linked = [
            product
            for product in map(self._world.products.__getitem__, sorted(compositions))
            if product.situation != "E" and any(c.product_id == part.id for c in product.components)
        ]
        if len(linked) > COMPLEX_LINK:
            self._webhooks.virtual_stock(part, self.balances(part), len(linked))
            return
        for product in linked:
            self._webhooks.virtual_stock(product, self.balances(product))


def check_movement(product: Product, deposit: Deposit, operation: str, quantity: Decimal) -> None:
    """Raise SandboxError unless the stock of this product can be written like this."""
    if operation not in ("B", "E", "S"):
        raise SandboxError("A operação deve ser B (balanço), E (entrada) ou S (saída).")
    if product.format == "E":
        raise SandboxError("O estoque de um produto com composição segue o dos componentes.")
    if product.format == "V":
        raise SandboxError("O estoque de um produto com variações é o de cada variação.")
    if product.kind != "P":
        raise SandboxError("Um serviço não tem estoque.")
    if product.situation == "E":
        raise SandboxError("O produto foi excluído.")
    if deposit.account != product.account:
        raise SandboxError("O depósito é de outra conta.")
    if deposit.situation != 1:
        raise SandboxError("O depósito está inativo.")
    if quantity < 0 or (quantity == 0 and operation != "B"):
        raise SandboxError("A quantidade deve ser maior que zero.")


def check_sale(product: Product, quantity: Decimal) -> None:
    if product.format == "V":
        raise SandboxError("Escolha uma das variações do produto.")
    if product.kind != "P" or product.situation == "E":
        raise SandboxError("Este produto não pode ser vendido com estoque.")
    if quantity <= 0:
        raise SandboxError("A quantidade deve ser maior que zero.")


def parse_quantity(value: Any) -> Decimal:
    """A quantity typed by a person or sent to the control API; SandboxError says what is wrong."""
    try:
        if isinstance(value, str) and "," in value:
            value = value.replace(".", "")  # 1.234,5 as written in Brazil
        return wire.quantity(str(value) if isinstance(value, float) else value)
    except wire.NotANumber:
        raise SandboxError("Informe uma quantidade com no máximo 6 casas decimais, por exemplo 2 ou 1,5.") from None


def _whole(value: Decimal) -> Decimal:
    return value.to_integral_value(rounding=ROUND_FLOOR)
