"""Which mutant breaks which law."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import attrs

from futurama.backend import Capabilities, EventBackend
from futurama.backends.memory import MemoryBackend

__all__ = ["MEMORY", "MOST_SECONDS", "MUTANTS", "Mutant", "breaks"]

M = TypeVar("M", bound=type[MemoryBackend])

MEMORY = Capabilities(
    durable=False,
    shared=False,
    resolution=timedelta(microseconds=1),
    max_data_bytes=1024 * 1024,
)
"""What the memory backend declares."""

MOST_SECONDS = 120
"""How long the test of one mutant may take. They take a second, the slowest a few; this only ends
what would never end."""


@attrs.frozen
class Mutant:
    """A wrong backend.

    Attributes:
        law: the id of the law that it breaks.
        others: further laws that it may be seen to break, where chance decides what is seen first.
        test: the law whose test must find that.
        make: makes one, on a new store.
        capabilities: what it is declared to be capable of.
        connector: how to make a second one on the same store, if it can.
    """

    law: str
    others: tuple[str, ...]
    test: str
    make: type[MemoryBackend]
    capabilities: Capabilities
    connector: Callable[[EventBackend], Callable[[], EventBackend]] | None

    @property
    def name(self) -> str:
        """For the name of the test."""
        return f"{self.law}:{self.make.__name__}"


MUTANTS: list[Mutant] = []
"""All of them, once the other modules of this package are imported."""


def breaks(
    law: str,
    *others: str,
    test: str | None = None,
    capabilities: Capabilities = MEMORY,
    connector: Callable[[EventBackend], Callable[[], EventBackend]] | None = None,
) -> Callable[[M], M]:
    """Register a mutant; the arguments are the attributes of :class:`Mutant`."""

    def register(cls: M) -> M:
        MUTANTS.append(Mutant(law, others, test or law, cls, capabilities, connector))
        return cls

    return register
