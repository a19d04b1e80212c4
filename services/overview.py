"""How everything is at this moment: the line at the top of every page, the Painel, and `status --json`.

Only reads. What cannot be told (Redis is away) is said to be unknown, never shown as zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from peewee import JOIN, Case, fn

import queues
from clock import utcnow
from config import current
from models import (
    Account,
    AccountState,
    Cell,
    Deposit,
    DirtySku,
    Event,
    EventState,
    GroupDeposit,
    Organization,
    Pool,
    Product,
    Run,
    RunItem,
    RunType,
    StockGroup,
    StockWrite,
)
from services import labels
from services.bling_clients import requests_today

A_DAY = timedelta(hours=24)
OPEN_RUNS = ("queued", "running")
UNSENT_WRITES = ("planned", "sending")
GOOD_RUNS = ("ok", "skipped")
BAD_RUNS = ("failed", "partial")
PROBLEM_ROWS = 12
# The periodic check may be this late before the screen calls it late: the tick comes every 15 s, a queue may be full.
CHECK_TOLERANCE = timedelta(minutes=3)
# Problems that pass by themselves within seconds, or that are the merchant's own wish, are no news on the Painel.
PASSING = ("put_off", "open_write", "ignored", "lower_only")


@dataclass(frozen=True, slots=True)
class Header:
    """The state of the whole in a few words, as it stands on every page."""

    text: str
    tone: labels.Tone
    queued: int

    @property
    def version(self) -> str:
        return f"{self.tone}-{self.queued}-{sum(map(ord, self.text))}"


@dataclass(frozen=True, slots=True)
class Part:
    """A process this program needs. `effect`: what its absence means, in calm words."""

    name: str
    is_alive: bool
    effect: str


@dataclass(frozen=True, slots=True)
class Machinery:
    """What runs behind the screen. `workers` is None when Redis is away and nobody can be counted."""

    redis: bool
    workers: int | None
    scheduler: bool | None

    @property
    def stopped(self) -> list[Part]:
        if not self.redis:
            return [
                Part(
                    "Redis",
                    False,
                    "A fila de avisos entre os processos não responde. Os webhooks continuam guardados e nada se "
                    "perde; a sincronização segue assim que o Redis voltar.",
                )
            ]
        parts = []
        if not self.workers:
            parts.append(
                Part(
                    "Worker",
                    False,
                    "Nenhum processo sincroniza agora. O que o Bling avisar fica guardado e nada se perde; "
                    "quando o worker voltar, ele retoma de onde parou.",
                )
            )
        if not self.scheduler:
            parts.append(
                Part(
                    "Agendador",
                    False,
                    "A conferência periódica e as novas tentativas estão paradas. Vendas avisadas por webhook continuam "
                    "sendo sincronizadas e nada se perde.",
                )
            )
        return parts


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the three ways a synchronization begins."""

    type: str
    tone: labels.Tone
    state: str
    last: Run | None
    following: datetime | None
    good: int
    bad: int
    running: int


@dataclass(frozen=True, slots=True)
class AccountLine:
    account: Account
    health: str
    requests: int | None
    quota: int
    products: int
    deposits: int


@dataclass(frozen=True, slots=True)
class Problem:
    """SKUs that wait for somebody, for the same reason."""

    code: str
    label: labels.Label
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class QueueState:
    waiting: int
    working: int
    retrying: int
    oldest: datetime | None
    events: int
    writes: int


@dataclass(frozen=True, slots=True)
class Step:
    title: str
    text: str
    is_done: bool
    href: str
    action: str


@dataclass(frozen=True, slots=True)
class Dashboard:
    verdict: str
    tone: labels.Tone
    detail: str
    kinds: tuple[Kind, ...]
    accounts: tuple[AccountLine, ...]
    queue: QueueState
    problems: tuple[Problem, ...]
    held: tuple[Run, ...]
    stopped: tuple[Part, ...]
    steps: tuple[Step, ...] = field(default=())

    @property
    def is_set_up(self) -> bool:
        return all(step.is_done for step in self.steps)


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
    active = _active_groups(organization)
    if not active:
        return Header("Sincronização ainda não ativada", "neutral", queued)
    if states.get(AccountState.PAUSED):
        return Header("Sincronização com conta pausada", "warn", queued)
    if queued:
        return Header("Sincronizando", "info", queued)
    return Header("Sincronização ativa", "ok", queued)


