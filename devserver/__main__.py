"""`make run`: the whole program on one machine, with a Redis of its own and, unless BLING_API_URL says otherwise, a
Bling of its own with a demo merchant in it."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import secrets
import socket
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from config import ROOT, RUNNING_STACK, Config, private_socket, secret_made_once
from devserver import demo
from devserver.child import end_with_parent
from devserver.ports import is_free, next_free
from devserver.redis_server import (
    RedisUnavailable,
    find_server,
    is_answering,
    prepare_directory,
    remove_stale_socket,
    server_command,
    socket_url,
)
from devserver.supervisor import Log, Program, StartFailed, Stopped, Supervisor

LOCAL = "127.0.0.1"
START_S = 90.0
DEMO_CLIENT_ID = "estoqueuni-demo"


class Stack:
    """What runs, with which settings, in which order."""

    def __init__(self, config: Config, supervisor: Supervisor) -> None:
        self.config = config
        self.supervisor = supervisor
        self.has_own_redis = "REDIS_URL" not in os.environ
        self.has_sandbox = not os.environ.get("BLING_API_URL")
        self.bind_host = os.environ.get("BIND_HOST") or LOCAL
        self.port = self._choose_port(config.port)
        self.sandbox_port = next_free(self.port + 1, LOCAL)
        self.settings = self._settings()
        self.has_demo = False

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def sandbox_url(self) -> str:
        return f"http://localhost:{self.sandbox_port}"

    def start(self) -> None:
        """Bring everything up; StartFailed with the reason when something does not come."""
        if self.has_own_redis:
            self._start_redis()
        self.supervisor.run_once(self._python("database", "-m", "flask", "--app", "app", "db", "upgrade"), START_S)
        if self.has_sandbox:
            self._start_sandbox()
        self.supervisor.start(self._python("web", "-m", "gunicorn", "-c", "gunicorn.conf.py"))
        self.supervisor.start(self._python("worker", "-m", "jobs.worker"))
        self.supervisor.start(self._python("scheduler", "-m", "jobs.scheduler"))
        self.supervisor.wait_until(lambda: _answers(f"http://{LOCAL}:{self.port}/healthz"), "web", START_S)
        self.supervisor.wait_until(lambda: _answers(f"http://{LOCAL}:{self.port}/readyz"), "worker", START_S)
        if self.has_sandbox:
            self._load_demo()

    def block(self) -> str:
        lines = ["EstoqueUni está no ar.", "", f"Endereço        {self.url}"]
        if self.has_demo:
            lines += [f"E-mail          {demo.EMAIL}", f"Senha           {demo.PASSWORD}"]
        if self.has_sandbox:
            lines += [f"Bling de teste  {self.sandbox_url}"]
        lines += ["", "Ctrl-C encerra tudo. Os dados ficam em var/."]
        width = max(map(len, lines))
        body = [f"│ {line:<{width}} │" for line in lines]
        return "\n".join(["", f"┌{'─' * (width + 2)}┐", *body, f"└{'─' * (width + 2)}┘", ""])

    def _settings(self) -> dict[str, str]:
        """What the programs of this stack, and commands started beside it, are told."""
        settings = {
            "PORT": str(self.port),
            "BIND_HOST": self.bind_host,
            "PUBLIC_URL": os.environ.get("PUBLIC_URL") or self.url,
            "DATABASE_URL": self.config.database_url,
            "REDIS_URL": self.config.redis_url,
        }
        if self.has_sandbox:
            secret = secret_made_once(self.config.var_dir / "demo_client_secret", lambda: secrets.token_hex(32))
            settings |= {
                "BLING_API_URL": f"{self.sandbox_url}/Api/v3",
                "BLING_AUTHORIZE_URL": f"{self.sandbox_url}/Api/v3/oauth/authorize",
                "BLING_CLIENT_ID": DEMO_CLIENT_ID,
                "BLING_CLIENT_SECRET": secret,
            }
        return settings

    def _choose_port(self, wanted: int) -> int:
        if is_free(wanted, self.bind_host):
            return wanted
        chosen = next_free(wanted + 1, self.bind_host)
        self.supervisor.log.say("run", f"port {wanted} is taken by another program; using {chosen} instead")
        return chosen

    def _start_redis(self) -> None:
        path, data = private_socket(self.config.var_dir), self.config.var_dir / "redis"
        prepare_directory(data)
        prepare_directory(path.parent)
        _end_orphan(path)
        redis = self._program("redis", *server_command(find_server(), path, data))
        self.supervisor.start(replace(redis, is_last_to_stop=True, is_quiet=True))
        self.supervisor.wait_until(lambda: is_answering(socket_url(path)), "redis", START_S)

    def _start_sandbox(self) -> None:
        var = self.config.var_dir
        options = {
            "--port": str(self.sandbox_port),
            "--data": str(var / "sandbox.sqlite"),
            "--webhook-url": f"{self.url}/webhooks/bling",
            "--redirect-url": f"{self.settings['PUBLIC_URL']}/bling/callback",
            "--client-id": self.settings["BLING_CLIENT_ID"],
            "--client-secret": self.settings["BLING_CLIENT_SECRET"],
            "--tokens-out": str(var / "demo-tokens.json"),
        }
        words = [word for option in options.items() for word in option]
        sandbox = self._python("sandbox", "-m", "sandbox", "--demo", *words)
        # A worker that is told to end finishes the write in hand; nobody could say what became of it otherwise.
        self.supervisor.start(replace(sandbox, is_last_to_stop=True))
        self.supervisor.wait_until(lambda: _listens(self.sandbox_port), "sandbox", START_S)

    def _load_demo(self) -> None:
        """The demo merchant, once: later runs keep what has become of it."""
        log, setup = self.supervisor.log, self.config.var_dir / "demo-setup.json"
        flask = ("-m", "flask", "--app", "app")
        try:
            if not self._has_organization():
                log.say("run", "loading the demo merchant")
                demo.write_setup(self.config.var_dir / "demo-tokens.json", setup)
                self.supervisor.run_once(self._python("demo", *flask, "setup", "import", str(setup)), START_S)
            self.has_demo = True
        except (StartFailed, demo.DemoUnavailable) as error:
            log.say("run", f"the demo merchant could not be loaded: {error}")
        finally:
            setup.unlink(missing_ok=True)  # It holds tokens.

    def _has_organization(self) -> bool:
        command = ("-m", "flask", "--app", "app", "status", "--org", demo.ORGANIZATION, "--json")
        try:
            self.supervisor.run_once(replace(self._python("demo", *command), is_quiet=True), START_S)
        except StartFailed:
            return False
        return True

    def _python(self, name: str, *arguments: str) -> Program:
        return self._program(name, sys.executable, *arguments)

    def _program(self, name: str, *command: str) -> Program:
        local = ",".join(filter(None, (os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), "localhost", LOCAL)))
        environment = {**os.environ, **self.settings, "PYTHONUNBUFFERED": "1", "NO_PROXY": local, "no_proxy": local}
        return Program(name, command, environment, ROOT)


def _listens(port: int) -> bool:
    try:
        socket.create_connection((LOCAL, port), timeout=1).close()
    except OSError:
        return False
    return True


def _answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _end_orphan(path: Path) -> None:
    """We hold the lock of this folder, so a server that still answers was left behind by a run that was killed."""
    remove_stale_socket(path)
    if path.exists():
        client = Redis.from_url(socket_url(path), socket_timeout=5)
        with contextlib.suppress(RedisError):
            client.shutdown()
        remove_stale_socket(path)


@contextlib.contextmanager
def _only_one(var_dir: Path) -> Iterator[None]:
    """At most one `make run` in a folder; another one is told where the first is, and ends with exit code 1."""
    var_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(var_dir / "run.lock", "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"EstoqueUni is already running in this folder ({_tell(var_dir)}). Stop that one first.")
        yield


def _tell(var_dir: Path) -> str:
    try:
        stack = json.loads((var_dir / RUNNING_STACK).read_text())
        return f"process {stack['pid']}, http://localhost:{stack['environment']['PORT']}"
    except (OSError, ValueError, KeyError):
        return "it is starting"


@contextlib.contextmanager
def _announced(var_dir: Path, settings: dict[str, str]) -> Iterator[None]:
    """Let commands that are started beside the running stack find it (config.py reads this)."""
    path = var_dir / RUNNING_STACK
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump({"pid": os.getpid(), "environment": settings}, file, indent=1)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m devserver", description=__doc__)
    parser.add_argument("--end-with-parent", action="store_true", help="end when the process that started this ends")
    if parser.parse_args().end_with_parent:
        end_with_parent()
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    log = Log()
    supervisor = Supervisor(log)
    supervisor.install_signal_handlers()
    config = Config.from_env()
    if config.is_production:
        sys.exit("`make run` is for development; in production start the processes of the Procfile.")
    with _only_one(config.var_dir):
        try:
            stack = Stack(config, supervisor)
            with _announced(config.var_dir, stack.settings):
                stack.start()
                log.show(stack.block())
                supervisor.run_until_stopped()
        except Stopped:
            pass
        except (StartFailed, RedisUnavailable, OSError) as error:
            log.show(f"\nEstoqueUni could not start: {error}")
            return 1
        finally:
            log.say("run", "ending everything")
            supervisor.stop()
            with contextlib.suppress(OSError):  # Under var/ it holds the data; elsewhere it held the socket only.
                private_socket(config.var_dir).parent.rmdir()
    log.say("run", "done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
