"""Help: what the program does and what its words mean, in plain Portuguese."""

from __future__ import annotations

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from services.labels import GLOSSARIES

bp = Blueprint("help", __name__, url_prefix="/ajuda")

SHOWN = (
    ("status", "Situação de um produto ou de uma sincronização"),
    ("problem", "Por que um produto não é sincronizado"),
    ("account", "Estado de uma conta"),
    ("webhook", "Webhook de uma conta"),
    ("event", "Avisos recebidos do Bling"),
    ("write", "Escritas que fazemos no Bling"),
)


@bp.get("/")
def index() -> ResponseReturnValue:
    return render_template("help/index.html")


@bp.get("/como-funciona")
def how_it_works() -> ResponseReturnValue:
    return render_template("help/how_it_works.html")


@bp.get("/palavras")
def words() -> ResponseReturnValue:
    return render_template("help/words.html", glossaries=[(title, key, GLOSSARIES[key]) for key, title in SHOWN])
