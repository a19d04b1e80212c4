"""Signing in and out, and the theme of this browser."""

from __future__ import annotations

from flask import Blueprint, Response, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_limiter.util import get_remote_address
from flask_login import current_user, login_user, logout_user

from blueprints.access import SignedInUser, limiter, public, readers_may, safe_return
from config import current
from services import auth

bp = Blueprint("auth", __name__)

WRONG = "E-mail ou senha não conferem."
THEME_AFTER = {None: "escuro", "escuro": "claro", "claro": None}


def _attempted_account() -> str:
    return auth.normalized_email(request.form.get("email", ""))[:254]


def _has_failed(response: Response) -> bool:
    return response.status_code == 422


@bp.route("/entrar", methods=["GET", "POST"])
@public
@limiter.limit("20 per 5 minutes", methods=["POST"], key_func=get_remote_address, deduct_when=_has_failed)
@limiter.limit("30 per hour", methods=["POST"], key_func=_attempted_account, deduct_when=_has_failed)
def sign_in() -> ResponseReturnValue:
    back = safe_return(request.values.get("volta"))
    if request.method == "GET":
        if current_user.is_authenticated:
            return redirect(back or url_for("dashboard.index"))
        return render_template("auth/sign_in.html", volta=back, email="")
    user = auth.authenticate(request.form.get("email", ""), request.form.get("password", ""))
    if user is None:
        return render_template("auth/sign_in.html", volta=back, email=request.form.get("email", ""), error=WRONG), 422
    # Nothing that was in the session before may live on in it: it could be somebody else's.
    session.clear()
    session.permanent = True
    login_user(SignedInUser.get_by_id(user.id))
    return redirect(back or url_for("dashboard.index"))


@bp.post("/sair")
@readers_may
def sign_out() -> ResponseReturnValue:
    logout_user()
    session.clear()
    return redirect(url_for("auth.sign_in"))


@bp.post("/tema")
@readers_may
def theme() -> ResponseReturnValue:
    following = THEME_AFTER.get(request.cookies.get("tema"), "escuro")
    response = redirect(safe_return(request.form.get("volta")) or url_for("dashboard.index"))
    if following is None:
        response.delete_cookie("tema", path="/")
    else:
        response.set_cookie(
            "tema", following, max_age=31_536_000, path="/", secure=current().is_https, httponly=True, samesite="Lax"
        )
    return response
