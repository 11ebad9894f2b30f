"""More than an instance can do: lateness grows, memory does not, and in the end all is done."""

from __future__ import annotations

import statistics
from datetime import timedelta

from benchmarks.figures import Figure, VerificationError
from benchmarks.instances import Job, Record, perform
from benchmarks.lateness import create_on_time
from benchmarks.stores import Store
from futurama import Queue
from futurama.times import to_us

__all__ = ["bounded", "overload", "slow_triggers"]

_MB_PER_HELD_EVENT = 0.005
"""What one more held event may cost, generously: claim, payload, heap entries and report."""

_SLACK_MB = 20.0
"""What an instance grows by when it begins to work: pools, threads, caches."""


def overload(store: Store, *, rate: int, seconds: float) -> list[Figure]:
    """``rate`` events a second are due, with triggers that do nothing."""
    job = Job(events=int(rate * seconds), is_timed=True, is_sampled=True)
    return _offered(store, f"overload of {rate:,}/s", rate, job)


def slow_triggers(
    store: Store, *, rate: int, seconds: float, sleep_seconds: float, max_scheduled_events: int
) -> list[Figure]:
    """``rate`` events a second are due, with triggers that block the pool of threads."""
    job = Job(
        events=int(rate * seconds),
        is_timed=True,
        is_sampled=True,
        sleep_seconds=sleep_seconds,
        keys={"max_scheduled_events": max_scheduled_events},
    )
    return _offered(store, f"{rate:,}/s of {sleep_seconds:g} s each", rate, job)


def _offered(store: Store, what: str, rate: int, job: Job) -> list[Figure]:
    with Queue(config=store.configured()) as queue:
        begin = create_on_time(store, queue, rate=rate, events=job.events)
        (record,) = perform(store, job, queue=queue).records
    max_held = store.configured(**job.keys).max_scheduled_events
    held, grown_mb = bounded(record, max_held)
    last_us = to_us(begin + timedelta(seconds=(job.events - 1) / rate))
    return [
        Figure(f"{what}: done", job.events / (record.ended_us - to_us(begin)) * 1e6, "events/s"),
        Figure(f"{what}: lateness in the first second, median", _median_ms(record, 0, rate), "ms"),
        Figure(
            f"{what}: lateness in the last second, median", _median_ms(record, -rate, None), "ms"
        ),
        Figure(f"{what}: all done after the last was due", (record.ended_us - last_us) / 1e6, "s"),
        Figure(f"{what}: events held, most", held, "events", f"<= {max_held:,}"),
        Figure(f"{what}: memory grew by", grown_mb, "MB"),
    ]


def bounded(record: Record, max_held: int) -> tuple[int, float]:
    """The most events that were held, and by how many MB the process grew.

    Raises:
        VerificationError: more than ``max_held``, or more than so many events can be the reason of.
    """
    held = max(sample.held for sample in record.samples)
    resident = [sample.resident_mb for sample in record.samples]
    grown_mb = max(resident) - resident[0]
    if held > max_held:
        raise VerificationError(f"{held} events were held, {max_held} are allowed")
    if grown_mb > _SLACK_MB + _MB_PER_HELD_EVENT * max_held:
        raise VerificationError(f"the process grew by {grown_mb:.0f} MB")
    return held, grown_mb


def _median_ms(record: Record, first: int, last: int | None) -> float:
    return statistics.median(record.late_us[first:last]) / 1000
