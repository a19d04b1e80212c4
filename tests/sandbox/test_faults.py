"""Faults on demand: each strikes as often as it was set to, and says truly whether a write was applied."""

from __future__ import annotations

import time
from decimal import Decimal

import pytest
import requests

from sandbox import Bling, SandboxError, Server, create_app
from sandbox.faults import Faults
from tests.sandbox.conftest import Api, Clock


@pytest.fixture
def can(bling: Bling) -> int:
    return bling.add_product("matriz", "CAN", stock="10").id


def stock_of(bling: Bling) -> Decimal:
    return bling.balance("matriz", "CAN").physical


def test_a_cut_before_the_write_leaves_the_stock_alone(api: Api, bling: Bling, can: int, geral: int) -> None:
    bling.faults.set("cut_before", next=1)

    with pytest.raises(requests.ConnectionError):
        api.move(can, geral, "S", 1)

    assert stock_of(bling) == 10
    assert api.move(can, geral, "S", 1).status_code == 201


def test_a_cut_after_the_write_has_changed_the_stock(api: Api, bling: Bling, can: int, geral: int) -> None:
    bling.faults.set("cut_after", next=1)

    with pytest.raises(requests.ConnectionError):
        api.move(can, geral, "S", 1)

    assert stock_of(bling) == 9
    assert [(r.status, r.fault) for r in bling.requests()] == [(0, "cut_after")]


def test_an_error_500_applies_nothing_and_the_other_one_does(api: Api, bling: Bling, can: int, geral: int) -> None:
    bling.faults.set("error_500", next=1)
    before = api.move(can, geral, "S", 1)
    left_alone = stock_of(bling)
    bling.faults.set("error_500_after", next=1)
    after = api.move(can, geral, "S", 1)

    assert (before.status_code, after.status_code) == (500, 500)
    assert before.json() == after.json(), "nobody can tell them apart"
    assert (left_alone, stock_of(bling)) == (Decimal(10), Decimal(9))


def test_write_faults_leave_reads_alone_and_a_read_can_be_cut_too(api: Api, bling: Bling, can: int) -> None:
    for kind in ("cut_before", "cut_after", "error_500_after"):
        bling.faults.set(kind, rate=1)
    assert api.balances([can])

    bling.faults.set("cut_read", next=1)
    with pytest.raises(requests.ConnectionError):
        api.balances([can])


def test_an_account_can_refuse_its_token_for_a_while(api: Api, bling: Bling, server: Server, can: int) -> None:
    bling.faults.set("unauthorized", rate=1, account="matriz")
    other = Api(server.url, bling.issue_tokens("filial").access_token)

    assert api.get("/depositos").status_code == 401
    assert other.get("/depositos").status_code == 200
    bling.faults.set("unauthorized", account="matriz")
    assert api.get("/depositos").status_code == 200


@pytest.mark.parametrize(("kind", "status"), [("rate_limited", 429), ("forbidden", 403)])
def test_a_request_can_be_refused_out_of_the_blue(api: Api, bling: Bling, kind: str, status: int) -> None:
    bling.faults.set(kind, next=2)

    assert [api.get("/depositos").status_code for _ in range(3)] == [status, status, 200]


def test_a_slow_answer_takes_its_time(api: Api, bling: Bling) -> None:
    bling.faults.set("slow", next=1, seconds=0.3)
    started_at = time.monotonic()

    assert api.get("/depositos").status_code == 200

    assert time.monotonic() - started_at >= 0.3


def test_a_client_that_gives_up_on_a_slow_write_may_have_written(
    bling: Bling, server: Server, can: int, geral: int
) -> None:
    bling.faults.set("slow_after", next=1, seconds=0.4)
    headers = {"Authorization": f"Bearer {bling.issue_tokens('matriz').access_token}", "enable-jwt": "1"}
    body = {
        "produto": {"id": can},
        "deposito": {"id": geral},
        "operacao": "S",
        "quantidade": 1,
    }

    with pytest.raises(requests.ReadTimeout):
        requests.post(f"{server.url}/Api/v3/estoques", json=body, headers=headers, timeout=0.15)

    assert stock_of(bling) == 9


def test_stale_balances_are_those_of_some_seconds_ago(api: Api, bling: Bling, can: int, geral: int) -> None:
    bling.world.clock = clock = Clock()
    token = bling.issue_tokens("matriz").access_token
    api._session.headers["Authorization"] = f"Bearer {token}"

    def shown(sign: int = 1) -> list[float]:
        return [balance["saldoVirtualTotal"] for balance in api.balances([can], sign)]

    bling.faults.set("stale", rate=1, seconds=5)
    bling.receive("matriz", "CAN", 1)
    clock.now += 3
    bling.reserve("matriz", "CAN", 2)
    assert shown() == [10]
    clock.now += 2
    assert shown() == [11]
    clock.now += 3
    assert shown() == [9]
    bling.faults.clear()
    bling.receive("matriz", "CAN", 1)
    assert shown() == [10]


def test_the_same_seed_draws_the_same_faults() -> None:
    def draw(seed: int) -> list[bool]:
        faults = Faults(seed)
        faults.set("error_500", rate=0.3)
        return [faults.hit("error_500", "matriz") is not None for _ in range(200)]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    assert 35 <= sum(draw(1)) <= 85


def test_an_account_s_own_switch_comes_before_everyone_s() -> None:
    faults = Faults(1)
    faults.set("slow", rate=1, seconds=1)
    faults.set("slow", rate=1, seconds=9, account="matriz")

    mine, other = faults.hit("slow", "matriz"), faults.hit("slow", "filial")

    assert mine is not None
    assert mine.seconds == 9
    assert other is not None
    assert other.seconds == 1


@pytest.mark.parametrize(
    "arguments",
    [{"kind": "nada"}, {"kind": "slow", "rate": 1.3}, {"kind": "slow", "next": -1}, {"kind": "slow", "seconds": -1}],
)
def test_an_impossible_fault_is_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(SandboxError):
        Faults(1).set(**arguments)  # type: ignore[arg-type]


def test_without_a_socket_the_caller_in_the_same_process_sees_the_cut(bling: Bling, can: int) -> None:
    client = create_app(bling).test_client()
    token = bling.issue_tokens("matriz").access_token
    bling.faults.set("cut_read", next=1)

    with pytest.raises(ConnectionResetError):
        client.get("/Api/v3/depositos", headers={"Authorization": f"Bearer {token}", "enable-jwt": "1"})


def test_with_a_seed_and_a_clock_of_its_own_the_whole_sandbox_repeats_itself() -> None:
    def play() -> list[tuple[str, str, float]]:
        clock = Clock()
        sent: list[str] = []

        def send(_: str, body: bytes, __: dict[str, str], ___: float) -> int:
            sent.append(body.decode())
            return 200 if len(sent) % 3 else 503

        bling = Bling(seed=11, clock=clock, background=False, send=send)
        bling.add_app("a", "s", webhook_url="http://receiver.example/")
        bling.add_account("matriz")
        bling.add_product("matriz", "CAN", stock="100")
        token = bling.issue_tokens("matriz").access_token
        for kind in ("webhook_lost", "webhook_late", "webhook_duplicate", "webhook_reordered"):
            bling.faults.set(kind, rate=0.3)
        for _ in range(40):
            bling.sell("matriz", "CAN", "0.5")
            clock.now += 1
            bling.pump()
        while (due := bling.next_due()) is not None:
            clock.now = due
            bling.pump()
        bling.close()
        return [(token, body, clock.now) for body in sent]

    first = play()
    assert len(first) > 80
    assert play() == first
