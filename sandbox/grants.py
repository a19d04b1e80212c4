"""OAuth 2.0 as Bling does it: one-minute codes, rotating refresh tokens, and how an authorization is lost."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from .catalog import SCOPES
from .records import Account, App, Code, Grant
from .world import World

KEPT_OLD_TOKENS = 50


class OAuthError(Exception):
    """An error answer of the OAuth endpoints: HTTP status, error word, description."""

    def __init__(self, status: int, error: str, description: str) -> None:
        super().__init__(f"{status} {error}: {description}")
        self.status = status
        self.error = error
        self.description = description


@dataclass(frozen=True)
class Bearer:
    """Who calls the API: the account, through which app."""

    account: Account
    app: App


class Grants:
    def __init__(self, world: World) -> None:
        self._world = world

    def authorize(self, app: App, account: Account) -> str:
        """The merchant's consent: an authorization code for the redirect address."""
        world = self._world
        with world.change():
            expires_at = world.now() + world.settings.code_lives_s
            code = Code(world.random_hex(40), app.client_id, account.key, expires_at)
            world.codes[code.code] = code
            world.put(code)
        return code.code

    def issue(self, app: App, account: Account, is_jwt: bool = True) -> Grant:
        """Authorize and exchange in one step, as tests and the demo do."""
        world = self._world
        with world.change():
            grant = Grant(world.next_id("grant"), app.client_id, account.key, world.now())
            world.grants[grant.id] = grant
            self._renew(grant, is_jwt)
        return grant

    def exchange(self, app: App, code_text: str, is_jwt: bool) -> Grant:
        """Tokens for a code; a code shown twice within its minute revokes what it gave."""
        world = self._world
        with world.change():
            code = world.codes.get(code_text)
            if code is None or code.client_id != app.client_id:
                raise OAuthError(400, "invalid_grant", "Authorization code doesn't exist or is invalid for the client")
            if world.now() >= code.expires_at:
                raise OAuthError(400, "invalid_grant", "The authorization code has expired")
            if code.grant_id is not None:
                self._end(world.grants[code.grant_id], "code_reused")
                raise OAuthError(400, "invalid_grant", "The authorization code has already been used")
            grant = self.issue(app, world.accounts[code.account], is_jwt)
            code.grant_id = grant.id
            world.put(code)
            self._forget_codes()
        return grant

    def refresh(self, app: App, refresh_token: str, is_jwt: bool) -> Grant:
        """Rotate the tokens; a refresh token shown a second time loses the authorization."""
        world = self._world
        with world.change():
            for grant in world.grants.values():
                if grant.client_id != app.client_id or grant.revoked:
                    continue
                if refresh_token in grant.old_refresh:
                    self._end(grant, "refresh_reused")
                    raise OAuthError(400, "invalid_grant", "The refresh token has already been used")
                if refresh_token == grant.refresh_token:
                    if world.now() >= grant.refresh_expires_at:
                        self._end(grant, "refresh_expired")
                        raise OAuthError(400, "invalid_grant", "The refresh token has expired")
                    self._renew(grant, is_jwt)
                    return grant
        raise OAuthError(400, "invalid_grant", "Invalid refresh token")

    def revoke(self, app: App, token: str) -> None:
        """End the authorization the token belongs to; an unknown token is no error (RFC 7009)."""
        with self._world.change():
            for grant in self._world.grants.values():
                tokens = (grant.access_token, grant.refresh_token, *grant.old_access)
                if grant.client_id == app.client_id and token in tokens:
                    self._end(grant, "revoked")

    def revoke_all(self, client_id: str | None = None, account: str | None = None) -> None:
        """The merchant removes the app, or its scopes changed."""
        with self._world.change():
            for grant in self._world.grants.values():
                if client_id in (None, grant.client_id) and account in (None, grant.account):
                    self._end(grant, "revoked")

    def bearer(self, token: str) -> Bearer | None:
        """Whom a live access token speaks for."""
        world = self._world
        now = world.now()
        with world.lock:
            for grant in world.grants.values():
                if grant.revoked:
                    continue
                is_current = token == grant.access_token and now < grant.access_expires_at
                if is_current or grant.old_access.get(token, 0.0) > now:
                    return Bearer(world.accounts[grant.account], world.apps[grant.client_id])
        return None

    def live(self, account: str, client_id: str) -> Grant | None:
        """The newest authorization that lives."""
        with self._world.lock:
            for grant in reversed(list(self._world.grants.values())):
                if (grant.account, grant.client_id, grant.revoked) == (account, client_id, ""):
                    return grant
        return None

    def answer(self, grant: Grant) -> dict[str, Any]:
        """The token endpoint's body."""
        scopes = self._world.apps[grant.client_id].scopes
        return {
            "access_token": grant.access_token,
            "expires_in": round(grant.access_expires_at - self._world.now()),
            "token_type": "Bearer",
            "scope": " ".join(SCOPES[scope] for scope in scopes),
            "refresh_token": grant.refresh_token,
        }

    def _renew(self, grant: Grant, is_jwt: bool) -> None:
        world = self._world
        settings, now = world.settings, world.now()
        if grant.refresh_token:
            grant.old_refresh = [*grant.old_refresh, grant.refresh_token][-KEPT_OLD_TOKENS:]
        grant.old_access = {t: e for t, e in grant.old_access.items() if e > now}
        if grant.access_token and settings.old_access_lives:
            grant.old_access[grant.access_token] = grant.access_expires_at
        grant.access_expires_at = now + settings.expires_in
        grant.refresh_expires_at = now + settings.refresh_lives_s
        grant.access_token = self._jwt(grant) if is_jwt else world.random_hex(40)
        grant.refresh_token = world.random_hex(40)
        world.put(grant)

    def _jwt(self, grant: Grant) -> str:
        """A token that looks and measures like Bling's, 1,500 to 3,000 characters; its signature is random."""
        world = self._world
        account = world.accounts[grant.account]
        claims = {
            "iss": "https://www.bling.com.br",
            "sub": account.company_id,
            "aud": grant.client_id,
            "iat": int(world.now()),
            "exp": int(grant.access_expires_at),
            "jti": world.random_hex(32),
            "scopes": [SCOPES[scope] for scope in world.apps[grant.client_id].scopes],
            "ctx": world.random_hex(1100),
        }
        parts = [
            json.dumps({"alg": "RS256", "typ": "JWT", "kid": "sandbox"}).encode(),
            json.dumps(claims).encode(),
            world.random.getrandbits(2048).to_bytes(256, "big"),
        ]
        return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)

    def _end(self, grant: Grant, reason: str) -> None:
        if not grant.revoked:
            grant.revoked = reason
            self._world.put(grant)

    def _forget_codes(self) -> None:
        now = self._world.now()
        for code in [c for c in self._world.codes.values() if c.expires_at < now - 3600]:
            del self._world.codes[code.code]
            self._world.drop(code)


def is_token_like(text: str) -> bool:
    """Whether the text has the three parts of a JWT."""
    return text.count(".") == 2