def dashboard(organization: Organization, now: datetime | None = None) -> Dashboard:
    """Everything that the Painel shows."""
    now = now or utcnow()
    machines = machinery()
    accounts = _account_lines(organization, now)
    steps = _setup_steps(organization, accounts)
    problems = _problems(organization, now)
    held = tuple(
        Run.select().where(Run.organization == organization, Run.status == "held").order_by(Run.id.desc()).limit(5)
    )
    queue = _queue(organization, now)
    tone, verdict, detail = _verdict(organization, accounts, machines, problems, held, queue, steps, now)
    return Dashboard(
        verdict=verdict,
        tone=tone,
        detail=detail,
        kinds=_kinds(organization, machines, accounts, now),
        accounts=accounts,
        queue=queue,
        problems=problems,
        held=held,
        stopped=tuple(machines.stopped),
        steps=steps,
    )


def fingerprint(board: Dashboard) -> tuple[object, ...]:
    """Everything the Painel shows that can change, so that it is sent again only when it would look different."""
    return (
        board.tone,
        board.verdict,
        *(
            (kind.type, kind.state, kind.last and (kind.last.id, kind.last.status), kind.good, kind.bad)
            for kind in board.kinds
        ),
        *(kind.following for kind in board.kinds),
        *(
            (line.account.id, line.account.name, line.account.state, line.account.last_event_at, line.requests)
            for line in board.accounts
        ),
        board.queue,
        *((problem.code, problem.count, problem.examples) for problem in board.problems),
        *(run.id for run in board.held),
        *(part.name for part in board.stopped),
        *(step.is_done for step in board.steps),
    )


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
        "writes": {"pending": unsent, "unknown": writes.get("unknown", 0), "review": _in_review(mine)},
        "accounts": [
            {
                "key": account.key,
                "state": account.state,
                "last_event_at": iso(account.last_event_at),
                "requests_today": requests_today(account),
            }
            for account in accounts
        ],
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


def _active_groups(organization: Organization) -> int:
    return _count(StockGroup.select().where(StockGroup.organization == organization, StockGroup.is_active == 1))


def _in_review(mine: Any) -> int:
    """Cells whose last item ended in review: they wait for a person."""
    return _count(
        StockWrite.select()
        .join(RunItem, on=(StockWrite.item == RunItem.id))
        .where(mine(StockWrite), StockWrite.state == "unknown", RunItem.status == "review")
    )


def _last_finished(mine: Any, type_: RunType) -> datetime | None:
    run = (
        Run.select(Run.finished_at)
        .where(mine(Run), Run.type == type_, Run.finished_at.is_null(False))
        .order_by(Run.id.desc())
        .first()
    )
    return run.finished_at if run else None


def id_at(moment: datetime) -> str:
    """The smallest id that a row made at this moment can have: ids are UUIDv7, whose first 48 bits are the time."""
    return f"{int(moment.timestamp() * 1000):012x}" + "0" * 20


def _kinds(
    organization: Organization, machines: Machinery, accounts: Iterable[AccountLine], now: datetime
) -> tuple[Kind, ...]:
    since = id_at(now - A_DAY)
    counts: dict[tuple[str, str], int] = {
        (type_, status_): count
        for type_, status_, count in Run.select(Run.type, Run.status, fn.COUNT(Run.id))
        .where(Run.organization == organization, Run.id >= since)
        .group_by(Run.type, Run.status)
        .tuples()
    }

    def total(type_: str, statuses: Iterable[str]) -> int:
        return sum(counts.get((type_, status_), 0) for status_ in statuses)

    kinds = []
    for type_ in RunType:
        last = Run.select().where(Run.organization == organization, Run.type == type_).order_by(Run.id.desc()).first()
        running = total(type_, OPEN_RUNS)
        tone, state = _state_of(type_, organization, machines, accounts, running, now)
        kinds.append(
            Kind(
                type=type_.value,
                tone=tone,
                state=state,
                last=last,
                following=organization.next_reconcile_at if type_ is RunType.CRON else None,
                good=total(type_, GOOD_RUNS),
                bad=total(type_, BAD_RUNS),
                running=running,
            )
        )
    return tuple(kinds)


