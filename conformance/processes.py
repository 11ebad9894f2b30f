"""Other processes that use the same store; they talk through a pipe and can be killed."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

from futurama.backend import EventBackend
from futurama.conformance.author import Connect
from futurama.conformance.failure import LawBroken, where
from futurama.conformance.history import Step
from futurama.conformance.instance import CALLS, instance
from futurama.conformance.watchdog import HangsError, watchdog
from futurama.conformance.workload import Plan, read_all, work

__all__ = ["Child", "ChildFailedError", "Job", "child", "run_processes"]

_PATIENCE_SECONDS = 60.0
"""How long a child may be silent. Starting one takes a second, a busy machine needs longer; a worker
says nothing until the plan's time is up, or until it has lost its own patience with a call."""

_DIED = (
    "it ended without a word; can it import what it needs, and does the script that started it "
    "do so below `if __name__ == '__main__':`?"
)

Job: TypeAlias = "Callable[[EventBackend, Connection], None]"
"""What a child does with its instance and the pipe to its parent."""


class Child:
    """A running child process."""

    def __init__(self, process: Any, pipe: Connection) -> None:
        self._process = process
        self._pipe = pipe
        self._is_killed = False
        self._has_spoken = False

    def send(self, message: object) -> None:
        """Send ``message`` to the child."""
        self._pipe.send(message)

    def receive(self) -> Any:
        """The next message of the child.

        Raises:
            EOFError: it was killed and said nothing more.
            ChildFailedError: it failed, or is silent for too long.
        """
        if not self._pipe.poll(_PATIENCE_SECONDS):
            what = f"it said nothing for {_PATIENCE_SECONDS:.0f} seconds"
            raise ChildFailedError(what, had_begun=self._has_spoken)
        try:
            message = self._pipe.recv()
        except (EOFError, OSError) as error:  # OSError: it was killed in the middle of a message
            if self._is_killed:
                raise EOFError from error
            raise ChildFailedError(_DIED, had_begun=self._has_spoken) from None
        if isinstance(message, ChildFailedError):
            raise message
        self._has_spoken = True
        return message

    def kill(self) -> None:
        """End it with SIGKILL, and wait until it is dead."""
        self._is_killed = True
        self._process.kill()
        self._process.join()


class ChildFailedError(Exception):
    """A child could not do its work.

    Attributes:
        what: the exception that it died of.
        raised: where that was raised.
        broken: the law that it found broken, if that was it.
        had_begun: whether it had an open backend by then.
    """

    def __init__(
        self,
        what: str,
        raised: str = "",
        *,
        had_begun: bool = False,
        broken: LawBroken | None = None,
    ) -> None:
        super().__init__(what, raised)
        self.what = what
        self.raised = raised
        self.broken = broken
        self.had_begun = had_begun


@contextmanager
def child(connect: Connect, job: Job) -> Iterator[Child]:
    """Start a process that opens its own instance and does ``job``; it is dead on leaving.

    Spawned, not forked: a fork would inherit connections, locks and threads of the backend.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    # Pickled here and unpickled by `_main`, where a failure can still be told.
    work_to_do = pickle.dumps((connect, job))
    process = context.Process(target=_main, args=(work_to_do, theirs), daemon=True)
    process.start()
    theirs.close()
    running = Child(process, ours)
    try:
        yield running
    finally:
        running.kill()
        ours.close()


def _main(work_to_do: bytes, pipe: Connection) -> None:
    has_begun = False
    try:
        connect, job = pickle.loads(work_to_do)
        with watchdog():
            backend = instance(connect())
            backend.open()
            has_begun = True
            job(backend, pipe)
            backend.close()
    except BaseException as error:  # the parent must learn of it, whatever it is
        found = error.broken if isinstance(error, HangsError) else error
        broken = found if isinstance(found, LawBroken) else None
        pipe.send(ChildFailedError(repr(error), where(error), had_begun=has_begun, broken=broken))


def run_processes(connect: Connect, plan: Plan, count: int) -> Sequence[Step]:
    """Like :func:`~futurama.conformance.workload.run_threads`, with processes."""
    with ExitStack() as stack:
        children = [
            stack.enter_context(child(connect, _Worker(plan, number))) for number in range(count)
        ]
        for each in children:
            each.receive()  # it is ready
        for each in children:
            each.send("go")
        histories: list[list[Step]] = []
        for each in children:
            history, calls = each.receive()
            histories.append(history)
            CALLS.add(calls)
    backend = instance(connect())
    backend.open()
    try:
        return [step for history in histories for step in history] + read_all(backend, histories)
    finally:
        backend.close()


class _Worker:
    """A job that can be pickled."""

    def __init__(self, plan: Plan, number: int) -> None:
        self._plan = plan
        self._number = number

    def __call__(self, backend: EventBackend, pipe: Connection) -> None:
        pipe.send("ready")
        pipe.recv()
        pipe.send((work(backend, self._plan, self._number), CALLS.made))
