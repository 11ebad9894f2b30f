"""Mutants that open, close, share and declare wrongly."""

from __future__ import annotations

import pickle
import shutil
import tempfile
import weakref
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import attrs

from futurama.backend import Capabilities, ClaimBatch, EventBackend
from futurama.backends.memory import MemoryBackend
from tests.mutants.registry import MEMORY, breaks

__all__ = ["DURABLE", "Durable", "same_file"]

T = TypeVar("T")


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


DURABLE: Capabilities = attrs.evolve(MEMORY, durable=True)


class Durable(MemoryBackend):
    """The memory backend, kept in a file as far as the test of crashes goes; breaks no law of it."""

    def __init__(self, path: Path | None = None) -> None:
        super().__init__()
        self.capabilities = DURABLE
        if path is None:
            path = Path(tempfile.mkdtemp()) / "rows"
            weakref.finalize(self, shutil.rmtree, path.parent)
        self.path = path

    def open(self) -> None:
        if self.path.exists():
            self._rows = pickle.loads(self.path.read_bytes())
            for row in self._rows.values():
                if row.due_us is not None:
                    self._enqueue(row, row.due_us)

    def add(self, *args: Any, **kwargs: Any) -> Any:
        return self.saved(super().add(*args, **kwargs))

    def claim(self, **kwargs: Any) -> ClaimBatch:
        return self.saved(super().claim(**kwargs))

    def settle(self, *args: Any, **kwargs: Any) -> Any:
        return self.saved(super().settle(*args, **kwargs))

    def saved(self, answer: T) -> T:
        """``answer``, when everything is in the file."""
        self.write(pickle.dumps(self._rows))
        return answer

    def write(self, rows: bytes) -> None:
        """Replace the file, in one step."""
        new = self.path.with_suffix(".new")
        new.write_bytes(rows)
        new.replace(self.path)


def same_file(backend: EventBackend) -> Callable[[], EventBackend]:
    """Makes more instances on the file of ``backend``."""
    assert isinstance(backend, Durable)
    return partial(type(backend), backend.path)


@breaks("crash.acknowledged", capabilities=DURABLE, connector=same_file)
class Buffers(Durable):
    """Writes the last but one call when the last one has been answered."""

    unwritten = pickle.dumps({})

    def write(self, rows: bytes) -> None:
        super().write(self.unwritten)
        self.unwritten = rows


@breaks("crash.acknowledged", capabilities=DURABLE, connector=same_file)
class WritesNowAndThen(Durable):
    """Writes every twentieth call, for speed: nearly every kill falls between two writes."""

    calls = 0

    def write(self, rows: bytes) -> None:
        self.calls += 1
        if self.calls % 20 == 0:
            super().write(rows)
