"""Bling clients for our accounts: tokens in the database, one refresh at a time, one budget of requests per account.

The rule it guards: a rotated refresh token exists nowhere else, so it is stored before anything else happens, and never
over tokens that somebody else stored in the meantime.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import lru_cache, partial

from redis import Redis

import config
import queues
from bling.breaker import RedisBreaker
from bling.client import BlingClient
from bling.errors import (
    AppRefused,
    AuthExpired,
    AuthLost,
    BlingError,
    CircuitOpen,
    CodeRefused,
    Forbidden,
    KeptForSales,
    NotFound,
    NotSent,
    QuotaExhausted,
    RateLimited,
    RefreshOutcomeUnknown,
    Unavailable,
    UnexpectedAnswer,
    WriteOutcomeUnknown,
)
from bling.pacing import Errand
from bling.redis_pacer import RedisPacer
from bling.tokens import REFRESH_CLAIM_S, OAuthClient, TokenSource
from bling.transport import Transport
from clock import utcnow
from core.values import Tokens
from db import connection
from models import Account, AccountState
from services.dirty import hasten
from services.secrets import SecretUnreadable, seal, unseal

log = logging.getLogger(__name__)

# A read that hung until its time-out is not repeated on the spot: others wait for the same answer.
RETRY_BUDGET_S = 8.0

LOST_REASON = "O Bling não aceita mais a autorização desta conta. Reconecte para voltar a sincronizar."

# Holds the lease between a refresh that failed and the moment when another may be tried.
_RESTING = "resting"

# What a person reads of each error; the most special first.
_WORDS: tuple[tuple[type[BlingError], str], ...] = (
    (AuthLost, "O Bling não aceita mais a autorização desta conta."),
    (AuthExpired, "O Bling recusou o acesso desta conta."),
    (AppRefused, "O Bling recusou o Client ID ou o Client Secret do aplicativo."),
    (CodeRefused, "O código de autorização expirou ou já foi usado."),
    (Forbidden, "Falta uma permissão (escopo) no aplicativo cadastrado no Bling."),
    (NotFound, "O Bling não encontrou o que foi pedido."),
    (CircuitOpen, "O Bling não tem respondido por esta conta; tentamos de novo em instantes."),
    (KeptForSales, "As requisições que restam hoje nesta conta ficam guardadas para as vendas."),
    (QuotaExhausted, "O limite de requisições do dia desta conta foi atingido."),
    (RateLimited, "O Bling pediu para esperar: requisições demais em pouco tempo."),
    (RefreshOutcomeUnknown, "A renovação do acesso ficou sem resposta; vamos tentar de novo."),
    (UnexpectedAnswer, "O Bling respondeu algo que não entendemos."),
    (Unavailable, "O Bling não respondeu."),
    (NotSent, "Não foi possível falar com o Bling."),
    (WriteOutcomeUnknown, "O Bling não confirmou a escrita: não se sabe se ela foi aplicada."),
)


def explain(error: BlingError) -> str:
    """What went wrong, in a sentence for a merchant."""
    for kind, words in _WORDS:
        if isinstance(error, kind):
            return words
    return "O Bling recusou o pedido."


def describe(error: BlingError) -> str:
    """What went wrong for a merchant, and behind it the words that a technician needs."""
    return f"{explain(error)} Detalhes: {error}"


def note_failure(account: Account, error: BlingError) -> None:
    """Show this error on the account's page."""
    is_told = Account.id == account.id
    if isinstance(error, AuthLost):
        # The first refusal is what a person should read; that the account waits since then is no news.
        is_told &= Account.state != AccountState.RECONNECT
    _note(is_told, describe(error))


def _note(where: object, sentence: str) -> None:
    Account.update(last_error=sentence[:500], last_error_at=utcnow()).where(where).execute()


def clients_for(errand: Errand) -> Callable[[Account], BlingClient]:
    """`client_for` whose requests take their turns as ones of this errand."""
    return partial(client_for, errand=errand)


def client_for(account: Account, errand: Errand = Errand.LIVE) -> BlingClient:
    """A client for this account, its tokens in the database; safe to use in several threads.

    Its calls raise AuthLost while the account waits to be reconnected or is disconnected, and AppRefused when there is
    no app to speak for it. A call may write tokens, so none is made inside a transaction.
    """
    store = AccountTokens(account.id)
    source = TokenSource(store, _app_client(account), utcnow=utcnow)
    return BlingClient(transport(), source, pacer(), account.id, utcnow=utcnow, errand=errand, breaker=breaker())


