"""Bling's quotas: requests per account and second and day, and the blocks of a misbehaving IP."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from dataclasses import dataclass, field

from .errors import too_many
from .settings import Settings
from .world import BRASILIA_S


@dataclass
class _Visitor:
    requests: deque[float] = field(default_factory=deque)
    errors: deque[float] = field(default_factory=deque)
    token_calls: deque[float] = field(default_factory=deque)
    blocked_until: float = 0.0
    token_blocked_until: float = 0.0


class Limits:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._recent: dict[str, deque[float]] = defaultdict(deque)
        self._today: dict[str, tuple[int, int]] = {}
        self._visitors: dict[str, _Visitor] = defaultdict(_Visitor)

    def admit(self, account: str, now: float) -> None:
        """Count one request of the account, or raise the 429 that names the limit; a refused one is not counted."""
        with self._lock:
            day, used = self._day(account, now)
            per_day = self._settings.rate_per_day
            if per_day is not None and used >= per_day:
                raise too_many("O limite de requisições por dia foi atingido, tente novamente amanhã.")
            recent = self._recent[account]
            _forget(recent, now - 1.0)
            per_second = self._settings.rate_per_second
            if per_second is not None and len(recent) >= per_second:
                raise too_many("O limite de requisições por segundo foi atingido, tente novamente mais tarde.")
            recent.append(now)
            self._today[account] = (day, used + 1)

    def used_today(self, account: str, now: float) -> int:
        with self._lock:
            return self._day(account, now)[1]

    def admit_visitor(self, ip: str, now: float, is_token_call: bool) -> None:
        """Raise 429 for a blocked IP, and block the one that passes 600 requests in 10 s or 20 token calls in 60 s."""
        if not self._settings.ip_limits:
            return
        with self._lock:
            visitor = self._visitors[ip]
            if is_token_call:
                visitor.token_calls.append(now)
                _forget(visitor.token_calls, now - 60)
                if len(visitor.token_calls) > 20:
                    visitor.token_blocked_until = now + 3600
                if now < visitor.token_blocked_until:
                    raise _blocked()
            visitor.requests.append(now)
            _forget(visitor.requests, now - 10)
            if len(visitor.requests) > 600:
                visitor.blocked_until = now + 600
            if now < visitor.blocked_until:
                raise _blocked()

    def count_error(self, ip: str, now: float) -> None:
        """Block the IP for ten minutes after 300 errors in 10 s."""
        if not self._settings.ip_limits:
            return
        with self._lock:
            visitor = self._visitors[ip]
            visitor.errors.append(now)
            _forget(visitor.errors, now - 10)
            if len(visitor.errors) >= 300:
                visitor.blocked_until = now + 600

    def reset(self) -> None:
        with self._lock:
            self._recent.clear()
            self._today.clear()
            self._visitors.clear()

    def _day(self, account: str, now: float) -> tuple[int, int]:
        # Midnight in Brasília starts a new daily quota.
        day = int((now + BRASILIA_S) // 86_400)
        counted_on, used = self._today.get(account, (day, 0))
        return day, used if counted_on == day else 0


def _forget(times: deque[float], before: float) -> None:
    while times and times[0] <= before:
        times.popleft()


def _blocked() -> Exception:
    return too_many("IP bloqueado temporariamente por excesso de requisições.")
