"""Reporting to the backend how claims ended, in batches."""

from __future__ import annotations

import logging
import math
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta

import attrs

from futurama.backend import EventBackend, Settlement
from futurama.clock import BackendClock
from futurama.errors import OutcomeUnknownError
from futurama.health import Health
from futurama.held import Held, HeldClaims
from futurama.parts import in_parts, may_pass
from futurama.runtime import Runtime
from futurama.stats import Stats

__all__ = ["Report", "Reporter"]

_log = logging.getLogger("futurama.reports")

_MAX_BATCH = 1000

_SHOWN = 5

_FULL = 200
"""So many reports are written even if the last ones have just been: a batch of this size costs per
report little more than a larger one."""

_REST = 3
"""After a batch, the reporter rests so many times as long as it took to write it. Each costs the same
few statements and one write to the disk, whether it has one report or a hundred; and calls that are
due compete with it for the interpreter."""

_MAX_REST_SECONDS = 0.02
"""Reports that wait are calls that are repeated if this process dies."""


@attrs.define(eq=False)
class Report:
    """How one held claim ended.

    Attributes:
        held: the claim.
        settlement: what the backend is told.
        counter: which of ``futurama.stats.COUNTERS`` grows when the backend has acknowledged it.
    """

    held: Held
    settlement: Settlement
    counter: str
    is_in_doubt: bool = False
    """An earlier try may have been accepted; its answer was lost."""


class Reporter:
    """Gathers reports while one batch is being written; they are the next batch.

    A report stays until the backend has acknowledged it or the claim's lease has ended. Reports are
    written by a loop that runs :meth:`step`, and at once by whoever needs that.

    Args:
        on_acknowledged: told of each batch of reports that the backend has accepted.
    """

    def __init__(
        self,
        backend: EventBackend,
        held: HeldClaims,
        *,
        clock: BackendClock,
        runtime: Runtime,
        stats: Stats,
        on_acknowledged: Callable[[Sequence[Report]], None],
    ) -> None:
        self._backend = backend
        self._held = held
        self._clock = clock
        self._runtime = runtime
        self._stats = stats
        self._on_acknowledged = on_acknowledged
        self._pending: deque[Report] = deque()
        self._writing = threading.Lock()
        self._will_step = False
        self._size = _MAX_BATCH
        self._health = Health("reporting how calls ended", stats)

    def __len__(self) -> int:
        """How many reports wait."""
        return len(self._pending)

    def add(self, report: Report) -> bool:
        """Leave a report for the next batch; whether a step should be made now.

        If not, one will be made after the rest, or when the backend is to be tried again.
        """
        report.held.has_ended = True
        self._pending.append(report)
        if not self._will_step:
            return True
        is_urgent = len(self._pending) >= _FULL or self._is_due_soon(report.settlement)
        return is_urgent and not self._health.is_failing

    def step(self) -> float:
        """Write a batch of what waits; see :data:`futurama.runtime.Step`."""
        self._will_step = False  # first, so that what is added after the next line is not missed
        if not self._has_some():
            return math.inf
        self._will_step = True
        began_us = self._runtime.monotonic_us()
        error = self._write_batch()
        if error is not None:
            return self._health.failed(error)
        self._health.worked()
        if len(self._pending) >= _FULL:
            return 0
        took_us = self._runtime.monotonic_us() - began_us
        return min(_REST * took_us / 1e6, _MAX_REST_SECONDS)

    def write_all(self) -> None:
        """Write all that waits, from any thread; if the backend fails, that is tried again later."""
        left = len(self._pending)
        while left > 0 and not self._health.is_failing:
            left -= self._size
            if self._write_batch() is not None:
                return

    def _has_some(self) -> bool:
        """Whether any report waits, also of those that another thread may fail to write just now."""
        if not self._pending:
            with self._writing:
                pass
        return bool(self._pending)

    def _write_batch(self) -> Exception | None:
        """Write what has waited longest; if that fails say why, and keep what still makes sense.

        If batches fail one after another they get smaller, because one report may be the reason; then all
        others pass it.
        """
        with self._writing:
            batch = [self._pending.popleft() for _ in range(min(len(self._pending), self._size))]
            error = self._write(batch) if batch else None
            if error is None:
                self._size = min(_MAX_BATCH, 2 * self._size)
            elif self._health.is_failing:
                self._size = max(1, len(batch) // 2)
            return error

    def _is_due_soon(self, settlement: Settlement) -> bool:
        """Whether the event is due again before a rest may be over."""
        rest = timedelta(seconds=_MAX_REST_SECONDS)
        return settlement.due is not None and settlement.due <= self._clock.now() + rest

    def _write(self, batch: Sequence[Report]) -> Exception | None:
        """Write these; keep what still makes sense, and say why, if that may be accepted later."""
        failure = None
        for part, outcome in in_parts(self._settle, batch):
            if not isinstance(outcome, Exception):
                self._written(list(zip(part, outcome, strict=True)))
                continue
            self._keep(part, outcome)
            if may_pass(outcome):
                failure = outcome
        return failure

    def _settle(self, batch: Sequence[Report]) -> Sequence[bool]:
        settlements = [report.settlement for report in batch]
        return self._backend.settle(settlements, now=self._clock.now())

    def _written(self, answers: Sequence[tuple[Report, bool]]) -> None:
        done = [report for report, is_ours in answers if is_ours]
        self._held.forget(report.held for report in done)
        for counter, amount in Counter(report.counter for report in done).items():
            self._stats.count(counter, amount)
        self._refused(report for report, is_ours in answers if not is_ours)
        self._on_acknowledged(done)

    def _keep(self, batch: Sequence[Report], error: Exception) -> None:
        """Try again later, after all others, with what still makes sense."""
        now_us = self._runtime.monotonic_us()
        is_in_doubt = isinstance(error, OutcomeUnknownError)
        lost = []
        for report in batch:
            if may_pass(error) and now_us < report.held.lease_end_us:
                kept = attrs.evolve(report, is_in_doubt=True) if is_in_doubt else report
                self._pending.append(kept)
            else:
                lost.append(report.held)
        if lost:
            _log.error("cannot report on %s; %s", _shown(lost), error)
            self.lose(lost)

    def _refused(self, reports: Iterable[Report]) -> None:
        lost = []
        for report in reports:
            if report.is_in_doubt:
                self._held.forget([report.held])
                self._stats.count("unconfirmed")
            else:
                lost.append(report.held)
        self.lose(lost)

    def lose(self, lost: Iterable[Held]) -> None:
        """Give up claims that the backend does not, or will not, accept reports on."""
        if gone := list(lost):
            self._held.forget(gone)
            self._stats.count("lost", len(gone))
            _log.warning(
                "before they were reported, the events were cancelled or replaced, or the leases have "
                "ended and they are called again: lost %s",
                _shown(gone),
            )


def _shown(held: Sequence[Held]) -> str:
    """Claims for the log: an outage ends thousands of them at once."""
    first = ", ".join(f"{each.claim.id} (attempt {each.claim.attempt})" for each in held[:_SHOWN])
    more = f" and {len(held) - _SHOWN} more" if len(held) > _SHOWN else ""
    return f"{len(held)} claim{'s' * (len(held) > 1)}: {first}{more}"
