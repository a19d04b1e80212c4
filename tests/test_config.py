from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from config import MAX_SOCKET_PATH, ROOT, Config, ConfigError, private_socket

KEY = "a2V5LW9mLXRoZS10ZXN0cy1vZi10aGUtY29uZmlnLTE="  # Fixed: it is part of the names of tests.
PRODUCTION = {
    "APP_ENV": "production",
    "DATABASE_URL": "postgres://user:word@db.example/stock?sslmode=require",
    "REDIS_URL": "rediss://:word@redis.example:6380",
    "SECRET_KEY": "a secret",
    "ENCRYPTION_KEYS": KEY,
    "PUBLIC_URL": "https://stock.example",
}


def read(tmp_path: Path, **environ: str) -> Config:
    return Config.from_env({"VAR_DIR": str(tmp_path), **environ})


def message(environ: dict[str, str]) -> str:
    with pytest.raises(ConfigError) as refused:
        Config.from_env(environ)
    text = str(refused.value)
    assert "\n" not in text
    return text


def test_everything_has_a_default_in_development(tmp_path: Path) -> None:
    config = read(tmp_path)

    assert config.port == 5000
    assert config.public_url == "http://localhost:5000"
    assert config.database_url == f"sqlite:///{tmp_path}/estoqueuni.sqlite"
    assert config.redis_url.startswith("unix:///")
    assert config.bling_api_url == "https://api.bling.com.br/Api/v3"
    assert config.bling_token_url == "https://api.bling.com.br/Api/v3/oauth/token"
    assert config.bling_authorize_url == "https://www.bling.com.br/Api/v3/oauth/authorize"
    assert (config.bling_rate_per_second, config.bling_rate_per_day) == (3, 120_000)
    assert config.settle_window_s == 10.0
    assert config.log_level == "INFO"


def test_an_empty_variable_is_an_absent_one(tmp_path: Path) -> None:
    assert read(tmp_path, PORT="", DATABASE_URL=" ", BLING_CLIENT_ID="") == read(tmp_path)


def test_the_public_address_follows_the_port(tmp_path: Path) -> None:
    assert read(tmp_path, PORT="8080").public_url == "http://localhost:8080"
    assert read(tmp_path, PORT="8080", PUBLIC_URL="https://x.example/").public_url == "https://x.example"


def test_production_names_all_missing_variables_in_one_line() -> None:
    assert message({"APP_ENV": "production", "SECRET_KEY": "x"}) == (
        "EstoqueUni cannot start: APP_ENV is production and these variables are not set: "
        "DATABASE_URL, REDIS_URL, ENCRYPTION_KEYS, PUBLIC_URL."
    )


@pytest.mark.parametrize("name", sorted(PRODUCTION.keys() - {"APP_ENV"}))
def test_production_needs_each_of_them(name: str) -> None:
    assert name in message({**PRODUCTION, name: ""})


def test_production_with_all_of_them_starts_and_writes_no_file(tmp_path: Path) -> None:
    config = Config.from_env({**PRODUCTION, "VAR_DIR": str(tmp_path / "var")})

    assert config.is_production
    assert config.is_https
    assert config.database_url == "postgresql://user:word@db.example/stock?sslmode=require"
    assert not (tmp_path / "var").exists()


