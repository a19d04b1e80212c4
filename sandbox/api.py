"""The API under /Api/v3: company, deposits, products, balances, stock movements and orders."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from flask import Blueprint, Response, g, request

from . import payloads, query, wire
from .bling import Bling
from .errors import ApiError, SandboxError, missing, not_found
from .gate import Gate
from .grants import Bearer
from .records import Account, Deposit, Order, Product
from .stock import check_movement


def create_api(bling: Bling) -> Blueprint:
    bp = Blueprint("api", __name__, url_prefix="/Api/v3")
    gate, views = Gate(bling), Views(bling)

    def route(path: str, scope: str, view: Any, method: str = "GET") -> None:
        def answer(**arguments: int) -> Response:
            return gate.api(scope, view, **arguments)

        endpoint = f"{method.lower()}_{view.__name__}"
        bp.add_url_rule(path, endpoint, answer, methods=[method])

    route("/empresas/me/dados-basicos", "Empresas", views.company)
    route("/depositos", "Depositos", views.deposits)
    route("/depositos", "Depositos", views.create_deposit, "POST")
    route("/depositos/<int:deposit_id>", "Depositos", views.deposit)
    route("/produtos", "Produtos", views.products)
    route("/produtos/<int:product_id>", "Produtos", views.product)
    route("/produtos/variacoes/<int:product_id>", "Produtos", views.variations)
    route("/produtos/estruturas/<int:product_id>", "Produtos", views.structure)
    route("/estoques/saldos", "Estoques", views.balances)
    route("/estoques/saldos/<int:deposit_id>", "Estoques", views.deposit_balances)
    route("/estoques", "Estoques", views.create_movement, "POST")
    route("/pedidos/vendas", "PedidosVenda", views.orders)
    route("/pedidos/vendas/<int:order_id>", "PedidosVenda", views.order)
    return bp


class Views:
    """One method per operation; each gets the calling account and returns the body to send."""

    def __init__(self, bling: Bling) -> None:
        self._bling = bling
        self._world = bling.world

    def company(self, account: Account, _: Bearer) -> Any:
        return {"data": payloads.company(account)}

    def deposits(self, account: Account, _: Bearer) -> Any:
        situation = query.integer("situacao", 1, (0, 1))
        name = request.args.get("descricao", "").casefold()
        with self._world.lock:
            found = [
                payloads.deposit(d)
                for d in self._world.deposits_of(account.key)
                if d.situation == situation and name in d.name.casefold()
            ]
        return {"data": found[query.page()]}

    def create_deposit(self, account: Account, _: Bearer) -> Any:
        body = _json_body()
        for name in ("descricao", "situacao", "padrao", "desconsiderarSaldo"):
            if body.get(name) is None or body[name] == "":
                raise missing(name, "DEPOSITOS")
        kinds = {"descricao": str, "situacao": int, "padrao": bool, "desconsiderarSaldo": bool}
        for name, kind in kinds.items():
            if type(body[name]) is not kind:
                raise query.bad(name, f"O valor de {name} é inválido.", "DEPOSITOS")
        if body["situacao"] not in (0, 1):
            raise query.bad("situacao", "A situação deve ser 0 ou 1.", "DEPOSITOS")
        try:
            deposit = self._bling.add_deposit(
                account.key,
                body["descricao"],
                is_default=body["padrao"],
                situation=body["situacao"],
                ignores_balance=body["desconsiderarSaldo"],
            )
        except SandboxError as error:
            raise query.bad("descricao", str(error), "DEPOSITOS") from None
        return {"data": {"id": deposit.id}}, 201

    def deposit(self, account: Account, _: Bearer, deposit_id: int) -> Any:
        with self._world.lock:
            return {"data": payloads.deposit(self._deposit(account, deposit_id))}

    def products(self, account: Account, _: Bearer) -> Any:
        rows = query.page()
        with self._world.lock:
            found = self._filtered_products(account)
            return {
                "data": [payloads.listed_product(p, self._bling.stock.balances(p).virtual_total) for p in found[rows]]
            }

    def product(self, account: Account, _: Bearer, product_id: int) -> Any:
        with self._world.lock:
            product = self._product(account, product_id)
            total = self._bling.stock.balances(product).virtual_total
            return {"data": payloads.product(self._world, product, total)}

    def variations(self, account: Account, bearer: Bearer, product_id: int) -> Any:
        with self._world.lock:
            if self._product(account, product_id).format != "V":
                raise not_found("Produto com variações")
            return self.product(account, bearer, product_id)

    def structure(self, account: Account, _: Bearer, product_id: int) -> Any:
        with self._world.lock:
            product = self._product(account, product_id)
            if product.format != "E":
                raise not_found("Produto com composição")
            return {"data": payloads.structure(product)}

    def balances(self, account: Account, _: Bearer) -> Any:
        moment = self._moment()
        sign = query.integer("filtroSaldoEstoque", 1, (0, 1, 2))
        with self._world.lock:
            data = []
            for product in self._products_asked(account):
                shown = self._bling.stock.balances(product, moment)
                if sign == _sign(self._judged(shown.physical_total, shown.virtual_total)):
                    data.append(payloads.product_balances(product, shown))
        return {"data": data}

    def deposit_balances(self, account: Account, _: Bearer, deposit_id: int) -> Any:
        moment = self._moment()
        sign = query.integer("filtroSaldoEstoque", 1, (0, 1, 2))
        with self._world.lock:
            deposit = self._deposit(account, deposit_id)
            data = []
            for product in self._products_asked(account):
                here = self._bling.stock.balance(product, deposit, moment)
                if sign == _sign(self._judged(here.physical, here.virtual)):
                    data.append(payloads.deposit_balance(product, here))
        return {"data": data}

    def create_movement(self, account: Account, bearer: Bearer) -> Any:
        """One movement per call, applied each time it is asked: nothing here is idempotent."""
        body = _json_body()
        product_id, deposit_id = _reference(body, "produto"), _reference(body, "deposito")
        operation, quantity = _operation(body), _amount(body, "quantidade", is_required=True)
        _amount(body, "preco"), _amount(body, "custo")
        note = body.get("observacoes") or ""
        if not isinstance(note, str):
            raise query.bad("observacoes", "As observações devem ser um texto.", "ESTOQUES")
        with self._world.change():
            product = self._product(account, product_id)
            deposit = self._world.deposits.get(deposit_id)
            if deposit is None or deposit.account != account.key:
                raise query.bad("deposito", "O depósito informado não existe.", "ESTOQUES")
            try:
                check_movement(product, deposit, operation, quantity)
            except SandboxError as error:
                raise query.bad("produto", str(error), "ESTOQUES") from None
            movement = self._bling.stock.move(product, deposit, operation, quantity, "api", note, bearer.app.client_id)
        return {"data": {"id": movement.id}}, 201

    def orders(self, account: Account, _: Bearer) -> Any:
        now = self._world.now()
        created = query.period("data", now, has_time=False)
        changed = query.period("dataAlteracao", now)
        situations, number = query.ids("idsSituacoes[]"), query.integer("numero", None)
        rows = query.page()
        with self._world.lock:
            found = [
                payloads.listed_order(o)
                for o in reversed(self._world.orders.values())
                if o.account == account.key
                and o.state != "deleted"
                and _within(o.created_at, created)
                and _within(o.updated_at, changed)
                and number in (None, o.number)
            ]
        if situations:
            found = [o for o in found if o["situacao"]["id"] in situations]
        return {"data": found[rows]}

    def order(self, account: Account, _: Bearer, order_id: int) -> Any:
        with self._world.lock:
            order: Order | None = self._world.orders.get(order_id)
            if order is None or order.account != account.key or order.state == "deleted":
                raise not_found("Pedido de venda")
            return {"data": payloads.order(self._world, order)}

    def _filtered_products(self, account: Account) -> list[Product]:
        now = self._world.now()
        criterion = query.integer("criterio", 1, (1, 2, 3, 4, 5)) or 1
        kind = query.word("tipo", "T", ("T", "P", "S", "E", "PS", "C", "V"))
        included, changed = query.period("dataInclusao", now), query.period("dataAlteracao", now)
        ids, codes = query.ids("idsProdutos[]"), query.texts("codigos[]")
        gtins, name = query.texts("gtins[]"), request.args.get("nome", "").strip().casefold()
        component = query.integer("idComponente", None)
        sign = query.integer("filtroSaldoEstoque", None, (0, 1, 2))
        place = query.integer("filtroSaldoEstoqueDeposito", None)
        found = [
            p
            for p in self._world.products_of(account.key)
            if p.situation in _SITUATIONS[criterion]
            and _is_of_kind(p, kind)
            and (not ids or p.id in ids)
            and (not codes or p.sku in codes)
            and (not gtins or p.gtin in gtins)
            and name in p.name.casefold()
            and _within(p.created_at, included)
            and _within(p.updated_at, changed)
            and (component is None or component in [c.product_id for c in p.components])
            and (sign is None or sign == _sign(self._judged_at(p, place)))
        ]
        return found[::-1] if criterion == 1 else found

    def _products_asked(self, account: Account) -> list[Product]:
        """The products of idsProdutos[] or codigos[]; unknown ones are simply absent."""
        ids, codes = query.ids("idsProdutos[]"), query.texts("codigos[]")
        if not ids and not codes:
            raise missing("idsProdutos", "ESTOQUES")
        if len(ids) + len(codes) > self._bling.settings.max_ids:
            limit = self._bling.settings.max_ids
            raise query.bad("idsProdutos", f"Informe no máximo {limit} produtos.", "ESTOQUES")
        known = [self._world.products.get(number) for number in dict.fromkeys(ids)]
        found = [p for p in known if p is not None and p.account == account.key]
        if codes:
            asked = set(codes)
            found += [p for p in self._world.products_of(account.key) if p.sku in asked]
        unique = {p.id: p for p in found if p.kind == "P" and p.situation != "E"}
        return list(unique.values())

    def _moment(self) -> float | None:
        return self._world.now() - g.stale_s if g.stale_s else None

    def _judged(self, physical: Decimal, virtual: Decimal) -> Decimal:
        return physical if self._bling.settings.filter_on == "physical" else virtual

    def _judged_at(self, product: Product, place: int | None) -> Decimal:
        balances = self._bling.stock.balances(product)
        if place is None:
            return self._judged(balances.physical_total, balances.virtual_total)
        here = balances.deposits.get(place)
        return Decimal(0) if here is None else self._judged(here.physical, here.virtual)

    def _product(self, account: Account, product_id: int) -> Product:
        product = self._world.products.get(product_id)
        if product is None or product.account != account.key:
            raise not_found("Produto")
        return product

    def _deposit(self, account: Account, deposit_id: int) -> Deposit:
        deposit = self._world.deposits.get(deposit_id)
        if deposit is None or deposit.account != account.key:
            raise not_found("Depósito")
        return deposit


_SITUATIONS = {1: "AI", 2: "A", 3: "I", 4: "E", 5: "AIE"}


def _is_of_kind(product: Product, kind: str) -> bool:
    return {
        "T": True,
        "P": product.kind == "P",
        "S": product.kind == "S",
        "E": product.format == "E",
        "PS": product.holds_stock and product.parent_id is None,
        "C": product.format == "V",
        "V": product.parent_id is not None,
    }[kind]


def _sign(number: Decimal) -> int:
    """In the words of filtroSaldoEstoque: 0 zero, 1 positive, 2 negative."""
    if number == 0:
        return 0
    return 1 if number > 0 else 2


def _within(moment: float, bounds: tuple[float, float] | None) -> bool:
    # Bling's filters count in whole seconds.
    return bounds is None or bounds[0] <= int(moment) <= bounds[1]


def _json_body() -> dict[str, Any]:
    raw = request.get_data()
    if not raw.strip():
        raise ApiError(400, "EMPTY_REQUEST_BODY", "Corpo da requisição vazio", "Informe o corpo da requisição.")
    try:
        body = wire.load(raw)
    except (ValueError, RecursionError) as error:
        detail = error.msg if isinstance(error, json.JSONDecodeError) else "JSON inválido"
        raise ApiError(400, "INVALID_REQUEST_BODY", "Corpo da requisição inválido", detail) from None
    if not isinstance(body, dict):
        raise ApiError(
            400,
            "INVALID_REQUEST_BODY",
            "Corpo da requisição inválido",
            "O corpo deve ser um objeto JSON.",
        )
    return body


def _reference(body: dict[str, Any], name: str) -> int:
    record = body.get(name)
    if not isinstance(record, dict) or record.get("id") is None:
        raise missing(name, "ESTOQUES")
    number = record["id"]
    if isinstance(number, bool) or not isinstance(number, int):
        raise query.bad(name, f"O id de {name} deve ser um número inteiro.", "ESTOQUES")
    return number


def _operation(body: dict[str, Any]) -> str:
    operation = body.get("operacao")
    if operation is None:
        raise missing("operacao", "ESTOQUES")
    if operation not in ("B", "E", "S"):
        raise query.bad("operacao", "A operação deve ser B, E ou S.", "ESTOQUES")
    return str(operation)


def _amount(body: dict[str, Any], name: str, is_required: bool = False) -> Decimal:
    value = body.get(name)
    if value is None:
        if is_required:
            raise missing(name, "ESTOQUES")
        return Decimal(0)
    try:
        if isinstance(value, str):
            raise wire.NotANumber("a text")
        return wire.quantity(value)
    except wire.NotANumber:
        raise query.bad(name, f"O valor de {name} é inválido.", "ESTOQUES") from None
