"""The setup file of one merchant: read, and checked for everything that is wrong with it before anything is done.

Pure. What only the database or Bling can tell (whether a user is new, whether a deposit exists) is the caller's part.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from core.documents import REQUIRED, Fault, Place
from core.group_draft import KEY, KEY_EXPLAINED, GroupDraft, check_together, read_group

ROLES = ("owner", "operator", "reader")
MAX_INTERVAL_MINUTES = 10_080
MAX_EXPIRES_IN = 10 * 365 * 86_400
_EMAIL = re.compile(r"[^@\s\"'<>(),;:\\]+@[^@\s\"'<>(),;:\\]+")
_WEBHOOK_KEY = re.compile(r"[A-Za-z0-9._~-]{1,128}", re.ASCII)
_TOKEN = re.compile(r"[!-~]{1,10000}", re.ASCII)
_CREDENTIAL_EXPLAINED = "não tem a forma de um token: letras, números e sinais, sem espaços"


@dataclass(frozen=True, slots=True)
class UserDraft:
    email: str
    name: str
    role: str
    password: str | None


@dataclass(frozen=True, slots=True)
class TokenPair:
    access_token: str
    refresh_token: str
    expires_in_s: int

    def __repr__(self) -> str:
        return f"TokenPair(expires_in_s={self.expires_in_s})"


@dataclass(frozen=True, slots=True)
class AppPair:
    client_id: str
    client_secret: str | None
    """None in a file without secrets: the one that is stored stays."""

    def __repr__(self) -> str:
        return f"AppPair(client_id={self.client_id!r})"


@dataclass(frozen=True, slots=True)
class AccountDraft:
    """`tokens` and `app` None: the file does not name them."""

    key: str
    name: str
    tokens: TokenPair | None
    app: AppPair | None
    webhook_key: str | None


@dataclass(frozen=True, slots=True)
class SetupDraft:
    slug: str
    name: str
    reconcile_every_minutes: int
    users: tuple[UserDraft, ...]
    accounts: tuple[AccountDraft, ...]
    groups: tuple[GroupDraft, ...]


def read_slug(document: object) -> str:
    """The merchant that a document is about, '' when it does not say: to look up what is there before reading on."""
    return Place(document, "", [])["organization"]["slug"].pattern(KEY, KEY_EXPLAINED)


def read_setup(
    document: object, known_accounts: Collection[str] = (), existing_groups: Collection[GroupDraft] = ()
) -> tuple[SetupDraft, list[Fault]]:
    """The file and its faults. `known_accounts` and `existing_groups` are the merchant's already: rules may name those
    accounts too, and existing rules that the file does not name stay, so that it may not contradict them."""
    faults: list[Fault] = []
    root = Place(document, "", faults)
    if not root.check_keys(required=("organization", "users", "accounts", "groups")):
        return SetupDraft("", "", 0, (), (), ()), [Fault("", "o arquivo deve conter um objeto JSON")]
    organization = root["organization"]
    if not organization.is_absent:
        organization.check_keys(required=("slug", "name", "reconcile_every_minutes"))
    users = [_read_user(item) for item in root["users"].items()]
    accounts = [_read_account(item) for item in root["accounts"].items()]
    keys = {account.key for account in accounts if account.key} | set(known_accounts)
    groups = [(item.path, read_group(item, keys)) for item in root["groups"].items()]
    draft = SetupDraft(
        slug=organization["slug"].pattern(KEY, KEY_EXPLAINED),
        name=organization["name"].text(),
        reconcile_every_minutes=organization["reconcile_every_minutes"].integer(1, MAX_INTERVAL_MINUTES),
        users=tuple(users),
        accounts=tuple(accounts),
        groups=tuple(group for _, group in groups),
    )
    _check_unique(root["users"], "email", [user.email for user in users])
    _check_unique(root["accounts"], "key", [account.key for account in accounts])
    _check_unique(root["accounts"], "webhook_key", [account.webhook_key or "" for account in accounts])
    _check_unique(root["groups"], "key", [group.key for group in draft.groups])
    named = {group.key for group in draft.groups}
    faults += check_together(groups, [group for group in existing_groups if group.key not in named])
    return draft, faults


def _read_user(item: Place) -> UserDraft:
    item.check_keys(required=("email", "name", "role"), optional=("password",))
    email = item["email"].pattern(_EMAIL, "não é um endereço de e-mail")
    return UserDraft(
        email=email.lower(),
        name=item["name"].text(),
        role=item["role"].choice(*ROLES),
        password=_read_password(item["password"]),
    )


def _read_password(item: Place) -> str | None:
    # Unlike other texts it is not trimmed: spaces are part of it.
    if isinstance(item.value, str) and not 0 < len(item.value) <= 1024:
        item.fault("deve ter de 1 a 1024 caracteres")
        return None
    return item.value if isinstance(item.value, str) else (item.text() or None)


def _read_account(item: Place) -> AccountDraft:
    item.check_keys(
        required=("key", "name"),
        optional=("access_token", "refresh_token", "expires_in", "client_id", "client_secret", "webhook_key"),
    )
    return AccountDraft(
        key=item["key"].pattern(KEY, KEY_EXPLAINED),
        name=item["name"].text(80),
        tokens=_read_tokens(item),
        app=_read_app(item),
        webhook_key=item["webhook_key"].pattern(_WEBHOOK_KEY, "use só letras sem acento, números, ponto, hífen, _ e ~")
        or None,
    )


def _read_tokens(item: Place) -> TokenPair | None:
    parts = [item[name] for name in ("access_token", "refresh_token", "expires_in")]
    if item["access_token"].is_absent and item["refresh_token"].is_absent:
        return None
    for part in parts:
        if part.is_absent:
            part.fault(REQUIRED)
    access_token, refresh_token, expires_in = parts
    return TokenPair(
        access_token.pattern(_TOKEN, _CREDENTIAL_EXPLAINED),
        refresh_token.pattern(_TOKEN, _CREDENTIAL_EXPLAINED),
        expires_in.integer(0, MAX_EXPIRES_IN),
    )


def _read_app(item: Place) -> AppPair | None:
    client_id = item["client_id"].pattern(_TOKEN, _CREDENTIAL_EXPLAINED)
    client_secret = item["client_secret"].pattern(_TOKEN, _CREDENTIAL_EXPLAINED) or None
    if client_secret and item["client_id"].is_absent:
        item["client_id"].fault("obrigatório junto com client_secret")
    return AppPair(client_id, client_secret) if client_id else None


def _check_unique(items: Place, key: str, values: list[str]) -> None:
    first: dict[str, str] = {}
    for item, value in zip(items.items(), values, strict=True):
        if value and value in first:
            item[key].fault(f"repete o valor de {first[value]}.{key}")
        elif value:
            first[value] = item.path
