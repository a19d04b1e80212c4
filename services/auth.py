"""Passwords and signing in.

An unknown e-mail costs as much time as a wrong password, so that the answer does not tell who has an account here.
"""

from __future__ import annotations

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from clock import utcnow
from models import User

# OWASP's smaller setting: 19 MiB per attempt, so that a small server survives several at once.
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
MAX_PASSWORD_LENGTH = 1024
MIN_PASSWORD_LENGTH = 8
_nobodys_hash: str | None = None


def hash_password(password: str) -> str:
    return _hasher.hash(password)


def normalized_email(email: str) -> str:
    return email.strip().lower()


def authenticate(email: str, password: str) -> User | None:
    """The user with this e-mail and password, None otherwise. A hash made with older settings is renewed."""
    user = User.get_or_none(User.email == normalized_email(email))
    if len(password) > MAX_PASSWORD_LENGTH:
        return None
    if user is None:
        _matches(_dummy_hash(), password)
        return None
    if not _matches(user.password_hash, password):
        return None
    changes = {User.last_login_at: utcnow()}
    if _hasher.check_needs_rehash(user.password_hash):
        changes[User.password_hash] = hash_password(password)
    User.update(changes).where(User.id == user.id).execute()
    return user


def change_password(user: User, password: str) -> None:
    """Set the password and end every session of the user, the one that asks included."""
    User.update({User.password_hash: hash_password(password), User.session_version: User.session_version + 1}).where(
        User.id == user.id
    ).execute()


def _matches(hashed: str, password: str) -> bool:
    try:
        return _hasher.verify(hashed, password)
    except (VerificationError, InvalidHashError):
        return False


def _dummy_hash() -> str:
    global _nobodys_hash
    if _nobodys_hash is None:
        _nobodys_hash = hash_password("the password of nobody")
    return _nobodys_hash


def is_password_of(user: User, password: str) -> bool:
    """Whether this is the user's password; unlike `authenticate`, it signs nobody in."""
    return len(password) <= MAX_PASSWORD_LENGTH and _matches(user.password_hash, password)
