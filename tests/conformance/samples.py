"""Backends for the tests of the suite; other processes import them by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs

from futurama.backend import Capabilities, EventBackend
from futurama.backends.memory import MemoryBackend
from futurama.conformance import BackendConformance
from futurama.conformance.instance import OPERATIONS
from tests.mutants.changing import CancelsTheClaimed
from tests.mutants.registry import MEMORY

SHARED = attrs.evolve(MEMORY, shared=True, durable=True)


class Shared(MemoryBackend):
    """Says that it is shared and durable."""

    def __init__(self) -> None:
        super().__init__()
        self.capabilities = SHARED


@contextmanager
def make_backend() -> Iterator[EventBackend]:
    """A right one."""
    yield MemoryBackend()


@contextmanager
def make_wrong_backend() -> Iterator[EventBackend]:
    """One that breaks ``cancel.claimed``."""
    yield CancelsTheClaimed()


@contextmanager
def make_stub() -> Iterator[EventBackend]:
    """One of which nothing is written yet."""
    yield begun([])


@contextmanager
def make_nothing() -> Iterator[None]:
    """Forgets what it is for."""
    yield None


def make_no_manager() -> EventBackend:
    """Forgets ``@contextmanager``."""
    return MemoryBackend()


def connector(backend: EventBackend) -> Callable[[], EventBackend]:
    """What other instances of the memory backend come to: nothing is shared."""
    del backend
    return MemoryBackend


class Sample(BackendConformance):
    """The suite on the right one."""

    capabilities = MEMORY
    make_backend = staticmethod(make_backend)


class Wrong(Sample):
    """The suite on the wrong one."""

    make_backend = staticmethod(make_wrong_backend)


def begun(written: Sequence[str], capabilities: Capabilities = MEMORY) -> Any:
    """A backend of which these operations are written; the others raise NotImplementedError.

    The first of the others is not even there.
    """

    def missing(*args: object, **kwargs: object) -> None:
        raise NotImplementedError

    unwritten = [operation for operation in OPERATIONS if operation not in written]
    backend: Any = MemoryBackend()
    backend.capabilities = capabilities
    for operation in unwritten:
        setattr(backend, operation, missing)
    if unwritten:
        setattr(backend, unwritten[0], None)
    return backend


def suite(**members: Any) -> type[BackendConformance]:
    """A subclass of :class:`Sample` that differs in this."""
    return type("MyTest", (Sample,), members)


def making(backend: Callable[[], Any]) -> Any:
    """The hook ``make_backend`` for such a backend."""

    @contextmanager
    def make() -> Iterator[Any]:
        yield backend()

    return staticmethod(make)
