"""Regras: the list, the form and its faults, the plan, consent, activation, and who may do what."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

import config as configuration
from clock import utcnow
from core.group_draft import DepositPlace
from devserver.redis_server import RedisProcess
from models import Account, Cell, Deposit, Run, SkuOverride, StockGroup, StockWrite
from sandbox import Bling, Server
from services import groups
from services.catalog import refresh_account
from services.group_form import GroupForm
from services.group_pages import form_for
from tests.conftest import Browser
from tests.factories import Shop, make_group, make_organization, make_user, make_write
from tests.services.merchants import connected

Login = Callable[..., Browser]


class Stage:
    """A merchant on the sandbox: Matriz has the stock, Filial's web shop shows it; somebody is signed in."""

    def __init__(self, bling: Bling, login: Login, role: str = "owner") -> None:
        bling.add_product("matriz", "CAN-1", "Caneca branca", stock={"Geral": "10"})
        bling.add_product("filial", "CAN-1", "Caneca branca", stock={"Loja virtual": "4"})
        bling.add_product("matriz", "COPO", "Copo alto", stock={"Geral": "0"})
        bling.add_product("filial", "COPO", "Copo alto", stock={"Loja virtual": "5"})
        bling.add_product("matriz", "KIT", "Kit de canecas", components={"CAN-1": "2"})
        bling.add_product("filial", "KIT", "Kit de canecas", stock={"Loja virtual": "1"})
        self.bling = bling
        self.organization = make_organization()
        self.browser = login(make_user(self.organization, role=role))
        for key in ("matriz", "filial"):
            connected(bling, self.organization, key, read=True)

    def deposit(self, account: str, name: str) -> Deposit:
        return (
            Deposit.select()
            .join(Account)
            .where((Account.organization == self.organization) & (Account.key == account) & (Deposit.name == name))
            .get()
        )

    def form(self, **changes: str) -> dict[str, str]:
        shelf, shop = self.deposit("matriz", "Geral"), self.deposit("filial", "Loja virtual")
        plain = {
            "name": "Estoque geral",
            "mode": "sum",
            "balance": "virtual",
            "target_movements": "write_back",
            "min_skus": "20",
            "guard_percent": "30",
            f"role-{shelf.id}": "source",
            f"role-{shop.id}": "target",
        }
        named = {"shelf": shelf.id, "shop": shop.id}
        return plain | {re.sub(r"(?<=-)(shelf|shop)$", lambda m: named[m[1]], k): v for k, v in changes.items()}

    def draft(self, **changes: str) -> StockGroup:
        answer = self.browser.post("/regras/nova", data=self.form(**changes))
        assert answer.status_code == 303, answer.get_data(as_text=True)
        return StockGroup.get()

    def plan(self, group: StockGroup, query: str = "") -> str:
        return words(self.browser.partial(f"/regras/{group.id}/previa{query}"))

    def consent(self, group: StockGroup) -> str:
        page = self.browser.get(f"/regras/{group.id}/previa").get_data(as_text=True)
        found = re.search(r'name="consent" value="([^"]+)"', page)
        assert found
        return found[1]


@pytest.fixture
def stage(app: Flask, bling: Bling, bling_server: Server, login: Login) -> Stage:
    configuration.activate(
        replace(
            configuration.current(),
            bling_api_url=f"{bling_server.url}/Api/v3",
            bling_client_id="shared-id",
            bling_client_secret="shared-secret",
            bling_rate_per_second=1000,
        )
    )
    return Stage(bling, login)


def words(answer: TestResponse) -> str:
    """The page's text without its tags."""
    text = re.sub(r"<[^>]+>", " ", answer.get_data(as_text=True))
    return " ".join(unescape(text).replace("\u00a0", " ").split())


def fault_at(answer: TestResponse, field: str) -> str:
    """What the page says at this field."""
    found = re.search(rf'id="campo-{field}-erro">(.*?)</span>', answer.get_data(as_text=True), re.S)
    assert found, f"no fault at {field}"
    return unescape(re.sub(r"<[^>]+>", "", found[1])).strip()


