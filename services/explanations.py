"""How a number came about, as a sum that a merchant can check: read back from what was recorded when it was decided."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from services import labels


@dataclass(frozen=True, slots=True)
class Term:
    text: str
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class Derivation:
    """The terms add up to `available`, which is None while something needed was never read."""

    terms: tuple[Term, ...]
    available: Decimal | None
    notes: tuple[str, ...]


def derivation(text: str | None) -> Derivation | None:
    """None when nothing was recorded, or something that this version cannot read."""
    try:
        told = json.loads(text or "")
        return _derivation(told)
    except (ValueError, KeyError, TypeError, InvalidOperation):
        return None


def _derivation(told: dict[str, Any]) -> Derivation:
    is_virtual = told["balance"] == "virtual"
    available = _number(told["available"])
    terms = _pool(told) + (_reserved(told) if is_virtual else [])
    owed = _number(told["owed"]) or Decimal(0)
    if owed:
        terms.append(Term("Movimentos dos compartilhados ainda a levar ao total", owed))
    if available is not None:
        rest = available - sum((term.quantity for term in terms), Decimal(0))
        if rest:
            terms.append(Term("Escritas em andamento e mudanças ainda por confirmar", rest))
    return Derivation(tuple(terms), available, tuple(_notes(told)))


def _pool(told: dict[str, Any]) -> list[Term]:
    if told["mode"] == "mirror":
        level = _number(told["level"])
        return [] if level is None else [Term("Estoque comum, depois dos movimentos", level)]
    sources = [cell for cell in told["cells"] if cell["role"] == "source"]
    return [Term(_place(cell), held) for cell in sources if (held := _number(cell["accounted"])) is not None]


def _reserved(told: dict[str, Any]) -> list[Term]:
    terms = []
    for cell in told["cells"]:
        reserved = _number(cell["reserved"])
        if reserved:
            terms.append(Term(f"Reservado em pedidos, {_place(cell)}", -reserved))
    return terms


def _notes(told: dict[str, Any]) -> list[str]:
    notes = []
    for cell in told["cells"]:
        if cell.get("unread"):
            stands_in = "" if _number(cell["accounted"]) is None else "; vale o último saldo lido"
            notes.append(f"{_place(cell)}: {_lower(labels.label(cell['unread'], 'problem').text)}{stands_in}.")
        elif cell.get("put_off"):
            difference = labels.sinal(_number(cell["put_off"]))
            notes.append(f"{_place(cell)}: diferença de {difference} vista há pouco; será conferida de novo.")
        elif cell.get("evidence") == "level":
            notes.append(f"{_place(cell)}: a mudança foi vista no saldo, sem um aviso do Bling que a explique.")
        if cell.get("held") and not cell.get("unread"):
            notes.append(f"{_place(cell)} não foi alterado: {_lower(labels.label(cell['held'], 'problem').text)}.")
    return notes


def _place(cell: dict[str, Any]) -> str:
    return f"{cell['account']} · {cell['deposit']}"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _number(text: str | None) -> Decimal | None:
    return None if text is None or text == "None" else Decimal(text)
