"""Setup files: faults named with their paths, one transaction, repetition without effect, export and back."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from typing import Any

import pytest

import config as configuration
from clock import utcnow
from config import Config
from db import connection
from devserver.redis_server import RedisProcess
from models import (
    Account,
    AccountState,
    Cell,
    Deposit,
    GroupDeposit,
    Organization,
    Pool,
    Product,
    Run,
    SkuOverride,
    StockGroup,
    User,
)
from sandbox import Bling
from services.auth import authenticate
from services.overrides import OverrideForm, save_override
from services.secrets import unseal
from services.setup import Imported, SetupRefused, import_setup
from services.setup_export import export_setup
from tests.factories import make_write
from tests.services.merchants import connected, organization

pytestmark = pytest.mark.usefixtures("config", "database", "redis")


def deposit_id(bling: Bling, account: str, name: str) -> int:
    return next(d.id for d in bling.world.deposits_of(account) if d.name == name)


def account_document(bling: Bling, key: str) -> dict[str, Any]:
    issued = bling.issue_tokens(key, "shared-id")
    return {
        "key": key,
        "name": key.capitalize(),
        "access_token": issued.access_token,
        "refresh_token": issued.refresh_token,
        "expires_in": issued.expires_in,
        "client_id": None,
        "client_secret": None,
        "webhook_key": None,
    }


@pytest.fixture
def document(bling: Bling) -> dict[str, Any]:
    """Matriz is the source, Filial's web shop the target; not active, so that only the file itself is at stake."""
    bling.add_product("matriz", "CAN-1", "Caneca", stock={"Geral": "10"})
    bling.add_product("filial", "CAN-1", "Caneca", stock={"Geral": "3"})
    return {
        "organization": {"slug": "loja", "name": "Loja Exemplo", "reconcile_every_minutes": 30},
        "users": [{"email": "Ana@Loja.example", "name": "Ana", "role": "owner", "password": "segredo da ana"}],
        "accounts": [account_document(bling, "matriz"), account_document(bling, "filial")],
        "groups": [
            {
                "key": "geral",
                "name": "Estoque geral",
                "mode": "sum",
                "balance": "virtual",
                "active": False,
                "sources": [{"account": "matriz", "deposit": deposit_id(bling, "matriz", "Geral")}],
                "targets": [
                    {
                        "account": "filial",
                        "deposit": deposit_id(bling, "filial", "Loja virtual"),
                        "reserve": "0",
                        "percent": "100",
                        "max": None,
                    }
                ],
                "write_back": [{"account": "matriz", "deposit": deposit_id(bling, "matriz", "Geral")}],
                "seed": None,
                "target_movements": "write_back",
                "guard": {"min_skus": 20, "percent": "30"},
                "overrides": [{"sku": "CAN-1", "target": None, "max": "5.5", "ignore": False}],
            }
        ],
    }


def load(document: object) -> Imported:
    return import_setup(json.dumps(document))


def faults_of(document: object) -> list[str]:
    with pytest.raises(SetupRefused) as refused:
        load(document)
    return [str(fault) for fault in refused.value.faults]


def rows() -> dict[str, list[dict[str, Any]]]:
    tables = (Organization, User, Account, Deposit, Product, StockGroup, GroupDeposit, SkuOverride)
    return {table.__name__: list(table.select().order_by(table.id).dicts()) for table in tables}


def test_it_creates_the_merchant_with_people_accounts_catalogue_and_rules(
    document: dict[str, Any], bling: Bling
) -> None:
    done = load(document)

    merchant = Organization.get()
    assert (merchant.slug, merchant.name, merchant.reconcile_every_minutes) == ("loja", "Loja Exemplo", 30)
    assert authenticate("ana@loja.example", "segredo da ana") == User.get()
    matriz = Account.get(Account.key == "matriz")
    assert matriz.company_id == bling.world.accounts["matriz"].company_id
    assert (matriz.state, matriz.company_name) == (AccountState.CONNECTED, "Matriz")
    assert unseal(matriz.access_token_sealed, owner_id=matriz.id) == document["accounts"][0]["access_token"]
    assert matriz.catalog_at is not None
    assert Deposit.select().count() == 4
    assert {(p.account.key, p.sku, p.name) for p in Product.select()} == {
        ("matriz", "CAN-1", "Caneca"),
        ("filial", "CAN-1", "Caneca"),
    }
    group = StockGroup.get()
    assert (group.name, group.mode, group.balance, group.is_active) == ("Estoque geral", "sum", "virtual", False)
    members = {(m.deposit.account.key, m.deposit.name, m.role, m.write_back_position) for m in group.members}
    assert members == {("matriz", "Geral", "source", 0), ("filial", "Loja virtual", "target", None)}
    assert str(SkuOverride.get().max) == "5.5"
    assert done.changes
    assert done.run is None


