from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.fernet import Fernet
from redis import Redis
from rq import Queue

import config as configuration
import queues
from clock import utcnow
from config import Config
from devserver.redis_server import RedisProcess
from models import Account, AccountState, OAuthState
from sandbox import Bling
from services import accounts, connections, consents
from services.bling_clients import client_for
from services.consents import ConnectionForm
from services.secrets import seal, unseal
from tests.factories import make_event, make_group
from tests.services.merchants import connected, fresh, organization, user

pytestmark = pytest.mark.usefixtures("config", "database", "redis")


def is_alive(bling: Bling, key: str = "matriz") -> bool:
    return bling.current_tokens(key, "shared-id") is not None


def test_it_lists_accounts_with_their_numbers_and_the_disconnected_last(bling: Bling) -> None:
    merchant = organization()
    gone = connected(bling, merchant, "avulsa", state=AccountState.DISCONNECTED)
    bling.add_product("matriz", "A")
    bling.add_product("matriz", "B")
    bling.edit_deposit("matriz", "Loja virtual", situation=0)
    matriz = connected(bling, merchant, "matriz", read=True)
    connected(bling, organization("vizinha"), "filial")

    lines = accounts.list_accounts(merchant)

    assert [line.account.id for line in lines] == [matriz.id, gone.id]
    assert (lines[0].deposits, lines[0].products) == (1, 2)
    assert lines[0].requests_today == len(bling.requests(account="matriz"))


def test_the_details_of_an_account(bling: Bling, config: Config) -> None:
    merchant = organization()
    account = connected(bling, merchant, read=True, webhook_key="chave")
    for number in range(25):
        make_event(account, bling_event_id=str(number))
    make_group(merchant, name="Ativa", sources=accounts.account_details(account).deposits[:1])
    make_group(merchant, name="Rascunho", targets=accounts.account_details(account).deposits[1:], is_active=False)
    make_group(merchant, name="Outra")

    details = accounts.account_details(account)

    assert [deposit.name for deposit in details.deposits] == ["Geral", "Loja virtual"]
    ids = [event.id for event in details.events]
    assert (len(ids), ids) == (20, sorted(ids, reverse=True))
    # Bodies may be large and are not read.
    assert all(event.body is None for event in details.events)
    assert [rule.name for rule in details.rules] == ["Ativa", "Rascunho"]
    assert [rule.name for rule in accounts.rules_with(account)] == ["Ativa"]
    assert details.webhook_url == "http://localhost/webhooks/bling/chave"
    assert details.redirect_url == "http://localhost/bling/callback"
    assert accounts.webhook_url(None) == "http://localhost/webhooks/bling"


def test_the_list_does_not_need_redis(bling: Bling, own_redis: RedisProcess) -> None:
    merchant = organization()
    for key in ("matriz", "filial"):
        connected(bling, merchant, key)
    own_redis.stop()

    assert [line.requests_today for line in accounts.list_accounts(merchant)] == [None, None]


def test_a_name_is_trimmed_and_checked(bling: Bling) -> None:
    account = connected(bling, organization())

    assert accounts.rename(account, "  Loja do Centro ") is None
    assert fresh(account).name == "Loja do Centro"
    assert fresh(account).key == "matriz"
    for wrong in ("", "   ", "x" * 81, "a\x00b"):
        assert accounts.rename(account, wrong)
    assert fresh(account).name == "Loja do Centro"


def test_pausing_and_resuming(bling: Bling, redis: Redis) -> None:
    merchant = organization()
    ana, account = user(merchant), connected(bling, merchant)
    later = utcnow() + timedelta(minutes=30)
    merchant.next_reconcile_at = later
    merchant.save()

    assert accounts.pause(account, ana)
    assert not accounts.pause(account, ana)
    assert (fresh(account).state, fresh(account).state_reason) == (AccountState.PAUSED, "Pausada por Ana.")

    assert accounts.resume(account)
    assert not accounts.resume(account)
    assert (fresh(account).state, fresh(account).state_reason) == (AccountState.CONNECTED, None)
    assert fresh(account).organization.next_reconcile_at < later
    assert [job.func_name for job in Queue(queues.BULK, connection=redis).get_jobs()] == [
        "jobs.catalog.refresh_account"
    ]


