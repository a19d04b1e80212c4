"""Accounts that do not answer: one question may hang, the next ones do not wait for the same silence.

After a question that hung, the account is left out, as unreadable, until it answers. A thread of its own asks it from
time to time, so that no sale of another account waits for that, and says so when it answers. Each process remembers
for itself.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from clock import sleep

log = logging.getLogger(__name__)

# A refusal that comes at once holds up nobody; this is what counts as hanging.
HUNG_S = 3.0
FIRST_REST_S = 2.0
LONGEST_REST_S = 15.0

_silent: set[str] = set()
_lock = threading.Lock()


def is_silent(account_id: str) -> bool:
    """Whether the account is to be left out now."""
    return account_id in _silent


def note_hung(account_id: str, probe: Callable[[], bool], on_answer: Callable[[], None]) -> None:
    """A question to the account hung: leave it out until `probe`, asked again and again, says that it answers.

    `on_answer` is called then, once. A process that ends does not wait for any of this.
    """
    with _lock:
        if account_id in _silent:
            return
        _silent.add(account_id)
    log.warning("Account %s does not answer and is left out until it does", account_id)
    watch = threading.Thread(
        target=_watch, args=(account_id, probe, on_answer), name=f"silence-{account_id}", daemon=True
    )
    watch.start()


def forget_all() -> None:
    """Take every account for answering, as a new process does."""
    with _lock:
        _silent.clear()


def _watch(account_id: str, probe: Callable[[], bool], on_answer: Callable[[], None]) -> None:
    rest_s = FIRST_REST_S
    sleep(rest_s)
    while is_silent(account_id) and not probe():
        rest_s = min(rest_s * 2, LONGEST_REST_S)
        sleep(rest_s)
    with _lock:
        was_silent = account_id in _silent
        _silent.discard(account_id)
    if was_silent:
        log.info("Account %s answers again", account_id)
        on_answer()
