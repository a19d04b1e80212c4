"""`python -m sandbox`: seeds once, keeps everything over a kill, ends promptly, guards its tokens."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests

from sandbox import Bling
from sandbox.demo import seed
from tests.sandbox.receiver import Receiver

ROOT = Path(__file__).resolve().parents[2]


class Program:
    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url

    def post(self, path: str, **body: Any) -> Any:
        answer = requests.post(f"{self.url}/sandbox/api{path}", json=body, timeout=5)
        answer.raise_for_status()
        return answer.json()

    def balance(self, account: str, sku: str) -> Any:
        params = {"account": account, "sku": sku}
        answer = requests.get(f"{self.url}/sandbox/api/balances", params=params, timeout=5)
        return answer.json()["balances"][0]["deposits"][0]["physical"]


@contextmanager
def running(*words: str) -> Iterator[Program]:
    command = [sys.executable, "-m", "sandbox", "--port", "0", *words]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    try:
        yield Program(process, line.rpartition(" ")[2].strip())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_killed_program_starts_again_with_all_it_had(tmp_path: Path, receiver: Receiver) -> None:
    data, tokens = tmp_path / "s.sqlite", tmp_path / "tokens.json"
    receiver.answers = [503] * 50
    words = ["--demo", "--data", str(data), "--tokens-out", str(tokens), "--webhook-url", receiver.url]

    with running(*words) as first:
        before = json.loads(tokens.read_text())
        had = first.balance("matriz", "CAN-GEL-01")
        first.post("/sell", account="matriz", sku="CAN-GEL-01", quantity=2)
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
    receiver.answers = []
    receiver.received.clear()

    with running(*words) as second:
        assert second.balance("matriz", "CAN-GEL-01") == had - 2
        assert json.loads(tokens.read_text())[0]["access_token"] == before[0]["access_token"]
        deadline = time.monotonic() + 15
        while not receiver.events("stock.created") and time.monotonic() < deadline:
            time.sleep(0.02)
    assert receiver.events("stock.created"), "an undelivered webhook survives too"


def test_sigterm_ends_it_promptly_even_while_it_answers_slowly(tmp_path: Path) -> None:
    with running("--demo", "--data", str(tmp_path / "s.sqlite")) as program:
        token = program.post("/tokens", account="matriz")["access_token"]
        program.post("/fault", kind="slow", next=1, seconds=30)
        headers = {"Authorization": f"Bearer {token}", "enable-jwt": "1"}
        with pytest.raises(requests.ReadTimeout):
            requests.get(f"{program.url}/Api/v3/depositos", headers=headers, timeout=0.2)
        started_at = time.monotonic()

        program.process.send_signal(signal.SIGTERM)

        assert program.process.wait(10) == 0
        assert time.monotonic() - started_at < 2


def test_it_ends_however_often_it_is_told_to(tmp_path: Path) -> None:
    """Its supervisor, the kernel and whoever stops a group of processes may all say so at the same moment."""
    with running("--data", str(tmp_path / "s.sqlite")) as program:
        deadline = time.monotonic() + 10
        while program.process.poll() is None and time.monotonic() < deadline:
            program.process.send_signal(signal.SIGTERM)
            time.sleep(0.0001)

        # Python hands signals that come at its very end back to the kernel.
        assert program.process.poll() in (0, -signal.SIGTERM)


def test_tokens_are_written_for_their_owner_only_and_can_be_printed(tmp_path: Path) -> None:
    data, tokens = tmp_path / "s.sqlite", tmp_path / "tokens.json"

    with running("--demo", "--data", str(data), "--tokens-out", str(tokens)):
        rows = json.loads(tokens.read_text())
        command = [sys.executable, "-m", "sandbox", "tokens", "--data", str(data)]
        printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    assert [(row["key"], row["name"]) for row in rows] == [
        ("matriz", "Matriz"),
        ("filial", "Filial"),
        ("avulsa", "Avulsa"),
    ]
    assert [d["name"] for d in rows[0]["deposits"]] == ["Geral", "Loja virtual"]
    assert rows[0]["expires_in"] > 21_000
    assert len(rows[0]["company_id"]) == 32
    assert json.loads(printed.stdout)[0]["access_token"] == rows[0]["access_token"]
    for path in tmp_path.iterdir():
        if path.suffix != ".lock":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_a_second_program_over_the_same_file_or_port_says_so(tmp_path: Path) -> None:
    data = str(tmp_path / "s.sqlite")

    with running("--demo", "--data", data) as first:
        port = first.url.rpartition(":")[2]
        same_file = [sys.executable, "-m", "sandbox", "--data", data, "--port", "0"]
        same_port = [sys.executable, "-m", "sandbox", "--port", port]
        answers = [
            subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20)
            for command in (same_file, same_port)
        ]

    assert [answer.returncode for answer in answers] == [1, 1]
    assert "in use by another sandbox" in answers[0].stderr
    assert f"port {port}" in answers[1].stderr
    assert all(len(answer.stderr.splitlines()) == 1 for answer in answers)


def test_tokens_of_a_missing_file_are_refused_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sandbox", "tokens", "--data", str(tmp_path / "nada.sqlite")]

    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert answer.returncode == 1
    assert len(answer.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_starting_again_moves_the_app_to_its_new_addresses(tmp_path: Path) -> None:
    data = str(tmp_path / "s.sqlite")
    with running("--demo", "--data", data, "--webhook-url", "http://127.0.0.1:1/a"):
        pass

    with running("--demo", "--data", data, "--webhook-url", "http://127.0.0.1:2/b") as second:
        state = requests.get(f"{second.url}/sandbox/api/state", timeout=5).json()

    assert [app["webhook_url"] for app in state["apps"]] == ["http://127.0.0.1:2/b"]
    assert len(state["accounts"]) == 3


def test_the_demo_has_the_oddities_of_real_catalogues() -> None:
    bling = Bling(seed=1, background=False)

    assert seed(bling) is True
    assert seed(bling) is False

    products = list(bling.world.products.values())
    per_account = {key: [p.sku for p in products if p.account == key] for key in bling.world.accounts}
    assert list(per_account) == ["matriz", "filial", "avulsa"]
    assert all(50 <= len(skus) <= 70 for skus in per_account.values())
    assert per_account["filial"].count("CAN-GEL-01") == 2
    assert per_account["matriz"].count("") == 1
    assert "MEL-SIL-280" not in per_account["avulsa"]
    assert {p.format for p in products} == {"S", "V", "E"}
    assert {p.situation for p in products} == {"A", "I", "E"}
    assert any(p.parent_id for p in products)
    assert bling.balance("avulsa", "PRA-SOB-19").physical == 0
    assert bling.balance("matriz", "CAS-PAR-KG").physical == Decimal("9.375")
    assert bling.balance("filial", "PRA-RAS-26").reserved == 6
    ids = {bling.product(key, "CAN-PRE-01").id for key in bling.world.accounts}
    assert len(ids) == 3
    bling.close()


def test_everything_a_file_holds_comes_back_the_same(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    first = Bling(path, seed=1, background=False)
    first.add_app("a", "s", webhook_url="http://127.0.0.1:1/")
    seed(first)
    first.issue_tokens("matriz")
    first.sell("matriz", "CAF-TOR-500", "0.001")
    first.delete_product("matriz", "CHA-HOR-15")
    tables = (
        "apps", "accounts", "deposits", "products", "cells", "orders", "movements", "grants", "deliveries",
        "counters",
    )  # fmt: skip
    had = {name: dict(getattr(first.world, name)) for name in tables}
    first.close()

    second = Bling(path, background=False)

    for name in tables:
        assert getattr(second.world, name) == had[name], name
        assert list(getattr(second.world, name)) == list(had[name]), name
    assert second.add_product("matriz", "NOVO").id > max(had["products"])
    second.close()
