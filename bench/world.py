"""The world of the benchmarks: the real engine, database, Redis and web program against the sandbox without limits."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import db
import queues
from config import Config, activate
from devserver.redis_server import running_redis
from migrations import upgrade
from sandbox import Bling, serve
from tests.stage import Stage, staged


@dataclass
class World:
    """A merchant on the sandbox, with the calls of its accounts counted."""

    bling: Bling
    stage: Stage

    def rule(self, sources: Sequence[tuple[str, str]], targets: Sequence[tuple[str, str]]) -> None:
        self.stage.rule(sources, targets)
        self.settle()

    def settle(self) -> None:
        """Send every webhook and settle until nothing is left."""
        self.stage.deliver()

    def counted(self) -> tuple[int, int]:
        """Reads and writes so far."""
        requests = [r for r in self.bling.requests() if "/oauth/" not in r.path]
        return sum(r.method == "GET" for r in requests), sum(r.method == "POST" for r in requests)

    def redeliver(self) -> None:
        for delivery in self.bling.deliveries():
            self.bling.redeliver(delivery.id)


@contextmanager
def opened(*, two_accounts: bool = False) -> Iterator[World]:
    """A fresh world in a temporary directory."""
    logging.disable(logging.WARNING)
    bling = Bling(background=False, seed=1)
    bling.no_limits()
    bling.add_app("shared-id", "shared-secret", redirect_uri="http://localhost/bling/callback")
    keys = ("matriz", "filial") if two_accounts else ("matriz", "filial", "avulsa")
    deposits = ("Geral", "Loja física", "Loja virtual")
    for key in keys:
        bling.add_account(key, key.capitalize(), deposits=deposits)
    with (
        tempfile.TemporaryDirectory(prefix="eu-bench-", dir="/tmp") as directory,
        running_redis(Path(directory) / "redis") as redis,
        serve(bling) as server,
    ):
        config = activate(
            Config.from_env(
                {
                    "VAR_DIR": directory,
                    "REDIS_URL": redis.url,
                    "PUBLIC_URL": "http://localhost",
                    "BLING_CLIENT_ID": "shared-id",
                    "BLING_CLIENT_SECRET": "shared-secret",
                    "BLING_API_URL": f"{server.url}/Api/v3",
                    "BLING_RATE_PER_SECOND": "1000",
                    "LOG_LEVEL": "ERROR",
                }
            )
        )
        database = db.init_database(config.database_url)
        queues.init_queues(config.redis_url)
        with db.connection():
            upgrade(database)
        products = {"CANECA": {key: {"Geral": 100, "Loja física": 50, "Loja virtual": 0} for key in keys}}
        with staged(config, bling, products, window_s=0.2, accounts=keys) as stage:
            yield World(bling, stage)
    bling.close()


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows under their heads, in columns."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])