def client_with(tokens: Tokens | MemoryTokens, client_id: str, client_secret: str, pace_key: str) -> BlingClient:
    """A client for tokens that belong to no row yet.

    Tokens that may be about to end are given as MemoryTokens: a refresh leaves the new ones there, the old are spent.
    """
    store = tokens if isinstance(tokens, MemoryTokens) else MemoryTokens(tokens)
    source = TokenSource(store, oauth_client(client_id, client_secret), utcnow=utcnow)
    return BlingClient(transport(), source, pacer(), pace_key, utcnow=utcnow, errand=Errand.MANUAL)


def oauth_client(client_id: str, client_secret: str) -> OAuthClient:
    return OAuthClient(transport(), client_id, client_secret, utcnow=utcnow, pacer=pacer())


def app_of(account: Account) -> tuple[str, str]:
    """Client id and secret of the app that speaks for this account. Raises AppRefused when there is none."""
    if account.client_id and account.client_secret_sealed:
        try:
            return account.client_id, unseal(account.client_secret_sealed, owner_id=account.id)
        except SecretUnreadable as error:
            raise AppRefused("app credentials", str(error)) from error
    shared = shared_app()
    if shared is None:
        raise AppRefused("app credentials", "neither the account nor this installation has an app")
    return shared


def shared_app() -> tuple[str, str] | None:
    """The app of this installation, if it has one."""
    settings = config.current()
    if settings.bling_client_id and settings.bling_client_secret:
        return settings.bling_client_id, settings.bling_client_secret
    return None


def renew_tokens(account: Account) -> None:
    """Refresh the account's tokens ahead of time, unless somebody else does so. Raises BlingError."""
    TokenSource(AccountTokens(account.id), _app_client(account), utcnow=utcnow).renew()


def take_up(account_id: str | None) -> None:
    """The account, None: every one, answers again: what waited for it need not wait any longer."""
    with connection():
        owners = Account.select(Account.organization).where(Account.state == AccountState.CONNECTED).distinct()
        if account_id is not None:
            owners = owners.where(Account.id == account_id)
        waiting = [account.organization_id for account in owners if hasten(account.organization_id)]
    for organization_id in waiting:
        queues.kick(organization_id)


def requests_today(account: Account) -> int | None:
    """How many requests the account made in Bling's current day; None when Redis cannot tell."""
    return pacer().requests_today(account.id)


def transport() -> Transport:
    return _transport(config.current().bling_api_url)


def pacer() -> RedisPacer:
    settings = config.current()
    return _pacer(queues.shared_connection(), settings.bling_rate_per_second, settings.bling_rate_per_day)


def breaker() -> RedisBreaker:
    return _breaker(queues.shared_connection())


@lru_cache(maxsize=4)
def _breaker(redis: Redis) -> RedisBreaker:
    return RedisBreaker(redis, on_closed=take_up)


@lru_cache(maxsize=4)
def _transport(api_url: str) -> Transport:
    return Transport(api_url, retry_budget_s=RETRY_BUDGET_S)


@lru_cache(maxsize=4)
def _pacer(redis: Redis, rate_per_second: int, rate_per_day: int) -> RedisPacer:
    return RedisPacer(redis, rate_per_second=rate_per_second, rate_per_day=rate_per_day, utcnow=utcnow)


def _app_client(account: Account) -> OAuthClient:
    try:
        return oauth_client(*app_of(account))
    except AppRefused as error:
        return _NoApp(error)


class _NoApp(OAuthClient):
    """Stands for an app that is missing: tokens serve as long as they last, then a refresh says what is wrong."""

    def __init__(self, error: AppRefused) -> None:
        self._error = error

    def refresh(self, refresh_token: str) -> Tokens:
        raise self._error


