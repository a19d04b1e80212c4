"""The SKU doctor: every cause is found, with the products it is about, and nothing that is well."""

from __future__ import annotations

from datetime import timedelta

import pytest
from peewee import Database

from clock import utcnow
from config import Config
from models import Account, Deposit, DirtySku, Product, SkuOverride, StockGroup, StockWrite
from sandbox import Bling
from services import doctor, labels
from services.catalog import refresh_account
from services.cures import CURES
from services.doctor import Finding, examine, examine_cause
from services.doctor_causes import CAUSES, Filters
from tests.factories import Shop, make_account, make_deposit, make_group, make_product, make_write
from tests.stage import SHELF, SHOP, staged


@pytest.fixture
def shop(database: Database) -> Shop:
    """Matriz is source and target, Filial and Avulsa are targets; three SKUs, all well in all three."""
    shop = Shop()
    make_group(
        shop.organization,
        sources=[shop.deposits["matriz", "Geral"]],
        targets=[shop.deposits["avulsa", "Loja virtual"]],
        name="Segunda regra",
    )
    return shop


def found(shop: Shop, **filters: str) -> dict[str, Finding]:
    return {finding.code: finding for finding in examine(shop.organization, Filters(**filters))}


def titles(finding: Finding) -> list[str]:
    return [entry.title for entry in finding.entries]


def places(finding: Finding) -> list[list[tuple[str, int]]]:
    return [[(line.account.key, line.product.bling_id) for line in entry.lines] for entry in finding.entries]


def everywhere(shop: Shop, sku: str, *accounts: str, **values: object) -> list[Product]:
    return [make_product(shop.accounts[key], sku, **values) for key in accounts or ("matriz", "filial", "avulsa")]


def test_a_shop_that_is_well_has_nothing_to_mend(shop: Shop) -> None:
    assert found(shop) == {}
    assert examine_cause(shop.organization, Filters(cause="duplicate"), None).entries == ()


def test_every_cause_has_its_words() -> None:
    for code in CAUSES:
        assert labels.PROBLEMS[code].text
        assert CURES[code].effect
        assert CURES[code].steps


def test_a_sku_that_two_products_of_one_account_carry(shop: Shop) -> None:
    everywhere(shop, "DUPLO")
    second = make_product(shop.accounts["filial"], "DUPLO")
    make_product(shop.accounts["filial"], "DUPLO", situation="inactive")
    make_product(shop.accounts["avulsa"], "DUPLO", situation="deleted")

    finding = found(shop)["duplicate"]

    assert (finding.count, titles(finding), finding.is_to_do) == (1, ["DUPLO"], True)
    assert [account for account, _ in places(finding)[0]] == ["filial", "filial"]
    assert second.bling_id in {bling_id for _, bling_id in places(finding)[0]}
    assert finding.entries[0].lines[1].url == f"https://www.bling.com.br/produtos.php#edit/{second.bling_id}"


@pytest.mark.parametrize("other", ["a 1", "A.1", "0A-1", "A\u20131", "a-1"])
def test_skus_that_look_alike_in_two_accounts_are_suspects(shop: Shop, other: str) -> None:
    everywhere(shop, "A-1", "matriz", "filial")
    everywhere(shop, other, "avulsa")

    finding = found(shop)["look_alike"]

    assert (finding.count, finding.is_to_do) == (1, True)
    assert {line.product.sku for line in finding.entries[0].lines} == {"A-1", other}
    assert finding.entries[0].note.startswith("Mudam: ")


def test_an_account_that_has_both_tells_them_apart(shop: Shop) -> None:
    everywhere(shop, "A-1", "matriz", "filial")
    everywhere(shop, "a-1", "filial")
    everywhere(shop, "B-1", "matriz")
    everywhere(shop, "b-1", "filial", situation="deleted")
    everywhere(shop, "C-1", "matriz")
    everywhere(shop, "c-1", "filial", format="parent")

    assert "look_alike" not in found(shop)