def test_without_a_rule_the_page_says_how_to_begin(login: Login) -> None:
    answer = login().get("/regras")

    assert "Nenhuma regra ainda" in words(answer)
    assert "Criar a primeira regra" in words(answer)


def test_the_list_says_each_rule_in_a_sentence(login: Login) -> None:
    shop = Shop()
    shop.accounts["filial"].state = "reconnect"
    shop.accounts["filial"].save()
    make_group(shop.organization, [shop.deposits["avulsa", "Geral"]], name="Rascunho dela", is_active=False)

    text = words(login(shop.owner).get("/regras"))

    assert "Estoque geral Ativa Matriz · Geral aparece em Matriz · Loja virtual e Filial · Loja virtual" in text
    assert "A conta Filial está reconectar" in text
    assert "Rascunho dela Rascunho" in text


def test_nobody_sees_the_rules_of_another_merchant(login: Login) -> None:
    stranger = login()
    group = Shop().group

    assert "Estoque geral" not in words(stranger.get("/regras"))
    for method, path in (
        ("get", ""),
        ("get", "/editar"),
        ("get", "/previa"),
        ("post", "/editar"),
        ("post", "/ativar"),
        ("post", "/desativar"),
        ("post", "/excluir"),
    ):
        assert getattr(stranger, method)(f"/regras/{group.id}{path}").status_code == 404
    assert StockGroup.get().is_active


def test_a_reader_looks_and_changes_nothing(login: Login) -> None:
    shop = Shop()
    reader = login(make_user(shop.organization, role="reader"))

    page = reader.get(f"/regras/{shop.group.id}")

    assert page.status_code == 200
    assert "Desativar regra" not in words(page)
    assert "Nova regra" not in words(reader.get("/regras"))
    for path in ("/nova", f"/{shop.group.id}/editar"):
        assert reader.get(f"/regras{path}").status_code == 403
    for path in ("/nova", f"/{shop.group.id}/editar", f"/{shop.group.id}/desativar", f"/{shop.group.id}/excluir"):
        assert reader.post(f"/regras{path}", data={}).status_code == 403
    assert StockGroup.get().is_active


def test_the_form_saves_a_draft(stage: Stage) -> None:
    stage.draft(**{"reserve-shop": "1.234,5", "percent-shop": "50%", "max-shop": "1.000", "order-shelf": "1"})

    group = StockGroup.get()
    assert (group.key, group.name, group.is_active) == ("estoque-geral", "Estoque geral", False)
    target = next(member for member in group.members if member.role == "target")
    assert (str(target.reserve), str(target.percent), str(target.max), target.stop_at) == ("1234.5", "50", "1000", None)
    page = words(stage.browser.get(f"/regras/{group.id}"))
    assert "deixa 1.234,5 de reserva, mostra 50%, no máximo 1.000" in page
    assert not Run.select().exists()


def test_a_second_rule_of_the_same_name_gets_a_key_of_its_own(stage: Stage) -> None:
    stage.draft()
    form = stage.form()
    shop = stage.deposit("filial", "Loja virtual")
    other = stage.deposit("filial", "Geral")
    form = {key: value for key, value in form.items() if key != f"role-{shop.id}"} | {f"role-{other.id}": "target"}

    assert stage.browser.post("/regras/nova", data=form).status_code == 303

    assert sorted(group.key for group in StockGroup.select()) == ["estoque-geral", "estoque-geral-2"]