@pytest.mark.parametrize("state", [AccountState.RECONNECT, AccountState.DISCONNECTED])
def test_only_a_connected_account_can_be_paused(bling: Bling, state: AccountState) -> None:
    merchant = organization()
    account = connected(bling, merchant, state=state)

    assert not accounts.pause(account, user(merchant))
    assert not accounts.resume(account)
    assert fresh(account).state == state


def test_disconnecting_revokes_at_bling_and_forgets_every_secret(bling: Bling) -> None:
    account = connected(bling, organization(), client_id=None, refresh_lease="x", refresh_lease_until=utcnow())

    assert accounts.disconnect(account).problem is None

    row = fresh(account)
    assert row.state == AccountState.DISCONNECTED
    assert not is_alive(bling)
    assert {row.access_token_sealed, row.refresh_token_sealed, row.client_secret_sealed, row.refresh_lease} == {None}
    assert row.company_id == account.company_id


def test_disconnecting_uses_the_newest_token(bling: Bling) -> None:
    account = connected(bling, organization())
    Account.update(token_expires_at=utcnow()).where(Account.id == account.id).execute()
    client_for(account).get_company()

    assert accounts.disconnect(account).problem is None

    assert not is_alive(bling)


def test_disconnecting_goes_through_when_bling_is_away(bling: Bling, config: Config) -> None:
    account = connected(bling, organization())
    configuration.activate(replace(config, bling_api_url="http://127.0.0.1:9/Api/v3"))

    done = accounts.disconnect(account)

    assert done.problem is not None
    assert "O Bling não respondeu" in done.problem
    row = fresh(account)
    assert (row.state, row.refresh_token_sealed) == (AccountState.DISCONNECTED, None)
    assert row.last_error == done.problem
    assert is_alive(bling)


def test_disconnecting_an_account_whose_tokens_cannot_be_opened_says_so(bling: Bling) -> None:
    account = connected(bling, organization(), refresh_token_sealed="rubbish")

    problem = accounts.disconnect(account).problem

    assert problem is not None
    assert "não puderam ser abertos" in problem
    assert fresh(account).state == AccountState.DISCONNECTED


def test_a_company_that_was_let_go_may_be_connected_by_another_merchant(bling: Bling) -> None:
    accounts.disconnect(connected(bling, organization()))

    other = connected(bling, organization("vizinha"), "matriz")

    assert fresh(other).state == AccountState.CONNECTED


def test_new_keys_take_over_every_secret(bling: Bling, config: Config) -> None:
    merchant = organization()
    account = connected(bling, merchant)
    secret = seal("own-secret", owner_id=account.id)
    Account.update(client_id="own", client_secret_sealed=secret).where(Account.id == account.id).execute()
    consents.start(user(merchant), "nonce", ConnectionForm("Loja", True, "other", "other-secret"))
    tokens = bling.current_tokens("matriz")
    assert tokens is not None
    new = Fernet.generate_key().decode()

    configuration.activate(replace(config, encryption_keys=(new, *config.encryption_keys)))
    assert accounts.reseal_secrets() == 2
    configuration.activate(replace(config, encryption_keys=(new,)))

    row, started = fresh(account), OAuthState.select().get()
    assert unseal(row.refresh_token_sealed, owner_id=row.id) == tokens.refresh_token
    assert unseal(row.client_secret_sealed, owner_id=row.id) == "own-secret"
    assert unseal(started.client_secret_sealed, owner_id=started.state_digest) == "other-secret"


def test_a_secret_that_no_key_opens_is_left_as_it_is(bling: Bling) -> None:
    account = connected(bling, organization(), refresh_token_sealed="rubbish")

    assert accounts.reseal_secrets() == 0
    assert fresh(account).refresh_token_sealed == "rubbish"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Loja São João!", "loja-sao-joao"),
        ("  ", "conta"),
        ("日本", "conta"),
        ("a" * 60, "a" * 40),
        ("Ação - 2ª Filial", "acao-2a-filial"),
    ],
)
def test_a_key_is_made_of_the_name(name: str, key: str) -> None:
    assert connections.free_key(organization().id, name) == key


def test_a_key_that_is_taken_gets_a_number(bling: Bling) -> None:
    merchant = organization()
    connected(bling, merchant, "matriz")

    assert connections.free_key(merchant.id, "Matriz") == "matriz-2"
    assert connections.free_key(organization("vizinha").id, "Matriz") == "matriz"
