"""Reading catalogues. Twice is harmless: what Bling says is compared with what is known."""

from __future__ import annotations

import logging

from bling.errors import BlingError
from jobs.runtime import job
from models import Account, AccountState
from services import catalog

log = logging.getLogger(__name__)


@job
def refresh_account(account_id: str) -> None:
    """Read all deposits and products of the account. A failure is on the account's page; the next check reads again."""
    account = _find_connected(account_id)
    if account is None:
        return
    try:
        changed = catalog.refresh_account(account)
    except BlingError as error:
        log.warning("Could not read the catalogue of account %s: %s", account_id, error)
    else:
        log.info("Read the catalogue of account %s: %d SKUs changed", account_id, len(changed))


@job
def look_up_product(account_id: str, bling_id: int) -> None:
    """Read one product that an event told too little of."""
    account = _find_connected(account_id)
    if account is None:
        return
    try:
        catalog.look_up_product(account, bling_id)
    except BlingError as error:
        log.warning("Could not read product %s of account %s: %s", bling_id, account_id, error)


def _find_connected(account_id: str) -> Account | None:
    return Account.get_or_none((Account.id == account_id) & (Account.state == AccountState.CONNECTED))
