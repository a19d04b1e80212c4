"""What a stock rule may look like: examples of every fault, at its path."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from core.documents import Fault, Place
from core.group_draft import DepositPlace, GroupDraft, Limits, TargetDraft, check_together, read_group

ACCOUNTS = ("matriz", "filial")
GERAL = {"account": "matriz", "deposit": 1}
LOJA = {"account": "matriz", "deposit": 2}
SITE = {"account": "filial", "deposit": 3}


def rule(**changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "key": "geral",
        "name": "Estoque geral",
        "mode": "sum",
        "balance": "virtual",
        "active": True,
        "sources": [GERAL, LOJA],
        "targets": [SITE],
    }
    return {**plain, **changes}


def mirror(**changes: Any) -> dict[str, Any]:
    return rule(**{"mode": "mirror", "sources": [], "targets": [GERAL, SITE], "seed": SITE, **changes})


def read(document: object) -> tuple[GroupDraft, list[str]]:
    faults: list[Fault] = []
    draft = read_group(Place(document, "g", faults), ACCOUNTS)
    return draft, [str(fault) for fault in faults]


def test_it_reads_a_whole_rule() -> None:
    draft, faults = read(
        rule(
            targets=[{**SITE, "reserve": "2", "percent": 50, "max": Decimal("7.5"), "stop_at": "0"}],
            write_back=[LOJA],
            seed=None,
            target_movements="overwrite",
            guard={"min_skus": 5, "percent": "12.5"},
            overrides=[
                {"sku": " A-1 ", "target": SITE, "max": "3"},
                {"sku": "A-1", "target": None, "ignore": True},
            ],
        )
    )

    assert not faults
    assert draft.sources == (DepositPlace("matriz", 1), DepositPlace("matriz", 2))
    limits = Limits(Decimal(2), Decimal(50), Decimal("7.5"), Decimal(0))
    assert draft.targets == (TargetDraft(DepositPlace("filial", 3), limits),)
    assert draft.write_back == (DepositPlace("matriz", 2),)
    assert (draft.target_movements, draft.guard_min_skus, draft.guard_percent) == ("overwrite", 5, Decimal("12.5"))
    assert [(one.sku, one.target, one.limits.max, one.is_ignored) for one in draft.overrides] == [
        ("A-1", DepositPlace("filial", 3), Decimal(3), False),
        ("A-1", None, None, True),
    ]


def test_what_may_be_left_out_has_the_documented_default() -> None:
    draft, faults = read(rule())

    assert not faults
    assert (draft.target_movements, draft.guard_min_skus, draft.guard_percent) == ("write_back", 20, Decimal(30))
    assert draft.targets[0].limits == Limits()
    assert (draft.write_back, draft.seed, draft.overrides) == ((), None, ())


def test_a_mirror_needs_no_sources() -> None:
    draft, faults = read({key: value for key, value in mirror().items() if key != "sources"})

    assert not faults
    assert draft.seed == DepositPlace("filial", 3)


@pytest.mark.parametrize(
    ("document", "told"),
    [
        pytest.param([], ["g: deve ser um objeto, não uma lista"], id="no object"),
        pytest.param(rule(mode="soma"), ["g.mode: deve ser “sum” ou “mirror”, não “soma”"], id="unknown mode"),
        pytest.param(rule(key="Geral!"), ["g.key: use letras minúsculas"], id="key"),
        pytest.param(rule(nome="x"), ["g.nome: chave desconhecida"], id="unknown key"),
        pytest.param(rule(sources="x"), ["g.sources: deve ser uma lista", "g.sources: escolha"], id="no list"),
        pytest.param(rule(sources=[]), ["g.sources: escolha pelo menos um depósito principal"], id="no source"),
        pytest.param(rule(targets=[]), ["g.targets: escolha pelo menos um depósito compartilhado"], id="no target"),
        pytest.param(
            rule(sources=[{"account": "loja", "deposit": 1}]),
            ["g.sources[0].account: conta desconhecida: “loja”"],
            id="unknown account",
        ),
        pytest.param(
            rule(sources=[{"account": "matriz"}]), ["g.sources[0].deposit: obrigatório"], id="deposit without id"
        ),
        pytest.param(
            rule(targets=[{**SITE, "deposit": "3"}]),
            ["g.targets[0].deposit: deve ser um número inteiro"],
            id="id as text",
        ),
        pytest.param(
            rule(targets=[{**SITE, "percent": "130"}]), ["g.targets[0].percent: deve estar entre 0 e 100"], id="130 %"
        ),
        pytest.param(
            rule(targets=[{**SITE, "reserve": "-1", "max": "-2", "stop_at": "x"}]),
            [
                "g.targets[0].reserve: não pode ser negativo",
                "g.targets[0].max: não pode",
                "g.targets[0].stop_at: deve ser",
            ],
            id="limits",
        ),
        pytest.param(rule(sources=[GERAL, GERAL]), ["g.sources[1]: este depósito já está"], id="source twice"),
        pytest.param(rule(targets=[SITE, SITE]), ["g.targets[1]: este depósito já está"], id="target twice"),
        pytest.param(rule(targets=[GERAL]), ["g.targets[0]: um depósito não pode ser principal e"], id="both"),
        pytest.param(rule(write_back=[SITE]), ["g.write_back[0]: este depósito não está entre os p"], id="write-back"),
        pytest.param(rule(write_back=[LOJA, LOJA]), ["g.write_back[1]: este depósito já"], id="write-back twice"),
        pytest.param(rule(seed=SITE), ["g.seed: só existe no modo espelho"], id="seed of a sum"),
        pytest.param(mirror(sources=[LOJA]), ["g.sources: o modo espelho"], id="mirror with sources"),
        pytest.param(mirror(write_back=[GERAL]), ["g.write_back: só existe no modo soma"], id="mirror write-back"),
        pytest.param(mirror(seed=None), ["g.seed: obrigatório no modo espelho"], id="mirror without seed"),
        pytest.param(mirror(seed=LOJA), ["g.seed: este depósito não está entre os compartilhados"], id="foreign seed"),
        pytest.param(
            rule(guard={"min_skus": -1, "percent": "101", "x": 1}),
            ["g.guard.x: chave", "g.guard.percent: deve", "g.guard.min_skus: deve"],
            id="guard",
        ),
        pytest.param(rule(guard=5), ["g.guard: deve ser um objeto, não um número"], id="guard that is no object"),
        pytest.param(
            rule(overrides=[{"target": LOJA}, {"sku": "A"}, {"sku": "A", "ignore": "yes"}]),
            [
                "g.overrides[0].sku: obrigatório",
                "g.overrides[2].ignore: deve ser true ou false",
                "g.overrides[0].target: este depósito não está entre os compartilhados",
                "g.overrides[2]: já há uma exceção para o SKU “A”",
            ],
            id="overrides",
        ),
        pytest.param(rule(target_movements="x"), ["g.target_movements: deve ser “write_back” ou"], id="movements"),
    ],
)
def test_it_names_every_fault_with_its_path(document: object, told: list[str]) -> None:
    _, faults = read(document)

    if isinstance(document, list):
        faults = faults[:1]
    assert len(faults) == len(told), faults
    for fault, beginning in zip(faults, told, strict=True):
        assert fault.startswith(beginning)


@pytest.mark.parametrize("key", ["key", "name", "mode", "balance", "active", "targets"])
def test_it_names_a_missing_key(key: str) -> None:
    document = rule()
    del document[key]

    _, faults = read(document)

    assert faults == [f"g.{key}: obrigatório e não foi informado"]


def draft(name: str, sources: list[Any], targets: list[Any]) -> GroupDraft:
    return read(rule(key=name, name=name, sources=sources, targets=targets))[0]


def test_a_source_may_be_shared_between_rules() -> None:
    groups = [("groups[0]", draft("a", [GERAL], [SITE])), ("groups[1]", draft("b", [GERAL], [LOJA]))]

    assert not check_together(groups)


@pytest.mark.parametrize(
    ("first", "second", "fault"),
    [
        (([GERAL], [SITE]), ([LOJA], [SITE]), "groups[1].targets[0]: este depósito já é compartilhado na regra “a”"),
        (([GERAL], [SITE]), ([SITE], [LOJA]), "groups[1].sources[0]: este depósito já é compartilhado na regra “a”"),
        (([GERAL], [SITE]), ([LOJA], [GERAL]), "groups[1].targets[0]: este depósito já é principal na regra “a”"),
    ],
)
def test_a_target_belongs_to_one_rule_only(first: Any, second: Any, fault: str) -> None:
    one, other = draft("a", *first), draft("b", *second)

    assert [str(f) for f in check_together([("groups[0]", one), ("groups[1]", other)])] == [fault]
    assert [str(f) for f in check_together([("groups[1]", other)], existing=[one])] == [fault]
    assert not check_together([], existing=[one, other])


def test_its_places_are_the_sources_and_then_the_targets() -> None:
    assert draft("a", [GERAL, LOJA], [SITE]).places == [
        DepositPlace("matriz", 1),
        DepositPlace("matriz", 2),
        DepositPlace("filial", 3),
    ]
