"""Apps, accounts, deposits and products: how they come to be and how a person edits them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from .errors import SandboxError
from .records import Account, App, Component, Deposit, Product
from .stock import Stock, parse_quantity
from .webhooks import Webhooks
from .world import World, iso

#: Scope names as the API description calls them, with the numbers that stand for them in a token.
SCOPES = {
    "Empresas": "98310",
    "Depositos": "98314",
    "Produtos": "98309",
    "Estoques": "318257570",
    "PedidosVenda": "98312",
}
EDITABLE = ("name", "sku", "price", "situation", "unit", "gtin")


class Catalog:
    def __init__(self, world: World, webhooks: Webhooks, stock: Stock) -> None:
        self._world = world
        self._webhooks = webhooks
        self._stock = stock

    def add_app(
        self,
        client_id: str | None,
        client_secret: str | None,
        name: str,
        redirect_uri: str,
        webhook_url: str,
        kind: str,
        owner: str | None,
        scopes: list[str] | None,
    ) -> App:
        world = self._world
        if kind not in ("shared", "own"):
            raise SandboxError("O tipo do aplicativo é 'shared' ou 'own'.")
        if kind == "own":
            world.account(owner or "")
        with world.change():
            client_id = client_id or world.random_hex(40)
            if client_id in world.apps:
                raise SandboxError("Já existe um aplicativo com este client id.")
            app = App(
                client_id,
                client_secret or world.random_hex(60),
                name,
                redirect_uri,
                webhook_url,
                kind,
                owner,
                list(SCOPES) if scopes is None else _known_scopes(scopes),
            )
            world.apps[client_id] = app
            world.put(app)
        return app

    def add_account(self, key: str, name: str | None, cnpj: str | None, deposits: Any) -> Account:
        """A company with its deposits; the first of them is the default one."""
        world = self._world
        with world.change():
            if key in world.accounts:
                raise SandboxError(f"A conta {key} já existe.")
            account = Account(
                key,
                name or key.capitalize(),
                world.random_hex(32),
                cnpj or self._new_cnpj(),
                f"contato@{key}.example",
                iso(world.now())[:10],
            )
            world.accounts[key] = account
            world.put(account)
            for position, deposit in enumerate(deposits):
                self.add_deposit(key, deposit, is_default=position == 0)
        return account

    def add_deposit(
        self,
        account: str,
        name: str,
        is_default: bool = False,
        situation: int = 1,
        ignores_balance: bool = False,
    ) -> Deposit:
        world = self._world
        with world.change():
            key = world.account(account).key
            if len(world.deposits_of(key)) >= 100:
                raise SandboxError("A conta já tem 100 depósitos.")
            if is_default:
                for other in world.deposits_of(key):
                    other.is_default = False
                    world.put(other)
            number = world.next_id("deposit")
            deposit = Deposit(number, key, name, situation, is_default, ignores_balance)
            world.deposits[number] = deposit
            world.put(deposit)
        return deposit

    def add_product(
        self,
        account: str,
        sku: str,
        name: str,
        *,
        stock: Mapping[str | int, Decimal],
        components: Mapping[str | int, Decimal],
        announce: bool,
        **fields: Any,
    ) -> Product:
        """A product with the balances it starts with, which are no movements."""
        world = self._world
        with world.change():
            key, now = world.account(account).key, world.now()
            parts = [Component(self.find_product(key, part).id, amount) for part, amount in components.items()]
            places = [(self.find_deposit(key, d), amount) for d, amount in stock.items()]
            price = _field("price", fields.pop("price", 0))
            number = world.next_id("product")
            product = Product(number, key, sku, name, price, now, now, components=parts, **fields)
            if places and not product.holds_stock:
                raise SandboxError("Só um produto simples tem saldo próprio.")
            world.keep_product(product)
            for deposit, amount in places:
                self._stock.set_initial(product, deposit, amount)
            if announce:
                self._webhooks.product("created", product)
        return product

    def edit_product(self, product: Product, changes: dict[str, Any]) -> Product:
        """Change name, sku, price, situation (A, I, E), unit or gtin; fires product.updated."""
        unknown = set(changes) - set(EDITABLE)
        if unknown:
            raise SandboxError(f"Campo que não se edita: {', '.join(sorted(unknown))}.")
        changes = {name: _field(name, value) for name, value in changes.items()}
        with self._world.change():
            for name, value in changes.items():
                setattr(product, name, value)
            product.updated_at = self._world.now()
            self._world.put(product)
            self._webhooks.product("updated", product)
        return product

    def delete_product(self, product: Product) -> None:
        """Remove the product for good (setting its situation to E only hides it); fires product.deleted."""
        world = self._world
        with world.change():
            for child in [p for p in world.products.values() if p.parent_id == product.id]:
                self.delete_product(child)
            for key in [k for k in world.cells if k[0] == product.id]:
                world.drop(world.cells.pop(key))
            world.remove_product(product)
            self._webhooks.product("deleted", product)

    def find_product(self, account: str, product: str | int | Product) -> Product:
        """By id or by SKU; a SKU that two products share must be told apart by id."""
        key = self._world.account(account).key
        if isinstance(product, Product):
            return product
        if isinstance(product, int):
            found = self._world.products.get(product)
            if found is None or found.account != key:
                raise SandboxError(f"A conta não tem o produto de id {product}.")
            return found
        matches = [
            p for p in self._world.products.values() if p.account == key and p.sku == product and p.situation != "E"
        ]
        if not matches:
            raise SandboxError(f"A conta não tem o SKU {product!s:.60}.")
        if len(matches) > 1:
            raise SandboxError(f"O SKU {product!s:.60} é de mais de um produto: informe o id.")
        return matches[0]

    def find_deposit(self, account: str, deposit: str | int | None) -> Deposit:
        """By id, by name, or the default one."""
        for candidate in self._world.deposits_of(self._world.account(account).key):
            if deposit is None and candidate.is_default:
                return candidate
            if deposit is not None and deposit in (candidate.id, candidate.name):
                return candidate
        raise SandboxError("A conta não tem esse depósito.")

    def _new_cnpj(self) -> str:
        digits = [self._world.random.randrange(10) for _ in range(8)] + [0, 0, 0, 1]
        for weights in ((5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2), (6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)):
            rest = sum(d * w for d, w in zip(digits, weights, strict=True)) % 11
            digits.append(0 if rest < 2 else 11 - rest)
        text = "".join(map(str, digits))
        return f"{text[:2]}.{text[2:5]}.{text[5:8]}/{text[8:12]}-{text[12:]}"


def _field(name: str, value: Any) -> Any:
    """A product's field as typed by a person or sent to the control API."""
    if name == "price":
        price = parse_quantity(value)
        if price < 0:
            raise SandboxError("O preço não pode ser negativo.")
        return price
    text = str(value).strip() if name != "sku" else str(value)
    if name == "situation" and text not in ("A", "I", "E"):
        raise SandboxError("A situação é A (ativo), I (inativo) ou E (excluído).")
    if name == "name" and not 1 <= len(text) <= 120:
        raise SandboxError("O nome do produto tem de 1 a 120 caracteres.")
    return text


def _known_scopes(scopes: list[str]) -> list[str]:
    unknown = set(scopes) - set(SCOPES)
    if unknown:
        raise SandboxError(f"Escopo desconhecido: {', '.join(sorted(unknown))}.")
    return list(scopes)
