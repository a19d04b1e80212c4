"""The books: what the pool of each SKU is, what each cell holds that is explained, and who moved it."""

from __future__ import annotations

from peewee import ForeignKeyField, TextField

from models.account import Account, Organization
from models.base import MomentField, QuantityField, Table
from models.catalog import Deposit, Product
from models.event import Event
from models.group import StockGroup
from models.run import RunItem


class Pool(Table):
    organization = ForeignKeyField(Organization, on_delete="CASCADE", index=False)
    group = ForeignKeyField(StockGroup, on_delete="CASCADE", index=False)
    sku = TextField()
    owed = QuantityField(default=0)
    level = QuantityField(null=True)
    available = QuantityField(null=True)
    problem = TextField(null=True)
    settled_at = MomentField(null=True)

    class Meta:
        indexes = ((("group", "sku"), True), (("organization", "sku"), False))


class Cell(Table):
    organization = ForeignKeyField(Organization, on_delete="CASCADE", index=False)
    pool = ForeignKeyField(Pool, on_delete="CASCADE", index=False, backref="cells")
    account = ForeignKeyField(Account, on_delete="CASCADE", index=False)
    product = ForeignKeyField(Product, index=False)
    deposit = ForeignKeyField(Deposit, index=False)
    accounted = QuantityField()
    reserved = QuantityField()
    baseline = QuantityField()
    baseline_at = MomentField()
    read_at = MomentField()
    changed_at = MomentField(null=True)
    problem = TextField(null=True)
    put_off = QuantityField(null=True)
    put_off_until = MomentField(null=True)
    doubt = QuantityField(null=True)
    left_at = MomentField(null=True)
    reserved_at = MomentField(null=True)
    reserved_before = QuantityField(null=True)

    class Meta:
        indexes = ((("pool", "product", "deposit"), True), (("product", "deposit"), False))


class Movement(Table):
    organization = ForeignKeyField(Organization, on_delete="CASCADE", index=False)
    cell = ForeignKeyField(Cell, on_delete="CASCADE", index=False)
    item = ForeignKeyField(RunItem, null=True, on_delete="SET NULL", index=False)
    event = ForeignKeyField(Event, null=True, on_delete="SET NULL", index=False)
    quantity = QuantityField()
    before = QuantityField()
    after = QuantityField()
    evidence = TextField()
    write_id = TextField(null=True)
    booked_at = MomentField()

    class Meta:
        indexes = ((("cell", "id"), False), (("item",), False))
