from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from urllib.parse import parse_qs

import pytest

from bling.errors import (
    AppRefused,
    AuthExpired,
    AuthLost,
    BlingError,
    CodeRefused,
    Forbidden,
    RateLimited,
    RefreshOutcomeUnknown,
    Unavailable,
    UnexpectedAnswer,
)
from bling.tokens import (
    REST_AFTER_FAILURE_S,
    REST_AFTER_NO_CONNECTION_S,
    REST_AFTER_REFUSAL_S,
    OAuthClient,
    TokenSource,
    authorize_url,
)
from bling.transport import Transport
from core.values import Tokens
from tests.bling.conftest import NOON, FakeTime
from tests.bling.recorder import Recorder, Request, after, cut, error, raw, reply, truncated

Make = Callable[..., Transport]


def answer(number: int, expires_in: int = 21600) -> dict[str, object]:
    return {
        "access_token": f"access-{number}",
        "refresh_token": f"refresh-{number}",
        "expires_in": expires_in,
        "token_type": "Bearer",
        "scope": "1 2",
    }


def oauth_error(status: int, type_: str) -> Callable[..., None]:
    return reply(status, {"error": {"type": type_, "message": type_, "description": "Invalid refresh token"}})


@dataclass
class Shelf:
    """What all processes see of one account: the tokens, and who may refresh them. A claim lasts 90 s of `now`."""

    tokens: Tokens
    now: Callable[[], datetime]
    lost: list[str] = field(default_factory=list)
    rests: list[float] = field(default_factory=list)
    claimed_by: object = None
    claimed_until: datetime = NOON
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass
class Store:
    """One process's way to the shelf."""

    shelf: Shelf
    failures_to_save: int = 0
    after_claim: Callable[[], None] = lambda: None

    def load(self) -> Tokens:
        return self.shelf.tokens

    def try_claim_refresh(self) -> bool:
        with self.shelf.lock:
            if self.shelf.now() < self.shelf.claimed_until:
                return False
            self.shelf.claimed_by, self.shelf.claimed_until = self, self.shelf.now() + timedelta(seconds=90)
        self.after_claim()
        return True

    def save(self, tokens: Tokens) -> None:
        if self.failures_to_save:
            self.failures_to_save -= 1
            raise OSError("database is locked")
        self.shelf.tokens = tokens

    def release(self, after_s: float = 0.0) -> None:
        with self.shelf.lock:
            assert self.shelf.claimed_by is self
            self.shelf.claimed_until = self.shelf.now() + timedelta(seconds=after_s)
            self.shelf.rests.append(after_s)

    def mark_lost(self, reason: str) -> None:
        self.shelf.lost.append(reason)


@pytest.fixture
def utcnow(fake_time: FakeTime) -> Callable[[], datetime]:
    started_at = fake_time.now
    return lambda: NOON + timedelta(seconds=fake_time.now - started_at)


@pytest.fixture
def oauth(transport: Transport, utcnow: Callable[[], datetime]) -> OAuthClient:
    return OAuthClient(transport, "client-id", "client-secret", utcnow=utcnow)


@pytest.fixture
def shelf(utcnow: Callable[[], datetime]) -> Shelf:
    return Shelf(Tokens("access-1", "refresh-1", NOON + timedelta(hours=6), 21600), utcnow)


@pytest.fixture
def make_source(shelf: Shelf, oauth: OAuthClient, fake_time: FakeTime) -> Callable[..., TokenSource]:
    def make(store: Store | None = None, **options: object) -> TokenSource:
        given = {"sleep": fake_time.sleep, "monotonic": fake_time.monotonic, **options}
        return TokenSource(store or Store(shelf), oauth, utcnow=shelf.now, **given)  # type: ignore[arg-type]

    return make


def ends_in(shelf: Shelf, seconds: float) -> None:
    shelf.tokens = replace(shelf.tokens, expires_at=shelf.now() + timedelta(seconds=seconds))


def test_the_authorize_address_carries_the_state() -> None:
    url = authorize_url("https://www.bling.com.br/Api/v3/oauth/authorize", "id&", "s t")

    assert url == "https://www.bling.com.br/Api/v3/oauth/authorize?response_type=code&client_id=id%26&state=s+t"
    with pytest.raises(ValueError):
        authorize_url("https://x", "id", "")


