"""What an instance has done so far, in numbers."""

from __future__ import annotations

import bisect
import threading
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

__all__ = ["COUNTERS", "LatenessHistogram", "Stats"]

COUNTERS = {
    "created": "events stored by this instance",
    "cancelled": "cancel calls answered CANCELLED",
    "rescheduled": "reschedule calls answered RESCHEDULED",
    "claimed": "claims taken",
    "called": "trigger calls started",
    "succeeded": "calls that ended their event",
    "retried": "failed calls whose event waits for its next attempt",
    "buried": "events moved to the dead letters",
    "forgotten": "events that would have been buried, were dead_letter_days not 0",
    "timed_out": "calls that took longer than trigger_timeout_sec: cancelled, or given up",
    "released": "claims given back uncalled: when the instance stopped, or was not to hold so many",
    "lost": "claims that were lost before they were reported",
    "unconfirmed": "reports that were probably accepted, but the answer was lost",
    "unknown_type": "calls that failed because no trigger is registered for the type",
    "undecodable": "events buried because their data is not JSON",
    "backend_errors": "operations of the backend that failed, repeats included",
}
"""The counters of an instance, and what each counts."""


class LatenessHistogram:
    """How late calls started, in buckets that grow by a tenth, so quantiles are right to 10 %."""

    _FIRST_US = 10
    _GROWTH = 1.1
    _BUCKETS = 200  # the last one begins at 10 us * 1.1**199, about half an hour

    def __init__(self) -> None:
        self._bounds_us = [self._FIRST_US * self._GROWTH**n for n in range(self._BUCKETS)]
        self._counts = [0] * (self._BUCKETS + 1)
        self._max_us = 0

    def record(self, latenesses_us: Sequence[int]) -> None:
        """Count calls that started so long after their times."""
        bounds_us, counts = self._bounds_us, self._counts
        for lateness_us in latenesses_us:
            counts[bisect.bisect_left(bounds_us, lateness_us)] += 1
        self._max_us = max(self._max_us, max(latenesses_us, default=0))

    def quantile_ms(self, q: float) -> float | None:
        """The lateness in milliseconds that a share ``q`` of the calls did not exceed."""
        rank = q * sum(self._counts)
        seen = 0
        for bound_us, count in zip([*self._bounds_us, self._max_us], self._counts, strict=True):
            seen += count
            if seen and seen >= rank:
                return min(bound_us, self._max_us) / 1000
        return None

    @property
    def max_ms(self) -> float | None:
        """The largest lateness in milliseconds."""
        return self._max_us / 1000 if any(self._counts) else None


class Stats:
    """Counters and the lateness of one instance; thread-safe."""

    _MAX_UNFOLDED = 4096

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._lateness = LatenessHistogram()
        # Appending to a deque needs no lock, and every call of a trigger passes here.
        self._unfolded: deque[int] = deque()

    def count(self, name: str, amount: int = 1) -> None:
        """Add to one of :data:`COUNTERS`."""
        assert name in COUNTERS, name
        with self._lock:
            self._counts[name] += amount

    def call_started(self, lateness_us: int) -> None:
        """Count a trigger call that began ``lateness_us`` after its time."""
        self._unfolded.append(lateness_us)
        if len(self._unfolded) > self._MAX_UNFOLDED:
            with self._lock:
                self._fold()

    def snapshot(self) -> dict[str, Any]:
        """All counters, and the lateness p50, p99 and max in milliseconds (None before a call)."""
        with self._lock:
            self._fold()
            return {
                **{name: self._counts[name] for name in COUNTERS},
                "lateness_p50_ms": self._lateness.quantile_ms(0.5),
                "lateness_p99_ms": self._lateness.quantile_ms(0.99),
                "lateness_max_ms": self._lateness.max_ms,
            }

    def _fold(self) -> None:
        # What is appended meanwhile is left for the next time.
        latenesses_us = [self._unfolded.popleft() for _ in range(len(self._unfolded))]
        self._lateness.record(latenesses_us)
        self._counts["called"] += len(latenesses_us)
