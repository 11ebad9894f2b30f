"""Making the calls: from a held claim that is due to a report of how its call ended."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from types import CoroutineType, GeneratorType
from typing import cast

from futurama import triggers
from futurama.backend import Capabilities, Settlement
from futurama.backoff import RetryPolicy
from futurama.clock import BackendClock
from futurama.errors import GiveUp, TryAgain
from futurama.events import Event
from futurama.held import Held, HeldClaims
from futurama.reports import Report
from futurama.running import RunningCalls
from futurama.runtime import Coroutines
from futurama.stats import Stats
from futurama.texts import presentable
from futurama.triggers import BoundTrigger, Ending, Verdict, is_a

__all__ = ["Caller"]

_log = logging.getLogger("futurama.calls")


class Caller:
    """Calls triggers, functions at once and coroutines on the event loop, and judges the outcome.

    Args:
        default_policy: when to try an event again for which no trigger is registered here.
        capabilities: of the backend.
        keeps_dead_letters: whether to bury what cannot be called; else it is forgotten.
        timer_us: the local timer.
        running: is told of each call.
        report: takes the reports.
        lets_through: see :meth:`futurama.runtime.Runtime.lets_through`.
    """

    def __init__(
        self,
        held: HeldClaims,
        *,
        default_policy: RetryPolicy,
        capabilities: Capabilities,
        keeps_dead_letters: bool,
        clock: BackendClock,
        timer_us: Callable[[], int],
        coroutines: Coroutines,
        running: RunningCalls,
        stats: Stats,
        report: Callable[[Report], None],
        lets_through: Callable[[BaseException], bool],
    ) -> None:
        self._held = held
        self._default_policy = default_policy
        self._capabilities = capabilities
        self._keeps_dead_letters = keeps_dead_letters
        self._clock = clock
        self._timer_us = timer_us
        self._coroutines = coroutines
        self._running = running
        self._stats = stats
        self._report = report
        self._lets_through = lets_through

    def perform(self, held: Held) -> bool:
        """Make the call that is due, see :meth:`futurama.held.HeldClaims.next`.

        Returns:
            Whether it was given up before it returned.
        """
        trigger = held.trigger
        if trigger is not None and trigger.is_async:
            started_us = self._timer_us()
            self._coroutines.submit(partial(self._call_async, held, trigger))
            held.usual.record(self._timer_us() - started_us)
            return False
        try:  # what `_abandoning` does, at a fraction of its cost
            return self._call(held, trigger)
        except BaseException as exc:  # also one that ends threads: this one is still needed
            self._abandon(held, exc)
            return False

    def next_attempt(self, held: Held, reason: str) -> datetime | None:
        """When a call that has not returned, and counts as failed, is to be made again; None: never."""
        assert held.trigger is not None
        return self._judge(held, held.trigger.policy, TryAgain(reason)).settlement.due

    def _call(self, held: Held, trigger: BoundTrigger | None) -> bool:
        event = self._event_to_call(held, trigger)
        if event is None or trigger is None:
            return False
        outcome: object
        is_awaitable = False
        started_us = self._timer_us()
        self._stats.call_started(self._clock.at(started_us) - held.due_us)
        self._running.begin(held, started_us=started_us, runner=threading.get_ident())
        try:
            outcome = trigger.call(event)
            is_awaitable = outcome is not None and _is_awaitable(outcome)
        except BaseException as exc:  # a trigger may raise anything; it must not end the worker
            if self._lets_through(exc):
                self._running.end(held)
                raise
            outcome = exc
        held.usual.record(self._timer_us() - started_us)
        if not self._running.end(held):
            self._ignore(held, outcome)
            return True
        if is_awaitable:
            awaitable = cast("Awaitable[object]", outcome)
            self._running.begin(held, started_us=started_us, runner=None)
            self._coroutines.submit(partial(self._continue, held, trigger, awaitable))
        else:
            self._ended(held, trigger, outcome)
        return False

    async def _call_async(self, held: Held, trigger: BoundTrigger) -> None:
        if self._held.start(held):
            with self._abandoning(held):
                event = self._event_to_call(held, trigger)
                if event is not None:
                    started_us = self._timer_us()
                    self._stats.call_started(self._clock.at(started_us) - held.due_us)
                    await self._await(held, trigger, _called(trigger, event), started_us)

    async def _continue(self, held: Held, trigger: BoundTrigger, call: Awaitable[object]) -> None:
        """What a function has returned is made here, if that is not too late."""
        if self._running.end(held):
            await self._await(held, trigger, call, held.started_us)
        else:
            self._ignore(held, call)

    async def _await(
        self, held: Held, trigger: BoundTrigger, call: Awaitable[object], started_us: int
    ) -> None:
        outcome: object
        self._running.begin(held, started_us=started_us, runner=_current_task())
        try:
            outcome = await call
        except BaseException as exc:  # as above; a call that was cancelled has no result either
            if self._lets_through(exc):
                self._running.end(held)
                raise
            outcome = exc
        if self._running.end(held):
            with self._abandoning(held):
                self._ended(held, trigger, outcome)
        else:
            self._ignore(held, outcome)

    def _ignore(self, held: Held, outcome: object) -> None:
        """The call was given up before: whatever it has returned comes too late."""
        _log.warning(
            "event %s (%s), attempt %d returned after %.3f s, when it had been given up: that is "
            "ignored",
            held.claim.id,
            held.claim.trigger_type,
            held.claim.attempt,
            (self._timer_us() - held.started_us) / 1e6,
        )
        if is_a(outcome, CoroutineType):
            outcome.close()

    @contextmanager
    def _abandoning(self, held: Held) -> Iterator[None]:
        try:
            yield
        except BaseException as exc:  # as above
            self._abandon(held, exc)

    def _abandon(self, held: Held, error: BaseException) -> None:
        """After a bug of ours, let the lease end, instead of renewing it for ever."""
        self._running.end(held)
        if self._lets_through(error):
            raise error
        _log.error(
            "calling event %s failed; this is a bug, going on", held.claim.id, exc_info=error
        )
        self._held.forget([held])

    def _event_to_call(self, held: Held, trigger: BoundTrigger | None) -> Event | None:
        """The event for the trigger; None if it must not be called, which is then reported."""
        claim = held.claim
        if trigger is None:
            self._stats.count("unknown_type")
            self._ended(
                held, None, TryAgain(f"no trigger is registered for {claim.trigger_type!r} here")
            )
            return None
        if trigger.policy.is_exhausted(claim.attempt - 1):
            # Its attempts were counted but never reported: it may be what kills the instances.
            self._conclude(
                held,
                triggers.bury(
                    claim,
                    f"attempt {claim.attempt - 1} did not end, or that was never reported, and no other may "
                    "follow",
                ),
            )
            return None
        try:
            event = triggers.event_of(claim)
        except ValueError as exc:
            self._stats.count("undecodable")
            self._conclude(held, triggers.bury(claim, f"its data is not JSON: {exc}"))
            return None
        return event

    def _ended(self, held: Held, trigger: BoundTrigger | None, outcome: object) -> None:
        if outcome is None:
            self._report(Report(held, Settlement.done(held.claim), Ending.SUCCEEDED.value))
            return
        policy = self._default_policy if trigger is None else trigger.policy
        try:
            verdict = self._judge(held, policy, outcome)
        except BaseException as exc:  # as above; so may what it returns or raises, when looked at
            if self._lets_through(exc):
                raise
            reason = f"what came of the call cannot be looked at: {type(exc).__name__}"
            outcome, verdict = exc, self._judge(held, policy, TryAgain(reason))
        self._conclude(held, verdict, outcome)

    def _judge(self, held: Held, policy: RetryPolicy, outcome: object) -> Verdict:
        return triggers.judge(
            held.claim,
            outcome,
            policy=policy,
            capabilities=self._capabilities,
            now=self._clock.now(),
        )

    def _conclude(self, held: Held, verdict: Verdict, outcome: object = None) -> None:
        settlement, counter = verdict.settlement, verdict.ending.value
        if verdict.ending is not Ending.SUCCEEDED:
            _log_failure(verdict, outcome)
        if verdict.ending is Ending.BURIED and not self._keeps_dead_letters:
            settlement, counter = Settlement.done(held.claim), "forgotten"
        self._report(Report(held, settlement, counter))


def _current_task() -> asyncio.Task[object] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # a runtime that needs no event loop
        return None


async def _called(trigger: BoundTrigger, event: Event) -> object:
    """Makes the call inside of the coroutine, so that one with a wrong signature fails there."""
    return await trigger.call(event)


def _is_awaitable(outcome: object) -> bool:
    return issubclass(type(outcome), Awaitable) or (
        is_a(outcome, GeneratorType) and inspect.isawaitable(outcome)
    )


def _log_failure(verdict: Verdict, outcome: object) -> None:
    claim, due = verdict.settlement.claim, verdict.settlement.due
    if verdict.ending is Ending.BURIED:
        level = logging.ERROR
    else:  # a trigger that returns RETRY does what it was written for
        level = logging.WARNING if is_a(outcome, BaseException) else logging.INFO
    surprise = None
    if is_a(outcome, BaseException) and not issubclass(type(outcome), GiveUp | TryAgain):
        surprise = presentable(outcome)
    _log.log(
        level,
        "event %s (%s), attempt %d: %s; %s",
        claim.id,
        claim.trigger_type,
        claim.attempt,
        verdict.reason,
        "no further attempt" if due is None else f"next attempt at {due.isoformat()}",
        exc_info=surprise,
    )
