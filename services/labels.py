"""The one glossary: every status and reason code as a merchant reads it, and the formats of quantities and times.

Badges, filters, the history and the help pages all take their words from here, so that one thing has one name.
A code that is not in the glossary is shown as it is rather than hidden.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal
from zoneinfo import ZoneInfo

import clock

ZONE = ZoneInfo("America/Sao_Paulo")
MINUS = "\u2212"
NO_BREAK = "\u00a0"

Tone = Literal["ok", "info", "warn", "error", "neutral"]


@dataclass(frozen=True, slots=True)
class Label:
    """`text` stands on the badge, `help` explains it in a sentence or two; the tone never stands alone."""

    text: str
    tone: Tone = "neutral"
    help: str = ""


STATUSES: Mapping[str, Label] = {
    "ok": Label("Sincronizado", "ok", "Todos os depósitos compartilhados têm o saldo calculado."),
    "unchanged": Label("Sem mudança", "ok", "O saldo já estava certo; nada precisou ser escrito."),
    "queued": Label("Na fila", "neutral", "Aguardando a vez. Começa sozinho em instantes."),
    "running": Label("Sincronizando", "info", "Lendo os saldos no Bling e escrevendo o que falta."),
    "retry": Label(
        "Nova tentativa", "warn", "O Bling limitou ou não respondeu. O sistema tenta de novo sozinho; nada se perde."
    ),
    "partial": Label("Parcial", "warn", "Uma parte foi atualizada e outra não. Os detalhes dizem qual e por quê."),
    "failed": Label("Com erro", "error", "Não foi possível sincronizar. Os detalhes dizem a causa e o que fazer."),
    "skipped": Label("Ignorado", "neutral", "Este produto não é sincronizado; o motivo está ao lado."),
    "missing": Label("Não encontrado", "neutral", "O SKU não existe nas contas que participam da regra."),
    "dup": Label(
        "SKU duplicado",
        "error",
        "Dois produtos da mesma conta usam este SKU. Corrija no Bling: o sistema não escolhe por você.",
    ),
    "held": Label(
        "Aguarda aprovação",
        "warn",
        "A sincronização baixaria produtos demais de uma vez: parou antes de escrever e espera que alguém decida.",
    ),
    "review": Label(
        "Em revisão",
        "warn",
        "Uma escrita não teve resposta do Bling. Se nem os avisos nem o saldo disserem se ela valeu, vale o menor "
        "total e a pergunta espera em Revisão.",
    ),
}

# The same, of a run that undoes.
UNDO_STATUSES: Mapping[str, Label] = {
    **STATUSES,
    "ok": Label("Desfeito", "ok", "Os saldos voltaram ao que eram antes da escrita."),
    "unchanged": Label("Nada a desfazer", "neutral", "As escritas já se anulavam."),
    "running": Label("Desfazendo", "info", "Lendo os saldos no Bling e escrevendo os movimentos opostos."),
    "partial": Label("Desfeito em parte", "warn", "Uma parte foi desfeita e outra não. Os detalhes dizem por quê."),
    "failed": Label("Não desfeito", "warn", "Nada foi alterado. Os detalhes dizem por quê."),
}

RUN_TYPES: Mapping[str, Label] = {
    "webhook": Label("Webhook", "info", "Uma notificação do Bling avisou de uma mudança."),
    "cron": Label("Agendada", "neutral", "A conferência periódica, que corrige o que nenhum aviso contou."),
    "manual": Label("Manual", "neutral", "Alguém clicou em Sincronizar agora."),
}

ACCOUNT_STATES: Mapping[str, Label] = {
    "connected": Label("Conectada", "ok", "O acesso ao Bling funciona."),
    "paused": Label("Pausada", "neutral", "Não lemos nem escrevemos nesta conta até você retomar."),
    "reconnect": Label(
        "Reconectar",
        "error",
        "O Bling recusou o acesso. As vendas desta conta não baixam o estoque das outras até você reconectar.",
    ),
    "disconnected": Label("Desconectada", "neutral", "O acesso foi encerrado; o histórico continua guardado."),
}

WEBHOOK_HEALTH: Mapping[str, Label] = {
    "receiving": Label("Recebendo", "ok", "O Bling avisou de mudanças nas últimas 24 horas."),
    "quiet": Label(
        "Sem avisos recentes",
        "warn",
        "Nenhum aviso há mais de 24 horas. Se houve vendas nesta conta, confira o webhook no Bling.",
    ),
    "never": Label("Nunca recebeu", "warn", "Nenhum aviso chegou até hoje. Confira o webhook no Bling."),
}

EVENT_STATES: Mapping[str, Label] = {
    "pending": Label("Aguardando", "neutral", "Recebido e guardado; será tratado em instantes."),
    "processed": Label("Tratado", "ok", "A mudança foi conferida e propagada."),
    "echo": Label("Eco nosso", "neutral", "O Bling confirmou uma escrita que nós mesmos fizemos."),
    "kept": Label("Guardado", "neutral", "Não muda o estoque; fica guardado para consulta."),
    "ignored": Label("Ignorado", "neutral", "Não diz respeito a nenhuma regra ativa."),
    "unreadable": Label("Ilegível", "warn", "O conteúdo não tem a forma que o Bling documenta."),
    "failed": Label("Com erro", "error", "Não foi possível tratar este aviso."),
}

EVENT_KINDS: Mapping[str, Label] = {
    "stock.created": Label("Lançamento de estoque"),
    "stock.updated": Label("Estoque alterado"),
    "stock.deleted": Label("Lançamento excluído"),
    "virtual_stock.updated": Label("Saldo virtual alterado"),
    "product.created": Label("Produto criado"),
    "product.updated": Label("Produto alterado"),
    "product.deleted": Label("Produto excluído"),
    "order.created": Label("Pedido de venda criado"),
    "order.updated": Label("Pedido de venda alterado"),
    "order.deleted": Label("Pedido de venda excluído"),
}

WRITE_STATES: Mapping[str, Label] = {
    "planned": Label("Planejada", "neutral", "Registrada; ainda não foi enviada ao Bling."),
    "sending": Label("Enviando", "info", "A chamada ao Bling está em andamento."),
    "confirmed": Label("Confirmada", "ok", "O Bling aceitou e devolveu o número do lançamento."),
    "rejected": Label("Recusada", "error", "O Bling recusou. Nada foi alterado por esta escrita."),
    "unknown": Label(
        "Sem resposta", "warn", "A chamada não teve resposta. Até sabermos se valeu, nada mais é escrito neste saldo."
    ),
    "cancelled": Label("Cancelada", "neutral", "Deixou de ser necessária antes de ser enviada."),
    "undecided": Label(
        "Em revisão",
        "warn",
        "O Bling não respondeu, e nem os avisos nem o saldo dizem se a escrita valeu. Até alguém responder em Revisão, "
        "vale a leitura com o menor total.",
    ),
}

WRITE_PURPOSES: Mapping[str, Label] = {
    "target": Label("Atualização do compartilhado"),
    "write_back": Label("Baixa no principal"),
}

DEPOSIT_ROLES: Mapping[str, Label] = {
    "source": Label("Principal", "neutral", "Depósito onde o estoque está de verdade; os principais são somados."),
    "target": Label("Compartilhado", "neutral", "Depósito que recebe o saldo calculado."),
}

GROUP_MODES: Mapping[str, Label] = {
    "sum": Label("Soma", "neutral", "Os depósitos principais são somados e o total aparece nos compartilhados."),
    "mirror": Label("Espelho", "neutral", "Todos os depósitos mostram o mesmo estoque, visto de várias contas."),
}

BALANCES: Mapping[str, Label] = {
    "physical": Label("Saldo físico", "neutral", "O que está na prateleira."),
    "virtual": Label("Saldo virtual", "neutral", "O saldo físico menos o que pedidos em aberto já reservaram."),
}

USER_ROLES: Mapping[str, Label] = {
    "owner": Label("Dono", "neutral", "Pode tudo."),
    "operator": Label("Operador", "neutral", "Sincroniza e altera regras."),
    "reader": Label("Leitura", "neutral", "Vê tudo e não altera nada."),
}

PROBLEMS: Mapping[str, Label] = {
    "duplicate": Label(
        "SKU duplicado na conta",
        "error",
        "Dois produtos da mesma conta usam este SKU. Deixe o SKU em um só produto e sincronize de novo.",
    ),
    "empty_sku": Label("Produto sem SKU", "neutral", "Preencha o código (SKU) do produto no Bling."),
    "composition": Label(
        "Composição (kit)", "neutral", "O saldo de um kit segue o dos componentes; o Bling não aceita escrevê-lo."
    ),
    "parent": Label(
        "Produto com variações", "neutral", "O estoque está nas variações; cada uma é sincronizada pelo próprio SKU."
    ),
    "inactive": Label("Produto inativo", "neutral", "Ative o produto no Bling para que ele volte a ser sincronizado."),
    "deleted": Label("Produto excluído", "neutral", "O produto foi excluído no Bling."),
    "deposit_off": Label("Depósito desativado", "warn", "Reative o depósito no Bling ou tire-o da regra."),
    "no_source": Label(
        "Falta nos depósitos principais", "neutral", "Nenhuma conta dos depósitos principais tem este SKU."
    ),
    "no_target": Label(
        "Falta nos depósitos compartilhados", "neutral", "Nenhuma conta dos compartilhados tem este SKU."
    ),
    "unreadable": Label(
        "Saldo que não pôde ser lido",
        "warn",
        "O último saldo conhecido vale enquanto isso, e os compartilhados só podem baixar, nunca subir.",
    ),
    "never_read": Label(
        "Saldo nunca lido", "warn", "Enquanto este saldo não for lido uma primeira vez, nada é escrito para o SKU."
    ),
    "absent": Label("Saldo ausente na resposta do Bling", "warn", "O Bling não informou o saldo deste depósito."),
    "put_off": Label(
        "Mudança recente", "info", "O Bling pode levar alguns segundos para mostrar uma mudança; olhamos de novo já."
    ),
    "lower_only": Label(
        "Só pode baixar por enquanto",
        "warn",
        "Um saldo de que o cálculo precisa não pôde ser lido; até lá os compartilhados podem baixar, nunca subir.",
    ),
    "reconnect": Label(
        "Conta sem acesso",
        "error",
        "O Bling recusou o acesso desta conta. Reconecte-a em Contas; a sincronização continua sozinha depois.",
    ),
    "paused": Label("Conta pausada", "neutral", "Retome a conta em Contas para que ela volte a ser lida e escrita."),
    "disconnected": Label(
        "Conta desconectada", "neutral", "Conecte a conta de novo ou tire os depósitos dela da regra."
    ),
    "rejected": Label(
        "Escrita recusada pelo Bling",
        "error",
        "O Bling recusou o lançamento e disse por quê nos detalhes. Corrija a causa e sincronize o produto de novo.",
    ),
    "open_write": Label("Escrita em andamento", "info", "Esperando a escrita anterior terminar."),
    "unknown_write": Label(
        "Escrita sem resposta",
        "warn",
        "O Bling não respondeu a uma escrita. Os avisos e o saldo dizem em segundos se ela valeu; se nem assim se "
        "souber, vale o menor total e a pergunta espera em Revisão.",
    ),
    "undo_already": Label("Já desfeito", "neutral", "Outro desfazer já levou esta escrita de volta."),
    "undo_no_books": Label(
        "Sem registro para comparar",
        "neutral",
        "A regra foi ativada de novo ou excluída depois; não há como saber o que mudou no saldo desde então.",
    ),
    "undo_moved": Label(
        "Houve movimento desde então",
        "warn",
        "O estoque deste produto mudou depois (venda, entrada, contagem ou pedido); desfazer apagaria essa mudança.",
    ),
    "undo_rewritten": Label(
        "Foi sincronizado de novo depois",
        "warn",
        "Uma sincronização mais nova, que não está entre as escolhidas, já escreveu neste saldo.",
    ),
    "undo_rule_active": Label(
        "A regra continua ativa e pediria este saldo de novo",
        "neutral",
        "Para desfazê-lo, deixe a regra ser desativada ou o SKU ser ignorado nela.",
    ),
    "undo_renamed": Label("O produto mudou de SKU", "warn", "O produto que recebeu a escrita tem outro SKU hoje."),
    "undo_below_zero": Label(
        "Ficaria abaixo do que há", "warn", "O saldo ficaria negativo ou menor do que os pedidos em aberto já reservam."
    ),
    "look_alike": Label(
        "SKUs que parecem o mesmo",
        "warn",
        "Mudam só em maiúsculas, zeros, espaços ou sinais. Confira se são um só.",
    ),
    "left_write": Label(
        "Baixa sem confirmação", "warn", "O produto saiu da regra antes de se saber se a última escrita valeu."
    ),
    "owed": Label(
        "Movimento que falta lançar",
        "warn",
        "Nenhum principal pôde receber ainda o que um compartilhado vendeu.",
    ),
    "alone": Label("SKU de uma conta só", "neutral", "Nenhuma outra conta da regra tem este SKU."),
    "ignored": Label("Ignorado pela regra", "neutral", "A regra diz para não sincronizar este SKU."),
    "catalog_missing": Label(
        "Produto fora do catálogo", "warn", "O produto ainda não foi lido da conta; a leitura já foi pedida."
    ),
}

# Why a run was started or an event was not followed, where it is neither a problem of a product nor a sentence.
REASONS: Mapping[str, Label] = {
    "activation": Label("Primeira sincronização depois de ativar a regra"),
    "rules": Label("Regras alteradas"),
    "override": Label("Exceção de um produto alterada"),
    "schedule": Label("Conferência periódica"),
    "discarded": Label("Descartado por quem conferiu a execução"),
    "superseded": Label("Uma conferência mais nova olhou este produto de novo"),
    "undo": Label("Desfaz o que outra sincronização escreveu"),
    "no_rule": Label("Nenhuma regra ativa inclui este produto"),
    "unknown_company": Label("Empresa que não está conectada aqui"),
    "unknown_kind": Label("Tipo de aviso que não muda o estoque"),
    "unknown_product": Label("Produto que a conta não tem mais"),
}

TARGET_MOVEMENTS: Mapping[str, Label] = {
    "write_back": Label("Levar aos principais", "neutral", "Uma venda no compartilhado baixa também o principal."),
    "overwrite": Label("Corrigir de volta", "neutral", "O compartilhado volta ao saldo calculado."),
}

GLOSSARIES: Mapping[str, Mapping[str, Label]] = {
    "status": STATUSES,
    "undo_status": UNDO_STATUSES,
    "run_type": RUN_TYPES,
    "account": ACCOUNT_STATES,
    "webhook": WEBHOOK_HEALTH,
    "event": EVENT_STATES,
    "event_kind": EVENT_KINDS,
    "write": WRITE_STATES,
    "purpose": WRITE_PURPOSES,
    "role": DEPOSIT_ROLES,
    "mode": GROUP_MODES,
    "balance": BALANCES,
    "user_role": USER_ROLES,
    "problem": PROBLEMS,
    "reason": REASONS,
    "target_movements": TARGET_MOVEMENTS,
}


def label(code: str | None, glossary: str = "status") -> Label:
    """What the glossary says of this code; a code it does not know is shown as it is."""
    return GLOSSARIES[glossary].get(code or "", Label(code or "—"))


def reason(code: str | None) -> str:
    """A problem code, or a sentence that already is one, as a sentence."""
    if not code:
        return ""
    known = PROBLEMS.get(code) or REASONS.get(code)
    if known is None:
        return code
    return f"{known.text}. {known.help}" if known.help else f"{known.text}."


def quantidade(value: Decimal | None) -> str:
    """1.234,5; whole numbers without decimals; a dash for what is not known."""
    if value is None:
        return "—"
    sign = MINUS if value < 0 else ""
    whole, _, fraction = f"{abs(value):f}".partition(".")
    fraction = fraction.rstrip("0")
    grouped = f"{int(whole):,}".replace(",", ".")
    return f"{sign}{grouped},{fraction}" if fraction else f"{sign}{grouped}"


def sinal(value: Decimal | None) -> str:
    """+3, −3 or 0."""
    if value is None:
        return "—"
    return f"+{quantidade(value)}" if value > 0 else quantidade(value)


def local(moment: datetime) -> datetime:
    return moment.astimezone(ZONE)


def momento(moment: datetime | None, seconds: bool = False) -> str:
    """21/11/2026 14:03 in the merchant's time."""
    if moment is None:
        return "—"
    return local(moment).strftime("%d/%m/%Y %H:%M:%S" if seconds else "%d/%m/%Y %H:%M")


