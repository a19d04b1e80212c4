"""The demo merchant: three companies of the sandbox, and one rule that joins their stock.

`python -m devserver.demo TOKENS OUT API_URL` writes its setup file.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from pathlib import Path
from typing import Any

ORGANIZATION = "demo"
EMAIL = "demo@estoqueuni.example"
PASSWORD = "demonstracao"  # noqa: S105  Everybody is meant to know it.
ACCOUNTS = {"matriz": "Matriz", "filial": "Filial", "avulsa": "Avulsa"}
SOURCES = (("matriz", "Geral"), ("filial", "Geral"))
TARGETS = (("matriz", "Loja virtual"), ("filial", "Loja virtual"), ("avulsa", "Loja virtual"))


class DemoUnavailable(Exception):
    """The sandbox did not say what is needed; the message says what."""