def test_repeating_it_changes_nothing_and_asks_nothing(document: dict[str, Any], bling: Bling) -> None:
    load(document)
    before, asked = rows(), len(bling.requests())

    done = load(document)

    assert done.changes == []
    assert rows() == before
    assert len(bling.requests()) == asked


def test_a_repetition_needs_no_bling(document: dict[str, Any], bling_server: Any) -> None:
    load(document)
    bling_server.stop()

    assert load(document).changes == []


def test_tokens_that_were_rotated_since_are_not_put_back(document: dict[str, Any]) -> None:
    load(document)
    Account.update(refresh_token_sealed="newer", access_token_sealed="newer").where(Account.key == "matriz").execute()

    load(document)

    assert Account.get(Account.key == "matriz").refresh_token_sealed == "newer"


def test_new_tokens_of_the_same_company_replace_the_old_and_reconnect(document: dict[str, Any], bling: Bling) -> None:
    load(document)
    Account.update(state=AccountState.RECONNECT, last_error="Recusado").where(Account.key == "matriz").execute()
    document["accounts"][0] = account_document(bling, "matriz")

    assert "conta matriz: alterada" in load(document).changes

    row = Account.get(Account.key == "matriz")
    assert (row.state, row.last_error) == (AccountState.CONNECTED, None)
    assert unseal(row.refresh_token_sealed, owner_id=row.id) == document["accounts"][0]["refresh_token"]


def test_an_expired_access_token_is_refreshed_and_the_new_pair_kept(document: dict[str, Any], bling: Bling) -> None:
    document["accounts"][0]["expires_in"] = 0

    load(document)

    row = Account.get(Account.key == "matriz")
    current = bling.current_tokens("matriz")
    assert current is not None
    assert current.refresh_token != document["accounts"][0]["refresh_token"]
    assert unseal(row.refresh_token_sealed, owner_id=row.id) == current.refresh_token
    assert load(document).changes == []


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d.pop("groups"), ["groups: obrigatório"]),
        (lambda d: d.update(grupos=[]), ["grupos: chave desconhecida"]),
        (lambda d: d["organization"].pop("name"), ["organization.name: obrigatório"]),
        (lambda d: d["organization"].update(slug="Loja Ana"), ["organization.slug: use letras minúsculas"]),
        (lambda d: d["organization"].update(reconcile_every_minutes=0), ["organization.reconcile_every_minutes: deve"]),
        (lambda d: d.update(organization=[]), ["organization: deve ser um objeto"]),
        (lambda d: d["users"][0].update(email="ana"), ["users[0].email: não é um endereço de e-mail"]),
        (lambda d: d["users"][0].update(role="chefe"), ["users[0].role: deve ser “owner”, “operator” ou “reader”"]),
        (lambda d: d["users"][0].pop("password"), ["users[0].password: obrigatório"]),
        (lambda d: d["users"][0].update(password=1234), ["users[0].password: deve ser um texto"]),
        (lambda d: d["users"].append(d["users"][0]), ["users[1].email: repete o valor de users[0].email"]),
        (lambda d: d["accounts"][0].pop("access_token"), ["accounts[0].access_token: obrigatório"]),
        (lambda d: d["accounts"][0].pop("expires_in"), ["accounts[0].expires_in: obrigatório"]),
        (lambda d: d["accounts"][0].update(access_token="a b"), ["accounts[0].access_token: não tem a forma"]),
        (lambda d: d["accounts"][0].update(client_secret="x"), ["accounts[0].client_id: obrigatório junto"]),
        (lambda d: d["accounts"][0].update(client_id="x"), ["accounts[0].client_secret: obrigatório"]),
        (
            lambda d: d["accounts"][1].update(key="matriz"),
            ["accounts[1].key: repete", "groups[0].targets[0].account: "],
        ),
        (lambda d: d["groups"][0]["targets"][0].update(percent="130"), ["groups[0].targets[0].percent: deve estar"]),
        (lambda d: d["groups"][0]["targets"][0].update(percent=-1), ["groups[0].targets[0].percent: não pode"]),
        (lambda d: d["groups"][0]["targets"][0].update(percent="muito"), ["groups[0].targets[0].percent: deve ser um"]),
        (lambda d: d["groups"][0]["sources"][0].update(account="loja"), ["groups[0].sources[0].account: conta desc"]),
        (lambda d: d["groups"][0]["targets"].append(d["groups"][0]["sources"][0]), ["groups[0].targets[1]: um dep"]),
        (lambda d: d["groups"].append({**d["groups"][0], "key": "b"}), ["groups[1].targets[0]: este depósito já é"]),
        (lambda d: d["groups"].append(d["groups"][0]), ["groups[1].key: repete", "groups[1].targets[0]: este"]),
    ],
)
def test_it_names_every_fault_and_changes_nothing(
    document: dict[str, Any], bling: Bling, change: Change, told: list[str]
) -> None:
    document = copy.deepcopy(document)
    change(document)

    faults = faults_of(document)

    for beginning in told:
        assert any(fault.startswith(beginning) for fault in faults), faults
    assert len(faults) == len(told), faults
    assert not any(rows().values())
    assert not bling.requests()


