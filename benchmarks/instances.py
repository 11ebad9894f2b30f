"""Instances at work, and what their triggers saw."""

from __future__ import annotations

import gc
import time
from array import array
from collections.abc import Callable, Mapping, MutableSequence, Sequence
from functools import partial
from multiprocessing.sharedctypes import RawArray
from typing import Any, cast

import attrs

from benchmarks.children import Ready, together
from benchmarks.figures import VerificationError
from benchmarks.measuring import (
    DEADLINE_SECONDS,
    TYPE,
    number_of,
    resident_mb,
    verify_count,
)
from benchmarks.stores import Store
from futurama import Config, Event, Queue
from futurama.backend import ClaimBatch, EventBackend
from futurama.times import to_us

__all__ = ["Job", "Outcome", "Record", "Sample", "TimedClaim", "perform"]

_POLL_SECONDS = 0.005
"""How often an instance looks whether all is done; nobody is that quick to notice the end."""

_SAMPLE_SECONDS = 0.1


@attrs.frozen(kw_only=True)
class Job:
    """What instances have to do.

    Attributes:
        events: how many are in the store, or will be; numbered by ``measuring.data``.
        is_timed: record how late each call starts, by the clock of this machine, which is also the
            server's.
        is_sampled: record memory and held events all the while.
        has_timed_claims: record how long each claim takes; not for ``memory``.
        sleep_seconds: how long each call takes.
        deadline_seconds: what is not called by then counts as lost.
        keys: the configuration, beside what leads to the store.
    """

    events: int
    is_timed: bool = False
    is_sampled: bool = False
    has_timed_claims: bool = False
    sleep_seconds: float = 0.0
    deadline_seconds: float = DEADLINE_SECONDS
    keys: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class Sample:
    """What an instance looked like at one moment."""

    resident_mb: float
    held: int


@attrs.frozen
class TimedClaim:
    """When a claim began, in microseconds since 1970, and how long it took."""

    at_us: int
    took_us: int


@attrs.define
class Record:
    """What one instance saw.

    Attributes:
        numbers: of the events, in the order of the calls.
        late_us: by number: how late the call was.
        samples, claims: in the order of time.
        ended_us: when the last call had been reported, in microseconds since 1970.
    """

    numbers: array[int]
    late_us: array[int]
    samples: list[Sample] = attrs.field(factory=list)
    claims: list[TimedClaim] = attrs.field(factory=list)
    ended_us: int = 0

    @classmethod
    def of(cls, job: Job) -> Record:
        """An empty one. Its size does not depend on what will be recorded, but for ``numbers``."""
        return cls(array("i"), array("q", bytes(8 * job.events)))


@attrs.frozen
class Outcome:
    """What became of a job.

    Attributes:
        seconds: from the start to the last report.
        records: what each instance saw.
        beside: what the works beside them returned.
    """

    seconds: float
    records: Sequence[Record]
    beside: Sequence[Any]


def perform(
    store: Store,
    job: Job,
    *,
    queue: Queue,
    processes: int = 1,
    beside: Sequence[Callable[[Ready], Any]] = (),
) -> Outcome:
    """Let instances call all events of the store: in new processes, or in this one for ``memory``.

    Args:
        store: where the events are.
        job: what there is to do.
        queue: the one that created the events, or a mere observer.
        processes: how many instances.
        beside: what else to do at the same time in a process of its own, as for ``together``.

    Raises:
        VerificationError: an event was not called, called twice, or is left in the store; or it was
            called early, which only a job that is timed can tell.
    """
    if store.name == "memory":
        start = time.perf_counter()
        record = _work(
            _begin_at_once,
            config=store.config,
            job=job,
            done=[0],
            index=0,
            backend=queue.backend,
        )
        outcome = Outcome(time.perf_counter() - start, [record], [])
    else:
        done = RawArray("q", processes)  # one counter for each process, which all of them see
        instances = [
            partial(_work, config=dict(store.config), job=job, done=done, index=index)
            for index in range(processes)
        ]
        seconds, results = together([*instances, *beside])
        outcome = Outcome(seconds, results[:processes], results[processes:])
    _verify(job, outcome.records)
    verify_count(queue, waiting=0)
    return outcome


def _begin_at_once() -> None:
    pass


def _work(
    ready: Ready,
    *,
    config: Mapping[str, Any],
    job: Job,
    done: MutableSequence[int],
    index: int,
    backend: EventBackend | None = None,
) -> Record:
    """One instance, until all instances together have made as many calls as there are events."""
    record = Record.of(job)
    keys = Config(**{**config, **job.keys})
    has_own_process = backend is None
    if job.has_timed_claims:
        backend = cast(EventBackend, _TimedClaims(keys.make_backend(), record.claims))
    queue = Queue({TYPE: _trigger(job, record)}, keys, backend=backend)
    _ = queue.backend  # connects
    if has_own_process:  # then as `futurama run` does
        gc.collect()
        gc.freeze()
    ready()
    with queue:
        _wait(queue, job, record, done, index)
    record.ended_us = time.time_ns() // 1000
    return record


def _wait(queue: Queue, job: Job, record: Record, done: MutableSequence[int], index: int) -> None:
    deadline = time.monotonic() + job.deadline_seconds
    next_sample = time.monotonic() if job.is_sampled else deadline
    while sum(done) < job.events and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        done[index] = len(record.numbers)
        if time.monotonic() > next_sample:
            record.samples.append(Sample(resident_mb(), queue.stats()["held"]))
            next_sample += _SAMPLE_SECONDS


def _trigger(job: Job, record: Record) -> Callable[[Event], None]:
    count, late_us = record.numbers.append, record.late_us

    def counted(event: Event) -> None:
        count(number_of(event))

    def clocked(event: Event) -> None:
        late = time.time_ns() // 1000 - to_us(event.trigger_time)
        number = number_of(event)
        late_us[number] = late
        count(number)

    def slow(event: Event) -> None:
        clocked(event)
        time.sleep(job.sleep_seconds)

    if job.sleep_seconds:
        return slow
    return clocked if job.is_timed else counted


def _verify(job: Job, records: Sequence[Record]) -> None:
    calls = sum(len(record.numbers) for record in records)
    called = set().union(*(record.numbers for record in records))
    if not calls == len(called) == job.events:
        raise VerificationError(f"{len(called)} of {job.events} events called, {calls} calls")
    earliest_us = min(min(record.late_us) for record in records)
    if earliest_us < 0:
        raise VerificationError(f"called {-earliest_us} us early")


class _TimedClaims:
    """A backend, and a record of its claims."""

    def __init__(self, backend: EventBackend, claims: list[TimedClaim]) -> None:
        self._backend = backend
        self._claims = claims

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def claim(self, **arguments: Any) -> ClaimBatch:
        """See :meth:`futurama.backend.EventBackend.claim`."""
        at_us, start = time.time_ns() // 1000, time.perf_counter_ns()
        batch = self._backend.claim(**arguments)
        self._claims.append(TimedClaim(at_us, (time.perf_counter_ns() - start) // 1000))
        return batch
