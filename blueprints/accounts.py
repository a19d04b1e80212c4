"""Contas: the merchant's Bling accounts, from the button that connects one to the one that ends it."""

from __future__ import annotations

import secrets
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from blueprints.access import Role, get_or_404, me, my_organization, roles_required
from blueprints.rendering import poll, version_of
from clock import utcnow
from models import Account
from services import accounts, consents
from services.bling_clients import shared_app
from services.board import webhook_health
from services.consents import ConnectionFailed, ConnectionForm

bp = Blueprint("accounts", __name__, url_prefix="/contas")

_NONCE = "bling_nonce"
acting = roles_required(Role.OWNER, Role.OPERATOR)


@bp.get("")
def index() -> ResponseReturnValue:
    return render_template("accounts/index.html", **_list())


@bp.get("/vivo")
def live() -> ResponseReturnValue:
    """The list alone, for its poll."""
    values = _list()
    return poll("accounts/_list.html", values.pop("version"), values)


@bp.route("/conectar", methods=["GET", "POST"])
@acting
def connect() -> ResponseReturnValue:
    """The form that leads to Bling's consent page."""
    if request.method == "GET":
        return _connect_page(ConnectionForm(name="", has_own_app=shared_app() is None))
    form = _typed_form(request.form.get("name", ""))
    faults = form.faults()
    if faults:
        return _connect_page(form, faults)
    return _to_bling(form)


@bp.get("/<account_id>")
def show(account_id: str) -> ResponseReturnValue:
    return render_template("accounts/show.html", **_details(get_or_404(Account, account_id)))


@bp.get("/<account_id>/vivo")
def live_account(account_id: str) -> ResponseReturnValue:
    """What changes by itself on the account's page, for its poll."""
    values = _details(get_or_404(Account, account_id))
    return poll("accounts/_live.html", values.pop("version"), values)


@bp.post("/<account_id>/renomear")
def rename(account_id: str) -> ResponseReturnValue:
    account = get_or_404(Account, account_id)
    name = request.form.get("name", "")
    fault = accounts.rename(account, name)
    if fault:
        return render_template("accounts/show.html", **_details(account), typed_name=name, name_fault=fault), 422
    flash("Nome alterado.", "ok")
    return _back_to(account)


@bp.post("/<account_id>/pausar")
def pause(account_id: str) -> ResponseReturnValue:
    account = get_or_404(Account, account_id)
    if accounts.pause(account, me()):
        flash("Conta pausada: não lemos nem escrevemos nela até você retomar.", "ok")
    return _back_to(account)


@bp.post("/<account_id>/retomar")
def resume(account_id: str) -> ResponseReturnValue:
    account = get_or_404(Account, account_id)
    if accounts.resume(account):
        flash("Conta retomada. O que mudou durante a pausa está sendo conferido.", "ok")
    return _back_to(account)


@bp.post("/<account_id>/catalogo")
def read_catalog(account_id: str) -> ResponseReturnValue:
    account = get_or_404(Account, account_id)
    if account.state != "connected":
        flash("Só o catálogo de uma conta conectada pode ser lido.", "warn")
    elif accounts.request_catalog(account):
        flash("O catálogo está sendo lido. Esta página mostra quando terminar.", "ok")
    else:
        flash("A fila não está respondendo agora. O catálogo será lido na próxima conferência.", "warn")
    return _back_to(account)


@bp.route("/<account_id>/reconectar", methods=["GET", "POST"])
@acting
def reconnect(account_id: str) -> ResponseReturnValue:
    """Authorize the account anew, with the same app or another one."""
    account = get_or_404(Account, account_id)
    if request.method == "GET":
        has_own_app = account.client_id is not None or shared_app() is None
        return _connect_page(ConnectionForm(account.name, has_own_app, account.client_id or ""), account=account)
    form = _typed_form(account.name)
    faults = form.faults(account)
    if faults:
        return _connect_page(form, faults, account)
    return _to_bling(form, account)


@bp.route("/<account_id>/desconectar", methods=["GET", "POST"])
@acting
def disconnect(account_id: str) -> ResponseReturnValue:
    """What it would mean, and then the deed."""
    account = get_or_404(Account, account_id)
    rules = accounts.rules_with(account)
    if request.method == "GET" or (rules and request.form.get("confirmed") != "yes"):
        is_unconfirmed = request.method == "POST"
        page = render_template("accounts/disconnect.html", account=account, rules=rules, is_unconfirmed=is_unconfirmed)
        return page, 422 if is_unconfirmed else 200
    done = accounts.disconnect(account)
    if done.problem:
        flash(f"{account.name} foi desconectada aqui. {done.problem}", "warn")
    else:
        flash(f"{account.name} foi desconectada, e o Bling encerrou o acesso.", "ok")
    return redirect(url_for("accounts.index"), 303)


def session_nonce() -> str:
    """What ties a started connection to this browser session."""
    if _NONCE not in session:
        session[_NONCE] = secrets.token_urlsafe(24)
    return str(session[_NONCE])


def _to_bling(form: ConnectionForm, account: Account | None = None) -> ResponseReturnValue:
    try:
        return redirect(consents.start(me(), session_nonce(), form, account), 303)
    except ConnectionFailed as failed:
        return _connect_page(form, {"client_secret": f"{failed.title}. {failed.message}"}, account)


def _typed_form(name: str) -> ConnectionForm:
    return ConnectionForm(
        name=name,
        has_own_app=request.form.get("app") == "own",
        client_id=request.form.get("client_id", ""),
        client_secret=request.form.get("client_secret", ""),
    )


def _connect_page(
    form: ConnectionForm, faults: dict[str, str] | None = None, account: Account | None = None
) -> ResponseReturnValue:
    page = render_template(
        "accounts/connect.html",
        form=form,
        faults=faults or {},
        account=account,
        has_shared_app=shared_app() is not None,
        redirect_url=accounts.redirect_url(),
    )
    return page, 422 if faults else 200


def _back_to(account: Account) -> ResponseReturnValue:
    return redirect(url_for("accounts.show", account_id=account.id), 303)


def _list() -> dict[str, Any]:
    now = utcnow()
    lines = [(line, webhook_health(line.account, now)) for line in accounts.list_accounts(my_organization())]
    shown = [
        (
            line.account.name,
            line.account.state,
            line.account.token_expires_at,
            line.account.last_event_at,
            line.account.last_error,
            health,
            line.deposits,
            line.products,
            line.requests_today,
        )
        for line, health in lines
    ]
    return {"lines": lines, "version": version_of(shown)}


def _details(account: Account) -> dict[str, Any]:
    details = accounts.account_details(account)
    return {
        "account": account,
        "details": details,
        "health": webhook_health(account, utcnow()),
        "version": version_of(
            account.__data__,
            details.products,
            details.requests_today,
            [deposit.__data__ for deposit in details.deposits],
            [(event.id, event.state, event.reason) for event in details.events],
        ),
    }
