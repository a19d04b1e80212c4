"""The client under test, its surroundings small and visible: a fixed token, a pacer that never waits, no real sleep."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from bling.client import BlingClient
from bling.pacing import Urgency
from bling.transport import Caller, Transport
from tests.bling.recorder import Recorder, recording

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


@dataclass
class FreePacer:
    """Everybody's turn is now; remembers what it was told."""

    turns: int = 0
    left: list[str] = field(default_factory=list)
    answered: list[tuple[str, float]] = field(default_factory=list)
    urgencies: list[Urgency] = field(default_factory=list)
    holds: list[float] = field(default_factory=list)

    def wait_turn(self, account_id: str, urgency: Urgency) -> str:
        self.urgencies.append(urgency)
        self.turns += 1
        return str(self.turns)

    def note_left(self, account_id: str, ticket: str) -> None:
        self.left.append(ticket)

    def note_answered(self, account_id: str, ticket: str, took_s: float) -> None:
        self.answered.append((ticket, took_s))

    def hold(self, account_id: str, seconds: float) -> None:
        self.holds.append(seconds)

    def requests_today(self, account_id: str) -> int | None:
        return self.turns


@dataclass
class FakeTime:
    """A clock that only sleeping moves."""

    now: float = 1000.0
    sleeps: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds


@dataclass
class FakeTokens:
    token: str = "token-one"
    renewals: list[str] = field(default_factory=list)

    def access_token(self) -> str:
        return self.token

    def token_refused(self, access_token: str) -> str:
        self.renewals.append(access_token)
        self.token = "token-two"
        return self.token


@pytest.fixture
def server() -> Iterator[Recorder]:
    """A scripted Bling. At the end every answer must have been asked for, and every request must fit openapi.json."""
    with recording() as recorder:
        yield recorder
        recorder.assert_all_said()


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def pacer() -> FreePacer:
    return FreePacer()


@pytest.fixture
def tokens() -> FakeTokens:
    return FakeTokens()


@pytest.fixture
def caller(pacer: FreePacer) -> Caller:
    return Caller("matriz", "token-one", pacer)


@pytest.fixture
def make_transport(server: Recorder, fake_time: FakeTime) -> Callable[..., Transport]:
    def make(url: str = "", **options: object) -> Transport:
        given = {"sleep": fake_time.sleep, "jitter": lambda: 1.0, "read_timeout_s": 2.0, **options}
        return Transport(url or server.url, **given)  # type: ignore[arg-type]

    return make


@pytest.fixture
def transport(make_transport: Callable[..., Transport]) -> Transport:
    return make_transport()


@pytest.fixture
def client(transport: Transport, tokens: FakeTokens, pacer: FreePacer) -> BlingClient:
    return BlingClient(transport, tokens, pacer, "matriz", utcnow=lambda: NOON)
