"""The address that Bling posts to: who is believed, what is kept, and that nobody waits for anything else."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import io
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import time_machine
from flask import Flask
from redis import Redis
from werkzeug.serving import make_server
from werkzeug.test import TestResponse

import db
import queues
from app import MAX_BODY_BYTES
from clock import utcnow
from config import Config
from devserver.redis_server import RedisProcess
from jobs.schedule import tick
from models import Account, DirtySku, Event
from sandbox import Bling
from services.secrets import seal
from tests.conftest import Browser
from tests.factories import make_account, make_deposit, make_organization, make_product
from tests.stage import SHELF, SHOP, staged

EXAMPLES: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "fixtures/bling/webhook-examples.json").read_text(encoding="utf-8")
)
COMPANY = "d4475854366a36c86a37e792f9634a51"
SHARED = "segredo-do-app"
OWN = "segredo-da-filial"
HEADER = "X-Bling-Signature-256"


def signature(body: bytes, secret: str = SHARED) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def stock_event(company: str = COMPANY, event_id: str = "01945027-150e-72b4-e7cf-4943a042cd07", **data: Any) -> bytes:
    event = EXAMPLES["stock.created"]
    return json.dumps({**event, "companyId": company, "eventId": event_id, "data": {**event["data"], **data}}).encode()


def post(client: Any, body: bytes, *, key: str | None = None, secret: str = SHARED) -> TestResponse:
    """What Bling does: no session, no CSRF token, a signature."""
    address = "/webhooks/bling" if key is None else f"/webhooks/bling/{key}"
    answer = Browser.post(client, address, csrf=False, data=body, headers={HEADER: signature(body, secret)})
    answer.close()
    return answer


@pytest.fixture
def matriz(app: Flask) -> Account:
    """An account of the shared app that knows the product of the examples."""
    account = make_account(make_organization(), "matriz", company_id=COMPANY)
    make_deposit(account, bling_id=12345678)
    make_product(account, "CANECA", bling_id=12345678)
    make_product(account, "BONE", bling_id=12345)
    return account


@pytest.fixture
def filial(app: Flask) -> Account:
    """An account with an app of its own, in another organization."""
    account = make_account(make_organization(), "filial", webhook_key="chave-da-filial", client_id="app-da-filial")
    account.client_secret_sealed = seal(OWN, owner_id=account.id)
    account.save()
    return account


def only_event() -> Event:
    assert Event.select().count() == 1
    return Event.get()


# Signatures


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "sha256=",
        "sha256=" + "0" * 64,
        "sha256=" + "z" * 64,
        "sha1=" + "0" * 40,
        signature(stock_event())[7:],
        signature(stock_event())[:-1],
        signature(stock_event()) + "0",
        signature(stock_event()) + "," + signature(stock_event()),
        signature(stock_event(), "outro-segredo"),
        signature(stock_event(), ""),
        signature(stock_event() + b" "),
        "sha256=é" + "0" * 63,
    ],
)
def test_without_the_right_signature_nothing_is_stored(client: Browser, matriz: Account, header: str | None) -> None:
    headers = {} if header is None else {HEADER: header}

    answer = client.post("/webhooks/bling", csrf=False, data=stock_event(), headers=headers)

    assert answer.status_code == 401
    assert (Event.select().count(), DirtySku.select().count()) == (0, 0)


def test_the_bytes_are_signed_not_what_they_say(client: Browser, matriz: Account) -> None:
    pretty = json.dumps(json.loads(stock_event()), indent=4, ensure_ascii=False).encode()
    signed_compact = {HEADER: signature(stock_event())}

    assert client.post("/webhooks/bling", csrf=False, data=pretty, headers=signed_compact).status_code == 401
    assert post(client, pretty).status_code == 200
    assert only_event().body == pretty.decode()


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded", "text/plain", ""])
def test_the_content_type_does_not_change_the_bytes(client: Browser, matriz: Account, content_type: str) -> None:
    body = stock_event()

    answer = client.post(
        "/webhooks/bling", csrf=False, data=body, headers={HEADER: signature(body)}, content_type=content_type
    )

    assert answer.status_code == 200
    assert only_event().body == body.decode()


def test_only_posts_are_taken(client: Browser) -> None:
    assert client.get("/webhooks/bling").status_code == 405


# Which app signs


def test_an_own_app_signs_with_its_own_secret(client: Browser, filial: Account) -> None:
    body = stock_event(filial.company_id)

    assert post(client, body, key="chave-da-filial", secret=SHARED).status_code == 401
    assert post(client, body, secret=OWN).status_code == 401
    assert post(client, body, key="outra-chave", secret=OWN).status_code == 401
    assert Event.select().count() == 0

    assert post(client, body, key="chave-da-filial", secret=OWN).status_code == 200
    assert only_event().account == filial


def test_a_key_of_an_account_without_an_own_app_opens_nothing(client: Browser, matriz: Account) -> None:
    matriz.webhook_key = "chave-da-matriz"
    matriz.save()

    assert post(client, stock_event(), key="chave-da-matriz").status_code == 401
    assert post(client, stock_event(), key="chave-da-matriz", secret="").status_code == 401


def test_an_own_app_says_nothing_about_another_merchant(client: Browser, matriz: Account, filial: Account) -> None:
    answer = post(client, stock_event(matriz.company_id), key="chave-da-filial", secret=OWN)

    event = only_event()
    assert answer.status_code == 200
    assert (event.state, event.reason, event.organization_id, event.account_id) == (
        "kept",
        "unknown_company",
        None,
        None,
    )
    assert DirtySku.select().count() == 0
    assert Account.get_by_id(matriz.id).last_event_at is None


def test_an_own_app_does_not_use_up_the_event_ids_of_the_shared_one(
    client: Browser, matriz: Account, filial: Account
) -> None:
    post(client, stock_event(matriz.company_id), key="chave-da-filial", secret=OWN)

    post(client, stock_event(matriz.company_id))

    assert {(event.state, event.account_id) for event in Event.select()} == {("kept", None), ("pending", matriz.id)}


# What is kept


@pytest.mark.parametrize("kind", EXAMPLES)
def test_every_documented_kind_is_taken(client: Browser, matriz: Account, kind: str) -> None:
    answer = post(client, json.dumps(EXAMPLES[kind]).encode())

    event = only_event()
    resource = kind.partition(".")[0]
    assert answer.status_code == 200
    assert (event.kind, event.account, event.reason) == (kind, matriz, None)
    assert event.state == ("pending" if resource in ("stock", "virtual_stock", "product") else "kept")
    dirty = {"stock": ["CANECA"], "virtual_stock": ["BONE"]}.get(resource, [])
    assert [row.sku for row in DirtySku.select()] == dirty


def test_a_stock_event_is_stored_with_its_exact_numbers(client: Browser, matriz: Account) -> None:
    post(client, stock_event(operacao="S", quantidade=0.1))

    event = only_event()
    assert (event.sku, event.product_bling_id, event.deposit_bling_id) == ("CANECA", 12345678, 12345678)
    assert (event.quantity, event.physical_after) == (Decimal("-0.1"), Decimal("1250.75"))
    assert event.happened_at.isoformat() == "2025-01-10T12:18:46+00:00"
    assert Account.get_by_id(matriz.id).last_event_at is not None


def test_an_unknown_kind_is_kept_for_later(client: Browser, matriz: Account) -> None:
    body = json.dumps({**EXAMPLES["order.created"], "event": "nota_de_amanha.created"}).encode()

    assert post(client, body).status_code == 200
    assert (only_event().state, only_event().reason) == ("kept", "unknown_kind")


@pytest.mark.parametrize("kind", ["stock.created", "product.updated", "order.created"])
def test_an_unknown_company_is_kept(client: Browser, matriz: Account, kind: str) -> None:
    body = json.dumps({**EXAMPLES[kind], "companyId": "f" * 32}).encode()

    assert post(client, body).status_code == 200
    assert (only_event().state, only_event().reason) == ("kept", "unknown_company")
    assert DirtySku.select().count() == 0


def test_a_disconnected_account_is_nobody(client: Browser, matriz: Account) -> None:
    Account.update(state="disconnected").execute()

    assert post(client, stock_event()).status_code == 200
    assert (only_event().account, only_event().reason) == (None, "unknown_company")


def test_a_product_not_known_yet_waits_for_a_job(client: Browser, matriz: Account, redis: Redis) -> None:
    assert post(client, stock_event(produto={"id": 99})).status_code == 200

    assert (only_event().state, only_event().sku) == ("pending", None)
    assert redis.llen(f"rq:queue:{queues.LIVE}") == 1


RUBBISH = {
    "nothing": b"",
    "not JSON": b"{",
    "text": b"ol\xc3\xa1",
    "a list": b"[]",
    "a string": b'"stock.created"',
    "null": b"null",
    "no envelope": b'{"data": {}}',
    "numbers for ids": b'{"eventId": 1, "event": "stock.created", "companyId": 2, "data": {}}',
    "no data": json.dumps({**EXAMPLES["stock.created"], "data": None}).encode(),
    "an infinite balance": stock_event(deposito={"id": 1, "saldoFisico": "Infinity"}),
    "a balance beyond all": stock_event().replace(b"1250.75", b"1e999999999"),
    "a NUL": b"\x00\x00\x00",
    "a NUL inside": stock_event()[:-1] + b"\x00",
    "no UTF-8": b"\xff\xfe\xfa",
    "Latin-1": '{"event": "estoque não é"}'.encode("latin-1"),
    "UTF-16": stock_event().decode().encode("utf-16"),
    "deep": b"[" * 100_000,
    "many digits": b"1" * 10_000,
}


@pytest.mark.both_databases
@pytest.mark.parametrize("body", RUBBISH.values(), ids=RUBBISH.keys())
def test_signed_rubbish_is_stored_once_as_unreadable(client: Browser, matriz: Account, body: bytes) -> None:
    assert [post(client, body).status_code for _ in range(2)] == [200, 200]

    assert (only_event().state, only_event().account) == ("unreadable", None)
    assert only_event().reason
    assert DirtySku.select().count() == 0


def test_rubbish_of_an_own_app_is_shown_to_its_merchant(client: Browser, filial: Account) -> None:
    assert post(client, b"{", key="chave-da-filial", secret=OWN).status_code == 200

    assert (only_event().state, only_event().account) == ("unreadable", filial)


@pytest.mark.both_databases
@pytest.mark.parametrize(
    "changes",
    [
        {"eventId": "a\x00b"},
        {"eventId": "\ud800"},
        {"eventId": "e" * 5000},
        {"companyId": "c" * 5000},
        {"companyId": "\x00"},
        {"event": "x." + "y" * 5000},
        {"date": "9999-12-31T23:59:59-14:00"},
        {"date": "0001-01-01T00:00:00+14:00"},
        {"date": {"not": "a date"}},
    ],
)
def test_odd_words_in_the_envelope_are_stored_once(client: Browser, matriz: Account, changes: dict[str, Any]) -> None:
    body = json.dumps({**EXAMPLES["order.created"], **changes}).encode()

    assert [post(client, body).status_code for _ in range(2)] == [200, 200]
    assert Event.select().count() == 1


# Size


def test_up_to_a_mebibyte_is_taken_and_not_one_byte_more(client: Browser, matriz: Account) -> None:
    largest = stock_event() + b" " * (MAX_BODY_BYTES - len(stock_event()))

    assert post(client, largest + b" ").status_code == 413
    assert Event.select().count() == 0
    assert post(client, largest).status_code == 200
    assert only_event().state == "pending"


def test_a_body_of_undeclared_length_has_the_same_limit(client: Browser, matriz: Account) -> None:
    def post_chunks(body: bytes) -> int:
        return client.post(
            "/webhooks/bling",
            csrf=False,
            input_stream=io.BytesIO(body),
            headers={"Transfer-Encoding": "chunked", HEADER: signature(body)},
            environ_overrides={"wsgi.input_terminated": True},
        ).status_code

    largest = stock_event() + b" " * (MAX_BODY_BYTES - len(stock_event()))

    assert post_chunks(largest + b" ") == 413
    assert Event.select().count() == 0
    assert post_chunks(largest) == 200
    assert only_event().state == "pending"


# Repetition


@pytest.mark.both_databases
def test_the_same_event_a_thousand_times_is_one_row(app: Flask, matriz: Account) -> None:
    body = stock_event()

    def deliver(times: int) -> list[int]:
        browser = app.test_client()
        return [post(browser, body).status_code for _ in range(times)]

    with ThreadPoolExecutor(4) as threads:
        answers = [status for statuses in threads.map(deliver, [250] * 4) for status in statuses]

    assert answers == [200] * 1000
    assert (only_event().state, DirtySku.get().version) == ("pending", 1)


@pytest.mark.both_databases
def test_different_events_of_one_sku_side_by_side_are_all_kept(app: Flask, matriz: Account) -> None:
    def deliver(thread: int) -> list[int]:
        browser = app.test_client()
        bodies = [stock_event(event_id=f"0194-{thread}-{number}") for number in range(10)]
        return [post(browser, body).status_code for body in bodies]

    with ThreadPoolExecutor(4) as threads:
        answers = [status for statuses in threads.map(deliver, range(4)) for status in statuses]

    assert answers == [200] * 40
    assert (Event.select().count(), DirtySku.get().version) == (40, 40)


def test_the_same_id_of_two_companies_are_two_events(client: Browser, matriz: Account) -> None:
    other = make_account(matriz.organization, company_id="e" * 32)

    post(client, stock_event())
    post(client, stock_event(other.company_id))

    assert {event.account_id for event in Event.select()} == {matriz.id, other.id}


# What is away


def test_without_redis_it_is_stored_and_the_sweep_finds_it(
    client: Browser, matriz: Account, own_redis: RedisProcess
) -> None:
    own_redis.stop()

    answer = post(client, stock_event())

    assert answer.status_code == 200
    assert only_event().state == "pending"

    own_redis.start()
    with time_machine.travel(utcnow() + timedelta(seconds=6), tick=False):
        tick()
    assert [job.args for job in queues.Queue(queues.LIVE, connection=Redis.from_url(own_redis.url)).jobs] == [
        (matriz.organization_id,)
    ]


@contextmanager
def served(app: Flask) -> Iterator[int]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()


def test_a_redis_that_hangs_delays_no_answer(app: Flask, matriz: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wake-up waits for Redis for half a minute here; the answer leaves before it is even asked."""
    silent = socket.create_server(("127.0.0.1", 0))
    url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
    monkeypatch.setattr(queues, "_connection", queues.redis_connection(url, timeout_s=30))
    body = stock_event()
    with served(app) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        began_at = time.monotonic()
        connection.request("POST", "/webhooks/bling", body, {HEADER: signature(body)})
        status = connection.getresponse().status
        took_s = time.monotonic() - began_at

        asked, _ = silent.accept()
        silent.close()
        asked.close()
        connection.close()

    assert (status, only_event().state) == (200, "pending")
    assert took_s < 5


