"""The world of the benchmarks: the real engine, database, Redis and web program against the sandbox."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import db
import queues
from config import Config, activate
from devserver.redis_server import running_redis
from migrations import upgrade
from sandbox import Bling, serve
from tests.factories import make_organization
from tests.stage import Stage, connect, staged

ROOT = Path(__file__).resolve().parent.parent
DEPOSITS = ("Geral", "Loja física", "Loja virtual")
CANECA = {"CANECA": {"Geral": 100, "Loja física": 50, "Loja virtual": 0}}


@dataclass
class World:
    """A merchant on the sandbox, with the calls of its accounts counted."""

    bling: Bling
    stage: Stage
    settings: Mapping[str, str]

    def rule(self, sources: Sequence[tuple[str, str]], targets: Sequence[tuple[str, str]]) -> None:
        self.stage.rule(sources, targets)
        self.settle()

    def merchant(self, slug: str, products: Mapping[str, Mapping[str, object]]) -> Stage:
        """One more merchant, with two accounts and a rule from one's shelf to the other's shop."""
        keys = (f"{slug}-matriz", f"{slug}-filial")
        for key in keys:
            self.bling.add_account(key, key, deposits=DEPOSITS)
            for sku, stock in products.items():
                self.bling.add_product(key, sku, stock=stock, announce=False)
        organization = make_organization(slug=slug)
        accounts = {key: connect(self.bling, organization, key) for key in keys}
        stage = Stage(self.bling, self.stage.config, organization, accounts)
        stage.rule(sources=((keys[0], "Geral"),), targets=((keys[1], "Loja virtual"),))
        return stage

    def settle(self) -> None:
        """Send every webhook and settle until nothing is left."""
        self.stage.deliver()

    def counted(self) -> tuple[int, int]:
        """Reads and writes so far."""
        requests = [r for r in self.bling.requests() if "/oauth/" not in r.path]
        return sum(r.method == "GET" for r in requests), sum(r.method == "POST" for r in requests)

    def limit(self) -> None:
        """From now on Bling limits us as it does: three requests a second for each account."""
        self.bling.configure(rate_per_second=3, rate_per_day=120_000, ip_limits=True)
        self.settings = {**self.settings, "BLING_RATE_PER_SECOND": "3"}

    def redeliver(self) -> None:
        for delivery in self.bling.deliveries():
            self.bling.redeliver(delivery.id)

    @contextmanager
    def workers(self, count: int) -> Iterator[None]:
        """So many worker processes, up and waiting."""
        environment = {**os.environ, **self.settings}
        running = [
            subprocess.Popen([sys.executable, "-m", "jobs.worker"], cwd=ROOT, env=environment) for _ in range(count)
        ]
        try:
            while queues.worker_count() < count:
                time.sleep(0.05)
            yield
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait()

    @contextmanager
    def webhooks(self) -> Iterator[None]:
        """Bling delivers its webhooks, echoes of our writes too."""
        has_ended = threading.Event()

        def deliver() -> None:
            while not has_ended.is_set():
                if not self.bling.pump():
                    has_ended.wait(0.01)

        thread = threading.Thread(target=deliver)
        thread.start()
        try:
            yield
        finally:
            has_ended.set()
            thread.join()

    def written(self) -> int:
        """How many movements of ours Bling has made."""
        return sum(r.status == 201 for r in self.bling.requests(method="POST", path="/estoques"))

    def wait_until_written(self, writes: int, limit_s: float) -> None:
        ends_at = time.monotonic() + limit_s
        while (written := self.written()) < writes:
            if time.monotonic() > ends_at:
                raise TimeoutError(f"{written} of {writes} writes were made")
            time.sleep(0.05)


@contextmanager
def opened(
    accounts: Sequence[str] = ("matriz", "filial", "avulsa"),
    products: Mapping[str, Mapping[str, object]] = CANECA,
    *,
    window_s: float = 0.2,
) -> Iterator[World]:
    """A fresh world in a temporary directory; every account has the products, and nobody limits us."""
    logging.disable(logging.WARNING)
    bling = Bling(background=False, seed=1)
    bling.no_limits()
    bling.add_app("shared-id", "shared-secret", redirect_uri="http://localhost/bling/callback")
    for key in accounts:
        bling.add_account(key, key.capitalize(), deposits=DEPOSITS)
    with (
        tempfile.TemporaryDirectory(prefix="eu-bench-", dir="/tmp") as directory,
        running_redis(Path(directory) / "redis") as redis,
        serve(bling) as server,
    ):
        settings = {
            "VAR_DIR": directory,
            "REDIS_URL": redis.url,
            "PUBLIC_URL": "http://localhost",
            "BLING_CLIENT_ID": "shared-id",
            "BLING_CLIENT_SECRET": "shared-secret",
            "BLING_API_URL": f"{server.url}/Api/v3",
            "BLING_RATE_PER_SECOND": "1000",
            "SETTLE_WINDOW_S": str(window_s),
            "LOG_LEVEL": "ERROR",
        }
        config = activate(Config.from_env(settings))
        database = db.init_database(config.database_url)
        queues.init_queues(config.redis_url)
        with db.connection():
            upgrade(database)
        stock = {sku: dict.fromkeys(accounts, deposits) for sku, deposits in products.items()}
        with staged(config, bling, stock, window_s=window_s, accounts=accounts) as stage:
            yield World(bling, stage, settings)
    bling.close()