class AccountTokens:
    """The tokens of one account in the database (a bling.tokens.TokenStore); one instance per client."""

    def __init__(self, account_id: str) -> None:
        self._account_id = account_id
        self._lease = secrets.token_hex(16)
        self._loaded = _Loaded()

    def load(self) -> Tokens:
        with connection():
            row = self._row()
        if row is None or row.state in (AccountState.RECONNECT, AccountState.DISCONNECTED):
            raise AuthLost("token look-up", "the account waits for a person to connect it")
        if row.access_token_sealed is None or row.refresh_token_sealed is None:
            raise AuthLost("token look-up", "the account has no tokens")
        try:
            refresh_token = unseal(row.refresh_token_sealed, owner_id=self._account_id)
            access_token = unseal(row.access_token_sealed, owner_id=self._account_id)
        except SecretUnreadable as error:
            # The account is not marked: with the right ENCRYPTION_KEYS its tokens are good again.
            with connection():
                _note(
                    Account.id == self._account_id,
                    "Os tokens guardados não puderam ser abertos com as chaves atuais.",
                )
            raise AuthLost("token look-up", str(error)) from error
        self._loaded.refresh_token = refresh_token
        return Tokens(
            access_token=access_token,
            refresh_token=refresh_token,
            expires_at=row.token_expires_at or utcnow(),
            lifetime_s=row.token_lifetime_s or 0,
        )

    def try_claim_refresh(self) -> bool:
        now = utcnow()
        with connection():
            claimed = (
                Account.update(refresh_lease=self._lease, refresh_lease_until=now + timedelta(seconds=REFRESH_CLAIM_S))
                .where(
                    (Account.id == self._account_id)
                    & (Account.refresh_lease.is_null() | (Account.refresh_lease_until < now))
                )
                .execute()
            )
        return bool(claimed == 1)

    def save(self, tokens: Tokens) -> None:
        if self._update_if_unchanged(token_columns(self._account_id, tokens)):
            self._loaded.refresh_token = tokens.refresh_token
        else:
            log.warning("Account %s has other tokens by now; those of this refresh are dropped", self._account_id)

    def release(self, after_s: float = 0.0) -> None:
        rest = {"refresh_lease": None, "refresh_lease_until": None}
        if after_s > 0:
            rest = {"refresh_lease": _RESTING, "refresh_lease_until": utcnow() + timedelta(seconds=after_s)}
        with connection():
            is_mine = (Account.id == self._account_id) & (Account.refresh_lease == self._lease)
            Account.update(rest).where(is_mine).execute()

    def mark_lost(self, reason: str) -> None:
        log.warning("Account %s lost its authorization: %s", self._account_id, reason)
        self._update_if_unchanged(
            {
                "state": AccountState.RECONNECT,
                "state_reason": LOST_REASON,
                "last_error": f"{_WORDS[0][1]} Detalhes: {reason}",
                "last_error_at": utcnow(),
            }
        )

    def _update_if_unchanged(self, changes: Mapping[str, object]) -> bool:
        """Change the row while it holds the refresh token that was loaded; False when it holds another one.

        Somebody may have reconnected the account (then theirs is the newer truth), or sealed the same token anew under
        another key (then it still counts as unchanged).
        """
        with connection():
            while True:
                row = self._row()
                sealed = row.refresh_token_sealed if row is not None else None
                if sealed is None or unseal(sealed, owner_id=self._account_id) != self._loaded.refresh_token:
                    return False
                is_mine = (Account.id == self._account_id) & (Account.refresh_token_sealed == sealed)
                if Account.update(changes).where(is_mine).execute() == 1:
                    return True

    def _row(self) -> Account | None:
        return Account.get_or_none(Account.id == self._account_id)


class _Loaded(threading.local):
    """The refresh token that this thread loaded last: what it saves replaces that one and no other."""

    refresh_token: str | None = None


def token_columns(account_id: str, tokens: Tokens) -> dict[str, str | int | datetime]:
    """The tokens, sealed, as columns of the account's row."""
    return {
        "access_token_sealed": seal(tokens.access_token, owner_id=account_id),
        "refresh_token_sealed": seal(tokens.refresh_token, owner_id=account_id),
        "token_expires_at": tokens.expires_at,
        "token_lifetime_s": tokens.lifetime_s,
    }


class MemoryTokens:
    """Tokens that belong to no row yet. When a call had to refresh them, `tokens` are the ones to keep."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens
        self._claim = threading.Lock()

    def load(self) -> Tokens:
        return self.tokens

    def try_claim_refresh(self) -> bool:
        return self._claim.acquire(blocking=False)

    def save(self, tokens: Tokens) -> None:
        self.tokens = tokens

    def release(self, after_s: float = 0.0) -> None:
        """Nobody waits for these tokens outside this errand, so there is no rest to keep."""
        self._claim.release()

    def mark_lost(self, reason: str) -> None:
        """Nobody to tell: the caller sees the error."""
