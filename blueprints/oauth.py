"""Where Bling sends the merchant back to after the consent page."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user

from blueprints.access import may_change, me, public
from blueprints.accounts import session_nonce
from services import connections
from services.consents import ConnectionFailed

bp = Blueprint("oauth", __name__)


@bp.get("/bling/callback")
@public  # Signing in first would put the code into the address of the sign-in page, and end the session it belongs to.
def callback() -> ResponseReturnValue:
    if not current_user.is_authenticated:
        return render_template("accounts/signed_out.html"), 401
    if not may_change():
        return render_template("accounts/failed.html", failed=_READER), 403
    try:
        connected = connections.finish(
            me(),
            session_nonce(),
            state=request.args.get("state", ""),
            code=request.args.get("code", ""),
            error=request.args.get("error", ""),
            error_description=request.args.get("error_description", ""),
        )
    except ConnectionFailed as failed:
        return render_template("accounts/failed.html", failed=failed), 400
    account = connected.account
    if connected.was_known:
        flash(f"A empresa {account.company_name} já era a conta {account.name}: o acesso foi renovado.", "ok")
    else:
        flash(f"Conta {account.name} conectada. Estamos lendo depósitos e produtos.", "ok")
    return redirect(url_for("accounts.show", account_id=account.id), 303)


_READER = ConnectionFailed("O seu usuário só pode ver", "Conectar contas é para donos e operadores. Nada foi alterado.")
