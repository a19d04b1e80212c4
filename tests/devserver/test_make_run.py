"""The whole stack of `make run`, in a folder of its own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

from config import Config, private_socket
from devserver.redis_server import is_answering

from .conftest import ROOT, Terminal, free_port, is_running, wait_until

OpenTerminal = Callable[..., Terminal]
READY = "EstoqueUni está no ar."
START_S = 60.0
NOBODY = "http://127.0.0.1:9/Api/v3"


def address(terminal: Terminal) -> str:
    found = re.search(r"Endereço +(http://\S+)", terminal.text())
    assert found
    return found[1]


def children(pid: int) -> list[int]:
    out = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False).stdout
    direct = [int(word) for word in out.split()]
    return direct + [below for child in direct for below in children(child)]


def named(pid: int, pattern: str) -> int:
    """The one process below this one whose command line looks like this."""
    commands = {child: Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ") for child in children(pid)}
    [found] = [child for child, command in commands.items() if re.search(pattern.encode(), command)]
    return found


def flask(var_dir: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flask", "--app", "app", *words],
        cwd=ROOT,
        env={**os.environ, "VAR_DIR": str(var_dir)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_it_brings_everything_up_survives_deaths_and_keeps_the_data(
    open_terminal: OpenTerminal, tmp_path: Path
) -> None:
    # A path that is far too long for a Unix socket, and holds what URLs treat specially.
    var_dir = tmp_path / "uma pasta muito funda" / ("x" * 60) / "100% #1" / "var"
    port = free_port()
    environment = {"VAR_DIR": str(var_dir), "PORT": str(port)}

    first = open_terminal("-m", "devserver", **environment)
    first.wait_for("Ctrl-C encerra", START_S)
    assert address(first) == f"http://localhost:{port}"
    assert "starting it again" not in first.text()
    for words in ("demo@estoqueuni.example", "demonstracao", "Bling de teste", "Ctrl-C"):
        assert words in first.text(), first.text()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz") as answer:
        assert answer.status == 200

    # A second one in the same folder, while the first is running.
    second = open_terminal("-m", "devserver", **environment)
    assert second.wait(20) == 1
    assert f"already running in this folder (process {first.process.pid}, http://localhost:{port})" in second.text()

    # A command beside it finds the same database, Redis and sandbox.
    status = flask(var_dir, "status", "--org", "demo", "--json")
    assert status.returncode == 0, status.stderr
    assert '"matriz"' in status.stdout

    # RQ writes a title of its own over a worker's command line where setproctitle is installed.
    for name, pattern in (("worker", r"jobs\.worker|^rq:worker"), ("scheduler", r"jobs\.scheduler")):
        os.kill(named(first.process.pid, pattern), signal.SIGKILL)
        first.wait_for(f"{name} was ended by SIGKILL; starting it again")
    redis_url = Config.from_env(environment).redis_url
    os.kill(named(first.process.pid, "(redis|valkey)-server"), signal.SIGKILL)
    first.wait_for("redis was ended by SIGKILL; starting it again")
    wait_until(lambda: is_answering(redis_url))

    everybody = children(first.process.pid)
    assert len(everybody) >= 6
    first.send(signal.SIGINT)
    assert first.wait(20) == 0
    assert not any(is_running(pid) for pid in everybody)
    assert (var_dir / "demo_client_secret").read_text() not in first.text()

    # Again, after it was killed at the worst moment: the data is there, the demo merchant is not loaded twice.
    again = open_terminal("-m", "devserver", **environment)
    again.wait_for(READY, START_S)
    assert "loading the demo merchant" not in again.text()
    assert "demo@estoqueuni.example" in again.text()
    everybody = children(again.process.pid)
    again.send(signal.SIGKILL)
    wait_until(lambda: not any(is_running(pid) for pid in everybody), 30)
    after = open_terminal("-m", "devserver", **environment)
    after.wait_for(READY, START_S)
    after.send(signal.SIGTERM)
    assert after.wait(20) == 0
    assert not private_socket(var_dir).parent.exists()


def test_a_taken_port_is_said_and_the_next_free_one_used(open_terminal: OpenTerminal, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        terminal = open_terminal("-m", "devserver", VAR_DIR=str(tmp_path), PORT=str(port), BLING_API_URL=NOBODY)
        terminal.wait_for(READY, START_S)

        assert f"port {port} is taken by another program; using " in terminal.text()
        assert address(terminal) != f"http://localhost:{port}"
        with urllib.request.urlopen(f"{address(terminal)}/healthz") as answer:
            assert answer.status == 200
        terminal.send(signal.SIGTERM)
        assert terminal.wait(20) == 0


def test_a_given_bling_means_no_sandbox_and_no_demo_merchant(open_terminal: OpenTerminal, tmp_path: Path) -> None:
    terminal = open_terminal("-m", "devserver", VAR_DIR=str(tmp_path), PORT=str(free_port()), BLING_API_URL=NOBODY)
    terminal.wait_for(READY, START_S)

    assert "Bling de teste" not in terminal.text()
    assert "starting it again" not in terminal.text()
    assert "demo@estoqueuni.example" not in terminal.text()


def test_it_refuses_production(open_terminal: OpenTerminal, tmp_path: Path) -> None:
    terminal = open_terminal(
        "-m",
        "devserver",
        VAR_DIR=str(tmp_path),
        APP_ENV="production",
        DATABASE_URL="postgres://x/y",
        REDIS_URL="redis://x",
        SECRET_KEY="x",
        ENCRYPTION_KEYS="A" * 43 + "=",
        PUBLIC_URL="https://x.example",
    )

    assert terminal.wait(10) == 1
    assert terminal.text().count("\n") == 1
    assert "make run" in terminal.text()


def test_a_wrong_environment_is_one_line(open_terminal: OpenTerminal, tmp_path: Path) -> None:
    terminal = open_terminal("-m", "devserver", VAR_DIR=str(tmp_path), PORT="80a")

    assert terminal.wait(10) == 1
    assert terminal.text() == ("EstoqueUni cannot start: PORT must be a whole number from 1 to 65535, not '80a'.\n")