class TestOAuthClient:
    def test_it_exchanges_a_code(self, server: Recorder, oauth: OAuthClient) -> None:
        server.will(reply(200, answer(1)))

        tokens = oauth.exchange_code("c0de&")

        assert tokens == Tokens("access-1", "refresh-1", NOON + timedelta(hours=6), 21600)
        request = server.requests[0]
        assert (request.method, request.path) == ("POST", "/oauth/token")
        assert parse_qs(request.body.decode()) == {"grant_type": ["authorization_code"], "code": ["c0de&"]}
        assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
        assert request.headers["enable-jwt"] == "1"
        credentials = base64.b64encode(b"client-id:client-secret").decode()
        assert request.headers["Authorization"] == f"Basic {credentials}"

    def test_it_refreshes(self, server: Recorder, oauth: OAuthClient) -> None:
        server.will(reply(200, answer(2)))

        assert oauth.refresh("refresh-1").refresh_token == "refresh-2"
        assert parse_qs(server.requests[0].body.decode()) == {
            "grant_type": ["refresh_token"],
            "refresh_token": ["refresh-1"],
        }

    @pytest.mark.parametrize(
        ("step", "expected"),
        [
            (oauth_error(400, "invalid_grant"), AuthLost),
            (oauth_error(401, "invalid_grant"), AuthLost),
            (oauth_error(400, "VALIDATION_ERROR"), AuthLost),
            (reply(400, {"error": "invalid_grant", "error_description": "gone"}), AuthLost),
            (oauth_error(400, "invalid_client"), AppRefused),
            (oauth_error(401, "invalid_client"), AppRefused),
            (oauth_error(403, "FORBIDDEN"), Forbidden),
            (error(429), RateLimited),
            (error(500), RefreshOutcomeUnknown),
            (cut, RefreshOutcomeUnknown),
            (truncated(200, b'{"access'), RefreshOutcomeUnknown),
            (raw(200, b"<html>"), RefreshOutcomeUnknown),
            (reply(200, {"access_token": "a"}), RefreshOutcomeUnknown),
        ],
    )
    def test_a_failed_refresh_says_what_became_of_the_authorization(
        self, step: Callable[..., None], expected: type[BlingError], server: Recorder, oauth: OAuthClient
    ) -> None:
        server.will(step)

        with pytest.raises(expected) as caught:
            oauth.refresh("refresh-1")

        assert type(caught.value) is expected
        assert len(server.requests) == 1

    def test_without_a_connection_nothing_was_refreshed(
        self, make_transport: Make, utcnow: Callable[[], datetime]
    ) -> None:
        with pytest.raises(Unavailable):
            OAuthClient(make_transport("http://127.0.0.1:1"), "i", "s", utcnow=utcnow).refresh("r")

    @pytest.mark.parametrize(
        ("step", "expected"),
        [
            (oauth_error(400, "invalid_grant"), CodeRefused),
            (oauth_error(401, "invalid_client"), AppRefused),
            (error(500), Unavailable),
            (cut, Unavailable),
            (raw(200, b"{}"), UnexpectedAnswer),
        ],
    )
    def test_a_failed_exchange_says_what_to_do(
        self, step: Callable[..., None], expected: type[BlingError], server: Recorder, oauth: OAuthClient
    ) -> None:
        server.will(step)

        with pytest.raises(expected):
            oauth.exchange_code("code")

    def test_it_revokes(self, server: Recorder, oauth: OAuthClient) -> None:
        server.will(reply(200, {}), oauth_error(400, "invalid_grant"), error(500), cut, oauth_error(401, "x"))

        oauth.revoke("refresh-1")
        oauth.revoke("refresh-1")
        for expected in (Unavailable, Unavailable, AppRefused):
            with pytest.raises(expected):
                oauth.revoke("refresh-1")

        assert server.requests[0].path == "/oauth/revoke"
        assert parse_qs(server.requests[0].body.decode()) == {
            "token": ["refresh-1"],
            "token_type_hint": ["refresh_token"],
        }


