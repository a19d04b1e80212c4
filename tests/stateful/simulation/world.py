"""The world of a simulation: our sandbox Bling, our database, workers that take turns, and all that can happen to them.

`World.do` carries out one action. An action is plain data and stands on its own: whatever it draws comes from its own
`luck`, so that a story from which others were taken out still means the same.
"""

from __future__ import annotations

import random
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from types import SimpleNamespace
from typing import Any

import clock
import config as configuration
import ids
import jobs.catalog
import jobs.schedule
import jobs.sync
import queues
from bling.breaker import NoBreaker
from clock import utcnow
from config import Config
from core.values import Tokens
from db import database
from models import Account, Cell, Deposit, GroupDeposit, Organization, RunType, StockGroup
from sandbox import Bling
from sandbox.errors import SandboxError
from services import activation, bling_clients, intake, runs, silence
from services.catalog import refresh_account
from tests.stateful.simulation.books import Books
from tests.stateful.simulation.loom import Loom, StrandThread, Threads, Worker, wait
from tests.stateful.simulation.plot import BACK, SHELF, SHOP, SITE, Place, Plot
from tests.stateful.simulation.virtual import Identifiers, VirtualClock
from tests.stateful.simulation.wire import DirectTransport, DirectWire, FixedTokens, Request, Turns

Action = dict[str, Any]

TICK_EVERY_MS = 10_000
YEARS_S = 20 * 365 * 86_400
ZERO = Decimal(0)
JOBS: dict[str, Callable[..., object]] = {
    "jobs.catalog.look_up_product": jobs.catalog.look_up_product,
    "jobs.catalog.refresh_account": jobs.catalog.refresh_account,
    "jobs.schedule.tick": jobs.schedule.tick,
    "jobs.sync.drain": jobs.sync.drain,
    "jobs.sync.scan": jobs.sync.scan,
}


@dataclass(frozen=True, slots=True)
class Moved:
    """A change of a balance by others. `spot`: Bling's numbers of the product and the deposit."""

    ms: int
    spot: tuple[int, int]
    quantity: Decimal
    after: Decimal


