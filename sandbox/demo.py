"""The demo merchant's three companies: one shelf of everyday goods, with the oddities real catalogues have.

Seeded once; a file that has accounts is left as it is.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .bling import Bling

DEPOSITS = ("Geral", "Loja virtual")
ACCOUNTS = {
    "matriz": ("Matriz", "11.222.333/0001-81"),
    "filial": ("Filial", "11.222.333/0002-62"),
    "avulsa": ("Avulsa", "45.723.174/0001-10"),
}

#: SKU, name, price, unit, and what lies in "Geral" of Matriz, Filial and Avulsa; "-" where an account lacks it.
GOODS = """
CAN-GEL-01  | Caneca Térmica Inox 350 ml Gelo             | 59.90  | UN | 24 12 8
CAN-PRE-01  | Caneca Térmica Inox 350 ml Preta            | 59.90  | UN | 31 9 5
CAN-POR-300 | Caneca de Porcelana 300 ml Branca           | 24.90  | UN | 60 48 20
GAR-500-AZ  | Garrafa Térmica 500 ml Azul                 | 89.90  | UN | 15 7 4
GAR-1000-VD | Garrafa Térmica 1 L Verde                   | 129.90 | UN | 11 6 3
COP-AME-06  | Jogo de Copos Americano 190 ml (6 peças)    | 32.50  | JG | 40 22 10
TAC-VIN-04  | Jogo de Taças para Vinho 450 ml (4 peças)   | 94.00  | JG | 9 4 2
PRA-RAS-26  | Prato Raso de Cerâmica 26 cm                | 21.90  | UN | 84 36 24
PRA-FUN-22  | Prato Fundo de Cerâmica 22 cm               | 20.90  | UN | 72 30 18
PRA-SOB-19  | Prato de Sobremesa de Cerâmica 19 cm        | 17.90  | UN | 66 28 0
TAL-24P     | Faqueiro Inox 24 Peças                      | 149.90 | JG | 12 5 3
FAC-CHEF-8  | Faca do Chef 8 Polegadas                    | 79.90  | UN | 18 11 6
TAB-BAM-M   | Tábua de Corte de Bambu Média               | 44.90  | UN | 26 13 7
PAN-ANT-20  | Panela Antiaderente 20 cm                   | 119.90 | UN | 14 8 4
FRI-ANT-24  | Frigideira Antiaderente 24 cm               | 99.90  | UN | 17 0 5
FOR-RET-30  | Forma Retangular de Alumínio 30 cm          | 29.90  | UN | 33 15 9
POT-HER-05  | Conjunto de Potes Herméticos (5 peças)      | 69.90  | CJ | 21 10 6
COA-PAN-G   | Coador de Pano Grande                       | 9.90   | UN | 95 40 30
CAF-TOR-500 | Café Torrado e Moído 500 g                  | 27.90  | PC | 120 64 25
CAF-GRA-1K  | Café em Grãos 1 kg                          | 64.90  | PC | 38 20 12
CHA-HOR-15  | Chá de Hortelã (15 sachês)                  | 8.90   | CX | 77 35 14
MEL-SIL-280 | Mel Silvestre 280 g                         | 22.90  | UN | 29 16 -
GOI-CAS-400 | Goiabada Cascão 400 g                       | 14.50  | UN | 44 19 -
DOC-LEI-350 | Doce de Leite 350 g                         | 18.90  | UN | 41 23 11
QUE-MEI-KG  | Queijo Meia Cura                            | 62.00  | KG | 18.75 7.4 3.25
AME-CAS-KG  | Amêndoas a Granel                           | 89.00  | KG | 12.5 4.85 2.125
CAS-PAR-KG  | Castanha-do-pará a Granel                   | 96.00  | KG | 9.375 3.6 -
TEC-LIN-CRU | Tecido de Linho Cru                         | 48.00  | MT | 57.5 22.75 10
TEC-CHI-FLO | Tecido de Chita Florida                     | 19.90  | MT | 83.2 31.4 16
COR-ALG-5   | Corda de Algodão 5 mm                       | 3.20   | MT | 240 115.5 60
TOA-MES-6   | Toalha de Mesa 6 Lugares                    | 74.90  | UN | 13 6 2
TOA-BAN-AZ  | Toalha de Banho Azul                        | 39.90  | UN | 46 20 10
TOA-ROS-BR  | Toalha de Rosto Branca                      | 19.90  | UN | 58 27 12
PAN-PRA-03  | Pano de Prato Bordado (3 unidades)          | 26.90  | KT | 37 18 8
AVE-JEA-U   | Avental Jeans Tamanho Único                 | 54.90  | UN | 16 9 5
ALM-45-TER  | Capa de Almofada 45 cm Terracota            | 34.90  | UN | 28 14 6
VEL-LAV-180 | Vela Aromática de Lavanda 180 g             | 42.90  | UN | 34 17 9
DIF-ALE-250 | Difusor de Ambiente Alecrim 250 ml          | 49.90  | UN | 25 12 0
SAB-LIQ-300 | Sabonete Líquido Capim-limão 300 ml         | 29.90  | UN | 52 24 13
ESP-VEG-03  | Esponja Vegetal (3 unidades)                | 12.90  | KT | 68 33 15
VAS-BAR-15  | Vaso de Barro 15 cm                         | 23.90  | UN | 36 18 9
VAS-AUT-10  | Vaso Autoirrigável 10 cm                    | 16.90  | UN | 59 25 12
REG-1L-CB   | Regador de Cobre 1 L                        | 84.90  | UN | 7 3 1
SEM-MAN-01  | Sementes de Manjericão                      | 4.50   | PC | 150 80 45
CES-PAL-G   | Cesto de Palha Grande                       | 67.90  | UN | 10 5 -
LUM-BAM-01  | Luminária Pendente de Bambu                 | 189.90 | UN | 6 2 1
REL-PAR-30  | Relógio de Parede 30 cm                     | 79.90  | UN | 12 0 4
QUA-A4-FL   | Quadro Decorativo A4 Folhagem               | 45.90  | UN | 19 8 3
CAD-A5-KRA  | Caderno A5 Capa Kraft                       | 21.90  | UN | 88 42 20
LAP-12-COR  | Lápis de Cor (12 cores)                     | 24.90  | CX | 47 26 11
0042        | Chaveiro de Couro                           | 15.90  | UN | 90 45 22
42          | Chaveiro de Metal                           | 12.90  | UN | 75 38 19
"""

SHIRTS = (("P", "Branca"), ("M", "Branca"), ("G", "Branca"), ("M", "Preta"), ("G", "Preta"))
SHIRT_STOCK = {"matriz": 14, "filial": 8, "avulsa": 3}


def seed(bling: Bling) -> bool:
    """Fill an empty sandbox with the demo merchant; False when there is something already."""
    with bling.world.change():
        if bling.world.accounts:
            return False
        for key, (name, cnpj) in ACCOUNTS.items():
            bling.add_account(key, name, cnpj=cnpj, deposits=DEPOSITS)
        for position, line in enumerate(GOODS.strip().splitlines()):
            _add_goods(bling, position, line)
        for key in ACCOUNTS:
            _add_shirts(bling, key)
            _add_kit(bling, key)
        _add_oddities(bling)
        _open_orders(bling)
    return True


def upsert_app(bling: Bling, client_id: str, client_secret: str, redirect_uri: str, webhook_url: str) -> None:
    """Register the shared app, or move it to the addresses of this start."""
    app = bling.world.apps.get(client_id)
    if app is None:
        bling.add_app(client_id, client_secret, redirect_uri=redirect_uri, webhook_url=webhook_url)
        return
    with bling.world.change():
        app.client_secret = client_secret
        app.redirect_uri, app.webhook_url = redirect_uri, webhook_url
        bling.world.put(app)


def tokens(bling: Bling, client_id: str | None = None) -> list[dict[str, Any]]:
    """The current tokens of every account that authorized the app, with its deposits."""
    rows = []
    for account in bling.world.accounts.values():
        current = bling.current_tokens(account.key, client_id)
        if current is not None:
            deposits = bling.world.deposits_of(account.key)
            rows.append(
                {
                    "key": account.key,
                    "name": account.name,
                    **asdict(current),
                    "deposits": [{"id": d.id, "name": d.name} for d in deposits],
                }
            )
    return rows


def write_tokens(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write the tokens where only their owner can read them, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(rows, file, ensure_ascii=False, indent=1)
    draft.replace(path)


def _add_goods(bling: Bling, position: int, line: str) -> None:
    sku, name, price, unit, amounts = (part.strip() for part in line.split("|"))
    for account, amount in zip(ACCOUNTS, amounts.split(), strict=True):
        if amount != "-":
            # What the shop windows show before the first synchronization is old and wrong, as it is in life.
            shown = str(position * 7 % 5)
            stock = {"Geral": amount, "Loja virtual": shown}
            bling.add_product(account, sku, name, price=price, unit=unit, stock=stock)


def _add_shirts(bling: Bling, account: str) -> None:
    name = "Camiseta Básica de Algodão"
    parent = bling.add_product(account, "CAM-BAS", name, price="49.90", format="V")
    for position, (size, colour) in enumerate(SHIRTS):
        bling.add_product(
            account,
            f"CAM-BAS-{size}-{colour[:2].upper()}",
            f"{name} Tamanho:{size};Cor:{colour}",
            price="49.90",
            parent_id=parent.id,
            variation=f"Tamanho:{size};Cor:{colour}",
            stock={"Geral": str(SHIRT_STOCK[account] + position)},
        )


def _add_kit(bling: Bling, account: str) -> None:
    parts = {"CAN-POR-300": "2", "CAF-TOR-500": "1"}
    name = "Kit Café da Manhã (2 canecas e café)"
    bling.add_product(account, "KIT-CAFE", name, price="69.90", unit="KT", components=parts)


def _add_oddities(bling: Bling) -> None:
    """A repeated SKU, a product without one, a service, an inactive and a deleted product."""
    duplicate = "Caneca Térmica Inox 350 ml Gelo (cadastro antigo)"
    bling.add_product("filial", "CAN-GEL-01", duplicate, price="54.90", stock={"Geral": "3"})
    bling.add_product("matriz", "", "Brinde Sortido", price="0", stock={"Geral": "35"})
    for account in ("matriz", "filial"):
        name = "Embalagem para Presente (serviço)"
        bling.add_product(account, "SRV-EMB", name, price="7.00", kind="S")
    bling.add_product("filial", "AGE-2025", "Agenda 2025", price="39.90", stock={"Geral": "6"}, situation="I")
    bling.add_product("matriz", "CAL-2024", "Calendário 2024", price="9.90", situation="E")


def _open_orders(bling: Bling) -> None:
    for account, sku, quantity, deposit in (
        ("matriz", "CAF-TOR-500", "3", "Geral"),
        ("matriz", "TEC-LIN-CRU", "2.5", "Geral"),
        ("filial", "PRA-RAS-26", "6", "Geral"),
        ("filial", "CAM-BAS-M-BR", "1", "Geral"),
        ("avulsa", "CAF-GRA-1K", "2", "Geral"),
    ):
        bling.reserve(account, sku, quantity, deposit)
