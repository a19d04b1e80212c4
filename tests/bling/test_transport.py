from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from bling.errors import (
    AuthExpired,
    BlingError,
    Forbidden,
    NotFound,
    NotSent,
    QuotaExhausted,
    RateLimited,
    Rejected,
    Unavailable,
    UnexpectedAnswer,
    WriteOutcomeUnknown,
)
from bling.pacing import Urgency
from bling.payloads import parse_created_id
from bling.transport import LEAVE_WITHIN_S, Caller, Transport
from tests.bling.conftest import FakeTime, FreePacer
from tests.bling.recorder import Recorder, after, cut, dripping, error, raw, reply, truncated

COMPANY = "/empresas/me/dados-basicos"
MOVEMENT = b'{"produto":{"id":1},"deposito":{"id":2},"operacao":"E","quantidade":2.5}'

Make = Callable[..., Transport]


def keep(payload: object) -> object:
    return payload


def read(transport: Transport, caller: Caller) -> object:
    return transport.read(caller, COMPANY, [], keep)


def write(transport: Transport, caller: Caller) -> int:
    return transport.write(caller, "/estoques", MOVEMENT, parse_created_id)


def test_it_sends_the_documented_headers(server: Recorder, transport: Transport, caller: Caller) -> None:
    server.will(reply(200, {"data": {}}), reply(201, {"data": {"id": 7}}))

    read(transport, caller)
    assert write(transport, caller) == 7

    for request in server.requests:
        assert request.headers["Authorization"] == "Bearer token-one"
        assert request.headers["enable-jwt"] == "1"
        assert request.headers["Accept"] == "application/json"
    assert server.requests[1].headers["Content-Type"] == "application/json"
    assert server.requests[1].body == MOVEMENT


def test_numbers_arrive_exactly(server: Recorder, transport: Transport, caller: Caller) -> None:
    server.will(raw(200, b'{"data": 12345678901234.000001}'))

    assert str(read(transport, caller)) == "{'data': Decimal('12345678901234.000001')}"


def test_it_ignores_proxies_and_passwords_of_the_environment(
    server: Recorder, transport: Transport, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    server.will(reply(200, {}))

    assert read(transport, caller) == {}


def test_it_keeps_no_cookies(server: Recorder, transport: Transport, caller: Caller) -> None:
    server.will(reply(200, {}, Set_Cookie="account=matriz; Path=/"), reply(200, {}))

    read(transport, caller)
    read(transport, caller)

    assert "Cookie" not in server.requests[1].headers


def test_connections_are_kept_and_serve_one_thread_after_the_other(
    server: Recorder, transport: Transport, caller: Caller
) -> None:
    server.will(reply(200, {}), reply(200, {}), reply(200, {}))

    for _ in range(3):
        thread = threading.Thread(target=read, args=(transport, caller))
        thread.start()
        thread.join()

    assert len({request.connection for request in server.requests}) == 1


def test_a_connection_serves_one_request_at_a_time(server: Recorder, transport: Transport, caller: Caller) -> None:
    both_are_there = threading.Barrier(2, timeout=10)

    def wait_for_the_other(*exchange: object) -> None:
        both_are_there.wait()
        reply(200, {})(*exchange)

    server.will(wait_for_the_other, wait_for_the_other)

    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(read, transport, caller) for _ in range(2)]:
            assert done.result() == {}

    assert len({request.connection for request in server.requests}) == 2


def test_a_child_process_opens_a_connection_of_its_own(server: Recorder, transport: Transport, caller: Caller) -> None:
    server.will(reply(200, {}), reply(200, {}))
    read(transport, caller)

    if (child := os.fork()) == 0:
        with contextlib.suppress(BaseException):
            read(transport, caller)
        os._exit(0)
    os.waitpid(child, 0)

    assert server.requests[0].connection != server.requests[1].connection


