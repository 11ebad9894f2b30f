"""Creating events: one call per event, and many at once."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from benchmarks.bare import bare_of
from benchmarks.figures import Figure
from benchmarks.measuring import TYPE, data, drafts, in_threads, plural, timed, verify_count
from benchmarks.stores import Store
from benchmarks.turns import in_turn
from futurama import Queue

__all__ = ["create", "create_many"]

_LATER = timedelta(hours=1)

_ROWS_PER_COMMIT = 1_000
"""What the library writes at once."""


def create(store: Store, *, threads: int, events: int) -> list[Figure]:
    """``create`` called once per event by so many threads, which wait for each; and bare inserts.

    These are made by as many connections, one row a commit; and by one connection which commits as
    many rows as there are threads at once, what the library makes of their calls at best.
    """
    bare_inserts = {}
    with Queue(config=store.configured()) as queue:
        for connections, batch in dict.fromkeys([(threads, 1), (1, threads)]):
            if bare := bare_of(store, connections=connections):
                bare.copy(table := f"bare_{batch}")
                bare_inserts[_bare(connections, batch)] = partial(
                    bare.insert_seconds, table, events, connections=connections, batch=batch
                )

        def produce(index: int) -> None:
            for number in range(index, events, threads):
                queue.create(TYPE, _LATER, data(number))

        def create_all() -> float:
            return timed(lambda: in_threads(threads, produce))

        seconds, *bare_seconds = in_turn(store, create_all, *bare_inserts.values())
        verify_count(queue, waiting=events)
    goal = ">= 8,000" if (store.backend, threads) == ("mysql", 16) else ""
    what = f"create, {plural(threads, 'thread', 'threads')}"
    figures = [Figure(what, events / seconds, "events/s", goal)]
    for name, each in zip(bare_inserts, bare_seconds, strict=True):
        figures += [
            Figure(f"bare inserts, {name}", events / each, "rows/s"),
            Figure(f"{what} / bare, {name}", each / seconds),
        ]
    return figures


def create_many(store: Store, *, events: int) -> list[Figure]:
    """``create_many`` called once, and the same rows inserted bare."""
    bare = bare_of(store)
    with Queue(config=store.configured()) as queue:
        many = drafts(events, lambda _: _LATER)
        works = [lambda: timed(lambda: queue.create_many(many))]
        if bare:
            bare.copy("bare")
            works.append(
                partial(bare.insert_seconds, "bare", events, connections=1, batch=_ROWS_PER_COMMIT)
            )
        seconds, *bare_seconds = in_turn(store, *works)
        verify_count(queue, waiting=events)
    figures = [Figure("create_many", events / seconds, "events/s")]
    for each in bare_seconds:
        goal = ">= 0.9" if store.backend == "mysql" else ""
        figures += [
            Figure(f"bare inserts, {_ROWS_PER_COMMIT:,} rows a commit", events / each, "rows/s"),
            Figure("create_many / bare", each / seconds, "", goal),
        ]
    return figures


def _bare(connections: int, batch: int) -> str:
    """``16 connections, 1 row a commit``."""
    return f"{plural(connections, 'connection', 'connections')}, {plural(batch, 'row', 'rows')} a commit"
