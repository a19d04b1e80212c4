"""What the SKU doctor says of each cause: what it means for the stock, and what to do about it at Bling or here.

What a cause is called stands in labels.PROBLEMS, as everywhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from core.lookalikes import Difference


@dataclass(frozen=True, slots=True)
class Cure:
    """`effect`: what it means for the stock; `steps`: what to do, in order; none where nothing needs to be done."""

    effect: str
    steps: tuple[str, ...] = ()


_NOT_SYNCED_HERE = "O estoque deste SKU não é sincronizado nesta conta."

CURES: Mapping[str, Cure] = {
    "duplicate": Cure(
        f"{_NOT_SYNCED_HERE} Não dá para saber qual dos produtos é o certo, e o sistema não escolhe por você. Nas "
        "outras contas o saldo pode baixar, nunca subir.",
        (
            "Abra os produtos no Bling e decida qual fica com o SKU.",
            "Troque o código do outro, inative-o ou exclua-o. O resto acontece sozinho.",
        ),
    ),
    "rejected": Cure(
        "O depósito ficou com o saldo antigo até alguém corrigir a causa.",
        (
            "Leia abaixo o que o Bling respondeu e corrija a causa lá.",
            "Depois use Sincronizar agora com este SKU: a escrita é tentada mais uma vez.",
        ),
    ),
    "look_alike": Cure(
        "Nada é juntado por parecer igual: para o sistema são produtos diferentes, e o estoque de um não aparece no "
        "outro. Se forem o mesmo produto, uma venda de um não baixa o outro.",
        (
            "Se for o mesmo produto, deixe o código idêntico em todas as contas, também em zeros, espaços e sinais.",
            "Se forem produtos diferentes, não é preciso fazer nada.",
        ),
    ),
    "unknown_write": Cure(
        "O Bling não disse se aplicou uma escrita. Quase sempre os avisos e o saldo o dizem depois; até lá, e também "
        "quando nem assim se sabe, vale o menor total possível: nada é vendido a mais.",
        (
            "Abra Revisão: o que espera uma resposta está lá, com as duas leituras e onde conferir no Bling.",
            "O que não está lá ainda está sendo conferido, e se resolve sozinho.",
        ),
    ),
    "left_write": Cure(
        "O produto saiu da regra antes de se saber se o Bling aplicou a última escrita. Para nunca vender a mais, vale "
        "o menor saldo possível.",
        ("Compare os saldos físicos no Bling com a contagem. Se faltar, lance a diferença no depósito principal.",),
    ),
    "owed": Cure(
        "Uma venda ou devolução feita num compartilhado ainda não chegou a um depósito principal. O estoque unificado "
        "já conta com ela.",
        (
            "Veja se as contas dos depósitos principais estão conectadas e se têm este SKU ativo.",
            "O lançamento é feito sozinho assim que um principal puder recebê-lo.",
        ),
    ),
    "deposit_off": Cure(
        "Os saldos deste depósito não são lidos nem escritos. Se ele é principal, vale o último saldo conhecido e os "
        "compartilhados só podem baixar.",
        ("Reative o depósito no Bling, ou tire-o da regra.",),
    ),
    "inactive": Cure(
        f"{_NOT_SYNCED_HERE} Se ela é principal, vale o último saldo conhecido e os compartilhados só podem baixar.",
        ("Ative o produto no Bling. Se não é mais vendido, exclua-o lá ou crie uma exceção na regra.",),
    ),
    "no_source": Cure(
        "Não há de onde tirar o saldo: o estoque deste SKU não é sincronizado nesta regra.",
        ("Cadastre o SKU, idêntico, numa conta que seja principal na regra. Se não deve ser compartilhado, ignore.",),
    ),
    "no_target": Cure(
        "Não há onde mostrar o saldo: o estoque deste SKU não é sincronizado nesta regra.",
        ("Cadastre o SKU, idêntico, numa conta que seja compartilhada na regra. Se não deve ser vendido lá, ignore.",),
    ),
    "alone": Cure(
        "O estoque fica certo dentro da conta, mas nenhuma outra conta o mostra.",
        ("Se deve ser vendido em outra conta, cadastre lá um produto com o SKU idêntico. Senão, ignore.",),
    ),
    "empty_sku": Cure(
        "Sem código não há como encontrar o mesmo produto nas outras contas: o estoque dele não é sincronizado.",
        ("Preencha o campo Código (SKU) do produto no Bling, igual em todas as contas.",),
    ),
    "ignored": Cure(
        "A regra diz para deixar este SKU, ou um depósito dele, de fora.",
        ("Se quiser que ele volte, retire a exceção na regra. Vale então o saldo que for encontrado.",),
    ),
    "composition": Cure(
        "O saldo do kit não pode ser escrito, nem precisa: cada venda dele baixa os componentes em todas as contas.",
        ("Confira se os componentes têm SKU nas contas que os vendem.",),
    ),
    "parent": Cure(
        "O produto principal não tem estoque próprio; cada variação é sincronizada pelo código dela.",
        ("Confira se cada variação tem o próprio SKU.",),
    ),
}

# In what look-alikes differ, in words.
DIFFERENCES: Mapping[Difference, str] = {
    Difference.CASE: "maiúsculas e minúsculas",
    Difference.ZEROS: "zeros à esquerda",
    Difference.SIGNS: "espaços ou sinais",
    Difference.FORMS: "caracteres que só parecem iguais",
}
