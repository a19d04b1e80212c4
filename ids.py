"""Identifiers of our own rows: UUIDv7, so that sorting by id is sorting by time (RFC 9562)."""

from __future__ import annotations

from datetime import datetime

import uuid_utils


def new_id() -> str:
    """A fresh UUIDv7 as 32 hexadecimal characters; within one process each is greater than the one before."""
    return uuid_utils.uuid7().hex


def id_at(moment: datetime) -> str:
    """The smallest id that a row made at this moment can have: ids are UUIDv7, whose first 48 bits are the time."""
    return f"{int(moment.timestamp() * 1000):012x}" + "0" * 20
