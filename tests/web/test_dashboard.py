"""The Painel: the worst thing decides the line at the top, and what stands still is named."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
import time_machine
from flask import Flask

import queues
from clock import utcnow
from models import StockGroup
from tests.conftest import Browser
from tests.factories import Shop, make_dirty, make_item, make_organization, make_run, make_user
from tests.web.scenes import busy_shop


@pytest.fixture
def shop(app: Flask) -> Shop:
    shop = Shop()
    shop.accounts["matriz"].last_event_at = utcnow()
    shop.accounts["matriz"].save()
    return shop


@pytest.fixture
def ana(shop: Shop, login: Callable[..., Browser]) -> Browser:
    return login(shop.owner)


@pytest.fixture
def alive(app: Flask) -> None:
    queues.beat("worker", "w1")
    queues.beat("scheduler", "s1")


@pytest.mark.usefixtures("alive")
def test_it_says_that_all_is_well(ana: Browser) -> None:
    page = ana.get("/").text

    assert "<h1>Tudo em dia</h1>" in page
    assert "Último aviso do Bling agora" in page
    assert "Sincronização ativa" in page
    assert "parado" not in page


@pytest.mark.usefixtures("alive")
def test_an_account_without_access_comes_first(ana: Browser, shop: Shop) -> None:
    shop.accounts["filial"].state = "reconnect"
    shop.accounts["filial"].save()
    make_run(shop.organization, "cron", status="held")

    page = ana.get("/").text

    assert "<h1>Filial precisa ser reconectada</h1>" in page
    assert f'href="/contas/{shop.accounts["filial"].id}">Reconectar' in page
    assert "1 conta precisa de você" in page
    assert "Sincronização aguardando aprovação" in page


def test_a_stopped_worker_is_named_and_nothing_is_lost(ana: Browser) -> None:
    queues.beat("scheduler", "s1")

    page = ana.get("/").text

    assert "A sincronização está parada" in page
    assert "<strong>Worker parado.</strong>" in page
    assert "Agendador parado" not in page
    assert "nada se perde" in page


def test_a_stopped_scheduler_is_named(ana: Browser) -> None:
    queues.beat("worker", "w1")

    page = ana.get("/").text

    assert "<strong>Agendador parado.</strong>" in page
    assert "Worker parado" not in page


def test_a_missing_redis_is_named(ana: Browser, tmp_path: object) -> None:
    queues.init_queues(f"unix://{tmp_path}/nobody.sock")

    page = ana.get("/").text

    assert "<strong>Redis parado.</strong>" in page
    assert "Worker parado" not in page
    assert "— de 120.000" in page


@pytest.mark.usefixtures("alive")
def test_a_newcomer_is_led_step_by_step(app: Flask, login: Callable[..., Browser]) -> None:
    page = login(make_user(make_organization())).get("/").text

    assert "Falta pouco para começar" in page
    assert page.count('data-state="current"') == 1
    assert "0 de 5 prontos" in page
    assert "Conectar conta" in page
    assert 'id="fila"' not in page


@pytest.mark.usefixtures("alive")
def test_the_steps_are_seen_by_the_server(ana: Browser, shop: Shop) -> None:
    StockGroup.update(is_active=False).execute()

    page = ana.get("/").text

    assert "4 de 5 prontos" in page
    assert "Ver a prévia" in page
    assert "Sincronização ainda não ativada" in page


@pytest.mark.usefixtures("alive")
def test_problems_are_grouped_by_cause(app: Flask, login: Callable[..., Browser]) -> None:
    shop = busy_shop()

    page = login(shop.owner).get("/").text

    to_do, left_out = page.split('id="de-fora"')
    assert "SKU duplicado na conta" in to_do
    assert "Escrita recusada pelo Bling" in to_do
    assert "Escrita sem resposta" in to_do
    assert "Composição (kit)" not in to_do
    assert "Composição (kit)" in left_out
    assert 'href="/estoque/CANECA-01"' in to_do


@pytest.mark.usefixtures("alive")
def test_a_problem_that_was_solved_is_gone(ana: Browser, shop: Shop) -> None:
    failed = make_run(shop.organization, at=utcnow() - timedelta(minutes=5), status="failed")
    make_item(failed, "CANECA-01", status="failed", error="O Bling respondeu 400.", group=shop.group)
    assert "O que precisa de atenção" in ana.get("/").text

    make_item(make_run(shop.organization), "CANECA-01", group=shop.group)

    assert "O que precisa de atenção" not in ana.get("/").text


@pytest.mark.usefixtures("alive")
def test_the_queue_is_counted(ana: Browser, shop: Shop) -> None:
    make_dirty(shop.organization, "A", lease="x", lease_until=utcnow() + timedelta(seconds=20))
    make_dirty(shop.organization, "B", lease="x", lease_until=utcnow() - timedelta(seconds=20), attempts=3)
    make_dirty(Shop().organization, "C")

    page = ana.get("/").text

    for name, count in (("Produtos na fila", 1), ("Sincronizando", 1), ("Nova tentativa", 1)):
        assert f"<dt>{name}</dt><dd>{count}</dd>" in page
    assert "<h1>Sincronizando agora</h1>" in page
    assert "2\u00a0mudanças em andamento" in page


@pytest.mark.usefixtures("alive")
def test_a_late_check_is_called_late(ana: Browser, shop: Shop) -> None:
    shop.organization.next_reconcile_at = utcnow() - timedelta(minutes=10)
    shop.organization.save()

    assert "Atrasada" in ana.get("/").text


@pytest.mark.usefixtures("alive")
def test_the_poll_is_answered_with_304_until_something_changes(ana: Browser, shop: Shop) -> None:
    # Not before now: a cookie from the future is none.
    with time_machine.travel((utcnow() + timedelta(minutes=1)).replace(second=10), tick=False):
        tag = {"HX-PTag": ana.partial("/painel/vivo").headers["HX-PTag"]}
        assert ana.partial("/painel/vivo", **tag).status_code == 304

        make_run(shop.organization)

        assert ana.partial("/painel/vivo", **tag).status_code == 200


def test_the_state_at_the_top_is_live(ana: Browser, shop: Shop) -> None:
    first = ana.partial("/painel/estado")
    assert ana.partial("/painel/estado", **{"HX-PTag": first.headers["HX-PTag"]}).status_code == 304

    queues.beat("worker", "w1")
    queues.beat("scheduler", "s1")

    changed = ana.partial("/painel/estado", **{"HX-PTag": first.headers["HX-PTag"]})
    assert "Sincronização ativa" in changed.text
