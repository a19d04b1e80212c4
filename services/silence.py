"""Accounts that do not answer: one question may hang, the next ones do not wait for the same silence.

After a question that hung, the account is left out, as unreadable, until it has answered a probe; the probe is asked
beside the work, so that no sale of another account waits for it. Each process remembers for itself.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

# A refusal that comes at once holds up nobody; this is what counts as hanging.
HUNG_S = 3.0
FIRST_REST_S = 5.0
LONGEST_REST_S = 60.0


class _Silence:
    """One account's silence: how long it rests, and whether somebody is asking it."""

    def __init__(self) -> None:
        self.rest_s = FIRST_REST_S
        self.ends_at = time.monotonic() + self.rest_s
        self.is_asked = False

    def go_on(self) -> None:
        self.rest_s = min(self.rest_s * 2, LONGEST_REST_S)
        self.ends_at = time.monotonic() + self.rest_s
        self.is_asked = False


_silences: dict[str, _Silence] = {}
_lock = threading.Lock()


def note_hung(account_id: str) -> None:
    """A question to the account hung: leave it out for a while."""
    with _lock:
        silence = _silences.get(account_id)
        if silence is None:
            _silences[account_id] = _Silence()
            log.warning("Account %s does not answer and is left out until it does", account_id)
        else:
            silence.go_on()


def is_silent(account_id: str, probe: Callable[[], bool]) -> bool:
    """Whether to leave the account out. Once its rest is over, `probe` is asked in a thread of its own.

    `probe` returns whether the account answered, in whatever way.
    """
    with _lock:
        silence = _silences.get(account_id)
        if silence is None:
            return False
        is_due = not silence.is_asked and time.monotonic() >= silence.ends_at
        silence.is_asked = silence.is_asked or is_due
    if is_due:
        threading.Thread(target=_ask, args=(account_id, probe), name=f"probe-{account_id}", daemon=True).start()
    return True


def forget_all() -> None:
    """Take every account for answering, as a new process does."""
    with _lock:
        _silences.clear()


def _ask(account_id: str, probe: Callable[[], bool]) -> None:
    answered = False
    try:
        answered = probe()
    finally:
        with _lock:
            if answered:
                _silences.pop(account_id, None)
                log.info("Account %s answers again", account_id)
            elif (silence := _silences.get(account_id)) is not None:
                silence.go_on()
