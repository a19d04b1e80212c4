"""The page "Bling de teste": accounts side by side, and everything a person may do to them."""

from __future__ import annotations

from flask import Blueprint

from .bling import Bling


def create_pages(bling: Bling) -> Blueprint:
    return Blueprint("pages", __name__)
