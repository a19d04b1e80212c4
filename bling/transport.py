"""Requests to Bling's API: every failure becomes one of bling/errors.py.

The rule it guards: reads are repeated, with back-off and within bounds; writes leave once.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlencode

from bling.breaker import BLOCK_REST_S, Breaker, Ending, NoBreaker
from bling.errors import (
    AuthExpired,
    BlingError,
    Forbidden,
    NotFound,
    NotSent,
    QuotaExhausted,
    RateLimited,
    Rejected,
    Unavailable,
    UnexpectedAnswer,
    WriteOutcomeUnknown,
)
from bling.pacing import Errand, Pacer, urgency_of
from bling.payloads import PayloadError, parse_fault, parse_json
from bling.wire import Answer, NoAnswer, Wire
from core.backoff import delay_s, should_retry_read

T = TypeVar("T")

_DAILY = re.compile(r"\bdia\b|diári", re.IGNORECASE)
_BLOCKED = re.compile(r"\bIP\b.*bloque|bloque.*\bIP\b", re.IGNORECASE)
_HOLD_S = 1.0
_QUOTA_HOLD_S = 3600.0
# A write that was allowed to leave leaves within this time or not at all: a process that was paused in between must not
# send it when others have long taken over (services/dirty.py, LEASE). Longer than a connection may take.
LEAVE_WITHIN_S = 4.0


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf a request is made."""

    account_id: str
    token: str = field(repr=False)
    pacer: Pacer = field(repr=False)
    errand: Errand = Errand.LIVE
    breaker: Breaker = field(default_factory=NoBreaker, repr=False)

    def wait_turn(self, *, is_write: bool) -> str:
        self.breaker.admit(self.account_id)
        try:
            return self.pacer.wait_turn(self.account_id, urgency_of(self.errand, is_write=is_write))
        except BaseException:
            self.breaker.give_back(self.account_id)
            raise

    def give_back(self, ticket: str) -> None:
        """The request of this turn is not made."""
        self.pacer.note_left(self.account_id, ticket)
        self.breaker.give_back(self.account_id)


