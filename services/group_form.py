"""The form of a stock rule: what a person typed, the document that core.group_draft checks, and back.

One row per deposit; each names its fields after the deposit's id (role-…, percent-…), so the form works without
JavaScript and its faults find their way back to the fields.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from core.documents import Fault
from core.group_draft import MIRROR, SUM, DepositPlace, GroupDraft
from core.numerals import plain_numeral
from models import Deposit
from services.labels import quantidade

Deposits = Mapping[DepositPlace, Deposit]
LIMITS = ("reserve", "percent", "max", "stop_at")
NEW: Mapping[str, str] = {
    "mode": SUM,
    "balance": "virtual",
    "target_movements": "write_back",
    "min_skus": "20",
    "guard_percent": "30",
}


@dataclass(slots=True)
class GroupForm:
    """`typed`: field name to what stands in it; `faults`: field name to what is wrong with it."""

    typed: Mapping[str, str]
    faults: dict[str, str] = field(default_factory=dict)

    def value(self, name: str) -> str:
        return self.typed.get(name, "").strip()

    def document(self, deposits: Deposits, existing: GroupDraft | None, taken_keys: Collection[str]) -> dict[str, Any]:
        """What the form asks for, as a setup file would say it. Exceptions for single SKUs stay as they are."""
        mode = self.value("mode")
        roles = {place: self.value(f"role-{deposit.id}") for place, deposit in deposits.items()}
        targets = [place for place, role in roles.items() if role == "target"]
        document: dict[str, Any] = {
            "key": existing.key if existing else _key_from(self.value("name"), taken_keys),
            "name": self.value("name") or None,
            "mode": mode,
            "balance": self.value("balance"),
            "active": existing.is_active if existing else False,
            "target_movements": self.value("target_movements") or None,
            # A mirror has none; the page hides the choice there, and with it what was chosen before.
            "sources": [_place(place) for place, role in roles.items() if role == "source" and mode != MIRROR],
            "targets": [{**_place(place), **self._limits(deposits[place])} for place in targets],
            "guard": {
                "min_skus": _whole(self.value("min_skus")),
                "percent": plain_numeral(self.value("guard_percent")) or None,
            },
            "overrides": [
                _override(override)
                for override in (existing.overrides if existing else ())
                if override.target is None or override.target in targets
            ],
        }
        if mode == MIRROR:
            seed = next((place for place, deposit in deposits.items() if deposit.id == self.value("seed")), None)
            document["seed"] = None if seed is None else _place(seed)
        else:
            document["write_back"] = [_place(place) for place in self._takers(deposits, roles)]
        return document

    def _limits(self, deposit: Deposit) -> dict[str, str | None]:
        return {name: plain_numeral(self.value(f"{name}-{deposit.id}")) or None for name in LIMITS}

    def _takers(self, deposits: Deposits, roles: Mapping[DepositPlace, str]) -> list[DepositPlace]:
        """The sources with a position, in that order; none has one when the program is to choose."""
        chosen = [
            (int(position), number, place)
            for number, (place, deposit) in enumerate(deposits.items())
            if roles[place] == "source" and (position := self.value(f"order-{deposit.id}")).isdecimal()
        ]
        return [place for _, _, place in sorted(chosen, key=lambda one: one[:2])]

    def take_faults(self, faults: Iterable[Fault], document: Mapping[str, Any], deposits: Deposits) -> None:
        """Put each fault at the field it is about."""
        for fault in faults:
            name = _field_of(fault.path, document, deposits)
            text = fault.message[:1].upper() + fault.message[1:]
            self.faults.setdefault(name, text if text.endswith((".", "!")) else f"{text}.")


def form_of(draft: GroupDraft, deposits: Deposits) -> GroupForm:
    """The form as it stands for an existing rule."""
    typed: dict[str, str] = {
        "name": draft.name,
        "mode": draft.mode,
        "balance": draft.balance,
        "target_movements": draft.target_movements,
        "min_skus": str(draft.guard_min_skus),
        "guard_percent": _shown(draft.guard_percent),
    }
    for place in draft.sources:
        typed[f"role-{deposits[place].id}"] = "source"
    for position, place in enumerate(draft.write_back, start=1):
        typed[f"order-{deposits[place].id}"] = str(position)
    for target in draft.targets:
        deposit = deposits[target.place]
        typed[f"role-{deposit.id}"] = "target"
        for name in LIMITS:
            typed[f"{name}-{deposit.id}"] = _shown(getattr(target.limits, name))
    if draft.seed is not None:
        typed["seed"] = deposits[draft.seed].id
    return GroupForm(typed)


_PLACE = re.compile(r"(sources|targets|write_back)\[(\d+)\](?:\.(\w+))?")


def _field_of(path: str, document: Mapping[str, Any], deposits: Deposits) -> str:
    if match := _PLACE.fullmatch(path):
        place = document[match[1]][int(match[2])]
        deposit = deposits.get(DepositPlace(place["account"], place["deposit"]))
        if deposit is None:
            return "deposits"
        if match[1] == "write_back":
            return f"order-{deposit.id}"
        return f"{match[3]}-{deposit.id}" if match[3] in LIMITS else f"role-{deposit.id}"
    return {
        "key": "name",
        "guard.min_skus": "min_skus",
        "guard.percent": "guard_percent",
    }.get(path, path)


def _place(place: DepositPlace) -> dict[str, Any]:
    return {"account": place.account, "deposit": place.deposit}


def _override(override: Any) -> dict[str, Any]:
    return {
        "sku": override.sku,
        "target": None if override.target is None else _place(override.target),
        "ignore": override.is_ignored,
        **{name: getattr(override.limits, name) for name in LIMITS},
    }


def _whole(text: str) -> int | str | None:
    numeral = plain_numeral(text)
    return int(numeral) if numeral.lstrip("-").isdecimal() else (numeral or None)


def _shown(number: Decimal | None) -> str:
    return "" if number is None else quantidade(number)


def _key_from(name: str, taken: Collection[str]) -> str:
    """A key for a new rule, made from its name."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    base = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40].strip("-") or "regra"
    key, number = base, 2
    while key in taken:
        key, number = f"{base}-{number}", number + 1
    return key
