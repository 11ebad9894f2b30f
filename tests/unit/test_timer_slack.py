"""Waits that end on time, as Linux itself says."""

from __future__ import annotations

import ctypes
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta

import pytest

from futurama import Queue
from futurama.timer_slack import wake_on_time
from tests.unit.support import PATIENCE_SECONDS, memory_config

_PR_GET_TIMERSLACK = 30

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has timer slack")


def _slack_ns() -> int:
    return int(ctypes.CDLL(None).prctl(_PR_GET_TIMERSLACK, 0, 0, 0, 0))


@on_linux
def test_only_the_calling_thread_wakes_on_time() -> None:
    """The thread of the application that starts a queue waits as before."""
    before = _slack_ns()

    def sharpened() -> int:
        wake_on_time()
        return _slack_ns()

    with ThreadPoolExecutor(1) as executor:
        assert executor.submit(sharpened).result() == 1
    assert _slack_ns() == before


@on_linux
def test_triggers_are_called_by_threads_that_wake_on_time() -> None:
    """What waits for the time of a call is a worker."""
    slack: Future[int] = Future()
    with Queue({"t": lambda _: slack.set_result(_slack_ns())}, config=memory_config()) as queue:
        queue.create("t", timedelta())
        assert slack.result(PATIENCE_SECONDS) == 1
