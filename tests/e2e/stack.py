"""What `make run` starts, as a process: its pages, its sandbox, its programs to be stopped and killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.devserver.conftest import ROOT, Terminal, free_port

READY = "Ctrl-C encerra tudo."
START_S = 90.0
# The first synchronization of the demo merchant writes some 160 balances at Bling's three requests a second.
SETTLE_S = 120.0


class Stack:
    def __init__(self, var_dir: Path) -> None:
        self.var_dir = var_dir
        self._environment = {"VAR_DIR": str(var_dir)}
        environment = {**self._environment, "PORT": str(free_port())}
        self.terminal = Terminal([sys.executable, "-m", "devserver"], environment)
        try:
            self.terminal.wait_for(READY, START_S)
        except BaseException:
            self.end()
            raise
        self.url = self._said("Endereço")
        self.sandbox = Sandbox(self._said("Bling de teste"))

    def _said(self, name: str) -> str:
        found = re.search(rf"{name} +(http://\S+)", self.terminal.text())
        assert found, self.terminal.text()
        return found[1]

    def end(self) -> int:
        """Ctrl-C. The exit code."""
        if self.terminal.process.poll() is None:
            self.terminal.send(signal.SIGINT)
        try:
            return self.terminal.wait(30)
        except subprocess.TimeoutExpired:
            self.terminal.process.kill()
            return self.terminal.wait()

    def command(self, *words: str) -> Any:
        """A command of ours, as somebody gives it beside the running stack."""
        done = subprocess.run(
            [sys.executable, "-m", "flask", "--app", "app", *words],
            cwd=ROOT,
            env={**os.environ, **self._environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.command("status", "--org", "demo", "--json")
        return found

    def wait_until_idle(self, timeout_s: float = SETTLE_S) -> None:
        """Every webhook was delivered, and nothing is queued, running or waiting for another try."""
        deadline = time.monotonic() + timeout_s
        while not (self.sandbox.has_delivered_everything() and self.status()["idle"]):
            assert time.monotonic() < deadline, f"it did not settle: {self.status()}"
            time.sleep(0.3)

    def program(self, name: str) -> Program:
        """The program of this name now; one that is started again is another one."""
        for pid in _children(self.terminal.process.pid):
            if re.search(PROGRAMS[name], _command_of(pid)):
                return Program(pid)
        raise LookupError(f"no {name} is running")


# RQ writes a title of its own over a worker's command line where setproctitle is installed.
PROGRAMS = {"web": r"gunicorn", "worker": r"jobs\.worker|^rq:worker", "scheduler": r"jobs\.scheduler"}


class Program:
    """One program of the supervisor, with all that it started; it leads a group of its own."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def kill(self) -> None:
        os.killpg(self.pid, signal.SIGKILL)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """It stands still, as if the machine had forgotten it, and then goes on."""
        os.killpg(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.pid, signal.SIGCONT)


class Sandbox:
    """The control API of "Bling de teste"."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

    def get(self, what: str, **query: str) -> Any:
        return self._answer(urllib.request.Request(f"{self.url}/sandbox/api/{what}?{urllib.parse.urlencode(query)}"))

    def post(self, what: str, **values: Any) -> Any:
        body, headers = json.dumps(values).encode(), {"Content-Type": "application/json"}
        return self._answer(urllib.request.Request(f"{self.url}/sandbox/api/{what}", body, headers))

    def _answer(self, request: urllib.request.Request) -> Any:
        try:
            with self._open(request, timeout=30) as answer:
                return json.load(answer, parse_float=Decimal, parse_int=Decimal)
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error

    def add_account(self, key: str, name: str, goods: dict[str, str]) -> None:
        """A company with the deposits Geral and Loja virtual; `goods` lie in Geral."""
        self.post("account", key=key, name=name, deposits=["Geral", "Loja virtual"])
        for sku, quantity in goods.items():
            self.post("product", account=key, sku=sku, name=f"Produto {sku}", stock={"Geral": quantity})

    def physical(self, account: str, sku: str, deposit: str) -> Decimal:
        [row] = self.get("balances", account=account, sku=sku)["balances"]
        [found] = [place["physical"] for place in row["deposits"] if place["name"] == deposit]
        return Decimal(found)

    def shop_windows(self, sku: str) -> list[Decimal]:
        """What the shared deposit of each demo account shows of the SKU."""
        return [self.physical(account, sku, "Loja virtual") for account in ("matriz", "filial", "avulsa")]

    def writes(self) -> int:
        """How often anybody asked for a movement through the API so far."""
        return int(self.get("requests", method="POST", path="/estoques", limit="1")["total"])

    def has_delivered_everything(self) -> bool:
        counts = self.get("deliveries", limit="1")["counts"]
        return not counts.get("queued") and not counts.get("retry")


def _children(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in listed.stdout.split()]


def _command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except FileNotFoundError:
        return ""
