"""`python -m sandbox` serves the sandbox; `python -m sandbox tokens` prints the current tokens of a file."""

from __future__ import annotations

import argparse
import json
import signal
import sqlite3
import sys
from pathlib import Path
from queue import SimpleQueue

from . import demo
from .bling import Bling
from .server import serve
from .store import StoreBusy

CLIENT_ID = "estoqueuni-demo"


def main(words: list[str]) -> int:
    if words[:1] == ["tokens"]:
        return print_tokens(words[1:])
    return run(words)


def run(words: list[str]) -> int:
    options = _options(words)
    try:
        bling = Bling(options.data)
    except StoreBusy as error:
        return _fail(str(error))
    bling.configure(
        rate_per_second=options.rate_per_second or None,
        rate_per_day=options.rate_per_day or None,
        ip_limits=options.ip_limits,
    )
    demo.upsert_app(
        bling,
        options.client_id,
        options.client_secret,
        options.redirect_url,
        options.webhook_url,
    )
    if options.demo:
        demo.seed(bling)
    if options.tokens_out is not None:
        for key in bling.world.accounts:
            if bling.current_tokens(key, options.client_id) is None:
                bling.issue_tokens(key, options.client_id)
        demo.write_tokens(options.tokens_out, demo.tokens(bling, options.client_id))
    return _serve(bling, options.host, options.port)


def _serve(bling: Bling, host: str, port: int) -> int:
    # Not an Event: a second signal that finds the first one setting it would wait for ever.
    stopping: SimpleQueue[None] = SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.put(None))
    try:
        server = serve(bling, port, host)
    except OSError as error:
        bling.close()
        return _fail(f"port {port}: {error.strerror}")
    sys.stdout.write(f"Bling de teste: {server.url}\n")
    sys.stdout.flush()
    stopping.get()
    server.stop()
    bling.close()
    return 0


def print_tokens(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m sandbox tokens")
    parser.add_argument("--data", type=Path, required=True, help="SQLite file of a sandbox")
    parser.add_argument("--client-id", help="the app (default: the shared one)")
    options = parser.parse_args(words)
    try:
        bling = Bling(options.data, read_only=True)
    except sqlite3.Error as error:
        return _fail(f"{options.data}: {error}")
    rows = demo.tokens(bling, options.client_id) if bling.world.apps else []
    bling.close()
    if not rows:
        return _fail(f"{options.data}: no account has authorized the app")
    sys.stdout.write(json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
    return 0


def _options(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox", description="A Bling of our own: API, OAuth, limits, webhooks."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5001)
    parser.add_argument("--data", type=Path, help="SQLite file (default: in memory)")
    parser.add_argument("--demo", action="store_true", help="seed the demo merchant once")
    parser.add_argument("--client-id", default=CLIENT_ID)
    parser.add_argument("--client-secret", default="segredo-da-demonstracao")
    parser.add_argument("--redirect-url", default="http://localhost:5000/bling/callback")
    parser.add_argument("--webhook-url", default="http://127.0.0.1:5000/webhooks/bling")
    parser.add_argument("--tokens-out", type=Path, help="write the accounts' tokens here (mode 0600)")
    parser.add_argument("--rate-per-second", type=int, default=3, help="0: no limit")
    parser.add_argument("--rate-per-day", type=int, default=120_000, help="0: no limit")
    parser.add_argument("--ip-limits", action="store_true", help="block misbehaving addresses as Bling does")
    return parser.parse_args(words)


def _fail(message: str) -> int:
    sys.stderr.write(f"sandbox: {message}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
