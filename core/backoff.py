"""When to try a read again, and how long to wait first. Pure: the caller brings jitter and clock.

Only reads: repeating a stock movement that may have been applied would book it twice.
"""

from __future__ import annotations


def delay_s(attempt: int, jitter: float, base: float = 0.5, cap: float = 8.0) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 1): doubling from `base` up to `cap`.

    `jitter` (0 to 1) picks a point in the upper half of that span, so that processes that failed together
    do not come back together.
    """
    span = min(cap, base * 2.0 ** min(attempt - 1, 32))
    return span * (0.5 + 0.5 * jitter)


def should_retry_read(
    status: int | None, attempt: int, attempts: int, elapsed_s: float, wait_s: float, budget_s: float
) -> bool:
    """Whether a failed read deserves another attempt; `status` is None when no answer came at all.

    Refusals (4xx) are final, because a client that repeats them walks into Bling's IP block; 429 and 408 only ask
    for time.
    """
    is_passing = status is None or status in (408, 429) or status >= 500
    return is_passing and attempt < attempts and elapsed_s + wait_s <= budget_s