def _state_of(
    type_: RunType,
    organization: Organization,
    machines: Machinery,
    accounts: Iterable[AccountLine],
    running: int,
    now: datetime,
) -> tuple[labels.Tone, str]:
    if not machines.redis or not machines.workers:
        return "error", "Parada"
    if running:
        return "info", "Sincronizando"
    if type_ is RunType.WEBHOOK:
        heard = [line.account.last_event_at for line in accounts if line.account.last_event_at]
        return ("ok", "Recebendo") if heard else ("neutral", "Aguardando o primeiro aviso")
    if type_ is RunType.CRON:
        if not _active_groups(organization):
            return "neutral", "Sem regra ativa"
        if not machines.scheduler:
            return "error", "Parada"
        if organization.next_reconcile_at < now - CHECK_TOLERANCE:
            return "warn", "Atrasada"
        return "ok", "Em dia"
    return "ok", "Disponível"


def _account_lines(organization: Organization, now: datetime) -> tuple[AccountLine, ...]:
    accounts = list(
        Account.select()
        .where(Account.organization == organization, Account.state != AccountState.DISCONNECTED)
        .order_by(Account.created_at, Account.id)
    )
    products = _counts_by_account(Product, organization, Product.situation == "active")
    deposits = _counts_by_account(Deposit, organization, Deposit.is_active == 1)
    return tuple(
        AccountLine(
            account=account,
            health=webhook_health(account, now),
            requests=requests_today(account),
            quota=current().bling_rate_per_day,
            products=products.get(account.id, 0),
            deposits=deposits.get(account.id, 0),
        )
        for account in accounts
    )


def _counts_by_account(model: Any, organization: Organization, *conditions: Any) -> dict[str, int]:
    rows = (
        model.select(model.account, fn.COUNT(model.id))
        .where(model.organization == organization, *conditions)
        .group_by(model.account)
        .tuples()
    )
    return dict(rows)


def webhook_health(account: Account, now: datetime) -> str:
    """A code of labels.WEBHOOK_HEALTH."""
    if account.last_event_at is None:
        return "never"
    return "receiving" if now - account.last_event_at <= A_DAY else "quiet"


def _queue(organization: Organization, now: datetime) -> QueueState:
    leased = Case(None, [((DirtySku.lease_until > now), 1)], 0)
    retried = Case(None, [((DirtySku.attempts > 0), 1)], 0)
    total, working, retrying, oldest = (
        DirtySku.select(fn.COUNT(DirtySku.id), fn.SUM(leased), fn.SUM(retried), fn.MIN(DirtySku.marked_at))
        .where(DirtySku.organization == organization)
        .scalar(as_tuple=True)
    )
    return QueueState(
        waiting=total - int(working or 0),
        working=int(working or 0),
        retrying=int(retrying or 0),
        oldest=DirtySku.marked_at.python_value(oldest) if isinstance(oldest, int) else oldest,
        events=_count(Event.select().where(Event.organization == organization, Event.state == EventState.PENDING)),
        writes=_count(
            StockWrite.select().where(StockWrite.organization == organization, StockWrite.state.in_(UNSENT_WRITES))
        ),
    )


def _problems(organization: Organization, now: datetime) -> tuple[Problem, ...]:
    """What the books say is wrong with a SKU of an active rule, and what the last attempts of the day could not do."""
    skus: dict[str, set[str]] = {}
    active = (StockGroup.organization == organization) & (StockGroup.is_active == 1)
    pools = (
        Pool.select(Pool.problem, Pool.sku)
        .join(StockGroup)
        .where(active, Pool.problem.is_null(False), Pool.problem.not_in(PASSING))
        .tuples()
    )
    cells = (
        Cell.select(Cell.problem, Pool.sku)
        .join(Pool)
        .join(StockGroup)
        .where(active, Cell.problem.is_null(False), Cell.problem.not_in(PASSING))
        .tuples()
    )
    unknown = (
        StockWrite.select(Product.sku)
        .join(Product)
        .where(StockWrite.organization == organization, StockWrite.state == "unknown")
        .tuples()
    )
    for code, sku in [*pools, *cells, *(("unknown_write", sku) for (sku,) in unknown)]:
        skus.setdefault(code, set()).add(sku)
    known = set().union(*skus.values()) if skus else set()
    for code, sku in _failed_lately(organization, now):
        if sku not in known:
            skus.setdefault(code, set()).add(sku)
    order = {"error": 0, "warn": 1, "info": 2, "neutral": 3, "ok": 4}
    problems = [
        Problem(code, _problem_label(code), len(names), tuple(sorted(names)[:PROBLEM_ROWS]))
        for code, names in skus.items()
    ]
    return tuple(sorted(problems, key=lambda problem: (order[problem.label.tone], -problem.count, problem.code)))


def _problem_label(code: str) -> labels.Label:
    known = labels.PROBLEMS.get(code) or labels.STATUSES.get(code)
    return known or labels.Label(code, "error")