def test_it_names_all_faults_of_a_file_at_once(document: dict[str, Any]) -> None:
    document["organization"]["slug"] = "X Y"
    document["users"][0]["role"] = "x"
    document["groups"][0]["targets"][0]["percent"] = "130"
    del document["accounts"][1]["refresh_token"]

    paths = [fault.split(":")[0] for fault in faults_of(document)]

    assert sorted(paths) == [
        "accounts[1].refresh_token",
        "groups[0].targets[0].percent",
        "organization.slug",
        "users[0].role",
    ]


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', b"\xff\xfe"])
def test_what_is_no_json_object_is_refused_in_words(text: str | bytes) -> None:
    with pytest.raises(SetupRefused, match=r"arquivo"):
        import_setup(text)


def test_a_refused_token_is_a_fault_at_its_place(document: dict[str, Any]) -> None:
    document["accounts"][1].update(access_token="nonsense", refresh_token="nonsense")

    [fault] = faults_of(document)

    assert fault.startswith("accounts[1].access_token: O Bling não aceita mais a autorização desta conta.")
    assert not any(rows().values())


def test_a_bling_that_does_not_answer_is_no_fault_of_the_tokens(document: dict[str, Any], bling_server: Any) -> None:
    bling_server.stop()

    faults = faults_of(document)

    assert [fault.split(":")[0] for fault in faults] == ["accounts[0]", "accounts[1]"]
    assert not any(rows().values())


def test_a_deposit_that_the_account_does_not_have_is_a_fault(document: dict[str, Any]) -> None:
    document["groups"][0]["targets"][0]["deposit"] = 99

    assert faults_of(document) == ["groups[0].targets[0].deposit: a conta “filial” não tem o depósito 99"]
    assert not any(rows().values())


def test_two_accounts_of_one_company_are_a_fault(document: dict[str, Any], bling: Bling) -> None:
    document["accounts"].append({**account_document(bling, "matriz"), "key": "outra"})
    document["accounts"][0] = account_document(bling, "avulsa") | {"key": "matriz"}
    document["accounts"].append({**account_document(bling, "avulsa"), "key": "quarta"})
    document["groups"] = []

    assert faults_of(document) == ["accounts[3].access_token: é a mesma empresa de accounts[0]: Avulsa"]


