"""Renewing tokens ahead of time: none too late, none too early, never too many at once."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from bling.tokens import lead_of
from clock import utcnow
from models import Account, AccountState
from sandbox import Bling
from services.bling_clients import AccountTokens
from services.token_renewal import AT_ONCE, due_for_renewal, renew
from tests.factories import make_account, make_organization
from tests.services.merchants import connected, fresh, organization

pytestmark = pytest.mark.usefixtures("config", "database", "redis")

LIFE = timedelta(hours=6)
MINUTE = timedelta(minutes=1)


def ends_ms(account: Account) -> int:
    """When the tokens of the account end, as the books say."""
    return round(fresh(account).token_expires_at.timestamp() * 1000)


def made(ends_in: timedelta, now: datetime, key: str = "matriz", **values: object) -> Account:
    return make_account(
        (Account.get_or_none() and Account.get().organization) or make_organization(),
        key,
        token_expires_at=now + ends_in,
        token_lifetime_s=int(LIFE.total_seconds()),
        refresh_token_sealed="selado",
        **values,
    )


def test_one_account_is_renewed_right_before_whoever_needs_it_would() -> None:
    now = utcnow()
    account = made(LIFE, now)
    renewed_by = account.token_expires_at - lead_of(LIFE.total_seconds())

    assert due_for_renewal(renewed_by - 2 * MINUTE) == []
    assert due_for_renewal(renewed_by - MINUTE) == [(account.id, ends_ms(account))]


def test_many_that_end_together_begin_long_before_and_are_done_in_time() -> None:
    now = utcnow()
    accounts = {made(LIFE, now, f"conta-{number}").id: now + LIFE for number in range(240)}
    moment, began = now + LIFE - 45 * MINUTE, None
    assert due_for_renewal(moment) == []

    while moment < now + LIFE - lead_of(LIFE.total_seconds()):
        chosen = due_for_renewal(moment)
        assert len(chosen) <= AT_ONCE
        began = began or (moment if chosen else None)
        for account_id, _ in chosen:
            accounts[account_id] = moment + LIFE
            Account.update(token_expires_at=moment + LIFE).where(Account.id == account_id).execute()
        moment += timedelta(seconds=10)

    assert min(accounts.values()) > now + LIFE
    assert began is not None
    assert 24 * MINUTE < now + LIFE - began < 30 * MINUTE


@pytest.mark.parametrize(
    "values",
    [
        {"state": AccountState.RECONNECT},
        {"state": AccountState.DISCONNECTED},
        {"refresh_token_sealed": None},
        {"refresh_lease": "outro", "refresh_lease_until": "later"},
        {"last_error_at": "now"},
    ],
)
def test_what_cannot_be_renewed_now_holds_up_nobody(values: dict[str, object]) -> None:
    now = utcnow()
    moments = {"later": now + MINUTE, "now": now - MINUTE}
    ended = made(-MINUTE, now)
    Account.update({name: moments.get(str(value), value) for name, value in values.items()}).where(
        Account.id == ended.id
    ).execute()
    other = made(MINUTE, now, "filial")

    assert due_for_renewal(now) == [(other.id, ends_ms(other))]


def test_it_is_renewed_once_and_its_new_tokens_are_kept(bling: Bling) -> None:
    account = connected(bling, organization())
    before = AccountTokens(account.id).load()

    seen = ends_ms(account)
    # Asked for twice, while all workers were busy.
    for _ in range(2):
        renew(account.id, seen)

    after = AccountTokens(account.id).load()
    assert after.refresh_token != before.refresh_token
    assert (after.expires_at >= before.expires_at, len(bling.requests(path="/oauth/token"))) == (True, 1)


def test_a_lost_authorization_is_told_at_once(bling: Bling) -> None:
    account = connected(bling, organization())
    bling.revoke("matriz")

    renew(account.id, ends_ms(account))

    assert fresh(account).state == AccountState.RECONNECT
    assert "Reconecte" in fresh(account).state_reason


def test_an_account_that_is_gone_asks_for_nothing(bling: Bling) -> None:
    account = connected(bling, organization())
    Account.update(state=AccountState.DISCONNECTED).execute()

    renew(account.id, ends_ms(account))
    renew("nenhuma", 0)

    assert bling.requests(path="/oauth/token") == []
