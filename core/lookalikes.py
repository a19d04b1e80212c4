"""SKUs that look alike: probably the same product, typed differently in another account.

They are only suspects. SKUs match exactly after trimming, and nothing here ever makes two of them one.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable
from enum import StrEnum


class Difference(StrEnum):
    """In what SKUs of one look differ."""

    CASE = "case"
    ZEROS = "zeros"
    SIGNS = "signs"
    FORMS = "forms"


def look_of(sku: str) -> str:
    """What a SKU looks like: two SKUs of the same look differ in nothing but case, leading zeros, blanks, punctuation,
    or in how Unicode writes the same character. '' for the empty SKU only.
    """
    return _look(sku, frozenset(Difference))


def differences(skus: Iterable[str]) -> frozenset[Difference]:
    """In what these SKUs of one look differ: what still tells them apart when everything else is left out."""
    distinct = set(skus)
    every = frozenset(Difference)
    found = frozenset(one for one in Difference if len({_look(sku, every - {one}) for sku in distinct}) > 1)
    # A special blank is both a sign and a form, so leaving out either hides it.
    return found if found or len(distinct) < 2 else frozenset({Difference.FORMS})


def are_suspects(skus_of_accounts: Iterable[Collection[str]]) -> bool:
    """Whether SKUs of one look, as the accounts have them, may be one product.

    An account that has all of them tells them apart, so they are meant to be different.
    """
    accounts = [set(skus) for skus in skus_of_accounts]
    return len(set().union(*accounts)) > max((len(skus) for skus in accounts), default=0)


def _look(sku: str, leaving_out: Collection[Difference]) -> str:
    before, text = None, sku
    # What one step leaves may be something for another: an accent that loses its blank joins the letter before it.
    while text != before:
        before, text = text, _simplified(text, leaving_out)
    return text


def _simplified(text: str, leaving_out: Collection[Difference]) -> str:
    if Difference.FORMS in leaving_out:
        text = unicodedata.normalize("NFKC", text)
    if Difference.CASE in leaving_out:
        text = text.casefold()
    if Difference.SIGNS in leaving_out:
        # Letters with their accents, and digits: blanks, dashes, dots and what is not seen at all are left out.
        text = "".join(char for char in text if unicodedata.category(char)[0] in "LMN") or text
    if Difference.ZEROS in leaving_out:
        text = text.lstrip("0") or text[-1:]
    return text
