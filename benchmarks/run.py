"""Running a backlog: claim, call and report events that are all due."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from benchmarks.bare import bare_of
from benchmarks.figures import Figure
from benchmarks.instances import Job, perform
from benchmarks.measuring import drafts, plural
from benchmarks.stores import Store
from futurama import Config, Queue

__all__ = ["batch_size", "run_backlog"]

_GOALS = {("memory", 1): ">= 60,000", ("mysql", 1): ">= 18,000", ("mysql", 2): ">= 30,000"}


def run_backlog(
    store: Store, *, processes: int, events: int, bare_batches: Sequence[int] = ()
) -> list[Figure]:
    """A backlog with the default configuration; and the bare loop in batches of several sizes."""
    rate, bare_rates = _rates(store, events, processes=processes, bare_batches=bare_batches)
    what = f"run, {plural(processes, 'process', 'processes')}"
    figures = [Figure(what, rate, "events/s", _GOALS.get((store.name, processes), ""))]
    for batch, bare_rate in bare_rates.items():
        # The goal compares equal batches.
        is_goal = (store.name, processes, batch) == ("mysql", 1, Config().consumer_select_limit)
        figures += [
            Figure(f"bare {what}, batches of {batch:,}", bare_rate, "events/s"),
            Figure(
                f"{what} / bare, batches of {batch:,}",
                rate / bare_rate,
                goal=">= 0.7" if is_goal else "",
            ),
        ]
    return figures


def batch_size(store: Store, *, sizes: Sequence[int], events: int) -> list[Figure]:
    """A backlog with claims of several sizes, and the bare loop in batches of the same size."""
    figures = []
    for size in sizes:
        keys = {"consumer_select_limit": size}
        rate, bare_rates = _rates(store, events, bare_batches=[size], keys=keys)
        figures.append(Figure(f"run, claims of {size:,}", rate, "events/s"))
        for bare_rate in bare_rates.values():
            figures += [
                Figure(f"bare run, batches of {size:,}", bare_rate, "events/s"),
                Figure(f"run, claims of {size:,} / bare", rate / bare_rate),
            ]
    return figures


def _rates(
    store: Store,
    events: int,
    *,
    processes: int = 1,
    bare_batches: Sequence[int],
    keys: Mapping[str, Any] | None = None,
) -> tuple[float, dict[int, float]]:
    """Events a second: of the library, and of the bare loop by batch size, on the same rows."""
    bare = bare_of(store, connections=processes)
    with Queue(config=store.configured()) as queue:
        queue.create_many(drafts(events, lambda _: timedelta()))
        if bare:
            for batch in bare_batches:
                bare.copy(f"bare_{batch}")
        job = Job(events=events, keys=keys or {})
        seconds = perform(store, job, queue=queue, processes=processes).seconds
    bare_rates = {}
    if bare:
        for batch in bare_batches:
            bare_rates[batch] = events / bare.run_seconds(
                f"bare_{batch}", events, processes=processes, batch=batch
            )
    return events / seconds, bare_rates
