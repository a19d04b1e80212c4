"""Bling's webhooks: raw body, signature, one row, answer. Nothing here waits for Bling, Redis or a worker."""

from __future__ import annotations

import logging

from flask import Blueprint, Response, abort, request
from peewee import PeeweeException

from blueprints.access import for_machines
from services.intake import Intake, accept_event, wake_workers

bp = Blueprint("webhooks", __name__, url_prefix="/webhooks")
log = logging.getLogger(__name__)

SIGNATURE_HEADER = "X-Bling-Signature-256"


@bp.post("/bling")
@bp.post("/bling/<webhook_key>")
@for_machines
def receive(webhook_key: str | None = None) -> Response:
    """Store one event. 200 also for what was stored before, is of an unknown kind or cannot be read; 503 only when
    it could not be stored, so that Bling tries again."""
    body = _whole_body()
    try:
        accepted = accept_event(webhook_key, request.headers.get(SIGNATURE_HEADER), body)
    except PeeweeException as error:
        log.error("An event could not be stored: %s", type(error).__name__)
        return _answer("unavailable", 503)
    if accepted.intake is Intake.FORGED:
        return _answer("bad signature", 401)
    response = _answer(accepted.intake, 200)
    if accepted.wake is not None:
        organization_id = accepted.wake
        # After the answer has left: a Redis that hangs is not Bling's business.
        response.call_on_close(lambda: wake_workers(organization_id))
    return response


def _whole_body() -> bytes:
    body = request.get_data(cache=False)
    limit = request.max_content_length
    # Of a chunked body, whose length nobody declared, Werkzeug hands over what fits and says nothing of the rest.
    is_cut = limit is not None and request.content_length is None and len(body) >= limit
    if is_cut and request.environ["wsgi.input"].read(1):
        abort(413)
    return body


def _answer(text: str, status: int) -> Response:
    return Response(text, status=status, mimetype="text/plain")
