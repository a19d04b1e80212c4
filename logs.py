"""One log for all our processes: each line says what it is about, and secrets and documents in it are blotted out."""

from __future__ import annotations

import contextlib
import logging.config
import re
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

_context: ContextVar[str] = ContextVar("log_context", default="")

_BLOT = "[…]"
_SECRETS = (
    re.compile(r"(?i)(\bbearer\s+|\bbasic\s+)[\w.~+/=-]{6,}"),
    re.compile(
        r"(?i)((?:access_token|refresh_token|client_secret|secret_key|encryption_keys?|password|senha|authorization)"
        r"[\"']?\s*[:=]\s*[\"']?(?:bearer\s+|basic\s+)?)[^\s\"',;&}]+"
    ),
    re.compile(r"([?&](?:code|state|token)=)[^\s\"'&]+"),
    re.compile(r"(://[^\s/:@]*:)[^\s/@]+(?=@)"),
    # CPF and CNPJ, as people write them.
    re.compile(r"()\b\d{3}\.\d{3}\.\d{3}-\d{2}\b"),
    re.compile(r"()\b\w{2}\.\w{3}\.\w{3}/\w{4}-\d{2}\b"),
)


def redact(text: str) -> str:
    for pattern in _SECRETS:
        text = pattern.sub(rf"\1{_BLOT}", text)
    return text


class RedactingFormatter(logging.Formatter):
    """Blots out the finished line, so that neither an argument nor a traceback slips through."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def format(self, record: logging.LogRecord) -> str:
        record.context = _context.get()
        return redact(super().format(record))


def settings(level: str) -> dict[str, Any]:
    """For logging.config.dictConfig."""
    foreign_level = "DEBUG" if level == "DEBUG" else "WARNING"
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": f"{__name__}.RedactingFormatter",
                "format": "%(asctime)s %(levelname)-7s %(name)s:%(context)s %(message)s",
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # These tell every job and every look at the queue; our own lines say what a job did.
            **{name: {"level": foreign_level} for name in ("rq", "rq.worker", "rq.job", "rq.queue", "rq_scheduler")},
            "urllib3": {"level": "WARNING"},
        },
    }


def configure(level: str) -> None:
    logging.config.dictConfig(settings(level))


@contextlib.contextmanager
def log_context(**about: object) -> Iterator[None]:
    """Name what every line of this block is about: log_context(org=…, account=…). Blocks nest."""
    words = "".join(f" {name}={value}" for name, value in about.items())
    token = _context.set(_context.get() + words)
    try:
        yield
    finally:
        _context.reset(token)
