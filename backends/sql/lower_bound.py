"""Where a look at what is due may begin."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import attrs

from futurama.times import EARLIEST, LATEST

__all__ = ["Look", "LowerBound"]

_SLOW_LOOKS = 5
"""So many in a row, each slow beyond chance, are not chance."""

_FULL_LOOK_SECONDS = 1.0
"""How long what another instance has stored below the bound may stay unseen."""

_LEEWAY = timedelta(seconds=1)
"""How far the bound stays behind ``now``, because what others store to be called at once is due about
then: clocks differ, and a transaction takes its time."""


@attrs.define(eq=False)
class Look:
    """One look at what is due.

    Attributes:
        lower: nothing that is due before has to be looked for.
        is_overdue: there is a bound, and this look is to be made without it.
        stored: the earliest due that this instance has stored since the look began.
    """

    lower: datetime
    is_overdue: bool
    stored: datetime = LATEST


class LowerBound:
    """The least due that may still be stored, where looking for it from the beginning takes long.

    Removed and moved events leave entries in the index until the server purges them, and a snapshot
    that is held open anywhere on it stops that. Each look from the beginning then passes over all of
    them: thousands more every second.

    There is no bound until several looks in a row have turned out to be slow, so on a healthy server
    nothing is ever missed. With a bound, whatever this instance itself stores lowers it; what
    another one stores below it is seen by the next look without a bound, one second later at most.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lower = EARLIEST
        self._slow_looks = 0
        self._last_full_look = time.monotonic()
        self._looks: set[Look] = set()

    @contextmanager
    def look(self) -> Iterator[Look]:
        """One look, from before the first statement until :meth:`learn`."""
        with self._lock:
            age = time.monotonic() - self._last_full_look
            is_overdue = self._lower > EARLIEST and age > _FULL_LOOK_SECONDS
            look = Look(EARLIEST if is_overdue else self._lower, is_overdue)
            self._looks.add(look)
        try:
            yield look
        finally:
            with self._lock:
                self._looks.discard(look)

    @contextmanager
    def storing(self, due: datetime) -> Iterator[None]:
        """While something is stored that is not due before this."""
        try:
            yield
        finally:  # whatever the outcome is said to be, it may have been stored
            with self._lock:
                self._lower = min(self._lower, due)
                for look in self._looks:
                    look.stored = min(look.stored, due)

    def learn(
        self, look: Look, next_due: datetime | None, *, now: datetime, is_slow: bool | None
    ) -> None:
        """Take note of what a look has found.

        Args:
            look: it must not have ended yet.
            next_due: the earliest due from ``look.lower`` on.
            now: the time that the look was given.
            is_slow: whether it took much longer than it should; None: who knows.
        """
        with self._lock:
            if look.lower == EARLIEST:
                self._last_full_look = time.monotonic()
                if is_slow is not None:
                    self._slow_looks = self._slow_looks + 1 if is_slow else 0
            if self._slow_looks < _SLOW_LOOKS:
                self._lower = EARLIEST
                return
            first = now if next_due is None else min(next_due, now)
            lower = first - _LEEWAY if first - EARLIEST > _LEEWAY else EARLIEST
            self._lower = max(self._lower, min(lower, look.stored))
