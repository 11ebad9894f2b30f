"""Creating events: one call per event, and many at once."""

from __future__ import annotations

from datetime import timedelta

from benchmarks.bare import bare_of
from benchmarks.figures import Figure
from benchmarks.measuring import TYPE, data, drafts, in_threads, plural, timed, verify_count
from benchmarks.stores import Store
from futurama import Queue

__all__ = ["create", "create_many"]

_LATER = timedelta(hours=1)

_ROWS_PER_COMMIT = 1_000
"""What the library writes at once."""


def create(store: Store, *, threads: int, events: int) -> list[Figure]:
    """``create`` called once per event by so many threads, which wait for each; and bare inserts."""
    with Queue(config=store.configured()) as queue:

        def produce(index: int) -> None:
            for number in range(index, events, threads):
                queue.create(TYPE, _LATER, data(number))

        rate = events / timed(lambda: in_threads(threads, produce))
        verify_count(queue, waiting=events)
    goal = ">= 8,000" if (store.name, threads) == ("mysql", 16) else ""
    what = f"create, {plural(threads, 'thread', 'threads')}"
    figures = [Figure(what, rate, "events/s", goal)]
    if bare := bare_of(store, connections=threads):
        bare.copy("bare")
        seconds = bare.insert_seconds("bare", events, connections=threads, batch=1)
        figures += [
            Figure(
                f"bare inserts, {plural(threads, 'connection', 'connections')}",
                events / seconds,
                "rows/s",
            ),
            Figure(f"{what} / bare", rate * seconds / events),
        ]
    return figures


def create_many(store: Store, *, events: int) -> list[Figure]:
    """``create_many`` called once, and the same rows inserted bare."""
    with Queue(config=store.configured()) as queue:
        many = drafts(events, lambda _: _LATER)
        rate = events / timed(lambda: queue.create_many(many))
        verify_count(queue, waiting=events)
    figures = [Figure("create_many", rate, "events/s")]
    if bare := bare_of(store):
        bare.copy("bare")
        seconds = bare.insert_seconds("bare", events, connections=1, batch=_ROWS_PER_COMMIT)
        figures += [
            Figure(f"bare inserts, {_ROWS_PER_COMMIT:,} rows a commit", events / seconds, "rows/s"),
            Figure(
                "create_many / bare",
                rate * seconds / events,
                "",
                ">= 0.9" if store.name == "mysql" else "",
            ),
        ]
    return figures
