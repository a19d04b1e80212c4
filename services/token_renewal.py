"""Tokens are renewed ahead of time, so that no sale waits for it: as late as possible, as early as all of them need.

Bling allows an address 20 calls of its token address in a minute. Where many accounts' tokens end at about the same
time, the first ones are renewed long before.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from bling.errors import BlingError
from bling.tokens import lead_of
from clock import utcnow
from models import Account, AccountState
from services.bling_clients import note_failure, renew_tokens

# The tick starts so many, every ten seconds: twelve in a minute, which leaves room for accounts that are connected.
AT_ONCE = 2
ONE_TAKES = timedelta(seconds=5)
# Tokens live for six hours; those that end later than this are not looked at yet.
HORIZON = timedelta(hours=6)
# What could not be renewed makes way for others for this long.
REST = timedelta(minutes=5)

log = logging.getLogger(__name__)


def due_for_renewal(now: datetime | None = None) -> list[tuple[str, int]]:
    """Accounts whose tokens have to be renewed now, at most AT_ONCE, each with the ms at which its tokens end."""
    now = now or utcnow()
    is_free = Account.refresh_lease.is_null() | (Account.refresh_lease_until < now)
    is_rested = Account.last_error_at.is_null() | (Account.last_error_at < now - REST)
    listed = (
        Account.select(Account.id, Account.token_expires_at, Account.token_lifetime_s)
        .where(
            (Account.state == AccountState.CONNECTED)
            & Account.refresh_token_sealed.is_null(False)
            & (Account.token_expires_at < now + HORIZON)
            & is_free
            & is_rested
        )
        .order_by(Account.token_expires_at, Account.id)
    )
    waiting = list(listed)
    if not _is_time(waiting, now):
        return []
    return [(account.id, _ms(account.token_expires_at)) for account in waiting[:AT_ONCE]]


def _is_time(waiting: Sequence[Account], now: datetime) -> bool:
    """Whether one of them would be too late if those before it, one after the other, began later than now."""
    begins = (
        # A call that needs the token renews it itself when this lead has begun; we come before that.
        account.token_expires_at - 1.25 * lead_of(account.token_lifetime_s or 0) - number * ONE_TAKES
        for number, account in enumerate(waiting, start=1)
    )
    return any(begin <= now for begin in begins)


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def renew(account_id: str, ends_ms: int) -> None:
    """What the job does: renew the tokens of the account if it is connected. Its page says what went wrong.

    Tokens that end at another moment than the ones it was asked for are new ones: while all workers are busy the same
    account is asked for again and again.
    """
    account = Account.get_or_none((Account.id == account_id) & (Account.state == AccountState.CONNECTED))
    if account is None or account.token_expires_at is None or _ms(account.token_expires_at) != ends_ms:
        return
    try:
        renew_tokens(account)
    except BlingError as error:
        log.warning("Could not renew the tokens of account %s: %s", account_id, error)
        note_failure(account, error)
