"""The author's backend as the tests call it.

Every call is counted and watched, what is not written yet is waited for. The backend gets arguments
of its own, so that the oracle, which gets the caller's, does not see what it does to them.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, Final, cast
from unittest import SkipTest

import attrs

from futurama.backend import EventBackend, Query
from futurama.conformance import watchdog
from futurama.conformance.failure import LawBroken
from futurama.conformance.literals import as_python
from futurama.conformance.returns import unfit_answer

__all__ = [
    "CALLS",
    "OPERATIONS",
    "ArgumentChangedError",
    "Calls",
    "Waits",
    "author_made",
    "instance",
]

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


class ArgumentChangedError(LawBroken):
    """The backend changed what it was given."""


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
    """``backend``, watched: its calls raise :class:`LawBroken` for what is wrong with them alone.

    That is an answer of a type that the protocol does not have, and a change of what it was given.

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
        given = [_copy(value) for value in args]
        answer = watchdog.call(operation, getattr(self.inner, operation), *given, **kwargs)
        _check_unchanged(args, given)
        if unfit := unfit_answer(operation, answer):
            raise LawBroken(unfit.law, expected=unfit.expected, actual=unfit.actual)
        return answer


def _copy(value: Any) -> Any:
    """The same, with lists of its own."""
    if isinstance(value, list):
        return list(value)
    if isinstance(value, Query) and value.ids is not None:
        return attrs.evolve(value, ids=_copy(value.ids))
    return value


def _check_unchanged(args: Sequence[Any], given: Sequence[Any]) -> None:
    for before, after in zip(args, given, strict=True):
        if before != after:
            raise ArgumentChangedError(
                "find.ids" if isinstance(before, Query) else "batch.positional",
                expected=f"what was given stays as it was: {as_python(before)}",
                actual=as_python(after),
            )
