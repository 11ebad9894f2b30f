"""Benchmarks notice when what they measure did not happen as it should."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from datetime import timedelta

import pytest

from benchmarks import overload
from benchmarks.children import Ready, alone, together
from benchmarks.figures import VerificationError
from benchmarks.instances import Job, Record, Sample, perform
from benchmarks.measuring import TYPE, data, in_threads
from benchmarks.stores import STORES, Store
from futurama import Queue


@pytest.fixture
def store() -> Iterator[Store]:
    """The memory of this process."""
    with STORES["memory"]() as new_store:
        yield new_store()


@pytest.fixture
def queue(store: Store) -> Iterator[Queue]:
    """For creating events."""
    with Queue(config=store.configured()) as queue:
        yield queue


def create(queue: Queue, *numbers: int, after: timedelta = timedelta()) -> None:
    """Create events with these numbers."""
    queue.create_many([(TYPE, after, data(number)) for number in numbers])


def test_all_called_once(store: Store, queue: Queue) -> None:
    """If all is well, every event is in the record of some instance."""
    create(queue, 0, 1, 2)
    (record,) = perform(store, Job(events=3, is_timed=True), queue=queue).records
    assert sorted(record.numbers) == [0, 1, 2]


def test_lost_events_are_noticed(store: Store, queue: Queue) -> None:
    """An event that is never called is missed, in the end."""
    create(queue, 0, 1)
    with pytest.raises(VerificationError, match="2 of 3 events called, 2 calls"):
        perform(store, Job(events=3, deadline_seconds=0.2), queue=queue)


def test_second_calls_are_noticed(store: Store, queue: Queue) -> None:
    """An event that is called twice does not stand for another."""
    create(queue, 0, 1, 1)
    with pytest.raises(VerificationError, match="2 of 3 events called, 3 calls"):
        perform(store, Job(events=3), queue=queue)


def test_leftovers_are_noticed(store: Store, queue: Queue) -> None:
    """In the end the store has to be empty."""
    create(queue, 0)
    create(queue, 1, after=timedelta(hours=1))
    with pytest.raises(VerificationError, match="'waiting': 1"):
        perform(store, Job(events=1), queue=queue)


def test_early_calls_are_noticed(
    store: Store, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call before its time, by a clock that is not the library's, is a fault."""
    monkeypatch.setattr("benchmarks.instances.time.time_ns", lambda: 0)
    create(queue, 0)
    with pytest.raises(VerificationError, match="us early"):
        perform(store, Job(events=1, is_timed=True), queue=queue)


@pytest.mark.parametrize(("held", "resident_mb"), [(11, 50.0), (10, 500.0)])
def test_unbounded_growth_is_noticed(held: int, resident_mb: float) -> None:
    """An overloaded instance may neither hold more events nor more memory than its bound allows."""
    samples = [Sample(40.0, 0), Sample(resident_mb, held)]
    with pytest.raises(VerificationError):
        overload.bounded(Record(array("i"), array("q"), samples), 10)


def test_overload_ends_well(store: Store) -> None:
    """The overload benchmark itself works where there is none."""
    figures = overload.overload(store, rate=100, seconds=0.2)
    assert {figure.unit for figure in figures} == {"events/s", "ms", "s", "events", "MB"}


def test_processes_answer() -> None:
    """What a function returns in another process is returned here."""
    assert alone(_own_id) != os.getpid()


def test_processes_that_fail_are_noticed(capfd: pytest.CaptureFixture[str]) -> None:
    """An exception in another process ends the benchmark, and can be read."""
    with pytest.raises(VerificationError, match="a process failed"):
        together([_own_id, _failing])
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_processes_that_hang_are_ended() -> None:
    """What is not done in time is ended."""
    with pytest.raises(VerificationError, match="not done in time"):
        together([_hanging], timeout=0.1)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_threads_that_fail_are_noticed() -> None:
    """An exception in one of several threads ends the benchmark."""
    with pytest.raises(VerificationError, match="1 of 3 threads failed"):
        in_threads(3, lambda index: 1 // index)


def _own_id(ready: Ready) -> int:
    ready()
    return os.getpid()


def _failing(ready: Ready) -> float:
    ready()
    return 1 / 0


def _hanging(ready: Ready) -> None:
    ready()
    ready()
