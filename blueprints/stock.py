"""The stock of one SKU and why it is what it is, and the search that leads there."""

from __future__ import annotations

from flask import Blueprint, abort, render_template, request
from flask.typing import ResponseReturnValue

from blueprints.access import my_organization
from blueprints.rendering import poll, version_of
from blueprints.sku_address import SkuConverter
from services import derivation_words as words
from services.derivations import Derivation, derive
from services.history import origin_of
from services.review import count_waiting
from services.stock_list import list_stock
from services.timeline import TimelinePage, timeline

bp = Blueprint("stock", __name__)


@bp.record_once
def _learn_skus(state) -> None:  # type: ignore[no-untyped-def]
    state.app.url_map.converters["sku"] = SkuConverter


@bp.get("/estoque")
def index() -> ResponseReturnValue:
    text = request.args.get("q", "").strip()[:200]
    after = _cursor("depois")
    return render_template("stock/index.html", text=text, after=after, page=list_stock(my_organization(), text, after))


@bp.get("/estoque/<sku:sku>")
def show(sku: str) -> ResponseReturnValue:
    before = _cursor("antes")
    derivation, page = _found(sku, before)
    return render_template(
        "stock/show.html", before=before, version=_version(derivation, page), **_values(derivation, page)
    )


@bp.get("/vivo/estoque/<sku:sku>")
def live(sku: str) -> ResponseReturnValue:
    """The page's content, for the poll."""
    derivation, page = _found(sku, None)
    return poll("stock/_why.html", _version(derivation, page), {"before": None, **_values(derivation, page)})


def _found(sku: str, before: str | None) -> tuple[Derivation, TimelinePage]:
    derivation = derive(my_organization(), sku)
    if derivation is None:
        abort(404)
    return derivation, timeline(my_organization(), sku, derivation.cell_ids, before)


def _values(derivation: Derivation, page: TimelinePage) -> dict[str, object]:
    return {
        "derivation": derivation,
        "page": page,
        "words": words,
        "origin_of": origin_of,
        "in_review": count_waiting(my_organization(), derivation.sku),
    }


def _version(derivation: Derivation, page: TimelinePage) -> str:
    cells = [cell.row for pool in derivation.pools for cell in pool.cells]
    return version_of(
        words.headline(derivation),
        derivation.due_at,
        *((p.group.name, p.group.is_active, p.problem, p.available, p.terms, p.start) for p in derivation.pools),
        *((t.place, t.figures, t.steps, t.shown, t.missing) for p in derivation.pools for t in p.targets),
        *(words.gap_text(gap) for p in derivation.pools for t in p.targets for gap in t.gaps),
        *((c.id, c.accounted, c.reserved, c.read_at, c.problem, c.put_off, c.doubt) for c in cells),
        *((entry.id, entry.row.state if entry.kind != "movement" else None) for entry in page.entries),
        *(entry.row.evidence for entry in page.entries if entry.kind == "write"),
        count_waiting(my_organization(), derivation.sku),
    )


def _cursor(name: str) -> str | None:
    value = request.args.get(name, "")
    return value if len(value) == 32 and value.isalnum() else None
