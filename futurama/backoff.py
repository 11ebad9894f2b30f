"""How long to wait before trying again."""

from __future__ import annotations

import random
from datetime import timedelta

import attrs

__all__ = ["RetryPolicy", "full_jitter_seconds"]


def _not_negative(_: object, attribute: attrs.Attribute[timedelta], value: timedelta) -> None:
    if value < timedelta():
        raise ValueError(f"{attribute.name} must not be negative, got {value!r}")


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """When a failed trigger is called again, and how often.

    After attempt n the wait is ``base * 2**(n - 1)`` plus up to as much again at random, at most
    ``cap``: the rule of the Go original, from 250 ms on instead of 500 ms. The random part keeps
    events that failed together from coming back together.

    Attributes:
        max_retry: how many calls may follow the first one; then the event is buried.
        base: the shortest wait after the first attempt.
        cap: the longest wait.
    """

    max_retry: int = attrs.field(default=18, validator=attrs.validators.ge(0))
    base: timedelta = attrs.field(default=timedelta(milliseconds=250), validator=_not_negative)
    cap: timedelta = attrs.field(default=timedelta(minutes=10), validator=_not_negative)

    def is_exhausted(self, attempt: int) -> bool:
        """Whether no call may follow attempt number ``attempt``."""
        return attempt > self.max_retry

    def delay(self, attempt: int) -> timedelta:
        """How long to wait after attempt number ``attempt`` (1, 2, ...) has failed."""
        # The exponent is bounded because 2.0**1024 overflows; by then every cap is reached.
        seconds = self.base.total_seconds() * 2.0 ** min(attempt - 1, 64)
        seconds = min(seconds, self.cap.total_seconds())
        return min(timedelta(seconds=seconds * random.uniform(1, 2)), self.cap)


def full_jitter_seconds(failures: int, *, base: float = 0.02, cap: float = 2.0) -> float:
    """How long to wait for a backend that has just failed ``failures`` (1, 2, ...) times in a row.

    Uniform between 0 and ``base * 2**(failures - 1)``, at most ``cap``: "full jitter", which spreads
    the instances that lost the same server better than any other rule (M. Brooker, "Exponential
    Backoff And Jitter", 2015).
    """
    return random.uniform(0, min(cap, base * 2.0 ** min(failures - 1, 64)))