def test_products_without_a_sku_are_listed_one_by_one(shop: Shop) -> None:
    mug, cap = (make_product(shop.accounts["filial"], "", name=name) for name in ("Caneca", ""))
    make_product(shop.accounts["filial"], "", name="Pai", format="parent")
    make_product(shop.accounts["filial"], "", name="Velha", situation="inactive")

    finding = found(shop)["empty_sku"]

    assert (finding.count, titles(finding)) == (2, ["Caneca", "Produto sem nome"])
    assert places(finding) == [[("filial", mug.bling_id)], [("filial", cap.bling_id)]]


def test_what_is_inactive_in_one_account_and_sold_in_another(shop: Shop) -> None:
    everywhere(shop, "PARADO", "matriz", "filial")
    everywhere(shop, "PARADO", "avulsa", situation="inactive")
    everywhere(shop, "FORA-DE-LINHA", situation="inactive")
    everywhere(shop, "TROCADO", "matriz", "filial", "avulsa")
    everywhere(shop, "TROCADO", "avulsa", situation="inactive")

    finding = found(shop)["inactive"]

    assert titles(finding) == ["PARADO"]
    assert [account for account, _ in places(finding)[0]] == ["avulsa"]


def test_kits_and_parents_are_left_out_by_their_nature(shop: Shop) -> None:
    everywhere(shop, "KIT", "matriz", "filial", format="composition")
    everywhere(shop, "PAI", format="parent")

    findings = found(shop)

    assert (titles(findings["composition"]), titles(findings["parent"])) == (["KIT"], ["PAI"])
    assert len(places(findings["composition"])[0]) == 2
    assert not findings["composition"].is_to_do


def test_skus_that_meet_no_source_no_target_or_no_other_account(shop: Shop) -> None:
    everywhere(shop, "SEM-FONTE", "filial", "avulsa")
    everywhere(shop, "SO-MATRIZ", "matriz")
    lonely = make_account(shop.organization, "deposito")
    store = make_deposit(lonely)
    make_group(shop.organization, sources=[store], targets=[shop.deposits["filial", "Geral"]])
    make_product(lonely, "SEM-VITRINE")

    findings = found(shop)

    assert "SEM-FONTE" in titles(findings["no_source"])
    assert titles(findings["no_target"]) == ["SEM-VITRINE", "SO-MATRIZ"]
    assert titles(findings["alone"]) == ["SO-MATRIZ"]


def test_a_mirror_needs_no_source(database: Database) -> None:
    shop = Shop(())
    StockGroup.delete().execute()
    make_group(shop.organization, targets=[shop.deposits[key, "Geral"] for key in ("matriz", "filial")], mode="mirror")
    everywhere(shop, "DUAS", "matriz", "filial")
    everywhere(shop, "UMA", "filial")
    everywhere(shop, "FORA", "avulsa")

    assert {code: titles(finding) for code, finding in found(shop).items()} == {"alone": ["UMA"]}


def test_refused_and_unanswered_writes_and_what_is_owed(shop: Shop) -> None:
    pool = shop.pool("CANECA-01", owed=-2)
    cell = shop.cell(pool, "filial", "Loja virtual", problem="rejected")
    make_write(cell, -3, state="rejected", error="O depósito está inativo.")
    make_write(shop.cell(shop.pool("CAM-AZ-P"), "matriz", "Geral"), 1, state="unknown")
    gone = shop.cell(shop.pool("CAM-AZ-M"), "matriz", "Geral", left_at=utcnow())
    make_write(gone, -1, state="rejected", purpose="write_back", evidence="left", ended_at=utcnow())
    old = utcnow() - timedelta(days=40)
    make_write(gone, -1, state="rejected", purpose="write_back", evidence="left", ended_at=old)

    findings = found(shop)

    assert {code: titles(finding) for code, finding in findings.items()} == {
        "rejected": ["CANECA-01"],
        "unknown_write": ["CAM-AZ-P"],
        "left_write": ["CAM-AZ-M"],
        "owed": ["CANECA-01"],
    }
    assert findings["rejected"].entries[0].note == "Filial · Loja virtual: O depósito está inativo."
    assert "2" in findings["owed"].entries[0].note

    DirtySku.create(
        organization=shop.organization,
        sku="CANECA-01",
        version=1,
        priority=0,
        needs_look=True,
        marked_at=utcnow(),
        due_at=utcnow(),
    )
    assert "owed" not in found(shop)


