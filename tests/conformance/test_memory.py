"""The memory backend keeps the laws, and so does one of whole seconds that is made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from futurama.backend import EventBackend
from futurama.backends.memory import MemoryBackend
from futurama.conformance import BackendConformance
from tests.mutants.coarse import COARSE, CoarseBackend
from tests.mutants.registry import MEMORY


class TestMemory(BackendConformance):
    """Every law."""

    capabilities = MEMORY

    @classmethod
    @contextmanager
    def make_backend(cls) -> Iterator[EventBackend]:
        """A store is an instance."""
        yield MemoryBackend()

    @classmethod
    def connector(cls, backend: EventBackend) -> Callable[[], EventBackend]:
        """Another instance, which sees nothing of the first one."""
        return MemoryBackend


class TestWholeSeconds(BackendConformance):
    """Every law, where stored times are rounded up; without a connector."""

    capabilities = COARSE

    @classmethod
    @contextmanager
    def make_backend(cls) -> Iterator[EventBackend]:
        """A store is an instance."""
        yield CoarseBackend()
