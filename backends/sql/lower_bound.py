"""Where a look at what is due begins."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from futurama.times import EARLIEST

__all__ = ["LowerBound"]

_SLOW_SECONDS = 0.02
"""What it takes to pass over some 300,000 entries; where there are none, a look takes one millisecond."""

_SLOW_LOOKS = 10
"""So many slow looks in a row are no accident of a busy machine."""

_REST = 20
"""So many times as long as it took passes until the next one: it costs a twentieth of the time."""

_LONGEST_REST_SECONDS = 5.0

_LEEWAY = timedelta(seconds=2)
"""How far the bound stays behind the horizon of a claim: what is stored to be called at once is due about
now, which is before it; clocks differ, and a transaction takes its time."""


class LowerBound:
    """The beginning of the table, unless looking from there takes long.

    Removed and moved events leave entries in the index until the server purges them, and a snapshot
    that is held open anywhere on it stops that. Each look from the beginning then passes over all of
    them: thousands more every second. So once that has become slow, most looks begin a little before what
    is due now; what is stored further back meanwhile is found by the next look from the beginning.

    Args:
        timer: seconds, from anywhere.
    """

    def __init__(self, timer: Callable[[], float] = time.monotonic) -> None:
        self._timer = timer
        self._bound = EARLIEST
        self._slow_looks = 0
        self._full_look_seconds = 0.0
        self._rested_since = 0.0

    def get(self) -> datetime:
        """Where the next look begins."""
        if self._slow_looks < _SLOW_LOOKS:
            return EARLIEST
        rest = min(_REST * self._full_look_seconds, _LONGEST_REST_SECONDS)
        return self._bound if self._timer() - self._rested_since < rest else EARLIEST

    def learn(
        self, lower: datetime, first: datetime | None, *, horizon: datetime, seconds: float
    ) -> None:
        """Take note of a look.

        Args:
            lower: where it began.
            first: the earliest due that it found.
            horizon: what is due by then is claimed now.
            seconds: how long it took.
        """
        if lower == EARLIEST:
            self._slow_looks = self._slow_looks + 1 if seconds > _SLOW_SECONDS else 0
            self._full_look_seconds, self._rested_since = seconds, self._timer()
        found = horizon if first is None else min(first, horizon)
        self._bound = max(lower, found - _LEEWAY) if found - EARLIEST > _LEEWAY else EARLIEST