class TestReads:
    @pytest.mark.parametrize("fault", [error(500), error(502), error(408), raw(503, b"<html>"), cut])
    def test_it_repeats_after_a_passing_failure(
        self, fault: Callable[..., None], server: Recorder, transport: Transport, caller: Caller, fake_time: FakeTime
    ) -> None:
        server.will(fault, fault, reply(200, {"data": 1}))

        assert read(transport, caller) == {"data": 1}
        assert fake_time.sleeps == [0.5, 1.0]

    def test_it_repeats_when_an_answer_breaks_off(self, server: Recorder, transport: Transport, caller: Caller) -> None:
        server.will(truncated(200, b'{"data": 1}'), reply(200, {"data": 1}))

        assert read(transport, caller) == {"data": 1}

    def test_every_attempt_waits_for_its_turn(
        self, server: Recorder, transport: Transport, caller: Caller, pacer: FreePacer
    ) -> None:
        server.will(error(500), cut, reply(200, {}))

        read(transport, caller)

        assert pacer.turns == 3
        assert pacer.left == ["1", "2", "3"]

    def test_it_gives_up_after_its_attempts(self, server: Recorder, make_transport: Make, caller: Caller) -> None:
        server.will(error(500, "SERVER_ERROR", "caiu"), error(500, "SERVER_ERROR", "caiu"))

        with pytest.raises(Unavailable, match=rf"GET {COMPANY}: 500 SERVER_ERROR caiu"):
            read(make_transport(attempts=2), caller)

    def test_it_gives_up_when_time_is_up(
        self, server: Recorder, make_transport: Make, caller: Caller, fake_time: FakeTime
    ) -> None:
        server.always(error(500))

        with pytest.raises(Unavailable):
            read(make_transport(attempts=100, retry_budget_s=20.0, monotonic=fake_time.monotonic), caller)

        assert fake_time.sleeps == [0.5, 1.0, 2.0, 4.0, 8.0]

    def test_a_429_holds_back_everybody_for_as_long_as_bling_says(
        self, server: Recorder, transport: Transport, caller: Caller, pacer: FreePacer, fake_time: FakeTime
    ) -> None:
        server.will(error(429, "TOO_MANY_REQUESTS", "por segundo", Retry_After="7"), error(429), reply(200, {}))

        read(transport, caller)

        assert pacer.holds == [7.0, 1.0]
        assert fake_time.sleeps == [7.0, 1.0]

    def test_a_longer_wait_than_the_budget_is_the_callers(
        self, server: Recorder, transport: Transport, caller: Caller, fake_time: FakeTime
    ) -> None:
        server.will(error(429, "TOO_MANY_REQUESTS", Retry_After="600"))

        with pytest.raises(RateLimited) as caught:
            read(transport, caller)

        assert caught.value.retry_after_s == 600
        assert fake_time.sleeps == []

    def test_the_quota_of_the_day_is_not_waited_for(
        self, server: Recorder, transport: Transport, caller: Caller
    ) -> None:
        server.will(error(429, "TOO_MANY_REQUESTS", "O limite de requisições por dia foi atingido"))

        with pytest.raises(QuotaExhausted):
            read(transport, caller)

    @pytest.mark.parametrize(
        ("status", "expected"),
        [(400, Rejected), (401, AuthExpired), (403, Forbidden), (404, NotFound), (405, Rejected), (422, Rejected)],
    )
    def test_a_refusal_is_final(
        self, status: int, expected: type[BlingError], server: Recorder, transport: Transport, caller: Caller
    ) -> None:
        server.will(error(status))

        with pytest.raises(expected) as caught:
            read(transport, caller)

        assert type(caught.value) is expected
        assert caught.value.status == status

    @pytest.mark.parametrize("body", [b"", b"<html>", b'{"data": NaN}', b'"\xff"', b"[" * 100_000, b"1" * 5000])
    def test_rubbish_is_an_unexpected_answer(
        self, body: bytes, server: Recorder, transport: Transport, caller: Caller
    ) -> None:
        server.will(raw(200, body))

        with pytest.raises(UnexpectedAnswer):
            read(transport, caller)

    def test_it_follows_no_redirect(self, server: Recorder, transport: Transport, caller: Caller) -> None:
        server.will(reply(302, {}, Location=server.url + "/produtos"))

        with pytest.raises(UnexpectedAnswer):
            read(transport, caller)

        assert len(server.requests) == 1

    def test_it_stops_reading_an_endless_answer(self, server: Recorder, make_transport: Make, caller: Caller) -> None:
        server.will(raw(200, b" " * 200_000))

        with pytest.raises(Unavailable, match="too long"):
            read(make_transport(attempts=1, max_body_bytes=100_000), caller)

    def test_a_dripping_answer_meets_a_deadline(self, server: Recorder, make_transport: Make, caller: Caller) -> None:
        server.will(dripping(0.05, times=1000))
        started_at = time.monotonic()

        with pytest.raises(Unavailable):
            read(make_transport(attempts=1, read_timeout_s=0.2), caller)

        assert 0.5 < time.monotonic() - started_at < 5

    def test_silence_is_bounded(self, server: Recorder, make_transport: Make, caller: Caller) -> None:
        is_over = threading.Event()
        server.will(after(is_over, reply(200, {})))

        with pytest.raises(Unavailable, match=r"[Tt]ime"):
            read(make_transport(attempts=1, read_timeout_s=0.2), caller)
        is_over.set()


