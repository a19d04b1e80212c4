"""Revisão: what Bling did not answer and nobody can tell, put before the merchant, who may know better."""

from __future__ import annotations

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from blueprints.access import me, my_organization
from blueprints.rendering import poll, version_of
from services import review, review_words
from services.doctor import PRODUCT_PAGE

bp = Blueprint("review", __name__, url_prefix="/revisao")

ANSWERS = {"applied": True, "not_applied": False}


@bp.get("")
def index() -> ResponseReturnValue:
    page = _asked_page()
    return render_template("review/index.html", version=_list_version(page), **_list_values(page))


@bp.get("/vivo")
def live() -> ResponseReturnValue:
    """The first page's rows, for the poll."""
    page = _asked_page()
    return poll("review/_list.html", _list_version(page), _list_values(page))


@bp.get("/<write_id>")
def show(write_id: str) -> ResponseReturnValue:
    return _page(_find(write_id))


@bp.get("/<write_id>/vivo")
def live_one(write_id: str) -> ResponseReturnValue:
    """The page's content, for the poll: somebody else, or a late event, may answer while one is reading."""
    dossier = review.dossier_of(_find(write_id))
    return poll("review/_readings.html", _version(dossier), _values(dossier))


@bp.post("/<write_id>")
def decide(write_id: str) -> ResponseReturnValue:
    """Take the answer, of who ticked that it was looked up in Bling."""
    found = _find(write_id)
    answer = request.form.get("reading", "")
    if answer not in ANSWERS:
        abort(400)
    if found.is_waiting and request.form.get("confirmed") != "yes":
        return _page(found, unconfirmed=answer), 422
    if not review.decide(found, ANSWERS[answer], me()):
        flash(f"Nada foi alterado. {review_words.standing_text(_find(write_id))}", "info")
        return redirect(url_for("review.show", write_id=write_id), 303)
    said = "valeu" if ANSWERS[answer] else "não valeu"
    flash(f"Anotado: a escrita em {found.place} {said}. O produto {found.sku} está sendo conferido.", "ok")
    return redirect(url_for("review.index"), 303)


def _find(write_id: str) -> review.Review:
    found = review.find_review(my_organization(), write_id) if _is_id(write_id) else None
    if found is None:
        abort(404)
    return found


def _asked_page() -> review.ReviewPage:
    return review.list_waiting(my_organization(), _sku() or None, _before() or None)


def _sku() -> str:
    # PostgreSQL knows no NUL, and neither does any SKU.
    return request.args.get("sku", "").replace("\0", "").strip()[:200]


def _before() -> str:
    before = request.args.get("antes", "")
    return before if _is_id(before) else ""


def _is_id(text: str) -> bool:
    return len(text) == 32 and text.isalnum()


def _list_values(page: review.ReviewPage) -> dict[str, object]:
    return {"page": page, "sku": _sku(), "before": _before()}


def _list_version(page: review.ReviewPage) -> str:
    return version_of(page.total, page.following, *(one.write.id for one in page.reviews))


def _page(found: review.Review, unconfirmed: str = "") -> str:
    dossier = review.dossier_of(found)
    return render_template(
        "review/show.html", version=_version(dossier), **{**_values(dossier), "unconfirmed": unconfirmed}
    )


def _values(dossier: review.Dossier) -> dict[str, object]:
    return {
        "dossier": dossier,
        "review": dossier.review,
        "words": review_words,
        "product_page": PRODUCT_PAGE.format(dossier.review.write.product.bling_id),
        "unconfirmed": "",
    }


def _version(dossier: review.Dossier) -> str:
    return version_of(
        review_words.standing_text(dossier.review),
        *((one.available, one.offers) for one in (dossier.applied, dossier.not_applied)),
        *((one.at, one.quantity, one.after) for one in dossier.around),
    )
