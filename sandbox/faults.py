"""Switchable faults: each with a rate, a number of next hits, seconds, for everyone or for one account.

All chance comes from one seeded generator, so that a single-threaded simulation repeats itself.
"""

from __future__ import annotations

import random
import threading
from dataclasses import asdict, dataclass
from typing import Any

from .errors import SandboxError

#: Every fault, with the seconds it uses when none are given.
KINDS: dict[str, float] = {
    "webhook_duplicate": 0.0,  # delivered twice
    "webhook_late": 5.0,  # first sent only after `seconds`
    "webhook_lost": 0.0,  # never sent
    "webhook_reordered": 3.0,  # overtaken by the account's next event, or sent after `seconds`
    "error_500": 0.0,  # answered 500, nothing was done
    "error_500_after": 0.0,  # a write was applied and answered 500
    "rate_limited": 0.0,  # answered 429
    "unauthorized": 0.0,  # the account refuses its token: 401
    "forbidden": 0.0,  # 403
    "slow": 2.0,  # waits `seconds`, then does it
    "slow_after": 2.0,  # does it, then waits `seconds` before answering
    "cut_before": 0.0,  # a write is cut and was not applied
    "cut_after": 0.0,  # a write was applied and the connection cut
    "cut_read": 0.0,  # a read is cut
    "stale": 5.0,  # balances as they were `seconds` ago
}


@dataclass
class Switch:
    rate: float = 0.0
    next: int = 0
    seconds: float = 0.0


class Faults:
    def __init__(self, seed: int | None) -> None:
        self._lock = threading.Lock()
        self._random = random.Random(seed)  # noqa: S311 - a simulation repeats itself
        self._switches: dict[tuple[str, str | None], Switch] = {}

    def set(
        self,
        kind: str,
        rate: float = 0.0,
        next: int = 0,
        seconds: float | None = None,
        account: str | None = None,
    ) -> None:
        """Replace one switch; rate 0 and next 0 turn it off."""
        if kind not in KINDS:
            raise SandboxError(f"Falha desconhecida: {kind}.")
        if not 0 <= rate <= 1 or next < 0 or (seconds is not None and seconds < 0):
            raise SandboxError("A taxa vai de 0 a 1; a contagem e os segundos não podem ser negativos.")
        with self._lock:
            if not rate and not next:
                self._switches.pop((kind, account), None)
            else:
                length = KINDS[kind] if seconds is None else seconds
                self._switches[kind, account] = Switch(rate, next, length)

    def clear(self) -> None:
        with self._lock:
            self._switches.clear()

    def follow(self, chance: random.Random) -> None:
        """Draw from this generator from now on: a simulation that reseeds it before each action can replay any of them
        without the others."""
        self._random = chance

    def hit(self, kind: str, account: str | None) -> Switch | None:
        """Decide whether the fault strikes now; a counted hit is used up. The account's own switch comes first."""
        with self._lock:
            for key in ((kind, account), (kind, None)):
                switch = self._switches.get(key)
                if switch is None:
                    continue
                if switch.next > 0:
                    switch.next -= 1
                    if not switch.next and not switch.rate:
                        del self._switches[key]
                    return switch
                if switch.rate and self._random.random() < switch.rate:
                    return switch
        return None

    def listed(self) -> list[dict[str, Any]]:
        with self._lock:
            return [
                {"kind": kind, "account": account, **asdict(switch)}
                for (kind, account), switch in sorted(
                    self._switches.items(), key=lambda item: (item[0][0], item[0][1] or "")
                )
            ]
