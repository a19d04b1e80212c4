"""JSON with exact numbers: a Decimal leaves as the digits it has, and comes back as a Decimal.

`noisy` numbers imitate a server that computes in binary floats (15.000000000000002 for 15).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from json.encoder import encode_basestring
from typing import Any

MAX_QUANTITY = Decimal("9999999999")
DECIMALS = 6


class NotANumber(ValueError):
    """The text or JSON value is no finite number of at most six decimals."""


def dump(value: Any, noisy: bool = False) -> str:
    """The compact JSON text of dicts, lists, str, int, bool, None and Decimal; a float is refused."""
    parts: list[str] = []
    _write(value, parts.append, _noisy_digits if noisy else plain)
    return "".join(parts)


def load(text: str | bytes) -> Any:
    """Parse JSON keeping every digit; NaN and Infinity, which JSON does not know, raise ValueError."""
    return json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant)


def plain(number: Decimal) -> str:
    """A Decimal without exponent, trailing zeros or a negative zero."""
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def quantity(value: Any) -> Decimal:
    """A stock quantity from a form, JSON or Python value, exact; raises NotANumber."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise NotANumber(f"{value!r:.40} is not a number")
    try:
        number = Decimal(value.strip().replace(",", ".") if isinstance(value, str) else value)
    except InvalidOperation as error:
        raise NotANumber(f"{value!r:.40} is not a number") from error
    if not number.is_finite() or abs(number) > MAX_QUANTITY:
        raise NotANumber("the number is out of range")
    exponent = number.normalize().as_tuple().exponent
    if isinstance(exponent, int) and exponent < -DECIMALS:
        raise NotANumber(f"more than {DECIMALS} decimals")
    return number


def _write(value: Any, emit: Callable[[str], None], digits: Callable[[Decimal], str]) -> None:
    if isinstance(value, str):
        emit(encode_basestring(value))
    elif value is None:
        emit("null")
    elif isinstance(value, bool):
        emit("true" if value else "false")
    elif isinstance(value, int):
        emit(int.__repr__(value))
    elif isinstance(value, Decimal):
        emit(digits(value))
    elif isinstance(value, dict):
        _write_pairs(value, emit, digits)
    elif isinstance(value, list | tuple):
        emit("[")
        for position, item in enumerate(value):
            if position:
                emit(",")
            _write(item, emit, digits)
        emit("]")
    else:
        raise TypeError(f"no JSON for {type(value).__name__}")


def _write_pairs(value: dict[str, Any], emit: Callable[[str], None], digits: Callable[[Decimal], str]) -> None:
    emit("{")
    for position, (key, item) in enumerate(value.items()):
        emit(("," if position else "") + encode_basestring(key) + ":")
        _write(item, emit, digits)
    emit("}")


def _noisy_digits(number: Decimal) -> str:
    # The neighbour of the nearest double is what 0.1 + 0.2 style arithmetic leaves behind.
    nearest = float(number)
    return repr(math.nextafter(nearest, math.inf)) if nearest else "5.551115123125783e-17"


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
