"""For routers and monitors: alive, ready, and figures. No secrets, nothing about a merchant."""

from __future__ import annotations

import hmac

from flask import Blueprint, Response, current_app, jsonify, request

from blueprints.access import for_machines
from db import without_database
from services.health import figures, readiness

bp = Blueprint("health", __name__)


@bp.get("/healthz")
@without_database
@for_machines
def alive() -> Response:
    return jsonify(status="ok")


@bp.get("/readyz")
@without_database
@for_machines
def ready() -> tuple[Response, int]:
    """Each part by name; 503 when one of them is not there."""
    parts = readiness()
    return jsonify(ready=all(parts.values()), **parts), 200 if all(parts.values()) else 503


@bp.get("/metrics")
@for_machines
def metrics() -> Response:
    """Prometheus text for whoever carries METRICS_TOKEN; without that setting there is nothing here."""
    token = current_app.config.get("METRICS_TOKEN")
    given = request.headers.get("Authorization", "")
    if not token or not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
        return Response("unauthorized\n", status=401, mimetype="text/plain")
    lines: list[str] = []
    for name, (words, value) in figures().items():
        lines += [f"# HELP estoqueuni_{name} {words}", f"# TYPE estoqueuni_{name} gauge", f"estoqueuni_{name} {value}"]
    return Response("\n".join(lines) + "\n", mimetype="text/plain; version=0.0.4")
