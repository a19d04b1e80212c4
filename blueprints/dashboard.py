"""The Painel: how everything is, in one line, and what waits for a person."""

from __future__ import annotations

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from blueprints.access import my_organization
from blueprints.rendering import poll, version_of
from clock import utcnow
from services import overview
from services.board import Board, board_of

bp = Blueprint("dashboard", __name__)


@bp.get("/")
def index() -> ResponseReturnValue:
    board = board_of(my_organization())
    return render_template("dashboard/index.html", board=board, version=_version(board))


@bp.get("/painel/vivo")
def live() -> ResponseReturnValue:
    board = board_of(my_organization())
    return poll("dashboard/_board.html", _version(board), {"board": board})


@bp.get("/painel/estado")
def state() -> ResponseReturnValue:
    header = overview.header(my_organization())
    return poll("_state.html", header.version, {"header": header})


def _version(board: Board) -> str:
    # Ages such as "há 3 min" are told by the browser; they alone are no reason to send the board again, but once a
    # minute it goes out anyway for browsers whose script is old or broken.
    return version_of(board.fingerprint, utcnow().strftime("%H:%M"))
