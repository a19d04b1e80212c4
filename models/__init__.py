"""The tables as peewee models. schema.sql is the schema; tests/db/test_schema.py keeps the two in agreement.

Queries and invariants live here; no HTTP, no mail, no decisions. Partial indexes stand in schema.sql alone.
"""

from __future__ import annotations

from models.account import Account, AccountState, OAuthState, Organization, Role, User
from models.book import Cell, Movement, Pool
from models.catalog import Deposit, Product
from models.event import Event, EventState
from models.group import DepositRole, GroupDeposit, SkuOverride, StockGroup
from models.run import (
    SCAN_ENDED,
    DirtySku,
    ItemDeposit,
    ItemDrop,
    Priority,
    Run,
    RunDecision,
    RunItem,
    RunType,
    StockWrite,
)

TABLES = (
    Organization,
    User,
    Account,
    OAuthState,
    Deposit,
    Product,
    StockGroup,
    GroupDeposit,
    SkuOverride,
    Pool,
    Cell,
    Event,
    DirtySku,
    Run,
    RunItem,
    ItemDeposit,
    ItemDrop,
    Movement,
    StockWrite,
)

__all__ = [
    "SCAN_ENDED",
    "TABLES",
    "Account",
    "AccountState",
    "Cell",
    "Deposit",
    "DepositRole",
    "DirtySku",
    "Event",
    "EventState",
    "GroupDeposit",
    "ItemDeposit",
    "ItemDrop",
    "Movement",
    "OAuthState",
    "Organization",
    "Pool",
    "Priority",
    "Product",
    "Role",
    "Run",
    "RunDecision",
    "RunItem",
    "RunType",
    "SkuOverride",
    "StockGroup",
    "StockWrite",
    "User",
]
