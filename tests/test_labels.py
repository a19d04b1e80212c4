"""The glossary and the formats: what a merchant reads."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from core.intents import WriteState
from core.skus import Problem
from models import AccountState, EventState, Role, RunType
from services import labels
from tests.conftest import ROOT

NOW = datetime(2026, 11, 21, 17, 3, 22, tzinfo=UTC)  # 14:03:22 in São Paulo


def codes_of_the_schema(table: str, column: str) -> set[str]:
    create = (ROOT / "schema.sql").read_text().split(f"CREATE TABLE IF NOT EXISTS {table} (")[1]
    check = re.search(rf"CHECK \({column} IN \(([^)]*)\)", create)
    assert check is not None
    return set(re.findall(r"'(\w+)'", check[1]))


@pytest.mark.parametrize(
    ("glossary", "codes"),
    [
        ("status", codes_of_the_schema("run_item", "status") | codes_of_the_schema("run", "status")),
        ("run_type", set(RunType)),
        ("account", set(AccountState)),
        ("event", set(EventState)),
        ("write", set(WriteState)),
        ("problem", set(Problem)),
        ("user_role", set(Role)),
        ("purpose", codes_of_the_schema("stock_write", "purpose")),
        ("role", codes_of_the_schema("group_deposit", "role")),
        ("mode", codes_of_the_schema("stock_group", "mode")),
        ("balance", codes_of_the_schema("stock_group", "balance")),
        ("target_movements", codes_of_the_schema("stock_group", "target_movements")),
    ],
)
def test_every_code_has_a_word(glossary: str, codes: set[str]) -> None:
    assert codes <= set(labels.GLOSSARIES[glossary])


@pytest.mark.parametrize("glossary", ["status", "problem", "account", "webhook", "event", "write"])
def test_what_help_explains_has_an_explanation(glossary: str) -> None:
    for code, label in labels.GLOSSARIES[glossary].items():
        assert label.help.endswith("."), code
        assert label.text[0].isupper(), code


def test_no_two_states_share_a_word() -> None:
    for name, glossary in labels.GLOSSARIES.items():
        texts = [label.text for label in glossary.values()]
        assert len(texts) == len(set(texts)), name


def test_an_unknown_code_is_shown_as_it_is() -> None:
    assert labels.label("novidade").text == "novidade"
    assert labels.label(None).text == "—"


@pytest.mark.parametrize(
    ("value", "text", "signed"),
    [
        ("0", "0", "0"),
        ("3", "3", "+3"),
        ("-3", "−3", "−3"),
        ("1234.5", "1.234,5", "+1.234,5"),
        ("-1234567.125", "−1.234.567,125", "−1.234.567,125"),
        ("2.500000", "2,5", "+2,5"),
        ("0.000001", "0,000001", "+0,000001"),
        ("1E+3", "1.000", "+1.000"),
        ("-0", "0", "0"),
        ("9223372036854.775807", "9.223.372.036.854,775807", "+9.223.372.036.854,775807"),
    ],
)
def test_quantities_are_written_as_in_brazil(value: str, text: str, signed: str) -> None:
    assert labels.quantidade(Decimal(value)) == text
    assert labels.sinal(Decimal(value)) == signed


def test_an_unknown_quantity_is_not_zero() -> None:
    assert labels.quantidade(None) == "—"
    assert labels.sinal(None) == "—"
    assert labels.inteiro(None) == "—"


@pytest.mark.parametrize(
    ("age", "text"),
    [
        (timedelta(0), "agora"),
        (timedelta(seconds=44), "agora"),
        (timedelta(seconds=50), "há 1 min"),
        (timedelta(minutes=3), "há 3 min"),
        (timedelta(minutes=59, seconds=20), "há 59 min"),
        (timedelta(minutes=59, seconds=50), "há 59 min"),
        (timedelta(hours=1), "há 1 h"),
        (timedelta(hours=2, minutes=50), "há 2 h"),
        (timedelta(hours=15), "ontem 23:03"),
        (timedelta(hours=30), "ontem 08:03"),
        (timedelta(days=3), "18/11/2026 14:03"),
        (-timedelta(seconds=20), "em instantes"),
        (-timedelta(minutes=4), "em 4 min"),
        (-timedelta(hours=3), "em 3 h"),
        (-timedelta(days=2), "23/11/2026 14:03"),
    ],
)
def test_times_are_told_by_their_age(age: timedelta, text: str) -> None:
    assert labels.ha_quanto_tempo(NOW - age, NOW) == text


def test_times_are_in_the_merchants_zone() -> None:
    assert labels.momento(NOW) == "21/11/2026 14:03"
    assert labels.momento(NOW, seconds=True) == "21/11/2026 14:03:22"
    assert labels.momento(None) == "—"
    assert labels.ha_quanto_tempo(None) == "nunca"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.84, "0,8 s"), (42.9, "42 s"), (185, "3 min 05 s"), (7260, "2 h 01 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert labels.duracao(NOW, NOW + timedelta(seconds=seconds)).replace("\u00a0", " ") == text
    assert labels.duracao(NOW, None) == "—"


def test_counts_agree_with_their_noun() -> None:
    assert labels.contagem(1, "produto", "produtos") == "1\u00a0produto"
    assert labels.contagem(1234, "produto", "produtos") == "1.234\u00a0produtos"
    assert labels.contagem(0, "produto", "produtos") == "0\u00a0produtos"


def test_a_reason_is_a_sentence() -> None:
    assert labels.reason("composition").startswith("Composição (kit). O saldo")
    assert labels.reason("activation") == "Primeira sincronização depois de ativar a regra."
    assert labels.reason("O Bling respondeu 400.") == "O Bling respondeu 400."
    assert labels.reason(None) == ""


def test_a_cnpj_is_written_with_its_marks() -> None:
    assert labels.cnpj("12345678000195") == "12.345.678/0001-95"
    assert labels.cnpj("12.345") == "12.345"
    assert labels.cnpj(None) == "—"
