"""Circuit breakers on a real Redis, with a clock of ours."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
from redis import Redis

from bling.breaker import ACCOUNTS, ERRORS, FAILURES, FAILURES_OF_ALL, PROBE_MS, Ending, RedisBreaker
from bling.errors import CircuitOpen

Make = Callable[[], RedisBreaker]
WELL, REFUSED, FAILED = Ending


class Clock:
    ms = 1_770_000_000_000

    def pass_s(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def told() -> list[str | None]:
    """Accounts of which somebody was told that they answer again; None: all of them."""
    return []


@pytest.fixture
def process(redis_url: str, clock: Clock, told: list[str | None]) -> Iterator[Make]:
    """Makes breakers as processes of one installation have them."""
    redis, prefix = Redis.from_url(redis_url), f"{uuid.uuid4().hex}:"
    yield lambda: RedisBreaker(redis, prefix=prefix, on_closed=told.append, now_ms=lambda: clock.ms)
    redis.close()


def fail(breaker: RedisBreaker, account: str = "matriz", times: int = FAILURES) -> None:
    for _ in range(times):
        breaker.admit(account)
        breaker.note(account, FAILED)


def rest_of(breaker: RedisBreaker, account: str = "matriz") -> float:
    """Seconds until the account is asked again; 0 when it is asked."""
    try:
        breaker.admit(account)
    except CircuitOpen as error:
        return error.retry_after_s
    return 0.0


def test_an_account_that_keeps_failing_is_left_alone_by_every_process(process: Make) -> None:
    fail(process())

    assert rest_of(process()) == 1.0
    assert rest_of(process(), "filial") == 0


@pytest.mark.parametrize("ending", [WELL, REFUSED])
def test_one_answer_in_between_begins_the_count_anew(process: Make, ending: Ending) -> None:
    breaker = process()
    fail(breaker, times=FAILURES - 1)
    breaker.admit("matriz")
    breaker.note("matriz", ending)

    fail(breaker, times=FAILURES - 1)

    assert rest_of(breaker) == 0


def test_after_the_rest_one_request_goes_first(process: Make, clock: Clock, told: list[str | None]) -> None:
    breaker = process()
    fail(breaker)
    clock.pass_s(1)

    assert rest_of(breaker) == 0
    assert rest_of(process()) == PROBE_MS / 1000

    breaker.note("matriz", WELL)

    assert rest_of(process()) == 0
    assert told == ["matriz"]


def test_a_probe_that_fails_begins_a_longer_rest_but_never_an_endless_one(process: Make, clock: Clock) -> None:
    breaker = process()
    fail(breaker)
    rests = []
    for _ in range(8):
        rests.append(rest_of(breaker))
        clock.pass_s(rests[-1])
        fail(breaker, times=1)

    assert rests == [1, 2, 4, 8, 16, 30, 30, 30]


def test_a_probe_that_nobody_hears_of_is_followed_by_another(process: Make, clock: Clock) -> None:
    fail(process())
    clock.pass_s(1)
    assert rest_of(process()) == 0

    clock.pass_s(PROBE_MS / 1000)

    assert rest_of(process()) == 0


def test_requests_that_were_under_way_make_the_rest_no_longer(process: Make) -> None:
    breaker = process()
    fail(breaker)

    for _ in range(5):
        breaker.note("matriz", FAILED)

    assert rest_of(breaker) == 1.0


def test_when_nobody_answers_bling_as_a_whole_is_left_alone(
    process: Make, clock: Clock, told: list[str | None]
) -> None:
    breaker = process()
    for number in range(FAILURES_OF_ALL + ACCOUNTS):
        breaker.note(f"conta-{number % 3}", FAILED)

    assert rest_of(breaker, "conta-que-nunca-falhou") == 1.0

    clock.pass_s(1)
    assert rest_of(breaker, "outra") == 0
    breaker.note("outra", WELL)

    assert told == [None]
    assert rest_of(breaker, "conta-que-nunca-falhou") == 0


def test_one_account_that_answers_shows_that_bling_is_there(process: Make) -> None:
    breaker = process()
    for _ in range(FAILURES_OF_ALL):
        for account in ("matriz", "filial", "avulsa"):
            breaker.note(account, FAILED)
            breaker._failing.add("loja")
            breaker.note("loja", WELL)

    assert rest_of(breaker, "loja") == 0


def test_errors_stay_well_below_what_an_address_is_blocked_for(process: Make, clock: Clock) -> None:
    breaker, errors = process(), []
    for _ in range(1500):
        if rest_of(breaker) == 0:
            breaker.note("matriz", REFUSED)
            errors.append(clock.ms)
        clock.pass_s(0.02)

    assert len(errors) > 2 * ERRORS
    assert max(sum(1 for other in errors if first <= other < first + 10_000) for first in errors) == ERRORS


def test_a_block_stops_everybody(process: Make, clock: Clock) -> None:
    process().trip(60)

    assert rest_of(process(), "filial") == 60
    clock.pass_s(60)
    probing = process()
    assert rest_of(probing, "filial") == 0
    assert rest_of(process(), "matriz") == PROBE_MS / 1000
    probing.note("filial", WELL)
    assert rest_of(process(), "matriz") == 0


def test_no_block_lasts_longer_than_blings(process: Make) -> None:
    process().trip(86_400)

    assert rest_of(process()) == 600


def test_accounts_that_keep_failing_hold_up_no_other_merchant(process: Make, clock: Clock) -> None:
    dead, well = process(), process()
    for number in range(FAILURES_OF_ALL + ACCOUNTS):
        dead.note(f"conta-{number % 3}", FAILED)
    waited = 0.0
    for _ in range(20):
        for account in ("conta-0", "conta-1", "conta-2"):
            if rest_of(dead, account) == 0:
                clock.pass_s(1)
                dead.note(account, FAILED)
        waited = max(waited, rest_of(well, "loja"))
        clock.pass_s(5)

        assert rest_of(well, "loja") == 0

    assert waited <= 5


def test_a_request_that_is_not_made_after_all_holds_up_nobody(process: Make, clock: Clock) -> None:
    breaker = process()
    fail(breaker)
    clock.pass_s(1)
    assert rest_of(breaker) == 0

    breaker.give_back("matriz")

    assert rest_of(process()) == 0


def test_a_late_failure_keeps_nobody_from_hearing_of_the_success(process: Make, clock: Clock) -> None:
    breaker = process()
    fail(breaker)
    clock.pass_s(1)
    assert rest_of(breaker) == 0

    breaker.note("matriz", FAILED)
    clock.pass_s(2)
    assert rest_of(breaker) == 0
    breaker.note("matriz", WELL)

    assert rest_of(process()) == 0


def test_whoever_cannot_be_told_does_not_spoil_the_answer(redis_url: str, clock: Clock) -> None:
    def break_down(_account_id: str | None) -> None:
        raise RuntimeError("no database")

    redis = Redis.from_url(redis_url)
    breaker = RedisBreaker(redis, prefix=f"{uuid.uuid4().hex}:", on_closed=break_down, now_ms=lambda: clock.ms)
    fail(breaker)
    clock.pass_s(1)
    breaker.admit("matriz")

    breaker.note("matriz", WELL)

    assert rest_of(breaker) == 0
    redis.close()


def test_without_redis_nobody_is_left_alone() -> None:
    breaker = RedisBreaker(Redis.from_url("redis://127.0.0.1:1", socket_connect_timeout=0.1))

    fail(breaker, times=2 * FAILURES)
    breaker.trip(60)

    assert rest_of(breaker) == 0
