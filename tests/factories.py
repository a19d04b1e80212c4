"""Rows for tests: plain functions with sane defaults.

The cast: *Matriz* (source and target), *Filial* (target), *Avulsa* (in no group).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from clock import utcnow
from core.lookalikes import look_of
from ids import new_id
from models import (
    Account,
    Cell,
    Deposit,
    DirtySku,
    Event,
    GroupDeposit,
    ItemDeposit,
    ItemDrop,
    Movement,
    Organization,
    Pool,
    Product,
    Run,
    RunItem,
    StockGroup,
    StockWrite,
    User,
)
from services.auth import hash_password
from services.runs import SCAN_ENDED

PASSWORD = "segredo-de-teste"
# Made once: an Argon2 hash is slow on purpose.
_PASSWORD_HASH = hash_password(PASSWORD)
_numbers = itertools.count(1)


def make_organization(**values: Any) -> Organization:
    number = next(_numbers)
    now = utcnow()
    return Organization.create(
        **{
            "slug": f"loja-{number}",
            "name": f"Loja {number}",
            "next_reconcile_at": now + timedelta(minutes=30),
            "created_at": now,
            **values,
        }
    )


def make_user(organization: Organization | None = None, **values: Any) -> User:
    """A user whose password is PASSWORD."""
    number = next(_numbers)
    return User.create(
        **{
            "organization": organization or make_organization(),
            "email": f"pessoa{number}@loja.example",
            "name": f"Pessoa {number}",
            "role": "owner",
            "password_hash": _PASSWORD_HASH,
            "created_at": utcnow(),
            **values,
        }
    )


def make_account(organization: Organization | None = None, key: str | None = None, **values: Any) -> Account:
    number = next(_numbers)
    return Account.create(
        **{
            "organization": organization or make_organization(),
            "key": key or f"conta-{number}",
            "name": (key or f"Conta {number}").capitalize(),
            "state": "connected",
            "company_id": f"empresa-{number}",
            "company_name": f"Empresa {number} Ltda.",
            "created_at": utcnow(),
            **values,
        }
    )


def make_deposit(account: Account, name: str = "Geral", **values: Any) -> Deposit:
    return Deposit.create(
        **{
            "organization": account.organization_id,
            "account": account,
            "bling_id": 14_880_000_000 + next(_numbers),
            "name": name,
            "is_active": True,
            "is_default": name == "Geral",
            "ignores_balance": False,
            **values,
        }
    )


def make_product(account: Account, sku: str, **values: Any) -> Product:
    return Product.create(
        **{
            "organization": account.organization_id,
            "account": account,
            "bling_id": 16_240_000_000 + next(_numbers),
            "sku": sku,
            "sku_key": look_of(sku),
            "name": f"Produto {sku}",
            "format": "simple",
            "situation": "active",
            **values,
        }
    )


def make_group(
    organization: Organization,
    sources: Sequence[Deposit] = (),
    targets: Sequence[Deposit] = (),
    **values: Any,
) -> StockGroup:
    """A rule over these deposits; active unless told otherwise."""
    number = next(_numbers)
    is_active = values.pop("is_active", True)
    group = StockGroup.create(
        **{
            "organization": organization,
            "key": f"regra-{number}",
            "name": "Estoque geral",
            "mode": "sum",
            "balance": "virtual",
            "target_movements": "write_back",
            "is_active": is_active,
            "activated_at": utcnow() if is_active else None,
            "created_at": utcnow(),
            **values,
        }
    )
    for role, deposits in (("source", sources), ("target", targets)):
        for position, deposit in enumerate(deposits):
            GroupDeposit.create(
                organization=organization,
                group=group,
                deposit=deposit,
                role=role,
                position=position,
            )
    return group


def make_pool(group: StockGroup, sku: str, **values: Any) -> Pool:
    return Pool.create(
        **{"organization": group.organization_id, "group": group, "sku": sku, "owed": Decimal(0), **values}
    )


def make_cell(pool: Pool, product: Product, deposit: Deposit, accounted: str | int = 10, **values: Any) -> Cell:
    now = utcnow()
    return Cell.create(
        **{
            "organization": pool.organization_id,
            "pool": pool,
            "account": product.account_id,
            "product": product,
            "deposit": deposit,
            "accounted": Decimal(accounted),
            "reserved": Decimal(0),
            "baseline": Decimal(accounted),
            "baseline_at": now,
            "read_at": now,
            **values,
        }
    )


def make_event(account: Account, kind: str = "stock.updated", **values: Any) -> Event:
    number = next(_numbers)
    return Event.create(
        **{
            "dedup_key": f"shared:{account.company_id}:{number}",
            "organization": account.organization_id,
            "account": account,
            "company_id": account.company_id,
            "bling_event_id": f"01945027-150e-72b4-e7cf-{number:012d}",
            "kind": kind,
            "state": "processed",
            "received_at": utcnow(),
            "body": "{}",
            **values,
        }
    )


def make_dirty(organization: Organization, sku: str, **values: Any) -> DirtySku:
    now = utcnow()
    return DirtySku.create(
        **{
            "organization": organization,
            "sku": sku,
            "version": 1,
            "priority": 0,
            "needs_look": False,
            "marked_at": now,
            "due_at": now,
            **values,
        }
    )


def make_run(organization: Organization, type_: str = "webhook", *, at: datetime | None = None, **values: Any) -> Run:
    """A run of this moment, whose id sorts by it as the ids of the program do."""
    now = at or utcnow()
    status = values.get("status", "ok")
    return Run.create(
        **{
            "id": new_id() if at is None else id_of(at),
            "organization": organization,
            "type": type_,
            "status": status,
            "scope": "skus",
            "created_at": now,
            "started_at": None if status == "queued" else now,
            "finished_at": None if status in ("queued", "running", "held") else now + timedelta(milliseconds=1400),
            **values,
        }
    )


def make_item(run: Run, sku: str, **values: Any) -> RunItem:
    status = values.get("status", "ok")
    return RunItem.create(
        **{
            "organization": run.organization_id,
            "run": run,
            "sku": sku,
            "product_name": f"Produto {sku}",
            "status": status,
            "created_at": run.created_at,
            "finished_at": None if status in ("queued", "running", "retry", "held") else run.finished_at,
            **values,
        }
    )


def make_item_deposit(
    item: RunItem, deposit: Deposit, before: str | int, after: str | int, *, role: str = "target", **values: Any
) -> ItemDeposit:
    """Before and after; the difference counts as written by us unless `movement` is given."""
    change = Decimal(after) - Decimal(before)
    movement = Decimal(values.pop("movement", 0))
    return ItemDeposit.create(
        **{
            "organization": item.organization_id,
            "item": item,
            "account": deposit.account_id,
            "deposit": deposit,
            "role": role,
            "before": Decimal(before),
            "movement": movement,
            "written": change - movement,
            "after": Decimal(after),
            **values,
        }
    )


def make_drop(item: RunItem, deposit: Deposit, before: str | int, after: str | int, **values: Any) -> ItemDrop:
    """What a run that is held would lower."""
    return ItemDrop.create(
        **{
            "organization": item.organization_id,
            "item": item,
            "account": deposit.account_id,
            "deposit": deposit,
            "before": Decimal(before),
            "after": Decimal(after),
            "is_zeroed": Decimal(after) == 0,
            "read_at": item.created_at,
            **values,
        }
    )


def make_write(cell: Cell, quantity: str | int, item: RunItem | None = None, **values: Any) -> StockWrite:
    now = utcnow()
    state = values.get("state", "confirmed")
    return StockWrite.create(
        **{
            "organization": cell.organization_id,
            "cell_id": cell.id,
            "account": cell.account_id,
            "product": cell.product_id,
            "deposit": cell.deposit_id,
            "item": item,
            "purpose": "target",
            "quantity": Decimal(quantity),
            "before": cell.accounted,
            "state": state,
            "lease": "teste",
            "bling_id": 17_000_000_000 + next(_numbers) if state == "confirmed" else None,
            "planned_at": now,
            "sent_at": None if state == "planned" else now,
            "ended_at": now if state in ("confirmed", "rejected", "cancelled") else None,
            **values,
        }
    )


def make_undecided(cell: Cell, quantity: str | int, found: str | int, **values: Any) -> StockWrite:
    """A write of unknown outcome, taken by the reading with the smaller pool; `found` is what was there afterwards."""
    now = utcnow()
    return make_write(
        cell,
        quantity,
        **{
            "state": "confirmed" if Decimal(quantity) > 0 else "cancelled",
            "bling_id": None,
            "note": "EstoqueUni: saldo da regra Estoque geral",
            "evidence": "smaller_pool",
            "found": Decimal(found),
            "sent_at": now,
            "ended_at": now + timedelta(seconds=10),
            "found_at": now + timedelta(seconds=22),
            **values,
        },
    )


def make_movement(cell: Cell, quantity: str | int, item: RunItem | None = None, **values: Any) -> Movement:
    return Movement.create(
        **{
            "organization": cell.organization_id,
            "cell": cell,
            "item": item,
            "quantity": Decimal(quantity),
            "before": cell.accounted,
            "after": cell.accounted + Decimal(quantity),
            "evidence": "chain",
            "booked_at": utcnow(),
            **values,
        }
    )


def id_of(moment: datetime) -> str:
    """A UUIDv7 of that moment."""
    return f"{int(moment.timestamp() * 1000):012x}" + new_id()[12:]


class Shop:
    """A merchant with everything: three accounts with two deposits each, a few products, one active rule."""

    def __init__(self, skus: Iterable[str] = ("CAM-AZ-P", "CAM-AZ-M", "CANECA-01"), **organization: Any) -> None:
        self.organization = make_organization(
            **{"slug": f"demo-{next(_numbers)}", "name": "Loja Exemplo", **organization}
        )
        self.owner = make_user(self.organization, name="Ana Souza", role="owner")
        self.accounts = {
            key: make_account(self.organization, key, name=key.capitalize()) for key in ("matriz", "filial", "avulsa")
        }
        self.deposits = {
            (key, name): make_deposit(account, name)
            for key, account in self.accounts.items()
            for name in ("Geral", "Loja virtual")
        }
        self.skus = tuple(skus)
        self.products = {
            (key, sku): make_product(account, sku) for key, account in self.accounts.items() for sku in self.skus
        }
        self.group = make_group(
            self.organization,
            sources=[self.deposits["matriz", "Geral"]],
            targets=[self.deposits["matriz", "Loja virtual"], self.deposits["filial", "Loja virtual"]],
        )

    def pool(self, sku: str, **values: Any) -> Pool:
        return make_pool(self.group, sku, **values)

    def cell(self, pool: Pool, account: str, deposit: str, accounted: str | int = 10, **values: Any) -> Cell:
        return make_cell(pool, self.products[account, pool.sku], self.deposits[account, deposit], accounted, **values)

    def held_run(self, *drops: tuple[str, int, int], skus: int = 60, **values: Any) -> Run:
        """A check that waits for a person: (SKU, before, after) on both targets."""
        excess = {
            "group_id": self.group.id,
            "group": self.group.name,
            "skus": skus,
            "lowered": len(drops),
            "zeroed": sum(after == 0 for _, _, after in drops),
            "min_skus": 20,
            "percent": "30",
        }
        run = make_run(
            self.organization,
            "cron",
            **{
                "status": "held",
                "scope": "all",
                "cursor": SCAN_ENDED,
                "reason": "schedule",
                "considered": skus,
                "unchanged": skus - len(drops),
                "total": skus,
                "guard": json.dumps([excess]),
                **values,
            },
        )
        for sku, before, after in drops:
            item = make_item(run, sku, status="held", group=self.group)
            for account in ("matriz", "filial"):
                make_drop(item, self.deposits[account, "Loja virtual"], before, after)
        return run

    def group_cell(self, sku: str, deposit: Deposit) -> Cell:
        """The cell of this SKU in this deposit, which has to be there."""
        return Cell.select().join(Pool).where(Pool.group == self.group, Pool.sku == sku, Cell.deposit == deposit).get()
