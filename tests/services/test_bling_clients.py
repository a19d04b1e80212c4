from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

import config as configuration
from bling.errors import AppRefused, AuthLost, RefreshOutcomeUnknown, Unavailable
from bling.tokens import OAuthClient
from clock import utcnow
from config import Config
from core.values import Tokens
from models import Account, AccountState
from sandbox import Bling
from services.bling_clients import (
    AccountTokens,
    MemoryTokens,
    client_for,
    client_with,
    explain,
    note_failure,
    requests_today,
    shared_app,
    token_columns,
)
from services.secrets import seal, unseal
from tests.services.merchants import connected, fresh, organization, tokens_of

pytestmark = pytest.mark.usefixtures("config", "database", "redis")


def expire(account: Account, by: timedelta = timedelta(seconds=1)) -> None:
    Account.update(token_expires_at=utcnow() - by).where(Account.id == account.id).execute()


def refreshes(bling: Bling) -> int:
    return len(bling.requests(path="/oauth/token"))


def test_it_speaks_for_the_account(bling: Bling) -> None:
    account = connected(bling, organization(), "filial")

    company = client_for(account).get_company()

    assert (company.id, company.name) == (account.company_id, "Filial")
    assert requests_today(account) == 1


def test_it_refreshes_an_expired_token_and_keeps_the_rotated_pair(bling: Bling) -> None:
    account = connected(bling, organization())
    expire(account)

    client_for(account).get_company()

    row = fresh(account)
    now_valid = bling.current_tokens("matriz")
    assert now_valid is not None
    assert unseal(row.refresh_token_sealed, owner_id=row.id) == now_valid.refresh_token
    assert unseal(row.access_token_sealed, owner_id=row.id) == now_valid.access_token
    assert row.token_expires_at > utcnow() + timedelta(hours=5)
    assert (row.refresh_lease, row.refresh_lease_until, row.state) == (None, None, AccountState.CONNECTED)


def test_it_refreshes_once_however_many_ask(bling: Bling) -> None:
    account = connected(bling, organization())
    expire(account)
    gate = threading.Barrier(6)

    def ask() -> str:
        client = client_for(account)
        gate.wait(10)
        return client.get_company().id

    with ThreadPoolExecutor(6) as pool:
        answers = [future.result(30) for future in [pool.submit(ask) for _ in range(6)]]

    assert set(answers) == {account.company_id}
    assert refreshes(bling) == 1
    assert fresh(account).state == AccountState.CONNECTED


def test_nobody_refreshes_while_a_failure_rests(bling: Bling) -> None:
    account = connected(bling, organization())
    first, second = AccountTokens(account.id), AccountTokens(account.id)
    first.try_claim_refresh()

    first.release(30)
    assert not second.try_claim_refresh()

    end_rest(account)
    assert second.try_claim_refresh()


def test_only_one_claims_the_refresh_and_a_dead_holder_is_outlived(bling: Bling) -> None:
    account = connected(bling, organization())
    first, second = AccountTokens(account.id), AccountTokens(account.id)

    assert first.try_claim_refresh()
    assert not second.try_claim_refresh()
    second.release()
    assert not second.try_claim_refresh()

    Account.update(refresh_lease_until=utcnow() - timedelta(milliseconds=5)).where(Account.id == account.id).execute()
    assert second.try_claim_refresh()
    first.release()
    assert fresh(account).refresh_lease is not None


def test_an_account_whose_authorization_is_gone_asks_to_be_reconnected(bling: Bling) -> None:
    account = connected(bling, organization())
    bling.revoke("matriz")

    expire(account)

    with pytest.raises(AuthLost):
        client_for(account).get_company()

    row = fresh(account)
    assert row.state == AccountState.RECONNECT
    assert "Reconecte" in row.state_reason


def test_it_calls_nobody_for_an_account_that_waits_for_a_person(bling: Bling) -> None:
    account = connected(bling, organization(), state=AccountState.RECONNECT)

    with pytest.raises(AuthLost):
        client_for(account).get_company()

    assert bling.requests() == []


def lose_answer(refresh: Callable[[OAuthClient, str], Tokens], monkeypatch: pytest.MonkeyPatch) -> None:
    """The token address gets the refresh, and its answer never arrives."""

    def cut(client: OAuthClient, refresh_token: str) -> Tokens:
        refresh(client, refresh_token)
        raise RefreshOutcomeUnknown("POST /oauth/token (refresh)", "connection reset")

    monkeypatch.setattr(OAuthClient, "refresh", cut)


def end_rest(account: Account) -> None:
    Account.update(refresh_lease_until=utcnow() - timedelta(milliseconds=5)).where(Account.id == account.id).execute()


