"""Turns in a simulated network: many processes, uneven ways, slow answers, on a real Redis with a clock of ours."""

from __future__ import annotations

import heapq
import itertools
import random
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from redis import Redis

from bling.pacing import Errand, Urgency, urgency_of
from bling.redis_pacer import RedisPacer
from tests.bling.conftest import NOON

Chance = Callable[[random.Random], float]
START_MS = 1_770_000_000_000


@dataclass
class Arrival:
    at_ms: float
    asked_ms: float
    urgency: Urgency


@dataclass
class Network:
    """Where requests take their time: all in ms, drawn anew for each of them."""

    connect: Chance = lambda _luck: 0.0
    way: Chance = lambda _luck: 10.0
    work: Chance = lambda _luck: 5.0


@dataclass
class Simulation:
    """Callers that each make one request after the other, and the moments at which Bling saw them."""

    pacer: RedisPacer
    network: Network
    luck: random.Random
    clock: list[float]
    account: str = "matriz"
    arrivals: list[Arrival] = field(default_factory=list)
    _events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _order: Iterator[int] = field(default_factory=itertools.count)

    def at(self, ms: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (ms, next(self._order), action))

    def run(self, until_ms: float | None = None) -> None:
        while self._events and (until_ms is None or self._events[0][0] <= until_ms):
            ms, _, action = heapq.heappop(self._events)
            self.clock[0] = ms
            action()

    def caller(self, count: int, urgency: Urgency, begins_ms: float = 0.0) -> None:
        """One thread of some process that makes this many requests."""

        def ask() -> None:
            self._ask(f"{self.luck.getrandbits(64):016x}", self.clock[0], urgency, count - 1)

        if count:
            self.at(max(self.clock[0], START_MS + begins_ms), ask)

    def _ask(self, ticket: str, asked_ms: float, urgency: Urgency, left: int) -> None:
        now = self.clock[0]
        wait_ms, _ = self.pacer._take(self.account, ticket, urgency, (now - asked_ms) / 1000)
        if wait_ms:
            self.at(now + wait_ms + self.luck.random(), lambda: self._ask(ticket, asked_ms, urgency, left))
            return
        self.at(
            now + self.network.connect(self.luck),
            lambda: self._leave(ticket, Arrival(0, asked_ms, urgency), left),
        )

    def _leave(self, ticket: str, arrival: Arrival, left: int) -> None:
        now = self.clock[0]
        self.pacer.note_left(self.account, ticket)
        arrival.at_ms = now + self.network.way(self.luck)
        back_ms = arrival.at_ms + self.network.work(self.luck) + self.network.way(self.luck)
        self.arrivals.append(arrival)

        def answered() -> None:
            self.pacer.note_answered(self.account, ticket, (back_ms - now) / 1000)
            self.caller(left, arrival.urgency)

        self.at(back_ms, answered)

    def most_in_a_second(self) -> int:
        moments = sorted(arrival.at_ms for arrival in self.arrivals)
        return max(sum(1 for other in moments[n : n + 9] if other < first + 1000) for n, first in enumerate(moments))

    def per_second(self) -> float:
        moments = sorted(arrival.at_ms for arrival in self.arrivals)
        return (len(moments) - 3) / (moments[-1] - moments[0]) * 1000


Simulate = Callable[..., Simulation]


@pytest.fixture
def simulate(redis_url: str) -> Iterator[Simulate]:
    redis = Redis.from_url(redis_url)

    def make(network: Network, seed: int = 1) -> Simulation:
        clock = [float(START_MS)]
        pacer = RedisPacer(
            redis,
            rate_per_second=3,
            rate_per_day=120_000,
            utcnow=lambda: NOON,
            prefix=f"{uuid.uuid4().hex}:",
            now_ms=lambda: int(clock[0]),
            monotonic=lambda: clock[0] / 1000,
        )
        return Simulation(pacer, network, random.Random(seed), clock)

    yield make
    redis.close()


def test_where_the_way_is_even_nothing_of_the_second_is_lost(simulate: Simulate) -> None:
    simulation = simulate(Network())
    for _ in range(4):
        simulation.caller(75, Urgency.LIVE_WRITE)

    simulation.run()

    assert simulation.most_in_a_second() == 3
    assert simulation.per_second() >= 3 / 1.02


@pytest.mark.parametrize("seed", range(40))
def test_uneven_ways_never_make_four_requests_arrive_in_a_second(simulate: Simulate, seed: int) -> None:
    uneven = Network(
        connect=lambda luck: luck.choice((0, 0, 0, 150)),
        way=lambda luck: 5 + luck.uniform(0, 45),
        work=lambda luck: luck.uniform(5, 40),
    )
    simulation = simulate(uneven, seed)
    for _ in range(6):
        simulation.caller(30, Urgency.LIVE_READ)

    simulation.run()

    assert simulation.most_in_a_second() == 3
    assert simulation.per_second() >= 3 / 1.12


