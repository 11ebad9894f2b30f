"""The calls under way: of many that end one, one does."""

from __future__ import annotations

import threading
from functools import partial

from futurama.followers import UsualDuration
from futurama.held import Held
from futurama.running import RunningCalls
from tests.unit.support import PATIENCE_SECONDS, Background, new_claim


def new_held() -> Held:
    """A claim whose call may be made."""
    return Held(new_claim(), None, UsualDuration(), lease_end_us=0)


def test_a_call_ends_once() -> None:
    """A call is under way from its begin to its first end; who comes later is told so."""
    running, held = RunningCalls(), new_held()
    assert not running.end(held)
    running.begin(held, started_us=5, runner=7)
    assert (held.started_us, held.runner) == (5, 7)
    assert running.all() == {held}
    assert running.end(held)
    assert not running.end(held)
    assert running.all() == set()


def test_of_many_threads_one_ends_a_call() -> None:
    """P4: whoever collides, each call is ended by exactly one; looking on disturbs nobody."""
    running, barrier = RunningCalls(), threading.Barrier(4)
    calls = [new_held() for _ in range(2000)]

    def begin() -> None:
        for held in calls:
            running.begin(held, started_us=0, runner=None)

    def end() -> int:
        barrier.wait(PATIENCE_SECONDS)
        return sum(running.end(held) for held in calls)

    def look() -> bool:
        barrier.wait(PATIENCE_SECONDS)
        return all(running.all() <= set(calls) for _ in range(100))

    begin()
    ending = [Background(partial(end)) for _ in range(3)]
    assert Background(look).result()
    assert sum(thread.result() for thread in ending) == len(calls)