def test_a_lost_answer_keeps_the_old_pair_and_if_that_is_refused_later_the_account_asks_for_a_person(
    bling: Bling, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = connected(bling, organization())
    expire(account)
    before = fresh(account).refresh_token_sealed
    refresh = OAuthClient.refresh
    lose_answer(refresh, monkeypatch)

    with pytest.raises(RefreshOutcomeUnknown):
        client_for(account).get_company()

    row = fresh(account)
    assert (row.refresh_token_sealed, row.state) == (before, AccountState.CONNECTED)
    assert row.refresh_lease_until > utcnow()

    monkeypatch.setattr(OAuthClient, "refresh", refresh)
    end_rest(account)
    with pytest.raises(AuthLost):
        client_for(account).get_company()
    assert fresh(account).state == AccountState.RECONNECT


def test_a_refresh_that_never_reached_bling_is_made_good_later(bling: Bling, monkeypatch: pytest.MonkeyPatch) -> None:
    account = connected(bling, organization())
    expire(account)
    refresh = OAuthClient.refresh
    lose_answer(lambda client, refresh_token: None, monkeypatch)  # type: ignore[arg-type,return-value]
    with pytest.raises(RefreshOutcomeUnknown):
        client_for(account).get_company()

    monkeypatch.setattr(OAuthClient, "refresh", refresh)
    end_rest(account)

    assert client_for(account).get_company().id == account.company_id
    assert refreshes(bling) == 1


def test_it_never_stores_tokens_over_those_of_a_reconnection(bling: Bling) -> None:
    account = connected(bling, organization())
    slow = AccountTokens(account.id)
    slow.load()
    reconnected = tokens_of("new-access", "new-refresh")
    Account.update(token_columns(account.id, reconnected)).where(Account.id == account.id).execute()

    slow.save(tokens_of("late-access", "late-refresh"))
    slow.mark_lost("late refusal")

    row = fresh(account)
    assert unseal(row.refresh_token_sealed, owner_id=row.id) == "new-refresh"
    assert row.state == AccountState.CONNECTED


def test_it_stores_tokens_although_the_old_ones_were_sealed_anew_meanwhile(bling: Bling) -> None:
    account = connected(bling, organization())
    store = AccountTokens(account.id)
    loaded = store.load()
    resealed = seal(loaded.refresh_token, owner_id=account.id)
    Account.update(refresh_token_sealed=resealed).where(Account.id == account.id).execute()

    store.save(tokens_of("new-access", "new-refresh"))

    assert AccountTokens(account.id).load().refresh_token == "new-refresh"


def test_tokens_that_no_key_opens_are_said_and_not_given_up(bling: Bling, config: Config) -> None:
    account = connected(bling, organization())
    foreign = seal("token", owner_id="another-row")
    Account.update(refresh_token_sealed=foreign).where(Account.id == account.id).execute()

    with pytest.raises(AuthLost):
        client_for(account).get_company()

    row = fresh(account)
    assert row.state == AccountState.CONNECTED
    assert "chaves" in row.last_error


def test_an_account_with_its_own_app_speaks_through_that_app(bling: Bling) -> None:
    bling.add_app("own-id", "own-secret", kind="own", owner="avulsa")
    account = connected(bling, organization(), "avulsa", client_id="own-id")
    issued = bling.issue_tokens("avulsa", "own-id")
    columns = token_columns(account.id, tokens_of(issued.access_token, issued.refresh_token, -1))
    secret = seal("own-secret", owner_id=account.id)
    Account.update({**columns, "client_secret_sealed": secret}).where(Account.id == account.id).execute()

    client_for(fresh(account)).get_company()

    assert {request.client_id for request in bling.requests()} == {"own-id"}


def test_without_any_app_the_tokens_serve_until_they_end(bling: Bling, config: Config) -> None:
    account = connected(bling, organization())
    configuration.activate(replace(config, bling_client_id=None, bling_client_secret=None))
    assert shared_app() is None

    assert client_for(account).get_company().id == account.company_id
    expire(account)
    with pytest.raises(AppRefused):
        client_for(account).get_company()
    assert fresh(account).state == AccountState.CONNECTED


def test_tokens_without_a_row_are_refreshed_in_memory(bling: Bling) -> None:
    issued = bling.issue_tokens("matriz")
    store = MemoryTokens(tokens_of(issued.access_token, issued.refresh_token, -1))

    company = client_with(store, "shared-id", "shared-secret", "setup-1").get_company()

    assert company.id == issued.company_id
    assert store.tokens.refresh_token != issued.refresh_token


def test_no_token_reaches_the_log_or_a_repr(bling: Bling, caplog: pytest.LogCaptureFixture) -> None:
    account = connected(bling, organization())
    issued = bling.current_tokens("matriz")
    assert issued is not None
    expire(account)
    bling.revoke("matriz")

    with caplog.at_level(logging.DEBUG), pytest.raises(AuthLost) as lost:
        client_for(account).get_company()

    row = fresh(account)
    shown = "\n".join([caplog.text, str(lost.value), repr(lost.value), repr(row), row.state_reason, row.last_error])
    for secret in (issued.access_token, issued.refresh_token, "shared-secret"):
        assert secret not in shown


def test_what_a_lost_account_was_refused_for_stays_on_its_page(bling: Bling) -> None:
    account = connected(bling, organization())
    expire(account)
    bling.revoke("matriz")
    for _ in range(2):
        with pytest.raises(AuthLost) as lost:
            client_for(account).get_company()
        note_failure(account, lost.value)

    assert "Invalid refresh token" in fresh(account).last_error

    Account.update(state=AccountState.CONNECTED).where(Account.id == account.id).execute()
    note_failure(account, Unavailable("GET /depositos", "timed out"))
    assert fresh(account).last_error == "O Bling não respondeu. Detalhes: GET /depositos: timed out"


def test_every_error_has_words_without_codes() -> None:
    assert explain(RefreshOutcomeUnknown("POST /x", "cut")).startswith("A renovação")
    assert "Client Secret" in explain(AppRefused("POST /x", "no"))