def test_a_company_that_another_merchant_connected_is_a_fault(document: dict[str, Any], bling: Bling) -> None:
    connected(bling, organization("vizinho"), "filial")

    [fault] = faults_of(document)

    assert fault == "accounts[1].access_token: a empresa Filial já está conectada por outro cliente desta instalação"
    assert Organization.select().count() == 1


def test_tokens_of_another_company_do_not_take_over_an_account(document: dict[str, Any], bling: Bling) -> None:
    load(document)
    document["accounts"][0] = account_document(bling, "avulsa") | {"key": "matriz"}

    [fault] = faults_of(document)

    assert fault == "accounts[0].access_token: este acesso é da empresa Avulsa, e a conta “matriz” é de outra"


def test_an_e_mail_of_another_merchant_is_a_fault(document: dict[str, Any]) -> None:
    load(document)
    document["organization"]["slug"] = "outra"
    document["accounts"], document["groups"] = [], []

    assert faults_of(document) == ["users[0].email: este e-mail já é usado por outro cliente desta instalação"]


def test_it_updates_what_the_file_says_differently(document: dict[str, Any]) -> None:
    load(document)
    document["organization"].update(name="Loja Nova", reconcile_every_minutes=5)
    document["users"][0].update(name="Ana Maria", role="operator", password="outra senha")
    document["users"].append({"email": "b@loja.example", "name": "Bia", "role": "reader", "password": "senha da bia"})
    document["accounts"][0]["name"] = "Matriz SP"
    document["groups"][0]["name"] = "Tudo"
    document["groups"][0]["targets"][0]["reserve"] = "2"
    document["groups"][0]["overrides"] = [{"sku": "CAN-2", "ignore": True}]

    changes = load(document).changes

    assert changes == [
        "cliente loja: alterado",
        "usuário ana@loja.example: alterado",
        "usuário ana@loja.example: nova senha",
        "usuário b@loja.example: criado",
        "conta matriz: alterada",
        "regra geral: alterada",
    ]
    merchant = Organization.get()
    assert (merchant.name, merchant.reconcile_every_minutes) == ("Loja Nova", 5)
    assert (merchant.next_reconcile_at - utcnow()).total_seconds() <= 300
    ana = authenticate("ana@loja.example", "outra senha")
    assert ana is not None
    assert (ana.name, ana.role, ana.session_version) == ("Ana Maria", "operator", 2)
    assert Account.get(Account.key == "matriz").name == "Matriz SP"
    assert StockGroup.get().name == "Tudo"
    assert str(GroupDeposit.get(GroupDeposit.role == "target").reserve) == "2"
    assert [(row.sku, row.is_ignored) for row in SkuOverride.select()] == [("CAN-2", True)]
    assert load(document).changes == []


def test_a_password_that_still_fits_signs_nobody_out(document: dict[str, Any]) -> None:
    load(document)

    load(document)

    assert User.get().session_version == 1


def test_without_a_password_an_existing_user_keeps_theirs(document: dict[str, Any]) -> None:
    load(document)
    document["users"][0]["password"] = None

    assert load(document).changes == []
    assert authenticate("ana@loja.example", "segredo da ana") is not None


def test_an_account_may_have_an_app_and_a_webhook_address_of_its_own(document: dict[str, Any], bling: Bling) -> None:
    document["accounts"][0].update(client_id="shared-id", client_secret="shared-secret")
    load(document)
    row = Account.get(Account.key == "matriz")
    assert (row.client_id, unseal(row.client_secret_sealed, owner_id=row.id)) == ("shared-id", "shared-secret")
    assert row.webhook_key

    assert load(document).changes == []
    document["accounts"][0].update(webhook_key="matriz-1", client_secret=None)
    load(document)

    row = Account.get(Account.key == "matriz")
    assert row.webhook_key == "matriz-1"
    assert unseal(row.client_secret_sealed, owner_id=row.id) == "shared-secret"


def test_a_webhook_address_of_another_account_is_a_fault(document: dict[str, Any], bling: Bling) -> None:
    connected(bling, organization("vizinho"), "avulsa", webhook_key="taken")
    document["accounts"][0]["webhook_key"] = "taken"

    assert faults_of(document) == ["accounts[0].webhook_key: já é usada por outra conta"]


