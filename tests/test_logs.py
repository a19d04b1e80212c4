from __future__ import annotations

import logging
import logging.config

import pytest

import logs


@pytest.mark.parametrize(
    "line",
    [
        "Authorization: Bearer CANARY.with-many_parts=",
        "{'Authorization': 'Basic CANARYCANARY=='}",
        '{"access_token": "CANARY", "refresh_token":"CANARY"}',
        "POST /oauth/token client_secret=CANARY&x=1",
        "GET /bling/callback?code=CANARY&state=CANARY",
        "redis://user:CANARY@host:6379/0",
        "rediss://:CANARY@host",
        "postgresql://user:CANARY@host/name",
        "senha='CANARY' password: CANARY",
    ],
)
def test_a_secret_is_blotted_out(line: str) -> None:
    assert "CANARY" not in logs.redact(line)


@pytest.mark.parametrize("line", ["cliente 123.456.789-09 comprou", "CNPJ 12.345.678/0001-95"])
def test_a_document_is_blotted_out(line: str) -> None:
    assert not any(part in logs.redact(line) for part in ("456.789", "345.678"))


def test_what_is_no_secret_stays() -> None:
    line = "exit code: 1, state=confirmed, account 9f3a, SKU 12.345, http://localhost:5000/x"

    assert logs.redact(line) == line


def capture(caplog_handler: logging.Handler) -> logging.Logger:
    logger = logging.getLogger("tests.logs")
    logger.propagate = False
    logger.handlers = [caplog_handler]
    logger.setLevel("INFO")
    return logger


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        settings = logs.settings("INFO")["formatters"]["line"]
        self.setFormatter(logs.RedactingFormatter(settings["format"]))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


def test_arguments_and_tracebacks_are_blotted_out_too() -> None:
    handler = Lines()
    logger = capture(handler)

    logger.info("got %s", {"access_token": "CANARY"})
    try:
        raise ValueError("refused: client_secret=CANARY")
    except ValueError:
        logger.exception("failed")

    assert len(handler.lines) == 2
    assert "CANARY" not in "".join(handler.lines)
    assert "ValueError" in handler.lines[1]


def test_a_line_says_what_it_is_about_and_no_longer_than_it_is() -> None:
    handler = Lines()
    logger = capture(handler)

    with logs.log_context(org="o1"):
        with logs.log_context(sku="A-1"):
            logger.info("inner")
        logger.info("outer")
    logger.info("after")

    assert [line.partition("tests.logs:")[2] for line in handler.lines] == [
        " org=o1 sku=A-1 inner",
        " org=o1 outer",
        " after",
    ]


def test_times_are_utc() -> None:
    handler = Lines()

    record = logging.makeLogRecord({"name": "x", "msg": "y", "levelname": "INFO", "created": 0.5, "msecs": 500})

    assert handler.format(record).startswith("1970-01-01T00:00:00.500Z INFO")
