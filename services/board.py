"""What the Painel shows: a verdict, the three kinds of synchronization, accounts, queue, things to do. Only reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from peewee import Case, fn

from clock import utcnow
from config import current
from ids import id_at
from models import (
    Account,
    AccountState,
    Deposit,
    DirtySku,
    Event,
    EventState,
    GroupDeposit,
    Organization,
    Product,
    Run,
    RunType,
    StockGroup,
    StockWrite,
)
from services import labels
from services.bling_clients import requests_today
from services.held import held_line
from services.overview import OPEN_RUNS, UNSENT_WRITES, Machinery, Part, active_groups, machinery
from services.problems import Problem, problems_of
from services.review import count_waiting

A_DAY = timedelta(hours=24)
GOOD_RUNS = ("ok", "skipped")
BAD_RUNS = ("failed", "partial")
HELD_SHOWN = 5
# The periodic check may be this late before the screen calls it late: the tick comes every 15 s, a queue may be full.
CHECK_TOLERANCE = timedelta(minutes=3)
STEPS_BEFORE_ACTIVE = 4


@dataclass(frozen=True, slots=True)
class Action:
    text: str
    href: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """How it is, in one line, a sentence more, and what to do about it."""

    tone: labels.Tone
    line: str
    detail: str
    action: Action | None = None


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
    """`requests` is None when they cannot be counted now."""

    account: Account
    health: str
    requests: int | None
    quota: int
    products: int
    deposits: int


@dataclass(frozen=True, slots=True)
class QueueState:
    waiting: int
    working: int
    retrying: int
    oldest: datetime | None
    events: int
    writes: int

    @property
    def total(self) -> int:
        return self.waiting + self.working + self.events


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do before the first synchronization; the server itself sees whether it is done."""

    title: str
    text: str
    is_done: bool
    action: Action


@dataclass(frozen=True, slots=True)
class Board:
    """`problems` want something done; `left_out` are products that cannot be synchronized by their nature.

    `in_review`: writes that nobody can tell the outcome of, and that a person is asked about.
    """

    verdict: Verdict
    kinds: tuple[Kind, ...]
    accounts: tuple[AccountLine, ...]
    queue: QueueState
    problems: tuple[Problem, ...]
    left_out: tuple[Problem, ...]
    held: tuple[Run, ...]
    in_review: int
    stopped: tuple[Part, ...]
    steps: tuple[Step, ...]

    @property
    def is_set_up(self) -> bool:
        return all(step.is_done for step in self.steps)

    @property
    def fingerprint(self) -> tuple[object, ...]:
        """All that can change, so that the board is sent again only when it would look different."""
        return (
            self.verdict,
            *(
                (kind.state, kind.last and (kind.last.id, kind.last.status), kind.following, kind.good, kind.bad)
                for kind in self.kinds
            ),
            *(
                (line.account.id, line.account.name, line.account.state, line.account.last_event_at, line.requests)
                for line in self.accounts
            ),
            self.queue,
            self.problems,
            self.left_out,
            *(run.id for run in self.held),
            self.in_review,
            self.stopped,
            *(step.is_done for step in self.steps),
        )


def board_of(organization: Organization, now: datetime | None = None) -> Board:
    now = now or utcnow()
    machines = machinery()
    accounts = _account_lines(organization, now)
    steps = _steps(organization, accounts)
    problems = problems_of(organization, now)
    to_do = tuple(problem for problem in problems if problem.is_to_do)
    held = _held(organization)
    in_review = count_waiting(organization)
    queue = _queue(organization, now)
    return Board(
        verdict=_verdict(accounts, machines, to_do, held, in_review, queue, steps, now),
        kinds=_kinds(organization, machines, accounts, now),
        accounts=accounts,
        queue=queue,
        problems=to_do,
        left_out=tuple(problem for problem in problems if not problem.is_to_do),
        held=held,
        in_review=in_review,
        stopped=machines.stopped,
        steps=steps,
    )


