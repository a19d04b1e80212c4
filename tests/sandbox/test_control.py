"""The control API: what another process may do to the sandbox, as JSON."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from sandbox import Bling, Server


class Control:
    def __init__(self, url: str) -> None:
        self._base = f"{url}/sandbox/api"

    def get(self, path: str, **params: Any) -> Any:
        answer = requests.get(self._base + path, params=params, timeout=5)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, **body: Any) -> Any:
        answer = requests.post(self._base + path, json=body, timeout=5)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refusal(self, path: str, **body: Any) -> str:
        answer = requests.post(self._base + path, json=body, timeout=5)
        assert answer.status_code == 400
        return str(answer.json()["error"])


@pytest.fixture
def control(bling: Bling, server: Server) -> Control:
    bling.add_product("matriz", "CAN", stock="10")
    return Control(server.url)


def balance(control: Control) -> tuple[float, float]:
    (product,) = control.get("/balances", account="matriz", sku="CAN")["balances"]
    geral = product["deposits"][0]
    return geral["physical"], geral["virtual"]


def test_it_sells_receives_counts_reserves_posts_and_cancels(control: Control) -> None:
    sku = {"account": "matriz", "sku": "CAN"}

    control.post("/sell", **sku, quantity=2)
    assert balance(control) == (8, 8)
    control.post("/receive", **sku, quantity="0.5")
    assert balance(control) == (8.5, 8.5)
    control.post("/count", **sku, quantity=20, deposit="Geral")
    assert balance(control) == (20, 20)
    posted = control.post("/reserve", **sku, quantity=3)["order"]
    cancelled = control.post("/reserve", **sku, quantity=4)["order"]
    assert balance(control) == (20, 13)
    control.post("/post", order=posted)
    control.post("/cancel", order=cancelled)
    assert balance(control) == (17, 17)
    moved = control.post("/move", **sku, operation="S", quantity=1, note="teste")
    assert (moved["before"], moved["after"]) == (17, 16)

    movements = control.get("/movements", account="matriz")["movements"]
    assert [(m["operation"], m["quantity"], m["origin"]) for m in movements] == [
        ("S", 2, "order"), ("E", 0.5, "screen"), ("B", 20, "screen"), ("S", 3, "order"),
        ("S", 1, "screen"),
    ]  # fmt: skip
    states = [order["state"] for order in control.get("/orders", account="matriz")["orders"]]
    assert states == ["posted", "posted", "cancelled"]


def test_it_creates_accounts_apps_tokens_and_products(control: Control, bling: Bling) -> None:
    control.post("/account", key="nova", name="Nova", deposits=["Geral", "Loja"])
    control.post(
        "/app",
        client_id="app-2",
        client_secret="s",
        redirect_uri="http://localhost/cb",
        kind="own",
        owner="nova",
    )
    tokens = control.post("/tokens", account="nova", client_id="app-2")
    made = control.post("/product", account="nova", sku="X", stock={"Loja": 2.5})

    assert bling.grants.bearer(tokens["access_token"]) is not None
    assert bling.balance("nova", made["product"], "Loja").physical == bling.balance("nova", "X", "Loja").physical
    assert str(bling.balance("nova", "X", "Loja").physical) == "2.5"
    control.post("/product/edit", account="nova", sku="X", changes={"sku": "Y", "price": 3.5})
    assert bling.product("nova", "Y").id == made["product"]
    control.post("/product/delete", account="nova", sku="Y")
    assert control.get("/balances", account="nova") == {"balances": []}
    control.post("/revoke", account="nova")
    assert bling.grants.bearer(tokens["access_token"]) is None


def test_it_sets_faults_and_settings_and_resets(control: Control, bling: Bling) -> None:
    control.post("/fault", kind="slow", rate=0.5, seconds=3, account="matriz")
    control.post("/fault", kind="cut_after", next=2)
    control.post("/settings", rate_per_second=7, retry_delays_s=[1, 2], float_noise=True)

    assert control.get("/faults")["faults"] == [
        {"kind": "cut_after", "account": None, "rate": 0, "next": 2, "seconds": 0},
        {"kind": "slow", "account": "matriz", "rate": 0.5, "next": 0, "seconds": 3},
    ]
    settings = control.get("/settings")
    assert (settings["rate_per_second"], settings["retry_delays_s"]) == (7, [1, 2])
    control.post("/faults/clear")
    assert control.get("/faults")["faults"] == []

    bling.issue_tokens("matriz")
    control.post("/sell", account="matriz", sku="CAN", quantity=1)
    assert bling.wait_delivered()
    assert control.get("/deliveries")["counts"] == {"delivered": 3}
    control.post("/reset")
    assert control.get("/deliveries")["deliveries"] == []
    assert balance(control) == (9, 9), "the stock stays"


def test_deliveries_show_body_and_attempts_and_can_be_sent_again(control: Control, bling: Bling) -> None:
    bling.issue_tokens("matriz")
    control.post("/receive", account="matriz", sku="CAN", quantity=1)
    assert bling.wait_delivered()

    (shown,) = control.get("/deliveries", event="stock.created")["deliveries"]
    control.post("/redeliver", delivery=shown["delivery"])

    assert shown["body"]["data"]["quantidade"] == 1
    assert shown["attempts"][0]["status"] == 200
    assert bling.wait_delivered()
    (again,) = control.get("/deliveries", event="stock.created")["deliveries"]
    assert len(again["attempts"]) == 2


def test_the_request_log_says_who_asked_what(control: Control, bling: Bling, server: Server) -> None:
    token = bling.issue_tokens("matriz").access_token
    headers = {"Authorization": f"Bearer {token}", "enable-jwt": "1"}
    requests.get(f"{server.url}/Api/v3/depositos?situacao=0", headers=headers, timeout=5)
    requests.get(f"{server.url}/Api/v3/produtos/1", headers=headers, timeout=5)

    log = control.get("/requests", account="matriz")

    assert log["today"] == {"matriz": 2, "filial": 0}
    assert [(r["path"], r["query"], r["status"]) for r in log["requests"]] == [
        ("/Api/v3/depositos", "situacao=0", 200),
        ("/Api/v3/produtos/1", "", 404),
    ]


def test_the_state_names_everything_but_secrets(control: Control) -> None:
    state = control.get("/state")

    assert [account["key"] for account in state["accounts"]] == ["matriz", "filial"]
    assert state["accounts"][0]["deposits"][0]["name"] == "Geral"
    assert "segredo" not in str(state)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/sell", {"account": "matriz", "sku": "CAN", "quantity": 0}),
        ("/sell", {"account": "matriz", "sku": "CAN", "quantity": "muito"}),
        ("/sell", {"account": "matriz", "sku": "NADA", "quantity": 1}),
        ("/sell", {"account": "ninguem", "sku": "CAN", "quantity": 1}),
        ("/sell", {"account": "matriz", "sku": "CAN"}),
        ("/sell", {"account": "matriz", "sku": "CAN", "quantity": 1, "cor": "azul"}),
        ("/sell", {"account": "matriz", "quantity": 1}),
        ("/sell", {"account": "matriz", "sku": "CAN", "quantity": 1, "deposit": "Lua"}),
        ("/move", {"account": "matriz", "sku": "CAN", "quantity": 1, "operation": "X"}),
        ("/post", {"order": 1}),
        ("/fault", {"kind": "nada"}),
        ("/settings", {"rate_per_second": "muitas"}),
        ("/settings", {"nada": 1}),
        ("/tokens", {"account": "matriz", "client_id": "ninguem"}),
        ("/product/edit", {"account": "matriz", "sku": "CAN", "changes": {"situation": "X"}}),
        ("/product/edit", {"account": "matriz", "sku": "CAN", "changes": {"price": "caro"}}),
        ("/redeliver", {"delivery": 99}),
        ("/product", {"account": "matriz", "sku": "Z", "stock": "muito"}),
        ("/product", {"account": "matriz", "sku": "Z", "cor": "azul"}),
    ],
)
def test_what_is_impossible_is_refused_in_words(control: Control, path: str, body: dict[str, Any]) -> None:
    assert control.refusal(path, **body)
    assert balance(control) == (10, 10)
