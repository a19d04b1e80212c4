"""A merchant from a setup file.

1. Everything that the file and the database can tell is checked, and every fault named.
2. Bling is asked who the new accounts are, what they hold and, for rules to activate, their balances: only reads.
3. One transaction writes all of it, the first synchronization included.

A file that brings nothing new asks nothing and changes nothing. Tokens rotate, so a token pair that was imported before
never replaces what is stored.
"""

from __future__ import annotations

from peewee import IntegrityError

from core.documents import REQUIRED, Fault, parse
from core.setup_file import AccountDraft, SetupDraft, read_setup, read_slug
from db import database
from models import Account, User
from services import groups
from services.auth import normalized_email
from services.setup_reading import Present, SetupRefused, ask_bling, read_baselines, refuse_if_any
from services.setup_writing import Imported, write_rows

__all__ = ["Imported", "SetupRefused", "import_setup"]


def import_setup(text: bytes | str) -> Imported:
    """Create or update a merchant. Raises SetupRefused."""
    try:
        document = parse(text)
    except ValueError as error:
        raise SetupRefused([Fault("", f"O arquivo {error}")]) from error
    present = Present.load(read_slug(document))
    draft, faults = read_setup(document, present.accounts, present.drafts.values())
    wrong = {fault.path for fault in faults}
    refuse_if_any([*faults, *(fault for fault in _clashes(draft, present) if fault.path not in wrong)])
    answers = ask_bling(draft, present)
    balances = read_baselines(draft, present, answers)
    try:
        with database.atomic():
            return write_rows(draft, present, answers, balances)
    except IntegrityError as error:
        # Somebody stored the same e-mail, company or key between the checks and here.
        raise SetupRefused([Fault("", "Os dados mudaram durante a importação. Importe o arquivo de novo.")]) from error


def _clashes(draft: SetupDraft, present: Present) -> list[Fault]:
    """What contradicts the database."""
    faults = []
    owner = present.organization.id if present.organization else None
    for position, user in enumerate(draft.users):
        row = User.get_or_none(User.email == normalized_email(user.email))
        if row is not None and row.organization_id != owner:
            faults.append(
                Fault(f"users[{position}].email", "este e-mail já é usado por outro cliente desta instalação")
            )
        elif row is None and user.password is None:
            faults.append(Fault(f"users[{position}].password", REQUIRED))
    for position, account in enumerate(draft.accounts):
        faults += _account_clashes(f"accounts[{position}]", account, present.accounts.get(account.key))
    for position, group in enumerate(draft.groups):
        existing = present.groups.get(group.key)
        if existing is not None and existing.is_active and existing.mode != group.mode:
            faults.append(Fault(f"groups[{position}].mode", groups.MODE_IS_FIXED))
    return faults


def _account_clashes(path: str, account: AccountDraft, row: Account | None) -> list[Fault]:
    faults = []
    if row is None and account.tokens is None:
        faults += [Fault(f"{path}.{key}", REQUIRED) for key in ("access_token", "refresh_token", "expires_in")]
    if account.app and account.app.client_secret is None and (row is None or row.client_id != account.app.client_id):
        faults.append(Fault(f"{path}.client_secret", REQUIRED))
    if account.webhook_key:
        holder = Account.get_or_none(Account.webhook_key == account.webhook_key)
        if holder is not None and (row is None or holder.id != row.id):
            faults.append(Fault(f"{path}.webhook_key", "já é usada por outra conta"))
    return faults
