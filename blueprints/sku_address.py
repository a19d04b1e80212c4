"""A SKU in an address. SKUs may hold slashes, blanks, percent signs, dots and accents, and all have to survive.

Proxies and browsers decode, merge and resolve `%2F`, `//`, `..` and `\\` on the way, so that quoting alone does not
do. What is neither a letter, a digit nor one of `-_.` becomes `~` and two hexadecimal digits; letters beyond ASCII are
quoted as in any address.
"""

from __future__ import annotations

import re

from werkzeug.routing import BaseConverter

_PLAIN = re.compile(r"[A-Za-z0-9_\-.]")
_CODED = re.compile(r"~([0-9A-Fa-f]{2})")


class SkuConverter(BaseConverter):
    """`<sku:sku>`: reads the coded form, and a SKU that somebody typed or pasted as it is."""

    regex = r"(?s:.+)"
    part_isolating = False
    # Whatever else has a fixed address goes first.
    weight = 500

    def to_python(self, value: str) -> str:
        return _CODED.sub(lambda code: chr(int(code[1], 16)), value).strip()

    def to_url(self, value: str) -> str:
        return super().to_url(coded(value))


def coded(sku: str) -> str:
    """The SKU in signs that nothing on the way changes."""
    return "".join(_code(sign, is_first=place == 0) for place, sign in enumerate(sku))


def _code(sign: str, *, is_first: bool) -> str:
    # A dot at the beginning could make the whole of it `.` or `..`.
    if ord(sign) > 127 or (_PLAIN.fullmatch(sign) and not (is_first and sign == ".")):
        return sign
    return f"~{ord(sign):02X}"
