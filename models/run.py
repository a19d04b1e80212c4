"""The work and its history: dirty SKUs, runs, what each run did with each SKU, and our writes to Bling."""

from __future__ import annotations

from enum import StrEnum

from peewee import BigIntegerField, Expression, ForeignKeyField, IntegerField, TextField

from models.account import Account, Organization, User
from models.base import FlagField, MomentField, QuantityField, Table
from models.catalog import Deposit, Product
from models.event import Event
from models.group import StockGroup


class RunType(StrEnum):
    WEBHOOK = "webhook"
    CRON = "cron"
    MANUAL = "manual"


class RunDecision(StrEnum):
    """What became of a run that was held."""

    APPROVED = "approved"
    DISCARDED = "discarded"
    SUPERSEDED = "superseded"
    """A newer check of everything has looked again."""


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


# A scan's cursor: None (of a run over everything that has not begun), SKUs, SCAN_ENDED with more behind it while what
# was found is being marked (services/reconcile.py), and at last SCAN_ENDED alone. A run without a scan has none.
SCAN_ENDED = "\uffff"


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
    undoes = TextField(null=True)
    undoes_run = ForeignKeyField("self", null=True, on_delete="SET NULL", index=False, column_name="undoes_run_id")
    guard = TextField(null=True)
    decision = TextField(null=True)
    decided_by = ForeignKeyField(
        User, null=True, on_delete="SET NULL", index=False, column_name="decided_by", backref="decided_runs"
    )
    decided_at = MomentField(null=True)

    class Meta:
        indexes = ((("organization", "id"), False),)

    @classmethod
    def is_scanning(cls) -> Expression:
        """The condition of a scan that has not ended: what it has listed is nobody's to settle yet."""
        not_begun = cls.cursor.is_null() & (cls.scope == "all")
        return cls.finished_at.is_null() & (not_begun | (cls.cursor.is_null(False) & (cls.cursor != SCAN_ENDED)))


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


class ItemDrop(Table):
    organization = ForeignKeyField(Organization, on_delete="CASCADE", index=False)
    item = ForeignKeyField(RunItem, on_delete="CASCADE", index=False, backref="drops")
    account = ForeignKeyField(Account, on_delete="CASCADE", index=False)
    deposit = ForeignKeyField(Deposit, index=False)
    before = QuantityField()
    after = QuantityField()
    is_zeroed = FlagField()
    read_at = MomentField()

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
    evidence = TextField(null=True)
    found = QuantityField(null=True)
    found_at = MomentField(null=True)
    found_until = MomentField(null=True)
    decided_by = ForeignKeyField(User, null=True, on_delete="SET NULL", index=False, column_name="decided_by")
    decided_at = MomentField(null=True)
    # No foreign key: two of them to one table would make every join with it ambiguous.
    undo_item_id = TextField(null=True)

    class Meta:
        indexes = ((("cell_id", "id"), False), (("item",), False))
