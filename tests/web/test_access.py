"""Every route, against everybody who may not: strangers, readers, forged forms, people of another organization."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from flask import Flask
from werkzeug.routing import Rule

from blueprints import BLUEPRINTS
from models import SkuOverride
from tests.conftest import Browser
from tests.factories import Shop, make_event, make_item, make_run, make_undecided

# Called by programs, which prove themselves otherwise: tests/web/test_webhooks.py and test_application.py.
FOR_MACHINES = {"health.alive", "health.ready", "health.metrics", "webhooks.receive"}
# Bling sends people here, with the session cookie or without: tests/web/test_oauth.py.
FOR_STRANGERS = {"auth.sign_in", "oauth.callback", "static"}
READERS_MAY_POST = {"auth.sign_out", "auth.theme", "auth.sign_in"}


def rules_of(app: Flask) -> Iterator[tuple[Rule, str]]:
    for rule in app.url_map.iter_rules():
        if rule.endpoint in FOR_MACHINES | FOR_STRANGERS:
            continue
        for method in sorted((rule.methods or set()) & {"GET", "POST", "PUT", "PATCH", "DELETE"}):
            yield rule, method


class Other:
    """A shop of somebody else, with a row for every kind of id that an address can carry."""

    def __init__(self) -> None:
        self.shop = Shop()
        run = make_run(self.shop.organization)
        self.ids = {
            "run_id": run.id,
            "item_id": make_item(run, "CANECA-01").id,
            "account_id": self.shop.accounts["matriz"].id,
            "group_id": self.shop.group.id,
            "event_id": make_event(self.shop.accounts["matriz"]).id,
            "deposit_id": self.shop.deposits["matriz", "Geral"].id,
            "override_id": SkuOverride.create(
                organization=self.shop.organization, group=self.shop.group, sku="CANECA-01", is_ignored=True
            ).id,
            # A plan of that group is somebody else's just as well.
            "plan_id": "0" * 32,
            "sku": "CANECA-01",
            "write_id": make_undecided(self.shop.cell(self.shop.pool("CANECA-01"), "filial", "Loja virtual"), 3, 11).id,
        }

    def path_of(self, app: Flask, rule: Rule) -> str:
        with app.test_request_context():
            return app.url_for(rule.endpoint, **{name: self.ids[name] for name in rule.arguments})


@pytest.fixture
def other(app: Flask) -> Other:
    return Other()


def test_every_route_has_been_thought_of(app: Flask) -> None:
    known = {blueprint.name for blueprint in BLUEPRINTS}
    named = {rule.endpoint.partition(".")[0] for rule in app.url_map.iter_rules()} - {"static"}

    assert named <= known
    assert {rule.endpoint for rule in app.url_map.iter_rules()} >= FOR_MACHINES | FOR_STRANGERS
    assert sum(1 for _ in rules_of(app)) > 15


def test_it_sends_strangers_to_the_sign_in_page(app: Flask, client: Browser, other: Other) -> None:
    for rule, method in rules_of(app):
        response = client.open(other.path_of(app, rule), method=method, headers={"X-CSRFToken": client.csrf_token()})

        assert response.status_code == 302, f"{method} {rule}"
        assert urlsplit(response.location).path == "/entrar", f"{method} {rule}"


def test_it_sends_a_fragments_page_to_the_sign_in_page(client: Browser, app: Flask) -> None:
    response = client.partial("/painel/vivo", **{"HX-Current-URL": "http://localhost/historico?tipo=cron"})

    assert response.status_code == 401
    assert response.headers["HX-Redirect"] == "/entrar?volta=/historico?tipo%3Dcron"
    assert response.data == b""


def test_it_refuses_every_change_by_a_reader(app: Flask, login: Callable[..., Browser]) -> None:
    shop = Other()
    browser = login(role="reader", organization=shop.shop.organization)
    tried = 0
    for rule, method in rules_of(app):
        if method == "GET" or rule.endpoint in READERS_MAY_POST:
            continue
        response = browser.open(shop.path_of(app, rule), method=method, headers={"X-CSRFToken": browser.csrf_token()})
        assert response.status_code == 403, f"{method} {rule}"
        tried += 1

    assert tried >= 1


@pytest.mark.parametrize("role", ["owner", "operator", "reader"])
def test_it_refuses_every_form_without_its_token(app: Flask, login: Callable[..., Browser], role: str) -> None:
    mine = Other()
    browser = login(role=role, organization=mine.shop.organization)
    for rule, method in rules_of(app):
        if method == "GET":
            continue
        response = browser.open(mine.path_of(app, rule), method=method, data={"scope": "all"})

        assert response.status_code == 400, f"{method} {rule}"
        assert "Nada foi alterado" in response.text


def test_it_does_not_know_what_belongs_to_others(app: Flask, login: Callable[..., Browser], other: Other) -> None:
    browser = login()
    tried = 0
    for rule, method in rules_of(app):
        if not rule.arguments:
            continue
        headers = {"X-CSRFToken": browser.csrf_token()}
        for path in (other.path_of(app, rule), other.path_of(app, rule) + "?antes=1"):
            assert browser.open(path, method=method, headers=headers).status_code == 404, f"{method} {rule}"
        tried += 1

    assert tried >= 3


def test_a_list_shows_nothing_of_others(login: Callable[..., Browser], other: Other) -> None:
    browser = login()
    for path in (
        "/",
        "/historico",
        "/contas",
        "/regras",
        "/painel/vivo",
        "/historico/vivo",
        "/estoque",
        "/doutor",
        "/revisao",
    ):
        page = browser.get(path).text

        assert "CANECA-01" not in page, path
        assert other.shop.accounts["matriz"].id not in page, path


def test_a_session_ends_when_its_version_moves_on(login: Callable[..., Browser]) -> None:
    browser = login()
    assert browser.get("/").status_code == 200

    browser.user.session_version += 1
    browser.user.save()

    assert browser.get("/").status_code == 302
