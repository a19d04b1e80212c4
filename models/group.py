"""The stock rules: groups, the deposits in them, and the exceptions for single SKUs."""

from __future__ import annotations

from enum import StrEnum

from peewee import ForeignKeyField, IntegerField, TextField

from models.account import Organization, User
from models.base import FlagField, MomentField, QuantityField, Table
from models.catalog import Deposit


class DepositRole(StrEnum):
    SOURCE = "source"
    TARGET = "target"


class StockGroup(Table):
    organization = ForeignKeyField(Organization, on_delete="CASCADE", index=False)
    key = TextField()
    name = TextField()
    mode = TextField()
    balance = TextField()
    target_movements = TextField()
    seed_deposit = ForeignKeyField(Deposit, null=True, index=False)
    guard_min_skus = IntegerField(default=20)
    guard_percent = QuantityField(default=30)
    is_active = FlagField(default=False)
    activated_at = MomentField(null=True)
    activated_by = ForeignKeyField(User, column_name="activated_by", null=True, on_delete="SET NULL", index=False)
    created_at = MomentField()

    class Meta:
        indexes = ((("organization", "key"), True),)


class GroupDeposit(Table):
    organization = ForeignKeyField(Organization, on_delete="CASCADE", index=False)
    group = ForeignKeyField(StockGroup, on_delete="CASCADE", index=False, backref="members")
    deposit = ForeignKeyField(Deposit, index=False)
    role = TextField()
    position = IntegerField()
    write_back_position = IntegerField(null=True)
    reserve = QuantityField(null=True)
    percent = QuantityField(null=True)
    max = QuantityField(null=True)
    stop_at = QuantityField(null=True)

    class Meta:
        indexes = ((("group", "deposit"), True),)


class SkuOverride(Table):
    organization = ForeignKeyField(Organization, on_delete="CASCADE", index=False)
    group = ForeignKeyField(StockGroup, on_delete="CASCADE", index=False)
    sku = TextField()
    deposit = ForeignKeyField(Deposit, null=True, index=False)
    reserve = QuantityField(null=True)
    percent = QuantityField(null=True)
    max = QuantityField(null=True)
    stop_at = QuantityField(null=True)
    is_ignored = FlagField(default=False)

    class Meta:
        indexes = ((("group", "sku"), False),)
