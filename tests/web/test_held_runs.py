"""A run that waits for a person: what it would lower, approving it, discarding it, and what is said afterwards."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape

import pytest
from flask import Flask
from werkzeug.test import TestResponse

import queues
from models import DirtySku, Run, RunItem
from services import guards
from services.guards import RELEASING
from tests.conftest import Browser
from tests.factories import Shop, make_item, make_user

Login = Callable[..., Browser]
SKUS = ("CANECA-01", "BONE", "LENCO")


@pytest.fixture
def shop(app: Flask) -> Shop:
    return Shop(SKUS)


@pytest.fixture
def ana(shop: Shop, login: Login) -> Browser:
    return login(shop.owner)


@pytest.fixture
def run(shop: Shop) -> Run:
    return shop.held_run(("BONE", 12, 4), ("CANECA-01", 30, 0), ("LENCO", 12, 9))


@pytest.fixture
def alive(app: Flask) -> None:
    queues.beat("worker", "w1")
    queues.beat("scheduler", "s1")


def words(answer: TestResponse) -> str:
    text = re.sub(r"<[^>]+>", " ", answer.get_data(as_text=True))
    return " ".join(unescape(text).replace("\u00a0", " ").split())


def fresh(run: Run) -> Run:
    return Run.get_by_id(run.id)


def test_it_shows_what_would_be_lowered_the_biggest_drops_first(ana: Browser, run: Run) -> None:
    answer = ana.get(f"/execucoes/{run.id}")
    text = words(answer)

    assert "Regra Estoque geral : acima de 20 produtos e de 30% da regra, uma pessoa decide." in text
    assert "Baixariam 3 de 60 Parte da regra 5% Iriam a zero 1" in text
    assert "saldos lidos em" in text
    rows = re.findall(r'<span class="plan__sku">([^<]+)</span>', answer.text)
    assert rows == ["CANECA-01", "BONE", "LENCO"]
    assert "Produto CANECA-01 CANECA-01 Filial · Loja virtual 30 passou a 0 −30 zera" in text
    assert "Nada estava diferente" not in text


def test_the_page_that_follows_a_check_comes_to_ask_by_itself(ana: Browser, run: Run) -> None:
    fragment = ana.partial(f"/execucoes/{run.id}/andamento")

    assert "Baixariam 3 de 60" in words(fragment)
    assert f'action="/execucoes/{run.id}/aprovar"' in fragment.text
    assert "hx-trigger" not in fragment.text


def test_many_drops_come_in_pages(ana: Browser, shop: Shop) -> None:
    run = shop.held_run(*((f"SKU-{number:03}", 100 + number, 1) for number in range(120)))

    first, last = (ana.get(f"/execucoes/{run.id}?queda={number}").text for number in (1, 9))

    assert len(set(re.findall(r"SKU-\d+", first))) == 50
    assert ("SKU-119" in first, "SKU-069" in first, f"/execucoes/{run.id}?queda=2#quedas" in first) == (
        True,
        False,
        True,
    )
    assert len(set(re.findall(r"SKU-\d+", last))) == 20
    assert "Página 3 de 3" in unescape(last).replace("\u00a0", " ")


def test_it_is_approved_by_who_ticked_that_it_was_looked_at(ana: Browser, shop: Shop, run: Run) -> None:
    answer = ana.post(f"/execucoes/{run.id}/aprovar")
    assert answer.status_code == 422
    assert "Marque que conferiu as baixas antes de aprovar." in words(answer)
    assert fresh(run).decision is None

    answer = ana.post(f"/execucoes/{run.id}/aprovar", data={"confirmed": "yes"})

    assert (answer.status_code, answer.location) == (303, f"/execucoes/{run.id}")
    approved = fresh(run)
    assert (approved.decision, approved.decided_by, approved.status) == ("approved", shop.owner, "running")
    assert approved.cursor == RELEASING
    assert {item.status for item in RunItem.select()} == {"queued"}
    assert DirtySku.select().count() == 0, "the scan's job marks them"
    text = words(ana.get(f"/execucoes/{run.id}"))
    assert "Aprovado por Ana Souza em" in text
    assert "O que ela baixaria quando parou" in text
    assert "Conferi:" not in text


def test_it_is_discarded(ana: Browser, shop: Shop, run: Run) -> None:
    answer = ana.post(f"/execucoes/{run.id}/descartar")

    assert (answer.status_code, answer.location) == (303, f"/execucoes/{run.id}")
    assert (fresh(run).decision, fresh(run).decided_by, fresh(run).status) == ("discarded", shop.owner, "skipped")
    assert {(item.status, item.error) for item in RunItem.select()} == {("skipped", "discarded")}
    text = words(ana.get(f"/execucoes/{run.id}"))
    assert "Descartado por Ana Souza em" in text
    assert "Descartado. Nada foi escrito no Bling." in text


@pytest.mark.parametrize("way", ["aprovar", "descartar"])
def test_who_comes_second_is_told_who_was_first(ana: Browser, shop: Shop, run: Run, login: Login, way: str) -> None:
    ana.post(f"/execucoes/{run.id}/descartar")

    bia = login(make_user(shop.organization, name="Bia", role="operator"))
    answer = bia.post(f"/execucoes/{run.id}/{way}", data={"confirmed": "yes"}, follow_redirects=True)

    assert words(answer).count("Descartado por Ana Souza em") == 2, "as a notice and on the page"
    assert fresh(run).decided_by == shop.owner


def test_one_that_a_newer_check_took_over_leads_there(ana: Browser, shop: Shop, run: Run) -> None:
    newer = shop.held_run(("BONE", 12, 4))
    guards.close_superseded(shop.organization.id)

    answer = ana.get(f"/execucoes/{run.id}")

    assert "Uma conferência mais nova tomou o lugar desta em" in words(answer)
    assert f'<a href="/execucoes/{newer.id}">Ver a que espera agora</a>' in answer.text
    assert "Baixariam 3 de 60" in words(answer)


def test_one_that_sales_have_emptied_says_so(ana: Browser, run: Run) -> None:
    RunItem.update(status="ok", finished_at=run.created_at).execute()
    Run.update(status="ok", finished_at=run.created_at).execute()

    text = words(ana.get(f"/execucoes/{run.id}"))

    assert "Não há mais o que decidir." in text
    assert "Aprovar" not in text


def test_what_other_rules_do_of_it_is_followed_live(ana: Browser, run: Run) -> None:
    make_item(run, "OUTRO", status="running")

    assert "hx-trigger" in ana.get(f"/execucoes/{run.id}").text.partition('id="andamento"')[2].partition(">")[0]


def test_a_reader_sees_it_and_decides_nothing(shop: Shop, run: Run, login: Login) -> None:
    reader = login(organization=shop.organization, role="reader")
    page = reader.get(f"/execucoes/{run.id}")

    assert "Baixariam 3 de 60" in words(page)
    assert "/aprovar" not in page.text
    assert reader.post(f"/execucoes/{run.id}/aprovar", data={"confirmed": "yes"}).status_code == 403
    assert reader.post(f"/execucoes/{run.id}/descartar").status_code == 403
    assert fresh(run).decision is None


def test_nobody_decides_for_another_merchant(run: Run, login: Login) -> None:
    stranger = login()

    for way in ("aprovar", "descartar"):
        assert stranger.post(f"/execucoes/{run.id}/{way}", data={"confirmed": "yes"}).status_code == 404
    assert fresh(run).decision is None


@pytest.mark.usefixtures("alive")
def test_the_panel_the_header_and_the_history_call_for_a_decision(ana: Browser, run: Run) -> None:
    panel, history = ana.get("/"), ana.get("/historico")

    assert "Uma sincronização espera a sua aprovação" in words(panel)
    assert "Baixaria 3 dos 60 produtos da regra “Estoque geral” (5%), 1 deles a zero." in words(panel)
    assert f'href="/execucoes/{run.id}">Ver o que mudaria</a>' in panel.text
    assert "Espera a sua aprovação" in words(history)
    assert "Baixaria 3 dos 60 produtos da regra" in words(history)
    details = ana.partial(f"/historico/{run.id}/detalhes")
    assert "Baixaria 3 dos 60 produtos da regra" in words(details)
    assert "Ver o que ela baixaria" in words(details)


def test_the_history_tells_who_decided(ana: Browser, run: Run) -> None:
    ana.post(f"/execucoes/{run.id}/descartar")

    assert "(5%), 1 deles a zero. Descartado por Ana Souza em" in words(ana.get("/historico"))
    assert "Uma sincronização espera" not in words(ana.get("/"))
