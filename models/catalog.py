"""What each account has: deposits and products."""

from __future__ import annotations

from peewee import BigIntegerField, ForeignKeyField, IntegerField, TextField

from models.account import Account, Organization
from models.base import FlagField, Table


class Deposit(Table):
    organization = ForeignKeyField(Organization, on_delete="CASCADE", index=False)
    account = ForeignKeyField(Account, on_delete="CASCADE", index=False)
    bling_id = BigIntegerField()
    name = TextField()
    is_active = FlagField()
    is_default = FlagField()
    ignores_balance = FlagField()

    class Meta:
        indexes = ((("account", "bling_id"), True),)


class Product(Table):
    organization = ForeignKeyField(Organization, on_delete="CASCADE", index=False)
    account = ForeignKeyField(Account, on_delete="CASCADE", index=False)
    bling_id = BigIntegerField()
    sku = TextField()
    name = TextField()
    format = TextField()
    situation = TextField()
    parent_bling_id = BigIntegerField(null=True)
    balance_filter = IntegerField(default=1)
    last_event_id = TextField(null=True)
    sku_key = TextField(null=True)

    class Meta:
        indexes = (
            (("account", "bling_id"), True),
            (("organization", "sku"), False),
            (("account", "sku"), False),
            (("organization", "sku_key"), False),
        )
