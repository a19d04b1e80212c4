"""A server that answers what a test tells it to, in that order, over real sockets, and judges every API request."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.bling import openapi

PREFIX = "/Api/v3"


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: bytes
    connection: int
    at: float

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.query if key == name]

    @property
    def ids(self) -> list[int]:
        return list(map(int, self.values("idsProdutos[]")))

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Step = Callable[["_Handler", Request], None]


@dataclass
class Recorder:
    url: str = ""
    requests: list[Request] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    _steps: list[Step] = field(default_factory=list)
    _default: Step | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def will(self, *steps: Step) -> None:
        self._steps.extend(steps)

    def always(self, step: Step) -> None:
        self._default = step

    def assert_all_said(self) -> None:
        assert self.faults == []
        assert self._steps == [], "answers that nobody asked for"

    def take(self, request: Request) -> Step:
        with self._lock:
            self.requests.append(request)
            if not request.path.startswith("/oauth/"):
                try:
                    openapi.check_request(request.method, request.path, request.query, request.body)
                except AssertionError as fault:
                    self.faults.append(str(fault))
            if self._steps:
                return self._steps.pop(0)
            if self._default is None:
                self.faults.append(f"unexpected {request.method} {request.path}")
                return reply(500, {})
            return self._default


def reply(status: int, payload: object = None, **headers: str) -> Step:
    return raw(status, b"" if payload is None else json.dumps(payload).encode(), **headers)


def raw(status: int, body: bytes, **headers: str) -> Step:
    def answer(handler: _Handler, request: Request) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def error(status: int, type_: str = "UNKNOWN_ERROR", description: str = "", **headers: str) -> Step:
    return reply(status, {"error": {"type": type_, "message": "", "description": description}}, **headers)


def cut(handler: _Handler, request: Request) -> None:
    """The request was received; the connection is reset before a byte of the answer."""
    handler.reset()


def truncated(status: int, body: bytes) -> Step:
    """The status line and half of the body, then a reset."""

    def answer(handler: _Handler, request: Request) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(2 * len(body)))
        handler.end_headers()
        handler.wfile.write(body)
        handler.wfile.flush()
        handler.reset()

    return answer


def dripping(pause_s: float, times: int) -> Step:
    """A body that never quite ends: one blank every `pause_s`."""

    def answer(handler: _Handler, request: Request) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(times))
        handler.end_headers()
        try:
            for _ in range(times):
                handler.wfile.write(b" ")
                handler.wfile.flush()
                time.sleep(pause_s)
        except OSError:
            handler.close_connection = True

    return answer


def after(event: threading.Event, step: Step) -> Step:
    def answer(handler: _Handler, request: Request) -> None:
        event.wait(10)
        try:
            step(handler, request)
        except OSError:
            handler.close_connection = True

    return answer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    recorder: Recorder

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        request = Request(
            method=self.command,
            path=parts.path.removeprefix(PREFIX),
            query=parse_qsl(parts.query, keep_blank_values=True),
            headers=dict(self.headers.items()),
            body=self.rfile.read(int(self.headers.get("Content-Length") or 0)),
            connection=self.client_address[1],
            at=time.monotonic(),
        )
        self.recorder.take(request)(self, request)

    do_POST = do_GET

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # The handler's files hold the socket open, so that close() alone would send nothing.
        self.wfile = open("/dev/null", "wb")  # noqa: SIM115
        self.rfile.close()
        self.connection.close()
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """The requests are recorded; nobody reads a log."""


class _Server(ThreadingHTTPServer):
    def shutdown_request(self, request: Any) -> None:
        try:
            super().shutdown_request(request)
        except OSError:
            """Cut on purpose."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is part of these tests."""


@contextmanager
def recording() -> Iterator[Recorder]:
    recorder = Recorder()
    handler = type("Handler", (_Handler,), {"recorder": recorder})
    with _Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        recorder.url = f"http://127.0.0.1:{server.server_port}{PREFIX}"
        yield recorder
        server.shutdown()
        thread.join()
