"""A sandbox with one account behind a real HTTP server, and a client that checks every answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from sandbox import Bling, Server, serve
from tests.sandbox.contract import assert_described
from tests.sandbox.receiver import Receiver

CLIENT_ID, CLIENT_SECRET = "app-1", "segredo-do-app"


class Clock:
    """Time that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 1_767_355_200.0  # 2026-01-02T12:00:00Z

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Api:
    """The API as a client sees it; every answer must be one that the description allows."""

    def __init__(self, url: str, token: str) -> None:
        self._base = f"{url}/Api/v3"
        self._session = requests.Session()
        self._session.headers.update({"Authorization": f"Bearer {token}", "enable-jwt": "1"})

    def call(self, method: str, path: str, **arguments: Any) -> requests.Response:
        answer = self._session.request(method, self._base + path, timeout=10, **arguments)
        assert_described(method, path, answer.status_code, answer.json())
        return answer

    def get(self, path: str, **params: Any) -> requests.Response:
        return self.call("GET", path, params=params)

    def data(self, path: str, **params: Any) -> Any:
        answer = self.get(path, **params)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def balances(self, ids: list[int], sign: int | None = None, **params: Any) -> Any:
        if sign is not None:
            params["filtroSaldoEstoque"] = sign
        return self.data("/estoques/saldos", **{"idsProdutos[]": ids}, **params)

    def move(self, product: int, deposit: int, operation: str, quantity: Any) -> requests.Response:
        body = {
            "produto": {"id": product},
            "deposito": {"id": deposit},
            "operacao": operation,
            "quantidade": quantity,
        }
        return self.call("POST", "/estoques", json=body)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.stop()


@pytest.fixture
def bling(receiver: Receiver) -> Iterator[Bling]:
    """One account "matriz" with two deposits, limits off, its webhooks to the receiver as soon as it authorizes."""
    bling = Bling(seed=7)
    bling.no_limits()
    bling.add_app(CLIENT_ID, CLIENT_SECRET, webhook_url=receiver.url)
    bling.add_account("matriz", "Matriz", deposits=("Geral", "Loja virtual"))
    bling.add_account("filial", "Filial")
    yield bling
    bling.close()


@pytest.fixture
def server(bling: Bling) -> Iterator[Server]:
    with serve(bling) as server:
        yield server


@pytest.fixture
def api(bling: Bling, server: Server) -> Api:
    return Api(server.url, bling.issue_tokens("matriz").access_token)


@pytest.fixture
def geral(bling: Bling) -> int:
    return bling.catalog.find_deposit("matriz", "Geral").id


@pytest.fixture
def loja(bling: Bling) -> int:
    return bling.catalog.find_deposit("matriz", "Loja virtual").id
