"""Quotas of an account and blocks of an address, with the clock moved by hand."""

from __future__ import annotations

import pytest

from sandbox import Bling, Server
from tests.sandbox.conftest import Api, Clock
from tests.sandbox.test_oauth import ask_token


@pytest.fixture
def ticking(bling: Bling) -> Clock:
    bling.world.clock = Clock()
    assert isinstance(bling.world.clock, Clock)
    return bling.world.clock


@pytest.fixture
def limited(bling: Bling, ticking: Clock, server: Server) -> Api:
    bling.configure(rate_per_second=3, rate_per_day=120_000)
    return Api(server.url, bling.issue_tokens("matriz").access_token)


def test_the_fourth_request_within_a_second_is_answered_429(limited: Api, ticking: Clock) -> None:
    statuses = []
    for step in (0, 0.3, 0.3, 0.3, 0.2):
        ticking.now += step
        statuses.append(limited.get("/depositos").status_code)

    assert statuses == [200, 200, 200, 429, 200]


def test_a_refused_request_takes_nothing_from_the_quota(limited: Api, bling: Bling, ticking: Clock) -> None:
    for _ in range(10):
        limited.get("/depositos")

    assert bling.used_today("matriz") == 3
    ticking.now += 1
    assert limited.get("/depositos").status_code == 200


def test_all_apps_of_an_account_share_its_quota_and_accounts_do_not(
    limited: Api, bling: Bling, server: Server, ticking: Clock
) -> None:
    bling.add_app("outro", "s")
    other_app = Api(server.url, bling.issue_tokens("matriz", "outro").access_token)
    other_account = Api(server.url, bling.issue_tokens("filial").access_token)

    first = [limited.get("/depositos").status_code for _ in range(2)]
    second = [other_app.get("/depositos").status_code for _ in range(2)]

    assert first + second == [200, 200, 200, 429]
    assert other_account.get("/depositos").status_code == 200


def test_the_daily_quota_starts_again_at_midnight_in_brasilia(bling: Bling, server: Server, ticking: Clock) -> None:
    bling.configure(rate_per_second=None, rate_per_day=2, expires_in=90_000)
    api = Api(server.url, bling.issue_tokens("matriz").access_token)

    statuses = [api.get("/depositos").status_code for _ in range(3)]
    refused = api.get("/depositos").json()["error"]
    ticking.now += 15 * 3600 - 1  # It was noon in UTC, nine in the morning there.
    before_midnight = api.get("/depositos").status_code
    ticking.now += 1

    assert statuses == [200, 200, 429]
    assert refused["type"] == "TOO_MANY_REQUESTS"
    assert "por dia" in refused["description"]
    assert before_midnight == 429
    assert api.get("/depositos").status_code == 200


def test_limits_can_be_switched_off(limited: Api, bling: Bling) -> None:
    bling.no_limits()

    assert {limited.get("/depositos").status_code for _ in range(10)} == {200}


def test_an_address_that_errs_300_times_in_ten_seconds_is_blocked_for_ten_minutes(
    api: Api, bling: Bling, ticking: Clock
) -> None:
    bling.configure(ip_limits=True)

    statuses = [api.get("/depositos/1").status_code for _ in range(300)]
    blocked = api.get("/depositos").status_code
    ticking.now += 600

    assert set(statuses) == {404}
    assert blocked == 429
    assert api.get("/depositos").status_code == 200


def test_an_address_that_asks_600_times_in_ten_seconds_is_blocked(api: Api, bling: Bling, ticking: Clock) -> None:
    bling.configure(ip_limits=True)

    statuses = [api.get("/depositos").status_code for _ in range(601)]

    assert statuses.count(200) == 600
    assert statuses[-1] == 429


def test_twenty_token_calls_a_minute_are_enough(bling: Bling, server: Server, ticking: Clock) -> None:
    bling.configure(ip_limits=True)

    statuses = [ask_token(server, grant_type="x").status_code for _ in range(21)]
    ticking.now += 3599
    still_blocked = ask_token(server, grant_type="x").status_code
    ticking.now += 2
    free = ask_token(server, grant_type="x").status_code

    assert statuses == [400] * 20 + [429]
    assert (still_blocked, free) == (429, 400)
