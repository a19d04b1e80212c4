"""Recorded answers: a Bling that never changes, written down as JSON and checked against openapi.json as it is sent.

It reads the description where the sandbox reads it otherwise: deleted products carry the letter E that events use,
deposits without stock are left out of a balance, and a product that does not exist is a 400.
"""

from __future__ import annotations

import json
from typing import Any

from tests.bling import openapi
from tests.bling.recorder import Request, raw

COMPANY_ID = "d4475854366a36c86a37e792f9634a51"
GERAL, LOJA, ANTIGO = 101, 102, 103
DEPOSITS = {"Geral": GERAL, "Loja virtual": LOJA, "Antigo": ANTIGO}
COPO, PRATO, FACA, CAMISA, CAMISA_P, KIT, VELHO, GARFO, NAMELESS = range(1001, 1010)
PRODUCTS = {
    "COPO-1": COPO,
    "PRATO": PRATO,
    "FACA": FACA,
    "CAMISA": CAMISA,
    "CAMISA-P": CAMISA_P,
    "KIT": KIT,
    "VELHO": VELHO,
    "GARFO": GARFO,
}
FILLERS = range(2001, 2121)


def answer(handler: Any, request: Request) -> None:
    status, body = _answer(request)
    shown = json.loads(body)
    if not request.path.startswith("/oauth/"):
        if request.path == "/produtos":  # The description forgets the situation E of its own events.
            shown["data"] = [entry | {"situacao": entry["situacao"].replace("E", "I")} for entry in shown["data"]]
        openapi.check_answer(request.method, request.path, status, shown)
    raw(status, body.encode(), Content_Type="application/json")(handler, request)


def _answer(request: Request) -> tuple[int, str]:
    match request.method, request.path:
        case "GET", "/empresas/me/dados-basicos":
            return 200, (
                f'{{"data": {{"id": "{COMPANY_ID}", "nome": "Matriz", "cnpj": "12.345.657/8910-11", '
                '"email": "matriz@empresa.com", "dataContrato": "2024-12-31"}}'
            )
        case "GET", "/depositos":
            return 200, json.dumps({"data": _deposits(request.values("situacao"))})
        case "GET", "/produtos":
            return 200, json.dumps({"data": _products(request)})
        case "GET", "/estoques/saldos":
            entries = _BALANCES[int(request.values("filtroSaldoEstoque")[0])]
            return 200, f'{{"data": [{", ".join(text for id_, text in entries.items() if id_ in request.ids)}]}}'
        case "POST", "/estoques":
            return _movement(json.loads(request.body)["produto"]["id"])
    return 404, _fault("RESOURCE_NOT_FOUND", "O recurso requisitado não foi encontrado")


def _deposits(situation: list[str]) -> list[dict[str, Any]]:
    if situation == ["0"]:
        return [_deposit("Antigo", 0)]
    return [_deposit("Geral", 1), _deposit("Loja virtual", 1)]


def _deposit(name: str, situation: int) -> dict[str, Any]:
    return {
        "id": DEPOSITS[name],
        "descricao": name,
        "situacao": situation,
        "padrao": name == "Geral",
        "desconsiderarSaldo": False,
    }


def _products(request: Request) -> list[dict[str, Any]]:
    if request.values("dataAlteracaoInicial"):
        listed = [_product(COPO, "COPO-1")]
    else:
        listed = [
            _product(COPO, "COPO-1"),
            _product(PRATO, "PRATO"),
            _product(FACA, " FACA "),
            _product(CAMISA, "CAMISA", formato="V"),
            _product(CAMISA_P, "CAMISA-P", idProdutoPai=CAMISA),
            _product(KIT, "KIT", formato="E"),
            _product(VELHO, "VELHO", situacao="I"),
            _product(GARFO, "GARFO", situacao="E"),
            _product(NAMELESS, ""),
            *(_product(id_, f"P-{id_}") for id_ in FILLERS),
        ]
    if request.values("criterio") == ["4"]:
        listed = [entry for entry in listed if entry["situacao"] == "E"]
    if request.ids:
        listed = [entry for entry in listed if entry["id"] in request.ids]
    page, size = int(request.values("pagina")[0]), int(request.values("limite")[0])
    return listed[(page - 1) * size : page * size]


def _product(id_: int, code: str, **changes: Any) -> dict[str, Any]:
    entry = {"id": id_, "nome": f"Produto {id_}", "codigo": code, "preco": 4.99, "tipo": "P", "situacao": "A"}
    return entry | {"formato": "S", "descricaoCurta": ""} | changes


_BALANCES = {
    1: {
        COPO: (
            '{"produto": {"id": 1001, "codigo": "COPO-1"}, "saldoFisicoTotal": 15.5, "saldoVirtualTotal": 13.0, '
            '"depositos": [{"id": 101, "saldoFisico": 12.500000000000002, "saldoVirtual": 10.0}, '
            '{"id": 102, "saldoFisico": 3, "saldoVirtual": 3}]}'
        ),
        CAMISA_P: (
            '{"produto": {"id": 1005, "codigo": "CAMISA-P"}, "saldoFisicoTotal": 7, "saldoVirtualTotal": 7, '
            '"depositos": [{"id": 101, "saldoFisico": 7, "saldoVirtual": 7}]}'
        ),
    },
    0: {
        PRATO: (
            '{"produto": {"id": 1002, "codigo": "PRATO"}, "saldoFisicoTotal": 0, "saldoVirtualTotal": 0, '
            '"depositos": []}'
        )
    },
    2: {
        FACA: (
            '{"produto": {"id": 1003, "codigo": "FACA"}, "saldoFisicoTotal": -2, "saldoVirtualTotal": -2, '
            '"depositos": [{"id": 101, "saldoFisico": -2, "saldoVirtual": -2}]}'
        )
    },
}


def _movement(product_id: int) -> tuple[int, str]:
    if product_id == COPO:
        return 201, '{"data": {"id": 12345678}}'
    field = {"code": 49, "msg": "O produto não pode ter estoque lançado", "element": "produto", "namespace": "ESTOQUES"}
    return 400, _fault("VALIDATION_ERROR", "Não foi possível salvar o estoque", [field])


def _fault(type_: str, message: str, fields: list[dict[str, Any]] | None = None) -> str:
    told = {"type": type_, "message": message, "description": "Ocorreram problemas em sua validação.", "fields": fields}
    return json.dumps({"error": {key: value for key, value in told.items() if value}})
