"""What every API call passes before and after its view: block, token, scope, quota, faults, log.

The order is fixed, so that a seeded simulation draws the same faults each time.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

from flask import Response, g, request

from . import wire
from .bling import Bling
from .errors import ApiError, ConnectionCut, forbidden, server_error, too_many, unauthorized
from .faults import Switch
from .grants import Bearer, is_token_like

#: A view gets the account and returns the JSON body, with its status when that is not 200.
View = Callable[..., Any]
NO_STORE = {"Cache-Control": "no-store"}


class Gate:
    def __init__(self, bling: Bling) -> None:
        self._bling = bling

    def api(self, scope: str, view: View, **arguments: Any) -> Response:
        """Answer one call of /Api/v3."""
        with self.logged():
            bearer = self._admit(scope)
            account = bearer.account.key
            is_write = request.method == "POST"
            self._strike_before(account, is_write)
            g.stale_s = self._strike_stale(account) if not is_write else 0.0
            after = [
                (kind, self._hit(kind, account))
                for kind in ("slow_after", "error_500_after", "cut_after")
                if is_write or kind == "slow_after"
            ]
            body, status = _with_status(view(bearer.account, bearer, **arguments))
            self._strike_after(after)
            g.status = status
            return self.json(body, status)

    def json(self, body: Any, status: int = 200) -> Response:
        noisy = self._bling.settings.float_noise
        text = wire.dump(body, noisy)
        return Response(text, status, NO_STORE, mimetype="application/json")

    @contextlib.contextmanager
    def logged(self) -> Any:
        """Note the request and its outcome; `g` carries account, client id and fault."""
        started_at, clock = self._bling.world.now(), time.monotonic()
        g.account, g.client_id, g.fault, g.error, g.status = None, None, "", "", 200
        try:
            yield
        except ApiError as error:
            g.status, g.error = error.status, f"{error.type}: {error.description}"
            self._bling.limits.count_error(_ip(), started_at)
            raise
        except ConnectionCut:
            g.status = 0
            raise
        except Exception as error:
            g.status, g.error = 500, type(error).__name__
            raise
        finally:
            self._bling.log_request(
                at=started_at,
                method=request.method,
                path=request.path,
                query=request.query_string.decode("ascii", "replace")[:2000],
                account=g.account,
                client_id=g.client_id,
                status=g.status,
                ms=int((time.monotonic() - clock) * 1000),
                fault=g.fault,
                error=g.error,
                body=request.get_data(as_text=True)[:500] if request.path.endswith("estoques") else "",
            )

    def _admit(self, scope: str) -> Bearer:
        bling = self._bling
        now = bling.world.now()
        bling.limits.admit_visitor(_ip(), now, is_token_call=False)
        bearer = self._bearer()
        account = bearer.account.key
        g.account, g.client_id = account, bearer.app.client_id
        if self._hit("unauthorized", account):
            raise unauthorized("UNAUTHORIZED", "O token de acesso foi recusado.")
        if self._hit("forbidden", account):
            raise forbidden("FORBIDDEN", "O usuário não tem permissão para este recurso.")
        if scope not in bearer.app.scopes:
            raise forbidden(
                "insufficient_scope",
                "The request requires higher privileges than provided by the access token",
            )
        if self._hit("rate_limited", account):
            raise too_many("O limite de requisições por segundo foi atingido, tente novamente mais tarde.")
        bling.limits.admit(account, now)
        return bearer

    def _bearer(self) -> Bearer:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise unauthorized("UNAUTHORIZED", "O token de acesso não foi informado.")
        if (
            is_token_like(token)
            and self._bling.settings.require_enable_jwt
            and request.headers.get("enable-jwt") != "1"
        ):
            raise unauthorized("invalid_token", "A JWT needs the header enable-jwt: 1")
        bearer = self._bling.grants.bearer(token.strip())
        if bearer is None:
            raise unauthorized("invalid_token", "The access token provided is invalid or has expired")
        return bearer

    def _hit(self, kind: str, account: str) -> Switch | None:
        switch = self._bling.faults.hit(kind, account)
        if switch is not None:
            g.fault = f"{g.fault} {kind}".strip()
        return switch

    def _strike_before(self, account: str, is_write: bool) -> None:
        if slow := self._hit("slow", account):
            self._bling.sleep(slow.seconds)
        if self._hit("error_500", account):
            raise server_error()
        if self._hit("cut_before" if is_write else "cut_read", account):
            raise ConnectionCut

    def _strike_stale(self, account: str) -> float:
        stale = self._hit("stale", account) if "/saldos" in request.path else None
        return stale.seconds if stale else 0.0

    def _strike_after(self, after: list[tuple[str, Switch | None]]) -> None:
        for kind, switch in after:
            if switch is None:
                continue
            if kind == "slow_after":
                self._bling.sleep(switch.seconds)
            elif kind == "error_500_after":
                raise server_error()
            else:
                raise ConnectionCut


def cut_connection() -> None:
    """Really cut the client's socket; without one (a test client) the caller gets ConnectionResetError."""
    sock = request.environ.get("werkzeug.socket") or request.environ.get("gunicorn.socket")
    if not isinstance(sock, socket.socket):
        raise ConnectionResetError("the sandbox cut the connection")
    with contextlib.suppress(OSError):
        # With a linger of zero the closing resets the connection instead of ending it politely.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.shutdown(socket.SHUT_RDWR)


def _ip() -> str:
    return request.remote_addr or "local"


def _with_status(answer: Any) -> tuple[Any, int]:
    return answer if isinstance(answer, tuple) else (answer, 200)
