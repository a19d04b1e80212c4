"""Starting a synchronization, and watching one."""

from __future__ import annotations

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from blueprints.access import get_or_404, me, my_organization
from blueprints.rendering import poll, version_of
from models import Product, Run, RunType, StockGroup
from services import history, overview
from services.runs import start_run

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
    run = get_or_404(Run, run_id)
    items, following = history.items_page(run, after=_after())
    return render_template("runs/show.html", **_progress(run), details=items, following=following, after=_after())


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
    is_open = run.status in overview.OPEN_RUNS
    # What was found to be right leaves no item: it is only counted.
    done = run.unchanged + sum(count for status, count in tally.items() if status not in ("queued", "running", "retry"))
    return {
        "run": run,
        "origin": history.origin_of(run),
        "tally": tally,
        "is_open": is_open,
        "done": done,
        "version": version_of(run.status, run.considered, run.unchanged, run.total, sorted(tally.items())),
    }


def _after() -> str | None:
    after = request.args.get("depois", "")
    return after if len(after) == 32 and after.isalnum() else None