class World:
    """`pools`: what the pool of each SKU truly is, told by the world as it happens. `away`: (SKU, account) where the
    product goes by another SKU at the moment. `moved`: what others changed, in order.
    """

    def __init__(self, plot: Plot) -> None:
        self.plot = plot
        self.clock = VirtualClock()
        self.luck = random.Random(0)
        self.books = Books()
        self.loom = Loom(self.clock, self.books, plot.workers, self._remember)
        self.clock.rest = self.loom.sleep
        self.bling = Bling(
            clock=self.clock.seconds, sleep=self.loom.sleep, seed=1, background=False, send=self._receive_webhook
        )
        self.wire = DirectWire(self.bling, self.loom, self._see)
        self.watchers: list[Callable[[Request], None]] = []
        self.happened: list[str] = []
        self.pools = {sku: self._at_first(sku) for sku in plot.skus}
        self.away: set[tuple[str, str]] = set()
        self.moved: list[Moved] = []
        self.orders: list[tuple[int, str]] = []
        self.down_since_ms: dict[str, int] = {}
        self.intake_trouble: dict[str, float] = {}
        self.jobs: dict[str, list[tuple[str, tuple[Any, ...]]]] = {queues.LIVE: [], queues.BULK: []}
        self.wake_at_ms: set[int] = set()
        self.next_tick_ms = self.clock.ms
        self._woken_until_ms = 0
        self._tokens: dict[str, Tokens] = {}
        self._quiet_silence: set[str] = set()

    def _at_first(self, sku: str) -> Decimal:
        starts = self.plot.sources if self.plot.mode == "sum" else self.plot.targets[:1]
        return sum((Decimal(self.plot.stock[sku][account][deposit]) for account, deposit in starts), ZERO)

    # The stage is set before anything happens, by nobody's turns.

    def set_stage(self) -> None:
        """Bling as the merchant has it, and the rule activated in our books."""
        self.bling.no_limits()
        self.bling.configure(expires_in=YEARS_S)
        self.bling.faults.follow(self.luck)
        self.bling.add_app("shared-id", "shared-secret", webhook_url="http://estoqueuni/webhooks/bling")
        for key in self.plot.accounts:
            self.bling.add_account(key, deposits=(SHELF, SHOP, SITE, BACK))
        for sku, accounts in self.plot.stock.items():
            for account, stock in accounts.items():
                self.bling.add_product(account, sku, stock=stock, announce=False)
        self.organization = Organization.create(
            slug="loja", name="Loja", next_reconcile_at=utcnow() + timedelta(days=365), created_at=utcnow()
        )
        self.accounts = {key: self._connect(key) for key in self.plot.accounts}
        self.group = self._make_rule()
        activation.activate_group(self.group)

    def _connect(self, key: str) -> Account:
        issued = self.bling.issue_tokens(key, "shared-id")
        account = Account.create(
            organization=self.organization,
            key=key,
            name=key.capitalize(),
            company_id=issued.company_id,
            created_at=utcnow(),
        )
        expires_at = utcnow() + timedelta(seconds=YEARS_S)
        self._tokens[account.id] = Tokens(issued.access_token, issued.refresh_token, expires_at, YEARS_S)
        self.wire.accounts[f"Bearer {issued.access_token}"] = key
        refresh_account(account)
        return Account.get_by_id(account.id)

    def _make_rule(self) -> StockGroup:
        plot = self.plot
        deposits = {
            (account.key, deposit.name): deposit
            for account in self.accounts.values()
            for deposit in Deposit.select().where(Deposit.account == account.id)
        }
        self.places = {(d.bling_id): place for place, d in deposits.items()}
        group = StockGroup.create(
            organization=self.organization,
            key="geral",
            name="Estoque geral",
            mode=plot.mode,
            balance=plot.balance,
            target_movements=plot.target_movements,
            seed_deposit=deposits[plot.targets[0]] if plot.mode == "mirror" else None,
            created_at=utcnow(),
        )
        for role, places in (("source", plot.sources), ("target", plot.targets)):
            for position, place in enumerate(places):
                rule = plot.rules[position] if role == "target" else None
                limits = {
                    name: Decimal(value)
                    for name in ("reserve", "percent", "max", "stop_at")
                    if rule is not None and (value := getattr(rule, name)) is not None
                }
                GroupDeposit.create(
                    organization=self.organization,
                    group=group,
                    deposit=deposits[place],
                    role=role,
                    position=position,
                    **limits,
                )
        return group

    # What stands for the surroundings of the engine.

    @contextmanager
    def installed(self) -> Iterator[None]:
        """The engine lives in this world: its clock, its identifiers, its queues, its threads, its way to Bling."""
        transport = DirectTransport(self.wire, self.loom, self.luck.random)
        turns = Turns(self.loom)

        def threads(max_workers: int = 1) -> Threads:
            return Threads(self.loom)

        def wait_for(waiting: Any, timeout: float | None = None, return_when: str = "ALL_COMPLETED") -> Any:
            return wait(self.loom, waiting, timeout, return_when)

        def thread(target: Callable[..., None], args: tuple[Any, ...] = (), **_: Any) -> StrandThread:
            return StrandThread(self.loom, target, args)

        places: list[tuple[Any, str, Any]] = [
            (ids, "uuid_utils", Identifiers(self.clock)),
            (queues, "enqueue", self._enqueue),
            (queues, "kick", self._kick),
            (queues, "kick_at", self._kick_at),
            (queues, "take_wake", self._take_wake),
            (bling_clients, "AccountTokens", str),
            (bling_clients, "TokenSource", lambda account_id, _app, utcnow: FixedTokens(self._tokens, account_id)),
            (bling_clients, "_app_client", lambda _account: None),
            (bling_clients, "transport", lambda: transport),
            (bling_clients, "pacer", lambda: turns),
            (bling_clients, "breaker", NoBreaker),
            *_wherever("ThreadPoolExecutor", futures.ThreadPoolExecutor, threads),
            *_wherever("wait", futures.wait, wait_for),
            (silence, "threading", SimpleNamespace(Thread=thread, Lock=threading.Lock)),
            (silence, "_silent", self._quiet_silence),
        ]
        before = [(place, name, getattr(place, name)) for place, name, _ in places]
        outer_clock, outer_database = clock.use(self.clock), database.obj
        outer_config = configuration._active
        configuration.activate(_config())
        for place, name, value in places:
            setattr(place, name, value)
        database.obj = self.books.outside
        try:
            yield
        finally:
            self.loom.close()
            self.books.close()
            for place, name, value in before:
                setattr(place, name, value)
            database.obj = outer_database
            clock.use(outer_clock)
            configuration._active = outer_config

    def _remember(self, worker: Worker | None) -> None:
        silence._silent = self._quiet_silence if worker is None else worker.silent

    def _see(self, request: Request) -> None:
        for watch in self.watchers:
            watch(request)

    def _enqueue(self, function: str, *args: Any, queue: str = queues.LIVE, timeout_s: int = 0) -> bool:
        if (function, args) not in self.jobs[queue]:
            self.jobs[queue].append((function, args))
        return True

    def _kick(self, organization_id: str, force: bool = False) -> bool:
        if force or self.clock.ms >= self._woken_until_ms:
            self._woken_until_ms = self.clock.ms + queues.WAKE_TTL_S * 1000
            self._enqueue("jobs.sync.drain", organization_id)
        return True

    def _take_wake(self, _organization_id: str) -> None:
        self._woken_until_ms = 0

    def _kick_at(self, _organization_id: str, when: datetime) -> bool:
        self.wake_at_ms.add(int(when.timestamp() + 0.999) * 1000)
        return True

    def _receive_webhook(self, _url: str, body: bytes, headers: dict[str, str], _timeout_s: float) -> int:
        """Our web program: an answer may be refused, and one that was given may get lost."""
        if self._strikes("refused"):
            return 503
        accepted = intake.accept_event(None, headers["X-Bling-Signature-256"], body)
        if accepted.wake is not None:
            intake.wake_workers(accepted.wake)
        if self._strikes("unheard"):
            raise ConnectionResetError
        return 200

    def _strikes(self, kind: str) -> bool:
        rate = self.intake_trouble.get(kind, 0.0)
        return rate > 0 and self.luck.random() < rate

    # Workers.

    def can_work(self, worker: Worker) -> bool:
        if worker.paused_until_ms > self.clock.ms:
            return False
        return bool(self.loom.ready(worker)) or (worker.is_idle and self.has_job())

    def has_job(self) -> bool:
        now = self.clock.ms
        return (
            now >= self.next_tick_ms
            or bool(self.jobs[queues.LIVE])
            or bool(self.jobs[queues.BULK])
            or any(moment <= now for moment in self.wake_at_ms)
        )

    def next_moment_ms(self) -> int:
        """When something happens by itself next: a wake-up, a sleeper, a webhook, the sweep."""
        moments = [self.next_tick_ms, *self.wake_at_ms]
        for worker in self.loom.workers:
            moments += [max(s.wake_ms, worker.paused_until_ms) for s in worker.strands if s.wake_ms is not None]
            if worker.paused_until_ms > self.clock.ms:
                moments.append(worker.paused_until_ms)
        due = self.bling.next_due()
        if due is not None:
            moments.append(round(due * 1000))
        return max(self.clock.ms + 1, min(moments))

    def _take_job(self) -> tuple[str, tuple[Any, ...]] | None:
        now = self.clock.ms
        if now >= self.next_tick_ms:
            self.next_tick_ms = now + TICK_EVERY_MS
            return "jobs.schedule.tick", ()
        due = {moment for moment in self.wake_at_ms if moment <= now}
        self.wake_at_ms -= due
        if due:
            self._enqueue("jobs.sync.drain", self.organization.id)
        for queue in (queues.LIVE, queues.BULK):
            if self.jobs[queue]:
                return self.jobs[queue].pop(0)
        return None

    def run_worker(self, worker: Worker) -> str:
        """Let one strand of a worker run to its next stop; an idle one takes a job first."""
        self.happened = []
        if worker.paused_until_ms > self.clock.ms:
            return ""
        self.clock.ms += self.luck.randrange(4)
        told = ""
        ready = self.loom.ready(worker)
        if not ready:
            job = self._take_job() if worker.is_idle else None
            if job is None:
                return ""
            function = JOBS[job[0]]
            self.loom.begin(worker, lambda: function(*job[1]), job[0].rpartition(".")[2])
            told = f"begins {worker.doing}"
            ready = self.loom.ready(worker)
        self.loom.resume(ready[self.luck.randrange(len(ready))])
        return "; ".join(filter(None, (told, *self.happened)))

    # Actions.

    def do(self, action: Action) -> str:
        """Carry out one action; returns what happened in words, empty when it came to nothing."""
        self.luck.seed(action["luck"])
        try:
            told: str = getattr(self, f"_do_{action['do']}")(action)
        except SandboxError as refused:
            return f"refused: {refused}"
        return told

    def _do_tick(self, action: Action) -> str:
        self.clock.ms += action["ms"]
        return f"{action['ms'] / 1000:g} s pass"

    def _do_work(self, action: Action) -> str:
        worker = self.loom.workers[action["w"]]
        told = self.run_worker(worker)
        return f"{worker.name}: {told}" if told else ""

    def _do_crash(self, action: Action) -> str:
        worker = self.loom.workers[action["w"]]
        if worker.is_idle:
            return ""
        places = ", ".join(strand.place for strand in worker.strands)
        self.loom.kill(worker)
        return f"{worker.name} dies at {places}"

    def _do_pause(self, action: Action) -> str:
        worker = self.loom.workers[action["w"]]
        worker.paused_until_ms = self.clock.ms + action["ms"]
        places = ", ".join(strand.place for strand in worker.strands) or "rest"
        return f"{worker.name} stands still for {action['ms'] / 1000:g} s at {places}"

    def _do_forget(self, _action: Action) -> str:
        for queue in self.jobs.values():
            queue.clear()
        self.wake_at_ms.clear()
        self._woken_until_ms = 0
        return "Redis forgets everything"

    def _do_deliver(self, _action: Action) -> str:
        sent = self.bling.pump()
        return f"{len(sent)} webhooks arrive" if sent else ""

    def _do_reconcile(self, _action: Action) -> str:
        runs.start_run(self.organization, RunType.CRON, skus=None, reason="schedule")
        return "the periodic check begins"

    def _do_ask(self, action: Action) -> str:
        runs.start_run(self.organization, RunType.MANUAL, skus=[action["sku"]])
        return f"somebody asks for {action['sku']}"

    def _do_ask_all(self, _action: Action) -> str:
        runs.start_run(self.organization, RunType.MANUAL, skus=None)
        return "somebody asks for everything"

    def _do_fault(self, action: Action) -> str:
        kind, rate = action["kind"], action["rate"]
        if kind in ("refused", "unheard"):
            self.intake_trouble[kind] = rate
        else:
            self.bling.faults.set(kind, rate, seconds=action.get("seconds"))
        return f"fault {kind}: {rate:.0%}" + (f", {action['seconds']} s" if "seconds" in action else "")

    def _do_down(self, action: Action) -> str:
        if action["account"] not in self.accounts:
            return ""
        self.wire.down[action["account"]] = action["how"]
        self.down_since_ms.setdefault(action["account"], self.clock.ms)
        self._set_down(action["account"], action["how"], 1.0)
        return f"{action['account']} is down: {action['how']}"

    def _do_up(self, action: Action) -> str:
        account = action["account"]
        how = self.wire.down.pop(account, None)
        self.down_since_ms.pop(account, None)
        if how is None:
            return ""
        self._set_down(account, how, 0.0)
        return f"{account} is well again"

    def _set_down(self, account: str, how: str, rate: float) -> None:
        if how in ("unauthorized", "rate_limited", "forbidden", "error_500"):
            self.bling.faults.set(how, rate, account=account)

    def _do_skew(self, action: Action) -> str:
        """Our clock is set; never back to before the books of a cell began, for what came since is told by moments."""
        began_ms = max(round(cell.baseline_at.timestamp() * 1000) for cell in Cell.select())
        if self.clock.ms + action["ms"] <= began_ms:
            return ""
        self.clock.skew_ms = action["ms"]
        return f"our clock is {action['ms'] / 1000:g} s ahead of Bling's"

    def _do_sell(self, action: Action) -> str:
        account, deposit = action["at"]
        with self._foreign(action["sku"]):
            self.bling.sell(account, self.called(action["sku"], account), action["q"], deposit)
        return self._told(action, f"sale of {action['q']}")

    def _do_receive(self, action: Action) -> str:
        account, deposit = action["at"]
        with self._foreign(action["sku"]):
            self.bling.receive(account, self.called(action["sku"], account), action["q"], deposit)
        return self._told(action, f"entry of {action['q']}")

    def _do_take(self, action: Action) -> str:
        account, deposit = action["at"]
        with self._foreign(action["sku"]):
            self.bling.move(account, self.called(action["sku"], account), deposit, "S", action["q"])
        return self._told(action, f"exit of {action['q']}")

    def _do_count(self, action: Action) -> str:
        account, deposit = action["at"]
        with self._foreign(action["sku"]):
            self.bling.count(account, self.called(action["sku"], account), action["q"], deposit)
        return self._told(action, f"counted {action['q']}")

    def _do_reserve(self, action: Action) -> str:
        account, deposit = action["at"]
        order = self.bling.reserve(account, self.called(action["sku"], account), action["q"], deposit)
        self.orders.append((order.id, action["sku"]))
        return self._told(action, f"order of {action['q']} reserved")

    def _do_post(self, action: Action) -> str:
        return self._close_order(action, self.bling.post, "posted")

    def _do_cancel(self, action: Action) -> str:
        return self._close_order(action, self.bling.cancel, "cancelled")

    def _close_order(self, action: Action, close: Callable[[int], None], word: str) -> str:
        if not self.orders:
            return ""
        number, sku = self.orders.pop(action["n"] % len(self.orders))
        with self._foreign(sku):
            close(number)
        item = self.bling.order(number).items[0]
        place = self.places[item.deposit_id]
        return self._told({"sku": sku, "at": place}, f"order of {item.quantity} {word}")

    def _do_correct(self, action: Action) -> str:
        """Somebody corrects a movement on the stock screen, or takes it back."""
        sku = action["sku"]
        listed = [m for m in self.bling.movements(product=sku)[-12:] if not m.deleted and m.operation != "B"]
        if not listed:
            return ""
        movement = listed[action["n"] % len(listed)]
        with self._foreign(sku):
            if action["q"] == "0":
                self.bling.delete_movement(movement.id)
            else:
                self.bling.edit_movement(movement.id, action["q"])
        whose = "our" if movement.origin == "api" else "a"
        place = self.places[movement.deposit_id]
        return self._told(
            {"sku": sku, "at": place}, f"{whose} movement {movement.operation} corrected to {action['q']}"
        )

    def _told(self, action: Action, words: str) -> str:
        account, deposit = action["at"]
        left = self.bling.balance(account, self.called(action["sku"], account), deposit)
        held = f", {left.reserved:f} reserved" if left.reserved else ""
        return f"{action['sku']} {account}/{deposit}: {words}, {left.physical:f} there{held}"

    def _do_rename(self, action: Action) -> str:
        """A product is given another SKU, or gets its own back, at a quiet moment; everybody hears of it."""
        sku, account = action["sku"], action["account"]
        if not self._is_quiet() or not self._may_rename(sku, account):
            return ""
        counted = self.members(sku, self.plot.sources)
        is_back = (sku, account) in self.away
        called = self.called(sku, account)
        (self.away.discard if is_back else self.away.add)((sku, account))
        self.bling.edit_product(account, called, sku=self.called(sku, account))
        for place in self.plot.sources:
            if place[0] == account:
                assert is_back or place in counted
                self.pools[sku] += self.physical(sku, place) * (1 if is_back else -1)
        stuck = self.settle()
        if stuck is not None:
            raise AssertionError(f"a product with another SKU leaves {stuck}")
        return f"{sku} of {account} is {'back' if is_back else 'called ' + self.called(sku, account)}"

    def _is_quiet(self) -> bool:
        """Nothing is open, nobody fails, and whatever happens is told."""
        is_undisturbed = not (self.bling.faults.listed() or self.intake_trouble or self.wire.down or self.clock.skew_ms)
        is_awake = all(worker.paused_until_ms <= self.clock.ms for worker in self.loom.workers)
        return is_undisturbed and is_awake and self.open_work() is None

    def _may_rename(self, sku: str, account: str) -> bool:
        """Somebody else of each role stays; the seed of a mirror stays, too."""
        if (sku, account) in self.away:
            return True
        others = [place for place in self.members(sku, self.plot.places) if place[0] != account]
        roles = [self.plot.targets] + ([self.plot.sources] if self.plot.mode == "sum" else [])
        is_seed = self.plot.mode == "mirror" and self.plot.targets[0][0] == account
        return not is_seed and all(any(place in role for place in others) for role in roles)

    def called(self, sku: str, account: str) -> str:
        """The SKU by which Bling knows the product in this account."""
        return f"{sku}-{account}" if (sku, account) in self.away else sku

    def members(self, sku: str, places: Iterable[Place]) -> list[Place]:
        """Those of the places where the SKU is at the moment."""
        return [place for place in places if (sku, place[0]) not in self.away]

    @contextmanager
    def _foreign(self, sku: str) -> Iterator[None]:
        """What others move is the pool's, where its places count."""
        counted = self.plot.places if self.plot.target_movements == "write_back" else self.plot.sources
        before = {place: self.physical(sku, place) for place in self.plot.places}
        counts = self.members(sku, counted)
        yield
        for place, was in before.items():
            moved = self.physical(sku, place) - was
            if moved:
                product = self.bling.catalog.find_product(place[0], self.called(sku, place[0]))
                deposit = self.bling.catalog.find_deposit(place[0], place[1])
                self.moved.append(Moved(self.clock.ms, (product.id, deposit.id), moved, was + moved))
            if place in counts:
                self.pools[sku] += moved

    def physical(self, sku: str, place: Place) -> Decimal:
        return self.bling.balance(place[0], self.called(sku, place[0]), place[1]).physical

    def reserved(self, sku: str, place: Place) -> Decimal:
        return self.bling.balance(place[0], self.called(sku, place[0]), place[1]).reserved

    # The end.

    def calm_down(self) -> None:
        """Every fault ends, and everybody who stood still goes on."""
        self.luck.seed(0)
        self.bling.faults.clear()
        self.intake_trouble.clear()
        self.wire.down.clear()
        self.down_since_ms.clear()
        for worker in self.loom.workers:
            worker.paused_until_ms = 0

    def settle(self, limit_s: float = 1200.0) -> str | None:
        """Let everything come to rest; what is still open after so long, None when nothing is.

        What Bling could not deliver several times it may send again an hour later only; that wait is not ours.
        """
        promised = [delivery.due_at for delivery in self.bling.world.deliveries.values() if delivery.is_open]
        ends_s = max([self.clock.seconds(), *promised]) + limit_s
        while self.clock.seconds() < ends_s:
            self.bling.pump()
            busy = True
            while busy:
                busy = False
                for worker in self.loom.workers:
                    if self.can_work(worker):
                        self.run_worker(worker)
                        busy = True
            open_work = self.open_work()
            if open_work is None:
                return None
            self.clock.ms = max(self.clock.ms, self.next_moment_ms())
        return open_work

    def open_work(self) -> str | None:
        """What waits to be done, in words; None when nothing does."""
        if any(worker.strands for worker in self.loom.workers):
            return "a worker is busy"
        if self.jobs[queues.LIVE] or self.jobs[queues.BULK]:
            return "jobs wait"
        if self.bling.next_due() is not None:
            return "webhooks are on their way"
        select = self.books.connection.execute
        if rows := select("SELECT sku, attempts FROM dirty_sku ORDER BY sku").fetchall():
            return f"dirty: {rows}"
        if rows := select("SELECT kind, sku FROM event WHERE state = 'pending' ORDER BY id LIMIT 5").fetchall():
            return f"pending events: {rows}"
        if rows := select("SELECT type, status, cursor FROM run WHERE finished_at IS NULL ORDER BY id").fetchall():
            return f"open runs: {rows}"
        return None


def _wherever(name: str, value: object, stand_in: object) -> list[tuple[Any, str, Any]]:
    """The services that took this name into theirs, and what is to stand there."""
    ours = [module for key, module in sorted(sys.modules.items()) if key.startswith("services.")]
    return [(module, name, stand_in) for module in ours if vars(module).get(name) is value]


@cache
def _config() -> Config:
    return Config.from_env(
        {
            "VAR_DIR": tempfile.mkdtemp(prefix="eu-simulation-"),
            "DATABASE_URL": "sqlite:////dev/null",
            "REDIS_URL": "redis://127.0.0.1:9/0",
            "PUBLIC_URL": "http://localhost",
            "BLING_CLIENT_ID": "shared-id",
            "BLING_CLIENT_SECRET": "shared-secret",
            "BLING_API_URL": "http://bling/Api/v3",
            "BLING_AUTHORIZE_URL": "http://bling/Api/v3/oauth/authorize",
            "SETTLE_WINDOW_S": "10",
        }
    )
