"""Calls to the sandbox without a socket: the real client and transport above, the sandbox's real API below.

A strand stops before its request arrives and again before it gets the answer; what happens to the request in between
is drawn when it arrives.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

from bling.errors import AuthExpired
from bling.pacing import Urgency
from bling.transport import Transport
from bling.wire import Answer, NoAnswer
from core.values import Tokens
from sandbox import Bling, create_app
from tests.stateful.simulation.loom import Loom

READ_TIMEOUT_S = 10.0
API = "/Api/v3"
GARBAGE = b"<html><body>Em manuten\xc3\xa7\xc3\xa3o</body></html>"
#: What an account that is down does with a request. The last three leave it open what became of a write.
DOWN = ("refused", "unauthorized", "rate_limited", "forbidden", "error_500", "hangs", "garbage")
DOUBTFUL = ("error_500", "hangs", "garbage")


class DirectWire:
    """Takes the place of bling.wire.Wire. `down`: account key to what is the matter with it."""

    def __init__(self, bling: Bling, loom: Loom, see: Callable[[Request], None]) -> None:
        self._app = create_app(bling)
        self._bling = bling
        self._loom = loom
        self._see = see
        self.down: dict[str, str] = {}
        self.accounts: dict[str, str] = {}

    def send(
        self,
        method: str,
        target: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str],
        credentials: tuple[str, str] | None = None,
        note_left: Callable[[], None] = lambda: None,
        leave_by: float | None = None,
    ) -> Answer:
        request = Request(method, target, body or b"", self.accounts[headers["Authorization"]])
        self._loom.park(f"{method} out")
        if leave_by is not None and self._loom.clock.monotonic() > leave_by:
            raise NoAnswer("TimeoutError: it was too late for the request to leave", has_left=False)
        try:
            answer = self._arrive(request, headers)
        finally:
            note_left()
        self._loom.park(f"{method} back")
        if answer is None:
            raise NoAnswer("ConnectionResetError: cut", has_left=True)
        return answer

    def _arrive(self, request: Request, headers: Mapping[str, str]) -> Answer | None:
        trouble = self.down.get(request.account)
        if trouble == "refused" or (trouble in DOUBTFUL and request.is_write):
            self._note(request, "refused")
            raise NoAnswer("ConnectionRefusedError: refused", has_left=False)
        if trouble == "hangs":
            self._note(request, "hangs")
            self._loom.sleep(READ_TIMEOUT_S)
            return None
        if trouble == "garbage":
            self._note(request, "garbage")
            return Answer(200, GARBAGE, None)
        status, content = self._call(request, headers)
        self._note(request, str(status) if status else "cut")
        return Answer(status, content, None) if status else None

    def _note(self, request: Request, outcome: str) -> None:
        request.outcome = outcome
        self._see(request)

    def _call(self, request: Request, headers: Mapping[str, str]) -> tuple[int, bytes]:
        path, _, query = request.target.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": request.method,
            "PATH_INFO": API + path,
            "QUERY_STRING": query,
            "SERVER_NAME": "bling",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "SCRIPT_NAME": "",
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(request.body),
            "CONTENT_LENGTH": str(len(request.body)),
            "CONTENT_TYPE": headers.get("Content-Type", ""),
            "HTTP_AUTHORIZATION": headers["Authorization"],
            "HTTP_ENABLE_JWT": "1",
        }
        started: list[str] = []
        try:
            content = b"".join(self._app(environ, lambda status, _headers, _error=None: started.append(status)))
        except ConnectionResetError:
            return 0, b""
        return int(started[0][:3]), content


class Request:
    """One call as the world sees it. `outcome`: the status it was answered with, or what else became of it."""

    __slots__ = ("account", "body", "method", "outcome", "target")

    def __init__(self, method: str, target: str, body: bytes, account: str) -> None:
        self.method, self.target, self.body, self.account = method, target, body, account
        self.outcome = ""

    @property
    def is_write(self) -> bool:
        return self.method == "POST"


class DirectTransport(Transport):
    """The real one on a wire without a socket."""

    def __init__(self, wire: DirectWire, loom: Loom, jitter: Callable[[], float]) -> None:
        super().__init__(
            "http://bling", retry_budget_s=8.0, sleep=loom.sleep, monotonic=loom.clock.monotonic, jitter=jitter
        )
        self._wire = wire  # type: ignore[assignment]


class Turns:
    """Takes the place of the pacer: every request may leave at once, but not before others had their chance."""

    def __init__(self, loom: Loom) -> None:
        self._loom = loom

    def wait_turn(self, _account_id: str, _urgency: Urgency) -> str:
        self._loom.park("turn")
        return ""

    def note_left(self, account_id: str, ticket: str) -> None:
        """Nobody counts."""

    def note_answered(self, account_id: str, ticket: str, took_s: float) -> None:
        """Nobody counts."""

    def hold(self, account_id: str, seconds: float) -> None:
        """Nobody counts."""

    def requests_today(self, _account_id: str) -> int | None:
        return None


class FixedTokens:
    """Takes the place of bling.tokens.TokenSource: one token for each account, which is good or is not."""

    def __init__(self, tokens: Mapping[str, Tokens], account_id: str) -> None:
        self._token = tokens[account_id].access_token

    def access_token(self) -> str:
        return self._token

    def token_refused(self, access_token: str) -> str:
        raise AuthExpired("token refresh", "refused, and it is too early for another refresh", status=401)
