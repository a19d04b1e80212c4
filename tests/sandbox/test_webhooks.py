"""Webhooks: what is announced, in which shape, signed by whom, and how a failed delivery is tried again."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Iterator
from decimal import Decimal

import pytest

from sandbox import Bling
from tests.sandbox.conftest import CLIENT_ID, CLIENT_SECRET, Api, Clock
from tests.sandbox.contract import assert_same_shape, webhook_examples
from tests.sandbox.receiver import Receiver


@pytest.fixture
def can(bling: Bling) -> int:
    """A product with 10 in stock in an account that has authorized the app."""
    number = bling.add_product("matriz", "CAN", "Caneca", stock="10", price="5.5").id
    bling.issue_tokens("matriz")
    return number


@pytest.fixture
def still(clock: Clock, receiver: Receiver) -> Iterator[Bling]:
    """A sandbox without threads, in time that stands still."""
    bling = Bling(seed=3, clock=clock, sleep=clock.sleep, background=False)
    bling.add_app(CLIENT_ID, CLIENT_SECRET, webhook_url=receiver.url)
    bling.add_account("matriz")
    bling.add_product("matriz", "CAN", stock="10")
    bling.configure(virtual_with_stock=False)
    bling.issue_tokens("matriz")
    yield bling
    bling.close()


def test_every_event_has_the_shape_of_bling_s_example(bling: Bling, receiver: Receiver, can: int) -> None:
    bling.edit_product("matriz", can, name="Caneca nova")
    order = bling.reserve("matriz", "CAN", "2")
    bling.post(order.id)
    bling.delete_order(bling.reserve("matriz", "CAN", "1").id)
    movement = bling.receive("matriz", "CAN", "1.5")
    bling.edit_movement(movement.id, "2")
    bling.delete_movement(movement.id)
    bling.add_product("matriz", "OUTRO")
    bling.delete_product("matriz", "OUTRO")

    assert bling.wait_delivered()
    seen = {event["event"]: event for event in receiver.events()}
    assert set(seen) == {
        "product.created", "product.updated", "product.deleted", "order.created", "order.updated",
        "order.deleted", "stock.created", "stock.updated", "stock.deleted", "virtual_stock.updated",
    }  # fmt: skip
    for kind, event in seen.items():
        assert_same_shape(webhook_examples()[kind], event, kind)
        assert event["companyId"] == bling.world.accounts["matriz"].company_id
        assert event["version"] == "v1"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", event["date"])


def test_the_raw_body_is_signed_with_the_app_s_secret(bling: Bling, receiver: Receiver, can: int) -> None:
    bling.edit_product("matriz", can, name="Caneca de porcelana — edição açaí")

    assert bling.wait_delivered()
    (one,) = receiver.received
    digest = hmac.new(CLIENT_SECRET.encode(), one.raw, hashlib.sha256).hexdigest()
    assert one.headers["X-Bling-Signature-256"] == f"sha256={digest}"
    assert one.headers["Content-Type"] == "application/json"
    assert "edição açaí" in one.raw.decode()


def test_event_ids_are_version_7_and_sort_in_the_order_of_the_events(
    bling: Bling, receiver: Receiver, can: int
) -> None:
    for _ in range(50):
        bling.receive("matriz", "CAN", 1)

    ids = [d.event_id for d in bling.deliveries()]
    assert ids == sorted(ids)
    assert len(set(ids)) == 100
    pattern = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
    assert all(re.fullmatch(pattern, one) for one in ids)
    assert bling.wait_delivered()
    assert [event["eventId"] for event in receiver.events()] == ids


def test_a_write_of_our_own_program_is_announced_too(api: Api, bling: Bling, receiver: Receiver, geral: int) -> None:
    product = bling.add_product("matriz", "CAN", stock="10", announce=False)

    api.move(product.id, geral, "S", 0.25)

    assert bling.wait_delivered()
    stock, virtual = receiver.events()
    assert stock["event"] == "stock.created"
    assert stock["data"] == {
        "produto": {"id": product.id},
        "deposito": {"id": geral, "saldoFisico": 9.75, "saldoVirtual": 9.75},
        "operacao": "S",
        "quantidade": 0.25,
        "saldoFisicoTotal": 9.75,
        "saldoVirtualTotal": 9.75,
    }
    assert virtual["event"] == "virtual_stock.updated"


def test_a_count_names_the_balance_it_set(bling: Bling, receiver: Receiver, can: int) -> None:
    bling.count("matriz", "CAN", "7")

    assert bling.wait_delivered()
    (event,) = receiver.events("stock.created")
    assert (event["data"]["operacao"], event["data"]["quantidade"]) == ("B", 7)
    assert event["data"]["deposito"]["saldoFisico"] == 7


def test_the_virtual_event_beside_a_stock_event_can_be_switched_off(bling: Bling, receiver: Receiver, can: int) -> None:
    bling.configure(virtual_with_stock=False)

    bling.receive("matriz", "CAN", 1)
    bling.reserve("matriz", "CAN", 2)

    assert bling.wait_delivered()
    assert [e["event"] for e in receiver.events()] == [
        "stock.created",
        "order.created",
        "virtual_stock.updated",
    ]


def test_a_reservation_changes_the_virtual_balance_only(
    bling: Bling, receiver: Receiver, can: int, geral: int, loja: int
) -> None:
    order = bling.reserve("matriz", "CAN", 3)
    bling.cancel(order.id)

    assert bling.wait_delivered()
    reserved, cancelled = receiver.events("virtual_stock.updated")
    assert reserved["data"]["vinculoComplexo"] is False
    assert (reserved["data"]["saldoFisicoTotal"], reserved["data"]["saldoVirtualTotal"]) == (10, 7)
    assert [d["id"] for d in reserved["data"]["depositos"]] == [geral, loja]
    assert cancelled["data"]["saldoVirtualTotal"] == 10
    assert receiver.events("stock.created") == []


def test_a_component_announces_the_balances_of_its_compositions(bling: Bling, receiver: Receiver, can: int) -> None:
    kit = bling.add_product("matriz", "KIT", components={"CAN": 2}, announce=False)
    bling.configure(virtual_with_stock=False)

    bling.sell("matriz", "CAN", 4)

    assert bling.wait_delivered()
    (event,) = receiver.events("virtual_stock.updated")
    assert event["data"]["produto"] == {"id": kit.id}
    assert event["data"]["saldoVirtualTotal"] == 3


def test_more_than_200_linked_products_are_announced_as_a_complex_link(
    bling: Bling, receiver: Receiver, can: int
) -> None:
    bling.configure(virtual_with_stock=False)
    for number in range(201):
        bling.add_product("matriz", f"KIT-{number}", components={"CAN": 1}, announce=False)

    bling.receive("matriz", "CAN", 1)

    assert bling.wait_delivered()
    (event,) = receiver.events("virtual_stock.updated")
    assert event["data"]["vinculoComplexo"] is True
    assert event["data"]["produto"] == {"id": can}


def test_setting_the_situation_to_deleted_fires_updated(bling: Bling, receiver: Receiver, can: int) -> None:
    bling.edit_product("matriz", can, situation="E")

    assert bling.wait_delivered()
    (event,) = receiver.events()
    assert event["event"] == "product.updated"
    assert event["data"]["situacao"] == "E"


def test_webhooks_start_with_the_authorization_and_end_with_it(bling: Bling, receiver: Receiver) -> None:
    bling.add_product("matriz", "CAN", stock="10")
    bling.receive("matriz", "CAN", 1)
    bling.issue_tokens("matriz")
    bling.receive("matriz", "CAN", 1)
    bling.revoke("matriz")
    bling.receive("matriz", "CAN", 1)

    assert bling.wait_delivered()
    assert [e["data"]["saldoFisicoTotal"] for e in receiver.events("stock.created")] == [12]


def test_an_own_app_gets_its_events_at_its_own_address_with_its_own_secret(
    bling: Bling, receiver: Receiver, can: int
) -> None:
    other = Receiver()
    bling.add_app("app-proprio", "outro-segredo", kind="own", owner="matriz", webhook_url=other.url)
    bling.issue_tokens("matriz", "app-proprio")

    bling.edit_product("matriz", can, name="Nova")

    assert bling.wait_delivered()
    other.stop()
    (one,) = other.received
    digest = hmac.new(b"outro-segredo", one.raw, hashlib.sha256).hexdigest()
    assert one.headers["X-Bling-Signature-256"] == f"sha256={digest}"
    assert len(receiver.received) == 1


@pytest.mark.parametrize("refusal", [500, 401, 302, 404])
def test_anything_but_2xx_is_tried_again_with_growing_delays(
    still: Bling, receiver: Receiver, clock: Clock, refusal: int
) -> None:
    still.configure(retry_delays_s=[2, 5, 10])
    receiver.answers = [refusal] * 4
    still.receive("matriz", "CAN", 1)

    waits = []
    while still.pump():
        due = still.next_due()
        if due is None:
            break
        waits.append(due - clock.now)
        clock.now = due

    assert waits == [2, 5, 10, 10]
    (delivery,) = still.deliveries()
    assert delivery.state == "delivered"
    assert [a["status"] for a in delivery.attempts] == [refusal] * 4 + [200]
    assert len({one.raw for one in receiver.received}) == 1, "a retry is the same event"


def test_a_receiver_that_is_too_slow_gets_the_event_again(bling: Bling, receiver: Receiver, can: int) -> None:
    bling.configure(webhook_timeout_s=0.1, retry_delays_s=[0.2], virtual_with_stock=False)
    receiver.pause_s = 0.3
    bling.receive("matriz", "CAN", 1)
    deadline = time.monotonic() + 10
    while not receiver.received and time.monotonic() < deadline:
        time.sleep(0.01)
    receiver.pause_s = 0.0

    while not bling.deliveries(state="delivered") and time.monotonic() < deadline:
        time.sleep(0.01)

    first, second = receiver.received
    assert first.raw == second.raw
    (delivery,) = bling.deliveries()
    assert [a["status"] for a in delivery.attempts] == [0, 200]


def test_a_receiver_that_is_down_loses_nothing(clock: Clock, receiver: Receiver, still: Bling) -> None:
    still.edit_app(CLIENT_ID, webhook_url="http://127.0.0.1:9/nada")
    still.receive("matriz", "CAN", 1)
    still.pump()
    still.edit_app(CLIENT_ID, webhook_url=receiver.url)
    clock.now += 10

    still.pump()

    assert len(receiver.events("stock.created")) == 1


def test_after_three_days_the_resource_is_switched_off_until_a_person_switches_it_on(
    still: Bling, receiver: Receiver, clock: Clock
) -> None:
    receiver.answers = [500] * 1000
    still.receive("matriz", "CAN", 1)
    started_at = clock.now
    while (due := still.next_due()) is not None:
        clock.now = due
        still.pump()
    receiver.answers = []

    assert 3 * 86_400 <= clock.now - started_at < 3.5 * 86_400
    still.receive("matriz", "CAN", 1)
    still.edit_product("matriz", "CAN", name="Nova")
    still.pump()
    assert [d.state for d in still.deliveries()] == ["given_up", "off", "delivered"]

    still.webhooks.switch_on("matriz")
    still.receive("matriz", "CAN", 1)
    still.pump()
    assert receiver.events("stock.created")[-1]["data"]["saldoFisicoTotal"] == 13


def test_a_lost_webhook_is_never_sent(still: Bling, receiver: Receiver, clock: Clock) -> None:
    still.faults.set("webhook_lost", next=1)
    still.receive("matriz", "CAN", 1)
    still.receive("matriz", "CAN", 1)

    clock.now += 86_400
    still.pump()

    assert [e["data"]["saldoFisicoTotal"] for e in receiver.events()] == [12]
    assert [d.state for d in still.deliveries()] == ["lost", "delivered"]
    assert still.balance("matriz", "CAN").physical == 12


def test_a_duplicate_is_the_same_event_twice(still: Bling, receiver: Receiver) -> None:
    still.faults.set("webhook_duplicate", next=1)
    still.receive("matriz", "CAN", 1)

    still.pump()

    first, second = receiver.received
    assert first.raw == second.raw


def test_a_late_webhook_comes_when_its_time_has_come(still: Bling, receiver: Receiver, clock: Clock) -> None:
    still.faults.set("webhook_late", next=1, seconds=30)
    still.receive("matriz", "CAN", 1)

    clock.now += 29
    still.pump()
    assert receiver.received == []
    clock.now += 1
    still.pump()
    assert len(receiver.received) == 1


def test_a_reordered_webhook_is_overtaken_by_the_next_one(still: Bling, receiver: Receiver, clock: Clock) -> None:
    still.faults.set("webhook_reordered", next=1, seconds=30)
    for _ in range(3):
        still.receive("matriz", "CAN", 1)

    still.pump()

    totals = [e["data"]["saldoFisicoTotal"] for e in receiver.events()]
    assert totals == [12, 11, 13]


def test_a_redelivery_sends_the_same_event_again(still: Bling, receiver: Receiver) -> None:
    still.receive("matriz", "CAN", 1)
    still.pump()

    still.redeliver(still.deliveries()[0].id)
    still.pump()

    first, second = receiver.received
    assert first.raw == second.raw


def test_one_slow_account_does_not_hold_up_another(bling: Bling, receiver: Receiver, can: int) -> None:
    bling.configure(virtual_with_stock=False)
    dead = Receiver()
    dead.pause_s = 2.0
    bling.add_app("lento", "s", kind="own", owner="filial", webhook_url=dead.url)
    bling.add_product("filial", "CAN", stock="1")
    bling.issue_tokens("filial", "lento")
    bling.receive("filial", "CAN", 1)
    started_at = time.monotonic()

    bling.receive("matriz", "CAN", 1)

    while not receiver.received and time.monotonic() - started_at < 5:
        time.sleep(0.005)
    took_s = time.monotonic() - started_at
    dead.stop()
    assert took_s < 1.5


def test_the_background_thread_sends_hundreds_of_events_in_order(bling: Bling, receiver: Receiver, can: int) -> None:
    bling.configure(virtual_with_stock=False)
    for _ in range(200):
        bling.receive("matriz", "CAN", "0.5")

    assert bling.wait_delivered(30)
    totals = [Decimal(str(e["data"]["saldoFisicoTotal"])) for e in receiver.events()]
    assert totals == [10 + Decimal(n) / 2 for n in range(1, 201)]


def test_an_account_s_deliveries_can_run_side_by_side(bling: Bling, receiver: Receiver, can: int) -> None:
    bling.configure(virtual_with_stock=False, parallel_deliveries=8)
    receiver.pause_s = 0.3
    started_at = time.monotonic()

    for _ in range(8):
        bling.receive("matriz", "CAN", 1)

    assert bling.wait_delivered()
    assert len(receiver.received) == 8
    assert time.monotonic() - started_at < 1.5
