"""The merchant, its people, and its Bling accounts."""

from __future__ import annotations

from enum import StrEnum

from peewee import ForeignKeyField, IntegerField, TextField

from models.base import MomentField, Table


class Role(StrEnum):
    OWNER = "owner"
    OPERATOR = "operator"
    READER = "reader"


class AccountState(StrEnum):
    CONNECTED = "connected"
    PAUSED = "paused"
    RECONNECT = "reconnect"
    DISCONNECTED = "disconnected"


class Organization(Table):
    slug = TextField(unique=True)
    name = TextField()
    reconcile_every_minutes = IntegerField(default=30)
    next_reconcile_at = MomentField()
    created_at = MomentField()


class User(Table):
    organization = ForeignKeyField(Organization, on_delete="CASCADE", index=False)
    email = TextField(unique=True)
    name = TextField()
    role = TextField()
    password_hash = TextField()
    session_version = IntegerField(default=1)
    last_login_at = MomentField(null=True)
    created_at = MomentField()

    class Meta:
        table_name = "users"  # "user" is a reserved word of PostgreSQL


class Account(Table):
    organization = ForeignKeyField(Organization, on_delete="CASCADE", index=False)
    key = TextField()
    name = TextField()
    state = TextField(default=AccountState.CONNECTED)
    state_reason = TextField(null=True)
    company_id = TextField(null=True)
    company_name = TextField(null=True)
    company_cnpj = TextField(null=True)
    webhook_key = TextField(null=True, unique=True)
    client_id = TextField(null=True)
    client_secret_sealed = TextField(null=True)
    access_token_sealed = TextField(null=True)
    refresh_token_sealed = TextField(null=True)
    token_expires_at = MomentField(null=True)
    token_lifetime_s = IntegerField(null=True)
    refresh_lease = TextField(null=True)
    refresh_lease_until = MomentField(null=True)
    imported_digest = TextField(null=True)
    last_event_at = MomentField(null=True)
    last_error = TextField(null=True)
    last_error_at = MomentField(null=True)
    catalog_at = MomentField(null=True)
    created_at = MomentField()

    class Meta:
        indexes = ((("organization", "key"), True),)


class OAuthState(Table):
    id = None
    state_digest = TextField(primary_key=True)
    organization = ForeignKeyField(Organization, on_delete="CASCADE", index=False)
    user = ForeignKeyField(User, on_delete="CASCADE", index=False)
    session_digest = TextField()
    account = ForeignKeyField(Account, on_delete="CASCADE", null=True, index=False)
    account_name = TextField()
    client_id = TextField(null=True)
    client_secret_sealed = TextField(null=True)
    created_at = MomentField()
    expires_at = MomentField()
    used_at = MomentField(null=True)

    class Meta:
        table_name = "oauth_state"
