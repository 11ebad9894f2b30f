"""Cancelling events, one call per event."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from benchmarks.bare import bare_of
from benchmarks.figures import Figure, VerificationError
from benchmarks.measuring import drafts, in_threads, plural, timed, verify_count
from benchmarks.stores import Store
from benchmarks.turns import in_turn
from futurama import CancelOutcome, Queue

__all__ = ["cancel"]


def cancel(store: Store, *, threads: int, events: int) -> list[Figure]:
    """``cancel`` called once per event by so many threads, which wait for each; and bare deletes."""
    bare = bare_of(store, connections=threads)
    with Queue(config=store.configured()) as queue:
        ids = queue.create_many(drafts(events, lambda _: timedelta(hours=1)))

        def cancel_share(index: int) -> None:
            for event_id in ids[index::threads]:
                outcome = queue.cancel(event_id)
                if outcome is not CancelOutcome.CANCELLED:
                    raise VerificationError(f"cancelling a waiting event answered {outcome}")

        works = [lambda: timed(lambda: in_threads(threads, cancel_share))]
        if bare:
            bare.copy("bare")
            works.append(partial(bare.delete_seconds, "bare", ids, connections=threads))
        seconds, *bare_seconds = in_turn(store, *works)
        verify_count(queue, waiting=0)
    what = f"cancel, {plural(threads, 'thread', 'threads')}"
    figures = [Figure(what, events / seconds, "events/s")]
    for each in bare_seconds:
        connections = plural(threads, "connection", "connections")
        figures += [
            Figure(f"bare deletes, {connections}", events / each, "rows/s"),
            Figure(f"{what} / bare", each / seconds),
        ]
    return figures
