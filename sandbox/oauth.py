"""OAuth endpoints: the consent page a merchant sees, the token endpoint and revocation."""

from __future__ import annotations

import base64
import binascii
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, g, redirect, render_template, request
from werkzeug.wrappers import Response as BaseResponse

from .bling import Bling
from .errors import ApiError
from .gate import Gate
from .grants import OAuthError
from .records import Account, App

UNAPPROVED_LIMIT = 10


def create_oauth(bling: Bling) -> Blueprint:
    bp = Blueprint("oauth", __name__, url_prefix="/Api/v3/oauth")
    gate = Gate(bling)

    @bp.get("/authorize")
    def authorize() -> Any:
        app = bling.world.apps.get(request.args.get("client_id", ""))
        problem = _problem(app)
        if app is None or problem:
            return render_template("consent_error.html", problem=problem), 400
        state = request.args["state"]
        if request.args.get("response_type") != "code":
            return _back(
                app,
                state,
                error="unsupported_response_type",
                error_description="O response_type deve ser code.",
            )
        accounts = _choices(bling, app)
        return render_template("consent.html", app=app, state=state, accounts=accounts)

    @bp.post("/authorize")
    def decide() -> Any:
        app = bling.world.apps.get(request.form.get("client_id", ""))
        state = request.form.get("state", "")
        if app is None or not state:
            return render_template("consent_error.html", problem=_problem(app)), 400
        if request.form.get("decision") != "authorize":
            return _back(
                app,
                state,
                error="access_denied",
                error_description="O usuário recusou a autorização.",
            )
        chosen = {a.key: a for a in _choices(bling, app)}.get(request.form.get("account", ""))
        if chosen is None:
            return render_template("consent_error.html", problem="Escolha uma das contas."), 400
        if not app.approved and app.kind == "shared" and _is_full(bling, app, chosen):
            problem = f"Um aplicativo não homologado atende no máximo {UNAPPROVED_LIMIT} contas."
            return render_template("consent_error.html", problem=problem), 403
        return _back(app, state, code=bling.grants.authorize(app, chosen))

    @bp.post("/token")
    def token() -> Any:
        with gate.logged():
            bling.limits.admit_visitor(request.remote_addr or "local", bling.world.now(), is_token_call=True)
            app = _client(bling)
            g.client_id = app.client_id
            try:
                grant = _granted(bling, app)
            except OAuthError as error:
                raise _answer(error) from None
            g.account = grant.account
            return gate.json(bling.grants.answer(grant))

    @bp.post("/revoke")
    def revoke() -> Any:
        with gate.logged():
            app = _client(bling)
            g.client_id = app.client_id
            if not request.form.get("token"):
                raise _answer(OAuthError(400, "invalid_request", "The token is missing"))
            bling.grants.revoke(app, request.form["token"])
            return Response(status=200)

    return bp


def _problem(app: App | None) -> str:
    if app is None:
        return "O aplicativo não existe ou foi desativado (client_id inválido)."
    if not request.values.get("state"):
        return "O parâmetro state é obrigatório."
    return ""


def _choices(bling: Bling, app: App) -> list[Account]:
    accounts = list(bling.world.accounts.values())
    return [a for a in accounts if app.kind == "shared" or a.key == app.owner]


def _is_full(bling: Bling, app: App, account: Account) -> bool:
    authorized = {
        grant.account for grant in bling.world.grants.values() if grant.client_id == app.client_id and not grant.revoked
    }
    return account.key not in authorized and len(authorized) >= UNAPPROVED_LIMIT


def _back(app: App, state: str, **answer: str) -> BaseResponse:
    """To the registered redirect address; the one in the URL does not count."""
    separator = "&" if "?" in app.redirect_uri else "?"
    return redirect(f"{app.redirect_uri}{separator}{urlencode({**answer, 'state': state})}")


def _granted(bling: Bling, app: App) -> Any:
    if request.mimetype != "application/x-www-form-urlencoded":
        raise OAuthError(400, "invalid_request", "The body must be form-urlencoded")
    is_jwt = request.headers.get("enable-jwt") == "1"
    kind = request.form.get("grant_type")
    if kind == "authorization_code":
        return bling.grants.exchange(app, request.form.get("code", ""), is_jwt)
    if kind == "refresh_token":
        return bling.grants.refresh(app, request.form.get("refresh_token", ""), is_jwt)
    raise OAuthError(400, "unsupported_grant_type", "Grant type not supported")


def _client(bling: Bling) -> App:
    """The app of the Basic credentials; those in the body do not count."""
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    try:
        decoded = base64.b64decode(encoded, validate=True).decode() if scheme == "Basic" else ""
    except (binascii.Error, UnicodeDecodeError):
        decoded = ""
    client_id, _, secret = decoded.partition(":")
    app = bling.world.apps.get(client_id)
    if app is None or secret != app.client_secret:
        raise _answer(OAuthError(401, "invalid_client", "The client credentials are invalid"))
    return app


def _answer(error: OAuthError) -> ApiError:
    return ApiError(error.status, error.error, error.error, error.description)
