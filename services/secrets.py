"""Tokens and client secrets at rest: encrypted, and bound to the row that owns them.

Fernet authenticates the text but not the place it stands in, so the owner's id travels inside: a sealed value copied
into another row opens there as an error, not as somebody else's token.
"""

from __future__ import annotations

import hmac
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

import config


class SecretUnreadable(Exception):
    """The value was sealed with a key that is gone or for another row, or was damaged. Never tells what is inside."""


def seal(text: str, *, owner_id: str) -> str:
    """Encrypt for this owner with the newest key."""
    return _fernet().encrypt(f"{owner_id}\n{text}".encode()).decode()


def unseal(sealed: str, *, owner_id: str) -> str:
    """The text again; SecretUnreadable when no key opens it or it belongs to another owner."""
    try:
        owner, _, text = _fernet().decrypt(sealed.encode()).decode().partition("\n")
    except (InvalidToken, UnicodeError):
        raise SecretUnreadable(f"no key of ENCRYPTION_KEYS opens a secret of {owner_id}") from None
    if not hmac.compare_digest(owner.encode(), owner_id.encode()):
        raise SecretUnreadable(f"a secret kept for {owner_id} was sealed for another row")
    return text


def rotate(sealed: str, *, owner_id: str) -> str:
    """The same secret under the newest key; SecretUnreadable as in `unseal`."""
    return seal(unseal(sealed, owner_id=owner_id), owner_id=owner_id)


def _fernet() -> MultiFernet:
    return _keyring(config.current().encryption_keys)


@lru_cache(maxsize=4)
def _keyring(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])
