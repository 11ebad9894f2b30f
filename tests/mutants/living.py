"""Mutants that open, close, share and declare wrongly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import attrs

from futurama.backend import Capabilities, EventBackend
from futurama.backends.memory import MemoryBackend
from tests.mutants.registry import MEMORY, breaks


class _Forgetful(MemoryBackend):
    def forget(self) -> None:
        self._rows.clear()
        self._heap.clear()


@breaks("protocol.complete")
class CannotPurge(MemoryBackend):
    """One operation is left for later."""

    def purge(self, *, before: datetime) -> int:
        raise NotImplementedError


@breaks("protocol.returns")
class ForgetsToAnswer(MemoryBackend):
    """No ``return`` at the end."""

    def requeue(self, ids: Sequence[str], *, now: datetime) -> Any:
        super().requeue(ids, now=now)


@breaks("lifecycle.open")
class OpensEmpty(_Forgetful):
    """CREATE OR REPLACE TABLE."""

    def open(self) -> None:
        self.forget()


@breaks("lifecycle.close")
class ClosesForGood(_Forgetful):
    """A table that lives as long as its connection."""

    def close(self) -> None:
        self.forget()


@breaks("lifecycle.now")
class NaiveClock(MemoryBackend):
    """What drivers return for NOW()."""

    def now(self) -> datetime:
        return super().now().replace(tzinfo=None)


@breaks("lifecycle.now")
class ClockOfTheHouse(MemoryBackend):
    """NOW() in the zone of the session, and said to be UTC."""

    def now(self) -> datetime:
        return super().now() + timedelta(hours=2)


@breaks("lifecycle.now")
class ClockOfTheMachine(MemoryBackend):
    """``datetime.now()``, and said to be UTC."""

    def now(self) -> datetime:
        return datetime.now().replace(tzinfo=UTC)  # noqa: DTZ005 -- the fault


@breaks("isolation")
class OneForAll(MemoryBackend):
    """All stores share one table."""

    _shared: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        super().__init__()
        self._rows = self._shared


@breaks("capabilities.declared")
class SaysMoreWhenOpen(MemoryBackend):
    """Finds out about its limits only when it is connected."""

    def open(self) -> None:
        self.capabilities = attrs.evolve(MEMORY, max_data_bytes=42)


@breaks(
    "capabilities.declared", capabilities=attrs.evolve(MEMORY, resolution=MEMORY.resolution * 3)
)
class OddResolution(MemoryBackend):
    """A second is not a multiple of three microseconds."""

    def __init__(self) -> None:
        super().__init__()
        self.capabilities = attrs.evolve(MEMORY, resolution=MEMORY.resolution * 3)


def _same_rows(backend: EventBackend) -> Callable[[], EventBackend]:
    assert isinstance(backend, MemoryBackend)
    second = MemoryBackend()
    second._rows = backend._rows
    return lambda: second


@breaks("capabilities.absent", connector=_same_rows)
class SharesInSecret(MemoryBackend):
    """Two instances see the same events, and nothing is declared."""


_SHARED: Capabilities = attrs.evolve(MEMORY, shared=True)


def _copy_of_rows(backend: EventBackend) -> Callable[[], EventBackend]:
    assert isinstance(backend, MemoryBackend)
    second = Snapshot()
    second._rows = dict(backend._rows)
    return lambda: second


@breaks("shared.one-store", capabilities=_SHARED, connector=_copy_of_rows)
class Snapshot(MemoryBackend):
    """An instance that sees the store as it was when it was opened."""

    def __init__(self) -> None:
        super().__init__()
        self.capabilities = _SHARED


@breaks("shared.processes", capabilities=_SHARED, connector=lambda _: OneEach)
class OneEach(Snapshot):
    """Every process has a store of its own."""


@breaks(
    "crash.acknowledged",
    capabilities=attrs.evolve(MEMORY, durable=True),
    connector=lambda _: MemoryBackend,
)
class DiesWithItsProcess(MemoryBackend):
    """Says that it is durable."""
