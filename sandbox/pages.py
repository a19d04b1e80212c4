"""The pages of "Bling de teste": accounts side by side, and everything a person may do to them.

Each form answers with a redirect; the fragments under /fragmentos are what the script refreshes.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Flask, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from . import labels
from .bling import Bling
from .errors import SandboxError
from .faults import KINDS
from .records import Product
from .rows import Rows

SHOWN = 100


def create_pages(bling: Bling) -> Blueprint:
    bp = Blueprint("pages", __name__)
    pages = Pages(bling)

    @bp.record_once
    def prepare(state: Any) -> None:
        app: Flask = state.app
        app.jinja_env.filters.update(labels.FILTERS)

    @bp.context_processor
    def share() -> dict[str, Any]:
        accounts = bling.world.accounts.values()
        return {
            "active_faults": bling.faults.listed(),
            "fault_labels": labels.FAULTS,
            "account_names": {account.key: account.name for account in accounts},
        }

    def route(path: str, view: Any, method: str = "GET") -> None:
        bp.add_url_rule(path, view.__name__, view, methods=[method])

    route("/", pages.stock)
    route("/fragmentos/estoque", pages.stock_fragment)
    route("/fragmentos/atividade", pages.activity_fragment)
    route("/movimentar", pages.move, "POST")
    route("/pedidos", pages.orders)
    route("/fragmentos/pedidos", pages.orders_fragment)
    route("/pedidos/<int:order_id>/<action>", pages.change_order, "POST")
    route("/produtos/novo", pages.new_product)
    route("/produtos/novo", pages.create_product, "POST")
    route("/produtos/<int:product_id>", pages.product)
    route("/produtos/<int:product_id>", pages.edit_product, "POST")
    route("/produtos/<int:product_id>/excluir", pages.delete_product, "POST")
    route("/lancamentos/<int:movement_id>/excluir", pages.delete_movement, "POST")
    route("/requisicoes", pages.requests)
    route("/fragmentos/requisicoes", pages.requests_fragment)
    route("/webhooks", pages.webhooks)
    route("/fragmentos/webhooks", pages.webhooks_fragment)
    route("/webhooks/<int:delivery_id>/reenviar", pages.redeliver, "POST")
    route("/falhas", pages.faults)
    route("/falhas", pages.set_fault, "POST")
    route("/falhas/desligar", pages.clear_faults, "POST")
    route("/limites", pages.set_limits, "POST")
    route("/aplicativos", pages.apps)
    route("/aplicativos", pages.edit_app, "POST")
    route("/aplicativos/revogar", pages.revoke, "POST")
    route("/aplicativos/religar", pages.switch_on, "POST")

    @bp.errorhandler(SandboxError)
    def refuse(error: SandboxError) -> BaseResponse:
        flash(str(error), "error")
        return redirect(_origin())

    return bp


class Pages:
    """One method per address."""

    def __init__(self, bling: Bling) -> None:
        self._bling = bling
        self._rows = Rows(bling)

    def stock(self) -> str:
        with self._bling.world.lock:
            return render_template(
                "stock.html",
                form=self._movement_form(),
                skus=self._rows.skus(),
                deposits=self._rows.deposit_names(),
                **self._stock_rows(),
                **self._activity_rows(),
            )

    def stock_fragment(self) -> str:
        with self._bling.world.lock:
            return render_template("_accounts.html", **self._stock_rows())

    def activity_fragment(self) -> str:
        with self._bling.world.lock:
            return render_template("_activity.html", **self._activity_rows())

    def move(self) -> BaseResponse:
        form = request.form
        account, wanted = form.get("account", ""), form.get("product", "").strip()
        product: str | int = int(wanted[1:]) if _is_reference(wanted) else wanted
        deposit = form.get("deposit") or None
        quantity = form.get("quantity", "")
        action = {
            "sell": self._bling.sell,
            "receive": self._bling.receive,
            "count": self._bling.count,
            "reserve": self._bling.reserve,
        }.get(form.get("op", ""))
        if action is None:
            raise SandboxError("Escolha o que fazer: vender, receber, contar ou reservar.")
        if not wanted:
            raise SandboxError("Informe o SKU do produto.")
        action(account, product, quantity, deposit)
        name = self._bling.world.account(account).name
        text = labels.MOVED[form["op"]].format(quantity=quantity, product=wanted, account=name)
        flash(text, "ok")
        return redirect(
            url_for("pages.stock", conta=account, produto=wanted, deposito=deposit, busca=form.get("busca") or None)
        )

    def orders(self) -> str:
        with self._bling.world.lock:
            return render_template("orders.html", orders=self._rows.orders(SHOWN))

    def orders_fragment(self) -> str:
        with self._bling.world.lock:
            return render_template("_orders.html", orders=self._rows.orders(SHOWN))

    def change_order(self, order_id: int, action: str) -> BaseResponse:
        change = {
            "atender": (self._bling.post, "atendido"),
            "cancelar": (self._bling.cancel, "cancelado"),
            "excluir": (self._bling.delete_order, "excluído"),
        }.get(action)
        if change is None:
            raise SandboxError("Não sei fazer isso com um pedido.")
        change[0](order_id)
        flash(f"Pedido {self._bling.order(order_id).number} {change[1]}.", "ok")
        return redirect(_origin())

    def new_product(self) -> str:
        return render_template("new_product.html", accounts=list(self._bling.world.accounts.values()))

    def create_product(self) -> BaseResponse:
        form = request.form
        product = self._bling.add_product(
            form.get("account", ""),
            form.get("sku", ""),
            form.get("name", ""),
            price=form.get("price") or "0",
            stock=form.get("stock") or None,
        )
        flash("Produto criado.", "ok")
        return redirect(url_for("pages.product", product_id=product.id))

    def product(self, product_id: int) -> str:
        with self._bling.world.lock:
            product = self._product(product_id)
            return render_template(
                "product.html",
                product=product,
                account=self._bling.world.accounts[product.account],
                balances=self._rows.balances(product),
                components=self._rows.components(product),
                movements=self._rows.movements(product, SHOWN),
            )

    def edit_product(self, product_id: int) -> BaseResponse:
        names = ("name", "sku", "price", "situation", "unit", "gtin")
        changes = {name: request.form[name] for name in names if name in request.form}
        product = self._product(product_id)
        self._bling.edit_product(product.account, product.id, **changes)
        flash("Produto alterado.", "ok")
        return redirect(url_for("pages.product", product_id=product_id))

    def delete_product(self, product_id: int) -> BaseResponse:
        product = self._product(product_id)
        self._bling.delete_product(product.account, product.id)
        flash(f"Produto {product.name} removido de vez.", "ok")
        return redirect(url_for("pages.stock"))

    def delete_movement(self, movement_id: int) -> BaseResponse:
        self._bling.delete_movement(movement_id)
        flash("Lançamento excluído.", "ok")
        return redirect(_origin())

    def requests(self) -> str:
        return render_template("requests.html", **self._request_rows())

    def requests_fragment(self) -> str:
        return render_template("_requests.html", **self._request_rows())

    def webhooks(self) -> str:
        return render_template("webhooks.html", **self._delivery_rows())

    def webhooks_fragment(self) -> str:
        return render_template("_deliveries.html", **self._delivery_rows())

    def redeliver(self, delivery_id: int) -> BaseResponse:
        self._bling.redeliver(delivery_id)
        flash("Webhook na fila para ser enviado outra vez.", "ok")
        return redirect(_origin())

    def faults(self) -> str:
        return render_template(
            "faults.html",
            kinds=KINDS,
            explained=labels.FAULT_TEXTS,
            accounts=list(self._bling.world.accounts.values()),
            settings=self._bling.settings,
        )

    def set_fault(self) -> BaseResponse:
        form = request.form
        seconds = form.get("seconds", "").replace(",", ".")
        try:
            self._bling.faults.set(
                form.get("kind", ""),
                float(form.get("percent", "0").replace(",", ".") or 0) / 100,
                int(form.get("next", "0") or 0),
                float(seconds) if seconds else None,
                form.get("account") or None,
            )
        except SandboxError:
            raise
        except ValueError:
            raise SandboxError("Informe números na taxa, na contagem e nos segundos.") from None
        flash("Falhas atualizadas.", "ok")
        return redirect(url_for("pages.faults"))

    def clear_faults(self) -> BaseResponse:
        self._bling.faults.clear()
        flash("Todas as falhas foram desligadas.", "ok")
        return redirect(_origin())

    def set_limits(self) -> BaseResponse:
        form = request.form
        self._bling.configure(
            rate_per_second=form.get("rate_per_second") or None,
            rate_per_day=form.get("rate_per_day") or None,
            ip_limits="ip_limits" in form,
            virtual_with_stock="virtual_with_stock" in form,
            float_noise="float_noise" in form,
        )
        flash("Limites e comportamento atualizados.", "ok")
        return redirect(url_for("pages.faults"))

    def apps(self) -> str:
        with self._bling.world.lock:
            return render_template("apps.html", apps=self._rows.apps())

    def edit_app(self) -> BaseResponse:
        form = request.form
        self._bling.edit_app(
            form.get("client_id", ""),
            webhook_url=form.get("webhook_url", "").strip(),
            redirect_uri=form.get("redirect_uri", "").strip(),
        )
        flash("Aplicativo alterado.", "ok")
        return redirect(url_for("pages.apps"))

    def revoke(self) -> BaseResponse:
        self._bling.revoke(request.form.get("account", ""), request.form.get("client_id"))
        flash("Autorização revogada: o aplicativo precisa ser autorizado de novo.", "ok")
        return redirect(url_for("pages.apps"))

    def switch_on(self) -> BaseResponse:
        self._bling.webhooks.switch_on(request.form.get("account", ""))
        flash("Webhooks religados.", "ok")
        return redirect(url_for("pages.apps"))

    def _stock_rows(self) -> dict[str, Any]:
        search = request.args.get("busca", "").strip()
        return {"accounts": self._rows.accounts(search), "search": search}

    def _activity_rows(self) -> dict[str, Any]:
        return {"requests": self._rows.requests(8), "deliveries": self._rows.deliveries(8)}

    def _request_rows(self) -> dict[str, Any]:
        account = request.args.get("conta") or None
        return {
            "requests": self._rows.requests(SHOWN, account),
            "usage": self._rows.usage(),
            "chosen": account,
        }

    def _delivery_rows(self) -> dict[str, Any]:
        account = request.args.get("conta") or None
        return {
            "deliveries": self._rows.deliveries(SHOWN, account),
            "counts": self._rows.delivery_counts(account),
            "usage": self._rows.usage(),
            "chosen": account,
        }

    def _movement_form(self) -> dict[str, str]:
        """What the movement form starts with: what the address names, or what was used last."""
        accounts = list(self._bling.world.accounts)
        return {
            "account": request.args.get("conta") or (accounts[0] if accounts else ""),
            "product": request.args.get("produto", ""),
            "deposit": request.args.get("deposito", ""),
        }

    def _product(self, product_id: int) -> Product:
        product = self._bling.world.products.get(product_id)
        if product is None:
            raise SandboxError("Este produto não existe mais.")
        return product


def _is_reference(text: str) -> bool:
    """A product named by its id, for those that share a SKU or have none: #16201000006."""
    return text.startswith("#") and text[1:].isdecimal()


def _origin() -> str:
    """Back to the page the form was on; only its path is taken, never another server."""
    origin = urlsplit(request.referrer or "")
    is_itself = request.method == "GET" and origin.path == request.path
    if origin.netloc != request.host or is_itself:
        return url_for("pages.stock")
    return f"{origin.path}?{origin.query}" if origin.query else origin.path
