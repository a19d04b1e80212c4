"""How everything is at this moment: the line at the top of every page, and `status --json`.

Only reads. What cannot be told (Redis is away) is said to be unknown, never shown as zero.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from peewee import fn

import queues
from models import (
    Account,
    AccountState,
    DirtySku,
    Event,
    Organization,
    Run,
    RunType,
    StockGroup,
    StockWrite,
)
from services import labels
from services.bling_clients import requests_today
from services.review import count_waiting

OPEN_RUNS = ("queued", "running")
UNSENT_WRITES = ("planned", "sending")


@dataclass(frozen=True, slots=True)
class Header:
    """The state of the whole in a few words, as it stands on every page."""

    text: str
    tone: labels.Tone
    queued: int

    @property
    def version(self) -> str:
        """Changes whenever the line would look different."""
        return hashlib.sha256(f"{self.tone} {self.queued} {self.text}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Part:
    """A process this program needs. `effect`: what its absence means, in calm words."""

    name: str
    effect: str


@dataclass(frozen=True, slots=True)
class Machinery:
    """What runs behind the screen. `workers` is None when Redis is away and nobody can be counted."""

    redis: bool
    workers: int | None
    scheduler: bool | None

    @property
    def stopped(self) -> tuple[Part, ...]:
        if not self.redis:
            return (
                Part(
                    "Redis",
                    "A fila de avisos entre os processos não responde. Os webhooks continuam guardados e nada se "
                    "perde; a sincronização segue assim que o Redis voltar.",
                ),
            )
        parts = []
        if not self.workers:
            parts.append(
                Part(
                    "Worker",
                    "Nenhum processo sincroniza agora. O que o Bling avisar fica guardado e nada se perde; "
                    "quando o worker voltar, ele retoma de onde parou.",
                )
            )
        if not self.scheduler:
            parts.append(
                Part(
                    "Agendador",
                    "A conferência periódica e as novas tentativas pararam. Vendas avisadas por webhook continuam "
                    "sendo sincronizadas e nada se perde.",
                )
            )
        return tuple(parts)


def machinery() -> Machinery:
    if not queues.is_reachable():
        return Machinery(redis=False, workers=None, scheduler=None)
    return Machinery(redis=True, workers=queues.worker_count(), scheduler=queues.scheduler_alive())


def header(organization: Organization) -> Header:
    """The state pill: the worst thing first."""
    queued = _count(DirtySku.select().where(DirtySku.organization == organization))
    stopped = machinery().stopped
    states = _account_states(organization)
    lost = states.get(AccountState.RECONNECT, 0)
    if lost:
        text = "1 conta precisa de você" if lost == 1 else f"{lost} contas precisam de você"
        return Header(text, "error", queued)
    if stopped:
        return Header(f"{stopped[0].name} parado", "error", queued)
    active = active_groups(organization)
    if not active:
        return Header("Sincronização ainda não ativada", "neutral", queued)
    if states.get(AccountState.PAUSED):
        return Header("Sincronização com conta pausada", "warn", queued)
    if _count(Run.select().where(Run.organization == organization, Run.status == "held")):
        return Header("Espera a sua aprovação", "warn", queued)
    if count_waiting(organization):
        return Header("Espera a sua resposta", "warn", queued)
    if queued:
        return Header("Sincronizando", "info", queued)
    return Header("Sincronização ativa", "ok", queued)


def status(organization: Organization | None) -> dict[str, Any]:
    """The answer of `status --json`, of one organization or of all.

    `idle` is about the machine: what waits for a person (an approval, a write of unknown outcome) does not count.
    """

    def mine(model: Any) -> Any:
        return model.organization == organization if organization is not None else model.organization.is_null(False)

    events = _by_column(Event, Event.state, Event.state.in_(("pending", "failed")), mine(Event))
    writes = _by_column(
        StockWrite, StockWrite.state, StockWrite.state.in_((*UNSENT_WRITES, "unknown")), mine(StockWrite)
    )
    dirty = _count(DirtySku.select().where(mine(DirtySku)))
    unsent = sum(writes.get(state, 0) for state in UNSENT_WRITES)
    open_runs = _count(Run.select().where(mine(Run), Run.finished_at.is_null(), Run.status.in_(OPEN_RUNS)))
    accounts = Account.select().where(mine(Account)).order_by(Account.created_at, Account.id)
    return {
        "idle": not (events.get("pending") or dirty or unsent or open_runs),
        "events": {"pending": events.get("pending", 0), "failed": events.get("failed", 0)},
        "dirty": dirty,
        "writes": {"pending": unsent, "unknown": writes.get("unknown", 0), "review": count_waiting(organization)},
        "accounts": [
            {
                "key": account.key,
                "state": account.state,
                "last_event_at": iso(account.last_event_at),
                "requests_today": requests_today(account),
            }
            for account in accounts
        ],
        "held": _count(Run.select().where(mine(Run), Run.status == "held")),
        "last": {type_.value: iso(_last_finished(mine, type_)) for type_ in RunType},
        "workers": queues.worker_count(),
    }


def iso(moment: datetime | None) -> str | None:
    """2026-11-21T14:03:22.123Z"""
    return None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _count(query: Any) -> int:
    return int(query.count())


def _by_column(model: Any, column: Any, *conditions: Any) -> dict[str, int]:
    rows = model.select(column, fn.COUNT(model.id)).where(*conditions).group_by(column).tuples()
    return {str(value): int(count) for value, count in rows}


def _account_states(organization: Organization) -> dict[str, int]:
    return _by_column(Account, Account.state, Account.organization == organization)


def active_groups(organization: Organization) -> int:
    return _count(StockGroup.select().where(StockGroup.organization == organization, StockGroup.is_active == 1))


def _last_finished(mine: Any, type_: RunType) -> datetime | None:
    run = (
        Run.select(Run.finished_at)
        .where(mine(Run), Run.type == type_, Run.finished_at.is_null(False))
        .order_by(Run.id.desc())
        .first()
    )
    return run.finished_at if run else None
