"""The demo merchant: three companies of the sandbox, and one rule that joins their stock.

`python -m devserver.demo TOKENS OUT` writes its setup file from the tokens that the sandbox wrote.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

ORGANIZATION = "demo"
EMAIL = "demo@estoqueuni.example"
PASSWORD = "demonstracao"  # noqa: S105  Everybody is meant to know it.
ACCOUNTS = {"matriz": "Matriz", "filial": "Filial", "avulsa": "Avulsa"}
SOURCES = (("matriz", "Geral"), ("filial", "Geral"))
TARGETS = (("matriz", "Loja virtual"), ("filial", "Loja virtual"), ("avulsa", "Loja virtual"))


class DemoUnavailable(Exception):
    """The sandbox did not say what is needed; the message says what is missing."""


def write_setup(tokens: Path, out: Path) -> None:
    """Write the setup file, readable by its owner only: it holds tokens."""
    try:
        content = setup_document(json.loads(tokens.read_text()))
    except (OSError, ValueError) as error:
        raise DemoUnavailable(f"the sandbox's tokens cannot be read: {error}") from error
    out.unlink(missing_ok=True)
    with open(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(content, file, ensure_ascii=False, indent=1)


def setup_document(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The setup file for these accounts; DemoUnavailable when an account or a deposit is missing."""
    by_key = {row["key"]: row for row in rows}
    if missing := sorted(ACCOUNTS.keys() - by_key.keys()):
        raise DemoUnavailable(f"the sandbox has no tokens for {', '.join(missing)}")

    def cell(account: str, name: str) -> dict[str, Any]:
        for deposit in by_key[account]["deposits"]:
            if deposit["name"] == name:
                return {"account": account, "deposit": deposit["id"]}
        raise DemoUnavailable(f"the sandbox has no deposit {name!r} in {account}")

    return {
        "organization": {"slug": ORGANIZATION, "name": "Loja de Demonstração", "reconcile_every_minutes": 30},
        "users": [{"email": EMAIL, "name": "Demonstração", "role": "owner", "password": PASSWORD}],
        "accounts": [
            {
                "key": key,
                "name": name,
                **{word: by_key[key][word] for word in ("access_token", "refresh_token", "expires_in")},
            }
            for key, name in ACCOUNTS.items()
        ],
        "groups": [
            {
                "key": "geral",
                "name": "Estoque geral",
                "mode": "sum",
                "balance": "virtual",
                "active": True,
                "sources": [cell(*source) for source in SOURCES],
                "targets": [cell(*target) for target in TARGETS],
            }
        ],
    }


if __name__ == "__main__":
    write_setup(Path(sys.argv[1]), Path(sys.argv[2]))
