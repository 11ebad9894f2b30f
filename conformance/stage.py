"""Stores for the suite's examples: made by the author's hook, emptied between examples."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Self
from unittest import SkipTest

import attrs

from futurama.backend import EventBackend, Query, State, StoredEvent
from futurama.conformance.author import Author
from futurama.conformance.lockstep import Lockstep
from futurama.conformance.strategies import START
from futurama.errors import BackendUnavailableError

__all__ = ["Stage", "all_events", "opened"]

_ROUND, _ROUNDS = 1000, 10
"""Emptying a store: so many events at a time, so many times; no example leaves more behind."""


class Stage:
    """One store at a time, empty at the start of every example; a context manager.

    Making a store can be slow (a database creates tables), so the same one is used again after it
    was emptied through the protocol itself. A store on which a law was broken, or that did not
    become empty, is thrown away.

    Args:
        author: the suite's class.
        instances: how many instances are open on the store.
    """

    def __init__(self, author: type[Author], *, instances: int = 1) -> None:
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
        self._stack.close()

    def begin(self) -> Lockstep:
        """An empty store for one example."""
        used = self._lockstep
        if used is not None and (used.broken or not _emptied(self._backends[0])):
            self._stack.close()
            self._make()
        self._lockstep = Lockstep(
            self._backends, self._author.capabilities, suite=self._author.__name__
        )
        return self._lockstep

    def _make(self) -> None:
        with ExitStack() as stack:
            backend = stack.enter_context(opened(self._author))
            backends = [backend]
            for _ in range(self._instances - 1):
                other = self._author.connector(backend)()
                stack.callback(other.close)
                other.open()
                backends.append(other)
            self._backends = backends
            self._stack = stack.pop_all()


@contextmanager
def opened(author: type[Author]) -> Iterator[EventBackend]:
    """A new store and an open backend on it.

    Raises:
        SkipTest: the backend is out of reach and this is not continuous integration.
    """
    with author.make_backend() as backend:
        try:
            backend.open()
        except BackendUnavailableError as error:
            if os.environ.get("CI", "").lower() not in {"", "0", "false"}:
                raise
            raise SkipTest(f"the backend cannot be reached: {error}") from error
        try:
            yield backend
        finally:
            backend.close()


def all_events(backend: EventBackend) -> list[StoredEvent]:
    """Everything that ``find`` shows, in its order."""
    events: list[StoredEvent] = []
    query = Query(limit=_ROUND)
    while True:
        page = backend.find(query)
        events += page.events
        if page.next is None:
            return events
        query = attrs.evolve(query, after=page.next)


def _emptied(backend: EventBackend) -> bool:
    """Remove every event; return whether that worked, which a broken backend may not manage."""
    try:
        for _ in range(_ROUNDS):
            events = backend.find(Query(limit=_ROUND)).events
            if not events:
                return not any(backend.count().values())
            backend.requeue([e.id for e in events if e.state is State.DEAD], now=START)
            backend.cancel([e.id for e in events])
    except Exception:  # then the store is simply not used again
        return False
    return False
