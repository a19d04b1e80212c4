"""Trouble on a stage: faults that hit writes only, waits that pass at once, workers that die."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from flask import has_request_context, request

import queues
from bling.tokens import TokenSource
from bling.transport import Transport
from clock import utcnow
from core.values import MovementOrder
from models import Account, DirtySku
from sandbox import Bling
from services import bling_clients, settle
from services.bling_clients import client_for
from tests.stage import Stage


def hit_writes_only(bling: Bling, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on what is set to go wrong goes wrong at `POST /estoques` and nowhere else."""
    hit = bling.faults.hit

    def hit_writes(kind: str, account: str | None) -> object:
        is_write = has_request_context() and request.method == "POST" and request.path.endswith("/estoques")
        return hit(kind, account) if is_write else None

    monkeypatch.setattr(bling.faults, "hit", hit_writes)


def skip_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads are repeated at once, and nobody waits for another process's refresh of a token."""
    monkeypatch.setattr(bling_clients, "_transport", lambda url: Transport(url, sleep=lambda _s: None))
    monkeypatch.setattr(bling_clients, "TokenSource", partial(TokenSource, refused_wait_limit_s=0.0))


def mend(stage: Stage) -> None:
    """Bling is well again, and as much time has passed as an account that keeps failing is left alone for."""
    stage.bling.faults.clear()
    redis = queues.shared_connection()
    for key in redis.scan_iter("estoqueuni:{breaker}:*"):
        redis.delete(key)


class Killed(BaseException):
    """What a process that is killed does: nothing more, nowhere."""


class _Hooked:
    """A client whose writes go through a function of the test."""

    def __init__(self, account: Account, hook: Callable[..., int | None]) -> None:
        self._client = client_for(account)
        self._hook = hook

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def create_movement(self, order: MovementOrder, before_leaving: Callable[[], None]) -> int | None:
        return self._hook(self._client, order, before_leaving)


def settle_with(stage: Stage, hook: Callable[..., int | None]) -> None:
    """Deliver what is due and settle it once; each write goes through `hook(client, order, before_leaving)`."""
    while stage.bling.pump():
        pass
    settle.settle_due(stage.organization.id, client_of=lambda account: _Hooked(account, hook))


def expire_leases() -> None:
    """As if the workers that hold a SKU had been silent for longer than a lease lasts."""
    DirtySku.update(lease_until=utcnow() - timedelta(seconds=1)).where(DirtySku.lease.is_null(False)).execute()
