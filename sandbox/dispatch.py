"""Delivering webhooks: signed, given five seconds, retried less and less often for three days.

Either a background thread sends what is due, or a simulation pumps it in its own time.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import Counter, deque
from collections.abc import Callable

import requests

from .records import Delivery
from .webhooks import sign
from .world import World

#: Sends one webhook: (url, body, headers, timeout_s) -> HTTP status. It may raise OSError.
Sender = Callable[[str, bytes, dict[str, str], float], int]


class Dispatcher:
    """Lock order: the world's lock before `_wake`, never the other way round."""

    def __init__(self, world: World, send: Sender | None = None) -> None:
        self._world = world
        self._send = send or HttpSender()
        self._wake = threading.Condition()
        self._has_news = False
        self._is_stopping = False
        self._due: dict[str, list[tuple[float, int]]] = {}
        self._held: dict[str, set[int]] = {}
        self._busy: Counter[str] = Counter()
        self._known = 0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Deliver in the background from now on."""
        self._world.after_change.append(self._on_change)
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what was not delivered stays queued in the file."""
        with self._wake:
            self._is_stopping = True
            self._wake.notify_all()
        if self._thread is not None:
            self._thread.join()

    def pump(self, now: float | None = None) -> list[Delivery]:
        """Send what is due at `now`, one after the other in order, and return what was attempted."""
        moment = self._world.now() if now is None else now
        attempted: list[Delivery] = []
        while True:
            self._collect()
            with self._wake:
                heads = [(queue[0], account) for account, queue in self._due.items() if queue]
                if not heads or min(heads)[0][0] > moment:
                    return attempted
                delivery = self._take(min(heads)[1])
            if delivery is not None:
                self._attempt(delivery)
                attempted.append(delivery)

    def next_due(self) -> float | None:
        """When the next delivery wants to be sent."""
        self._collect()
        with self._wake:
            return min((queue[0][0] for queue in self._due.values() if queue), default=None)

    def wait_quiet(self, timeout_s: float) -> bool:
        """Wait until nothing is due or under way; retries and late events of the future are not waited for."""
        deadline = time.monotonic() + timeout_s
        while True:
            due = self.next_due()
            with self._wake:
                if not self._busy and (due is None or due > self._world.now()):
                    return True
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return False
                self._wake.wait(min(remaining, 0.05))

    def redeliver(self, delivery: Delivery) -> None:
        """Send a delivery once more, now, whatever became of it."""
        with self._world.change(), self._wake:
            if not delivery.is_open:
                delivery.state, delivery.due_at = "queued", self._world.now()
                self._world.put(delivery)
                self._push(delivery)

    def _on_change(self) -> None:
        with self._wake:
            self._has_news = True
            self._wake.notify_all()

    def _collect(self) -> None:
        """Take up the deliveries that were queued since the last look."""
        with self._world.lock, self._wake:
            fresh: list[Delivery] = []
            for number in reversed(self._world.deliveries):
                if number <= self._known:
                    break
                fresh.append(self._world.deliveries[number])
            for delivery in reversed(fresh):
                self._known = delivery.id
                if delivery.is_open:
                    self._push(delivery)

    def _push(self, delivery: Delivery) -> None:
        heapq.heappush(self._due.setdefault(delivery.account, []), (delivery.due_at, delivery.id))
        if delivery.fault == "webhook_reordered" and not delivery.attempts:
            self._held.setdefault(delivery.account, set()).add(delivery.id)

    def _take(self, account: str) -> Delivery | None:
        """The first of the account's queue, unless it was forgotten meanwhile."""
        _, number = heapq.heappop(self._due[account])
        self._held.get(account, set()).discard(number)
        return self._world.deliveries.get(number)

    def _run(self) -> None:
        while True:
            with self._wake:
                self._has_news = False
            self._collect()
            with self._wake:
                if self._is_stopping:
                    return
                self._start_due()
                if not self._has_news:
                    self._wake.wait(self._pause_s())

    def _start_due(self) -> None:
        """Send due deliveries of accounts with a free place, each in a thread that may be abandoned at the end."""
        now, limit = self._world.now(), self._world.settings.parallel_deliveries
        for account, queue in self._due.items():
            while queue and queue[0][0] <= now and self._busy[account] < limit:
                delivery = self._take(account)
                if delivery is not None:
                    self._busy[account] += 1
                    threading.Thread(target=self._attempt_and_free, args=(delivery,), daemon=True).start()

    def _pause_s(self) -> float:
        # An account without a free place wakes the thread when its delivery ends, so only the future counts.
        now = self._world.now()
        heads = [queue[0][0] - now for queue in self._due.values() if queue]
        return min((pause for pause in heads if pause > 0), default=60.0)

    def _attempt_and_free(self, delivery: Delivery) -> None:
        try:
            self._attempt(delivery)
        finally:
            with self._wake:
                self._busy[delivery.account] -= 1
                self._busy += Counter()  # forgets the accounts that count zero
                self._has_news = True
                self._wake.notify_all()

    def _attempt(self, delivery: Delivery) -> None:
        """One try: note its outcome, and when it failed the time of the next one."""
        world = self._world
        with world.lock:
            app = world.apps[delivery.client_id]
            url, secret = app.webhook_url, app.client_secret
        body = delivery.body.encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Bling-Sandbox",
            "X-Bling-Signature-256": sign(body, secret),
        }
        started_at, clock = world.now(), time.monotonic()
        status, error = 0, ""
        try:
            status = self._send(url, body, headers, world.settings.webhook_timeout_s)
        except OSError as problem:
            error = type(problem).__name__
        ms = int((time.monotonic() - clock) * 1000)
        with world.change(), self._wake:
            delivery.attempts.append({"at": started_at, "status": status, "error": error, "ms": ms})
            if 200 <= status < 300:
                delivery.state = "delivered"
            else:
                self._put_off(delivery)
            world.put(delivery)
            self._release_overtaken(delivery)

    def _put_off(self, delivery: Delivery) -> None:
        world = self._world
        settings, now = world.settings, world.now()
        if now - delivery.created_at >= settings.give_up_s:
            delivery.state = "given_up"
            account = world.accounts[delivery.account]
            resource = f"{delivery.client_id} {delivery.event.partition('.')[0]}"
            if resource not in account.switched_off:
                account.switched_off.append(resource)
                world.put(account)
            return
        delays = settings.retry_delays_s
        delivery.state = "retry"
        delivery.due_at = now + delays[min(len(delivery.attempts), len(delays)) - 1]
        self._push(delivery)

    def _release_overtaken(self, sent: Delivery) -> None:
        """An event held back for reordering follows as soon as a younger one of its account was sent."""
        held = {n for n in self._held.get(sent.account, ()) if n < sent.id}
        if not held:
            return
        now = self._world.now()
        queue = self._due[sent.account]
        queue[:] = [(min(due, now) if n in held else due, n) for due, n in queue]
        heapq.heapify(queue)
        self._held[sent.account] -= held


class HttpSender:
    """Posts to the receiver; a redirect is no success, and proxies of the environment are not for us."""

    def __init__(self) -> None:
        self._idle: deque[requests.Session] = deque()

    def __call__(self, url: str, body: bytes, headers: dict[str, str], timeout_s: float) -> int:
        # A connection kept open may be closed by the receiver just as the next event goes out,
        # which would look like a failed delivery.
        session = self._session()
        try:
            response = session.post(
                url,
                data=body,
                headers={**headers, "Connection": "close"},
                timeout=timeout_s,
                allow_redirects=False,
            )
            return response.status_code
        finally:
            self._idle.append(session)

    def _session(self) -> requests.Session:
        try:
            return self._idle.pop()
        except IndexError:
            session = requests.Session()
            session.trust_env = False
            return session