def ha_quanto_tempo(moment: datetime | None, now: datetime | None = None) -> str:
    """agora, há 3 min, há 2 h, ontem 14:03, then the date; "em 4 min" for what is still to come."""
    if moment is None:
        return "nunca"
    now = now or clock.utcnow()
    age = now - moment
    if age < timedelta(0):
        return _until(-age, moment)
    if age < timedelta(seconds=45):
        return "agora"
    if age < timedelta(hours=1):
        return f"há {max(1, age // timedelta(minutes=1))} min"
    here, today = local(moment), local(now)
    if age < timedelta(hours=24) and here.date() == today.date():
        return f"há {age // timedelta(hours=1)} h"
    if here.date() == today.date() - timedelta(days=1):
        return f"ontem {here:%H:%M}"
    return here.strftime("%d/%m/%Y %H:%M")


def _until(wait: timedelta, moment: datetime) -> str:
    if wait < timedelta(seconds=45):
        return "em instantes"
    if wait < timedelta(hours=1):
        return f"em {max(1, wait // timedelta(minutes=1))} min"
    if wait < timedelta(hours=24):
        return f"em {wait // timedelta(hours=1)} h"
    return local(moment).strftime("%d/%m/%Y %H:%M")


def duracao(start: datetime | None, end: datetime | None) -> str:
    """0,8 s, 42 s, 3 min 05 s; a dash while one end is missing."""
    if start is None or end is None:
        return "—"
    seconds = max(0.0, (end - start).total_seconds())
    if seconds < 10:
        return f"{seconds:.1f}".replace(".", ",") + f"{NO_BREAK}s"
    if seconds < 60:
        return f"{int(seconds)}{NO_BREAK}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}{NO_BREAK}min {rest:02d}{NO_BREAK}s"
    return f"{minutes // 60}{NO_BREAK}h {minutes % 60:02d}{NO_BREAK}min"


def contagem(count: int, one: str, many: str) -> str:
    """1 produto, 1.234 produtos."""
    return f"{quantidade(Decimal(count))}{NO_BREAK}{one if count == 1 else many}"


def inteiro(count: int | None) -> str:
    return "—" if count is None else quantidade(Decimal(count))


def cnpj(digits: str | None) -> str:
    """12.345.678/0001-95, or the text as it came when it is no CNPJ."""
    if not digits or len(digits) != 14:
        return digits or "—"
    return f"{digits[:2]}.{digits[2:5]}.{digits[5:8]}/{digits[8:12]}-{digits[12:]}"


FILTERS = {
    "quantidade": quantidade,
    "sinal": sinal,
    "momento": momento,
    "ha_quanto_tempo": ha_quanto_tempo,
    "duracao": duracao,
    "contagem": contagem,
    "inteiro": inteiro,
    "cnpj": cnpj,
    "reason": reason,
}
