"""What one thread or process does to a store, at random, while others do the same."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final, TypeVar

import attrs

from futurama.backend import (
    Claim,
    ClaimBatch,
    EventBackend,
    IfExists,
    Move,
    NewEvent,
    Query,
    Settlement,
)
from futurama.conformance import patience
from futurama.conformance.failure import LawBroken, where
from futurama.conformance.history import OPEN_END, UNKNOWN, Kind, Step
from futurama.conformance.instance import Waits
from futurama.conformance.pages import all_events
from futurama.conformance.strategies import START
from futurama.errors import BackendUnavailableError, OutcomeUnknownError

__all__ = ["Plan", "read_all", "run_threads", "work"]

T = TypeVar("T")

_ALL = [f"e{number}" for number in range(16)]
"""The ids of the events; few, so that everyone meets on them."""
_REMEMBERED = 8
"""How many claims a worker keeps, so that it also reports and renews stale ones."""
_MOST = 3
"""How many items a batch has at most."""
_LOST = 0.04
"""How many of the replies are lost."""
_NO_ARGUMENTS: Final[dict[str, Any]] = {}


@attrs.frozen(kw_only=True)
class Plan:
    """What all workers of one test do.

    Attributes:
        seed: the same one gives the same calls; how they overlap is another matter.
        weights: how often each operation is called.
        replaces: whether events are overwritten, too. Without, it is known of each dead letter
            how it went, and so how many were purged.
        lease: for how many steps events are claimed; times advance by about a step per call.
        resolution: of the backend.
        calls: how many calls each worker makes,
        seconds: unless that takes so long: then it stops early, and fewer calls overlap.
    """

    seed: str
    weights: Mapping[Kind, int]
    replaces: bool
    lease: int
    resolution: timedelta
    calls: int
    seconds: float


def run_threads(backends: Sequence[EventBackend], plan: Plan) -> list[Step]:
    """Run one worker per backend, each in its thread; the same backend may appear several times.

    Returns:
        What they did, and what was left in the end.

    Raises:
        LawBroken: some call failed or did not return.
    """
    histories = _run([_Worker(backend, plan, n) for n, backend in enumerate(backends)])
    return [step for history in histories for step in history] + read_all(backends[0], histories)


def work(backend: EventBackend, plan: Plan, number: int) -> list[Step]:
    """What one worker does until the plan says to stop; raises like :func:`run_threads`."""
    (history,) = _run([_Worker(backend, plan, number)])
    return history


def _run(workers: Sequence[_Worker]) -> list[list[Step]]:
    errors: list[BaseException] = []
    together = threading.Barrier(len(workers))

    def run(worker: _Worker) -> None:
        try:
            together.wait()
            worker.work()
        except BaseException as error:  # it is raised again below, in the thread that is asked
            errors.append(error)

    # Daemons, so that one that is stuck does not keep the whole process from ending.
    threads = [threading.Thread(target=run, args=(each,), daemon=True) for each in workers]
    for thread in threads:
        thread.start()
    try:
        for thread, worker in zip(threads, workers, strict=True):
            _join(thread, worker, threads)
    finally:
        for worker in workers:
            worker.is_told_to_stop = True
    for error in errors:
        if isinstance(error, Waits | LawBroken):
            raise error
        expected = "every call succeeds, while others call too"
        raise LawBroken("errors", expected=expected, actual=error, raised=where(error)) from error
    return [worker.steps for worker in workers]


def _join(thread: threading.Thread, worker: _Worker, threads: Sequence[threading.Thread]) -> None:
    """Wait until ``worker`` has done its work in ``thread``; give up if one call takes for ever."""
    while thread.is_alive():
        left = worker.call_began + patience.PATIENCE_SECONDS - time.monotonic()
        if left <= 0:
            stacks = {
                patience.stack_of(each.ident or 0): None for each in threads if each.is_alive()
            }
            raise LawBroken(
                "errors",
                expected=f"{worker.operation}() returns, while others call too",
                actual=f"it does not within {patience.PATIENCE_SECONDS:.0f} seconds",
                raised="\n\nand, in another thread, in:\n".join(stacks),
            )
        thread.join(left)


def read_all(backend: EventBackend, histories: Sequence[Sequence[Step]]) -> list[Step]:
    """What is there of every event that was named or is stored, after everyone has stopped."""
    start = time.monotonic_ns()
    found = {event.id: event for event in all_events(backend.find)}
    end = time.monotonic_ns()
    named = {step.event_id for history in histories for step in history}
    return [
        Step(event_id=i, kind=Kind.READ, outcome=found.get(i), start=start, end=end)
        for i in named | found.keys()
    ]


class _Worker:
    """One caller.

    Attributes:
        steps: what it did, event by event.
        operation: which one it called last.
        call_began: when, by the monotonic clock.
        is_told_to_stop: it makes no further call; set by another thread.
    """

    def __init__(self, backend: EventBackend, plan: Plan, number: int) -> None:
        self.steps: list[Step] = []
        self.operation = ""
        self.call_began = time.monotonic()
        self.is_told_to_stop = False
        self._random = Random(f"{plan.seed}.{number}")
        self._backend = backend
        self._plan = plan
        self._name = f"worker{number}"
        self._claims: list[Claim] = []
        self._unanswered: list[Callable[[], None]] = []
        self._calls = 0
        self._of_kind: Mapping[Kind, Callable[[], None]] = {
            Kind.ADD: self._add,
            Kind.CANCEL: self._cancel,
            Kind.RESCHEDULE: self._reschedule,
            Kind.CLAIM: self._claim,
            Kind.RENEW: self._renew,
            Kind.SETTLE: self._settle,
            Kind.REQUEUE: self._requeue,
            Kind.PURGE: self._purge,
            Kind.READ: self._read,
        }

    def work(self) -> None:
        """Make calls until the plan says to stop."""
        deadline = time.monotonic() + self._plan.seconds
        kinds, weights = list(self._plan.weights), list(self._plan.weights.values())
        for _ in range(self._plan.calls):
            if self.is_told_to_stop or time.monotonic() > deadline:
                break
            self._call(self._random.choices(kinds, weights)[0])

    def _call(self, kind: Kind) -> None:
        """Make one call of this kind with random arguments and note what it did.

        Or, now and then, repeat a call whose reply was lost some calls ago.
        """
        self._calls += 1
        if self._unanswered and self._random.random() < 0.5:
            self._unanswered.pop()()
        else:
            self._of_kind[kind]()

    def _add(self) -> None:
        events = [
            NewEvent(
                id=event_id,
                trigger_type="t",
                trigger_time=self._now() + self._random.randrange(3) * self._plan.resolution,
                payload=f"{self._name}.{self._calls}".encode(),  # so that no two adds are repeats
                created=START,
            )
            for event_id in self._ids()
        ]
        choices: Sequence[IfExists] = ("raise", "keep", "keep")
        if self._plan.replaces:
            choices = (*choices, "replace")
        if_exists = self._random.choice(choices)
        arguments = [{"event": event, "if_exists": if_exists} for event in events]
        self._batch(
            Kind.ADD,
            [event.id for event in events],
            arguments,
            lambda: self._backend.add(events, if_exists=if_exists),
        )

    def _cancel(self) -> None:
        ids = self._ids()
        self._batch(Kind.CANCEL, ids, [{} for _ in ids], lambda: self._backend.cancel(ids))

    def _reschedule(self) -> None:
        moves = [Move(id=event_id, trigger_time=self._now()) for event_id in self._ids()]
        self._batch(
            Kind.RESCHEDULE,
            [move.id for move in moves],
            [{"move": move} for move in moves],
            lambda: self._backend.reschedule(moves),
        )

    def _claim(self) -> None:
        now = self._now()
        arguments: dict[str, Any] = {
            "owner": self._name,
            "now": now,
            "due_before": now + self._random.randrange(3) * self._plan.resolution,
            "lease_until": now + self._plan.lease * self._plan.resolution,
        }
        self._make_claim(arguments, self._random.randint(1, _MOST))

    def _make_claim(self, arguments: dict[str, Any], limit: int) -> None:
        start = time.monotonic_ns()
        batch, is_lost = self._reply(lambda: self._backend.claim(**arguments, limit=limit), "claim")
        if batch is None:  # any of them may have been handed out
            self._note_unknown(Kind.CLAIM, _ALL, [arguments] * len(_ALL), start)
        else:
            end = time.monotonic_ns()
            _check_claims(batch, limit)
            ids = [claim.id for claim in batch.claims]
            self._note(Kind.CLAIM, ids, [arguments] * len(ids), batch.claims, start, end=end)
            every, none = [batch.next_due] * len(_ALL), [_NO_ARGUMENTS] * len(_ALL)
            self._note(Kind.NEXT_DUE, _ALL, none, every, start, end=end)
        if batch is None or is_lost:
            self._unanswered.append(lambda: self._make_claim(arguments, limit))
        else:
            self._claims = [*self._claims, *batch.claims][-_REMEMBERED:]

    def _renew(self) -> None:
        claims = self._some_claims()
        until = self._now() + self._plan.lease * self._plan.resolution
        now = self._now()
        self._batch(
            Kind.RENEW,
            [claim.id for claim in claims],
            [{"claim": claim, "now": now, "lease_until": until} for claim in claims],
            lambda: self._backend.renew(claims, now=now, lease_until=until),
        )

    def _settle(self) -> None:
        settlements = [self._settlement(claim) for claim in self._some_claims()]
        now = self._now()
        self._batch(
            Kind.SETTLE,
            [settlement.claim.id for settlement in settlements],
            [{"settlement": settlement, "now": now} for settlement in settlements],
            lambda: self._backend.settle(settlements, now=now),
        )

    def _requeue(self) -> None:
        ids, now = self._ids(), self._now()
        self._batch(
            Kind.REQUEUE,
            ids,
            [{"now": now} for _ in ids],
            lambda: self._backend.requeue(ids, now=now),
        )

    def _purge(self) -> None:
        before = self._now()
        arguments = [{"before": before}] * len(_ALL)
        start = time.monotonic_ns()
        number, _ = self._reply(lambda: self._backend.purge(before=before), "purge")
        if number is None:
            self._note_unknown(Kind.PURGE, _ALL, arguments, start)
        else:
            self._note(Kind.PURGE, _ALL, arguments, [number] * len(_ALL), start)

    def _read(self) -> None:
        """Only whether it works: what is seen while others change it may be of any moment."""
        self._persistently(lambda: self._backend.find(Query(limit=_MOST)), "find")
        self._persistently(self._backend.count, "count")

    def _batch(
        self,
        kind: Kind,
        ids: Sequence[str],
        arguments: Sequence[dict[str, Any]],
        make: Callable[[], Sequence[Any]],
    ) -> None:
        start = time.monotonic_ns()
        outcomes, is_lost = self._reply(make, kind.value)
        if outcomes is None:
            self._note_unknown(kind, ids, arguments, start)
        else:
            self._note(kind, ids, arguments, outcomes, start)
        if is_lost:
            self._unanswered.append(lambda: self._batch(kind, ids, arguments, make))

    def _reply(self, make: Callable[[], T], operation: str) -> tuple[T | None, bool]:
        """Make a call; return the reply, and whether it is lost on the worker.

        If the backend says that it does not know the outcome, nobody does. What is lost by chance
        is lost *after* the call, for of one that never reached the backend it knows nothing; the
        judge is told of it, because it would take too long to guess.
        """
        try:
            reply = self._persistently(make, operation)
        except OutcomeUnknownError:
            return None, True
        return reply, self._random.random() < _LOST

    def _persistently(self, make: Callable[[], T], operation: str) -> T:
        """Repeat a call as long as the backend says that nothing was changed and it makes sense.

        Under contention a right backend may say so, but not for ever.
        """
        self.operation = operation
        deadline = time.monotonic() + patience.PATIENCE_SECONDS
        while True:
            self.call_began = time.monotonic()
            try:
                return make()
            except BackendUnavailableError as error:
                if self.is_told_to_stop or time.monotonic() > deadline:
                    expected = f"{operation}() succeeds in the end"
                    raise LawBroken(
                        "errors", expected=expected, actual=error, raised=where(error)
                    ) from error

    def _note_unknown(
        self, kind: Kind, ids: Sequence[str], arguments: Sequence[dict[str, Any]], start: int
    ) -> None:
        self._note(kind, ids, arguments, [UNKNOWN] * len(ids), start, end=OPEN_END)

    def _note(
        self,
        kind: Kind,
        ids: Sequence[str],
        arguments: Sequence[dict[str, Any]],
        outcomes: Sequence[Any],
        start: int,
        *,
        end: int | None = None,
    ) -> None:
        end = time.monotonic_ns() if end is None else end
        self.steps += [
            Step(
                event_id=event_id,
                kind=kind,
                arguments=arguments,
                outcome=outcome,
                start=start,
                end=end,
                caller=self._name,
            )
            for event_id, arguments, outcome in zip(ids, arguments, outcomes, strict=True)
        ]

    def _ids(self) -> list[str]:
        """Different ones, because the items of a batch are noted as if they were concurrent."""
        return self._random.sample(_ALL, self._random.randint(1, _MOST))

    def _some_claims(self) -> list[Claim]:
        """Recent claims on different events."""
        shuffled = self._random.sample(self._claims, len(self._claims))
        claims = list({claim.id: claim for claim in shuffled}.values())
        return self._random.sample(claims, min(len(claims), self._random.randint(1, _MOST)))

    def _settlement(self, claim: Claim) -> Settlement:
        bury = Settlement.bury(claim, "why")
        reports = [
            Settlement.done(claim),
            Settlement.release(claim),
            Settlement.retry(claim, self._now()),
            bury,
        ]
        if Kind.PURGE in self._plan.weights:
            reports += [bury, bury]  # else there is seldom anything to purge
        return self._random.choice(reports)

    def _now(self) -> datetime:
        """About a step further with every call, but not in step with the other workers."""
        return START + (self._calls + self._random.randrange(3)) * self._plan.resolution


def _check_claims(batch: ClaimBatch, limit: int) -> None:
    """What a single reply to ``claim`` must be, whatever others do meanwhile."""
    positions = [(claim.due, claim.id.encode()) for claim in batch.claims]
    told = [(claim.id, claim.due) for claim in batch.claims]
    while_others_call = ", while others call too"
    if len(told) > limit:
        expected = f"at most {limit} claims{while_others_call}"
        raise LawBroken("claim.limit", expected=expected, actual=told)
    if positions != sorted(positions):
        expected = f"claims by (due, id){while_others_call}"
        raise LawBroken("claim.order", expected=expected, actual=told)
    if len({claim.id for claim in batch.claims}) < len(told):
        expected = f"no event twice in one batch{while_others_call}"
        raise LawBroken("concurrency.exclusive", expected=expected, actual=told)