@pytest.mark.parametrize(
    ("changes", "field", "fault"),
    [
        ({"name": " "}, "name", "Obrigatório e não foi informado."),
        ({"mode": "x"}, "mode", "Deve ser “sum” ou “mirror”, não “x”."),
        ({"percent-shop": "130"}, "percent-shop", "Deve estar entre 0 e 100, não “130”."),
        ({"reserve-shop": "-1"}, "reserve-shop", "Não pode ser negativo: “-1”."),
        ({"max-shop": "muito"}, "max-shop", "Deve ser um número, não “muito”."),
        ({"min_skus": "x"}, "min_skus", "Deve ser um número inteiro, não um texto."),
        ({"guard_percent": "101"}, "guard_percent", "Deve estar entre 0 e 100, não “101”."),
        ({"role-shop": ""}, "targets", "Escolha pelo menos um depósito compartilhado."),
        ({"role-shelf": ""}, "sources", "Escolha pelo menos um depósito principal."),
        ({"mode": "mirror"}, "seed", "Obrigatório no modo espelho: o depósito de onde sai o saldo inicial."),
    ],
)
def test_a_fault_stands_at_its_field_and_nothing_is_saved(
    stage: Stage, changes: dict[str, str], field: str, fault: str
) -> None:
    form = stage.form(**changes)

    answer = stage.browser.post("/regras/nova", data=form)

    assert answer.status_code == 422
    ids = {"shop": stage.deposit("filial", "Loja virtual").id}
    assert fault_at(answer, re.sub(r"(?<=-)shop$", lambda m: ids["shop"], field)) == fault
    assert 'value="Estoque geral"' in answer.get_data(as_text=True) or "name" in changes
    assert not StockGroup.select().exists()


def test_a_deposit_of_two_rules_is_a_fault_at_that_deposit(stage: Stage) -> None:
    stage.draft()

    answer = stage.browser.post("/regras/nova", data=stage.form(name="Outra"))

    shop = stage.deposit("filial", "Loja virtual")
    assert fault_at(answer, f"role-{shop.id}") == "Este depósito já é compartilhado na regra “Estoque geral”."


def test_a_deposit_of_another_merchant_cannot_be_chosen(stage: Stage) -> None:
    theirs = Shop().deposits["matriz", "Geral"]

    answer = stage.browser.post("/regras/nova", data={**stage.form(), f"role-{theirs.id}": "source"})

    assert answer.status_code == 303
    mine = StockGroup.get(StockGroup.organization == stage.organization)
    assert theirs.id not in [member.deposit_id for member in mine.members]


def test_a_mirror_is_saved_with_its_seed(stage: Stage) -> None:
    shelf = stage.deposit("matriz", "Geral")

    group = stage.draft(mode="mirror", seed=shelf.id, **{"role-shelf": "target"})

    assert group.seed_deposit_id == shelf.id
    assert "mostram o mesmo estoque, que começa pelo saldo de Matriz · Geral" in words(stage.browser.get("/regras"))


def test_the_form_of_a_rule_says_what_the_rule_says(stage: Stage) -> None:
    group = stage.draft(**{"reserve-shop": "1.234,5", "percent-shop": "33,5", "order-shelf": "1"})
    SkuOverride.create(organization=stage.organization, group=group, sku="CAN-1", max=3)
    draft = groups.draft_of(group)

    page = stage.browser.get(f"/regras/{group.id}/editar").get_data(as_text=True)
    answer = stage.browser.post(f"/regras/{group.id}/editar", data=fields_of(page))

    assert answer.status_code == 303
    assert groups.draft_of(group) == draft


def fields_of(page: str) -> dict[str, str]:
    """What a browser would send of the form in the middle of the page."""
    form = page[page.index('class="form rule-form"') :]
    form = form[: form.index("</form>")]
    typed = {}
    for tag in re.findall(r"<input[^>]*>", form):
        given = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        if given.get("type") not in ("radio", "checkbox") or tag.endswith(" checked>") or " checked " in tag:
            typed[given["name"]] = unescape(given.get("value", ""))
    return typed


