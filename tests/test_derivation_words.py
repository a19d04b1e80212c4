"""The one sentence that says why a target shows its number."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from core.derivation import PoolParts
from core.facts import Mode
from core.rule_steps import rule_steps
from core.rules import TargetRule, apply
from models import Pool, StockGroup
from services import derivation_words as words
from services.derivations import Derivation, Gap, GapKind, PoolView, TargetView

AT = datetime(2026, 11, 22, 17, 3, 5, tzinfo=UTC)


def target(available: Any = 9, place: str = "Filial · Loja", **rule: Any) -> tuple[PoolView, TargetView]:
    """A target that shows what its rule gives of the pool."""
    figures = TargetRule(**{name: Decimal(value) for name, value in rule.items()})
    known = None if available is None else Decimal(available)
    offered = None if known is None else apply(figures, known, 0)
    view = TargetView(
        place=place,
        cell=None,
        rule=figures,
        figures=(),
        steps=() if known is None else rule_steps(figures, known, 0),
        offered=offered,
        reserved=Decimal(0),
        wanted=offered,
        shown=offered,
        missing=Decimal(0),
        gaps=(),
    )
    group = StockGroup(name="Geral", mode="sum", is_active=True)
    parts = PoolParts(Mode.SUM, Decimal(0), None, known, ())
    return PoolView(group, Pool(settled_at=AT), None, known, (), (), (view,), (), (), parts), view


@pytest.mark.parametrize(
    ("available", "rule", "said"),
    [
        (9, {}, "mostra 9: é tudo o que o conjunto tem."),
        (9, {"reserve": 2}, "mostra 7 porque o conjunto tem 9 e a regra guarda 2 de reserva."),
        (9, {"percent": 50}, "mostra 4 porque o conjunto tem 9 e a regra oferece 50 % e arredonda para baixo."),
        (9, {"max": 5}, "mostra 5 porque o conjunto tem 9 e a regra mostra no máximo 5."),
        (9, {"max": 50}, "mostra 9: é tudo o que o conjunto tem."),
        (3, {"stop_at": 5}, "mostra 0 porque o conjunto tem 3 e a regra para de vender com 5 ou menos."),
        (-3, {}, "mostra 0 porque o conjunto tem −3 e nunca se mostra menos que zero."),
        (
            9,
            {"reserve": 2, "percent": 50, "max": 1},
            "mostra 1 porque o conjunto tem 9 e a regra guarda 2 de reserva, oferece 50 %, arredonda para baixo e "
            "mostra no máximo 1.",
        ),
    ],
)
def test_the_sentence_names_what_the_rule_did(available: int, rule: dict[str, int], said: str) -> None:
    assert words.sentence(*target(available, **rule)) == f"Filial · Loja {said}"


def test_what_is_not_known_is_not_zero() -> None:
    pool, view = target(None)

    assert "ainda não foi lido" in words.sentence(pool, view)
    assert "ainda não é conhecido" in words.sentence(pool, replace(view, shown=Decimal(4)))


@pytest.mark.parametrize(
    ("gap", "said"),
    [
        (Gap(GapKind.PUT_OFF, until=AT), "o saldo será conferido de novo às 14:03:05."),
        (Gap(GapKind.PUT_OFF), "de novo em instantes."),
        (Gap(GapKind.QUEUED, until=AT), "Está na fila: será conferido às 14:03:05."),
        (Gap(GapKind.PROBLEM, code="rejected"), "Escrita recusada pelo Bling."),
        (Gap(GapKind.UNKNOWN), "não teve resposta do Bling"),
        (Gap(GapKind.HELD), "espera aprovação"),
        (Gap(GapKind.UNCHECKED), "A próxima conferência o corrige."),
    ],
)
def test_a_difference_is_told_with_its_reason(gap: Gap, said: str) -> None:
    pool, view = target(9)

    sentence = words.sentence(pool, replace(view, shown=Decimal(4), missing=Decimal(5), gaps=(gap,)))

    assert sentence.startswith("Filial · Loja mostra 4 e deve passar a 9. ")
    assert said in sentence


def test_a_rule_that_is_not_active_changes_nothing() -> None:
    pool, view = target(9)
    pool.group.is_active = False

    assert words.sentence(pool, view) == "Filial · Loja não é alterado: a regra não está ativa."


def derivation(*pools: PoolView) -> Derivation:
    return Derivation("CANECA", "Caneca", pools, None, is_working=False)


def test_the_headline_speaks_for_all_targets() -> None:
    pool, view = target(9)
    same = replace(pool, targets=(view, replace(view, place="Matriz · Loja")))
    open_one = replace(view, shown=Decimal(4), missing=Decimal(5), gaps=(Gap(GapKind.HELD),))

    assert words.headline(derivation(same)) == "Os 2 depósitos mostram 9: tudo o que o conjunto tem."
    assert words.headline(derivation(pool)) == words.sentence(pool, view)
    assert words.headline(derivation(replace(same, targets=(view, open_one)))) == words.sentence(pool, open_one)
    assert words.headline(derivation(replace(same, targets=(open_one, open_one)))).startswith("2 dos 2 depósitos")
    assert "Nenhuma regra cuida deste SKU" in words.headline(derivation())


def test_the_headline_says_why_a_rule_leaves_it_alone() -> None:
    pool, _ = target(9)
    idle = replace(pool, row=None)

    assert "ainda não conferiu" in words.headline(derivation(idle))
    assert "Composição (kit)" in words.headline(derivation(replace(idle, problem="composition")))
    idle.group.is_active = False
    assert "não está ativa" in words.headline(derivation(idle))