class TestWrites:
    @pytest.mark.parametrize(
        "fault",
        [
            error(500),
            error(502),
            error(503),
            error(408),
            cut,
            truncated(201, b'{"data":{"id":7}}'),
            reply(201, {}),
            raw(201, b""),
            raw(200, b"<html>"),
            reply(201, {"data": {"id": "7"}}),
            reply(302, {}, Location="/"),
        ],
    )
    def test_what_left_without_a_clear_answer_is_unknown_and_never_repeated(
        self, fault: Callable[..., None], server: Recorder, transport: Transport, caller: Caller
    ) -> None:
        server.will(fault)

        with pytest.raises(WriteOutcomeUnknown):
            write(transport, caller)

        assert len(server.requests) == 1

    def test_a_time_out_is_unknown(self, server: Recorder, make_transport: Make, caller: Caller) -> None:
        is_over = threading.Event()
        server.will(after(is_over, reply(201, {"data": {"id": 7}})))

        with pytest.raises(WriteOutcomeUnknown):
            write(make_transport(read_timeout_s=0.2), caller)
        is_over.set()

        assert len(server.requests) == 1

    @pytest.mark.parametrize(
        ("status", "expected"),
        [(400, Rejected), (401, AuthExpired), (403, Forbidden), (404, NotFound), (409, Rejected), (429, RateLimited)],
    )
    def test_a_refusal_is_certain_and_never_repeated(
        self, status: int, expected: type[BlingError], server: Recorder, transport: Transport, caller: Caller
    ) -> None:
        server.will(error(status))

        with pytest.raises(expected) as caught:
            write(transport, caller)

        assert type(caught.value) is expected
        assert len(server.requests) == 1

    def test_a_refusal_whose_body_broke_off_is_still_certain(
        self, server: Recorder, transport: Transport, caller: Caller
    ) -> None:
        server.will(truncated(400, b'{"error":'))

        with pytest.raises(Rejected):
            write(transport, caller)

    def test_a_429_holds_back_everybody(
        self, server: Recorder, transport: Transport, caller: Caller, pacer: FreePacer
    ) -> None:
        server.will(error(429, Retry_After="3"))

        with pytest.raises(RateLimited):
            write(transport, caller)

        assert pacer.holds == [3.0]

    def test_a_rejection_says_which_field_was_wrong(
        self, server: Recorder, transport: Transport, caller: Caller
    ) -> None:
        fault = {"code": 49, "msg": "Depósito inválido", "element": "deposito", "namespace": "ESTOQUES"}
        told = {"type": "VALIDATION_ERROR", "message": "Não foi possível salvar", "description": "", "fields": [fault]}
        server.will(reply(400, {"error": told}))

        with pytest.raises(Rejected) as caught:
            write(transport, caller)

        assert str(caught.value) == (
            "POST /estoques: 400 VALIDATION_ERROR Não foi possível salvar; deposito: Depósito inválido"
        )
        assert [(field.code, field.element, field.message) for field in caught.value.fields] == [
            (49, "deposito", "Depósito inválido")
        ]

    @pytest.mark.parametrize("url", ["http://127.0.0.1:1/Api/v3", "http://bling.invalid/Api/v3", "http://[::1]:1"])
    def test_without_a_connection_nothing_was_sent(self, url: str, make_transport: Make, caller: Caller) -> None:
        with pytest.raises(NotSent):
            write(make_transport(url), caller)

    def test_a_connection_that_cannot_be_made_in_time_sends_nothing(
        self, make_transport: Make, caller: Caller, deaf_port: int
    ) -> None:
        with pytest.raises(NotSent, match=r"[Tt]ime"):
            write(make_transport(f"http://127.0.0.1:{deaf_port}", connect_timeout_s=0.2), caller)

    def test_a_failed_tls_handshake_sends_nothing(self, server: Recorder, make_transport: Make, caller: Caller) -> None:
        with pytest.raises(NotSent):
            write(make_transport(server.url.replace("http://", "https://")), caller)

    def test_a_kept_connection_that_the_server_cuts_on_the_request_is_unknown(
        self, server: Recorder, transport: Transport, caller: Caller
    ) -> None:
        server.will(reply(200, {}), cut)
        read(transport, caller)

        with pytest.raises(WriteOutcomeUnknown):
            write(transport, caller)

        assert server.requests[0].connection == server.requests[1].connection

    def test_it_leaves_on_a_new_connection_when_the_kept_one_has_been_idle(
        self, server: Recorder, make_transport: Make, caller: Caller, fake_time: FakeTime
    ) -> None:
        transport = make_transport(monotonic=fake_time.monotonic)
        server.will(reply(200, {}), reply(201, {"data": {"id": 7}}), reply(201, {"data": {"id": 8}}))
        read(transport, caller)

        fake_time.now += 2
        assert write(transport, caller) == 7
        assert write(transport, caller) == 8

        first, second, third = (request.connection for request in server.requests)
        assert first != second == third

    def test_a_connection_closed_between_requests_is_not_used_again(self, make_transport: Make, caller: Caller) -> None:
        with one_answer_per_connection() as (port, received):
            transport = make_transport(f"http://127.0.0.1:{port}")
            read(transport, caller)
            received.wait_for_close()

            assert write(transport, caller) == 7

    def test_a_write_that_was_held_up_after_it_was_allowed_to_leave_never_leaves(
        self, server: Recorder, make_transport: Make, caller: Caller, fake_time: FakeTime, pacer: FreePacer
    ) -> None:
        """A worker that is paused right before the socket wakes up when others have taken over."""
        transport = make_transport(monotonic=fake_time.monotonic)

        def pause() -> None:
            fake_time.now += LEAVE_WITHIN_S + 0.1

        with pytest.raises(NotSent, match="too late"):
            transport.write(caller, "/estoques", MOVEMENT, parse_created_id, before_leaving=pause)

        assert server.requests == []
        assert pacer.left == ["1"]

    def test_waiting_for_its_turn_does_not_count(
        self, server: Recorder, make_transport: Make, fake_time: FakeTime
    ) -> None:
        class SlowPacer(FreePacer):
            def wait_turn(self, account_id: str, urgency: Urgency) -> str:
                fake_time.now += LEAVE_WITHIN_S + 0.1
                return super().wait_turn(account_id, urgency)

        server.will(reply(201, {"data": {"id": 7}}))

        assert write(make_transport(monotonic=fake_time.monotonic), Caller("matriz", "token-one", SlowPacer())) == 7

    def test_its_ticket_is_handed_back_when_nothing_was_sent(
        self, make_transport: Make, caller: Caller, pacer: FreePacer
    ) -> None:
        with pytest.raises(NotSent):
            write(make_transport("http://127.0.0.1:1"), caller)

        assert pacer.left == ["1"]