def test_a_rule_may_name_a_deposit_made_since_the_last_import(document: dict[str, Any], bling: Bling) -> None:
    load(document)
    new = bling.add_deposit("filial", "Marketplace")
    document["groups"][0]["targets"].append({"account": "filial", "deposit": new.id})

    load(document)

    assert {m.deposit.name for m in StockGroup.get().members} == {"Geral", "Loja virtual", "Marketplace"}


def test_rules_that_the_file_does_not_name_stay_and_may_not_be_contradicted(document: dict[str, Any]) -> None:
    load(document)
    document["groups"][0].update(key="outra", name="Outra")

    assert faults_of(document) == ["groups[0].targets[0]: este depósito já é compartilhado na regra “Estoque geral”"]

    document["groups"] = []
    assert load(document).changes == []
    assert StockGroup.get().key == "geral"


@pytest.mark.parametrize("with_secrets", [True, False])
def test_an_export_imports_again_to_no_change(document: dict[str, Any], with_secrets: bool) -> None:
    document["groups"][0]["targets"][0].update(percent="33.3333", max="7", stop_at="1")
    load(document)
    before = rows()

    exported = export_setup(Organization.get(), with_secrets=with_secrets)
    assert load(exported).changes == []

    assert rows() == before
    assert export_setup(Organization.get(), with_secrets=with_secrets)["groups"] == exported["groups"]


class TestExceptionsInAFile:
    """Added, changed and removed on an active rule: each once, and only what is new starts anything."""

    @pytest.fixture
    def active(self, document: dict[str, Any], bling: Bling) -> dict[str, Any]:
        target = {"account": "filial", "deposit": deposit_id(bling, "filial", "Loja virtual")}
        document["groups"][0].update(
            active=True,
            overrides=[
                {"sku": "CAN-1", "target": None, "reserve": "1.50", "percent": "33.3333", "stop_at": "2"},
                {"sku": "CAN-1", "target": target, "max": "7"},
                {"sku": "0042", "target": target, "ignore": True},
            ],
        )
        load(document)
        self.rest()
        return document

    def rest(self) -> None:
        """The runs so far are over, so that a new one is seen to be new."""
        Run.update(finished_at=utcnow(), status="ok").execute()

    def test_an_export_tells_them_all_and_imports_again_to_no_change(self, active: dict[str, Any]) -> None:
        before, runs = rows(), Run.select().count()

        exported = export_setup(Organization.get())
        reordered = copy.deepcopy(exported)
        reordered["groups"][0]["overrides"].reverse()

        for again in (active, exported, reordered):
            done = load(again)
            assert (done.changes, done.run) == ([], None)
        assert (rows(), Run.select().count()) == (before, runs)
        told = exported["groups"][0]["overrides"]
        assert [(one["sku"], one["target"] is None, one["ignore"]) for one in told] == [
            ("CAN-1", True, False),
            ("CAN-1", False, False),
            ("0042", False, True),
        ]
        assert (told[0]["reserve"], told[0]["percent"], told[0]["max"]) == ("1.5", "33.3333", None)

    def test_a_change_and_a_removal_are_made_once_and_checked_once(self, active: dict[str, Any]) -> None:
        kept = SkuOverride.get(SkuOverride.max == 7).id
        listed = active["groups"][0]["overrides"]
        listed[1]["max"] = "6"
        del listed[0]

        done, again = load(active), load(active)

        assert done.changes == ["regra geral: alterada"]
        assert done.run is not None
        assert (again.changes, again.run) == ([], None)
        assert [(row.sku, row.max) for row in SkuOverride.select().order_by(SkuOverride.sku)] == [
            ("0042", None),
            ("CAN-1", 6),
        ]
        assert SkuOverride.get(SkuOverride.max == 6).id == kept

    def test_a_product_that_the_file_no_longer_leaves_out_begins_anew(self, active: dict[str, Any]) -> None:
        active["groups"][0]["overrides"] = [{"sku": "CAN-1", "ignore": True}]
        load(active)
        self.rest()
        pool = Pool.get()
        active["groups"][0]["overrides"] = []

        load(active)

        assert all(cell.left_at is not None for cell in Pool.get_by_id(pool.id).cells)

    def test_what_a_person_made_on_the_page_stands_in_the_export(self, active: dict[str, Any]) -> None:
        ana = User.get()
        form = OverrideForm({"sku": "CAN-1", "ignore": "yes"})
        row = SkuOverride.get(SkuOverride.deposit.is_null())
        assert save_override(StockGroup.get(), form, ana, row) is not None

        exported = export_setup(Organization.get())

        assert exported["groups"][0]["overrides"][0] == {
            "sku": "CAN-1",
            "target": None,
            "reserve": None,
            "percent": None,
            "max": None,
            "stop_at": None,
            "ignore": True,
        }
        assert load(exported).changes == []


