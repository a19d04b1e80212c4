"""What can go wrong when talking to Bling, named for what the caller does about it.

    BlingError
    ├── AuthExpired            a fresh access token was refused too: put the work off, tell the merchant if it lasts
    ├── AuthLost               the authorization is gone: the merchant must reconnect the account
    ├── AppRefused             client id or secret are wrong: correct the app's registration, nothing is lost
    ├── CodeRefused            the OAuth code is used, expired or foreign: start the connection again
    ├── Forbidden              the app lacks a scope or the company a permission: tell the merchant
    ├── NotFound               the thing does not exist (any more)
    ├── Rejected               Bling said no (`fields` say why): never repeat blindly
    ├── RateLimited            come back after `retry_after_s`
    ├── QuotaExhausted         the day's requests are used up: come back after `retry_after_s`
    │   └── KeptForSales       the rest of them is for more urgent requests
    ├── CircuitOpen            Bling has kept failing and is left alone: come back after `retry_after_s`
    ├── Unavailable            a read failed in spite of its retries: put it off
    ├── UnexpectedAnswer       a read was answered with rubbish: put it off and report it
    ├── NotSent                a write never left this machine: certainly not applied, may be planned again
    ├── WriteOutcomeUnknown    a write left and nobody knows the rest: settle it by looking, never repeat it
    └── RefreshOutcomeUnknown  a token refresh left and its answer is lost: try later, one at a time

After a write, only WriteOutcomeUnknown leaves a doubt; each of the others means "certainly not applied".
Messages carry the request (method and path) and at most 100 characters of foreign text, never a token.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_FOREIGN_TEXT = 100
# Access tokens, refresh tokens and codes are unbroken runs of 40 and more of these characters.
_SECRET_LIKE = re.compile(r"[A-Za-z0-9+/=_.~-]{40,}")


def quote_foreign(text: object) -> str:
    """Somebody else's text made safe for logs and pages: one short line, without anything that looks like a token."""
    line = " ".join(_SECRET_LIKE.sub("[…]", str(text)).split())
    return "".join(char for char in line if char.isprintable())[:MAX_FOREIGN_TEXT]


@dataclass(frozen=True, slots=True)
class FieldFault:
    """One entry of Bling's `error.fields`."""

    code: int | None
    message: str
    element: str
    namespace: str


class BlingError(Exception):
    """Base of everything this package raises on purpose."""

    def __init__(
        self,
        request: str,
        reason: str,
        *,
        status: int | None = None,
        type: str = "",
        fields: tuple[FieldFault, ...] = (),
    ) -> None:
        self.request = request
        self.reason = quote_foreign(reason)
        self.status = status
        self.type = quote_foreign(type)
        self.fields = fields
        told = " ".join(part for part in (str(status or ""), self.type, self.reason) if part)
        super().__init__(f"{request}: {told}")


class AuthExpired(BlingError):
    """The API refused an access token that was new or could not be bettered by a refresh."""


class AuthLost(BlingError):
    """The refresh token was refused, or there is none: only the merchant can authorize again."""


class AppRefused(BlingError):
    """The token address refused the client id or secret."""


class CodeRefused(BlingError):
    """The authorization code was refused."""


class Forbidden(BlingError):
    """The token is good, the permission is missing."""


class NotFound(BlingError):
    """The address or the record does not exist."""


class Rejected(BlingError):
    """Any other 4xx: Bling understood and said no."""


class _ComeBackLater(BlingError):
    def __init__(
        self, request: str, reason: str, *, retry_after_s: float, status: int | None = None, type: str = ""
    ) -> None:
        super().__init__(request, reason, status=status, type=type)
        self.retry_after_s = retry_after_s


class RateLimited(_ComeBackLater):
    """Too many requests in a short time."""


class QuotaExhausted(_ComeBackLater):
    """Too many requests in this day of Bling's calendar."""


class CircuitOpen(_ComeBackLater):
    """The account, or Bling as a whole, has failed so often that it is left alone for a while; nothing was sent."""


class KeptForSales(QuotaExhausted):
    """What is left of this day is kept for sales."""


class Unavailable(BlingError):
    """No usable answer to a read: connection failed, timed out, or 5xx."""


class UnexpectedAnswer(BlingError):
    """A success whose content is not what Bling documents."""


class NotSent(BlingError):
    """No connection could be made, so not one byte of the request left."""


class WriteOutcomeUnknown(BlingError):
    """Bytes of a write left, and no readable answer says what became of it."""


class RefreshOutcomeUnknown(BlingError):
    """Bytes of a refresh left, and no readable answer came: the refresh token may have been rotated or not."""
