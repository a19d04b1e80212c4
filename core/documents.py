"""Reading a JSON document strictly, and telling everything that is wrong with it, each fault with its path.

A value that is wrong is reported and replaced by a stand-in of the right type, so that reading goes on to the next
fault. What was read may be used only if there was no fault at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NoReturn

from core.quantity import SCALE, to_millionths

_NUMERAL = re.compile(r"-?\d{1,30}(\.\d{1,30})?", re.ASCII)
_TYPE_NAMES = {dict: "um objeto", list: "uma lista", str: "um texto", bool: "verdadeiro/falso", type(None): "nulo"}
REQUIRED = "obrigatório e não foi informado"
MAX_ID = 2**63 - 1


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """`path` says where, as in groups[0].targets[1].percent; `message` what is wrong there, in Portuguese."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class _Repeated(dict[str, Any]):
    """An object of the document in which a key stood more than once."""

    keys_twice: tuple[str, ...] = ()


def parse(text: str | bytes) -> object:
    """The JSON of a document, its numbers exact; ValueError in words when it is none."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} não existe em JSON")

    def note_repetitions(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        whole = _Repeated(pairs)
        names = [name for name, _ in pairs]
        whole.keys_twice = tuple(sorted({name for name in names if names.count(name) > 1}))
        return whole

    try:
        return json.loads(text, parse_float=Decimal, parse_constant=refuse, object_pairs_hook=note_repetitions)
    except json.JSONDecodeError as error:
        raise ValueError(f"não é JSON: linha {error.lineno}, coluna {error.colno}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"não é JSON: {error}") from error


class Place:
    """A value of the document and where it stands. Its readers never raise; they report to the shared list."""

    def __init__(self, value: object, path: str, faults: list[Fault]) -> None:
        self.value = value
        self.path = path
        self.faults = faults

    def __getitem__(self, key: str) -> Place:
        """The value under this key of an object; absent when there is none."""
        value = self.value.get(key) if isinstance(self.value, Mapping) else None
        return Place(value, f"{self.path}.{key}" if self.path else key, self.faults)

    @property
    def is_absent(self) -> bool:
        return self.value is None

    def fault(self, message: str) -> None:
        fault = Fault(self.path, message)
        if fault not in self.faults:  # A value may be read more than once.
            self.faults.append(fault)

    def check_keys(self, required: Sequence[str], optional: Sequence[str] = ()) -> bool:
        """Whether this is an object; its missing and unknown keys are reported. Keys that begin with _ are comments."""
        if not isinstance(self.value, Mapping):
            self._wrong("um objeto")
            return False
        for key in required:
            if self[key].is_absent:
                self[key].fault(REQUIRED)
        for key in self.value:
            if key not in required and key not in optional and not key.startswith("_"):
                self[key].fault("chave desconhecida")
        for key in getattr(self.value, "keys_twice", ()):
            self[key].fault("chave repetida")
        return True

    def items(self) -> list[Place]:
        """The entries of a list; an absent one has none."""
        if self.is_absent:
            return []
        if not isinstance(self.value, list | tuple):
            self._wrong("uma lista")
            return []
        return [Place(item, f"{self.path}[{position}]", self.faults) for position, item in enumerate(self.value)]

    def text(self, longest: int = 120) -> str:
        """A text of one line that is not blank, trimmed; '' when absent or wrong."""
        if self.is_absent:
            return ""
        if not isinstance(self.value, str):
            self._wrong("um texto")
            return ""
        text = self.value.strip()
        if not text:
            self.fault("não pode ficar em branco")
        elif len(text) > longest:
            self.fault(f"longo demais: no máximo {longest} caracteres")
        elif not text.isprintable():
            self.fault("tem caracteres que não podem ser usados")
        else:
            return text
        return ""

    def pattern(self, pattern: re.Pattern[str], explanation: str) -> str:
        """A text of this form; '' when absent or wrong."""
        text = self.text(longest=10_000)
        if text and not pattern.fullmatch(text):
            self.fault(explanation)
            return ""
        return text

    def choice(self, *options: str) -> str:
        """One of these words; '' when absent or wrong."""
        if self.is_absent:
            return ""
        if self.value not in options or not isinstance(self.value, str):
            self.fault(f"deve ser {_alternatives(options)}, não {_quote(self.value)}")
            return ""
        return self.value

    def flag(self) -> bool:
        if self.is_absent:
            return False
        if not isinstance(self.value, bool):
            self._wrong("true ou false")
            return False
        return self.value

    def integer(self, low: int, high: int) -> int:
        """A whole number in this range; 0 when absent or wrong."""
        if self.is_absent:
            return 0
        if isinstance(self.value, bool) or not isinstance(self.value, int):
            self._wrong("um número inteiro")
            return 0
        if not low <= self.value <= high:
            self.fault(f"deve estar entre {low} e {high}, não {_quote(self.value)}")
            return 0
        return self.value

    def decimal(self, high: Decimal | None = None) -> Decimal | None:
        """A number of zero or more, as a numeral in a text or as a JSON number; None when absent or wrong."""
        if self.is_absent:
            return None
        number = self._number()
        if number is None:
            self.fault(f"deve ser um número, não {_quote(self.value)}")
        elif number < 0:
            self.fault(f"não pode ser negativo: {_quote(self.value)}")
        elif high is not None and number > high:
            self.fault(f"deve estar entre 0 e {high}, não {_quote(self.value)}")
        else:
            try:
                to_millionths(number)
            except ValueError:
                self.fault(f"número grande demais ou com mais de {SCALE} casas decimais: {_quote(self.value)}")
            else:
                return number
        return None

    def _number(self) -> Decimal | None:
        if isinstance(self.value, bool):
            return None
        if isinstance(self.value, str):
            text = self.value.strip()
            return Decimal(text) if _NUMERAL.fullmatch(text) else None
        if isinstance(self.value, int | Decimal):
            number = Decimal(self.value)
            return number if number.is_finite() else None
        return None

    def _wrong(self, wanted: str) -> None:
        found = REQUIRED if self.is_absent else f"deve ser {wanted}, não {_kind(self.value)}"
        self.fault(found)


def _kind(value: object) -> str:
    for kind, name in _TYPE_NAMES.items():
        if isinstance(value, kind):
            return name
    return "um número"


def _quote(value: object) -> str:
    if isinstance(value, Mapping | list | tuple | bool):
        return _kind(value)
    text = str(value)
    shown = text if len(text) <= 40 else f"{text[:40]}…"
    return f"“{shown}”" if isinstance(value, str) else shown


def _alternatives(options: Sequence[str]) -> str:
    quoted = [f"“{option}”" for option in options]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} ou {quoted[-1]}"
