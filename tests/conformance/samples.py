"""Backends for the tests of the suite; other processes import them by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from futurama.backend import EventBackend
from futurama.backends.memory import MemoryBackend
from futurama.conformance import BackendConformance
from tests.mutants.changing import CancelsTheClaimed
from tests.mutants.registry import MEMORY


@contextmanager
def make_backend() -> Iterator[EventBackend]:
    """A right one."""
    yield MemoryBackend()


@contextmanager
def make_wrong_backend() -> Iterator[EventBackend]:
    """One that breaks ``cancel.claimed``."""
    yield CancelsTheClaimed()


class Sample(BackendConformance):
    """The suite on the right one."""

    capabilities = MEMORY
    make_backend = staticmethod(make_backend)
