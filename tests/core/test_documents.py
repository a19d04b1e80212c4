"""Reading JSON strictly: every fault, with its path, and exact numbers."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest

from core.documents import Fault, Place, parse


def place(value: object) -> Place:
    return Place(value, "here", [])


def messages(of: Place) -> list[str]:
    return [fault.message for fault in of.faults]


@pytest.mark.parametrize("text", ["", "{", '{"a": NaN}', "[" * 100_000, '{"a": 1,}', b"\xff", "9" * 5000])
def test_it_says_in_words_that_a_text_is_no_json(text: str | bytes) -> None:
    with pytest.raises(ValueError, match="não é JSON"):
        parse(text)


def test_no_number_passes_through_a_float() -> None:
    document = parse('{"a": 0.1, "b": 12345678901234.123456}')

    assert document == {"a": Decimal("0.1"), "b": Decimal("12345678901234.123456")}


def test_it_names_missing_unknown_and_repeated_keys() -> None:
    faults: list[Fault] = []
    document = Place(parse('{"name": null, "nome": 1, "_note": "", "slug": "a", "slug": "b"}'), "", faults)

    assert document.check_keys(required=("name", "key"), optional=("slug",))

    assert [str(fault) for fault in faults] == [
        "name: obrigatório e não foi informado",
        "key: obrigatório e não foi informado",
        "nome: chave desconhecida",
        "slug: chave repetida",
    ]


def test_a_fault_is_told_once_however_often_the_value_is_read() -> None:
    one = place("x")

    one.items()
    one.items()

    assert messages(one) == ["deve ser uma lista, não um texto"]


@pytest.mark.parametrize(
    ("value", "number"),
    [("0", "0"), ("12.5", "12.5"), (" 7 ", "7"), (7, "7"), (Decimal("0.25"), "0.25"), ("0.000001", "0.000001")],
)
def test_a_number_may_be_a_numeral_or_a_number(value: object, number: str) -> None:
    one = place(value)

    assert one.decimal() == Decimal(number)
    assert not one.faults


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("abc", "deve ser um número, não “abc”"),
        ("1,5", "deve ser um número, não “1,5”"),
        ("", "deve ser um número, não “”"),
        ("1e3", "deve ser um número, não “1e3”"),
        ("NaN", "deve ser um número, não “NaN”"),
        (True, "deve ser um número, não verdadeiro/falso"),
        ([], "deve ser um número, não uma lista"),
        ("-1", "não pode ser negativo: “-1”"),
        (-1, "não pode ser negativo: -1"),
        ("130", "deve estar entre 0 e 100, não “130”"),
        (Decimal("1E+999999"), "deve estar entre 0 e 100, não 1E+999999"),
        ("0.0000001", "número grande demais ou com mais de 6 casas decimais: “0.0000001”"),
    ],
)
def test_it_says_what_is_wrong_with_a_number(value: object, message: str) -> None:
    one = place(value)

    assert one.decimal(high=Decimal(100)) is None
    assert messages(one) == [message]


def test_a_number_must_fit_the_database() -> None:
    one = place("99999999999999")

    assert one.decimal() is None
    assert messages(one) == ["número grande demais ou com mais de 6 casas decimais: “99999999999999”"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("5", "deve ser um número inteiro, não um texto"),
        (Decimal("5.0"), "deve ser um número inteiro, não um número"),
        (True, "deve ser um número inteiro, não verdadeiro/falso"),
        (0, "deve estar entre 1 e 9, não 0"),
        (10, "deve estar entre 1 e 9, não 10"),
    ],
)
def test_it_says_what_is_wrong_with_a_whole_number(value: object, message: str) -> None:
    one = place(value)

    assert one.integer(1, 9) == 0
    assert messages(one) == [message]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (5, "deve ser um texto, não um número"),
        ("  ", "não pode ficar em branco"),
        ("a\nb", "tem caracteres que não podem ser usados"),
        ("abcdef", "longo demais: no máximo 5 caracteres"),
    ],
)
def test_it_says_what_is_wrong_with_a_text(value: object, message: str) -> None:
    one = place(value)

    assert one.text(longest=5) == ""
    assert messages(one) == [message]


def test_it_says_what_is_wrong_with_words_flags_and_patterns() -> None:
    word, flag, pattern = place("soma"), place("true"), place("A B")

    assert word.choice("sum", "mirror") == ""
    assert not flag.flag()
    assert pattern.pattern(re.compile("[a-z]+"), "só letras") == ""

    assert messages(word) == ["deve ser “sum” ou “mirror”, não “soma”"]
    assert messages(flag) == ["deve ser true ou false, não um texto"]
    assert messages(pattern) == ["só letras"]


def test_what_is_absent_is_no_fault_by_itself() -> None:
    one = place(None)

    assert (one.text(), one.integer(1, 2), one.decimal(), one.flag(), one.choice("a"), one.items()) == (
        "",
        0,
        None,
        False,
        "",
        [],
    )
    assert not one.faults
    assert place({"a": [1]})["a"].items()[0].path == "here.a[0]"
    assert place("no object")["a"].is_absent
