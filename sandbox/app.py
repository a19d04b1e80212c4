"""The WSGI program around a `Bling`: API, OAuth, control API and pages. No logic."""

from __future__ import annotations

import secrets
from typing import Any

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from .api import create_api
from .bling import Bling
from .control import create_control
from .errors import ApiError, ConnectionCut, not_found, server_error
from .gate import Gate, cut_connection
from .oauth import create_oauth
from .pages import create_pages

POLICY = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'"


def create_app(bling: Bling) -> Flask:
    app = Flask(__name__)
    app.secret_key = secrets.token_hex(16)
    # Cookies do not know ports: another name than that of the program tested beside it on localhost.
    app.config["SESSION_COOKIE_NAME"] = "sandbox_session"
    app.config["MAX_CONTENT_LENGTH"] = 1024 * 1024
    # Without a socket to cut, the caller in the same process must see the ConnectionResetError itself.
    app.config["PROPAGATE_EXCEPTIONS"] = True
    app.register_blueprint(create_api(bling))
    app.register_blueprint(create_oauth(bling))
    app.register_blueprint(create_control(bling))
    app.register_blueprint(create_pages(bling))
    gate = Gate(bling)

    @app.errorhandler(ApiError)
    def refuse(error: ApiError) -> Response:
        return gate.json(error.body(), error.status)

    @app.errorhandler(ConnectionCut)
    def cut(_: ConnectionCut) -> Response:
        cut_connection()
        return Response(status=500)

    @app.errorhandler(HTTPException)
    def fail(error: HTTPException) -> Any:
        if not request.path.startswith("/Api/v3"):
            return error
        if error.code == 405:
            refused = ApiError(
                405,
                "METHOD_NOT_ALLOWED",
                "Método não permitido",
                "Este recurso não aceita o método da requisição.",
            )
            return gate.json(refused.body(), 405)
        problem = not_found("Recurso") if error.code == 404 else server_error()
        return gate.json(problem.body(), problem.status)

    @app.after_request
    def secure(response: Response) -> Response:
        response.headers.setdefault("Content-Security-Policy", POLICY)
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Referrer-Policy", "same-origin")
        return response

    return app