def _failed_lately(organization: Organization, now: datetime) -> list[tuple[str, str]]:
    """(cause, SKU) where the last item of the SKU, within a day, ended without success."""
    recent = (
        RunItem.select(fn.MAX(RunItem.id).alias("id"))
        .join(Run)
        .where(Run.organization == organization, Run.id >= id_at(now - A_DAY), RunItem.finished_at.is_null(False))
        .group_by(RunItem.group, RunItem.sku)
    )
    rows = (
        RunItem.select(RunItem.status, RunItem.error, RunItem.sku)
        .join(recent, JOIN.INNER, on=(RunItem.id == recent.c.id))
        .where(RunItem.status.in_(("failed", "review", "dup")))
        .tuples()
    )
    return [(error if error in labels.PROBLEMS else status_, sku) for status_, error, sku in rows]


def _setup_steps(organization: Organization, accounts: tuple[AccountLine, ...]) -> tuple[Step, ...]:
    groups = _count(StockGroup.select().where(StockGroup.organization == organization))
    targets = (
        GroupDeposit.select(GroupDeposit.id)
        .where(GroupDeposit.organization == organization, GroupDeposit.role == "target")
        .exists()
    )
    return (
        Step(
            "Conectar a primeira conta Bling",
            "Você autoriza na tela do próprio Bling.",
            len(accounts) >= 1,
            "/contas",
            "Conectar conta",
        ),
        Step(
            "Conectar a segunda conta",
            "O estoque passa a ser um só entre elas.",
            len(accounts) >= 2,
            "/contas",
            "Conectar conta",
        ),
        Step(
            "Escolher os depósitos",
            "Quais guardam o estoque e quais devem mostrar o total.",
            bool(groups and targets),
            "/regras",
            "Criar regra",
        ),
        Step(
            "Conferir a prévia e ativar",
            "Antes de ativar você vê, produto a produto, o que vai mudar.",
            _active_groups(organization) > 0,
            "/regras",
            "Ver a prévia",
        ),
        Step(
            "Receber o primeiro webhook",
            "Mude o estoque de um produto no Bling e o aviso aparece aqui.",
            any(line.account.last_event_at for line in accounts),
            "/ajuda/como-funciona#webhook",
            "Como configurar",
        ),
    )


def _verdict(
    organization: Organization,
    accounts: tuple[AccountLine, ...],
    machines: Machinery,
    problems: tuple[Problem, ...],
    held: tuple[Run, ...],
    queue: QueueState,
    steps: tuple[Step, ...],
    now: datetime,
) -> tuple[labels.Tone, str, str]:
    """Tone, the line, and a second sentence: the worst thing decides."""
    lost = [line.account.name for line in accounts if line.account.state == AccountState.RECONNECT]
    if lost:
        line = (
            f"{lost[0]} precisa ser reconectada" if len(lost) == 1 else f"{len(lost)} contas precisam ser reconectadas"
        )
        return (
            "error",
            line,
            "As vendas dela não baixam o estoque das outras até lá."
            if len(lost) == 1
            else f"São elas: {', '.join(lost)}.",
        )
    if machines.stopped:
        return (
            "error",
            "A sincronização está parada",
            "Nada se perde: o que chegar fica guardado e segue quando tudo voltar.",
        )
    if held:
        return (
            "warn",
            "Uma sincronização espera a sua aprovação",
            "Ela baixaria produtos demais de uma vez e parou antes de escrever.",
        )
    if not all(step.is_done for step in steps[:4]):
        return (
            "neutral",
            "Falta pouco para começar",
            "Siga os passos abaixo; nada é escrito no Bling antes de você ativar.",
        )
    grave = sum(problem.count for problem in problems if problem.label.tone == "error")
    if grave:
        return (
            "warn",
            labels.contagem(grave, "produto precisa de você", "produtos precisam de você"),
            "Os outros continuam em dia.",
        )
    waiting = queue.waiting + queue.working + queue.events
    if waiting:
        return "info", "Sincronizando agora", f"{labels.contagem(waiting, 'mudança', 'mudanças')} em andamento."
    heard = max((line.account.last_event_at for line in accounts if line.account.last_event_at), default=None)
    if heard is None:
        return "ok", "Tudo em dia", "Nenhum aviso do Bling recebido até agora."
    return "ok", "Tudo em dia", f"Último aviso do Bling {labels.ha_quanto_tempo(heard, now)}."
