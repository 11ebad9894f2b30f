"""Measuring one thing after the other so that the order favours none."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.stores import Store

__all__ = ["in_turn"]


def in_turn(store: Store, *works: Callable[[], float]) -> list[float]:
    """What each of these returns, called one after the other.

    They are called in the order given in odd runs, and from the last to the first in even ones;
    before each of them the server comes to rest.
    """
    measured = {}
    order = list(enumerate(works))
    for index, work in order if store.run % 2 else reversed(order):
        store.rest()
        measured[index] = work()
    return [measured[index] for index in range(len(works))]
