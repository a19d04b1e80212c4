"""The inbox: what Bling said, kept as it came."""

from __future__ import annotations

from enum import StrEnum

from peewee import BigIntegerField, ForeignKeyField, IntegerField, TextField

from models.account import Account, Organization
from models.base import MomentField, QuantityField, Table


class EventState(StrEnum):
    PENDING = "pending"
    PROCESSED = "processed"
    ECHO = "echo"
    KEPT = "kept"
    IGNORED = "ignored"
    UNREADABLE = "unreadable"
    FAILED = "failed"


class Event(Table):
    dedup_key = TextField(unique=True)
    organization = ForeignKeyField(Organization, null=True, on_delete="CASCADE", index=False)
    account = ForeignKeyField(Account, null=True, on_delete="CASCADE", index=False)
    company_id = TextField(null=True)
    bling_event_id = TextField(null=True)
    kind = TextField()
    state = TextField()
    reason = TextField(null=True)
    received_at = MomentField()
    happened_at = MomentField(null=True)
    sku = TextField(null=True)
    product_bling_id = BigIntegerField(null=True)
    deposit_bling_id = BigIntegerField(null=True)
    quantity = QuantityField(null=True)
    physical_after = QuantityField(null=True)
    virtual_after = QuantityField(null=True)
    attempts = IntegerField(default=0)
    body = TextField()

    class Meta:
        indexes = ((("account", "id"), False), (("organization", "sku", "id"), False))
