"""Renewing tokens ahead of time. Twice is harmless: one right to renew an account is shared by all processes."""

from __future__ import annotations

from jobs.runtime import job
from services import token_renewal


@job
def renew(account_id: str) -> None:
    """Renew the account's tokens, unless somebody has just done so."""
    token_renewal.renew(account_id)
