"""Texts from outside, made fit for any database."""

from __future__ import annotations


def storable(text: str) -> str:
    """JSON can spell what no database takes: a NUL, or half of a surrogate pair."""
    return text.encode("utf-8", errors="replace").decode("utf-8").replace("\x00", "\ufffd")