def test_the_plan_tells_sku_by_sku_what_would_change(stage: Stage) -> None:
    group = stage.draft()

    text = stage.plan(group)

    assert "Produtos da regra 3 Mudam 2 Sobem 1 Baixam 1 Vão a zero 1 Ficam de fora 1" in text
    assert "Caneca branca CAN-1 10 Matriz · Geral 10 Filial · Loja virtual 4 passou a 10 +6" in text
    assert "Copo alto COPO 0 Matriz · Geral 0 Filial · Loja virtual 5 passou a 0 −5" in text
    assert "KIT" not in text
    assert "Composição (kit)" in stage.plan(group, "?mostrar=skipped")
    assert "CAN-1" not in stage.plan(group, "?mostrar=zeroed")
    assert "CAN-1" in stage.plan(group, "?mostrar=all&q=caneca+BR")
    assert not StockWrite.select().exists()
    assert not Cell.select().exists()


def test_filters_and_pages_share_one_reading(stage: Stage) -> None:
    group = stage.draft()
    stage.plan(group)
    asked = len(stage.bling.requests())

    stage.plan(group, "?mostrar=all&pagina=2")
    assert len(stage.bling.requests()) == asked

    stage.plan(group, "?nova=1")
    assert len(stage.bling.requests()) > asked


def test_a_plan_is_of_one_wording_of_the_rule(stage: Stage) -> None:
    group = stage.draft()
    assert "+6" in stage.plan(group)

    stage.browser.post(f"/regras/{group.id}/editar", data=stage.form(**{"max-shop": "7"}))

    assert "+3" in stage.plan(group)


def test_the_page_of_a_draft_loads_the_plan_by_itself_and_without_javascript_by_a_link(stage: Stage) -> None:
    group = stage.draft()

    page = stage.browser.get(f"/regras/{group.id}").get_data(as_text=True)

    assert f'hx-get="/regras/{group.id}/previa" hx-trigger="load"' in page
    assert f'<a class="btn" href="/regras/{group.id}/previa">' in page


def test_an_account_that_cannot_be_read_is_named(stage: Stage) -> None:
    group = stage.draft()
    stage.bling.revoke("filial")

    assert "Não foi possível ler todos os saldos da conta Filial agora." in stage.plan(group)


def test_a_rule_is_activated_only_by_who_saw_its_plan(stage: Stage) -> None:
    group = stage.draft()

    answer = stage.browser.post(f"/regras/{group.id}/ativar", data={"consent": "", "confirmed": "yes"})

    assert answer.status_code == 422
    assert "Veja antes o que a regra mudaria" in words(answer)
    assert not StockGroup.get().is_active


def test_a_plan_of_an_older_wording_is_no_consent(stage: Stage) -> None:
    group = stage.draft()
    consent = stage.consent(group)
    stage.browser.post(f"/regras/{group.id}/editar", data=stage.form(**{"max-shop": "7"}))

    answer = stage.browser.post(f"/regras/{group.id}/ativar", data={"consent": consent, "confirmed": "yes"})

    assert answer.status_code == 422
    assert "A regra mudou depois do plano que você viu." in words(answer)
    assert not StockGroup.get().is_active


def test_a_consent_made_up_by_hand_is_none(stage: Stage) -> None:
    group = stage.draft()
    places = [stage.deposit("matriz", "Loja virtual")], [stage.deposit("filial", "Geral")]
    others = stage.consent(make_group(stage.organization, *places, is_active=False, name="Outra"))

    for consent in (others, stage.consent(group)[:-1], "e30.aaaa.bbbb"):
        answer = stage.browser.post(f"/regras/{group.id}/ativar", data={"consent": consent, "confirmed": "yes"})
        assert answer.status_code == 422

    assert not StockGroup.get_by_id(group.id).is_active
    assert not Run.select().exists()


