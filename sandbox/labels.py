"""The Portuguese words of the pages, and how they write numbers and times."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from .wire import plain
from .world import BRASILIA_S

FAULTS = {
    "webhook_duplicate": "Webhook duplicado",
    "webhook_late": "Webhook atrasado",
    "webhook_lost": "Webhook perdido",
    "webhook_reordered": "Webhook fora de ordem",
    "error_500": "Erro 500",
    "error_500_after": "Erro 500 depois de gravar",
    "rate_limited": "Erro 429",
    "unauthorized": "Token recusado (401)",
    "forbidden": "Acesso negado (403)",
    "slow": "Resposta lenta",
    "slow_after": "Resposta lenta depois de gravar",
    "cut_before": "Conexão cortada antes de gravar",
    "cut_after": "Conexão cortada depois de gravar",
    "cut_read": "Conexão cortada na leitura",
    "stale": "Saldo desatualizado",
}
FAULT_TEXTS = {
    "webhook_duplicate": "O mesmo evento é entregue duas vezes.",
    "webhook_late": "O evento só sai depois dos segundos informados.",
    "webhook_lost": "O evento nunca é enviado.",
    "webhook_reordered": "O próximo evento da conta passa na frente deste.",
    "error_500": "A API responde 500 e nada é feito.",
    "error_500_after": "O lançamento é gravado, mas a resposta é 500.",
    "rate_limited": "A API responde que o limite foi atingido.",
    "unauthorized": "A conta recusa o token de acesso.",
    "forbidden": "A conta nega a permissão.",
    "slow": "Espera os segundos informados antes de fazer o que foi pedido.",
    "slow_after": "Faz o que foi pedido e só responde depois dos segundos informados.",
    "cut_before": "O lançamento não é gravado e a conexão cai.",
    "cut_after": "O lançamento é gravado e a conexão cai sem resposta.",
    "cut_read": "A conexão cai durante uma leitura.",
    "stale": "Os saldos respondidos são os de alguns segundos atrás.",
}
MOVED = {
    "sell": "Venda de {quantity} × {product} registrada em {account}.",
    "receive": "Entrada de {quantity} × {product} registrada em {account}.",
    "count": "Balanço de {product} em {account}: o saldo agora é {quantity}.",
    "reserve": "Pedido em aberto: {quantity} × {product} reservado em {account}.",
}
OPERATIONS = {"E": "Entrada", "S": "Saída", "B": "Balanço"}
ORIGINS = {"api": "API", "screen": "Tela", "order": "Pedido"}
FORMATS = {"S": "Simples", "V": "Com variações", "E": "Composição"}
SITUATIONS = {"A": "Ativo", "I": "Inativo", "E": "Excluído"}
ORDER_STATES = {
    "open": "Em aberto",
    "posted": "Atendido",
    "cancelled": "Cancelado",
    "deleted": "Excluído",
}
DELIVERY_STATES = {
    "queued": "Na fila",
    "retry": "Nova tentativa",
    "delivered": "Entregue",
    "lost": "Perdido de propósito",
    "given_up": "Desistiu",
    "off": "Desligado",
}
DELIVERY_ERRORS = {
    "ConnectionError": "conexão recusada",
    "ConnectTimeout": "não conectou a tempo",
    "ReadTimeout": "não respondeu a tempo",
}


def delivery_error(name: str) -> str:
    return DELIVERY_ERRORS.get(name, f"falhou ({name})")


def number(value: Decimal) -> str:
    """As written in Brazil: 1.234,5."""
    whole, _, part = plain(value).partition(".")
    sign, digits = ("−", whole[1:]) if whole.startswith("-") else ("", whole)
    grouped = f"{int(digits):,}".replace(",", ".")
    return f"{sign}{grouped},{part}" if part else f"{sign}{grouped}"


def typed(value: Decimal) -> str:
    """As a person types it into a field: 1234,5."""
    return plain(value).replace(".", ",")


def clock(moment: float) -> str:
    return _local(moment).strftime("%H:%M:%S")


def moment(value: float) -> str:
    return _local(value).strftime("%d/%m/%Y %H:%M:%S")


def seconds(value: float) -> str:
    return number(Decimal(repr(round(value, 1))))


def percent(value: float) -> str:
    return f"{number(Decimal(repr(round(value * 100, 1))))}%"


def _local(value: float) -> datetime:
    return datetime.fromtimestamp(value + BRASILIA_S, UTC)


FILTERS: dict[str, Any] = {
    "number": number,
    "typed": typed,
    "clock": clock,
    "moment": moment,
    "seconds": seconds,
    "percent": percent,
    "delivery_error": delivery_error,
    "operation": OPERATIONS.get,
    "origin": ORIGINS.get,
    "format_name": FORMATS.get,
    "situation": SITUATIONS.get,
    "order_state": ORDER_STATES.get,
    "delivery_state": DELIVERY_STATES.get,
}
