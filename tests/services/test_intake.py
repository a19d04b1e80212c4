"""Taking events in, without the web around it: what is stored, marked, and whom to wake, on both databases."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from peewee import Database, PeeweeException

import config as configuration
import db
from config import Config
from models import Account, DirtySku, Event, EventState
from services.intake import Accepted, Intake, accept_event
from services.secrets import seal
from tests.factories import make_account, make_organization, make_product

EXAMPLES: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "fixtures/bling/webhook-examples.json").read_text(encoding="utf-8")
)
COMPANY = "d4475854366a36c86a37e792f9634a51"
pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture(autouse=True)
def settings(database_url: str, tmp_path: Path) -> Config:
    environ = {
        "VAR_DIR": str(tmp_path),
        "DATABASE_URL": database_url,
        # Nobody listens there: whoever asked Redis or Bling would fail.
        "REDIS_URL": "redis://127.0.0.1:9",
        "BLING_API_URL": "http://127.0.0.1:9/Api/v3",
        "BLING_CLIENT_ID": "shared-id",
        "BLING_CLIENT_SECRET": "shared-secret",
    }
    return configuration.activate(Config.from_env(environ))


@pytest.fixture
def matriz(database: Database) -> Account:
    account = make_account(make_organization(), "matriz", company_id=COMPANY)
    make_product(account, "CANECA", bling_id=12345678)
    return account


def take(body: bytes, key: str | None = None, secret: str = "shared-secret") -> Accepted:
    return accept_event(key, "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest(), body)


def event(kind: str = "stock.created", **changes: Any) -> bytes:
    return json.dumps({**EXAMPLES[kind], **changes}).encode()


def test_a_stock_event_marks_its_sku_and_wakes_its_merchant_once(matriz: Account) -> None:
    assert take(event()) == Accepted(Intake.STORED, wake=matriz.organization_id)
    assert take(event()) == Accepted(Intake.REPEATED, wake=None)

    dirty = DirtySku.get()
    assert (dirty.organization_id, dirty.sku, dirty.version, dirty.needs_look) == (
        matriz.organization_id,
        "CANECA",
        1,
        False,
    )


def test_every_documented_kind_has_its_state(matriz: Account) -> None:
    for kind in EXAMPLES:
        assert take(event(kind)).intake is Intake.STORED

    states = {row.kind: row.state for row in Event.select()}
    assert len(states) == 19
    assert {kind for kind, state in states.items() if state == EventState.PENDING} == {
        f"{resource}.{action}" for resource in ("stock", "product") for action in ("created", "updated", "deleted")
    } | {"virtual_stock.updated"}
    assert set(states.values()) == {EventState.PENDING, EventState.KEPT}


def test_what_is_only_kept_wakes_nobody(matriz: Account) -> None:
    assert take(event("order.created")) == Accepted(Intake.STORED, wake=None)
    assert take(event("stock.created", companyId="0" * 32)) == Accepted(Intake.STORED, wake=None)
    assert take(b"{") == Accepted(Intake.STORED, wake=None)
    assert DirtySku.select().count() == 0


def test_product_events_wake_without_marking(matriz: Account) -> None:
    assert take(event("product.updated")) == Accepted(Intake.STORED, wake=matriz.organization_id)
    assert DirtySku.select().count() == 0


def test_stock_of_a_product_without_sku_is_ignored_and_says_why(matriz: Account) -> None:
    make_product(matriz, "", bling_id=77)

    assert take(event("virtual_stock.updated", data={"produto": {"id": 77}})) == Accepted(Intake.STORED, wake=None)

    assert (Event.get().state, Event.get().reason) == (EventState.IGNORED, "empty_sku")
    assert DirtySku.select().count() == 0


def test_a_paused_account_and_one_to_reconnect_are_still_listened_to(matriz: Account) -> None:
    for state in ("paused", "reconnect"):
        Account.update(state=state).execute()
        assert take(event(eventId=f"0194-{state}")).wake == matriz.organization_id

    assert {row.state for row in Event.select()} == {EventState.PENDING}


def test_an_own_app_may_speak_for_the_other_accounts_of_its_merchant(matriz: Account) -> None:
    own = make_account(matriz.organization, "filial", webhook_key="chave", client_id="own-id")
    Account.update(client_secret_sealed=seal("own-secret", owner_id=own.id)).where(Account.id == own.id).execute()

    assert take(event(), "chave", "own-secret").wake == matriz.organization_id
    assert Event.get().account == matriz


def test_a_secret_sealed_with_a_lost_key_opens_nothing(matriz: Account, settings: Config) -> None:
    lost = Fernet(Fernet.generate_key()).encrypt(b"whatever").decode()
    Account.update(webhook_key="chave", client_id="own-id", client_secret_sealed=lost).execute()

    assert take(event(), "chave", "whatever") == Accepted(Intake.FORGED)
    assert Event.select().count() == 0


def test_an_installation_without_a_shared_app_believes_nobody(matriz: Account, settings: Config) -> None:
    environ = {"VAR_DIR": str(settings.var_dir), "DATABASE_URL": settings.database_url}
    configuration.activate(Config.from_env(environ))

    assert take(event(), secret="") == Accepted(Intake.FORGED)
    assert take(event(), secret="None") == Accepted(Intake.FORGED)


def test_unreadable_bodies_are_told_apart_by_their_bytes(matriz: Account) -> None:
    assert [take(body).intake for body in (b"\xff", b"\xfe", b"\xff")] == [
        Intake.STORED,
        Intake.STORED,
        Intake.REPEATED,
    ]


def test_ids_too_long_to_index_are_told_apart_too(matriz: Account) -> None:
    bodies = [event(eventId=f"{start}{'e' * 4000}") for start in "aba"]

    assert [take(body).intake for body in bodies] == [Intake.STORED, Intake.STORED, Intake.REPEATED]


def test_a_failure_of_the_database_is_not_swallowed(matriz: Account) -> None:
    db.database.close()
    try:
        with pytest.raises(PeeweeException):
            take(event())
    finally:
        db.database.connect()

    assert Event.select().count() == 0
    assert take(event()).intake is Intake.STORED
