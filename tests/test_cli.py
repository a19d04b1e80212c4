"""The command line: exit codes, one JSON document on standard output, one line of error on standard error."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask

import app as program
import db
import queues
from config import Config
from models import ItemDeposit, Organization, Run, RunItem, RunType, StockGroup, StockWrite
from sandbox import Bling, Server
from services import reconcile, settle
from services.runs import start_run
from tests.factories import Shop, make_dirty, make_item, make_item_deposit, make_run

Cli = Callable[..., Result]


@pytest.fixture
def flask(config: Config, redis: object) -> Flask:
    return program.create_app(config)


@pytest.fixture
def cli(flask: Flask) -> Cli:
    runner = flask.test_cli_runner()

    def run(*words: str, given: str | None = None) -> Result:
        return runner.invoke(args=list(words), input=given)

    return run


@pytest.fixture
def shop(flask: Flask) -> Shop:
    with db.connection():
        return Shop()


@pytest.fixture
def setup_file(bling: Bling, bling_server: Server, tmp_path: Path) -> Path:
    """A merchant of two accounts with an active rule that has something to do."""
    bling.add_product("matriz", "CAN-1", "Caneca", stock={"Geral": "10"})
    bling.add_product("filial", "CAN-1", "Caneca", stock={"Loja virtual": "2.5"})
    places = {
        key: next(d.id for d in bling.world.deposits_of(key) if d.name == name)
        for key, name in (("matriz", "Geral"), ("filial", "Loja virtual"))
    }
    accounts = []
    for key in places:
        issued = bling.issue_tokens(key, "shared-id")
        accounts.append(
            {
                "key": key,
                "name": key.capitalize(),
                "access_token": issued.access_token,
                "refresh_token": issued.refresh_token,
                "expires_in": issued.expires_in,
            }
        )
    document = {
        "organization": {"slug": "loja", "name": "Loja", "reconcile_every_minutes": 30},
        "users": [{"email": "ana@loja.example", "name": "Ana", "role": "owner", "password": "segredo da ana"}],
        "accounts": accounts,
        "groups": [
            {
                "key": "geral",
                "name": "Geral",
                "mode": "sum",
                "balance": "virtual",
                "active": True,
                "sources": [{"account": "matriz", "deposit": places["matriz"]}],
                "targets": [{"account": "filial", "deposit": places["filial"]}],
            }
        ],
    }
    path = tmp_path / "loja.json"
    path.write_text(json.dumps(document))
    return path


def settle_everything() -> None:
    """What workers do, until nothing is left."""
    with db.connection():
        while True:
            for run in Run.select().where(Run.is_scanning()):
                reconcile.scan(run.id)
            for organization in Organization.select():
                while settle.settle_due(organization.id):
                    pass
            if not Run.select().where(Run.finished_at.is_null() & (Run.status != "held")).exists():
                return


def only_json(result: Result, exit_code: int = 0) -> Any:
    assert result.exit_code == exit_code, result.output
    return json.loads(result.stdout)


def failure(result: Result) -> str:
    """The one line that says what went wrong."""
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    [line] = result.stderr.strip().splitlines()
    return line


def test_upgrading_a_current_database_says_so(cli: Cli) -> None:
    result = cli("db", "upgrade")

    assert (result.exit_code, result.stdout) == (0, "O banco de dados já está atualizado.\n")


def test_a_database_without_the_schema_is_told_in_one_line(config: Config, redis: object, tmp_path: Path) -> None:
    empty = program.create_app(
        Config.from_env({"DATABASE_URL": f"sqlite:///{tmp_path}/empty.sqlite", "REDIS_URL": config.redis_url})
    )

    result = empty.test_cli_runner().invoke(args=["status", "--json"])

    assert failure(result) == "O banco de dados não tem o esquema atual. Rode antes: flask --app app db upgrade"


@pytest.mark.parametrize("way", ["file", "standard input"])
def test_it_imports_a_merchant(cli: Cli, setup_file: Path, way: str) -> None:
    words, given = ([str(setup_file)], None) if way == "file" else (["-"], setup_file.read_text())

    first = cli("setup", "import", *words, given=given)
    second = cli("setup", "import", *words, given=given)

    assert first.exit_code == 0, first.output
    assert "cliente loja: criado" in first.stdout
    assert "Sincronização iniciada: " in first.stdout
    assert (second.exit_code, second.stdout) == (0, "Nada a mudar: tudo já estava assim.\n")
    with db.connection():
        assert Run.select().count() == 1


def test_it_names_every_fault_of_a_file(cli: Cli, setup_file: Path) -> None:
    document = json.loads(setup_file.read_text())
    document["groups"][0]["targets"][0]["percent"] = "130"
    document["groups"][0]["sources"][0]["account"] = "loja"
    del document["accounts"][0]["access_token"]

    result = cli("setup", "import", "-", given=json.dumps(document))

    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "accounts[0].access_token: obrigatório e não foi informado",
        "groups[0].sources[0].account: conta desconhecida: “loja”",
        "groups[0].targets[0].percent: deve estar entre 0 e 100, não “130”",
    ]
    with db.connection():
        assert not Organization.select().exists()


def test_it_exports_what_it_can_import(cli: Cli, setup_file: Path) -> None:
    cli("setup", "import", str(setup_file))

    exported = only_json(cli("setup", "export", "loja"))

    assert exported["accounts"][0]["access_token"] is None
    with_secrets = only_json(cli("setup", "export", "loja", "--secrets"))
    assert with_secrets["accounts"][0]["access_token"]
    for document in (exported, with_secrets):
        assert "Nada a mudar" in cli("setup", "import", "-", given=json.dumps(document)).stdout


@pytest.mark.parametrize(
    "words",
    [
        ["setup", "export", "nobody"],
        ["sync", "run", "--org", "nobody", "--all"],
        ["reconcile", "--org", "nobody"],
        ["status", "--org", "nobody", "--json"],
        ["history", "--org", "nobody", "--json"],
    ],
)
def test_an_unknown_merchant_is_a_failure(cli: Cli, words: list[str]) -> None:
    assert failure(cli(*words)) == "Não há cliente com o identificador “nobody”."


@pytest.mark.parametrize(
    "words",
    [
        ["setup", "import"],
        ["setup", "import", "/nowhere/at-all.json"],
        ["setup", "export"],
        ["sync", "run", "--all"],
        ["sync", "run", "--org", "loja"],
        ["sync", "run", "--org", "loja", "--all", "--sku", "A"],
        ["sync", "run", "--org", "loja", "A"],
        ["sync", "run", "--org", "loja", "--sku", " "],
        ["history", "--json"],
        ["history", "--org", "loja", "--limit", "many"],
        ["reconcile"],
        ["nonsense"],
    ],
)
def test_wrong_use_is_exit_code_two(cli: Cli, words: list[str]) -> None:
    result = cli(*words)

    assert result.exit_code == 2
    assert result.stdout == ""


def test_status_has_the_promised_form(cli: Cli, shop: Shop) -> None:
    with db.connection():
        make_dirty(shop.organization, "CANECA-01")

    status = only_json(cli("status", "--org", shop.organization.slug, "--json"))

    assert status["idle"] is False
    assert status["dirty"] == 1
    assert set(status) == {"idle", "events", "dirty", "writes", "accounts", "held", "last", "workers"}
    assert set(status["events"]) == {"pending", "failed"}
    assert set(status["writes"]) == {"pending", "unknown", "review"}
    assert set(status["last"]) == {"webhook", "cron", "manual"}
    assert {account["key"] for account in status["accounts"]} == {"matriz", "filial", "avulsa"}
    assert all(set(a) == {"key", "state", "last_event_at", "requests_today"} for a in status["accounts"])
    assert only_json(cli("status", "--json"))["dirty"] == 1
    assert "SKUs na fila: 1." in cli("status").stdout


def test_history_has_the_promised_form_newest_first(cli: Cli, shop: Shop) -> None:
    with db.connection():
        make_run(shop.organization, "cron")
        run = make_run(shop.organization, "webhook", account=shop.accounts["matriz"])
        item = make_item(run, "CANECA-01")
        make_item_deposit(item, shop.deposits["filial", "Loja virtual"], "2.5", "10")

    slug = shop.organization.slug
    runs = only_json(cli("history", "--org", slug, "--json"))

    assert [entry["type"] for entry in runs] == ["webhook", "cron"]
    assert runs[0] == {
        "id": run.id,
        "at": runs[0]["at"],
        "type": "webhook",
        "account": "matriz",
        "status": "ok",
        "products": 1,
        "items": [
            {
                "sku": "CANECA-01",
                "status": "ok",
                "error": None,
                "deposits": [
                    {
                        "account": "filial",
                        "deposit": shop.deposits["filial", "Loja virtual"].bling_id,
                        "before": 2.5,
                        "after": 10,
                    }
                ],
            }
        ],
    }
    assert len(only_json(cli("history", "--org", slug, "--limit", "1", "--json"))) == 1
    assert len(cli("history", "--org", slug).stdout.splitlines()) == 2


def test_a_synchronization_is_started_and_named(cli: Cli, shop: Shop) -> None:
    result = cli("sync", "run", "--org", shop.organization.slug, "--sku", "CANECA-01", "CAM-AZ-P", "--json")

    answer = only_json(result)
    assert "Nenhum worker está ativo" in result.stderr
    with db.connection():
        run = Run.get()
        assert (answer["run"], answer["status"], run.type, run.scope) == (run.id, "queued", "manual", "skus")
        assert sorted(item.sku for item in RunItem.select()) == ["CAM-AZ-P", "CANECA-01"]
    assert cli("sync", "run", "--org", shop.organization.slug, "--sku", "CAM-AZ-M").stdout.strip() != run.id


def test_no_word_about_workers_when_one_is_alive(cli: Cli, shop: Shop) -> None:
    queues.beat("worker", "one")

    assert cli("sync", "run", "--org", shop.organization.slug, "--all").stderr == ""


def test_the_periodic_check_can_be_started_now(cli: Cli, shop: Shop) -> None:
    only_json(cli("reconcile", "--org", shop.organization.slug, "--json"))

    with db.connection():
        assert (Run.get().type, Run.get().scope) == ("cron", "all")


def test_a_dry_run_prints_the_plan_and_writes_nothing(cli: Cli, setup_file: Path, bling: Bling) -> None:
    cli("setup", "import", str(setup_file))

    plan = only_json(cli("sync", "run", "--org", "loja", "--all", "--dry-run", "--json"))
    text = cli("sync", "run", "--org", "loja", "--sku", "CAN-1", "--dry-run").stdout

    assert plan["dry_run"] is True
    [group] = plan["groups"]
    [item] = group["items"]
    assert (group["group"], item["sku"], item["available"]) == ("geral", "CAN-1", 10)
    target = next(cell for cell in item["deposits"] if cell["role"] == "target")
    assert (target["account"], target["before"], target["after"]) == ("filial", 2.5, 10)
    assert "CAN-1  Filial · Loja virtual: 2,5 → 10" in text
    with db.connection():
        assert Run.select().count() == 1
        assert not StockWrite.select().exists()
    assert str(bling.balance("filial", "CAN-1", "Loja virtual").physical) == "2.5"


def test_a_dry_run_says_whether_the_guard_would_hold_it(cli: Cli, setup_file: Path, bling: Bling) -> None:
    cli("setup", "import", str(setup_file))
    settle_everything()
    with db.connection():
        StockGroup.update(guard_min_skus=0).execute()
    bling.faults.set("webhook_lost", 1.0)
    bling.sell("matriz", "CAN-1", "4", "Geral")

    [group] = only_json(cli("sync", "run", "--org", "loja", "--all", "--dry-run", "--json"))["groups"]
    [given] = only_json(cli("sync", "run", "--org", "loja", "--sku", "CAN-1", "--dry-run", "--json"))["groups"]
    text = cli("sync", "run", "--org", "loja", "--all", "--dry-run").stdout

    assert group["guard"] == given["guard"]
    assert group["guard"] == {
        "lowered": 1,
        "skus": 1,
        "min_skus": 0,
        "percent": "30",
        "verdict": "mass_drop",
        "holds": True,
    }
    assert "Baixaria 1 dos 1 SKUs da regra: antes de escrever, esperaria a aprovação de uma pessoa." in text


def test_waiting_ends_when_a_run_is_held(cli: Cli, setup_file: Path, bling: Bling) -> None:
    cli("setup", "import", str(setup_file))
    settle_everything()
    with db.connection():
        StockGroup.update(guard_min_skus=0).execute()
    bling.faults.set("webhook_lost", 1.0)
    bling.sell("matriz", "CAN-1", "4", "Geral")
    worker = threading.Thread(target=work_when_asked)
    worker.start()

    result = cli("reconcile", "--org", "loja", "--wait", "--json")

    worker.join()
    assert only_json(result, exit_code=1)["status"] == "held"
    assert bling.balance("filial", "CAN-1", "Loja virtual").physical == 10


def test_waiting_ends_with_the_run(cli: Cli, setup_file: Path, bling: Bling) -> None:
    cli("setup", "import", str(setup_file))
    settle_everything()
    bling.receive("matriz", "CAN-1", "5", "Geral")
    worker = threading.Thread(target=work_when_asked)
    worker.start()

    result = cli("sync", "run", "--org", "loja", "--all", "--wait", "--json")

    worker.join()
    answer = only_json(result)
    assert answer["status"] == "ok"
    assert bling.balance("filial", "CAN-1", "Loja virtual").physical == 15
    with db.connection():
        assert ItemDeposit.select().join(RunItem).where(RunItem.run == answer["run"]).exists()


def work_when_asked() -> None:
    """A worker elsewhere: it begins once there is a run to work on."""
    with db.connection():
        while not Run.select().where(Run.finished_at.is_null()).exists():
            time.sleep(0.02)
    settle_everything()


@pytest.mark.parametrize(
    ("ends_as", "exit_code", "told"),
    [
        ("failed", 1, "A sincronização falhou."),
        ("partial", 1, "Parte dos produtos não pôde ser sincronizada."),
        ("held", 1, "espera a aprovação de uma pessoa"),
        ("skipped", 0, "Nada a sincronizar"),
        ("ok", 0, "Tudo sincronizado."),
    ],
)
def test_a_bad_end_is_exit_code_one(cli: Cli, shop: Shop, ends_as: str, exit_code: int, told: str) -> None:
    with db.connection():
        # `sync run` finds this one not begun yet, and waits for it.
        run = start_run(shop.organization, RunType.MANUAL, skus=None)
    ending = threading.Timer(0.3, end, args=(run.id, ends_as))
    ending.start()

    result = cli("sync", "run", "--org", shop.organization.slug, "--all", "--wait")

    ending.join()
    assert result.exit_code == exit_code
    assert told in result.stdout


def end(run_id: str, status: str) -> None:
    with db.connection():
        finished_at = None if status == "held" else Run.get_by_id(run_id).created_at
        Run.update(status=status, finished_at=finished_at, cursor="").where(Run.id == run_id).execute()
