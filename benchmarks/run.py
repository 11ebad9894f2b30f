"""Running a backlog: claim, call and report events that are all due."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from benchmarks.bare import Loop, bare_of
from benchmarks.figures import Figure
from benchmarks.instances import Job, perform
from benchmarks.measuring import drafts, plural
from benchmarks.stores import Store
from benchmarks.turns import in_turn
from futurama import Config, Queue

__all__ = ["batch_size", "run_backlog"]

_GOALS = {("memory", 1): ">= 60,000", ("mysql", 1): ">= 18,000", ("mysql", 2): ">= 30,000"}


def run_backlog(
    store: Store, *, processes: int, events: int, loops: Sequence[Loop] = ()
) -> list[Figure]:
    """A backlog with the default configuration, and with these bare loops."""
    rate, bare_rates = _rates(store, events, processes=processes, loops=loops)
    what = f"run, {plural(processes, 'process', 'processes')}"
    figures = [Figure(what, rate, "events/s", _GOALS.get((store.backend, processes), ""))]
    goal_loop = Loop(Config().consumer_select_limit)  # the goal compares equal batches
    for loop, bare_rate in bare_rates.items():
        is_goal = (store.backend, processes, loop) == ("mysql", 1, goal_loop)
        figures += [
            Figure(f"bare {what}, {loop}", bare_rate, "events/s", is_detail=loop.is_detail),
            Figure(
                f"{what} / bare, {loop}",
                rate / bare_rate,
                goal=">= 0.7" if is_goal else "",
                is_detail=loop.is_detail,
            ),
        ]
    return figures


def batch_size(store: Store, *, sizes: Sequence[int], events: int) -> list[Figure]:
    """A backlog with claims of several sizes, and the bare loop in batches of the same size."""
    figures = []
    for size in sizes:
        keys = {"consumer_select_limit": size}
        rate, bare_rates = _rates(store, events, loops=[Loop(size)], keys=keys)
        figures.append(Figure(f"run, claims of {size:,}", rate, "events/s"))
        for loop, bare_rate in bare_rates.items():
            figures += [
                Figure(f"bare run, {loop}", bare_rate, "events/s"),
                Figure(f"run, claims of {size:,} / bare", rate / bare_rate),
            ]
    return figures


def _rates(
    store: Store,
    events: int,
    *,
    processes: int = 1,
    loops: Sequence[Loop],
    keys: Mapping[str, Any] | None = None,
) -> tuple[float, dict[Loop, float]]:
    """Events a second: of the library, and of each bare loop, on copies of the same rows."""
    bare = bare_of(store, connections=processes)
    # Where only one connection can write, a second one has nothing to overlap.
    possible = [loop for loop in loops if not loop.is_overlapped or bare_of(store, connections=2)]
    with Queue(config=store.configured()) as queue:
        queue.create_many(drafts(events, lambda _: timedelta()))
        job = Job(events=events, keys=keys or {})

        def run() -> float:
            return perform(store, job, queue=queue, processes=processes).seconds

        bare_runs = {}
        if bare:
            for number, loop in enumerate(possible):
                bare.copy(table := f"bare_{loop.batch}_{number}")
                bare_runs[loop] = partial(
                    bare.run_seconds, table, events, processes=processes, loop=loop
                )
        seconds, *bare_seconds = in_turn(store, run, *bare_runs.values())
    return events / seconds, {
        loop: events / each for loop, each in zip(bare_runs, bare_seconds, strict=True)
    }
