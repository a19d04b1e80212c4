"""What a setup file may look like: examples of every fault, at its path."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.setup_file import AppPair, SetupDraft, TokenPair, read_setup, read_slug

ANA = {"email": "Ana@Loja.example", "name": "Ana", "role": "owner"}
MATRIZ = {"key": "matriz", "name": "Matriz"}
FILIAL = {"key": "filial", "name": "Filial"}
TOKENS = {"access_token": "um", "refresh_token": "outro", "expires_in": 21_600}
GERAL = {
    "key": "geral",
    "name": "Estoque geral",
    "mode": "sum",
    "balance": "virtual",
    "active": True,
    "sources": [{"account": "matriz", "deposit": 1}],
    "targets": [{"account": "filial", "deposit": 2}],
}


def setup(**changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "organization": {"slug": "loja", "name": "Loja Exemplo", "reconcile_every_minutes": 30},
        "users": [ANA],
        "accounts": [MATRIZ, FILIAL],
        "groups": [GERAL],
    }
    return {**plain, **changes}


def read(document: object, **known: Any) -> tuple[SetupDraft, list[str]]:
    draft, faults = read_setup(document, **known)
    return draft, [str(fault) for fault in faults]


def test_it_reads_a_whole_file() -> None:
    draft, faults = read(
        setup(
            users=[{**ANA, "password": " com espaços "}],
            accounts=[
                {**MATRIZ, **TOKENS, "client_id": "app", "client_secret": "segredo", "webhook_key": "a-b.c_d~1"},
                {**FILIAL, "client_id": "app"},
            ],
        )
    )

    assert not faults
    assert (draft.slug, draft.name, draft.reconcile_every_minutes) == ("loja", "Loja Exemplo", 30)
    (user,) = draft.users
    assert (user.email, user.name, user.role, user.password) == ("ana@loja.example", "Ana", "owner", " com espaços ")
    matriz, filial = draft.accounts
    assert (matriz.key, matriz.name, matriz.webhook_key) == ("matriz", "Matriz", "a-b.c_d~1")
    assert (matriz.tokens, matriz.app) == (TokenPair("um", "outro", 21_600), AppPair("app", "segredo"))
    assert (filial.tokens, filial.app, filial.webhook_key) == (None, AppPair("app", None), None)
    assert [group.key for group in draft.groups] == ["geral"]


def test_what_may_be_left_out_is_none() -> None:
    draft, faults = read(setup())

    assert not faults
    assert draft.users[0].password is None
    assert (draft.accounts[0].tokens, draft.accounts[0].app, draft.accounts[0].webhook_key) == (None, None, None)


def test_neither_tokens_nor_secrets_show_themselves() -> None:
    assert repr(TokenPair("um", "outro", 60)) == "TokenPair(expires_in_s=60)"
    assert repr(AppPair("app", "segredo")) == "AppPair(client_id='app')"


@pytest.mark.parametrize(
    ("document", "told"),
    [
        pytest.param([], ["o arquivo deve conter um objeto JSON"], id="no object"),
        pytest.param(setup(extra=1), ["extra: chave desconhecida"], id="unknown key"),
        pytest.param(
            {}, [f"{key}: obrigatório" for key in ("organization", "users", "accounts", "groups")], id="nothing"
        ),
        pytest.param(
            setup(organization={}),
            [f"organization.{key}: obrigatório" for key in ("slug", "name", "reconcile_every_minutes")],
            id="empty organization",
        ),
        pytest.param(
            setup(organization={"slug": "Loja!", "name": " ", "reconcile_every_minutes": 0, "x": 1}),
            [
                "organization.x: chave desconhecida",
                "organization.slug: use letras minúsculas",
                "organization.name: não pode ficar em branco",
                "organization.reconcile_every_minutes: deve estar entre 1 e 10080",
            ],
            id="organization",
        ),
        pytest.param(
            setup(users=[{"email": "ana", "name": "Ana", "role": "boss", "password": "", "x": 1}]),
            [
                "users[0].x: chave desconhecida",
                "users[0].email: não é um endereço de e-mail",
                "users[0].role: deve ser “owner”, “operator” ou “reader”, não “boss”",
                "users[0].password: deve ter de 1 a 1024 caracteres",
            ],
            id="user",
        ),
        pytest.param(
            setup(users=[{}]), [f"users[0].{key}: obrigatório" for key in ("email", "name", "role")], id="empty user"
        ),
        pytest.param(setup(users=[{**ANA, "password": "x" * 1025}]), ["users[0].password: deve ter"], id="long"),
        pytest.param(setup(users=[{**ANA, "password": 5}]), ["users[0].password: deve ser um texto"], id="no text"),
        pytest.param(
            setup(users=[ANA, {**ANA, "email": "ANA@loja.EXAMPLE"}]),
            ["users[1].email: repete o valor de users[0].email"],
            id="e-mail twice",
        ),
        pytest.param(
            setup(accounts=[MATRIZ, FILIAL, {"x": 1}]),
            [f"accounts[2].{key}" for key in ("key: obrigatório", "name: obrigatório", "x: chave desconhecida")],
            id="empty account",
        ),
        pytest.param(
            setup(accounts=[MATRIZ, {**FILIAL, "key": "Filial", "name": "x" * 81}]),
            [
                "accounts[1].key: use letras minúsculas",
                "accounts[1].name: longo demais: no máximo 80",
                "groups[0].targets[0].account: conta desconhecida: “filial”",
            ],
            id="account",
        ),
        pytest.param(
            setup(accounts=[MATRIZ, FILIAL, {**MATRIZ, "name": "x"}, {**FILIAL, "name": "y"}]),
            [
                "accounts[2].key: repete o valor de accounts[0].key",
                "accounts[3].key: repete o valor de accounts[1].key",
            ],
            id="keys twice",
        ),
        pytest.param(
            setup(accounts=[{**MATRIZ, "webhook_key": "w"}, {**FILIAL, "webhook_key": "w"}]),
            ["accounts[1].webhook_key: repete o valor de accounts[0].webhook_key"],
            id="webhook key twice",
        ),
        pytest.param(
            setup(accounts=[{**MATRIZ, "webhook_key": "é"}, FILIAL]),
            ["accounts[0].webhook_key: use só letras sem acento"],
            id="webhook key",
        ),
        pytest.param(
            setup(accounts=[{**MATRIZ, "access_token": "um"}, {**FILIAL, "refresh_token": "outro"}]),
            [
                "accounts[0].refresh_token: obrigatório",
                "accounts[0].expires_in: obrigatório",
                "accounts[1].access_token: obrigatório",
                "accounts[1].expires_in: obrigatório",
            ],
            id="half of the tokens",
        ),
        pytest.param(
            setup(accounts=[{**MATRIZ, "access_token": "a b", "refresh_token": "ç", "expires_in": -1}, FILIAL]),
            [
                "accounts[0].access_token: não tem a forma de um token",
                "accounts[0].refresh_token: não tem a forma de um token",
                "accounts[0].expires_in: deve estar entre 0 e 315360000",
            ],
            id="tokens",
        ),
        pytest.param(
            setup(accounts=[{**MATRIZ, "client_secret": "segredo"}, {**FILIAL, "client_id": "a b"}]),
            [
                "accounts[0].client_id: obrigatório junto com client_secret",
                "accounts[1].client_id: não tem a forma de um token",
            ],
            id="app",
        ),
        pytest.param(
            setup(accounts=[{**MATRIZ, "client_id": "app", "client_secret": "a b"}, FILIAL]),
            ["accounts[0].client_secret: não tem a forma de um token"],
            id="secret",
        ),
        pytest.param(
            setup(groups=[GERAL, {**GERAL, "name": "Outra", "targets": [{"account": "filial", "deposit": 3}]}]),
            ["groups[1].key: repete o valor de groups[0].key"],
            id="group twice",
        ),
        pytest.param(
            setup(groups=[GERAL, {**GERAL, "key": "outra"}]),
            ["groups[1].targets[0]: este depósito já é compartilhado na regra “Estoque geral”"],
            id="target of two groups",
        ),
    ],
)
def test_it_names_every_fault_with_its_path(document: object, told: list[str]) -> None:
    _, faults = read(document)

    assert len(faults) == len(told), faults
    for beginning in told:
        assert any(fault.startswith(beginning) for fault in faults), (beginning, faults)


def test_a_rule_may_name_accounts_that_are_there_already() -> None:
    document = setup(accounts=[])

    assert read(document)[1]
    assert not read(document, known_accounts=("matriz", "filial"))[1]


def test_a_rule_may_not_contradict_those_that_stay() -> None:
    existing = read(setup())[0].groups
    other = {**GERAL, "key": "outra", "name": "Outra"}

    _, faults = read(setup(groups=[other]), existing_groups=existing)

    assert faults == ["groups[0].targets[0]: este depósito já é compartilhado na regra “Estoque geral”"]


def test_a_rule_that_the_file_names_takes_the_place_of_the_one_that_was() -> None:
    existing = read(setup())[0].groups

    assert not read(setup(groups=[{**GERAL, "name": "Nome novo"}]), existing_groups=existing)[1]


@pytest.mark.parametrize(
    ("document", "slug"),
    [
        (setup(), "loja"),
        (setup(organization={"slug": "Loja!"}), ""),
        (setup(organization=5), ""),
        ({}, ""),
        ([], ""),
    ],
)
def test_it_finds_the_merchant_whatever_else_is_wrong(document: object, slug: str) -> None:
    assert read_slug(document) == slug


_leaf = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.sampled_from(["matriz", "sum", "owner"])
_anything = st.recursive(
    _leaf, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2)
)


@given(st.sampled_from(["organization", "users", "accounts", "groups"]), _anything)
def test_it_never_raises_whatever_it_is_given(part: str, value: object) -> None:
    for document in (value, setup(**{part: value}), setup(**{part: [value]})):
        draft, faults = read_setup(document)

        assert isinstance(draft, SetupDraft)
        assert isinstance(read_slug(document), str)
        assert all(str(fault) for fault in faults)