def test_a_database_that_refuses_means_try_again(client: Browser, matriz: Account) -> None:
    db.database.execute_sql("CREATE TRIGGER full BEFORE INSERT ON event BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    assert post(client, stock_event()).status_code == 503
    assert (Event.select().count(), DirtySku.select().count()) == (0, 0)

    db.database.execute_sql("DROP TRIGGER full")
    assert post(client, stock_event()).status_code == 200
    assert (only_event().state, DirtySku.get().sku) == ("pending", "CANECA")


def test_half_of_an_event_is_not_kept(client: Browser, matriz: Account) -> None:
    """The event and the mark on its SKU are one transaction: without the mark nobody would look."""
    db.database.execute_sql("CREATE TRIGGER f BEFORE INSERT ON dirty_sku BEGIN SELECT RAISE(ABORT, 'disk full'); END")

    assert post(client, stock_event()).status_code == 503
    assert Event.select().count() == 0


@pytest.mark.parametrize("url", ["postgresql://nobody@127.0.0.1:9/nothing", "sqlite:///{tmp_path}"])
def test_a_database_that_is_away_means_try_again(app: Flask, matriz: Account, url: str, tmp_path: Path) -> None:
    reachable = db.database.obj
    url = url.format(tmp_path=tmp_path)
    db.database.initialize(db._sqlite(url) if db.is_sqlite(url) else db._postgres(url, 2))
    try:
        assert post(app.test_client(), stock_event()).status_code == 503
    finally:
        db.database.initialize(reachable)


# Bling is not asked


def test_events_are_answered_without_a_call_to_bling(database: db.Database, config: Config, bling: Bling) -> None:
    places = {"matriz": {SHELF: 8, SHOP: 0}, "filial": {SHELF: 5, SHOP: 0}}
    with staged(config, bling, {"CANECA": places}, accounts=("matriz", "filial")) as stage:
        stage.rule([("matriz", SHELF)], [("filial", SHOP)])
        before = len(stage.calls())

        bling.sell("matriz", "CANECA", 1, SHELF)
        bling.add_product("matriz", "NOVO", stock=3)
        bling.sell("matriz", "NOVO", 1)
        stage.deliver(settle=False)

        assert len(stage.calls()) == before
        assert {delivery.state for delivery in bling.deliveries()} == {"delivered"}
        assert "pending" in stage.events().values()
