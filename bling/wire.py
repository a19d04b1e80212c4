"""One request over the wire and what came of it: connections that are kept, time-outs on everything, no retries.

Whether a request left is not guessed from the kind of exception but seen at the socket: `NoAnswer.has_left` is false
exactly when not one byte was handed to a connection.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

_USER_AGENT = "EstoqueUni/1"
# Networks forget connections on which nothing happens.
MAX_IDLE_S = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; `body` is None when it broke off or was too large."""

    status: int
    body: bytes | None
    retry_after_s: float | None


class NoAnswer(Exception):
    """No status line came. `has_left` says whether a byte of the request had left by then."""

    def __init__(self, reason: str, *, has_left: bool) -> None:
        super().__init__(reason)
        self.has_left = has_left


class Wire:
    """Sends single requests to one server; safe to share between threads and accounts."""

    def __init__(
        self,
        base_url: str,
        *,
        connect_timeout_s: float = 3.05,
        read_timeout_s: float = 10.0,
        answer_timeout_s: float = 30.0,
        max_body_bytes: int = 16 * 1024 * 1024,
        max_idle_s: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`read_timeout_s` bounds each silence, `answer_timeout_s` the whole body of an answer.

        A POST goes out on a connection that was used within `max_idle_s` or on a new one: a kept-alive connection that
        the server is just closing would turn a harmless refusal into an unknown outcome.
        """
        self._base_url = base_url.rstrip("/")
        self._timeouts = (connect_timeout_s, read_timeout_s)
        self._answer_timeout_s = answer_timeout_s
        self._max_body_bytes = max_body_bytes
        self._max_idle_s = max_idle_s
        self._monotonic = monotonic
        self._free: list[_Line] = []

    def send(
        self,
        method: str,
        target: str,
        *,
        body: bytes | None = None,
        headers: dict[str, str],
        credentials: tuple[str, str] | None = None,
        note_left: Callable[[], None] = lambda: None,
        leave_by: float | None = None,
    ) -> Answer:
        """Raises NoAnswer. `note_left` is called once: when the first bytes have left, or when they never will.

        After `leave_by`, a moment of the monotonic clock, nothing leaves any more.
        """
        departure = _Departure(note_left, leave_by, self._monotonic)
        line = self._take_line()
        max_idle_s = self._max_idle_s if method == "POST" else MAX_IDLE_S
        if self._monotonic() - line.used_at > max_idle_s:
            line.session.close()  # Drops the kept-alive connection; the session itself stays usable.
        _departures.current = departure
        try:
            response = line.session.request(
                method,
                self._base_url + target,
                data=body,
                headers=headers,
                auth=credentials,
                timeout=self._timeouts,
                allow_redirects=False,
                stream=True,
            )
        except (requests.RequestException, HTTPError, HTTPException, OSError, ValueError) as error:
            # Nobody knows what is still on its way there.
            line.session.close()
            raise NoAnswer(_tell(error), has_left=departure.has_begun) from error
        finally:
            _departures.current = None
            departure.finish()
        with response:
            content = self._body_of(response)
        self._give_back(line)
        return Answer(response.status_code, content, _retry_after_s(response.headers.get("Retry-After")))

    def _body_of(self, response: requests.Response) -> bytes | None:
        deadline = self._monotonic() + self._answer_timeout_s
        content = bytearray()
        try:
            # read1 returns what has come, so that an answer that drips for ever meets the deadline.
            while chunk := response.raw.read1(65536, decode_content=True):
                content += chunk
                if len(content) > self._max_body_bytes or self._monotonic() > deadline:
                    return None
        except (HTTPError, OSError, ValueError):
            return None
        return bytes(content)

    def _take_line(self) -> _Line:
        """The line that was used last, whichever thread used it, or a new one; nobody else has it meanwhile."""
        while self._free:
            try:
                line = self._free.pop()
            except IndexError:  # Another thread was faster.
                break
            # A child process must not share its parent's connections.
            if line.process_id == os.getpid():
                return line
        session = requests.Session()
        session.trust_env = False
        session.headers.update({"Accept": "application/json", "enable-jwt": "1", "User-Agent": _USER_AGENT})
        # A cookie set for one account must not travel with the next account's requests.
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("http://", "https://"):
            session.mount(scheme, _WatchedAdapter())
        return _Line(session, os.getpid(), self._monotonic())

    def _give_back(self, line: _Line) -> None:
        line.used_at = self._monotonic()
        self._free.append(line)


@dataclass(slots=True)
class _Line:
    """A session that keeps one connection open, for one request at a time."""

    session: requests.Session
    process_id: int
    used_at: float


class _Departure:
    """Follows one request out of the door."""

    def __init__(self, note_left: Callable[[], None], leave_by: float | None, monotonic: Callable[[], float]) -> None:
        self.has_begun = False
        self._note_left = note_left
        self._is_noted = False
        self._leave_by = leave_by
        self._monotonic = monotonic

    def begin(self) -> None:
        if self._leave_by is not None and self._monotonic() > self._leave_by:
            raise TimeoutError("it was too late for the request to leave")
        self.has_begun = True

    def finish(self) -> None:
        if not self._is_noted:
            self._is_noted = True
            self._note_left()


class _Departures(threading.local):
    """The departure of the request that this thread is sending right now."""

    current: _Departure | None = None


_departures = _Departures()


class _WatchedConnection(HTTPConnection):
    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        departure = _departures.current
        if departure:
            departure.begin()
        super().send(data)
        if departure:
            departure.finish()


class _WatchedTLSConnection(HTTPSConnection):
    send = _WatchedConnection.send


class _WatchedPool(HTTPConnectionPool):
    ConnectionCls = _WatchedConnection


class _WatchedTLSPool(HTTPSConnectionPool):
    ConnectionCls = _WatchedTLSConnection


class _WatchedAdapter(HTTPAdapter):
    def __init__(self) -> None:
        super().__init__(pool_connections=2, pool_maxsize=1, max_retries=0)
        self.poolmanager.pool_classes_by_scheme = {"http": _WatchedPool, "https": _WatchedTLSPool}


def _retry_after_s(header: str | None) -> float | None:
    """The seconds of a Retry-After header; its other form, a date, would need Bling's clock to agree with ours."""
    if header is None or not header.strip().isdecimal() or len(header) > 6:
        return None
    return float(header)


def _tell(error: BaseException) -> str:
    """The innermost reason: the outer ones repeat the URL."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return f"{type(error).__name__}: {error}"
