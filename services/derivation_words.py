"""The derivation of a number in the merchant's words: one sentence, then every term and step of it."""

from __future__ import annotations

from collections.abc import Iterable

from core.derivation import Term, TermKind
from core.rule_steps import Step, StepKind
from models import Movement, StockWrite
from services import labels
from services.derivations import Derivation, Figure, Gap, GapKind, PoolView, TargetView
from services.labels import local, quantidade, sinal

FIGURES = {
    "reserve": "Reserva de segurança",
    "percent": "Percentual",
    "max": "Máximo",
    "stop_at": "Para de vender com até",
}
ORIGINS = {
    "rule": "da regra",
    "sku": "exceção deste SKU em toda a regra",
    "sku_here": "exceção deste SKU neste depósito",
}
EVIDENCE = {
    "chain": "confirmado pelos avisos do Bling",
    "level": "visto no saldo, sem um aviso que o explique",
}
# What settled a write whose answer was lost.
SETTLED = {
    "event": "pelo aviso do próprio lançamento",
    "chain": "pelos avisos de antes e de depois",
    "level": "pelo saldo",
    "answer": "pela resposta que chegou depois",
    "either": "sem prova; o total é o mesmo nos dois casos",
}


def proof_text(movement: Movement) -> str:
    """What a booked movement rests on."""
    if movement.write_id is not None:
        return "sabe-se agora o que foi feito de uma escrita nossa sem resposta"
    return EVIDENCE.get(movement.evidence, movement.evidence)


def headline(derivation: Derivation) -> str:
    """One sentence for the whole page."""
    targets = [(pool, target) for pool in derivation.pools if pool.row for target in pool.targets]
    if not derivation.pools:
        return "Nenhuma regra cuida deste SKU: o sistema não muda o saldo dele em nenhuma conta."
    if not targets:
        return next((_left_alone(pool) for pool in derivation.pools), "")
    open_ones = [(pool, target) for pool, target in targets if target.missing or target.shown is None]
    if len(targets) == 1 or len(open_ones) == 1:
        return sentence(*(open_ones or targets)[0])
    if open_ones:
        return (
            f"{len(open_ones)} dos {len(targets)} depósitos ainda não mostram o que a regra dá. {_first_gap(open_ones)}"
        )
    figures = {(pool.available, target.shown) for pool, target in targets}
    if len(figures) == 1:
        (available, shown) = next(iter(figures))
        same = "tudo o que o conjunto tem" if shown == available else f"o que a regra dá de {quantidade(available)}"
        return f"Os {len(targets)} depósitos mostram {quantidade(shown)}: {same}."
    return sentence(*targets[0])


def _first_gap(open_ones: Iterable[tuple[PoolView, TargetView]]) -> str:
    return next((gap_text(gap) for _, target in open_ones for gap in target.gaps), "")


def _left_alone(pool: PoolView) -> str:
    if not pool.group.is_active:
        return f"A regra {pool.group.name} não está ativa: nada é escrito."
    if pool.problem is None:
        return f"A regra {pool.group.name} ainda não conferiu este SKU."
    return f"A regra {pool.group.name} deixa este SKU em paz: {labels.reason(pool.problem)}"


def sentence(pool: PoolView, target: TargetView) -> str:
    """What one target shows and why, as one would say it."""
    if not pool.group.is_active:
        return f"{target.place} não é alterado: a regra não está ativa."
    if target.shown is None:
        return f"{target.place} ainda não foi lido: nada é escrito ali até a primeira leitura."
    shows = f"{target.place} mostra {quantidade(target.shown)}"
    if pool.available is None or target.offered is None:
        return f"{shows}. O total do conjunto ainda não é conhecido, e até lá nada é escrito."
    if target.missing:
        causes = " ".join(gap_text(gap) for gap in target.gaps)
        return f"{shows} e deve passar a {quantidade(target.offered)}. {causes}"
    has = f"o conjunto tem {quantidade(pool.available)}"
    reasons = [text for step in target.steps if (text := _because(step))]
    if not reasons:
        return f"{shows}: é tudo o que o conjunto tem."
    return f"{shows} porque {has} e {_joined(reasons)}."


def _because(step: Step) -> str:
    amount = quantidade(step.amount)
    return {
        StepKind.STOPPED: f"a regra para de vender com {amount} ou menos",
        StepKind.RESERVE: f"a regra guarda {amount} de reserva",
        StepKind.EMPTY: "nunca se mostra menos que zero",
        StepKind.PERCENT: f"a regra oferece {amount} %",
        StepKind.ROUNDED: "arredonda para baixo",
        StepKind.LIMITED: f"a regra mostra no máximo {amount}",
    }.get(step.kind, "")