def test_an_old_plan_is_no_consent(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    group = stage.draft()
    consent = stage.consent(group)
    later = utcnow() + timedelta(minutes=31)
    monkeypatch.setattr("blueprints.groups.utcnow", lambda: later)

    answer = stage.browser.post(f"/regras/{group.id}/ativar", data={"consent": consent, "confirmed": "yes"})

    assert answer.status_code == 422
    assert "têm mais de 30 minutos" in words(answer)
    assert not StockGroup.get().is_active


def test_a_plan_whose_numbers_somebody_saw_change_is_no_consent(stage: Stage) -> None:
    """Ana saw one drop; meanwhile Bia had the balances read again and there are two."""
    group = stage.draft()
    consent = stage.consent(group)
    stage.bling.count("matriz", "CAN-1", "1", "Geral")
    stage.plan(group, "?nova=1")

    answer = stage.browser.post(f"/regras/{group.id}/ativar", data={"consent": consent, "confirmed": "yes"})

    assert answer.status_code == 422
    assert "Os saldos mudaram depois do plano que você viu." in words(answer)
    assert "Conferi: 2 produtos baixam e 1 vai a zero" in words(answer)
    assert not StockGroup.get().is_active


def test_a_plan_that_zeroes_something_wants_a_tick(stage: Stage) -> None:
    group = stage.draft()

    answer = stage.browser.post(f"/regras/{group.id}/ativar", data={"consent": stage.consent(group)})

    assert answer.status_code == 422
    assert "Marque que você conferiu as baixas antes de ativar." in words(answer)
    assert not StockGroup.get().is_active


def test_activation_takes_the_baseline_and_starts_the_first_synchronization(stage: Stage) -> None:
    group = stage.draft()

    answer = stage.browser.post(
        f"/regras/{group.id}/ativar", data={"consent": stage.consent(group), "confirmed": "yes"}
    )

    run = Run.get()
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/execucoes/{run.id}")
    group = StockGroup.get()
    assert (group.is_active, group.activated_by) == (True, stage.browser.user)
    assert Cell.select().count() == 4
    assert (run.reason, run.user) == ("activation", stage.browser.user)


def test_an_activation_that_cannot_be_done_says_why(stage: Stage) -> None:
    group = stage.draft()
    consent = stage.consent(group)
    Account.update(state="paused").where(Account.key == "filial").execute()

    answer = stage.browser.post(f"/regras/{group.id}/ativar", data={"consent": consent, "confirmed": "yes"})

    assert answer.status_code == 422
    assert "A conta Filial não está conectada." in words(answer)


def test_changing_an_active_rule_checks_everything_anew(stage: Stage) -> None:
    group = stage.draft()
    stage.browser.post(f"/regras/{group.id}/ativar", data={"consent": stage.consent(group), "confirmed": "yes"})
    Run.delete().execute()

    stage.browser.post(f"/regras/{group.id}/editar", data=stage.form(name="Outro nome"))
    assert not Run.select().exists()

    answer = stage.browser.post(f"/regras/{group.id}/editar", data=stage.form(**{"max-shop": "7"}))
    assert answer.status_code == 303
    assert (Run.get().reason, Run.get().scope) == ("rules", "all")
    assert StockGroup.get().is_active

    answer = stage.browser.post(
        f"/regras/{group.id}/editar",
        data=stage.form(mode="mirror", seed=stage.deposit("matriz", "Geral").id, **{"role-shelf": "target"}),
    )
    assert fault_at(answer, "mode").startswith("Desative a regra antes de mudar o modo")


def test_deactivating_takes_back_what_was_not_sent(login: Login) -> None:
    shop = Shop()
    pool = shop.pool(shop.skus[0])
    planned = make_write(shop.cell(pool, "filial", "Loja virtual"), 3, state="planned")
    sent = make_write(shop.cell(pool, "matriz", "Loja virtual"), 3, state="sending")

    answer = login(shop.owner).post(f"/regras/{shop.group.id}/desativar")

    assert answer.status_code == 303
    assert not StockGroup.get().is_active
    assert [StockWrite.get_by_id(write.id).state for write in (planned, sent)] == ["cancelled", "sending"]


def test_only_a_rule_that_is_off_is_deleted(login: Login) -> None:
    shop = Shop()
    browser = login(shop.owner)

    browser.post(f"/regras/{shop.group.id}/excluir")
    assert "Esta regra está ativa." in words(browser.get("/regras"))
    assert StockGroup.select().count() == 1

    browser.post(f"/regras/{shop.group.id}/desativar")
    answer = browser.post(f"/regras/{shop.group.id}/excluir")
    assert answer.headers["Location"] == "/regras"
    assert not StockGroup.select().exists()


def test_a_source_order_typed_twice_keeps_the_order_of_the_page() -> None:
    places = {DepositPlace("a", n): Deposit(id=f"d{n}") for n in (1, 2, 3)}
    typed: dict[str, Any] = {f"role-d{n}": "source" for n in (1, 2, 3)} | {
        "order-d1": "2",
        "order-d2": "1",
        "order-d3": "2",
    }

    document = GroupForm({"mode": "sum", **typed}).document(places, None, ())

    assert [place["deposit"] for place in document["write_back"]] == [2, 1, 3]


def test_the_form_offers_the_deposits_of_every_account(stage: Stage) -> None:
    stage.bling.add_deposit("filial", "Avariados")
    stage.bling.edit_deposit("filial", "Avariados", situation=0)
    refresh_account(Account.get(Account.key == "filial"))

    text = words(stage.browser.get("/regras/nova"))

    assert "Matriz Geral padrão Fora Principal Compartilhado" in text
    assert "Filial Geral padrão Fora Principal Compartilhado" in text
    assert "Avariados" not in text


def test_without_redis_each_look_at_a_plan_reads_anew(stage: Stage, own_redis: RedisProcess) -> None:
    group = stage.draft()
    own_redis.stop()

    assert "+6" in stage.plan(group)
    asked = len(stage.bling.requests())
    assert "+6" in stage.plan(group)
    assert len(stage.bling.requests()) > asked


def test_without_accounts_the_form_says_where_to_begin(login: Login) -> None:
    assert "Nenhum depósito para escolher" in words(login().get("/regras/nova"))


def test_a_rule_that_was_switched_off_says_what_had_not_reached_the_stock(login: Login) -> None:
    shop = Shop()
    shop.pool(shop.skus[0], owed=-3)
    shop.pool(shop.skus[1], owed=0)
    browser = login(shop.owner)
    assert "não haviam chegado" not in words(browser.get(f"/regras/{shop.group.id}"))

    page = words(browser.post(f"/regras/{shop.group.id}/desativar", follow_redirects=True))

    assert "1 produto tinha lançamentos que ainda não haviam chegado ao estoque" in page
    assert f"{shop.skus[0]} (\u22123). Ao ativar de novo" in page


def test_an_active_mirror_says_what_its_seed_is_for(login: Login) -> None:
    shop = Shop()
    seed = shop.deposits["matriz", "Loja virtual"]
    group = make_group(shop.organization, [], [seed], mode="mirror", seed_deposit=seed)
    StockGroup.delete().where(StockGroup.id == shop.group.id).execute()
    browser = login(shop.owner)

    assert "Vale para produtos que ainda não começaram" in words(browser.get(f"/regras/{group.id}/editar"))
    StockGroup.update(is_active=False).execute()
    assert "Ao ativar, o estoque de todos" in words(browser.get(f"/regras/{group.id}/editar"))


def test_saving_says_whether_a_check_was_started(login: Login) -> None:
    shop = Shop()
    browser = login(shop.owner)
    typed = dict(form_for(shop.group).typed)
    target = shop.deposits["filial", "Loja virtual"].id

    def saved(**changes: str) -> str:
        answer = browser.post(f"/regras/{shop.group.id}/editar", data=typed | changes, follow_redirects=True)
        assert answer.status_code == 200
        return words(answer)

    assert "conferência de todos" not in saved(name="Outro nome", min_skus="5", guard_percent="12,5")
    assert not Run.select().exists()
    assert "conferência de todos os produtos já começou" in saved(
        **{f"max-{target}": "1.000", "target_movements": "overwrite"}
    )
    assert Run.get().reason == "rules"
    group = StockGroup.get()
    assert (group.target_movements, group.guard_min_skus) == ("overwrite", 20)