def test_books_that_are_over_have_no_problems(shop: Shop) -> None:
    shop.cell(shop.pool("CANECA-01"), "filial", "Loja virtual", problem="rejected", left_at=utcnow())

    assert found(shop) == {}


def test_what_the_merchant_excepted_and_deposits_that_are_switched_off(shop: Shop) -> None:
    for deposit in (None, shop.deposits["filial", "Loja virtual"]):
        SkuOverride.create(
            organization=shop.organization, group=shop.group, sku="CANECA-01", deposit=deposit, is_ignored=True
        )
    Deposit.update(is_active=False).where(
        Deposit.name == "Loja virtual", Deposit.account == shop.accounts["filial"]
    ).execute()
    Deposit.update(is_active=False).where(Deposit.name == "Geral", Deposit.account == shop.accounts["avulsa"]).execute()
    shop.cell(shop.pool("CANECA-01"), "filial", "Loja virtual")

    findings = found(shop)

    assert findings["ignored"].entries[0].note == "Estoque geral: em tudo; Estoque geral: só em Filial · Loja virtual"
    assert titles(findings["deposit_off"]) == ["Filial · Loja virtual"]
    assert findings["deposit_off"].entries[0].note == "1 produto está parado neste depósito."


def test_filters_leave_one_account_one_rule_or_a_text(shop: Shop) -> None:
    for key, sku in (("filial", "DUPLO-F"), ("avulsa", "DUPLO-A")):
        everywhere(shop, sku)
        everywhere(shop, sku, key)
    everywhere(shop, "X-1", "matriz")
    everywhere(shop, "x1", "filial", name="Chinelo de dedo")

    assert titles(found(shop, account="filial")["duplicate"]) == ["DUPLO-F"]
    assert "look_alike" not in found(shop, account="avulsa")
    assert found(shop, account="matriz")["look_alike"].count == 1
    assert found(shop, rule=shop.group.id)["duplicate"].count == 1
    assert set(found(shop, text="chinelo")) <= {"look_alike", "no_source", "no_target"}
    assert found(shop, text="duplo-f")["duplicate"].count == 1
    assert found(shop, text="%") == {}
    assert found(shop, account="ninguém") == {}


def test_a_cause_is_paged_by_its_keys(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PAGE", 2)
    for number in range(5):
        everywhere(shop, f"KIT-{number}", format="composition")
    filters = Filters(cause="composition")
    seen: list[str] = []
    after: str | None = None
    for _ in range(3):
        finding = examine_cause(shop.organization, filters, after)
        assert finding.count == 5
        seen += titles(finding)
        after = finding.following

    assert (seen, after) == ([f"KIT-{number}" for number in range(5)], None)


def test_nothing_of_others_is_found(shop: Shop, database: Database) -> None:
    other = Shop()
    everywhere(other, "DUPLO", "filial", "filial")
    everywhere(other, "x-1", "filial")
    everywhere(shop, "X1", "filial", "matriz", "avulsa")
    make_write(other.cell(other.pool("CANECA-01"), "matriz", "Geral"), 1, state="unknown")

    assert found(shop) == {}


def test_before_there_is_a_rule_every_connected_account_is_examined(database: Database) -> None:
    shop = Shop(())
    StockGroup.delete().execute()
    everywhere(shop, "DUPLO", "avulsa", "avulsa")
    everywhere(shop, "X-1", "filial")
    everywhere(shop, "x-1", "matriz")
    assert set(found(shop)) == {"duplicate", "look_alike"}

    Account.update(state="disconnected").where(Account.id == shop.accounts["filial"].id).execute()
    assert set(found(shop)) == {"duplicate"}


def test_a_catalogue_of_before_learns_what_its_skus_look_like(database: Database, config: Config, bling: Bling) -> None:
    for account, sku in (("matriz", "00123"), ("filial", "123")):
        bling.add_product(account, sku, stock={SHELF: 1, SHOP: 0})
    with staged(config, bling, {}, accounts=("matriz", "filial")) as stage:
        Product.update(sku_key=None).execute()
        assert not examine(stage.organization, Filters(cause=""))

        for account in stage.accounts.values():
            refresh_account(account)

        assert [finding.code for finding in examine(stage.organization, Filters())] == ["look_alike"]
        assert StockWrite.select().count() == 0