class TestAccessToken:
    def test_a_fresh_token_costs_no_call(self, make_source: Callable[..., TokenSource]) -> None:
        assert make_source().access_token() == "access-1"

    @pytest.mark.parametrize(("lifetime_s", "lead_s"), [(21600, 300), (100, 20)])
    def test_it_refreshes_early_enough(
        self, lifetime_s: int, lead_s: int, server: Recorder, shelf: Shelf, make_source: Callable[..., TokenSource]
    ) -> None:
        shelf.tokens = replace(shelf.tokens, lifetime_s=lifetime_s)
        source = make_source()
        ends_in(shelf, lead_s + 1)
        assert source.access_token() == "access-1"

        server.will(reply(200, answer(2)))
        ends_in(shelf, lead_s - 1)
        assert make_source().access_token() == "access-2"

        assert shelf.tokens.refresh_token == "refresh-2"
        assert shelf.rests == [0.0]

    def test_while_another_refreshes_the_old_token_serves(
        self, shelf: Shelf, make_source: Callable[..., TokenSource]
    ) -> None:
        ends_in(shelf, 10)
        Store(shelf).try_claim_refresh()

        assert make_source().access_token() == "access-1"

    def test_with_an_ended_token_it_waits_for_the_others_result(
        self, shelf: Shelf, make_source: Callable[..., TokenSource], fake_time: FakeTime
    ) -> None:
        ends_in(shelf, -1)
        other = Store(shelf)
        other.try_claim_refresh()

        def sleep(seconds: float) -> None:
            fake_time.sleep(seconds)
            if len(fake_time.sleeps) == 3:
                other.save(Tokens("access-2", "refresh-2", shelf.now() + timedelta(hours=6), 21600))

        assert make_source(sleep=sleep).access_token() == "access-2"
        assert len(fake_time.sleeps) == 3

    def test_it_does_not_wait_for_ever(self, shelf: Shelf, make_source: Callable[..., TokenSource]) -> None:
        ends_in(shelf, -1)
        Store(shelf).try_claim_refresh()

        with pytest.raises(Unavailable, match="too long"):
            make_source().access_token()

    def test_it_takes_over_when_the_claim_of_a_dead_process_runs_out(
        self, server: Recorder, shelf: Shelf, make_source: Callable[..., TokenSource], fake_time: FakeTime
    ) -> None:
        server.will(reply(200, answer(2)))
        ends_in(shelf, -1)
        Store(shelf).try_claim_refresh()
        fake_time.sleep(80)

        assert make_source().access_token() == "access-2"

    def test_it_looks_again_after_claiming(self, shelf: Shelf, make_source: Callable[..., TokenSource]) -> None:
        ends_in(shelf, 10)
        store = Store(shelf)
        store.after_claim = lambda: store.save(Tokens("access-2", "refresh-2", NOON + timedelta(hours=6), 21600))

        assert make_source(store).access_token() == "access-2"
        assert shelf.rests == [0.0]

    def test_a_lost_authorization_is_marked(
        self, server: Recorder, shelf: Shelf, make_source: Callable[..., TokenSource]
    ) -> None:
        server.will(oauth_error(400, "invalid_grant"))
        ends_in(shelf, 10)

        with pytest.raises(AuthLost):
            make_source().access_token()

        assert len(shelf.lost) == 1

    def test_a_refused_refresh_is_no_loss_if_somebody_stored_newer_tokens_meanwhile(
        self, server: Recorder, shelf: Shelf, make_source: Callable[..., TokenSource]
    ) -> None:
        def refuse(handler: object, request: Request) -> None:
            Store(shelf).save(Tokens("access-9", "refresh-9", NOON + timedelta(hours=6), 21600))
            oauth_error(400, "invalid_grant")(handler, request)

        server.will(refuse)
        ends_in(shelf, 10)

        assert make_source().access_token() == "access-9"
        assert shelf.lost == []

    @pytest.mark.parametrize(
        "step", [error(500), cut, oauth_error(401, "invalid_client"), error(429), error(403), error(404)]
    )
    def test_after_a_failed_refresh_the_old_token_serves_and_nobody_tries_again_at_once(
        self, step: Callable[..., None], server: Recorder, shelf: Shelf, make_source: Callable[..., TokenSource]
    ) -> None:
        server.will(step)
        ends_in(shelf, 10)

        assert make_source().access_token() == "access-1"
        assert make_source().access_token() == "access-1"

        assert shelf.rests == [REST_AFTER_FAILURE_S]
        assert shelf.lost == []

    def test_a_failed_refresh_of_an_ended_token_is_an_error(
        self, server: Recorder, shelf: Shelf, make_source: Callable[..., TokenSource]
    ) -> None:
        server.will(cut)
        ends_in(shelf, -1)

        with pytest.raises(RefreshOutcomeUnknown):
            make_source().access_token()

    def test_without_a_connection_the_next_try_comes_soon(
        self, shelf: Shelf, make_transport: Make, fake_time: FakeTime
    ) -> None:
        ends_in(shelf, -1)
        oauth = OAuthClient(make_transport("http://127.0.0.1:1"), "i", "s", utcnow=shelf.now)

        with pytest.raises(Unavailable):
            TokenSource(Store(shelf), oauth, utcnow=shelf.now).access_token()

        assert shelf.rests == [REST_AFTER_NO_CONNECTION_S]

    def test_it_stores_the_new_tokens_stubbornly(
        self, server: Recorder, shelf: Shelf, make_source: Callable[..., TokenSource]
    ) -> None:
        server.will(reply(200, answer(2)))
        ends_in(shelf, 10)

        assert make_source(Store(shelf, failures_to_save=3)).access_token() == "access-2"
        assert shelf.tokens.refresh_token == "refresh-2"


