"""Regras: which deposits are one stock, where it shows, what a rule would change, and switching it on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from flask import Blueprint, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from itsdangerous import BadSignature, URLSafeTimedSerializer

from blueprints.access import get_or_404, is_partial, me, my_organization, roles_required
from clock import utcnow
from models import Role, StockGroup
from services import group_form, group_pages, groups, plans
from services.activation import ActivationRefused, activate_group
from services.group_form import GroupForm
from services.groups import GroupRefused

bp = Blueprint("groups", __name__, url_prefix="/regras")

acting = roles_required(Role.OWNER, Role.OPERATOR)
# How old the balances of a plan may be that somebody consents to.
CONSENT_LIFE = timedelta(minutes=30)


@bp.get("")
def index() -> ResponseReturnValue:
    return render_template("groups/index.html", rules=group_pages.list_rules(my_organization()))


@bp.route("/nova", methods=["GET", "POST"])
@acting
def create() -> ResponseReturnValue:
    if request.method == "GET":
        return _form_page(GroupForm(group_form.NEW))
    form = GroupForm(request.form)
    saved = group_pages.save_form(my_organization(), form, me())
    if saved is None:
        return _form_page(form)
    flash("Rascunho salvo. Confira abaixo o que a regra mudaria e ative-a quando estiver certo.", "ok")
    return _to(saved.group)


@bp.route("/<group_id>/editar", methods=["GET", "POST"])
@acting
def edit(group_id: str) -> ResponseReturnValue:
    group = get_or_404(StockGroup, group_id)
    if request.method == "GET":
        return _form_page(group_pages.form_for(group), group)
    form = GroupForm(request.form)
    saved = group_pages.save_form(my_organization(), form, me(), group)
    if saved is None:
        return _form_page(form, group)
    is_checked = saved.decides_anew and saved.group.is_active
    flash("Regra salva. A conferência de todos os produtos já começou." if is_checked else "Regra salva.", "ok")
    return _to(group)


@bp.get("/<group_id>")
def show(group_id: str) -> ResponseReturnValue:
    return _page(get_or_404(StockGroup, group_id))


@bp.get("/<group_id>/previa")
def preview(group_id: str) -> ResponseReturnValue:
    """The plan, as a fragment or as a page of its own."""
    group = get_or_404(StockGroup, group_id)
    values = _plan_values(group, plans.read_plan(group, anew="nova" in request.args))
    if is_partial():
        return render_template("groups/_plan.html", group=group, **values)
    return _page(group, values)


@bp.post("/<group_id>/ativar")
def activate(group_id: str) -> ResponseReturnValue:
    group = get_or_404(StockGroup, group_id)
    plan = plans.find_plan(group)
    fault = _fault_of_consent(group, plan)
    if fault is None:
        try:
            run = activate_group(group, me())
        except ActivationRefused as refused:
            fault = str(refused)
        else:
            flash(f"A regra “{group.name}” está ativa. A primeira sincronização já começou.", "ok")
            return redirect(url_for("runs.show", run_id=run.id), 303)
    values = _plan_values(group, plan) if plan is not None else {}
    return _page(group, {**values, "activation_fault": fault}, 422)


@bp.post("/<group_id>/desativar")
def deactivate(group_id: str) -> ResponseReturnValue:
    group = get_or_404(StockGroup, group_id)
    groups.deactivate_group(group)
    flash(f"A regra “{group.name}” foi desativada. Os saldos ficam como estão no Bling.", "ok")
    return _to(group)


@bp.post("/<group_id>/excluir")
def delete(group_id: str) -> ResponseReturnValue:
    group = get_or_404(StockGroup, group_id)
    try:
        groups.delete_group(group)
    except GroupRefused as refused:
        flash(str(refused), "error")
        return _to(group)
    flash(f"A regra “{group.name}” foi excluída. O histórico dela continua guardado.", "ok")
    return redirect(url_for("groups.index"), 303)


def _to(group: StockGroup) -> ResponseReturnValue:
    return redirect(url_for("groups.show", group_id=group.id), 303)


def _page(group: StockGroup, values: dict[str, Any] | None = None, status: int = 200) -> ResponseReturnValue:
    return render_template("groups/show.html", group=group, rule=group_pages.rule_of(group), **(values or {})), status


def _form_page(form: GroupForm, group: StockGroup | None = None) -> ResponseReturnValue:
    page = render_template(
        "groups/form.html", form=form, group=group, accounts=group_pages.deposits_by_account(my_organization())
    )
    return page, 422 if form.faults else 200


def _plan_values(group: StockGroup, plan: plans.Plan) -> dict[str, Any]:
    shown = request.args.get("mostrar", "changed")
    text = request.args.get("q", "")
    return {
        "plan": plan,
        "shown": shown if shown in plans.SHOWN else "changed",
        "text": text,
        "page": plans.page_of(plan, shown, text, request.args.get("pagina", 1, type=int)),
        "consent": _signer().dumps(asdict(_seen(group, plan))),
    }


@dataclass(frozen=True, slots=True)
class _Seen:
    """What somebody saw of a plan, as it comes back with the consent: the signature says that it was really shown."""

    group_id: str
    fingerprint: str
    read_at: str
    lowered: int
    zeroed: int
    is_risky: bool


def _seen(group: StockGroup, plan: plans.Plan) -> _Seen:
    totals = plan.totals
    return _Seen(
        group.id, plan.fingerprint, plan.read_at.isoformat(), totals["lowered"], totals["zeroed"], plan.is_risky()
    )


def _fault_of_consent(group: StockGroup, plan: plans.Plan | None) -> str | None:
    """Why this activation is not a consent to a plan that was seen; None when it is.

    `plan`: the one that would be shown now. Somebody else may have had the balances read anew meanwhile.
    """
    try:
        seen = _Seen(**_signer().loads(request.form.get("consent", "")))
        read_at = datetime.fromisoformat(seen.read_at)
    except (BadSignature, TypeError, ValueError):
        return "Veja antes o que a regra mudaria: o plano que você viu já não vale."
    if seen.group_id != group.id or seen.fingerprint != groups.fingerprint(groups.draft_of(group)):
        return "A regra mudou depois do plano que você viu. Confira o novo plano antes de ativar."
    if utcnow() - read_at > CONSENT_LIFE:
        return "Os saldos do plano que você viu têm mais de 30 minutos. Confira o novo plano antes de ativar."
    if plan is not None and (plan.totals["lowered"], plan.totals["zeroed"]) != (seen.lowered, seen.zeroed):
        return "Os saldos mudaram depois do plano que você viu. Confira o novo plano antes de ativar."
    if seen.is_risky and request.form.get("confirmed") != "yes":
        return "Marque que você conferiu as baixas antes de ativar."
    return None


def _signer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(current_app.config["SECRET_KEY"], salt="plan-seen")
