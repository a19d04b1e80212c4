"""Records as the JSON of Bling's API description."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from .balances import Balance, Balances
from .records import Account, Deposit, Order, Product
from .webhooks import ORDER_SITUATIONS
from .world import BRASILIA_S, World, iso


def company(account: Account) -> dict[str, Any]:
    return {
        "id": account.company_id,
        "nome": account.name,
        "cnpj": account.cnpj,
        "email": account.email,
        "dataContrato": account.since,
    }


def deposit(record: Deposit) -> dict[str, Any]:
    return {
        "id": record.id,
        "descricao": record.name,
        "situacao": record.situation,
        "padrao": record.is_default,
        "desconsiderarSaldo": record.ignores_balance,
    }


def listed_product(record: Product, virtual_total: Decimal) -> dict[str, Any]:
    body = _product(record)
    body["precoCusto"] = Decimal(0)
    body["estoque"] = {"saldoVirtualTotal": virtual_total}
    if record.parent_id is not None:
        body["idProdutoPai"] = record.parent_id
    return body


def product(world: World, record: Product, virtual_total: Decimal) -> dict[str, Any]:
    """One product in full, a parent with its variations."""
    body = _full_product(record, virtual_total)
    children = [p for p in world.products.values() if p.parent_id == record.id]
    if record.format == "V" or children:
        body["variacoes"] = [
            _full_product(child, Decimal(0)) | {"variacao": _variation(child, order)}
            for order, child in enumerate(children, 1)
        ]
    if record.parent_id is not None:
        siblings = [p.id for p in world.products.values() if p.parent_id == record.parent_id]
        body["variacao"] = _variation(record, siblings.index(record.id) + 1)
    return body


def structure(record: Product) -> dict[str, Any]:
    return {
        "tipoEstoque": "V",
        "lancamentoEstoque": "M",
        "componentes": [
            {"produto": {"id": part.product_id}, "quantidade": part.quantity} for part in record.components
        ],
    }


def product_balances(record: Product, balances: Balances) -> dict[str, Any]:
    return _balance(record, balances.physical_total, balances.virtual_total) | {
        "depositos": [
            {"id": id_, "saldoFisico": here.physical, "saldoVirtual": here.virtual}
            for id_, here in balances.deposits.items()
        ]
    }


def deposit_balance(record: Product, balance: Balance) -> dict[str, Any]:
    return _balance(record, balance.physical, balance.virtual)


def listed_order(record: Order) -> dict[str, Any]:
    day = iso(record.created_at + BRASILIA_S)[:10]
    situation, value = ORDER_SITUATIONS[record.state]
    return {
        "id": record.id,
        "numero": record.number,
        "numeroLoja": "",
        "data": day,
        "dataSaida": day,
        "dataPrevista": day,
        "totalProdutos": record.total,
        "total": record.total,
        "contato": {
            "id": 0,
            "nome": "Consumidor Final",
            "tipoPessoa": "F",
            "numeroDocumento": "",
        },
        "situacao": {"id": situation, "valor": value},
        "loja": {"id": 0},
    }


def order(world: World, record: Order) -> dict[str, Any]:
    items = []
    for position, item in enumerate(record.items, 1):
        sold = world.products.get(item.product_id)
        items.append(
            {
                "id": record.id * 100 + position,
                "codigo": sold.sku if sold else "",
                "unidade": sold.unit if sold else "UN",
                "quantidade": item.quantity,
                "desconto": Decimal(0),
                "valor": item.price,
                "valorLista": item.price,
                "aliquotaIPI": Decimal(0),
                "descricao": sold.name if sold else "Produto excluído",
                "produto": {"id": item.product_id},
            }
        )
    return listed_order(record) | {
        "observacoes": "",
        "observacoesInternas": "",
        "itens": items,
        "parcelas": [],
        "vendedor": {"id": 0},
    }


def _product(record: Product) -> dict[str, Any]:
    return {
        "id": record.id,
        "nome": record.name,
        "codigo": record.sku,
        "preco": record.price,
        "tipo": record.kind,
        # The API description knows no deleted state: such a product shows as inactive, and only
        # the criterion 4 tells it apart.
        "situacao": "A" if record.situation == "A" else "I",
        "formato": record.format,
        "descricaoCurta": "",
        "imagemURL": "",
    }


def _full_product(record: Product, virtual_total: Decimal) -> dict[str, Any]:
    body = _product(record) | {
        "unidade": record.unit,
        "gtin": record.gtin,
        "tipoProducao": "P",
        "condicao": 0,
        "freteGratis": False,
        "marca": "",
        "descricaoComplementar": "",
        "observacoes": "",
        "estoque": {
            "minimo": Decimal(0),
            "maximo": Decimal(0),
            "crossdocking": 0,
            "localizacao": "",
            "saldoVirtualTotal": virtual_total,
        },
    }
    if record.format == "E":
        body["estrutura"] = structure(record)
    return body


def _variation(record: Product, order_number: int) -> dict[str, Any]:
    return {
        "nome": record.variation,
        "ordem": order_number,
        "atributos": record.variation,
        "produtoPai": {"id": record.parent_id, "cloneInfo": True},
    }


def _balance(record: Product, physical: Decimal, virtual: Decimal) -> dict[str, Any]:
    return {
        "produto": {"id": record.id, "codigo": record.sku},
        "saldoFisicoTotal": physical,
        "saldoVirtualTotal": virtual,
    }
