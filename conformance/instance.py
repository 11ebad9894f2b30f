"""The author's backend as the tests call it: every call is counted, what is not written yet is waited for."""

from __future__ import annotations

import threading
from collections.abc import Collection
from functools import partial
from typing import Any, Final, cast
from unittest import SkipTest

from futurama.backend import EventBackend

__all__ = ["CALLS", "OPERATIONS", "Calls", "Waits", "author_made", "instance"]

OPERATIONS: Final = (
    "open",
    "close",
    "now",
    "add",
    "find",
    "count",
    "claim",
    "settle",
    "renew",
    "cancel",
    "reschedule",
    "requeue",
    "purge",
)
"""The operations of the protocol, in the order in which one best writes them."""


class Waits(SkipTest):
    """A test needs what is not there yet; another test fails and says what."""

    def __init__(self, what: str) -> None:
        super().__init__(f"waits for {what}")


class Calls:
    """How many calls this process, and those that it started, made on backends."""

    def __init__(self) -> None:
        self.made = 0
        self._lock = threading.Lock()

    def add(self, number: int) -> None:
        """So many more were made."""
        with self._lock:
            self.made += number


CALLS: Final = Calls()
"""All of this process; who wants to know how many a test made takes the difference."""


def instance(backend: EventBackend, unwritten: Collection[str] = ()) -> EventBackend:
    """``backend``, watched.

    Args:
        backend: as the author's hooks made it.
        unwritten: operations that are known to be missing: who calls one is skipped.
    """
    return cast(EventBackend, _Instance(backend, unwritten))


def author_made(backend: EventBackend) -> EventBackend:
    """What :func:`instance` was given, for the author's hooks."""
    return backend.inner if isinstance(backend, _Instance) else backend


class _Instance:
    def __init__(self, inner: EventBackend, unwritten: Collection[str]) -> None:
        self.inner = inner
        self._unwritten = unwritten

    def __getattr__(self, name: str) -> Any:
        return partial(self._call, name) if name in OPERATIONS else getattr(self.inner, name)

    def _call(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        if operation in self._unwritten:
            raise Waits(f"{operation}()")
        CALLS.add(1)
        return getattr(self.inner, operation)(*args, **kwargs)
