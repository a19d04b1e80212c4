"""The web program, put together: settings, database, pages, commands. No logic lives here."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from urllib.parse import urlsplit

from flask import Flask, Response, current_app, render_template, request
from werkzeug.exceptions import BadRequest, HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix

import cli
import db
import logs
import queues
from blueprints import BLUEPRINTS, access, rendering
from config import Config, activate

MAX_BODY_BYTES = 1024 * 1024

# What a person reads when something went wrong: a title, and what can be done about it.
ERROR_TEXTS = {
    400: ("Não entendemos o pedido", "Volte à página anterior, atualize-a e tente de novo."),
    401: ("É preciso entrar", "Entre com o seu e-mail e a sua senha."),
    403: ("Sem permissão", "O seu usuário não pode ver esta página ou fazer isto. Fale com quem administra a conta."),
    404: ("Página não encontrada", "O endereço está errado, ou o que havia aqui não existe mais."),
    405: ("Ação não permitida", "Volte à página anterior e tente de novo por ela."),
    413: ("Conteúdo grande demais", "O que foi enviado passa do tamanho aceito."),
    429: ("Muitas tentativas", "Espere alguns minutos e tente de novo."),
    500: ("Algo deu errado aqui", "O erro foi registrado. Nenhum dado de estoque se perde com isso; tente de novo."),
    503: ("Indisponível no momento", "O banco de dados não está respondendo. Tente de novo em instantes."),
}


def create_app(config: Config | None = None) -> Flask:
    config = activate(config or Config.from_env())
    logs.configure(config.log_level)
    app = Flask(__name__)
    app.config.from_mapping(_settings(config))
    # The host's router is the one hop whose word about the visitor's address is taken.
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1)  # type: ignore[method-assign]

    # One connection per thread, and one to spare for a thread that a request starts.
    db.init_database(config.database_url, max_connections=config.web_threads + 1)
    db.init_app(app)
    queues.init_queues(config.redis_url)
    access.init_app(app, config)
    rendering.init_app(app)
    _register_blueprints(app)
    cli.init_app(app)
    app.register_error_handler(HTTPException, _error_page)
    app.register_error_handler(db.UNFIT, _unfit_page)
    app.after_request(_security_headers(config))
    return app


def _settings(config: Config) -> dict[str, object]:
    return {
        "SECRET_KEY": config.secret_key,
        "METRICS_TOKEN": config.metrics_token,
        "MAX_CONTENT_LENGTH": MAX_BODY_BYTES,
        "SESSION_COOKIE_NAME": "__Host-session" if config.is_https else "session",
        "SESSION_COOKIE_SECURE": config.is_https,
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "PERMANENT_SESSION_LIFETIME": timedelta(days=14),
    }


def _register_blueprints(app: Flask) -> None:
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)


def _error_page(error: HTTPException) -> Response | HTTPException:
    if error.response is not None:
        return error  # An answer made on purpose.
    code = error.code or 500
    title, advice = ERROR_TEXTS.get(code, ERROR_TEXTS[400 if code < 500 else 500])
    page = Response(render_template("errors/error.html", code=code, title=title, advice=advice), status=code)
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            page.headers.add(name, value)
    return page


def _unfit_page(error: Exception) -> Response | HTTPException:
    """What no database takes, a NUL in an address say, is a pointless request and no fault of ours."""
    current_app.logger.info("Refused what the database does not take: %s", type(error.__cause__ or error).__name__)
    return _error_page(BadRequest())


def _security_headers(config: Config) -> Callable[[Response], Response]:
    authorize = urlsplit(config.bling_authorize_url)
    policy = "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data:",
            "font-src 'self'",
            "connect-src 'self'",
            "manifest-src 'self'",
            # A form that leads to Bling's consent page is redirected there, which browsers count as its action.
            f"form-action 'self' {authorize.scheme}://{authorize.netloc}",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    )

    def add_headers(response: Response) -> Response:
        headers = response.headers
        headers.setdefault("Content-Security-Policy", policy)
        headers.setdefault("X-Content-Type-Options", "nosniff")
        headers.setdefault("Referrer-Policy", "same-origin")
        headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
        if config.is_https:
            headers.setdefault("Strict-Transport-Security", "max-age=31536000")
        if request.endpoint != "static":
            headers.setdefault("Cache-Control", "no-store")
        return response

    return add_headers
