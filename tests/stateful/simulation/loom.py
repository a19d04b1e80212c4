"""Workers that take turns. Each is made of strands (greenlets) that stop wherever a real process may be overtaken,
stopped or killed: before and after each call, before a transaction begins and after it is committed, while it sleeps.

Exactly one strand runs at a time, and only when it is told to. A strand that is killed is never run again: not even
its `finally` blocks are, until the world is closed and nothing of it counts any more.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED
from typing import Any, NamedTuple

from greenlet import getcurrent, greenlet

from db import database
from tests.stateful.simulation.books import Books, StrandDatabase
from tests.stateful.simulation.virtual import VirtualClock


class Killed(BaseException):
    """The world has ended, and with it a strand that was killed before."""


class Strand:
    """One thread of a worker. `place`: where it stopped; `wake_ms`, `until`: what it waits for, if for anything."""

    def __init__(self, worker: Worker, database: StrandDatabase) -> None:
        self.worker = worker
        self.database = database
        self.place = "start"
        self.wake_ms: int | None = None
        self.until: Callable[[], bool] | None = None
        self.greenlet: Any = None

    def is_ready(self, now_ms: int) -> bool:
        if self.wake_ms is not None and now_ms >= self.wake_ms:
            return True
        if self.until is not None:
            return self.until()
        return self.wake_ms is None


class Worker:
    """One process: its strands, and what it alone remembers."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.strands: list[Strand] = []
        self.paused_until_ms = 0
        self.silent: set[str] = set()
        self.doing = ""

    @property
    def is_idle(self) -> bool:
        return not self.doing


class Loom:
    """`on_switch` is called with the worker whose memory is to be in force, None for the world outside."""

    def __init__(self, clock: VirtualClock, books: Books, workers: int, on_switch: Callable[[Worker | None], None]):
        self.clock = clock
        self.books = books
        self.workers = [Worker(f"w{number}") for number in range(workers)]
        self.current: Strand | None = None
        self.failures: list[BaseException] = []
        self._on_switch = on_switch
        self._hub = getcurrent()
        self._dead: list[Strand] = []
        self._is_closing = False

    def park(self, place: str, wake_ms: int | None = None, until: Callable[[], bool] | None = None) -> None:
        """Stop here until the world lets this strand go on. Outside of strands nothing is ever overtaken."""
        strand = self.current
        if self._is_closing:
            raise Killed
        if strand is None:
            return
        strand.place, strand.wake_ms, strand.until = place, wake_ms, until
        self._hub.switch()
        if self._is_closing:
            raise Killed

    def sleep(self, seconds: float) -> None:
        if self.current is None and not self._is_closing:
            raise AssertionError("only workers sleep")
        self.park("sleep", wake_ms=self.clock.ms + max(1, round(seconds * 1000)))

    def begin(self, worker: Worker, job: Callable[[], object], name: str) -> None:
        """Have an idle worker do this job."""
        worker.doing = name

        def body() -> None:
            try:
                job()
            except Exception as error:
                self.failures.append(error)
            worker.doing = ""

        self.spawn(worker, body)

    def spawn(self, worker: Worker, body: Callable[[], None]) -> Strand:
        strand: Strand

        def run() -> None:
            try:
                body()
            except Killed:
                pass
            finally:
                if strand in worker.strands:
                    worker.strands.remove(strand)
                    self.books.give_back(strand.database)

        strand = Strand(worker, self.books.lend(self.park))
        # Whoever begins it, it returns to the world when it ends.
        strand.greenlet = greenlet(run, self._hub)
        worker.strands.append(strand)
        return strand

    def ready(self, worker: Worker) -> list[Strand]:
        if worker.paused_until_ms > self.clock.ms:
            return []
        return [strand for strand in worker.strands if strand.is_ready(self.clock.ms)]

    def resume(self, strand: Strand) -> str:
        """Let it run to its next stop; returns where it was."""
        was_at = strand.place
        self._enter(strand)
        strand.greenlet.switch()
        self._leave()
        return was_at

    def kill(self, worker: Worker) -> None:
        """The process dies where it stands; its place is taken by one that remembers nothing."""
        for strand in worker.strands:
            strand.database.is_dead = True
        self._dead.extend(worker.strands)
        worker.strands = []
        worker.silent = set()
        worker.doing = ""
        worker.paused_until_ms = 0

    def close(self) -> None:
        """Let go of what strands that never ended hold; what they do meanwhile changes nothing."""
        for worker in self.workers:
            self.kill(worker)
        self._is_closing = True
        for strand in self._dead:
            self._enter(strand)
            with contextlib.suppress(Killed):  # It comes back from a strand that never began.
                strand.greenlet.throw(Killed)
            self._leave()
        self._dead = []

    def _enter(self, strand: Strand) -> None:
        self.current = strand
        database.obj = strand.database
        self._on_switch(strand.worker)

    def _leave(self) -> None:
        self.current = None
        database.obj = self.books.outside
        self._on_switch(None)


_serials = itertools.count(1)


class Future:
    """What a strand that another one waits for came to. Sets of them keep one order in every process."""

    def __init__(self) -> None:
        self._serial = next(_serials)
        self.is_done = False
        self._value: Any = None
        self._error: BaseException | None = None

    def __hash__(self) -> int:
        return self._serial

    def run(self, function: Callable[..., Any], *args: Any) -> None:
        try:
            self._value = function(*args)
        except Exception as error:
            self._error = error
        self.is_done = True

    def result(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._value


class Threads:
    """Stands for a ThreadPoolExecutor: what is submitted becomes a strand of the same worker."""

    def __init__(self, loom: Loom) -> None:
        self._loom = loom
        self._futures: list[Future] = []

    def __enter__(self) -> Threads:
        return self

    def __exit__(self, *_: object) -> None:
        self._loom.park("join", until=lambda: all(future.is_done for future in self._futures))

    def submit(self, function: Callable[..., Any], *args: Any) -> Future:
        future = Future()
        self._futures.append(future)
        strand = self._loom.current
        if strand is None:
            future.run(function, *args)
        else:
            self._loom.spawn(strand.worker, lambda: future.run(function, *args))
        return future


class Waited(NamedTuple):
    done: set[Future]
    not_done: set[Future]


def wait(loom: Loom, futures: Iterable[Future], timeout: float | None, return_when: str) -> Waited:
    """Stands for concurrent.futures.wait."""
    listed = list(futures)
    enough = any if return_when == FIRST_COMPLETED else all
    wake_ms = None if timeout is None else loom.clock.ms + round(timeout * 1000)
    if not enough(future.is_done for future in listed):
        loom.park("wait", wake_ms=wake_ms, until=lambda: enough(future.is_done for future in listed))
    done = {future for future in listed if future.is_done}
    return Waited(done, set(listed) - done)


class StrandThread:
    """Stands for threading.Thread: a strand of the same worker that nobody waits for."""

    def __init__(self, loom: Loom, target: Callable[..., None], args: tuple[Any, ...]) -> None:
        self._loom, self._target, self._args = loom, target, args

    def start(self) -> None:
        strand = self._loom.current
        if strand is None:
            raise AssertionError("only workers start threads")
        self._loom.spawn(strand.worker, lambda: self._target(*self._args))
