"""What may be refused: `SandboxError` in words for a person, `ApiError` as Bling's documented error body.

SandboxError            a form, a test or the control API asked for something impossible
ApiError                the answer of /Api/v3, with status, type, message, description, fields
ConnectionCut           not an answer at all: the socket is to be cut
"""

from __future__ import annotations

from typing import Any


class SandboxError(ValueError):
    """The message is Portuguese, for the page."""


class ConnectionCut(Exception):
    """The answer must never reach the client."""


class ApiError(Exception):
    def __init__(
        self,
        status: int,
        type_: str,
        message: str,
        description: str,
        fields: list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(f"{status} {type_}: {message}")
        self.status = status
        self.type = type_
        self.message = message
        self.description = description
        self.fields = fields

    def body(self) -> dict[str, Any]:
        error: dict[str, Any] = {
            "type": self.type,
            "message": self.message,
            "description": self.description,
        }
        if self.fields:
            error["fields"] = self.fields
        return {"error": error}


def field_error(element: str, message: str, code: int, namespace: str) -> dict[str, Any]:
    return {"code": code, "msg": message, "element": element, "namespace": namespace}


def invalid(description: str, fields: list[dict[str, Any]]) -> ApiError:
    message = "Não foi possível processar a requisição"
    return ApiError(400, "VALIDATION_ERROR", message, description, fields)


def missing(element: str, namespace: str) -> ApiError:
    text = f"O campo {element} é obrigatório."
    return ApiError(
        400,
        "MISSING_REQUIRED_FIELD_ERROR",
        "Campo obrigatório não informado",
        text,
        [field_error(element, text, 2, namespace)],
    )


def not_found(what: str) -> ApiError:
    return ApiError(
        404,
        "RESOURCE_NOT_FOUND",
        "O recurso requisitado não foi encontrado",
        f"{what} não encontrado na base de dados.",
    )


def too_many(description: str) -> ApiError:
    return ApiError(429, "TOO_MANY_REQUESTS", "Limite de requisições atingido", description)


def server_error() -> ApiError:
    return ApiError(
        500,
        "SERVER_ERROR",
        "Erro interno do servidor",
        "Ocorreu um erro inesperado. Tente novamente mais tarde.",
    )


def unauthorized(type_: str, description: str) -> ApiError:
    message = "Não autorizado" if type_ == "UNAUTHORIZED" else type_
    return ApiError(401, type_, message, description)


def forbidden(type_: str, description: str) -> ApiError:
    message = "Acesso negado" if type_ == "FORBIDDEN" else type_
    return ApiError(403, type_, message, description)
