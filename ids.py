"""Identifiers of our own rows: UUIDv7, so that sorting by id is sorting by time (RFC 9562)."""

from __future__ import annotations

import uuid_utils


def new_id() -> str:
    """A fresh UUIDv7 as 32 hexadecimal characters; within one process each is greater than the one before."""
    return uuid_utils.uuid7().hex
