"""What this installation is told from outside: environment variables, checked once, at the start.

Only `Config.from_env` reads os.environ. A start that cannot be right ends with one line that names everything that is
wrong, and no traceback.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from cryptography.fernet import Fernet

ROOT = Path(__file__).resolve().parent
REQUIRED_IN_PRODUCTION = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "ENCRYPTION_KEYS", "PUBLIC_URL")
ENVIRONMENTS = ("development", "production")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
RUNNING_STACK = "running.json"
# A Unix socket's path has to fit in 104 bytes (macOS) or 108 (Linux), the closing zero included.
MAX_SOCKET_PATH = 100


class ConfigError(SystemExit):
    """The environment is wrong. Being a SystemExit, it ends any of our programs with its message and exit code 1."""


@dataclass(frozen=True)
class Config:
    app_env: str
    bind_host: str
    port: int
    public_url: str
    log_level: str
    var_dir: Path
    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    secret_key: str = field(repr=False)
    encryption_keys: tuple[str, ...] = field(repr=False)
    bling_client_id: str | None
    bling_client_secret: str | None = field(repr=False)
    bling_api_url: str
    bling_authorize_url: str
    bling_rate_per_second: int
    bling_rate_per_day: int
    settle_window_s: float
    metrics_token: str | None = field(repr=False)
    web_concurrency: int
    web_threads: int

    @property
    def is_production(self) -> bool:
        return self.app_env == "production"

    @property
    def is_https(self) -> bool:
        """Whether people reach this installation over TLS: cookies are Secure only then."""
        return self.public_url.startswith("https://")

    @property
    def bling_token_url(self) -> str:
        return f"{self.bling_api_url}/oauth/token"

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Config:
        """Read, check and complete the environment; ConfigError names every fault in one line."""
        env = _Reader(_with_running_stack(os.environ if environ is None else environ))
        app_env = env.choice("APP_ENV", "development", ENVIRONMENTS)
        _refuse_missing(env, app_env)
        port = env.integer("PORT", 5000, 1, 65535)
        var_dir = var_directory(env.text("VAR_DIR"))
        config = {
            "app_env": app_env,
            "bind_host": env.text("BIND_HOST") or "0.0.0.0",  # noqa: S104  A host's router comes from outside.
            "port": port,
            "public_url": env.http_url("PUBLIC_URL", f"http://localhost:{port}"),
            "log_level": env.choice("LOG_LEVEL", "INFO", LOG_LEVELS),
            "var_dir": var_dir,
            "database_url": _database_url(env, var_dir),
            "redis_url": _redis_url(env, var_dir),
            "bling_client_id": env.text("BLING_CLIENT_ID"),
            "bling_client_secret": env.text("BLING_CLIENT_SECRET"),
            "bling_api_url": env.http_url("BLING_API_URL", "https://api.bling.com.br/Api/v3"),
            "bling_authorize_url": env.http_url(
                "BLING_AUTHORIZE_URL", "https://www.bling.com.br/Api/v3/oauth/authorize"
            ),
            "bling_rate_per_second": env.integer("BLING_RATE_PER_SECOND", 3, 1, 10_000),
            "bling_rate_per_day": env.integer("BLING_RATE_PER_DAY", 120_000, 1, 1_000_000_000),
            "settle_window_s": env.seconds("SETTLE_WINDOW_S", 10.0, 600.0),
            "metrics_token": env.text("METRICS_TOKEN"),
            "web_concurrency": env.integer("WEB_CONCURRENCY", 2, 1, 64),
            "web_threads": env.integer("WEB_THREADS", 4, 1, 64),
        }
        if (config["bling_client_id"] is None) != (config["bling_client_secret"] is None):
            env.fault("BLING_CLIENT_ID and BLING_CLIENT_SECRET go together: one of them is missing")
        encryption_keys = _fernet_keys(env)
        env.raise_faults()
        return cls(
            **config,  # type: ignore[arg-type]
            secret_key=env.text("SECRET_KEY") or secret_made_once(var_dir / "secret_key", secrets.token_urlsafe),
            encryption_keys=encryption_keys
            or (secret_made_once(var_dir / "encryption_keys", lambda: Fernet.generate_key().decode()),),
        )


def var_directory(given: str | None) -> Path:
    return Path(given or ROOT / "var").absolute()


def _with_running_stack(environ: Mapping[str, str]) -> Mapping[str, str]:
    """While `make run` is running, a command started beside it talks to the same sandbox, database and Redis. What the
    environment says goes first; an installation in production never looks."""
    if environ.get("APP_ENV", "").lower() == "production" or "DYNO" in environ:
        return environ
    try:
        stack = json.loads((var_directory(environ.get("VAR_DIR")) / RUNNING_STACK).read_text())
        os.kill(stack["pid"], 0)  # It may have been killed without a chance to tidy up.
        return {**stack["environment"], **environ}
    except (OSError, ValueError, KeyError, TypeError):
        return environ


class _Reader:
    """Reads variables and collects faults, so that one start tells all of them. An empty variable is an absent one."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._faults: list[str] = []

    def fault(self, message: str) -> None:
        self._faults.append(message)

    def raise_faults(self) -> None:
        if self._faults:
            raise ConfigError(f"EstoqueUni cannot start: {'; '.join(self._faults)}.")

    def text(self, name: str) -> str | None:
        return self._environ.get(name, "").strip() or None

    def choice(self, name: str, default: str, allowed: tuple[str, ...]) -> str:
        value = self.text(name) or default
        for word in allowed:
            if word.lower() == value.lower():
                return word
        self.fault(f"{name} must be one of {', '.join(allowed)}, not {value[:40]!r}")
        return default

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        value = self.text(name)
        if value is None:
            return default
        if not (value.isascii() and value.isdigit()) or not low <= int(value) <= high:
            self.fault(f"{name} must be a whole number from {low} to {high}, not {value[:40]!r}")
            return default
        return int(value)

    def seconds(self, name: str, default: float, high: float) -> float:
        value = self.text(name)
        if value is None:
            return default
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not 0 <= number <= high:
            self.fault(f"{name} must be a number of seconds from 0 to {high:g}, not {value[:40]!r}")
            return default
        return number

    def http_url(self, name: str, default: str) -> str:
        value = (self.text(name) or default).rstrip("/")
        if not _is_url(value, ("http", "https")):
            self.fault(f"{name} must be an http:// or https:// address")
            return default
        return value