def test_no_error_shows_a_token(server: Recorder, transport: Transport, pacer: FreePacer) -> None:
    secret = "eyJhbGciOiJSUzI1NiJ9." + "s3cr3t" * 300
    server.will(error(400, "VALIDATION_ERROR", f"token {secret} refused " + "x y " * 100))

    with pytest.raises(Rejected) as caught:
        read(transport, Caller("matriz", secret, pacer))

    assert "s3cr3t" not in str(caught.value)
    assert len(caught.value.reason) <= 100
    assert secret not in repr(Caller("matriz", secret, pacer))


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port that neither accepts nor refuses: its queue is full."""
    with socket.socket() as listener, contextlib.ExitStack() as fillers:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            filler = fillers.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(listener.getsockname())
        yield listener.getsockname()[1]


class Received:
    def __init__(self) -> None:
        self.closed = threading.Event()

    def wait_for_close(self) -> None:
        assert self.closed.wait(5)


@contextlib.contextmanager
def one_answer_per_connection() -> Iterator[tuple[int, Received]]:
    """Promises to keep the connection, answers once, and closes it: what a server's idle limit looks like."""
    received = Received()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def serve() -> None:
            for status, ending in ((b"200 OK", b"\r\n\r\n"), (b"201 Created", MOVEMENT)):
                connection, _ = listener.accept()
                with connection:
                    request = b""
                    while not request.endswith(ending):
                        request += connection.recv(65536)
                    body = b'{"data":{"id":7}}'
                    connection.sendall(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
                received.closed.set()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], received
        thread.join(5)
