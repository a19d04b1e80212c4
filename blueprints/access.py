"""Who may do what. Everything is closed unless it says otherwise:

- a view without @public or @for_machines is for people who signed in;
- a reader may look at everything and change nothing, unless the view says @readers_may;
- every form carries a CSRF token; only @for_machines views (webhooks, health, metrics) do without;
- `get_or_404` finds rows of one's own organization only; anybody else's do not exist.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

from flask import Flask, Response, abort, current_app, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_login import LoginManager, UserMixin, current_user
from flask_wtf.csrf import CSRFError, CSRFProtect
from peewee import Model
from redis.backoff import NoBackoff
from redis.retry import Retry

from config import Config
from models import Organization, Role, User

View = TypeVar("View", bound=Callable[..., Any])
Row = TypeVar("Row", bound=Model)

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

csrf = CSRFProtect()
login_manager = LoginManager()
# Redis may be away: then each web process counts for itself, which is less strict but never locks anybody out.
limiter = Limiter(key_func=get_remote_address, in_memory_fallback_enabled=True)


class SignedInUser(UserMixin, User):  # type: ignore[misc]
    """A user as Flask-Login wants it. The session dies when session_version moves on, as on a change of password."""

    class Meta:
        table_name = "users"

    def get_id(self) -> str:
        return f"{self.id}:{self.session_version}"


def public(view: View) -> View:
    """Marks a page that people see before they sign in."""
    view.__dict__["is_public"] = True
    return view


def for_machines(view: View) -> View:
    """Marks a view that programs call: no session, no CSRF token. It has to know its callers by other means."""
    view.__dict__["is_public"] = True
    csrf.exempt(view)
    return view


def readers_may(view: View) -> View:
    """Marks a view whose POST changes nothing of the merchant's, so that a reader may send it too."""
    view.__dict__["readers_may"] = True
    return view


def roles_required(*roles: Role) -> Callable[[View], View]:
    """Only these roles may open the view; the others get 403."""

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            if current_user.role not in roles:
                abort(403)
            return view(*args, **kwargs)

        return cast(View, guarded)

    return decorate


def may_change() -> bool:
    """Whether the person at the screen may change anything; templates hide what would only be refused."""
    return bool(current_user.is_authenticated) and current_user.role != Role.READER


def my_organization() -> Organization:
    return cast(Organization, current_user.organization)


def me() -> User:
    """The signed-in user as a plain object, for services."""
    return cast(User, current_user._get_current_object())


def get_or_404(model: type[Row], row_id: str) -> Row:
    """The row with this id in the organization of the person at the screen; 404 if there is none."""
    row = model.get_or_none((model.id == row_id) & (model.organization == my_organization()))  # type: ignore[attr-defined]
    if row is None:
        abort(404)
    return cast(Row, row)


def is_partial() -> bool:
    """Whether htmx asks for a fragment: a reload or the Back button asks for the same address and wants the page."""
    return request.headers.get("HX-Request-Type") == "partial"


def safe_return(target: str | None) -> str | None:
    """The path to return to, if it is one of ours; None for anything that could lead elsewhere."""
    if not target or not target.startswith("/") or target.startswith("//") or "\\" in target:
        return None
    if any(ord(character) < 32 for character in target):
        return None
    parts = urlsplit(target)
    return target if not parts.scheme and not parts.netloc else None


def init_app(app: Flask, config: Config) -> None:
    app.config.update(
        WTF_CSRF_TIME_LIMIT=None,  # The token lives as long as the session.
        # An address without TLS sends no Referer to compare on http; Flask-WTF checks it on https only.
        WTF_CSRF_SSL_STRICT=True,
        RATELIMIT_STORAGE_URI=_limits_address(config.redis_url),
        RATELIMIT_STORAGE_OPTIONS={
            "socket_connect_timeout": 1,
            "socket_timeout": 1,
            "retry": Retry(NoBackoff(), 0),
        },
        RATELIMIT_KEY_PREFIX="estoqueuni",
        RATELIMIT_HEADERS_ENABLED=False,
    )
    csrf.init_app(app)
    limiter.init_app(app)
    # Its own context processor would load the user for every template, the error page of a lost database included.
    login_manager.init_app(app, add_context_processor=False)
    app.before_request(_require_access)
    app.register_error_handler(CSRFError, _csrf_page)
    app.jinja_env.globals.update(current_user=current_user, may_change=may_change)


@login_manager.user_loader
def _load_user(session_id: str) -> SignedInUser | None:
    user_id, _, version = session_id.partition(":")
    user = (
        SignedInUser.select(SignedInUser, Organization)
        .join(Organization)
        .where(SignedInUser.id == user_id)
        .get_or_none()
    )
    return user if user is not None and str(user.session_version) == version else None


def _require_access() -> ResponseReturnValue | None:
    view = current_app.view_functions.get(request.endpoint or "")
    if view is None or request.endpoint == "static" or getattr(view, "is_public", False):
        return None
    if not current_user.is_authenticated:
        return _to_sign_in()
    if (
        request.method not in SAFE_METHODS
        and current_user.role == Role.READER
        and not getattr(view, "readers_may", False)
    ):
        abort(403)
    return None


def _to_sign_in() -> ResponseReturnValue:
    # After signing in one returns to the page, not to the fragment or the form that was being sent.
    page = request.full_path.rstrip("?") if request.method == "GET" and not is_partial() else None
    if is_partial():
        shown = urlsplit(request.headers.get("HX-Current-URL", ""))
        page = safe_return(f"{shown.path}?{shown.query}" if shown.query else shown.path)
        return Response(status=401, headers={"HX-Redirect": url_for("auth.sign_in", volta=page)})
    return Response(status=302, headers={"Location": url_for("auth.sign_in", volta=None if page == "/" else page)})


def _csrf_page(error: CSRFError) -> ResponseReturnValue:
    current_app.logger.info("Refused a form without a valid CSRF token: %s", error.description)
    # A session that ended takes its token with it: that is the ordinary way to get here.
    session_ended = not session
    return (
        render_template(
            "errors/error.html",
            code=400,
            title="O formulário venceu" if session_ended else "Não deu para confirmar que o pedido veio desta tela",
            advice="Nada foi alterado. Volte à página anterior, atualize-a e envie de novo.",
        ),
        400,
    )


def _limits_address(redis_url: str) -> str:
    return f"redis+{redis_url}" if redis_url.startswith("unix:") else redis_url
