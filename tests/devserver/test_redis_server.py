from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from redis import Redis

from devserver import redis_server
from devserver.redis_server import RedisProcess, RedisUnavailable, find_server, prepare_directory, running_redis

from .conftest import wait_until


def test_it_listens_on_a_socket_that_only_its_user_can_reach(redis_url: str, redis_server: RedisProcess) -> None:
    assert redis_url.startswith("unix:///")
    assert stat.S_IMODE(redis_server.socket.parent.stat().st_mode) == 0o700
    settings = Redis.from_url(redis_url, decode_responses=True).config_get()
    assert settings["port"] == "0"
    assert settings["maxmemory-policy"] == "noeviction"


def test_a_program_on_the_path_that_does_not_run_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shim = tmp_path / "redis-server"
    shim.write_text("#!/bin/sh\necho 'no version is set for redis-server' >&2\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    monkeypatch.setattr(shutil, "which", lambda name: str(shim) if name == "redis-server" else None)

    assert find_server().endswith("/valkey-server")


def test_without_one_on_the_path_the_wheels_server_runs(monkeypatch: pytest.MonkeyPatch, short_tmp: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)

    with running_redis(short_tmp / "bundled") as server:
        assert "valkey_version" in Redis.from_url(server.url).info("server")


def test_without_any_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(redis_server, "_bundled_server", lambda: None)

    with pytest.raises(RedisUnavailable, match="Install Redis"):
        find_server()


def test_a_socket_left_behind_by_a_killed_server_does_not_stop_the_next(own_redis: RedisProcess) -> None:
    own_redis.kill()
    assert own_redis.socket.exists()

    own_redis.start()

    assert redis_server.is_answering(own_redis.url)


def test_the_socket_of_a_living_server_is_left_alone(own_redis: RedisProcess) -> None:
    redis_server.remove_stale_socket(own_redis.socket)

    assert own_redis.socket.exists()


def test_a_directory_that_was_open_to_others_is_closed(tmp_path: Path) -> None:
    directory = tmp_path / "redis"
    directory.mkdir(mode=0o777)

    prepare_directory(directory)

    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_a_link_in_the_directorys_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "redis").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(RedisUnavailable, match="belongs to somebody else"):
        prepare_directory(tmp_path / "redis")


def test_what_was_queued_survives_a_killed_server(tmp_path: Path, short_tmp: Path) -> None:
    socket, data = short_tmp / "durable.sock", tmp_path / 'a "quoted" folder \\'
    data.mkdir()
    command = redis_server.server_command(find_server(), socket, data)

    def life(expected: bytes | None) -> None:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            url = redis_server.socket_url(socket)
            wait_until(lambda: redis_server.is_answering(url))
            client = Redis.from_url(url)
            assert client.lpop("queue") == expected
            client.rpush("queue", "work")
        finally:
            process.kill()
            process.wait()

    life(None)
    life(b"work")
