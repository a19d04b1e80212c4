"""Desfazer: choose what, see what would become of each balance, and say yes to exactly that."""

from __future__ import annotations

from flask import Blueprint, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from itsdangerous import BadSignature, URLSafeTimedSerializer

from blueprints.access import get_or_404, me, my_organization, roles_required
from models import Role, Run
from services import undo, undo_pages
from services.undo_pages import UndoForm

bp = Blueprint("undo", __name__, url_prefix="/desfazer")

acting = roles_required(Role.OWNER, Role.OPERATOR)
# How long a plan that somebody looked at may still be consented to.
CONSENT_S = 30 * 60
STALE = "O plano que você viu já não vale. Confira o novo antes de desfazer."


@bp.get("")
@acting
def ask() -> ResponseReturnValue:
    """The form, and under it the plan of what the address asks for."""
    form = UndoForm.from_query(request.args)
    run = get_or_404(Run, form.run_id) if form.run_id else None
    if form.is_empty:
        return render_template("undo/index.html", form=form)
    try:
        plan = undo.plan(my_organization(), form.selection())
    except undo.UndoRefused as refused:
        words = None if form.faults else str(refused)
        return render_template("undo/index.html", form=form, run=run, refused=words), 422
    return render_template(
        "undo/index.html",
        form=form,
        run=run,
        plan=plan,
        page=undo_pages.page_of(plan, request.args.get("pagina", 1, type=int)),
        consent=_signer().dumps([form.fields, plan.fingerprint]),
    )


@bp.post("")
@acting
def start() -> ResponseReturnValue:
    try:
        fields, fingerprint = _signer().loads(request.form.get("consent", ""), max_age=CONSENT_S)
    except (BadSignature, ValueError):
        flash(STALE, "error")
        return redirect(url_for("undo.ask"), 303)
    form = UndoForm.from_query(fields)
    try:
        run = undo.start_undo(my_organization(), me(), form.selection(), fingerprint, request.form.getlist("stop"))
    except undo.UndoRefused as refused:
        flash(str(refused), "error")
        return redirect(f"{url_for('undo.ask')}?{form.query()}", 303)
    flash("Desfazendo. Cada saldo é lido de novo no Bling antes de ser escrito.", "ok")
    return redirect(url_for("runs.show", run_id=run.id), 303)


def _signer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(current_app.config["SECRET_KEY"], salt="undo-seen")
