"""Stock quantities: exact decimals with six places, and their integer form (millionths) for the database.

Bling computes in binary floats, so 0.1 + 0.2 may arrive as 0.30000000000000004: rounding to six places
on the way in removes that noise. Nothing here ever goes through a float.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation

SCALE = 6
_STEP = Decimal(1).scaleb(-SCALE)
_MAX_MILLIONTHS = 2**63 - 1
_ONE, _SURELY_FITS = Decimal(1), Decimal(10**12)
# A context of our own: the thread's default one may have been changed by a caller.
_CONTEXT = Context(prec=60, rounding=ROUND_HALF_EVEN)


def to_quantity(value: Decimal | int | str) -> Decimal:
    """The quantity rounded half-even to six places, in the one form in which equal numbers also print alike.

    Raises ValueError for anything that is no finite number or does not fit the database's BIGINT of millionths;
    floats and booleans are refused too, because they reach us only by a mistake.
    """
    # What nearly every quantity is, and what there is nothing to do about: a shortcut that changes no result.
    if type(value) is Decimal and value.same_quantum(_ONE) and abs(value) < _SURELY_FITS:  # pragma: no mutate
        return value or Decimal(0)
    if isinstance(value, bool) or not isinstance(value, Decimal | int | str):
        raise ValueError(f"a quantity is a Decimal, an int or a numeral, not {type(value).__name__}")
    if isinstance(value, str) and "_" in value:
        raise ValueError(f"not a usable quantity: {value[:40]!r}")
    try:
        number = Decimal(value)
        rounded = number.quantize(_STEP, context=_CONTEXT) if number.is_finite() else None
    except (InvalidOperation, ValueError):
        rounded = None
    if rounded is None:
        raise ValueError(f"not a usable quantity: {str(value)[:40]!r}")
    if abs(int(rounded.scaleb(SCALE, context=_CONTEXT))) > _MAX_MILLIONTHS:
        raise ValueError(f"quantity too large: {str(value)[:40]!r}")
    return _tidy(rounded)


def to_millionths(quantity: Decimal) -> int:
    """The quantity in millionths; ValueError if it has more than six places, because rounding is to_quantity's job."""
    if to_quantity(quantity) != quantity:
        raise ValueError(f"quantity with more than {SCALE} places: {str(quantity)[:40]!r}")
    return int(quantity.scaleb(SCALE, context=_CONTEXT))


def from_millionths(millionths: int) -> Decimal:
    return _tidy(Decimal(millionths).scaleb(-SCALE, context=_CONTEXT))


def total(quantities: Iterable[Decimal]) -> Decimal:
    """What they come to, which is a Decimal even where there are none."""
    return sum(quantities, Decimal(0))


def _tidy(number: Decimal) -> Decimal:
    """Without trailing zeros, exponent or minus zero: 10, 2.5, 0, never 1E+1, 2.500000 or -0."""
    if number == 0:
        return Decimal(0)
    whole = number.to_integral_value()
    return whole if number == whole else number.normalize(_CONTEXT)