def webhook_health(account: Account, now: datetime) -> str:
    """A code of labels.WEBHOOK_HEALTH."""
    if account.last_event_at is None:
        return "never"
    return "receiving" if now - account.last_event_at <= A_DAY else "quiet"


def _verdict(
    accounts: Sequence[AccountLine],
    machines: Machinery,
    problems: Sequence[Problem],
    held: Sequence[Run],
    in_review: int,
    queue: QueueState,
    steps: Sequence[Step],
    now: datetime,
) -> Verdict:
    """The worst thing decides."""
    lost = [line.account for line in accounts if line.account.state == AccountState.RECONNECT]
    if lost:
        return _lost_accounts(lost)
    if machines.stopped:
        return Verdict(
            "error",
            "A sincronização está parada",
            "Nada se perde: o que chegar fica guardado e segue quando tudo voltar.",
        )
    if held:
        return Verdict(
            "warn",
            "Uma sincronização espera a sua aprovação",
            f"{held_line(held[0]) or 'Ela baixaria produtos demais de uma vez.'} Parou antes de escrever; as vendas "
            "continuam sendo sincronizadas.",
            Action("Ver o que mudaria", f"/execucoes/{held[0].id}"),
        )
    if not all(step.is_done for step in steps[:STEPS_BEFORE_ACTIVE]):
        return Verdict(
            "neutral",
            "Falta pouco para começar",
            "Siga os passos abaixo; nada é escrito no Bling antes de você ativar.",
        )
    if in_review:
        return Verdict(
            "warn",
            labels.contagem(in_review, "escrita espera uma resposta sua", "escritas esperam uma resposta sua"),
            "O Bling não disse se as aplicou. Até alguém responder vale o menor total: nada é vendido a mais.",
            Action("Responder em Revisão", "/revisao"),
        )
    waiting_for_people = sum(problem.count for problem in problems if problem.label.tone == "error")
    if waiting_for_people:
        line = labels.contagem(waiting_for_people, "produto precisa de você", "produtos precisam de você")
        return Verdict("warn", line, "Os outros continuam sendo sincronizados.")
    if queue.total:
        return Verdict(
            "info", "Sincronizando agora", f"{labels.contagem(queue.total, 'mudança', 'mudanças')} em andamento."
        )
    heard = max((line.account.last_event_at for line in accounts if line.account.last_event_at), default=None)
    if heard is None:
        return Verdict("ok", "Tudo em dia", "Nenhum aviso do Bling recebido até agora.")
    return Verdict("ok", "Tudo em dia", f"Último aviso do Bling {labels.ha_quanto_tempo(heard, now)}.")


def _lost_accounts(lost: Sequence[Account]) -> Verdict:
    if len(lost) == 1:
        return Verdict(
            "error",
            f"{lost[0].name} precisa ser reconectada",
            "O Bling recusou o acesso. As vendas dela não baixam o estoque das outras até lá.",
            Action("Reconectar", f"/contas/{lost[0].id}"),
        )
    names = ", ".join(account.name for account in lost)
    return Verdict(
        "error",
        f"{len(lost)} contas precisam ser reconectadas",
        f"São elas: {names}.",
        Action("Ver as contas", "/contas"),
    )