class TestRefusedToken:
    def test_it_refreshes_once(self, server: Recorder, shelf: Shelf, make_source: Callable[..., TokenSource]) -> None:
        server.will(reply(200, answer(2)))

        assert make_source().token_refused("access-1") == "access-2"
        assert shelf.rests == [REST_AFTER_REFUSAL_S]

    def test_it_takes_a_newer_token_that_is_already_there(
        self, shelf: Shelf, make_source: Callable[..., TokenSource]
    ) -> None:
        source = make_source()
        source.access_token()
        shelf.tokens = Tokens("access-2", "refresh-2", NOON + timedelta(hours=6), 21600)

        assert source.token_refused("access-1") == "access-2"
        assert source.access_token() == "access-2"

    def test_a_token_refused_right_after_a_refresh_asks_for_no_third(
        self, server: Recorder, make_source: Callable[..., TokenSource]
    ) -> None:
        server.will(reply(200, answer(2)))
        make_source().token_refused("access-1")

        with pytest.raises(AuthExpired):
            make_source().token_refused("access-2")

        assert len(server.requests) == 1

    def test_it_waits_for_the_one_who_refreshes(
        self, shelf: Shelf, make_source: Callable[..., TokenSource], fake_time: FakeTime
    ) -> None:
        other = Store(shelf)
        other.try_claim_refresh()

        def sleep(seconds: float) -> None:
            fake_time.sleep(seconds)
            other.save(Tokens("access-2", "refresh-2", NOON + timedelta(hours=6), 21600))

        assert make_source(sleep=sleep).token_refused("access-1") == "access-2"


class TestSingleFlight:
    """Real threads, a slow token address, and claims as the only thing in common."""

    def race(self, server: Recorder, shelf: Shelf, calls: list[Callable[[], str]]) -> list[str]:
        is_open = threading.Event()
        server.will(after(is_open, reply(200, answer(2))))
        results: list[str] = []
        threads = [threading.Thread(target=lambda call=call: results.append(call())) for call in calls]
        for thread in threads:
            thread.start()
        # Everybody is under way before the token address answers.
        while not server.requests:
            threads[0].join(0.01)
        is_open.set()
        for thread in threads:
            thread.join(10)
        return results

    @pytest.mark.parametrize("processes", [1, 2, 8])
    def test_one_refresh_serves_all(self, processes: int, server: Recorder, shelf: Shelf, oauth: OAuthClient) -> None:
        """Threads of one process share a source; processes share nothing but the shelf."""
        ends_in(shelf, -1)
        sources = [TokenSource(Store(shelf), oauth, utcnow=shelf.now, look_every_s=0.01) for _ in range(processes)]

        results = self.race(server, shelf, [source.access_token for source in sources for _ in range(2)])

        assert results == ["access-2"] * (2 * processes)
        assert len(server.requests) == 1

    def test_one_refresh_answers_many_refusals(self, server: Recorder, shelf: Shelf, oauth: OAuthClient) -> None:
        sources = [TokenSource(Store(shelf), oauth, utcnow=shelf.now, look_every_s=0.01) for _ in range(6)]

        results = self.race(
            server, shelf, [lambda source=source: source.token_refused("access-1") for source in sources]
        )

        assert results == ["access-2"] * 6
        assert len(server.requests) == 1

    def test_while_one_refreshes_the_others_go_on_with_a_valid_token(
        self, server: Recorder, shelf: Shelf, oauth: OAuthClient
    ) -> None:
        ends_in(shelf, 10)
        sources = [TokenSource(Store(shelf), oauth, utcnow=shelf.now, look_every_s=0.01) for _ in range(4)]

        results = self.race(server, shelf, [source.access_token for source in sources])

        assert sorted(set(results)) in (["access-1", "access-2"], ["access-2"])
        assert "access-2" in results
        assert len(server.requests) == 1
