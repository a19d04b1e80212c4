"""What every table shares: the database, exact quantities, UTC moments, and ids that sort by time.

Quantities and moments are integers in the database (SQLite would keep a Decimal as a float), and
Decimal and aware datetime in Python; the two fields below are the only place where they meet.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from peewee import BigIntegerField, IntegerField, Model, TextField

from core.quantity import from_millionths, to_millionths
from db import database
from ids import new_id

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class QuantityField(BigIntegerField):
    """A Decimal in Python, whole millionths of a unit in the database; refuses what does not fit exactly."""

    def db_value(self, value: Any) -> int | None:
        return None if value is None else to_millionths(Decimal(value) if isinstance(value, int) else value)

    def python_value(self, value: Any) -> Decimal | None:
        return None if value is None else from_millionths(int(value))


class MomentField(BigIntegerField):
    """An aware datetime in Python, milliseconds since 1970 in UTC in the database."""

    def db_value(self, value: Any) -> int | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment without a time zone cannot be stored")
        return (value - EPOCH) // timedelta(milliseconds=1)

    def python_value(self, value: Any) -> datetime | None:
        return None if value is None else EPOCH + timedelta(milliseconds=int(value))


class FlagField(IntegerField):
    """A bool in Python, 0 or 1 in the database."""

    def db_value(self, value: Any) -> int | None:
        return None if value is None else int(bool(value))

    def python_value(self, value: Any) -> bool | None:
        return None if value is None else bool(value)


class Table(Model):
    """Base of every table: a UUIDv7 key made here, not in the database."""

    id = TextField(primary_key=True, default=new_id)

    class Meta:
        database = database
        legacy_table_names = False
