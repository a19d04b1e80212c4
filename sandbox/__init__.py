"""A Bling of our own: the API, OAuth, limits and webhooks that EstoqueUni needs, with faults on demand.

`Bling` is the whole of it in one object, `create_app` its WSGI program, `serve` a real server for it.
"""

from __future__ import annotations

from .app import create_app
from .balances import Balance
from .bling import Bling, Tokens
from .errors import SandboxError
from .server import Server, serve

__all__ = ["Balance", "Bling", "SandboxError", "Server", "Tokens", "create_app", "serve"]
