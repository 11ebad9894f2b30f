"""The time that all instances agree on: the backend's clock, carried forward by a local timer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from futurama.runtime import Runtime
from futurama.times import from_us, to_us

__all__ = ["BackendClock"]

_log = logging.getLogger("futurama.clock")

_MIN_READINGS = 3
_MAX_READINGS = 10
_ENOUGH_US = 20_000
"""Readings per sample; each gives a bound, and the best one counts. After this time three will do."""

_WORTH_A_WARNING_US = 1_000_000
"""Less would be seen again and again with servers whose clocks show whole seconds."""

_FASTEST_DRIFT = 0.001
"""Twice the 500 ppm by which a kernel slows a clock down or speeds it up to set it right (adjtimex(2))."""


class BackendClock:
    """Shows the backend's time without asking it every time, so local clocks may be wrong or jump.

    The offset to the local monotonic timer is measured by :meth:`sample`. The backend read its
    clock at some moment before the answer arrived; we assume that very moment. So each reading
    gives a lower bound, which is too low by the time that the answer took, and the greatest of
    several counts: this clock may be behind the backend's by the quickest way back, but is never
    ahead of it, and what is called when this clock says so is not called early. Between two
    measurements the two timers may drift apart.

    Args:
        read_backend: returns the backend's time, for example ``backend.now``.
        runtime: the local timer, and the local clock for comparison.

    Attributes:
        skew_us: by how much the backend's clock is ahead of the local clock.
        jumps: how often the backend's clock has jumped by more than a second.
    """

    def __init__(self, read_backend: Callable[[], datetime], runtime: Runtime) -> None:
        self._read_backend = read_backend
        self._monotonic_us = runtime.monotonic_us
        self._wall_us = runtime.wall_us
        self._offset_us: int | None = None
        self._round_trip_us = 0
        self._known_us = 0
        self._measured_us = 0
        self._warned = False
        self.skew_us = 0
        self.jumps = 0

    def sample(self, *, at_most: int = _MAX_READINGS) -> None:
        """Measure the offset anew; raises what the backend raises, and then keeps the old offset.

        Args:
            at_most: how often to read the backend's clock; less often if that takes long.
        """
        began_us = self._measured_us = self._monotonic_us()
        readings = [self._read()]
        while len(readings) < at_most and (
            len(readings) < _MIN_READINGS or self._monotonic_us() - began_us < _ENOUGH_US
        ):
            readings.append(self._read())
        offset_us = max(offset_us for _, offset_us, _ in readings)
        round_trip_us, _, skew_us = min(readings)
        if self._offset_us is not None:
            uncertain_us = max(round_trip_us, self._round_trip_us)
            drift_us = int((began_us - self._known_us) * _FASTEST_DRIFT)
            self._watch_jumps(offset_us - self._offset_us, uncertain_us + drift_us)
        self._offset_us, self._round_trip_us, self._known_us = offset_us, round_trip_us, began_us
        self._watch_skew(skew_us, round_trip_us)

    @property
    def behind_us(self) -> int:
        """By how much this clock may be behind the backend's, as far as the last sample tells: one round trip."""
        return self._round_trip_us

    @property
    def age_us(self) -> int:
        """How long ago :meth:`sample` was called last, with or without success."""
        return self._monotonic_us() - self._measured_us

    def now_us(self) -> int:
        """The backend's time in microseconds since 1970; :meth:`sample` must have been called."""
        return self.at(self._monotonic_us())

    def at(self, monotonic_us: int) -> int:
        """The backend's time when the local timer shows, or showed, ``monotonic_us``."""
        assert self._offset_us is not None, "sample() comes first"
        return monotonic_us + self._offset_us

    def now(self) -> datetime:
        """The backend's time, aware UTC; :meth:`sample` must have been called."""
        return from_us(self.now_us())

    def _read(self) -> tuple[int, int, int]:
        asked_us = self._monotonic_us()
        backend_us = to_us(self._read_backend())
        answered_us = self._monotonic_us()
        return answered_us - asked_us, backend_us - answered_us, backend_us - self._wall_us()

    def _watch_jumps(self, jump_us: int, explained_us: int) -> None:
        """Leases are counted by this clock, so while it jumps two instances may call one event."""
        if abs(jump_us) > _WORTH_A_WARNING_US + explained_us:
            self.jumps += 1
            _log.warning(
                "the backend's clock has jumped by %+.3f s since it was read last: it was set, another "
                "server has taken over, or this machine stood still; events are called by that "
                "clock, and calls under way may be repeated because their leases have jumped, too",
                jump_us / 1e6,
            )

    def _watch_skew(self, skew_us: int, round_trip_us: int) -> None:
        """Nothing depends on the local wall clock, but people who compare logs should know."""
        self.skew_us = skew_us
        is_large = abs(skew_us) > _WORTH_A_WARNING_US + round_trip_us
        if is_large and not self._warned:
            _log.warning(
                "the clock of this machine differs from the backend's by %.3f s; events are called "
                "by the backend's clock, so set this machine's (NTP) before you compare logs",
                skew_us / 1e6,
            )
        self._warned = is_large
