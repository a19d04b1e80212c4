"""Renewing tokens ahead of time. Twice is harmless: one right to renew an account is shared by all processes."""

from __future__ import annotations

from jobs.runtime import job
from services import token_renewal


@job
def renew(account_id: str, ends_ms: int) -> None:
    """Renew the account's tokens, if they are still those that end at this moment, in ms."""
    token_renewal.renew(account_id, ends_ms)
