"""Files that the browser gets as they are: the vendored ones unchanged, ours small, every colour readable."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Callable

import pytest
from flask import Flask

from services import labels
from tests.conftest import ROOT, Browser

STATIC = ROOT / "static"
# As published on npm in htmx.org 4.0.1.
VENDORED = {
    "htmx-4.0.1.min.js": "a0abb04f2f45a1f89d1d4844023245537e5e6014c87b144553e0607b4cc32130",
    "hx-ptag-4.0.1.min.js": "1993b23e86553100e4f45eed1b756eb8cf53c5b2244caf98e58662dfde9ca069",
    "htmx-LICENSE.txt": "d3d2456f76414f2456104660ebd65aff1c04cd7966b942bdabd63f3cdb316a38",
}
BUDGETS = {"app.css": 10_000, "app.js": 4_000, "icons.svg": 4_000}
FIRST_LOAD = 60_000
SCRIPTS = 22_000


def packed(name: str) -> int:
    return len(gzip.compress((STATIC / name).read_bytes(), 9))


@pytest.mark.parametrize("name", VENDORED)
def test_a_vendored_file_is_as_published(name: str) -> None:
    assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == VENDORED[name]


@pytest.mark.parametrize("name", BUDGETS)
def test_our_files_stay_small(name: str) -> None:
    assert packed(name) < BUDGETS[name]


def test_the_first_load_stays_small(login: Callable[..., Browser]) -> None:
    scripts = sum(packed(path.name) for path in STATIC.glob("*.js"))
    page = len(gzip.compress(login().get("/").data, 9))

    assert scripts < SCRIPTS
    assert scripts + page + packed("app.css") + packed("icons.svg") + packed("favicon.svg") < FIRST_LOAD


def test_a_static_file_is_kept_as_long_as_it_is_the_same(app: Flask, login: Callable[..., Browser]) -> None:
    page = login().get("/").text
    address = re.search(r'href="(/static/app\.css\?v=[0-9a-f]{12})"', page)
    assert address is not None

    with_digest = app.test_client().get(address[1])
    without = app.test_client().get("/static/app.css")

    assert with_digest.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert "immutable" not in without.headers["Cache-Control"]


def test_every_icon_that_is_used_exists() -> None:
    known = set(re.findall(r'<symbol id="([a-z]+)"', (STATIC / "icons.svg").read_text()))
    used = set()
    for template in (ROOT / "templates").rglob("*.html"):
        used |= set(re.findall(r'icon\("([a-z]+)"', template.read_text()))

    assert used
    assert used <= known
    assert set(labels.RUN_TYPES) <= known


def tokens() -> dict[str, tuple[str, str]]:
    """name -> (light, dark), as the stylesheet says."""
    css = (STATIC / "app.css").read_text()
    return {
        name: (light, dark)
        for name, light, dark in re.findall(r"--([a-z-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", css)
    }


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


TEXT_ON = [
    *((text, ground) for text in ("text", "muted", "link") for ground in ("ground", "surface", "sunken", "raised")),
    *((tone, f"{tone}-soft") for tone in ("ok", "info", "warn", "error", "neutral")),
    *(("text", f"{tone}-soft") for tone in ("ok", "info", "warn", "error", "neutral", "brand")),
    *(("muted", "brand-soft"), ("link", "brand-soft"), ("on-brand", "brand"), ("on-brand", "brand-hover")),
    *((tone, "surface") for tone in ("ok", "error")),
]


@pytest.mark.parametrize(("text", "ground"), TEXT_ON)
def test_text_can_be_read_in_both_themes(text: str, ground: str) -> None:
    for theme in (0, 1):
        assert contrast(tokens()[text][theme], tokens()[ground][theme]) >= 4.5


@pytest.mark.parametrize("ground", ["ground", "surface"])
def test_the_edge_of_a_control_can_be_seen(ground: str) -> None:
    for theme in (0, 1):
        for edge in ("line-strong", "focus", "brand"):
            assert contrast(tokens()[edge][theme], tokens()[ground][theme]) >= 3


def test_browsers_without_light_dark_get_the_light_theme() -> None:
    css = (STATIC / "app.css").read_text()
    plain = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", css))

    assert {name: light for name, (light, _) in tokens().items()} == plain