def test_a_rule_is_not_activated_while_bling_may_still_show_balances_of_before_our_last_write(
    document: dict[str, Any], bling: Bling, config: Config
) -> None:
    load(activated(document))
    StockGroup.update(is_active=False).execute()
    shop = deposit_id(bling, "filial", "Loja virtual")
    make_write(Cell.get(Cell.deposit == Deposit.get(Deposit.bling_id == shop)), 3)
    configuration.activate(replace(config, settle_window_s=600))

    (fault,) = faults_of(activated(document))

    assert fault.startswith("groups[0].active: A última escrita")
    configuration.activate(config)
    assert load(activated(document)).run is not None


def test_an_export_has_the_form_of_the_file(document: dict[str, Any]) -> None:
    document["accounts"][0].update(client_id="shared-id", client_secret="shared-secret", webhook_key="w")
    load(document)

    exported = export_setup(Organization.get(), with_secrets=True)

    expected = copy.deepcopy(document)
    expected["users"][0].update(email="ana@loja.example", password=None)
    for account, wanted in zip(exported["accounts"], expected["accounts"], strict=True):
        assert 21500 < account["expires_in"] <= 21600
        assert account == {**wanted, "expires_in": account["expires_in"]}
    assert exported["organization"] == expected["organization"]
    assert exported["users"] == expected["users"]
    group = expected["groups"][0]
    group["targets"][0]["stop_at"] = None
    group["overrides"] = [
        {
            "sku": "CAN-1",
            "target": None,
            "reserve": None,
            "percent": None,
            "max": "5.5",
            "stop_at": None,
            "ignore": False,
        }
    ]
    assert exported["groups"] == [group]


def test_an_export_without_secrets_holds_none(document: dict[str, Any], config: Config) -> None:
    document["accounts"][0].update(client_id="shared-id", client_secret="shared-secret")
    load(document)

    text = json.dumps(export_setup(Organization.get()))

    for secret in ("shared-secret", "segredo da ana", *(a["access_token"] for a in document["accounts"])):
        assert secret not in text


def activated(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "groups": [{**document["groups"][0], "active": True, "overrides": []}]}


def test_an_active_rule_is_activated_with_the_balances_found_and_synchronized(
    document: dict[str, Any], bling: Bling
) -> None:
    done = load(activated(document))

    assert StockGroup.get().is_active
    books = {(cell.account.key, cell.deposit.name): (cell.accounted, cell.baseline) for cell in Cell.select()}
    assert books == {("matriz", "Geral"): (10, 10), ("filial", "Loja virtual"): (0, 0)}
    run = Run.get()
    assert done.run == run
    assert (run.type, run.scope, run.reason, run.status) == ("manual", "all", "activation", "queued")
    assert not bling.movements("filial")


def test_repeating_an_activation_starts_nothing(document: dict[str, Any], bling: Bling) -> None:
    document = activated(document)
    load(document)
    before, asked = rows(), len(bling.requests())

    done = load(document)

    assert (done.changes, done.run) == ([], None)
    assert (rows(), len(bling.requests()), Run.select().count()) == (before, asked, 1)


def test_a_rule_can_be_activated_by_a_later_file(document: dict[str, Any]) -> None:
    load(document)

    done = load(activated(document))

    assert StockGroup.get().is_active
    assert done.run is not None
    assert Cell.select().count() == 2


