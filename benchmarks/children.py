"""Work in processes of its own, begun at the same moment."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any, TypeAlias, TypeVar

from benchmarks.figures import VerificationError
from benchmarks.measuring import DEADLINE_SECONDS

__all__ = ["Ready", "alone", "together"]

Ready: TypeAlias = Callable[[], None]

T = TypeVar("T")

_CONTEXT = multiprocessing.get_context("spawn")
"""Nothing is inherited: no heap, no thread, no connection."""


def alone(work: Callable[[Ready], T]) -> T:
    """What ``work`` returns in a new process; see :func:`together`."""
    result: T
    _, (result,) = together([work])
    return result


def together(
    works: Sequence[Callable[[Ready], Any]], *, timeout: float = 2 * DEADLINE_SECONDS
) -> tuple[float, list[Any]]:
    """Call each of these with ``ready`` in a new process of its own.

    A work calls ``ready()`` when it is prepared; that returns in all of them at once.

    Args:
        works: what can be pickled: functions of modules, or partials of these.
        timeout: in seconds, after which the processes are ended.

    Returns:
        The seconds from the moment when all are ready until the last one has returned, and what
        they returned.

    Raises:
        VerificationError: one of them failed, or was not done in time.
    """
    deadline = time.monotonic() + timeout
    with contextlib.ExitStack() as stack:
        pipes = [stack.enter_context(_child(work)) for work in works]
        for pipe in pipes:
            _receive(pipe, deadline)
        start = time.perf_counter()
        for pipe in pipes:
            pipe.send("go")
        results = [_receive(pipe, deadline) for pipe in pipes]
        return time.perf_counter() - start, results


@contextlib.contextmanager
def _child(work: Callable[[Ready], Any]) -> Iterator[Connection]:
    """The pipe to a new process, which has ended when the context has."""
    ours, theirs = _CONTEXT.Pipe()
    child = _CONTEXT.Process(target=_main, args=(theirs, work), daemon=True)
    child.start()
    theirs.close()  # so that the death of the child is the end of the pipe
    try:
        yield ours
    finally:
        ours.close()
        child.join(5)
        child.kill()
        child.join()


def _main(pipe: Connection, work: Callable[[Ready], Any]) -> None:
    logging.disable(logging.WARNING)

    def ready() -> None:
        pipe.send("ready")
        pipe.recv()

    pipe.send(work(ready))


def _receive(pipe: Connection, deadline: float) -> Any:
    if not pipe.poll(max(0.0, deadline - time.monotonic())):
        raise VerificationError("a process was not done in time")
    try:
        return pipe.recv()
    except EOFError:
        raise VerificationError("a process failed; its traceback is on stderr") from None
