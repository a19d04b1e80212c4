"""What Revisão says, in the merchant's words: the write, who knew better, and what an answer changes."""

from __future__ import annotations

from core.doubt import Proof
from core.facts import ZERO
from models import StockWrite
from services import labels
from services.labels import momento, quantidade
from services.review import Outcome, Review, Standing

# Why nobody's answer is wanted any more, where nobody gave one.
OVER = {
    Standing.LEFT: "O produto ou o depósito saiu da regra: a resposta já não muda nenhum saldo.",
    Standing.ANEW: (
        "O produto ou o depósito saiu da regra e voltou. Vale o saldo encontrado na volta, e nele esta escrita já está "
        "contada."
    ),
    Standing.RULE_OFF: (
        "A regra está desativada. Quando for ativada de novo, vale o saldo que for encontrado, e a resposta já não "
        "muda nada."
    ),
}


def entry_text(write: StockWrite) -> str:
    """The movement as Bling lists it."""
    kind = "entrada" if write.quantity > ZERO else "saída"
    return f"{kind} de {quantidade(abs(write.quantity))}"


def purpose_text(review: Review) -> str:
    return "Movimento oposto, de um desfazer" if review.is_undo else labels.label(review.write.purpose, "purpose").text


def standing_text(review: Review) -> str:
    """What became of the question; '' while it waits for an answer."""
    if review.standing is Standing.WAITING:
        return ""
    return OVER.get(review.standing) or _decided(review.write)


def _decided(write: StockWrite) -> str:
    said = "valeu" if write.state == "confirmed" else "não valeu"
    if write.evidence == Proof.PERSON:
        who = write.decided_by.name if write.decided_by is not None else "Uma pessoa"
        when = f" em {momento(write.decided_at)}" if write.decided_at is not None else ""
        return f"{who} respondeu{when}: a escrita {said}."
    if write.evidence == Proof.EVENT:
        return f"Um aviso do Bling que chegou depois mostrou que a escrita {said}."
    return f"Já se sabe que a escrita {said}."


def doubt_text(review: Review) -> str:
    """Why nobody can tell, and what hangs on it."""
    applied, not_applied = review.applied, review.not_applied
    told = (
        f"O Bling não disse se aplicou esta escrita. Se valeu e ninguém mais mexeu, haveria {quantidade(applied.due)}; "
        f"se não valeu, {quantidade(not_applied.due)}."
    )
    if applied.found in (applied.due, not_applied.due):
        told += " Há um dos dois, mas nem por isso é certo: alguém pode ter movido a mesma quantidade na mesma hora."
    else:
        told += " Não há nem um nem outro: alguém moveu o mesmo saldo na mesma hora."
    told += " O saldo no Bling é o mesmo nas duas leituras; o que muda é quanto os outros moveram"
    return f"{told}, e com isso o total." if review.changes_total else f"{told}."


def pool_text(outcome: Outcome) -> str:
    """What choosing this reading does to the total."""
    more, available = outcome.reading.more, outcome.available
    if outcome.reading.is_taken:
        total = f" O total é {quantidade(available)}." if available is not None else ""
        return f"É a leitura que vale agora: confirmá-la não muda nenhum saldo.{total}"
    if more == ZERO:
        return "O total é o mesmo nas duas leituras: a resposta só fica no histórico."
    change = "sobe" if more > ZERO else "baixa"
    if available is None:
        return f"O total {change} {quantidade(abs(more))}."
    return f"O total {change} {quantidade(abs(more))}: de {quantidade(available - more)} para {quantidade(available)}."