def _is_url(value: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(value)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _refuse_missing(env: _Reader, app_env: str) -> None:
    if app_env == "production":
        missing = [name for name in REQUIRED_IN_PRODUCTION if env.text(name) is None]
        if missing:
            env.fault(f"APP_ENV is production and these variables are not set: {', '.join(missing)}")
    elif env.text("DYNO") is not None:
        # The dynos of one app share neither disk nor loopback, so files and sockets under var/ would be different ones.
        missing = [name for name in ("DATABASE_URL", "REDIS_URL") if env.text(name) is None]
        if missing:
            env.fault(f"on Heroku these variables must be set: {', '.join(missing)}")


def _database_url(env: _Reader, var_dir: Path) -> str:
    value = env.text("DATABASE_URL")
    if value is None:
        return f"sqlite:///{var_dir / 'estoqueuni.sqlite'}"
    scheme, _, rest = value.partition("://")
    if scheme == "sqlite":
        path = rest.removeprefix("/")
        if not rest.startswith("/") or path in ("", ":memory:"):
            env.fault("DATABASE_URL must name a file when it is SQLite (sqlite:///path; a memory has one process only)")
            return value
        return f"sqlite:///{ROOT / path}"
    if scheme in ("postgres", "postgresql"):
        if not urlsplit(value).path.strip("/"):
            env.fault("DATABASE_URL must name a database (postgresql://user:password@host/name)")
        return f"postgresql://{rest}"
    env.fault("DATABASE_URL must begin with sqlite:///, postgres:// or postgresql://")
    return value


def _redis_url(env: _Reader, var_dir: Path) -> str:
    value = env.text("REDIS_URL")
    if value is None:
        return f"unix://{quote(str(private_socket(var_dir)))}"
    if value.startswith("unix:///"):
        return value
    if not _is_url(value, ("redis", "rediss")):
        env.fault("REDIS_URL must begin with redis://, rediss:// or unix:///")
        return value
    parts = urlsplit(value)
    query = dict(parse_qsl(parts.query))
    # Heroku's Redis shows a certificate that it signed itself. Nowhere else is an unknown certificate accepted unasked.
    is_herokus = env.text("DYNO") is not None and (parts.hostname or "").endswith(".amazonaws.com")
    if parts.scheme == "rediss" and (is_herokus or env.text("REDIS_TLS_INSECURE") == "1"):
        query.setdefault("ssl_cert_reqs", "none")
    return urlunsplit(parts._replace(query=urlencode(query)))


def private_socket(var_dir: Path) -> Path:
    """Where the private Redis of this folder listens: under var/, or where that path is too long for a socket or holds
    what Redis clients stumble over (a space), in a short directory whose name follows from the folder's, so that every
    process finds the same one."""
    socket = var_dir / "redis" / "redis.sock"
    if len(os.fsencode(socket)) < MAX_SOCKET_PATH and re.fullmatch(r"[\w./+-]+", str(socket), re.ASCII):
        return socket
    digest = hashlib.sha256(os.fsencode(var_dir)).hexdigest()[:16]
    # Not gettempdir() first: TMPDIR may differ from one terminal to the next. The directory is made 0700 and its owner
    # checked (devserver/redis_server.py).
    short_tmp = "/tmp" if os.access("/tmp", os.W_OK) else tempfile.gettempdir()  # noqa: S108
    return Path(short_tmp, f"estoqueuni-{os.getuid()}-{digest}", "redis.sock")


def _fernet_keys(env: _Reader) -> tuple[str, ...]:
    keys = tuple(key.strip() for key in (env.text("ENCRYPTION_KEYS") or "").split(",") if key.strip())
    for position, key in enumerate(keys, start=1):
        try:
            Fernet(key)
        except ValueError:
            env.fault(f"ENCRYPTION_KEYS: key {position} is no Fernet key (32 bytes, URL-safe base64)")
    if env.text("ENCRYPTION_KEYS") is not None and not keys:
        env.fault("ENCRYPTION_KEYS holds no key")
    return keys


def secret_made_once(path: Path, make: Callable[[], str]) -> str:
    """The secret kept in this file, made now if there is none. Processes that start together all get the same one."""
    try:
        return _read_secret(path)
    except FileNotFoundError:
        pass
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(path.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            return _read_secret(path)
        except FileNotFoundError:
            secret = make()
            # Renamed into place when complete: a process killed half-way leaves no half key behind.
            draft, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mode 0600
            with open(draft, "w") as file:
                file.write(secret)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)
            return secret


def _read_secret(path: Path) -> str:
    try:
        secret = path.read_text().strip()
    except PermissionError:
        raise ConfigError(f"EstoqueUni cannot start: {path} exists but may not be read.") from None
    if not secret:
        raise ConfigError(f"EstoqueUni cannot start: {path} is empty; restore it or delete it to have a new one made.")
    return secret


_active: Config | None = None


def activate(config: Config) -> Config:
    """Make this the configuration of the process; whoever starts a program (create_app, start_process) calls it."""
    global _active
    _active = config
    return config


def current() -> Config:
    """The configuration that this process was started with."""
    if _active is None:
        raise RuntimeError("the process has no configuration yet: activate() comes first")
    return _active