def test_inactive_in_the_file_leaves_the_choice_to_the_person_at_the_screen(document: dict[str, Any]) -> None:
    load(activated(document))

    done = load({**document, "groups": [{**document["groups"][0], "overrides": []}]})

    assert StockGroup.get().is_active
    assert done.changes == []


def test_the_first_synchronization_is_kept_when_redis_is_away(
    document: dict[str, Any], own_redis: RedisProcess
) -> None:
    own_redis.stop()

    load(activated(document))

    assert Run.get().status == "queued"


def test_changing_an_active_rule_synchronizes_anew_and_keeps_the_books_of_what_stays(document: dict[str, Any]) -> None:
    document = activated(document)
    load(document)
    Run.update(finished_at=utcnow(), status="ok").execute()
    kept = {cell.id for cell in Cell.select().where(Cell.deposit == Deposit.get(Deposit.name == "Geral"))}
    document["groups"][0]["targets"][0]["percent"] = "50"

    done = load(document)

    assert done.run is not None
    assert done.run.reason == "rules"
    assert kept <= {cell.id for cell in Cell.select()}


def test_a_deposit_that_comes_back_begins_with_what_it_holds_then(document: dict[str, Any], bling: Bling) -> None:
    document = activated(document)
    target = document["groups"][0]["targets"][0]
    other = {**target, "deposit": deposit_id(bling, "filial", "Geral")}
    document["groups"][0]["targets"] = [target, other]
    load(document)
    document["groups"][0]["targets"] = [target]
    load(document)
    assert Cell.select().count() == 3

    document["groups"][0]["targets"] = [target, other]
    load(document)

    there = Cell.select().where(Cell.left_at.is_null())
    assert {(cell.account.key, cell.deposit.name) for cell in there} == {
        ("matriz", "Geral"),
        ("filial", "Loja virtual"),
    }


def test_an_active_rule_keeps_its_mode(document: dict[str, Any]) -> None:
    document = activated(document)
    load(document)
    group = document["groups"][0]
    place = {key: group["targets"][0][key] for key in ("account", "deposit")}
    group.update(mode="mirror", sources=[], write_back=[], seed=place)

    [fault] = faults_of(document)

    assert fault.startswith("groups[0].mode: Desative a regra antes de mudar o modo")


def test_a_rule_with_a_disconnected_account_is_not_activated(document: dict[str, Any]) -> None:
    load(document)
    Account.update(state=AccountState.PAUSED).where(Account.key == "filial").execute()

    assert faults_of(activated(document)) == ["groups[0].active: a conta “filial” não está conectada"]
    assert not StockGroup.get().is_active


def test_a_mirror_starts_from_its_seed(document: dict[str, Any], bling: Bling) -> None:
    document = activated(document)
    group = document["groups"][0]
    seed = group["sources"][0]
    group.update(mode="mirror", targets=[*group["targets"], seed], sources=[], write_back=[], seed=seed)

    load(document)

    assert [(pool.sku, pool.level) for pool in Pool.select()] == [("CAN-1", 10)]


def test_without_a_choice_the_program_finds_who_takes_movements_on_targets(document: dict[str, Any]) -> None:
    del document["groups"][0]["write_back"]

    load(document)

    assert [member.write_back_position for member in StockGroup.get().members] == [None, None]
    assert export_setup(Organization.get())["groups"][0]["write_back"] == []
    assert load(document).changes == []


def test_two_imports_at_once_make_one_merchant(document: dict[str, Any]) -> None:
    together = Barrier(2)

    def run() -> str:
        with connection():
            together.wait(timeout=10)
            try:
                load(activated(document))
            except SetupRefused as refused:
                return str(refused)
            return "done"

    with ThreadPoolExecutor(max_workers=2) as threads:
        ends = [future.result() for future in [threads.submit(run) for _ in range(2)]]

    assert "done" in ends
    assert set(ends) <= {"done", "Os dados mudaram durante a importação. Importe o arquivo de novo."}
    counts = {table: table.select().count() for table in (Organization, User, Account, StockGroup, Run)}
    assert counts == {Organization: 1, User: 1, Account: 2, StockGroup: 1, Run: 1}
