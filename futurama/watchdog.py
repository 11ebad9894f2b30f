"""Calls that do not return: they are given up, or at least told of."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime

from futurama.backend import EventBackend
from futurama.calls import Caller
from futurama.clock import BackendClock
from futurama.errors import BackendError, BackendRejectedError, EventsLockedError
from futurama.health import Health
from futurama.held import Held, HeldClaims
from futurama.running import RunningCalls
from futurama.stacks import stack_of
from futurama.stats import Stats

__all__ = ["Watchdog"]

_log = logging.getLogger("futurama.watchdog")

_GRACE_US = 1_000_000
"""How long a coroutine that was cancelled may take to end."""

_SHORTEST_PAUSE_SECONDS = 0.01
"""Calls that get too long one after another are found together."""


class Watchdog:
    """Looks at the calls under way; all of it is one step, :meth:`step`.

    With a timeout, a coroutine that takes longer is cancelled: its end is that of a failed call. A
    thread cannot be ended, and a coroutine may refuse to: such a call is *abandoned*. Its event is
    called again by the backoff, or buried; what it returns later counts for nothing. Because it
    goes on for all we know, it is not reported as failed: its lease is made to end when the next
    attempt is due, at once if none may follow. So the event counts as lost whatever becomes of it, and
    ``cancel`` and ``reschedule`` never say that no call is in flight. Whoever claims it next calls
    or buries it.

    Without a timeout, a call that takes longer than a lease is told of, once.

    Args:
        running: the calls under way.
        held: the claims.
        caller: judges the calls.
        timeout_seconds: how long a call may take; 0: as long as it likes.
        lease_seconds: how long a claim lasts unless renewed.
        timer_us: the local timer.
        replace_worker: see :meth:`futurama.runtime.Workers.replace`.
        lose: told of abandoned calls whose claims were lost before.
        wake_renewals: lets :meth:`end_leases` be called soon.
        on_ended: told when the event of an abandoned call is due again.
    """

    def __init__(
        self,
        running: RunningCalls,
        held: HeldClaims,
        caller: Caller,
        backend: EventBackend,
        *,
        timeout_seconds: float,
        lease_seconds: float,
        clock: BackendClock,
        timer_us: Callable[[], int],
        stats: Stats,
        replace_worker: Callable[[], bool],
        lose: Callable[[Iterable[Held]], None],
        wake_renewals: Callable[[], None],
        on_ended: Callable[[datetime], None],
    ) -> None:
        self._running = running
        self._held = held
        self._caller = caller
        self._backend = backend
        self._timeout_seconds = timeout_seconds
        self._limit_us = int((timeout_seconds or lease_seconds) * 1e6)
        self._clock = clock
        self._timer_us = timer_us
        self._stats = stats
        self._replace_worker = replace_worker
        self._lose = lose
        self._wake_renewals = wake_renewals
        self._on_ended = on_ended
        self._look_again_us: dict[Held, float] = {}
        self._abandoned: deque[tuple[Held, datetime | None]] = deque()
        self._health = Health("giving up calls that do not return", stats)

    def step(self) -> float:
        """Look at all calls; see :data:`futurama.runtime.Step`."""
        now_us = self._timer_us()
        calls = self._running.all()
        for ended in self._look_again_us.keys() - calls:
            del self._look_again_us[ended]
        next_us = min((self._look_at(held, now_us) for held in calls), default=math.inf)
        # Calls that start from now on cannot be too long before the limit has passed.
        return max(_SHORTEST_PAUSE_SECONDS, min(next_us - now_us, self._limit_us) / 1e6)

    def end_leases(self) -> float:
        """Let the leases of abandoned calls end when their events are due again.

        Part of the step that renews leases, so that no renewal under way can undo it.
        """
        error = None
        for _ in range(len(self._abandoned)):
            held, due = self._abandoned.popleft()
            try:
                self._end_lease(held, due)
            except Exception as exc:
                if self._timer_us() < held.lease_end_us:
                    self._abandoned.append((held, due))
                else:
                    self._lose([held])
                if not isinstance(exc, BackendError):
                    raise  # a bug of the backend
                error = exc
                if not isinstance(exc, EventsLockedError | BackendRejectedError):
                    break  # those that follow would wait for the same
        if error is not None:
            return self._health.failed(error)
        self._health.worked()
        return math.inf

    def _end_lease(self, held: Held, due: datetime | None) -> None:
        now = self._clock.now()
        [is_ours] = self._backend.renew([held.claim], now=now, lease_until=due or now)
        if is_ours:
            self._stats.count("retried", 0 if due is None else 1)
            self._held.forget([held])
            self._on_ended(due or now)
        else:
            self._lose([held])

    def _look_at(self, held: Held, now_us: int) -> float:
        """Do what has to be done about a call; return when to look at it again."""
        look_us = self._look_again_us.get(held, held.started_us + self._limit_us)
        if now_us < look_us:
            return look_us
        if not self._timeout_seconds:
            look_us = self._tell(held)
        elif isinstance(held.runner, asyncio.Task) and held not in self._look_again_us:
            look_us = self._cancel(held, held.runner, now_us)
        else:
            return self._abandon(held)
        self._look_again_us[held] = look_us
        return look_us

    def _tell(self, held: Held) -> float:
        _log.warning(
            "%s has not returned for longer than a lease (%g s); its lease is renewed as long as it "
            "runs; the configuration key 'trigger_timeout_sec' would give it up. It is here:\n%s",
            _description(held),
            self._limit_us / 1e6,
            stack_of(held.runner),
        )
        return math.inf

    def _cancel(self, held: Held, task: asyncio.Task[object], now_us: int) -> float:
        self._stats.count("timed_out")
        _log.error(
            "%s: %s, so it is cancelled. It was here:\n%s",
            _description(held),
            self._reason,
            stack_of(task),
        )
        with suppress(RuntimeError):  # the loop is closed: the instance was stopped
            task.get_loop().call_soon_threadsafe(task.cancel, self._reason)
        return now_us + _GRACE_US

    def _abandon(self, held: Held) -> float:
        stack = stack_of(held.runner)
        if not self._running.end(held):  # it has returned meanwhile
            return math.inf
        is_replaced = not isinstance(held.runner, int) or self._replace_worker()
        due = self._caller.next_attempt(held, self._reason)
        self._held.abandon(held)
        self._abandoned.append((held, due))
        self._wake_renewals()
        if held in self._look_again_us:
            _log.warning("%s goes on although it was cancelled", _description(held))
            return math.inf
        self._stats.count("timed_out")
        _log.error(
            "%s: %s, so it is given up%s. It was here:\n%s",
            _description(held),
            self._reason,
            "" if is_replaced else ", and no other thread takes its place: too many hang already",
            stack,
        )
        return math.inf

    @property
    def _reason(self) -> str:
        return f"the call did not return within {self._timeout_seconds:g} s"


def _description(held: Held) -> str:
    claim = held.claim
    return f"event {claim.id} ({claim.trigger_type}), attempt {claim.attempt}"
