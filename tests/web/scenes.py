"""A merchant on an ordinary busy day, so that pages are tested and looked at with all that they can show."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from decimal import Decimal

from clock import utcnow
from models import Run
from tests.factories import (
    Shop,
    make_dirty,
    make_event,
    make_item,
    make_item_deposit,
    make_movement,
    make_run,
    make_undecided,
    make_write,
)

NAMES = {
    "CAM-AZ-P": "Camiseta básica azul, tamanho P",
    "CAM-AZ-M": "Camiseta básica azul, tamanho M",
    "CANECA-01": "Caneca de porcelana 300 ml",
    "GAR-TERM-750": "Garrafa térmica inox 750 ml com tampa dosadora e alça",
    "TEC-ALG-15": "Tecido de algodão 1,5 m (por metro)",
    "KIT-CAFE": "Kit café da manhã",
    "00123": "Chaveiro",
}


def busy_shop() -> Shop:
    shop = Shop(NAMES)
    now = utcnow()
    for product in shop.products.values():
        product.name = NAMES[product.sku]
        product.save()
    shop.accounts["matriz"].last_event_at = now - timedelta(seconds=20)
    shop.accounts["filial"].last_event_at = now - timedelta(hours=30)
    shop.accounts["matriz"].company_cnpj = "12345678000195"
    for account in shop.accounts.values():
        account.save()
    pools = {sku: shop.pool(sku, available=Decimal(8)) for sku in NAMES if sku != "KIT-CAFE"}
    shop.pool("KIT-CAFE", problem="composition")
    pools["CANECA-01"].problem = "duplicate"
    pools["CANECA-01"].save()
    for sku, pool in pools.items():
        shop.cell(pool, "matriz", "Geral", 10)
        shop.cell(pool, "matriz", "Loja virtual", 10)
        shop.cell(pool, "filial", "Loja virtual", 10, problem="rejected" if sku == "TEC-ALG-15" else None)
    sale(shop, "CAM-AZ-M", now - timedelta(minutes=2))
    sale(shop, "GAR-TERM-750", now - timedelta(minutes=9), before="1284", sold="-2")
    sale(shop, "TEC-ALG-15", now - timedelta(hours=3), before="37.5", sold="-1.25")
    fruitless(shop, now - timedelta(minutes=25))
    check(shop, now - timedelta(minutes=31))
    troubled(shop, now - timedelta(hours=26))
    undecided(shop, now - timedelta(minutes=14))
    drops = [(sku, 40 - 3 * place, 0 if place == 1 else 4) for place, sku in enumerate(NAMES) if sku != "KIT-CAFE"]
    drops += [(f"SKU-{number:03}", 12 + number, 3) for number in range(36)]
    shop.held_run(*drops, at=now - timedelta(days=2))
    running = make_run(
        shop.organization,
        "manual",
        status="running",
        scope="all",
        user=shop.owner,
        considered=21,
        unchanged=20,
        total=60,
    )
    make_item(running, "CAM-AZ-P", product_name=NAMES["CAM-AZ-P"], status="running")
    make_dirty(shop.organization, "CAM-AZ-P", lease="a", lease_until=now + timedelta(seconds=20))
    make_dirty(shop.organization, "00123", attempts=2)
    return shop


def sale(shop: Shop, sku: str, at: datetime, before: str = "10", sold: str = "-2") -> Run:
    """A sale on the Filial, taken from the Matriz and shown in both."""
    event = make_event(shop.accounts["filial"], sku=sku, received_at=at)
    run = make_run(shop.organization, at=at, account=shop.accounts["filial"], event=event)
    after = Decimal(before) + Decimal(sold)
    item = make_item(
        run,
        sku,
        product_name=NAMES.get(sku, sku),
        group=shop.group,
        available=after,
        explanation=_explanation(shop, before, sold, str(after)),
    )
    places = [("matriz", "Geral", "source"), ("matriz", "Loja virtual", "target"), ("filial", "Loja virtual", "target")]
    for account, name, role in places:
        deposit = shop.deposits[account, name]
        is_where_it_was_sold = account == "filial"
        make_item_deposit(item, deposit, before, after, role=role, movement=sold if is_where_it_was_sold else "0")
        cell = shop.group_cell(sku, deposit)
        if is_where_it_was_sold:
            make_movement(cell, sold, item, event=event)
        else:
            make_write(cell, sold, item, purpose="write_back" if role == "source" else "target")
    return run


def fruitless(shop: Shop, at: datetime) -> Run:
    run = make_run(shop.organization, at=at, account=shop.accounts["matriz"], status="failed")
    item = make_item(run, "TEC-ALG-15", product_name=NAMES["TEC-ALG-15"], status="failed", error="rejected")
    deposit = shop.deposits["filial", "Loja virtual"]
    make_item_deposit(item, deposit, "37.5", "37.5", error="rejected")
    make_write(
        shop.group_cell("TEC-ALG-15", deposit),
        "-1.25",
        item,
        state="rejected",
        error="O Bling respondeu 400: o depósito está desativado.",
    )
    return run


def check(shop: Shop, at: datetime) -> Run:
    run = make_run(
        shop.organization,
        "cron",
        at=at,
        status="partial",
        scope="all",
        considered=60,
        unchanged=55,
        unannounced=2,
        total=60,
    )
    for sku in ("CAM-AZ-P", "00123"):
        item = make_item(run, sku, product_name=NAMES[sku])
        make_item_deposit(item, shop.deposits["matriz", "Loja virtual"], "7", "9")
        make_item_deposit(item, shop.deposits["filial", "Loja virtual"], "7", "9")
    make_item(run, "KIT-CAFE", product_name=NAMES["KIT-CAFE"], status="skipped", error="composition")
    make_item(run, "CANECA-01", product_name=NAMES["CANECA-01"], status="dup", error="duplicate")
    make_item(run, "GAR-TERM-750", product_name=NAMES["GAR-TERM-750"], status="retry", error="unreadable")
    return run


def troubled(shop: Shop, at: datetime) -> Run:
    run = make_run(shop.organization, "manual", at=at, status="partial", user=shop.owner)
    item = make_item(run, "CAM-AZ-P", product_name=NAMES["CAM-AZ-P"], status="review", error="unknown_write")
    deposit = shop.deposits["filial", "Loja virtual"]
    make_item_deposit(item, deposit, "9", "9", error="unknown_write")
    make_write(shop.group_cell("CAM-AZ-P", deposit), "3", item, state="unknown", error="Sem resposta do Bling em 10 s.")
    return run


def undecided(shop: Shop, at: datetime) -> None:
    """Three writes that nobody can tell the outcome of: one to raise a target, one to lower one, a write-back."""
    places = [("CAM-AZ-M", "filial", "Loja virtual", "3", "11"), ("GAR-TERM-750", "filial", "Loja virtual", "-2", "7"),
              ("00123", "matriz", "Geral", "-1", "8")]  # fmt: skip
    for number, (sku, account, name, quantity, found) in enumerate(places):
        sent_at = at + timedelta(minutes=number)
        cell = shop.group_cell(sku, shop.deposits[account, name])
        cell.baseline_at = at - timedelta(days=9)
        cell.save()
        run = make_run(shop.organization, at=sent_at, account=shop.accounts["matriz"], status="partial")
        item = make_item(run, sku, product_name=NAMES[sku], status="review", error="unknown_write", group=shop.group)
        make_item_deposit(item, cell.deposit, "10", found, role="source" if name == "Geral" else "target")
        make_event(
            shop.accounts[account],
            sku=sku,
            product_bling_id=shop.products[account, sku].bling_id,
            deposit_bling_id=shop.deposits[account, name].bling_id,
            quantity=Decimal(-1),
            physical_after=Decimal(found),
            received_at=sent_at + timedelta(seconds=4),
        )
        make_undecided(
            cell,
            quantity,
            found,
            item=item,
            purpose="write_back" if name == "Geral" else "target",
            planned_at=sent_at,
            sent_at=sent_at,
            ended_at=sent_at + timedelta(seconds=10),
            found_at=sent_at + timedelta(seconds=21),
        )


def _explanation(shop: Shop, before: str, sold: str, available: str) -> str:
    """What the engine records, for a sale of which the write-back is still to be made."""
    cells = [
        {"account": "Matriz", "deposit": "Geral", "role": "source", "accounted": before, "reserved": "0"},
        {"account": "Matriz", "deposit": "Loja virtual", "role": "target", "accounted": before, "reserved": "0"},
        {"account": "Filial", "deposit": "Loja virtual", "role": "target", "accounted": available, "reserved": "0"},
    ]
    return json.dumps(
        {
            "group": shop.group.name,
            "mode": "sum",
            "balance": "virtual",
            "owed": sold,
            "level": None,
            "available": available,
            "missing": {},
            "left_out": {},
            "cells": [
                {"movement": "0", "evidence": None, "put_off": None, "unread": None, "held": None, **c} for c in cells
            ],
        }
    )