@pytest.mark.parametrize("latency_ms", [1000, 2500])
def test_slow_answers_do_not_slow_requests_down(simulate: Simulate, latency_ms: int) -> None:
    slow = Network(work=lambda luck: latency_ms + luck.uniform(0, 20))
    simulation = simulate(slow)
    for _ in range(12):
        simulation.caller(20, Urgency.LIVE_READ)

    simulation.run()

    assert simulation.most_in_a_second() == 3
    assert simulation.per_second() >= 3 / 1.08


def test_sales_go_first_and_nobody_waits_for_ever(simulate: Simulate) -> None:
    simulation = simulate(Network())
    for _ in range(8):
        simulation.caller(20, Urgency.CHECK)
        simulation.caller(10, Urgency.CATALOG)
    for number in range(10):
        simulation.caller(1, Urgency.LIVE_WRITE, 3000.0 + 1500 * number)
        simulation.caller(1, Urgency.LIVE_READ, 3000.0 + 1500 * number)

    simulation.run()

    waited = {
        urgency: max(a.at_ms - a.asked_ms for a in simulation.arrivals if a.urgency is urgency)
        for urgency in (Urgency.LIVE_WRITE, Urgency.LIVE_READ, Urgency.CATALOG)
    }
    assert waited[Urgency.LIVE_WRITE] < 1050
    assert waited[Urgency.LIVE_READ] < 1450
    assert waited[Urgency.CATALOG] < 45_000
    assert simulation.most_in_a_second() == 3


def test_sales_without_end_let_the_rest_through(simulate: Simulate) -> None:
    simulation = simulate(Network())
    for _ in range(10):
        simulation.caller(60, Urgency.LIVE_WRITE)
    for urgency in (Urgency.MANUAL, Urgency.CHECK, Urgency.CATALOG):
        simulation.caller(2, urgency)

    simulation.run()

    waited = {arrival.urgency: (arrival.at_ms - arrival.asked_ms) / 1000 for arrival in simulation.arrivals}
    assert waited[Urgency.MANUAL] < waited[Urgency.CHECK] < waited[Urgency.CATALOG] < 40


def test_who_dies_in_the_line_holds_up_nobody(simulate: Simulate) -> None:
    simulation = simulate(Network())
    simulation.caller(3, Urgency.LIVE_WRITE)
    simulation.run()
    for _ in range(5):
        wait_ms, _ = simulation.pacer._take(simulation.account, uuid.uuid4().hex, Urgency.LIVE_WRITE)
        assert wait_ms > 0
    simulation.caller(3, Urgency.CATALOG)

    simulation.run()

    assert max(a.at_ms - a.asked_ms for a in simulation.arrivals) < 3000


def test_who_is_refused_all_the_same_keeps_a_greater_distance(simulate: Simulate) -> None:
    wild = Network(way=lambda luck: luck.choice((5, 5, 5, 150)))
    simulation = simulate(wild)
    for _ in range(2):
        simulation.pacer.hold(simulation.account, 1.0)
    simulation.clock[0] += 1000
    for _ in range(4):
        simulation.caller(40, Urgency.LIVE_READ)

    simulation.run()

    assert simulation.most_in_a_second() == 3
    assert simulation.per_second() > 2.4


def test_all_accounts_together_stay_below_what_an_address_may_ask(simulate: Simulate) -> None:
    simulation = simulate(Network())
    for number in range(40):
        simulation.account = f"conta-{number}"
        for _ in range(20):
            ticket = uuid.uuid4().hex
            wait_ms, _ = simulation.pacer._take(simulation.account, ticket, Urgency.LIVE_READ)
            if wait_ms == 0:
                simulation.pacer.note_left(simulation.account, ticket)
                simulation.arrivals.append(Arrival(simulation.clock[0], 0, Urgency.LIVE_READ))
        simulation.clock[0] += 100

    # Forty accounts could ask 480 times in four seconds; a hundred more, and the address comes near its limit.
    assert len(simulation.arrivals) <= 480


@pytest.mark.parametrize(
    ("errand", "reads", "writes"),
    [
        (Errand.LIVE, Urgency.LIVE_READ, Urgency.LIVE_WRITE),
        (Errand.MANUAL, Urgency.MANUAL, Urgency.MANUAL),
        (Errand.CHECK, Urgency.CHECK, Urgency.CHECK),
        (Errand.CATALOG, Urgency.CATALOG, Urgency.CATALOG),
    ],
)
def test_what_a_request_is_for_says_how_urgent_it_is(errand: Errand, reads: Urgency, writes: Urgency) -> None:
    assert urgency_of(errand, is_write=False) is reads
    assert urgency_of(errand, is_write=True) is writes
