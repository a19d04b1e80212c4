"""The work and its history: dirty SKUs, runs, what each run did with each SKU, and our writes to Bling."""

from __future__ import annotations

from enum import StrEnum

from peewee import BigIntegerField, ForeignKeyField, IntegerField, TextField

from models.account import Account, Organization, User
from models.base import FlagField, MomentField, QuantityField, Table
from models.catalog import Deposit, Product
from models.event import Event
from models.group import StockGroup


class RunType(StrEnum):
    WEBHOOK = "webhook"
    CRON = "cron"
    MANUAL = "manual"


class Priority:
    """Who goes first when SKUs wait: sales before people's wishes before the periodic check."""

    LIVE = 0
    MANUAL = 1
    CRON = 2


class DirtySku(Table):
    organization = ForeignKeyField(Organization, on_delete="CASCADE", index=False)
    sku = TextField()
    version = IntegerField()
    priority = IntegerField()
    needs_look = FlagField()
    marked_at = MomentField()
    due_at = MomentField()
    attempts = IntegerField(default=0)
    lease = TextField(null=True)
    lease_until = MomentField(null=True)

    class Meta:
        indexes = ((("organization", "sku"), True), (("organization", "priority", "due_at"), False))


class Run(Table):
    organization = ForeignKeyField(Organization, on_delete="CASCADE", index=False)
    type = TextField()
    status = TextField()
    scope = TextField()
    account = ForeignKeyField(Account, null=True, on_delete="SET NULL", index=False)
    event = ForeignKeyField(Event, null=True, on_delete="SET NULL", index=False)
    user = ForeignKeyField(User, null=True, on_delete="SET NULL", index=False)
    reason = TextField(null=True)
    cursor = TextField(null=True)
    considered = IntegerField(default=0)
    unchanged = IntegerField(default=0)
    unannounced = IntegerField(default=0)
    unread = IntegerField(default=0)
    total = IntegerField(null=True)
    lease = TextField(null=True)
    lease_until = MomentField(null=True)
    created_at = MomentField()
    started_at = MomentField(null=True)
    finished_at = MomentField(null=True)

    class Meta:
        indexes = ((("organization", "id"), False),)


class RunItem(Table):
    organization = ForeignKeyField(Organization, on_delete="CASCADE", index=False)
    run = ForeignKeyField(Run, on_delete="CASCADE", index=False, backref="items")
    group = ForeignKeyField(StockGroup, null=True, on_delete="SET NULL", index=False)
    sku = TextField()
    product_name = TextField()
    status = TextField()
    error = TextField(null=True)
    available = QuantityField(null=True)
    explanation = TextField(null=True)
    created_at = MomentField()
    finished_at = MomentField(null=True)

    class Meta:
        indexes = ((("run", "id"), False), (("organization", "sku", "id"), False))


class ItemDeposit(Table):
    organization = ForeignKeyField(Organization, on_delete="CASCADE", index=False)
    item = ForeignKeyField(RunItem, on_delete="CASCADE", index=False, backref="deposits")
    cell_id = TextField(null=True)
    account = ForeignKeyField(Account, on_delete="CASCADE", index=False)
    deposit = ForeignKeyField(Deposit, index=False)
    role = TextField()
    before = QuantityField()
    movement = QuantityField(default=0)
    written = QuantityField(default=0)
    after = QuantityField()
    wanted = QuantityField(null=True)
    error = TextField(null=True)

    class Meta:
        indexes = ((("item", "deposit"), True),)


class StockWrite(Table):
    organization = ForeignKeyField(Organization, on_delete="CASCADE", index=False)
    cell_id = TextField()
    account = ForeignKeyField(Account, on_delete="CASCADE", index=False)
    product = ForeignKeyField(Product, index=False)
    deposit = ForeignKeyField(Deposit, index=False)
    item = ForeignKeyField(RunItem, null=True, on_delete="SET NULL", index=False)
    purpose = TextField()
    quantity = QuantityField()
    before = QuantityField()
    state = TextField()
    note = TextField(null=True)
    lease = TextField()
    bling_id = BigIntegerField(null=True)
    error = TextField(null=True)
    attempts = IntegerField(default=0)
    is_echoed = FlagField(default=False)
    planned_at = MomentField()
    sent_at = MomentField(null=True)
    ended_at = MomentField(null=True)

    class Meta:
        indexes = ((("cell_id", "id"), False),)