def test_on_heroku_nothing_may_live_on_the_dyno(tmp_path: Path) -> None:
    assert message({"DYNO": "web.1", "VAR_DIR": str(tmp_path)}) == (
        "EstoqueUni cannot start: on Heroku these variables must be set: DATABASE_URL, REDIS_URL."
    )


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PORT", "0", "PORT must be a whole number from 1 to 65535"),
        ("PORT", "65536", "PORT must be"),
        ("PORT", "٥٠٠٠", "PORT must be"),
        ("BLING_RATE_PER_SECOND", "0", "BLING_RATE_PER_SECOND must be"),
        ("BLING_RATE_PER_DAY", "many", "BLING_RATE_PER_DAY must be"),
        ("SETTLE_WINDOW_S", "nan", "SETTLE_WINDOW_S must be a number of seconds"),
        ("SETTLE_WINDOW_S", "-1", "SETTLE_WINDOW_S must be"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL must be one of DEBUG, INFO"),
        ("APP_ENV", "prod", "APP_ENV must be one of development, production"),
        ("PUBLIC_URL", "stock.example", "PUBLIC_URL must be an http:// or https:// address"),
        ("BLING_API_URL", "ftp://x", "BLING_API_URL must be"),
        ("DATABASE_URL", "mysql://x/y", "DATABASE_URL must begin with"),
        ("DATABASE_URL", "sqlite:///:memory:", "DATABASE_URL must name a file"),
        ("DATABASE_URL", "postgres://host", "DATABASE_URL must name a database"),
        ("REDIS_URL", "http://x", "REDIS_URL must begin with"),
        ("ENCRYPTION_KEYS", f"{KEY},short", "ENCRYPTION_KEYS: key 2 is no Fernet key"),
        ("ENCRYPTION_KEYS", ",", "ENCRYPTION_KEYS holds no key"),
        ("BLING_CLIENT_ID", "x", "BLING_CLIENT_ID and BLING_CLIENT_SECRET go together"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, name: str, value: str, words: str) -> None:
    assert words in message({"VAR_DIR": str(tmp_path), name: value})


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    text = message({"VAR_DIR": str(tmp_path), "PORT": "x", "REDIS_URL": "y", "LOG_LEVEL": "z"})

    assert all(name in text for name in ("PORT", "REDIS_URL", "LOG_LEVEL"))


def test_no_secret_is_told_in_a_message_or_a_repr(tmp_path: Path) -> None:
    canaries = {
        "ENCRYPTION_KEYS": "canary-keys",
        "DATABASE_URL": "mysql://canary-database",
        "REDIS_URL": "http://:canary-redis@x",
        "BLING_CLIENT_SECRET": "canary-client",
    }
    assert "canary" not in message({"VAR_DIR": str(tmp_path), **canaries})

    config = Config.from_env(
        {**PRODUCTION, "BLING_CLIENT_ID": "id", "BLING_CLIENT_SECRET": "canary-client", "METRICS_TOKEN": "canary-token"}
    )
    for secret in (KEY, "a secret", "word", "canary"):
        assert secret not in repr(config)


def test_several_keys_are_kept_in_order(tmp_path: Path) -> None:
    older = Fernet.generate_key().decode()

    assert read(tmp_path, ENCRYPTION_KEYS=f" {KEY} , {older},").encryption_keys == (KEY, older)


def test_a_relative_sqlite_path_counts_from_the_project(tmp_path: Path) -> None:
    assert read(tmp_path, DATABASE_URL="sqlite:///var/x.sqlite").database_url == f"sqlite:///{ROOT}/var/x.sqlite"
    assert read(tmp_path, DATABASE_URL="sqlite:////tmp/x.sqlite").database_url == "sqlite:////tmp/x.sqlite"


@pytest.mark.parametrize(
    ("environ", "is_lax"),
    [
        ({"REDIS_URL": "rediss://:x@ec2-1-2-3-4.compute-1.amazonaws.com:1", "DYNO": "web.1"}, True),
        ({"REDIS_URL": "rediss://:x@ec2-1-2-3-4.compute-1.amazonaws.com:1"}, False),
        ({"REDIS_URL": "rediss://:x@redis.example:1", "DYNO": "web.1"}, False),
        ({"REDIS_URL": "rediss://:x@redis.example:1", "REDIS_TLS_INSECURE": "1"}, True),
        ({"REDIS_URL": "redis://:x@redis.example:1", "REDIS_TLS_INSECURE": "1"}, False),
    ],
)
def test_an_unknown_certificate_is_accepted_from_heroku_only(environ: dict[str, str], is_lax: bool) -> None:
    config = Config.from_env({**PRODUCTION, **environ})

    assert ("ssl_cert_reqs=none" in config.redis_url) is is_lax


@pytest.mark.parametrize("folder", ["d" * 90, "a folder", "a=b"])
def test_a_path_that_is_no_good_for_a_socket_moves_to_a_short_directory_of_its_own(folder: str) -> None:
    deep = Path("/home/x", folder)

    here, there = private_socket(deep / "one"), private_socket(deep / "two")

    assert len(os.fsencode(here)) < MAX_SOCKET_PATH
    assert here == private_socket(deep / "one")
    assert here != there
    assert private_socket(Path("/short/var")) == Path("/short/var/redis/redis.sock")


def test_the_keys_are_made_once_and_only_their_owner_may_read_them(tmp_path: Path) -> None:
    first, second = read(tmp_path), read(tmp_path)

    assert (first.secret_key, first.encryption_keys) == (second.secret_key, second.encryption_keys)
    Fernet(first.encryption_keys[0])
    for name in ("secret_key", "encryption_keys"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_processes_that_start_at_the_same_instant_get_the_same_keys(tmp_path: Path) -> None:
    code = "import config; c = config.Config.from_env(); print(c.secret_key, *c.encryption_keys)"

    def start(_: int) -> str:
        environ = {**os.environ, "VAR_DIR": str(tmp_path / "var")}
        return subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
        ).stdout

    with ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(start, range(8)))

    assert len(answers) == 1


def test_threads_that_start_at_the_same_instant_get_the_same_keys(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        configs = list(pool.map(lambda _: read(tmp_path / "var"), range(64)))

    assert len({(config.secret_key, config.encryption_keys) for config in configs}) == 1


def test_an_empty_key_file_is_not_taken_for_a_key(tmp_path: Path) -> None:
    (tmp_path / "secret_key").touch()

    assert "secret_key is empty" in message({"VAR_DIR": str(tmp_path)})


@pytest.mark.parametrize(
    "command",
    [
        ("-m", "flask", "--app", "app", "db", "upgrade"),
        ("-m", "gunicorn", "-c", "gunicorn.conf.py"),
        ("-m", "jobs.worker"),
        ("-m", "jobs.scheduler"),
    ],
    ids=("release", "web", "worker", "scheduler"),
)
def test_each_process_ends_with_the_one_line_and_no_traceback(command: tuple[str, ...]) -> None:
    environ = {name: value for name, value in os.environ.items() if name not in PRODUCTION}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**environ, "APP_ENV": "production"},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "EstoqueUni cannot start: APP_ENV is production and these variables are not set: "
        "DATABASE_URL, REDIS_URL, SECRET_KEY, ENCRYPTION_KEYS, PUBLIC_URL.\n"
    )
