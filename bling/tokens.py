"""OAuth: the calls to Bling's token address, and access tokens that are always fresh enough.

The rule it guards: a refresh token rotates, and two refreshes with the same one lose the authorization. So one process
at a time refreshes an account, under a claim that all of them share, and looks again before it does.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Protocol
from urllib.parse import urlencode

from bling.errors import (
    AppRefused,
    AuthExpired,
    AuthLost,
    BlingError,
    CodeRefused,
    RefreshOutcomeUnknown,
    Unavailable,
    UnexpectedAnswer,
)
from bling.pacing import TokenPacer
from bling.payloads import PayloadError, parse_fault, parse_json, parse_tokens
from bling.transport import Transport, refusal_of
from bling.wire import Answer, NoAnswer
from core.backoff import delay_s
from core.values import Tokens

log = logging.getLogger(__name__)

TOKEN_PATH = "/oauth/token"  # noqa: S105
REVOKE_PATH = "/oauth/revoke"
REFRESH_LEAD_S = 300
REFRESH_LEAD_SHARE = 0.2
# A claim must outlive the slowest refresh (time-outs included) and the storing of its result.
REFRESH_CLAIM_S = 90
# How long nobody refreshes after a failure, or after a refresh that a refusal of the API asked for (the new one may be
# refused too). Bling blocks an IP address that asks for more than 20 tokens a minute.
REST_AFTER_FAILURE_S = 15.0
REST_AFTER_NO_CONNECTION_S = 1.0
REST_AFTER_REFUSAL_S = 30.0
# A block of the token address lasts an hour; asking now and then shows when it is over.
HOLD_AFTER_429_S, LONGEST_HOLD_S = 300.0, 3600.0
_SAVE_ATTEMPTS = 5


def lead_of(lifetime_s: float) -> timedelta:
    """How long before its end a token that lives this long is renewed by whoever needs it."""
    return timedelta(seconds=min(REFRESH_LEAD_S, REFRESH_LEAD_SHARE * lifetime_s))


def authorize_url(authorize_address: str, client_id: str, state: str) -> str:
    """Where to send the merchant's browser; Bling takes redirect address and scopes from the app's registration."""
    if not state:
        raise ValueError("state must not be empty")
    return f"{authorize_address}?{urlencode({'response_type': 'code', 'client_id': client_id, 'state': state})}"


class OAuthClient:
    """The token address, on behalf of one registered app."""

    def __init__(
        self,
        transport: Transport,
        client_id: str,
        client_secret: str,
        *,
        utcnow: Callable[[], datetime],
        pacer: TokenPacer | None = None,
    ) -> None:
        """Without a `pacer` nobody counts the calls."""
        self._transport = transport
        self._credentials = (client_id, client_secret)
        self._utcnow = utcnow
        self._pacer = pacer

    def exchange_code(self, code: str) -> Tokens:
        """Raises CodeRefused, AppRefused, or Unavailable; after the latter the code may be spent: authorize again."""
        request = "POST /oauth/token (code)"
        form = {"grant_type": "authorization_code", "code": code}
        try:
            return self._obtain(request, form, refused=CodeRefused)
        except NoAnswer as broken:
            raise Unavailable(request, str(broken)) from broken
        except PayloadError as error:
            raise UnexpectedAnswer(request, str(error)) from error

    def refresh(self, refresh_token: str) -> Tokens:
        """Raises AuthLost, AppRefused, Unavailable (surely not refreshed) or RefreshOutcomeUnknown."""
        request = "POST /oauth/token (refresh)"
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        try:
            return self._obtain(request, form, refused=AuthLost)
        except NoAnswer as broken:
            failure = RefreshOutcomeUnknown if broken.has_left else Unavailable
            raise failure(request, str(broken)) from broken
        except PayloadError as error:
            raise RefreshOutcomeUnknown(request, str(error)) from error
        except (Unavailable, UnexpectedAnswer) as error:
            raise RefreshOutcomeUnknown(request, error.reason, status=error.status) from error

    def revoke(self, token: str, hint: str = "refresh_token") -> None:
        """Ends the authorization; a token that Bling knows no more counts as revoked."""
        request = "POST /oauth/revoke"
        try:
            answer = self._post(REVOKE_PATH, {"token": token, "token_type_hint": hint})
        except NoAnswer as broken:
            raise Unavailable(request, str(broken)) from broken
        if not 200 <= answer.status < 300 and not _is_token_unknown(answer):
            raise _app_or_other_refusal(request, answer)

    def _post(self, path: str, form: Mapping[str, str]) -> Answer:
        return self._transport.post_form(path, form, self._credentials)

    def _obtain(self, request: str, form: Mapping[str, str], refused: type[BlingError]) -> Tokens:
        if self._pacer is not None:
            self._pacer.wait_token_turn()
        asked_at = self._utcnow()  # The lifetime counts from here: an early refresh is harmless, a late one is not.
        answer = self._post(TOKEN_PATH, form)
        if answer.status == 429 and self._pacer is not None:
            self._pacer.hold_tokens(min(answer.retry_after_s or HOLD_AFTER_429_S, LONGEST_HOLD_S))
        if 200 <= answer.status < 300:
            return parse_tokens(parse_json(answer.body or b""), asked_at)
        if _is_token_unknown(answer):
            fault = parse_fault(answer.body or b"")
            raise refused(request, fault.text, status=answer.status, type=fault.type)
        raise _app_or_other_refusal(request, answer)


def _is_token_unknown(answer: Answer) -> bool:
    """Whether Bling says that the code or token is not (or no more) good, as RFC 6749 words it or by a plain 400."""
    type_ = parse_fault(answer.body or b"").type.lower()
    if answer.status == 400:
        return type_ not in ("invalid_client", "unauthorized_client", "unsupported_grant_type")
    return answer.status == 401 and type_ in ("invalid_grant", "invalid_token")


def _app_or_other_refusal(request: str, answer: Answer) -> BlingError:
    if answer.status in (400, 401):
        fault = parse_fault(answer.body or b"")
        return AppRefused(request, fault.text, status=answer.status, type=fault.type)
    return refusal_of(request, answer)


class TokenStore(Protocol):
    """The tokens of one account, shared by all processes."""

    def load(self) -> Tokens:
        """The newest tokens; raises AuthLost if the account has none."""

    def try_claim_refresh(self) -> bool:
        """Take the one right to refresh, for REFRESH_CLAIM_S at most; False if somebody holds it."""

    def save(self, tokens: Tokens) -> None:
        """Replace the tokens, durably, before returning."""

    def release(self, after_s: float = 0.0) -> None:
        """Give the claim back, if it is still ours; with `after_s`, nobody gets it before that many seconds."""

    def mark_lost(self, reason: str) -> None:
        """The merchant has to reconnect the account."""


class TokenSource:
    """Access tokens for one account; refreshes them when it is time."""

    def __init__(
        self,
        store: TokenStore,
        oauth: OAuthClient,
        *,
        utcnow: Callable[[], datetime],
        wait_limit_s: float = 15.0,
        refused_wait_limit_s: float = 5.0,
        look_every_s: float = 0.2,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._oauth = oauth
        self._utcnow = utcnow
        self._wait_limit_s = wait_limit_s
        self._refused_wait_limit_s = refused_wait_limit_s
        self._look_every_s = look_every_s
        self._sleep = sleep
        self._monotonic = monotonic
        self._jitter = jitter
        self._known: Tokens | None = None

    def access_token(self) -> str:
        """A token that is still valid for a while. Raises AuthLost, AppRefused, Unavailable or RefreshOutcomeUnknown.

        While a refresh is under way elsewhere, or has failed, the old token serves as long as it lasts.
        """
        tokens = self._known
        if tokens is None or self._is_due(tokens):
            tokens = self._known = self._store.load()
        if not self._is_due(tokens):
            return tokens.access_token
        try:
            renewed = self._try_renew(self._is_due, self._is_valid, self._wait_limit_s, rest_s=0.0)
        except AuthLost:
            raise
        except BlingError as error:
            if not self._is_valid(tokens):
                raise
            log.warning("going on with a token that ends at %s: %s", tokens.expires_at.isoformat(), error)
            return tokens.access_token
        if renewed is None:
            raise Unavailable("token refresh", "another process has been refreshing for too long")
        return renewed

    def token_refused(self, access_token: str) -> str:
        """The token to try instead of one that the API refused with 401.

        Refreshes only if the store still has the refused one. Raises AuthExpired if that was done a moment ago.
        """
        tokens = self._known = self._store.load()
        if tokens.access_token != access_token:
            return self.access_token()
        renewed = self._try_renew(
            lambda stored: stored.access_token == access_token,
            lambda stored: stored.access_token != access_token,
            self._refused_wait_limit_s,
            rest_s=REST_AFTER_REFUSAL_S,
        )
        if renewed is None:
            raise AuthExpired("token refresh", "refused, and it is too early for another refresh", status=401)
        return renewed

    def renew(self) -> None:
        """Refresh ahead of time, unless somebody else does so. Raises as above."""
        seen = self._store.load()
        if self._store.try_claim_refresh():
            self._known = self._refresh_claimed(lambda stored: stored.expires_at <= seen.expires_at, rest_s=0.0)

    def _try_renew(
        self, is_stale: Callable[[Tokens], bool], is_usable: Callable[[Tokens], bool], limit_s: float, rest_s: float
    ) -> str | None:
        """Refresh a stale token if nobody else does; else take one that is usable, waiting for it up to `limit_s`."""
        give_up_at = self._monotonic() + limit_s
        while not self._store.try_claim_refresh():
            tokens = self._known = self._store.load()
            if is_usable(tokens):
                return tokens.access_token
            if self._monotonic() >= give_up_at:
                return None
            self._sleep(self._look_every_s)
        tokens = self._known = self._refresh_claimed(is_stale, rest_s)
        return tokens.access_token

    def _refresh_claimed(self, is_stale: Callable[[Tokens], bool], rest_s: float) -> Tokens:
        rest_after_s = REST_AFTER_FAILURE_S
        try:
            # Whoever held the claim before us may have refreshed since we last looked.
            tokens = self._store.load()
            if not is_stale(tokens):
                rest_after_s = 0.0
                return tokens
            tokens = self._refresh(tokens)
            rest_after_s = rest_s
            return tokens
        except Unavailable:
            rest_after_s = REST_AFTER_NO_CONNECTION_S
            raise
        finally:
            self._store.release(rest_after_s)

    def _refresh(self, tokens: Tokens) -> Tokens:
        try:
            renewed = self._oauth.refresh(tokens.refresh_token)
        except AuthLost as error:
            return self._newer_than(tokens, error)
        self._save(renewed)
        return renewed

    def _newer_than(self, refused: Tokens, error: AuthLost) -> Tokens:
        """Tokens that somebody stored in the meantime; without such the authorization is lost."""
        tokens = self._store.load()
        if tokens.refresh_token == refused.refresh_token:
            self._store.mark_lost(error.reason)
            raise error
        return tokens

    def _save(self, tokens: Tokens) -> None:
        """Stubborn: the new refresh token exists nowhere else, and the old one is spent."""
        for attempt in range(1, _SAVE_ATTEMPTS):
            try:
                return self._store.save(tokens)
            except Exception:
                log.exception("storing refreshed tokens failed, attempt %d", attempt)
                self._sleep(delay_s(attempt, self._jitter()))
        return self._store.save(tokens)

    def _is_due(self, tokens: Tokens) -> bool:
        return self._utcnow() >= tokens.expires_at - lead_of(tokens.lifetime_s)

    def _is_valid(self, tokens: Tokens) -> bool:
        return self._utcnow() < tokens.expires_at
