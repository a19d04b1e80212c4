"""The history of synchronizations. Its filters stand in the address, so that a view can be kept and shared."""

from __future__ import annotations

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from blueprints.access import get_or_404, my_organization
from blueprints.rendering import poll, version_of
from models import Account, Run
from services import history, labels

bp = Blueprint("history", __name__, url_prefix="/historico")


@bp.get("")
def index() -> ResponseReturnValue:
    filters = history.Filters.from_query(request.args)
    before = _cursor()
    page = history.list_runs(my_organization(), filters, before)
    return render_template(
        "history/index.html",
        filters=filters,
        page=page,
        before=before,
        version=_version(page),
        types=[(code, labels.RUN_TYPES[code].text) for code in history.TYPES],
        situations=[(code, history.situation_name(code)) for code in history.SITUATIONS],
        accounts=_accounts(),
        origin_of=history.origin_of,
    )


@bp.get("/vivo")
def live() -> ResponseReturnValue:
    """The first page's rows, for the poll: an open line stays open, because the browser morphs."""
    filters = history.Filters.from_query(request.args)
    page = history.list_runs(my_organization(), filters)
    values = {"filters": filters, "page": page, "before": None, "origin_of": history.origin_of}
    return poll("history/_rows.html", _version(page), values)


@bp.get("/<run_id>/detalhes")
def details(run_id: str) -> ResponseReturnValue:
    """What a line unfolds to; without htmx the same link leads to the page of the run."""
    run = get_or_404(Run, run_id)
    items, following = history.items_page(run, limit=20)
    return render_template("history/_details.html", run=run, details=items, following=following)


def _cursor() -> str | None:
    before = request.args.get("antes", "")
    return before if len(before) == 32 and before.isalnum() else None


def _version(page: history.Page) -> str:
    return version_of(*(row.version for row in page.rows), page.following)


def _accounts() -> list[tuple[str, str]]:
    accounts = Account.select().where(Account.organization == my_organization()).order_by(Account.name)
    return [(account.key, account.name) for account in accounts]
