"""Revisão as people see it: what nobody can tell, both readings of it, and the answer of somebody who looked it up."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from html import unescape

import pytest
from flask import Flask
from werkzeug.test import TestResponse

import queues
from clock import utcnow
from models import Cell, GroupDeposit, Pool, StockGroup, StockWrite, User
from services import review, writes
from tests.conftest import Browser
from tests.factories import Shop, make_event, make_item, make_run, make_undecided, make_user, make_write

SKUS = ("CANECA-01", "BONE")


@pytest.fixture
def shop(app: Flask) -> Shop:
    return Shop(SKUS)


@pytest.fixture
def ana(shop: Shop, login: Callable[..., Browser]) -> Browser:
    return login(shop.owner)


@pytest.fixture
def alive(app: Flask) -> None:
    queues.beat("worker", "w1")
    queues.beat("scheduler", "s1")


def stocked(shop: Shop, sku: str = "CANECA-01") -> dict[str, Cell]:
    """A pool of 9 on one shelf; both targets show it."""
    pool = shop.pool(sku, available=Decimal(9), settled_at=utcnow())
    return {
        "shelf": shop.cell(pool, "matriz", "Geral", 9),
        "home": shop.cell(pool, "matriz", "Loja virtual", 9),
        "shop": shop.cell(pool, "filial", "Loja virtual", 9),
    }


@pytest.fixture
def write(shop: Shop) -> StockWrite:
    """The Filial was to be raised from 9 to 12; 10 were found."""
    return make_undecided(stocked(shop)["shop"], 3, 10)


def words(answer: TestResponse) -> str:
    text = re.sub(r"<[^>]+>", " ", answer.get_data(as_text=True))
    return " ".join(unescape(text).replace("\u00a0", " ").split())


def fresh(write: StockWrite) -> StockWrite:
    return StockWrite.get_by_id(write.id)


def answer(browser: Browser, write: StockWrite, reading: str, confirmed: str = "yes") -> TestResponse:
    return browser.post(f"/revisao/{write.id}", data={"reading": reading, "confirmed": confirmed})


def test_nothing_to_review_is_said_and_explained(ana: Browser) -> None:
    page = ana.get("/revisao")

    assert "Nada a revisar" in page.text
    assert re.search(r'<a href="/revisao" aria-current="page">.*?Revisão', page.text, re.S)


def test_what_waits_is_listed_with_both_readings(ana: Browser, write: StockWrite) -> None:
    page = ana.get("/revisao")

    assert "1 escrita espera uma resposta" in words(page)
    assert "Filial · Loja virtual: escrevemos +3 sobre 9 e encontramos 10 em vez de 12" in words(page)
    assert "se valeu, outros moveram −2; se não valeu, +1 · por enquanto: valeu" in words(page)
    assert f'href="/revisao/{write.id}">Responder' in page.text


def test_both_readings_stand_side_by_side_with_what_they_mean(ana: Browser, write: StockWrite) -> None:
    page = ana.get(f"/revisao/{write.id}")
    text = words(page)

    assert "Escrevemos +3 , para levar o saldo de 9 a 12 (atualização do compartilhado)" in text
    assert "Se valeu e ninguém mais mexeu, haveria 12; se não valeu, 9." in text
    assert "Se valeu Vale por enquanto Saldo antes 9 Nossa escrita +3 Outros moveram −2 Saldo encontrado 10" in text
    assert "É a leitura que vale agora: confirmá-la não muda nenhum saldo. O total é 9." in text
    assert "Das duas, é a do menor total" in text
    assert "Se não valeu Saldo antes 9 Nossa escrita 0 Outros moveram +1 Saldo encontrado 10" in text
    assert "O total sobe 3: de 9 para 12." in text
    assert "Matriz · Loja virtual passa a mostrar 9 passou a 12" in text
    assert text.count("Vale por enquanto") == 1
    assert 'href="/estoque/CANECA-01"' in page.text


def test_it_says_where_to_look_it_up_in_bling(ana: Browser, shop: Shop, write: StockWrite) -> None:
    told = {
        "sku": "CANECA-01",
        "product_bling_id": shop.products["filial", "CANECA-01"].bling_id,
        "deposit_bling_id": shop.deposits["filial", "Loja virtual"].bling_id,
        "quantity": Decimal(-2),
        "physical_after": Decimal(10),
    }
    make_event(shop.accounts["filial"], **told)
    make_event(shop.accounts["filial"], state="echo", **told | {"quantity": None, "physical_after": None})
    make_event(shop.accounts["filial"], received_at=write.planned_at - timedelta(hours=1), **told)
    make_event(shop.accounts["filial"], **told | {"deposit_bling_id": 1})
    other = make_write(Cell.get_by_id(write.cell_id), 5)

    page = ana.get(f"/revisao/{write.id}")
    text = words(page)

    assert "uma entrada de 3 com a observação “EstoqueUni: saldo da regra Estoque geral”" in text
    assert f"https://www.bling.com.br/produtos.php#edit/{told['product_bling_id']}" in page.text
    assert text.count("aviso do Bling: estoque alterado −2 saldo 10") == 1
    assert "aviso do Bling: uma escrita nossa" in text
    assert f"outra escrita nossa, confirmada +5 saldo 14 lançamento {other.bling_id}: não é este" in text


def test_a_write_that_was_to_lower_is_taken_as_not_applied(ana: Browser, shop: Shop) -> None:
    write = make_undecided(stocked(shop)["shelf"], -2, 6, purpose="write_back")

    text = words(ana.get(f"/revisao/{write.id}"))

    assert "(principal da regra Estoque geral )" in text
    assert "Nossa escrita −2 Outros moveram −1" in text
    assert "Se não valeu Vale por enquanto Saldo antes 9 Nossa escrita 0 Outros moveram −3" in text
    assert "uma saída de 2" in text
    assert "O total sobe 2: de 9 para 11." in text


@pytest.mark.parametrize(
    ("reading", "state", "owed", "said"),
    [("applied", "confirmed", 0, "valeu"), ("not_applied", "cancelled", 3, "não valeu")],
)
def test_an_answer_is_kept_with_who_gave_it_and_the_books_follow(
    ana: Browser, shop: Shop, write: StockWrite, reading: str, state: str, owed: int, said: str
) -> None:
    given = answer(ana, write, reading)

    assert (given.status_code, given.location) == (303, "/revisao")
    decided = fresh(write)
    assert (decided.state, decided.evidence, decided.decided_by) == (state, "person", shop.owner)
    assert (Pool.get().owed, Cell.get_by_id(write.cell_id).accounted) == (owed, 9)
    text = words(ana.get("/revisao"))
    assert f"Anotado: a escrita em Filial · Loja virtual {said}. O produto CANECA-01 está sendo conferido." in text
    assert "Nada a revisar" in text
    page = words(ana.get(f"/revisao/{write.id}"))
    assert re.search(rf"Ana Souza respondeu em \S+ \S+: a escrita {said}\.", page)
    assert "É a que vale" in page


def test_of_two_answers_the_first_counts(ana: Browser, write: StockWrite) -> None:
    answer(ana, write, "not_applied")

    answer(ana, write, "applied")

    assert (fresh(write).state, Pool.get().owed) == ("cancelled", 3)
    assert "Nada foi alterado. Ana Souza respondeu em" in words(ana.get(f"/revisao/{write.id}"))


@pytest.mark.parametrize("reading", ["applied", "not_applied"])
def test_only_who_ticked_that_it_was_looked_up_may_answer(ana: Browser, write: StockWrite, reading: str) -> None:
    given = answer(ana, write, reading, confirmed="")

    assert given.status_code == 422
    assert words(given).count("Marque que conferiu no Bling antes de responder.") == 1
    assert f'aria-describedby="{reading}-erro"' in given.text
    assert fresh(write).evidence == "smaller_pool"


def test_an_answer_that_is_none_is_refused(ana: Browser, write: StockWrite) -> None:
    assert answer(ana, write, "maybe").status_code == 400
    assert fresh(write).evidence == "smaller_pool"


def by_a_person(write: StockWrite) -> None:
    bruno = make_user(write.organization, name="Bruno Lima")
    StockWrite.update(evidence="person", state="cancelled", decided_by=bruno.id, decided_at=utcnow()).where(
        StockWrite.id == write.id
    ).execute()


def by_nobody_any_more(write: StockWrite) -> None:
    StockWrite.update(evidence="person", decided_at=utcnow()).where(StockWrite.id == write.id).execute()


def by_an_event(write: StockWrite) -> None:
    StockWrite.update(evidence="event").where(StockWrite.id == write.id).execute()


def by_an_answer(write: StockWrite) -> None:
    StockWrite.update(evidence="answer").where(StockWrite.id == write.id).execute()


def by_leaving(write: StockWrite) -> None:
    Cell.update(left_at=utcnow()).where(Cell.id == write.cell_id).execute()


def by_coming_back(write: StockWrite) -> None:
    Cell.update(baseline_at=write.ended_at + timedelta(seconds=5)).where(Cell.id == write.cell_id).execute()


def by_switching_off(write: StockWrite) -> None:
    StockGroup.update(is_active=0).execute()


MEANWHILE = [
    (by_a_person, "Bruno Lima respondeu em"),
    (by_nobody_any_more, "Uma pessoa respondeu em"),
    (by_an_event, "Um aviso do Bling que chegou depois mostrou que a escrita valeu."),
    (by_an_answer, "Já se sabe que a escrita valeu."),
    (by_leaving, "saiu da regra: a resposta já não muda nenhum saldo."),
    (by_coming_back, "Vale o saldo encontrado na volta"),
    (by_switching_off, "A regra está desativada."),
]


@pytest.mark.parametrize(("happen", "said"), MEANWHILE)
def test_what_was_decided_meanwhile_is_said_and_nothing_changes(
    ana: Browser, write: StockWrite, happen: Callable[[StockWrite], None], said: str
) -> None:
    shown = ana.partial(f"/revisao/{write.id}/vivo")
    assert ana.partial(f"/revisao/{write.id}/vivo", **{"HX-PTag": shown.headers["HX-PTag"]}).status_code == 304
    happen(write)
    before = fresh(write).__data__

    given = answer(ana, write, "applied")

    assert (given.status_code, given.location) == (303, f"/revisao/{write.id}")
    assert fresh(write).__data__ == before
    assert Pool.get().owed == 0
    page = ana.get(f"/revisao/{write.id}")
    assert "Nada foi alterado." in words(page)
    assert words(page).count(said) == 2, "in the notice and on the page"
    assert "<form" not in page.text.partition('id="leituras"')[2].partition("</main>")[0]
    live = ana.partial(f"/revisao/{write.id}/vivo", **{"HX-PTag": shown.headers["HX-PTag"]})
    assert said in words(live)
    assert "hx-trigger" not in live.text
    assert "Nada a revisar" in words(ana.get("/revisao"))
    assert review.count_waiting(write.organization) == 0
    assert review.skus_waiting(write.organization) == []


def test_an_answer_that_came_a_moment_too_late_changes_nothing(
    ana: Browser, write: StockWrite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(write: StockWrite, is_applied: bool, user: User | None) -> bool:
        by_a_person(write)
        return False

    monkeypatch.setattr(writes, "settle_undecided", too_late)

    given = answer(ana, write, "applied")

    assert given.location == f"/revisao/{write.id}"
    assert "Nada foi alterado. Bruno Lima respondeu em" in words(ana.get(f"/revisao/{write.id}"))


def test_a_reader_sees_it_and_cannot_answer(shop: Shop, write: StockWrite, login: Callable[..., Browser]) -> None:
    reader = login(make_user(shop.organization, role="reader"))

    page = reader.get(f"/revisao/{write.id}")

    assert "Quem pode sincronizar responde aqui." in words(page)
    assert "Marque" not in page.text
    assert 'name="reading"' not in page.text
    assert ">Ver<span" in reader.get("/revisao").text
    assert answer(reader, write, "applied").status_code == 403
    assert fresh(write).evidence == "smaller_pool"


def test_what_was_never_in_doubt_has_no_such_page(ana: Browser, shop: Shop) -> None:
    cell = stocked(shop)["shop"]

    for write in (make_write(cell, 1), make_write(cell, 1, evidence="chain"), make_write(cell, 1, state="unknown")):
        assert ana.get(f"/revisao/{write.id}").status_code == 404
    for nobodys in ("0" * 32, "x", "%00", "vivo2"):
        assert ana.get(f"/revisao/{nobodys}").status_code == 404
    assert ana.get("/revisao?sku=%00&antes=%00").status_code == 200


def test_many_come_in_pages_the_newest_first(ana: Browser, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(review.list_waiting, "__defaults__", (None, None, 3))
    cells = stocked(shop)
    made = [make_undecided(cells["shop"], number, 20).id for number in range(1, 8)]

    seen: list[str] = []
    path: str | None = "/revisao"
    while path is not None:
        html = ana.get(path).text
        assert "7\u00a0escritas esperam uma resposta" in html
        assert ('data-poll hx-get="/revisao/vivo"' in html) == (path == "/revisao")
        seen += re.findall(r'id="escrita-([0-9a-f]{32})"', html)
        older = re.search(r'href="(/revisao\?antes=[0-9a-f]{32})"', html)
        path = older[1] if older else None

    assert seen == made[::-1]
    assert "Não há nada mais antigo" in ana.get("/revisao?antes=" + "0" * 32).text


def test_one_sku_alone(ana: Browser, shop: Shop, write: StockWrite) -> None:
    make_undecided(stocked(shop, "BONE")["shop"], 1, 20)

    page = ana.get("/revisao?sku=BONE")

    assert "1 escrita espera uma resposta" in words(page)
    assert "CANECA-01" not in page.text
    assert "Nada deste SKU espera uma resposta" in ana.get("/revisao?sku=caneca-01").text


def test_the_list_is_sent_again_when_it_has_changed(ana: Browser, write: StockWrite) -> None:
    first = ana.partial("/revisao/vivo")
    assert ana.partial("/revisao/vivo", **{"HX-PTag": first.headers["HX-PTag"]}).status_code == 304

    by_an_event(write)

    assert "Nada a revisar" in ana.partial("/revisao/vivo", **{"HX-PTag": first.headers["HX-PTag"]}).text


def test_a_pool_that_is_not_known_is_not_guessed(ana: Browser, write: StockWrite) -> None:
    Pool.update(available=None).execute()

    text = words(ana.get(f"/revisao/{write.id}"))

    assert "O total sobe 3." in text
    assert "passa a mostrar" not in text
    assert "confirmá-la não muda nenhum saldo. Das duas" in text


def test_where_the_rule_overwrites_both_readings_are_worth_the_same(ana: Browser, write: StockWrite) -> None:
    StockGroup.update(target_movements="overwrite").execute()

    text = words(ana.get(f"/revisao/{write.id}"))

    assert "O total é o mesmo nas duas leituras: a resposta só fica no histórico." in text
    assert "o que muda é quanto os outros moveram." in text
    assert "Das duas" not in text
    assert "Filial · Loja virtual mostra 9" in text


def test_a_deposit_that_is_out_of_the_rule_has_the_role_of_its_write(shop: Shop) -> None:
    rows = stocked(shop)
    made = [make_undecided(rows["shop"], 3, 10), make_undecided(rows["shelf"], -1, 7, purpose="write_back")]
    GroupDeposit.delete().execute()

    found = [review.find_review(shop.organization, write.id) for write in made]

    assert [one.role for one in found if one is not None] == ["target", "source"]


def test_an_undo_is_called_by_its_name(ana: Browser, shop: Shop) -> None:
    item = make_item(make_run(shop.organization, "manual", undoes="{}"), "CANECA-01", status="review")
    write = make_undecided(stocked(shop)["shelf"], 2, 10, item=item)

    text = words(ana.get(f"/revisao/{write.id}"))

    assert "(movimento oposto, de um desfazer)" in text
    assert "O total é o mesmo nas duas leituras" in text


def test_a_balance_that_looks_clear_is_no_proof(ana: Browser, write: StockWrite) -> None:
    assert "Não há nem um nem outro" in words(ana.get(f"/revisao/{write.id}"))

    StockWrite.update(found=Decimal(12)).execute()

    assert "Há um dos dois, mas nem por isso é certo" in words(ana.get(f"/revisao/{write.id}"))


@pytest.mark.usefixtures("alive")
def test_the_panel_and_every_page_lead_there(ana: Browser, shop: Shop, write: StockWrite) -> None:
    shop.accounts["matriz"].last_event_at = utcnow()
    shop.accounts["matriz"].save()

    page = ana.get("/")

    assert "1 escrita espera uma resposta sua" in words(page)
    assert 'href="/revisao">Responder em Revisão</a>' in page.text
    assert "Espera a sua resposta" in words(page)
    shop.held_run(("BONE", 12, 4))
    assert "1 escrita espera uma resposta. Responder em Revisão" in words(ana.get("/"))


def test_the_history_and_the_product_lead_there(ana: Browser, shop: Shop) -> None:
    run = make_run(shop.organization, "manual", status="partial")
    item = make_item(run, "CANECA-01", status="review", error="unknown_write")
    write = make_undecided(stocked(shop)["shop"], 3, 10, item=item)

    assert 'href="/revisao?sku=CANECA-01">Ver em Revisão</a>' in ana.get(f"/execucoes/{run.id}").text
    page = ana.get("/estoque/CANECA-01")
    assert f'href="/revisao/{write.id}">Ver em Revisão</a>' in page.text
    assert "Resposta perdida; por enquanto conta como se valeu, que dá o menor total." in words(page)
    assert "1 escrita espera uma resposta: o Bling não disse se a aplicou" in words(page)


def test_it_shows_nothing_of_others(write: StockWrite, login: Callable[..., Browser]) -> None:
    stranger = login()

    assert "Nada a revisar" in stranger.get("/revisao").text
    for path in (f"/revisao/{write.id}", f"/revisao/{write.id}/vivo"):
        assert stranger.get(path).status_code == 404
    assert answer(stranger, write, "applied").status_code == 404
    assert fresh(write).evidence == "smaller_pool"
