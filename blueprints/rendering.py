"""What templates may use besides their arguments: the glossary, the formats, and static files that never go stale."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from flask import Flask, Response, make_response, render_template, request
from flask.typing import ResponseReturnValue

from blueprints.access import my_organization
from services import held, labels, overview
from services.derivation_words import outcome_text

A_YEAR = "public, max-age=31536000, immutable"
THEMES = ("claro", "escuro")


def init_app(app: Flask) -> None:
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters.update(labels.FILTERS)
    app.jinja_env.globals.update(
        label=labels.label,
        header_state=header_state,
        theme=theme,
        held_line=held.held_line,
        GLOSSARIES=labels.GLOSSARIES,
        outcome_text=outcome_text,
    )
    folder = Path(app.static_folder or "static")

    @app.url_defaults
    def add_version(endpoint: str, values: dict[str, Any]) -> None:
        if endpoint == "static" and "filename" in values:
            values["v"] = _digest(folder / values["filename"])

    @app.after_request
    def keep_static_files(response: Response) -> Response:
        # The digest in the address changes with the content, so a copy with a digest is good for ever.
        if request.endpoint == "static" and "v" in request.args and response.status_code == 200:
            response.headers["Cache-Control"] = A_YEAR
        return response


def header_state() -> overview.Header:
    """The one-line state that stands at the top of every page."""
    return overview.header(my_organization())


def theme() -> str | None:
    """The theme this browser chose; None leaves it to the system."""
    chosen = request.cookies.get("tema")
    return chosen if chosen in THEMES else None


def poll(template: str, version: str, values: Mapping[str, Any], *, status: int = 200) -> ResponseReturnValue:
    """The answer to a poll: 304 while the version is the one that the page already shows.

    The version is a digest of what is shown, so that a fragment is sent exactly when it would look different.
    """
    if request.headers.get("HX-PTag") == version:
        return Response(status=304)
    response = make_response(render_template(template, version=version, **values), status)
    response.headers["HX-PTag"] = version
    response.headers["Vary"] = "HX-Request-Type"
    return response


def version_of(*parts: object) -> str:
    """A short digest of what a fragment shows."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


@cache
def _digest(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    except OSError:
        return None
