"""Stores for the suite's examples: made by the author's hook, emptied between examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from types import TracebackType
from typing import Self
from unittest import SkipTest

from futurama.backend import EventBackend, Query, State
from futurama.conformance.author import Author
from futurama.conformance.examination import examined
from futurama.conformance.failure import LawBroken, where
from futurama.conformance.instance import Waits, author_made, instance
from futurama.conformance.lockstep import Lockstep
from futurama.conformance.strategies import START
from futurama.conformance.watchdog import HangsError

__all__ = ["Stage", "connected", "opened", "watched"]


class Stage:
    """One store at a time, empty at the start of every example; a context manager.

    Making a store can be slow (a database creates tables), so the same one is used again after it
    was emptied through the protocol itself. A store on which a law was broken, or that did not
    become empty, is thrown away.

    Args:
        author: the suite's class.
        instances: how many instances are open on the store.

    Attributes:
        careful: see :class:`Lockstep`.
        broken: the last broken law found here.
    """

    def __init__(self, author: type[Author], *, instances: int = 1) -> None:
        self.careful = False
        self.broken: LawBroken | None = None
        self._author = author
        self._instances = instances
        self._stack = ExitStack()
        self._backends: Sequence[EventBackend] = ()
        self._lockstep: Lockstep | None = None

    def __enter__(self) -> Self:
        self._make()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._stack.close()
        except (Exception, HangsError):
            if error is None:  # else what was found first is worth more
                raise

    def begin(self) -> Lockstep:
        """An empty store for one example."""
        used = self._lockstep
        if used is not None and (used.broken or not _emptied(used)):
            self._stack.close()
            self._make()
        self._lockstep = Lockstep(
            self._backends,
            self._author.capabilities,
            hooks=self._author.hooks(),
            careful=self.careful,
        )
        return self._lockstep

    def _make(self) -> None:
        with ExitStack() as stack:
            backend = stack.enter_context(opened(self._author))
            others = range(self._instances - 1)
            self._backends = [
                backend,
                *(stack.enter_context(connected(self._author, backend)) for _ in others),
            ]
            self._stack = stack.pop_all()


@contextmanager
def opened(author: type[Author]) -> Iterator[EventBackend]:
    """A new store and an open backend on it."""
    with author.make_backend() as made, _open(watched(author, made)) as backend:
        yield backend


@contextmanager
def connected(author: type[Author], backend: EventBackend) -> Iterator[EventBackend]:
    """Another open instance on the store of ``backend``.

    Raises:
        Waits: the author's connector does not make one.
    """
    if not examined(author).connects:
        raise Waits("connector()")
    other = author.connector(author_made(backend))()
    with _open(watched(author, other)) as connected_one:
        yield connected_one


def watched(author: type[Author], backend: EventBackend) -> EventBackend:
    """What a hook of ``author`` made, for the tests; see :func:`instance`."""
    return instance(backend, examined(author).unwritten)


@contextmanager
def _open(backend: EventBackend) -> Iterator[EventBackend]:
    with _succeeds("open"):
        backend.open()
    try:
        yield backend
    except BaseException:
        with suppress(Exception, HangsError):  # what was found first is worth more
            backend.close()
        raise
    with _succeeds("close"):
        backend.close()


@contextmanager
def _succeeds(operation: str) -> Iterator[None]:
    """Whatever this call raises breaks a law: it succeeded once before."""
    try:
        yield
    except SkipTest:
        raise
    except Exception as error:
        raise LawBroken(
            f"lifecycle.{operation}",
            expected=f"{operation}() succeeds",
            actual=error,
            raised=where(error),
        ) from error


def _emptied(used: Lockstep) -> bool:
    """Remove what an example left behind; return whether that worked."""
    used.use(0)
    left = list(used.model.events.values())
    dead = [event.id for event in left if event.state is State.DEAD]
    try:
        if dead:
            used.backend.requeue(dead, now=START)
        if left:
            used.backend.cancel([event.id for event in left])
        return not used.backend.find(Query(limit=1)).events
    except Exception:  # then the store is simply not used again
        return False
