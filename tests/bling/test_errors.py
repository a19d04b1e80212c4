from __future__ import annotations

import inspect

import bling.errors
from bling.errors import BlingError, RateLimited, Rejected, quote_foreign


def test_the_drawn_tree_is_the_real_one() -> None:
    drawing = inspect.getdoc(bling.errors) or ""
    lines = [line.lstrip(" │") for line in drawing.splitlines()]
    drawn = {line.split()[1] for line in lines if line.startswith(("├──", "└──"))}
    real = {
        name
        for name, found in vars(bling.errors).items()
        if inspect.isclass(found) and issubclass(found, BlingError) and not name.startswith("_")
    }

    assert drawn == real - {"BlingError"}


def test_foreign_text_becomes_one_short_line_without_tokens() -> None:
    assert quote_foreign("a\nb\x00\x1b[31m  c") == "a b[31m c"
    assert quote_foreign("bearer " + "A1b2" * 10 + " failed") == "bearer […] failed"
    assert quote_foreign("palavra " * 50) == ("palavra " * 50)[:100]


def test_the_message_says_what_was_attempted() -> None:
    error = Rejected("POST /estoques", "não pode", status=400, type="VALIDATION_ERROR")

    assert str(error) == "POST /estoques: 400 VALIDATION_ERROR não pode"
    assert RateLimited("GET /produtos", "calma", retry_after_s=2.0).retry_after_s == 2.0
