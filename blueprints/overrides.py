"""Exceções: what a rule does differently for single SKUs."""

from __future__ import annotations

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from blueprints.access import get_or_404, me, roles_required
from models import Role, SkuOverride, StockGroup
from services import overrides
from services.overrides import OverrideForm

bp = Blueprint("overrides", __name__, url_prefix="/regras/<group_id>/excecoes")

acting = roles_required(Role.OWNER, Role.OPERATOR)


@bp.get("")
def index(group_id: str) -> ResponseReturnValue:
    """All of a rule's, or with `sku` those of one product, which other pages link to."""
    group = get_or_404(StockGroup, group_id)
    text, sku = request.args.get("q", ""), request.args.get("sku", "").strip() or None
    page = overrides.list_overrides(group, text, request.args.get("pagina", 1, type=int), sku)
    return render_template("overrides/index.html", group=group, page=page, text=text, sku=sku)


@bp.route("/nova", methods=["GET", "POST"])
@acting
def create(group_id: str) -> ResponseReturnValue:
    group = get_or_404(StockGroup, group_id)
    if request.method == "GET":
        return _form_page(group, OverrideForm({"sku": request.args.get("sku", "")}))
    form = OverrideForm(request.form)
    row = overrides.save_override(group, form, me())
    return _form_page(group, form) if row is None else _saved(group, row)


@bp.route("/<override_id>", methods=["GET", "POST"])
@acting
def edit(group_id: str, override_id: str) -> ResponseReturnValue:
    group, row = _find(group_id, override_id)
    if request.method == "GET":
        return _form_page(group, overrides.form_of(row), row)
    form = OverrideForm(request.form)
    saved = overrides.save_override(group, form, me(), row)
    return _form_page(group, form, row) if saved is None else _saved(group, saved)


@bp.post("/<override_id>/remover")
def remove(group_id: str, override_id: str) -> ResponseReturnValue:
    group, row = _find(group_id, override_id)
    overrides.remove_override(group, row, me())
    flash(f"Exceção de {row.sku} removida: vale a regra outra vez.{_what_follows(group)}", "ok")
    return _to(group)


def _find(group_id: str, override_id: str) -> tuple[StockGroup, SkuOverride]:
    group, row = get_or_404(StockGroup, group_id), get_or_404(SkuOverride, override_id)
    if row.group_id != group.id:
        abort(404)
    return group, row


def _saved(group: StockGroup, row: SkuOverride) -> ResponseReturnValue:
    flash(f"Exceção de {row.sku} salva.{_what_follows(group)}", "ok")
    return _to(group)


def _what_follows(group: StockGroup) -> str:
    return " O produto já está sendo conferido." if group.is_active else ""


def _to(group: StockGroup) -> ResponseReturnValue:
    return redirect(url_for("overrides.index", group_id=group.id), 303)


def _form_page(group: StockGroup, form: OverrideForm, row: SkuOverride | None = None) -> ResponseReturnValue:
    page = render_template(
        "overrides/form.html",
        group=group,
        form=form,
        row=row,
        targets=overrides.choices_of(group),
        standing=overrides.effects_of(group, row.sku if row else form.value("sku")),
    )
    return page, 422 if form.faults else 200
