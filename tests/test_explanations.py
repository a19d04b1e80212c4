"""How a number came about, told as a sum that adds up."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from services.explanations import derivation


def told(**changes: Any) -> str:
    facts: dict[str, Any] = {
        "group": "Geral",
        "mode": "sum",
        "balance": "virtual",
        "owed": "0",
        "level": None,
        "available": "11",
        "missing": {},
        "left_out": {},
        "cells": [cell("Matriz", "Geral", "source", "10", "1"), cell("Filial", "Geral", "source", "2")],
    }
    return json.dumps({**facts, **changes})


def cell(account: str, deposit: str, role: str, accounted: str, reserved: str = "0", **facts: Any) -> dict[str, Any]:
    nothing = dict.fromkeys(("movement", "evidence", "put_off", "unread", "held", "wanted"))
    place = {"account": account, "deposit": deposit, "role": role, "accounted": accounted, "reserved": reserved}
    return {**place, **nothing, **facts}


def terms(text: str) -> list[tuple[str, int | Decimal]]:
    found = derivation(text)
    assert found is not None
    if found.available is not None:
        assert sum(term.quantity for term in found.terms) == found.available
    return [(term.text, term.quantity) for term in found.terms]


def test_sources_less_what_is_reserved() -> None:
    assert terms(told()) == [
        ("Matriz · Geral", 10),
        ("Filial · Geral", 2),
        ("Reservado em pedidos, Matriz · Geral", -1),
    ]


def test_physical_balances_reserve_nothing() -> None:
    assert terms(told(balance="physical", available="12")) == [("Matriz · Geral", 10), ("Filial · Geral", 2)]


def test_what_is_owed_counts() -> None:
    assert terms(told(owed="-2", available="9"))[-1] == ("Movimentos dos compartilhados ainda a levar ao total", -2)


def test_the_sum_always_adds_up() -> None:
    assert terms(told(available="8.5"))[-1] == (
        "Escritas em andamento e mudanças ainda por confirmar",
        Decimal("-2.5"),
    )


def test_a_mirror_has_one_pool() -> None:
    shelf = [cell("Matriz", "Geral", "target", "7", "1"), cell("Filial", "Geral", "target", "7")]

    assert terms(told(mode="mirror", level="8", available="7", cells=shelf)) == [
        ("Estoque comum, depois dos movimentos", 8),
        ("Reservado em pedidos, Matriz · Geral", -1),
    ]


def test_what_is_not_known_is_not_zero() -> None:
    shelf = [cell("Matriz", "Geral", "source", "None", "None", unread="never_read")]
    found = derivation(told(available=None, cells=shelf))

    assert found is not None
    assert found.available is None
    assert found.terms == ()
    assert found.notes == ("Matriz · Geral: saldo nunca lido.",)


@pytest.mark.parametrize(
    ("facts", "note"),
    [
        ({"unread": "unreadable"}, "saldo que não pôde ser lido"),
        ({"put_off": "-3"}, "diferença de −3 vista há pouco"),
        ({"evidence": "level"}, "sem um aviso do Bling"),
        ({"held": "unknown_write"}, "não foi alterado: escrita sem resposta"),
    ],
)
def test_what_matters_besides_is_noted(facts: dict[str, str], note: str) -> None:
    found = derivation(told(cells=[cell("Matriz", "Geral", "source", "11", **facts)]))

    assert found is not None
    assert note in "\n".join(found.notes)


@pytest.mark.parametrize("text", [None, "", "texto", "{}", "[]", '{"balance": "virtual"}'])
def test_what_cannot_be_read_is_left_out(text: str | None) -> None:
    assert derivation(text) is None
