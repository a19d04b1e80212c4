"""Which product of an account stands for a SKU, and why one may not.

SKUs match exactly after trimming: leading zeros and letter case are kept. Nothing is skipped without a reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Problem(StrEnum):
    """Why a SKU or one of its cells cannot be synchronized; the words for people are in services/labels.py."""

    DUPLICATE = "duplicate"
    EMPTY_SKU = "empty_sku"
    COMPOSITION = "composition"
    PARENT = "parent"
    INACTIVE = "inactive"
    DELETED = "deleted"
    DEPOSIT_OFF = "deposit_off"
    NO_SOURCE = "no_source"
    NO_TARGET = "no_target"
    IGNORED = "ignored"
    CATALOG_MISSING = "catalog_missing"
    ABSENT = "absent"
    UNREADABLE = "unreadable"
    NEVER_READ = "never_read"
    RECONNECT = "reconnect"
    PAUSED = "paused"
    DISCONNECTED = "disconnected"
    UNKNOWN_WRITE = "unknown_write"
    REJECTED = "rejected"
    PUT_OFF = "put_off"
    LOWER_ONLY = "lower_only"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A product of one account that carries the SKU in question."""

    id: str
    format: str
    situation: str


def choose_product(candidates: Iterable[Candidate]) -> tuple[Candidate | None, Problem | None]:
    """The product that stands for the SKU in one account, or why none does; (None, None): the account has none.

    Inactive and deleted products do not compete with an active one; two active ones cannot be told apart.
    """
    known = list(candidates)
    active = [one for one in known if one.situation == "active"]
    if len(active) > 1:
        return None, Problem.DUPLICATE
    if active:
        problem = {"composition": Problem.COMPOSITION, "parent": Problem.PARENT}.get(active[0].format)
        return active[0], problem
    if any(one.situation == "inactive" for one in known):
        return None, Problem.INACTIVE
    return None, Problem.DELETED if known else None