def _kinds(
    organization: Organization, machines: Machinery, accounts: Sequence[AccountLine], now: datetime
) -> tuple[Kind, ...]:
    counts: dict[tuple[str, str], int] = {
        (type_, status): count
        for type_, status, count in Run.select(Run.type, Run.status, fn.COUNT(Run.id))
        .where(Run.organization == organization, Run.id >= id_at(now - A_DAY))
        .group_by(Run.type, Run.status)
        .tuples()
    }

    def total(type_: str, statuses: Iterable[str]) -> int:
        return sum(counts.get((type_, status), 0) for status in statuses)

    kinds = []
    for type_ in RunType:
        running = total(type_, OPEN_RUNS)
        tone, state = _state_of(type_, organization, machines, accounts, running, now)
        kinds.append(
            Kind(
                type=type_.value,
                tone=tone,
                state=state,
                last=Run.select()
                .where(Run.organization == organization, Run.type == type_)
                .order_by(Run.id.desc())
                .first(),
                following=_next_check(organization) if type_ is RunType.CRON else None,
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
    if not machines.workers:
        return "error", "Parada"
    if running:
        return "info", "Sincronizando"
    if not active_groups(organization):
        return "neutral", "Sem regra ativa"
    if type_ is RunType.WEBHOOK:
        heard = any(line.account.last_event_at for line in accounts)
        return ("ok", "Recebendo") if heard else ("neutral", "Sem avisos ainda")
    if type_ is RunType.CRON:
        if not machines.scheduler:
            return "error", "Parada"
        return ("warn", "Atrasada") if organization.next_reconcile_at < now - CHECK_TOLERANCE else ("ok", "Em dia")
    return "ok", "Disponível"


def _next_check(organization: Organization) -> datetime | None:
    """Read afresh: the scheduler moves it while a page is open."""
    if not active_groups(organization):
        return None
    return Organization.select(Organization.next_reconcile_at).where(Organization.id == organization.id).scalar()


def _account_lines(organization: Organization, now: datetime) -> tuple[AccountLine, ...]:
    accounts = (
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


def _counts_by_account(model: Any, organization: Organization, condition: Any) -> dict[str, int]:
    rows = (
        model.select(model.account, fn.COUNT(model.id))
        .where(model.organization == organization, condition)
        .group_by(model.account)
        .tuples()
    )
    return dict(rows)


def _held(organization: Organization) -> tuple[Run, ...]:
    runs = Run.select().where(Run.organization == organization, Run.status == "held")
    return tuple(runs.order_by(Run.id.desc()).limit(HELD_SHOWN))


def _queue(organization: Organization, now: datetime) -> QueueState:
    rows = DirtySku.select().where(DirtySku.organization == organization)
    leased = Case(None, [((DirtySku.lease_until > now), 1)], 0)
    retried = Case(None, [((DirtySku.attempts > 0), 1)], 0)
    total, working, retrying = rows.select(fn.COUNT(DirtySku.id), fn.SUM(leased), fn.SUM(retried)).scalar(as_tuple=True)
    oldest = rows.order_by(DirtySku.marked_at).first()
    return QueueState(
        waiting=total - int(working or 0),
        working=int(working or 0),
        retrying=int(retrying or 0),
        oldest=oldest.marked_at if oldest else None,
        events=Event.select().where(Event.organization == organization, Event.state == EventState.PENDING).count(),
        writes=StockWrite.select()
        .where(StockWrite.organization == organization, StockWrite.state.in_(UNSENT_WRITES))
        .count(),
    )


def _steps(organization: Organization, accounts: Sequence[AccountLine]) -> tuple[Step, ...]:
    has_targets = (
        GroupDeposit.select().where(GroupDeposit.organization == organization, GroupDeposit.role == "target").exists()
    )
    has_group = StockGroup.select().where(StockGroup.organization == organization).exists()
    connect = Action("Conectar conta", "/contas")
    return (
        Step("Conectar a primeira conta Bling", "Você autoriza na tela do próprio Bling.", len(accounts) >= 1, connect),
        Step("Conectar a segunda conta", "O estoque passa a ser um só entre elas.", len(accounts) >= 2, connect),
        Step(
            "Escolher os depósitos",
            "Quais guardam o estoque e quais devem mostrar o total.",
            has_group and has_targets,
            Action("Criar regra", "/regras"),
        ),
        Step(
            "Conferir a prévia e ativar",
            "Antes de ativar você vê, produto a produto, o que vai mudar.",
            active_groups(organization) > 0,
            Action("Ver a prévia", "/regras"),
        ),
        Step(
            "Receber o primeiro webhook",
            "Mude o estoque de um produto no Bling e o aviso aparece aqui.",
            any(line.account.last_event_at for line in accounts),
            Action("Como configurar", "/ajuda/como-funciona#webhook"),
        ),
    )