def _joined(parts: list[str]) -> str:
    """a, b e c; the rule is named once."""
    said = [parts[0], *(part.removeprefix("a regra ") for part in parts[1:])]
    return said[0] if len(said) == 1 else f"{', '.join(said[:-1])} e {said[-1]}"


def step_text(step: Step) -> str:
    amount = quantidade(step.amount)
    return {
        StepKind.STOPPED: f"Com {amount} ou menos a venda para",
        StepKind.SELLING: f"Acima de {amount}: a venda segue",
        StepKind.RESERVE: f"Menos a reserva de {amount}",
        StepKind.EMPTY: "Nada abaixo de zero",
        StepKind.PERCENT: f"{amount} % disso",
        StepKind.ROUNDED: "Arredondado para baixo",
        StepKind.LIMITED: f"No máximo {amount}",
        StepKind.BELOW_MAX: f"Não chega ao máximo de {amount}",
    }[step.kind]


def figure_text(figure: Figure) -> str:
    value = quantidade(figure.value)
    return f"{FIGURES[figure.name]}: {value} %" if figure.name == "percent" else f"{FIGURES[figure.name]}: {value}"


def term_text(pool: PoolView, term: Term) -> str:
    """A term of the pool."""
    place = pool.place_of(term.key)
    return {
        TermKind.SHELF: place,
        TermKind.LEVEL: "Estoque comum do espelho",
        TermKind.RESERVED: f"Reservado em pedidos, {place}",
        TermKind.OWED: "Movimentos dos compartilhados ainda a levar aos principais",
        TermKind.UNDER_WAY: f"Escrita a caminho de {place}",
        TermKind.ELSEWHERE: f"Escrita de outra regra, sem resposta, em {place}",
        TermKind.DOUBT: f"Em dúvida em {place} (vale o menor)",
        TermKind.REST: _rest_text(pool),
    }[term.kind]


def _rest_text(pool: PoolView) -> str:
    if pool.problem == "never_read":
        return "Diferença para o último total conhecido: um saldo nunca foi lido"
    if pool.row is not None and pool.row.settled_at is not None:
        return f"Mudou depois do último cálculo, às {local(pool.row.settled_at):%H:%M}"
    return "Mudou depois do último cálculo"


def start_text(pool: PoolView, term: Term) -> str:
    """A term of a mirror's level."""
    place = pool.place_of(term.key)
    if term.kind is TermKind.SHELF:
        return f"Saldo inicial, {place}"
    return f"Movimentos desde então, {place}" if term.kind is TermKind.OWED else "Mudanças feitas na regra"


def gap_text(gap: Gap) -> str:
    """Why a target does not show what the rule gives, as a sentence."""
    if gap.kind is GapKind.WRITING and gap.write is not None:
        return f"Uma escrita de {sinal(gap.write.quantity)} está a caminho."
    if gap.kind is GapKind.QUEUED and gap.until is not None:
        return f"Está na fila: será conferido às {local(gap.until):%H:%M:%S}."
    if gap.kind is GapKind.PUT_OFF:
        at = f" às {local(gap.until):%H:%M:%S}" if gap.until is not None else " em instantes"
        return f"Há uma mudança recente: o saldo será conferido de novo{at}."
    if gap.kind is GapKind.PROBLEM:
        return labels.reason(gap.code)
    return {
        GapKind.UNKNOWN: "Uma escrita não teve resposta do Bling; estamos conferindo se ela valeu.",
        GapKind.HELD: "Uma sincronização que o mudaria espera aprovação.",
        GapKind.UNCHECKED: "A próxima conferência o corrige.",
    }.get(gap.kind, "")


def outcome_text(write: StockWrite) -> str:
    """How a lost answer was settled; '' for a write that got its answer, or still waits for one."""
    if write.evidence is None or write.state not in ("confirmed", "cancelled"):
        return ""
    if write.evidence == "smaller_pool":
        held = "valeu" if write.state == "confirmed" else "não valeu"
        return f"Resposta perdida; por enquanto conta como se {held}, que dá o menor total."
    if write.evidence == "person":
        who = f"por {write.decided_by.name}" if write.decided_by is not None else "por uma pessoa"
    else:
        who = SETTLED.get(write.evidence, f"por {write.evidence}")
    said = "confirmado" if write.state == "confirmed" else "dado como não aplicado"
    return f"Resposta perdida; {said} {who}."