class Transport:
    """Speaks to one API address for all accounts; safe to share between threads."""

    def __init__(
        self,
        base_url: str,
        *,
        connect_timeout_s: float = 3.05,
        read_timeout_s: float = 10.0,
        attempts: int = 4,
        retry_budget_s: float = 30.0,
        max_body_bytes: int = 16 * 1024 * 1024,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """No attempt of a read starts later than `retry_budget_s` after the first one."""
        self._wire = Wire(
            base_url,
            connect_timeout_s=connect_timeout_s,
            read_timeout_s=read_timeout_s,
            answer_timeout_s=3 * read_timeout_s,
            max_body_bytes=max_body_bytes,
            monotonic=monotonic,
        )
        self._attempts = attempts
        self._retry_budget_s = retry_budget_s
        self._sleep = sleep
        self._monotonic = monotonic
        self._jitter = jitter

    def read(
        self, caller: Caller, path: str, query: Iterable[tuple[str, str | int]], parse: Callable[[object], T]
    ) -> T:
        """GET, repeated while that may help; `parse` makes values of the JSON or raises PayloadError."""
        request = f"GET {path}"
        encoded = urlencode(list(query))
        target = f"{path}?{encoded}" if encoded else path
        started_at = self._monotonic()
        attempt = 0
        while True:
            attempt += 1
            ticket = caller.wait_turn(is_write=False)
            failure: Unavailable | RateLimited
            try:
                return _read_value(request, self._send(caller, ticket, "GET", target), parse)
            except NoAnswer as broken:
                failure = Unavailable(request, str(broken))
                failure.__cause__ = broken
            except (Unavailable, RateLimited) as refused:
                failure = refused
            wait_s = self._hold_back(caller, failure, attempt)
            elapsed_s = self._monotonic() - started_at
            # A success that broke off half-way is as good as no answer.
            status = failure.status if failure.status and failure.status >= 400 else None
            if not should_retry_read(status, attempt, self._attempts, elapsed_s, wait_s, self._retry_budget_s):
                raise failure
            self._sleep(wait_s)

    def write(
        self,
        caller: Caller,
        path: str,
        body: bytes,
        parse: Callable[[object], T],
        before_leaving: Callable[[], None] | None = None,
    ) -> T:
        """POST exactly once. Of the errors of this package that it raises, only WriteOutcomeUnknown leaves a doubt.

        `before_leaving` is called when the turn has come, right before the request leaves; what it raises stops the
        request. What it allowed is good for LEAVE_WITHIN_S; after that the request is NotSent.
        """
        request = f"POST {path}"
        ticket = caller.wait_turn(is_write=True)
        leave_by = self._monotonic() + LEAVE_WITHIN_S
        if before_leaving is not None:
            try:
                before_leaving()
            except BaseException:
                caller.give_back(ticket)
                raise
        try:
            return _read_value(request, self._send(caller, ticket, "POST", path, body, leave_by), parse)
        except NoAnswer as broken:
            failure = WriteOutcomeUnknown if broken.has_left else NotSent
            raise failure(request, str(broken)) from broken
        except (Unavailable, UnexpectedAnswer) as error:
            raise WriteOutcomeUnknown(request, error.reason, status=error.status, type=error.type) from error
        except RateLimited as error:
            self._hold_back(caller, error, 1)
            raise

    def post_form(self, path: str, form: Mapping[str, str], credentials: tuple[str, str]) -> Answer:
        """POST a form to the OAuth server exactly once, signed with the app's id and secret; raises NoAnswer."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._wire.send("POST", path, body=urlencode(form).encode(), headers=headers, credentials=credentials)

    def _send(
        self,
        caller: Caller,
        ticket: str,
        method: str,
        target: str,
        body: bytes | None = None,
        leave_by: float | None = None,
    ) -> Answer:
        headers = {"Authorization": f"Bearer {caller.token}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        left_at = 0.0

        def note_left() -> None:
            nonlocal left_at
            left_at = self._monotonic()
            caller.pacer.note_left(caller.account_id, ticket)

        try:
            answer = self._wire.send(method, target, body=body, headers=headers, note_left=note_left, leave_by=leave_by)
        except NoAnswer:
            caller.breaker.note(caller.account_id, Ending.FAILED)
            raise
        caller.pacer.note_answered(caller.account_id, ticket, self._monotonic() - left_at)
        caller.breaker.note(caller.account_id, _ending_of(answer))
        return answer

    def _hold_back(self, caller: Caller, failure: BlingError, attempt: int) -> float:
        """Seconds until another attempt makes sense; a 429 holds back every process's requests of that account."""
        wait_s = delay_s(attempt, self._jitter())
        if not isinstance(failure, RateLimited):
            return wait_s
        if _BLOCKED.search(failure.reason):
            caller.breaker.trip(max(failure.retry_after_s, BLOCK_REST_S))
        caller.pacer.hold(caller.account_id, failure.retry_after_s)
        return max(wait_s, failure.retry_after_s)


def _ending_of(answer: Answer) -> Ending:
    if answer.status < 400:
        return Ending.WELL
    return Ending.FAILED if answer.status >= 500 else Ending.REFUSED


def _read_value(request: str, answer: Answer, parse: Callable[[object], T]) -> T:
    """The parsed content of a success; anything else raises."""
    if not 200 <= answer.status < 300:
        raise refusal_of(request, answer)
    if answer.body is None:
        raise Unavailable(request, "the answer broke off or was too long", status=answer.status)
    try:
        return parse(parse_json(answer.body))
    except PayloadError as error:
        raise UnexpectedAnswer(request, str(error), status=answer.status) from error


def refusal_of(request: str, answer: Answer) -> BlingError:
    """The error that an answer other than a success stands for."""
    fault = parse_fault(answer.body or b"")
    told: dict[str, Any] = {"status": answer.status, "type": fault.type}
    if answer.status == 429:
        # Bling sends no quota headers; only the words tell the day's limit from the second's.
        if _DAILY.search(fault.text):
            return QuotaExhausted(request, fault.text, retry_after_s=answer.retry_after_s or _QUOTA_HOLD_S, **told)
        return RateLimited(request, fault.text, retry_after_s=answer.retry_after_s or _HOLD_S, **told)
    if answer.status < 400:
        return UnexpectedAnswer(request, "neither success nor refusal: is the API's address right?", **told)
    if answer.status >= 500 or answer.status == 408:
        return Unavailable(request, fault.text, **told)
    named = {401: AuthExpired, 403: Forbidden, 404: NotFound}.get(answer.status, Rejected)
    return named(request, fault.text, fields=fault.fields, **told)
