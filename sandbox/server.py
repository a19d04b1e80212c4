"""A real HTTP server around a `Bling`, threaded, for tests and for `python -m sandbox`."""

from __future__ import annotations

import socket
import threading

from werkzeug.serving import WSGIRequestHandler, make_server

from .app import create_app
from .bling import Bling


class Server:
    """Serves until `stop()`; `url` is where."""

    def __init__(self, bling: Bling, host: str, port: int) -> None:
        self.bling = bling
        self._listener = _listen(host, port)
        self._server = make_server(
            host,
            port,
            create_app(bling),
            threaded=True,
            request_handler=_QuietHandler,
            fd=self._listener.fileno(),
        )
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://{host}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def start(self) -> Server:
        self._thread.start()
        return self

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._listener.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _QuietHandler(WSGIRequestHandler):
    """The page shows the requests; the log keeps quiet about them."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


def _listen(host: str, port: int) -> socket.socket:
    """Bound here, because Werkzeug would end the whole program over a taken port."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    return listener


def serve(bling: Bling, port: int = 0, host: str = "127.0.0.1") -> Server:
    """Start serving; port 0 takes a free one. OSError when the port is taken."""
    return Server(bling, host, port).start()
