"""What the command lines of the faults, the soak and the simulation share."""

from __future__ import annotations

import argparse
import contextlib
import functools
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import active_children
from multiprocessing.process import BaseProcess
from typing import ParamSpec

from tests.faults.processes import kill_all

__all__ = [
    "INTERRUPTED",
    "at_least_one",
    "calm",
    "ended_at_once",
    "interruptible",
    "positive_number",
    "tell",
    "workers",
]

INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it."""

_SHOWN = 20

_PATIENCE_SECONDS = 10.0

Arguments = ParamSpec("Arguments")


def at_least_one(text: str) -> int:
    """The type of an argument: how many."""
    with contextlib.suppress(ValueError):
        if (number := int(text)) >= 1:
            return number
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")


def positive_number(text: str) -> float:
    """The type of an argument: how long."""
    with contextlib.suppress(ValueError):
        if 0 < (number := float(text)) < math.inf:
            return number
    raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")


def tell(violations: Sequence[str]) -> None:
    """Print the first of them, and how many more there are."""
    for violation in violations[:_SHOWN]:
        print(f"    {violation}", flush=True)
    if len(violations) > _SHOWN:
        print(f"    and {len(violations) - _SHOWN} more", flush=True)


def interruptible(main: Callable[Arguments, int]) -> Callable[Arguments, int]:
    """The same, but after Ctrl-C it says so in one line and returns 130."""

    @functools.wraps(main)
    def run(*words: Arguments.args, **more: Arguments.kwargs) -> int:
        try:
            return main(*words, **more)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return INTERRUPTED

    return run


@contextlib.contextmanager
def calm() -> Iterator[None]:
    """Within it Ctrl-C counts once, and threads that fail because of it say nothing."""
    try:
        yield
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.excepthook = lambda _: None
        raise


@contextlib.contextmanager
def workers(number: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that end with all instances, and without a word, when this one is interrupted."""
    with ProcessPoolExecutor(number, initializer=_obey) as processes:
        try:
            with calm():
                signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
                processes.submit(int)  # the first task forks all of them
                signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
                yield processes
        except KeyboardInterrupt:
            _end(active_children())
            raise


@contextlib.contextmanager
def ended_at_once() -> Iterator[None]:
    """Within it Ctrl-C ends this process, whatever code there is that would catch KeyboardInterrupt."""

    def end(*_: object) -> None:
        os.write(sys.stderr.fileno(), b"interrupted\n")
        os._exit(INTERRUPTED)

    former = signal.getsignal(signal.SIGINT)
    if former is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)


def _end(processes: Sequence[BaseProcess]) -> None:
    """Tell them again and again: one that is about to wait for a lock does not notice at once."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while left := [process.pid for process in processes if process.pid and process.is_alive()]:
        is_late = time.monotonic() > deadline
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if is_late else signal.SIGINT)
        time.sleep(0.05)  # poll: the executor waits for them, too


def _obey() -> None:
    """Let a worker end when it is told to, also if it was told before it could listen."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # which a shell sets for `command &`
        signal.signal(signal.SIGINT, _end_at_once)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


def _end_at_once(*_: object) -> None:
    """What a worker does then; servers and folders are left to their watchdog."""
    kill_all()
    os._exit(INTERRUPTED)
