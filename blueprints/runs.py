"""Starting a synchronization, and watching one."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from blueprints.access import get_or_404, me, my_organization
from blueprints.rendering import poll, version_of
from models import Product, Run, RunType, StockGroup
from services import guards, history, overview, undo_pages
from services.held import decision_line, held_page
from services.runs import UNFINISHED, start_run

bp = Blueprint("runs", __name__)

NO_RULE = "Ainda não há regra ativa: sem ela não há o que sincronizar. Crie uma em Regras e ative-a."


@bp.get("/sincronizar")
def ask() -> ResponseReturnValue:
    """The dialog's content as a page of its own, for browsers without JavaScript."""
    return render_template("runs/ask.html", sku=request.args.get("sku", ""), scope=request.args.get("scope", "all"))


@bp.post("/sincronizar")
def start() -> ResponseReturnValue:
    scope = request.form.get("scope", "all")
    sku = request.form.get("sku", "").strip()
    error = _fault(scope, sku)
    if error:
        return render_template("runs/ask.html", sku=sku, scope=scope, **error), 422
    run = start_run(my_organization(), RunType.MANUAL, skus=[sku] if scope == "sku" else None, user=me())
    return redirect(url_for("runs.show", run_id=run.id), 303)


@bp.get("/execucoes/<run_id>")
def show(run_id: str) -> ResponseReturnValue:
    return _page(get_or_404(Run, run_id))


@bp.post("/execucoes/<run_id>/aprovar")
def approve(run_id: str) -> ResponseReturnValue:
    """Let a held run go on; only by who ticked that the drops were looked at."""
    run = get_or_404(Run, run_id)
    if run.status == "held" and request.form.get("confirmed") != "yes":
        return _page(run, is_unconfirmed=True), 422
    return _decided(
        run, guards.approve(run, me()), "Aprovado. Os produtos são planejados de novo, com os saldos de agora."
    )


@bp.post("/execucoes/<run_id>/descartar")
def discard(run_id: str) -> ResponseReturnValue:
    run = get_or_404(Run, run_id)
    return _decided(run, guards.discard(run, me()), "Descartado. Nada foi escrito no Bling.")


def _decided(run: Run, is_decided: bool, text: str) -> ResponseReturnValue:
    """Back to the run, which says who decided what; two people may have pressed at the same moment."""
    if is_decided:
        flash(text, "ok")
    else:
        now = get_or_404(Run, run.id)
        flash(decision_line(now) or "Não há mais o que decidir nesta execução.", "info")
    return redirect(url_for("runs.show", run_id=run.id), 303)


def _page(run: Run, **values: object) -> str:
    items, following = history.items_page(run, after=_after())
    return render_template(
        "runs/show.html", **_progress(run), details=items, following=following, after=_after(), **values
    )


@bp.get("/execucoes/<run_id>/andamento")
def progress(run_id: str) -> ResponseReturnValue:
    """The live part of the page; once the run has ended the fragment asks for nothing more."""
    values = _progress(get_or_404(Run, run_id))
    items, following = history.items_page(values["run"])
    version = values.pop("version")
    return poll("runs/_progress.html", version, {**values, "details": items, "following": following, "after": None})


def _fault(scope: str, sku: str) -> dict[str, str] | None:
    if not StockGroup.select().where(StockGroup.organization == my_organization(), StockGroup.is_active == 1).exists():
        return {"error": NO_RULE}
    if scope == "sku":
        if not sku:
            return {"sku_error": "Digite o SKU do produto."}
        if not Product.select().where(Product.organization == my_organization(), Product.sku == sku).exists():
            return {"sku_error": f"Nenhuma conta tem o SKU “{sku[:60]}”. Maiúsculas e zeros à esquerda contam."}
    return None


def _progress(run: Run) -> dict[str, object]:
    tally = history.tally(run)
    goes_on = any(tally.get(status) for status in ("queued", "running", "retry"))
    # Of a run that is held other rules' part may go on.
    is_open = run.status in overview.OPEN_RUNS or (run.status == "held" and goes_on)
    # What was found to be right leaves no item: it is only counted.
    done = run.unchanged + sum(count for status, count in tally.items() if status not in UNFINISHED)
    return {
        "run": run,
        "origin": history.origin_of(run),
        "tally": tally,
        "is_open": is_open,
        "done": done,
        "held": held_page(run, request.args.get("queda", 1, type=int)),
        "decided": decision_line(run),
        "undone_by": (undone_by := undo_pages.undone_by(run)),
        "undone_words": undo_pages.undone_words(run),
        "can_be_undone": not is_open and undo_pages.can_be_undone(run),
        "version": version_of(
            run.status,
            run.decision,
            run.considered,
            run.unchanged,
            run.total,
            sorted(tally.items()),
            [(one.run.id, one.run.status, one.count) for one in undone_by],
        ),
    }


def _after() -> str | None:
    after = request.args.get("depois", "")
    return after if len(after) == 32 and after.isalnum() else None
