"""Reading catalogues. Twice is harmless: what Bling says is compared with what is known."""

from __future__ import annotations

from jobs.runtime import job
from services import catalog


@job
def refresh_account(account_id: str) -> None:
    """Read all deposits and products of the account."""
    catalog.read_account(account_id)


@job
def look_up_product(account_id: str, bling_id: int) -> None:
    """Read one product that an event told too little of."""
    catalog.read_product(account_id, bling_id)
