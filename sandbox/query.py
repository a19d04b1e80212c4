"""Query parameters of the API, read as strictly as its description writes them; a bad one is a 400."""

from __future__ import annotations

from datetime import datetime

from flask import request

from .errors import ApiError, field_error, invalid
from .world import BRASILIA_S

YEAR_S = 366 * 86_400
MAX_PAGE = 100


def integer(name: str, default: int | None, allowed: tuple[int, ...] | None = None) -> int | None:
    text = request.args.get(name)
    if text is None or text == "":
        return default
    number = _number(name, text)
    if allowed is not None and number not in allowed:
        raise bad(name, f"Valor inválido para {name}.")
    return number


def word(name: str, default: str, allowed: tuple[str, ...]) -> str:
    text = request.args.get(name) or default
    if text not in allowed:
        raise bad(name, f"Valor inválido para {name}.")
    return text


def page() -> slice:
    """The rows of the page asked for; more than 100 per page are never given."""
    number, size = integer("pagina", 1), integer("limite", MAX_PAGE)
    if number is None or number < 1:
        raise bad("pagina", "A página deve ser maior que zero.")
    if size is None or size < 1:
        raise bad("limite", "O limite deve ser maior que zero.")
    size = min(size, MAX_PAGE)
    return slice((number - 1) * size, number * size)


def ids(name: str) -> list[int]:
    return [_number(name, text) for text in request.args.getlist(name)]


def texts(name: str) -> list[str]:
    return request.args.getlist(name)


def period(prefix: str, now: float, has_time: bool = True) -> tuple[float, float] | None:
    """Begin and end of a date filter, in Brasília's time, at most a year apart; None when not asked."""
    begin, end = _moment(f"{prefix}Inicial", has_time), _moment(f"{prefix}Final", has_time)
    if begin is None and end is None:
        return None
    if end is not None and not has_time:
        end += 86_399
    first = begin if begin is not None else 0.0
    last = end if end is not None else max(now, first)
    if begin is not None and last - first > YEAR_S:
        raise bad(f"{prefix}Inicial", "O período não pode ser maior que 1 ano.")
    return first, last


def bad(name: str, message: str, namespace: str = "FILTROS") -> ApiError:
    return invalid(message, [field_error(name, message, 3, namespace)])


def _number(name: str, text: str) -> int:
    if not text.lstrip("-").isdecimal() or len(text) > 18:
        raise bad(name, f"O valor de {name} deve ser um número inteiro.")
    return int(text)


def _moment(name: str, has_time: bool) -> float | None:
    text = request.args.get(name)
    if not text:
        return None
    for pattern in ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d") if has_time else ("%Y-%m-%d",):
        try:
            parsed = datetime.strptime(f"{text} +0000", f"{pattern} %z")
        except ValueError:
            continue
        return parsed.timestamp() - BRASILIA_S
    raise bad(name, f"A data de {name} é inválida.")
