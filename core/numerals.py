"""Numbers as people type them in Brazil: 1.234,5 as well as 1234.5."""

from __future__ import annotations

import re

# Points between groups of three digits; a number that begins with a zero has decimals behind its point instead.
_GROUPED = re.compile(r"[1-9]\d{0,2}(\.\d{3})+", re.ASCII)
_WITH_COMMA = re.compile(r"(\d+|\d{1,3}(\.\d{3})+),\d+", re.ASCII)


def plain_numeral(text: str) -> str:
    """The numeral with a decimal point and nothing else; what cannot be understood comes back as it was typed."""
    typed = "".join(text.split()).removesuffix("%")
    sign = "-" if typed[:1] in ("-", "\u2212") else ""
    digits = typed[1:] if typed[:1] in ("-", "\u2212", "+") else typed
    if _WITH_COMMA.fullmatch(digits):
        return sign + digits.replace(".", "").replace(",", ".")
    if _GROUPED.fullmatch(digits):
        return sign + digits.replace(".", "")
    return sign + digits if digits.replace(".", "", 1).isdecimal() else text.strip()
