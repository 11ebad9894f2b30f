"""Cancelling events, one call per event."""

from __future__ import annotations

from datetime import timedelta

from benchmarks.bare import bare_of
from benchmarks.figures import Figure, VerificationError
from benchmarks.measuring import drafts, in_threads, plural, timed, verify_count
from benchmarks.stores import Store
from futurama import CancelOutcome, Queue

__all__ = ["cancel"]


def cancel(store: Store, *, threads: int, events: int) -> list[Figure]:
    """``cancel`` called once per event by so many threads, which wait for each; and bare deletes."""
    with Queue(config=store.configured()) as queue:
        ids = queue.create_many(drafts(events, lambda _: timedelta(hours=1)))
        bare = bare_of(store, connections=threads)
        if bare:
            bare.copy("bare")

        def cancel_share(index: int) -> None:
            for event_id in ids[index::threads]:
                outcome = queue.cancel(event_id)
                if outcome is not CancelOutcome.CANCELLED:
                    raise VerificationError(f"cancelling a waiting event answered {outcome}")

        rate = events / timed(lambda: in_threads(threads, cancel_share))
        verify_count(queue, waiting=0)
    what = f"cancel, {plural(threads, 'thread', 'threads')}"
    figures = [Figure(what, rate, "events/s")]
    if bare:
        seconds = bare.delete_seconds("bare", ids, connections=threads)
        figures += [
            Figure(
                f"bare deletes, {plural(threads, 'connection', 'connections')}",
                events / seconds,
                "rows/s",
            ),
            Figure(f"{what} / bare", rate * seconds / events),
        ]
    return figures
