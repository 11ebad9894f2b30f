"""Schedulers and backends that break a promise, for the simulation to find.

Each is wrong in one way that looks reasonable in a review. A backend is wrong as its instances see it;
a part of the core is patched while the simulation runs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from enum import Enum
from typing import Any
from unittest import mock

import attrs

from futurama import queue
from futurama.backend import (
    AddOutcome,
    Claim,
    ClaimBatch,
    IfExists,
    NewEvent,
    Settlement,
    SettlementKind,
)
from futurama.backends.memory import MemoryBackend
from futurama.calls import Caller
from futurama.clock import BackendClock
from futurama.conformance.promises import Promise
from futurama.errors import (
    BackendError,
    BackendRejectedError,
    BackendUnavailableError,
    EventsLockedError,
    OutcomeUnknownError,
)
from futurama.events import CancelOutcome, RescheduleOutcome
from futurama.held import Held, HeldClaims, Phase
from futurama.reports import Report, Reporter
from futurama.scheduler import Ended, Scheduler
from futurama.times import from_us
from tests.simulation.faults import LEASE_US, FaultyBackend, unavailable

__all__ = ["MUTANTS", "Mutant"]


@attrs.frozen(kw_only=True)
class Mutant:
    """One way to be wrong.

    Attributes:
        name: in words.
        breaks: what it may be seen to break.
        backend: where events wait.
        connection: through which instances see it.
        patched: while this is open, the core is wrong.
    """

    name: str
    breaks: frozenset[Promise]
    backend: type[MemoryBackend] = MemoryBackend
    connection: type[FaultyBackend] = FaultyBackend
    patched: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext


MUTANTS: list[Mutant] = []
"""All of them."""


def _backend(*breaks: Promise) -> Callable[[type[MemoryBackend]], type[MemoryBackend]]:
    def register(cls: type[MemoryBackend]) -> type[MemoryBackend]:
        MUTANTS.append(Mutant(name=cls.__name__, breaks=frozenset(breaks), backend=cls))
        return cls

    return register


def _connection(*breaks: Promise) -> Callable[[type[FaultyBackend]], type[FaultyBackend]]:
    def register(cls: type[FaultyBackend]) -> type[FaultyBackend]:
        MUTANTS.append(Mutant(name=cls.__name__, breaks=frozenset(breaks), connection=cls))
        return cls

    return register


def _method(target: type, *breaks: Promise) -> Callable[[Any], Any]:
    """What replaces the method of its own name; it is given the right one first."""

    def register(wrong: Callable[..., Any]) -> Callable[..., Any]:
        method = wrong.__name__.partition("__")[0]
        right = getattr(target, method)

        def replacement(self: Any, *args: Any, **kwargs: Any) -> Any:
            return wrong(right, self, *args, **kwargs)

        MUTANTS.append(
            Mutant(
                name=f"{target.__name__}.{wrong.__name__}",
                breaks=frozenset(breaks),
                patched=lambda: mock.patch.object(target, method, replacement),
            )
        )
        return wrong

    return register


# -- backends -----------------------------------------------------------------------------------


@_backend(Promise.BACKEND)
class NoFence(MemoryBackend):
    """Whoever reports is believed."""

    def _settle(self, settlement: Settlement, now: datetime) -> bool:
        row = self._rows.get(settlement.claim.id)
        if row is None or row.token is None:
            return False
        claim = attrs.evolve(settlement.claim, token=row.token)
        return super()._settle(
            attrs.evolve(settlement, claim=claim), datetime.min.replace(tzinfo=now.tzinfo)
        )


@_backend(Promise.BACKEND)
class FencesByOwner(MemoryBackend):
    """Whether it is claimed is asked, but not under which token."""

    def _settle(self, settlement: Settlement, now: datetime) -> bool:
        row = self._rows.get(settlement.claim.id)
        if row is None or row.token is None:
            return False
        claim = attrs.evolve(settlement.claim, token=row.token)
        return super()._settle(attrs.evolve(settlement, claim=claim), now)


@_backend(Promise.BACKEND)
class RevivesLostClaims(MemoryBackend):
    """Whoever renews has the claim again, even if its lease had ended."""

    def _renew(self, claim: Claim, now: datetime, lease_until: datetime) -> bool:
        row = self._rows.get(claim.id)
        if row is None or row.entry is None:
            return False
        row.token = claim.token
        self._enqueue(row, lease_until)
        return True


@_backend(Promise.BACKEND)
class ClaimsTwice(MemoryBackend):
    """The look-ahead is applied to leases, too: they end early for whoever looks ahead."""

    def claim(self, *, now: datetime, due_before: datetime, **rest: Any) -> ClaimBatch:
        return super().claim(now=max(now, due_before), due_before=due_before, **rest)


@_backend(Promise.BACKEND)
class DeliversTwice(MemoryBackend):
    """A batch that was handed out is handed out to the next one who asks, too."""

    _last: Sequence[Claim] = ()

    def claim(self, **arguments: Any) -> ClaimBatch:
        batch = super().claim(**arguments)
        claims, self._last = [*batch.claims, *self._last], batch.claims
        return attrs.evolve(batch, claims=claims)


@_backend(Promise.BACKEND, Promise.CANCEL)
class CancelsClaimed(MemoryBackend):
    """Whether an event is claimed does not matter to cancel."""

    def _cancel(self, event_id: str) -> CancelOutcome:
        outcome = super()._cancel(event_id)
        return CancelOutcome.CANCELLED if outcome is CancelOutcome.IN_FLIGHT else outcome


@_backend(Promise.BACKEND, Promise.CANCEL)
class MovesClaimed(MemoryBackend):
    """Whether an event is claimed does not matter to reschedule."""

    def _reschedule(self, move: Any) -> RescheduleOutcome:
        outcome = super()._reschedule(move)
        in_flight = outcome is RescheduleOutcome.IN_FLIGHT
        return RescheduleOutcome.RESCHEDULED if in_flight else outcome


@_backend(Promise.BACKEND, Promise.CANCEL)
class ForgetsLostClaims(MemoryBackend):
    """An event that waits again is as good as new."""

    def claim(self, **arguments: Any) -> ClaimBatch:
        batch = super().claim(**arguments)
        for claim in batch.claims:
            self._rows[claim.id].lost = False
        return attrs.evolve(
            batch, claims=[attrs.evolve(claim, lost_before=False) for claim in batch.claims]
        )


@_backend(Promise.BACKEND, Promise.ATTEMPT)
class RetriesFromTheStart(MemoryBackend):
    """A retry forgets how many attempts there were."""

    def _settle(self, settlement: Settlement, now: datetime) -> bool:
        is_ours = super()._settle(settlement, now)
        if is_ours and settlement.kind is SettlementKind.RETRY:
            self._rows[settlement.claim.id].attempt = 0
        return is_ours


@_backend(Promise.BACKEND, Promise.ATTEMPT)
class ChargesReleases(MemoryBackend):
    """What was claimed and not called counts as an attempt."""

    def _settle(self, settlement: Settlement, now: datetime) -> bool:
        is_ours = super()._settle(settlement, now)
        if is_ours and settlement.kind is SettlementKind.RELEASE:
            self._rows[settlement.claim.id].attempt += 1
        return is_ours


@_backend(Promise.BACKEND, Promise.LOST, Promise.DROPPED)
class BuriesWithoutAGrave(MemoryBackend):
    """Dead letters are removed."""

    def _settle(self, settlement: Settlement, now: datetime) -> bool:
        if settlement.kind is SettlementKind.BURY:
            settlement = Settlement.done(settlement.claim)
        return super()._settle(settlement, now)


# -- connections --------------------------------------------------------------------------------


@_connection(Promise.BACKEND, Promise.FENCE)
class SwallowsErrorsOfReports(FaultyBackend):
    """An error at COMMIT is taken for success; nothing was reported."""

    def settle(self, settlements: Sequence[Settlement], *, now: datetime) -> Sequence[bool]:
        try:
            return super().settle(settlements, now=now)
        except BackendUnavailableError:
            return [True] * len(settlements)


@_connection(Promise.BACKEND, Promise.LOST)
class SwallowsErrorsOfStoring(FaultyBackend):
    """An error at COMMIT is taken for success; nothing was stored."""

    def add(self, events: Sequence[NewEvent], *, if_exists: IfExists) -> Sequence[AddOutcome]:
        try:
            return super().add(events, if_exists=if_exists)
        except BackendUnavailableError:
            return [AddOutcome.ADDED] * len(events)


@_connection(Promise.BACKEND, Promise.PHANTOM)
class DeniesWhatHappened(FaultyBackend):
    """A lost answer is said to mean that nothing was changed."""

    def _unknown(self) -> BackendError:
        return unavailable()


# -- the instance -------------------------------------------------------------------------------


@_method(HeldClaims, Promise.CLAIM)
def add__counts_the_lease_from_the_answer(
    right: Callable[..., Any], self: HeldClaims, claims: Any, *, lease_end_us: int
) -> Any:
    """Instead of from before the question."""
    return right(self, claims, lease_end_us=self._monotonic_us() + LEASE_US)


@_method(HeldClaims, Promise.CLAIM)
def _start__after_the_end_of_the_lease(
    right: Callable[..., bool], self: HeldClaims, held: Held, timer_us: int
) -> bool:
    """Whatever is held is called."""
    held.phase = Phase.STARTED
    return True


@_method(HeldClaims, Promise.STUCK)
def renewed__never_resumes(
    right: Callable[..., None], self: HeldClaims, held: Held, *, lease_end_us: int
) -> None:
    """What was parked is renewed and never called."""
    held.lease_end_us = lease_end_us


@_method(HeldClaims, Promise.CANCEL, Promise.FENCE)
def withdraw__of_a_call_under_way(
    right: Callable[..., Held | None], self: HeldClaims, event_id: str
) -> Held | None:
    """Whatever is held can be withdrawn, and twice."""
    held = self._by_id.get(event_id)
    if held is not None:
        held.phase = Phase.WITHDRAWN
    return held


@_method(HeldClaims, Promise.ATTEMPT)
def withdraw_all__forgets(right: Callable[..., Sequence[Held]], self: HeldClaims) -> Sequence[Held]:
    """What a stopped instance held is not given back."""
    self.forget(right(self))
    return []


@_method(HeldClaims, Promise.EARLY)
def _push__calls_early(right: Callable[..., None], self: HeldClaims, held: Held) -> None:
    """What was claimed ahead of its time is called ahead of its time."""
    held.due_us -= 50_000
    right(self, held)


@_method(Reporter, Promise.ATTEMPT, Promise.REPEAT, Promise.CLAIM)
def _keep__calls_again(
    right: Callable[..., None], self: Reporter, batch: Sequence[Report], error: Exception
) -> None:
    """If nobody knows whether it was reported, the call is simply made again."""
    if not isinstance(error, OutcomeUnknownError):
        right(self, batch, error)
        return
    for report in batch:
        report.held.phase = Phase.PARKED


@_method(Reporter, Promise.REPEAT)
def _keep__drops(
    right: Callable[..., None], self: Reporter, batch: Sequence[Report], error: Exception
) -> None:
    """A report that failed once is dropped."""
    self.lose([report.held for report in batch])


@_method(Reporter, Promise.REPEAT, Promise.ATTEMPT)
def _write__of_a_refused_report_loses_the_batch(
    right: Callable[..., Any], self: Reporter, batch: Sequence[Report]
) -> Any:
    """What is refused with one report is refused for each of its neighbours, too."""
    settle = self._backend.settle
    refusals: list[BackendRejectedError] = []

    def settle_all_or_none(settlements: Sequence[Settlement], *, now: datetime) -> Sequence[bool]:
        if refusals:
            raise refusals[0]
        try:
            return settle(settlements, now=now)
        except BackendRejectedError as refusal:
            refusals.append(refusal)
            raise

    with mock.patch.object(self._backend, "settle", settle_all_or_none):
        return right(self, batch)


@_method(Reporter, Promise.STUCK)
def _has_some__does_not_wait(right: Callable[..., Any], self: Reporter) -> bool:
    """What another thread fails to write is tried again with the next report, whenever that comes."""
    return bool(self._pending)


@_method(EventsLockedError, Promise.REPEAT, Promise.ATTEMPT, Promise.STUCK)
def split__not(
    right: Callable[..., Any], self: EventsLockedError, items: Sequence[Any]
) -> tuple[Sequence[Any], Sequence[Any]]:
    """If one event of a batch is locked, the whole batch counts as locked."""
    return items, []


@_method(Caller, Promise.FENCE)
def perform__reports_first(right: Callable[..., Any], self: Caller, held: Held) -> Any:
    """What is about to be called is reported as done, at most once instead of at least once."""
    self._report(Report(held, Settlement.done(held.claim), "succeeded"))
    return right(self, held)


@_method(BackendClock, Promise.EARLY, Promise.CLAIM)
def at__by_the_local_clock(right: Callable[..., int], self: BackendClock, monotonic_us: int) -> int:
    """The clock of this machine is good enough."""
    return self._wall_us() - self._monotonic_us() + monotonic_us


@_method(BackendClock, Promise.EARLY)
def _read__as_of_the_question(
    right: Callable[..., tuple[int, int, int]], self: BackendClock
) -> tuple[int, int, int]:
    """The answer is assumed to have been true when it was asked for."""
    round_trip_us, offset_us, skew_us = right(self)
    return round_trip_us, offset_us + round_trip_us, skew_us


@_method(Scheduler, Promise.REPEAT)
def stop__does_not_wait(right: Callable[..., bool], self: Scheduler, timeout: float) -> bool:
    """What still runs when an instance is to stop is cut short."""
    with (
        mock.patch.object(self._workers, "join", return_value=True),
        mock.patch.object(self._coroutines, "join", return_value=True),
    ):
        return right(self, timeout)


@_method(Scheduler, Promise.REPEAT, Promise.ATTEMPT)
def renew_step__forgets(right: Callable[..., float], self: Scheduler) -> float:
    """If a renewal fails, what is held is given up."""
    before = self._renew_health._failures
    pause = right(self)
    if self._renew_health._failures > before:
        self._held.forget(list(self._held._by_id.values()))
    return pause


@_method(Scheduler, Promise.CANCEL)
def end_uncalled__goes_on(
    right: Callable[..., Ended | None], self: Scheduler, event_id: str, settlement: Any
) -> Ended | None:
    """What was cancelled stays in the heap."""
    held = self._held._by_id.get(event_id)
    if held is None or not held.is_callable:
        return None
    return Ended(self._withdrawn.call(settlement(held.claim)), is_in_doubt=False)


@_method(Scheduler, Promise.BACKEND, Promise.CLAIM, Promise.REPEAT)
def claim_step__by_the_local_clock(right: Callable[..., float], self: Scheduler) -> float:
    """Whose lease has ended is decided by the clock of this machine."""
    wall = from_us(self._runtime.wall_us())
    with mock.patch.object(self._clock, "now", return_value=wall):
        return right(self)


@_method(queue.Queue, Promise.CANCEL)
def cancel__without_looking(
    right: Callable[..., CancelOutcome], self: queue.Queue, event_id: str
) -> CancelOutcome:
    """What could not be found has ended, so nothing can be in flight."""
    outcome = right(self, event_id)
    in_flight = outcome is CancelOutcome.IN_FLIGHT
    return CancelOutcome.CANCELLED if in_flight else outcome


def _tells(operation: str, truth: Enum, lie: Enum) -> Mutant:
    """One answer of the backend is passed on as another."""
    right = getattr(queue.Queue, operation)

    def told(self: queue.Queue, *args: Any) -> Any:
        outcome = right(self, *args)
        return lie if outcome is truth else outcome

    return Mutant(
        name=f"Queue.{operation}__tells_{truth.name}_as_{lie.name}",
        breaks=frozenset({Promise.CANCEL}),
        patched=lambda: mock.patch.object(queue.Queue, operation, told),
    )


MUTANTS += [
    _tells("cancel", CancelOutcome.CANCELLED, CancelOutcome.IN_FLIGHT),
    _tells("cancel", CancelOutcome.NOT_FOUND, CancelOutcome.IN_FLIGHT),
    _tells("cancel", CancelOutcome.NOT_FOUND, CancelOutcome.CANCELLED),
    _tells("reschedule", RescheduleOutcome.IN_FLIGHT, RescheduleOutcome.NOT_FOUND),
    _tells("reschedule", RescheduleOutcome.NOT_FOUND, RescheduleOutcome.RESCHEDULED),
    _tells("reschedule", RescheduleOutcome.NOT_FOUND, RescheduleOutcome.IN_FLIGHT),
    _tells("reschedule", RescheduleOutcome.RESCHEDULED, RescheduleOutcome.NOT_FOUND),
    _tells("reschedule", RescheduleOutcome.RESCHEDULED, RescheduleOutcome.IN_FLIGHT),
]
