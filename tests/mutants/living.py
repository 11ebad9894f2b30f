"""Mutants that open, close, share and declare wrongly."""

from __future__ import annotations

import pickle
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from weakref import WeakKeyDictionary, WeakSet, WeakValueDictionary

import attrs

from futurama.backend import Capabilities, Claim, ClaimBatch, EventBackend, Move, Settlement
from futurama.backends.memory import MemoryBackend
from futurama.events import RescheduleOutcome
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


@breaks("lifecycle.close")
class OpensWithoutItsIndex(MemoryBackend):
    """Fills the index of dues when events are added, and not when it is opened."""

    def close(self) -> None:
        self._heap.clear()


@breaks("lifecycle.close")
class ClaimsEndWithTheConnection(MemoryBackend):
    """Whoever closes has to claim anew, and the event still looks claimed."""

    def close(self) -> None:
        for row in self._rows.values():
            row.token = row.token and b"closed"


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

    def open(self) -> None:
        """Empties it for the next test; two stores are open before anything is stored."""
        super().open()
        self._rows.clear()


class _ReachesOthers(MemoryBackend):
    """One operation does not say which store it means."""

    _stores: ClassVar[WeakSet[MemoryBackend]] = WeakSet()

    def __init__(self) -> None:
        super().__init__()
        self._stores.add(self)

    def others(self) -> list[MemoryBackend]:
        """All other stores."""
        return [store for store in self._stores if store is not self]


@breaks("isolation")
class PurgesEveryStore(_ReachesOthers):
    """DELETE FROM dead_letters WHERE died < ?."""

    def purge(self, *, before: datetime) -> int:
        for other in self.others():
            MemoryBackend.purge(other, before=before)
        return super().purge(before=before)


@breaks("isolation")
class RequeuesInEveryStore(_ReachesOthers):
    """UPDATE dead_letters SET due = ? WHERE id = ?."""

    def requeue(self, ids: Sequence[str], *, now: datetime) -> Sequence[bool]:
        for other in self.others():
            MemoryBackend.requeue(other, ids, now=now)
        return super().requeue(ids, now=now)


@breaks("isolation")
class MovesInEveryStore(_ReachesOthers):
    """UPDATE waiting SET due = ? WHERE id = ?."""

    def reschedule(self, moves: Sequence[Move]) -> Sequence[RescheduleOutcome]:
        for other in self.others():
            MemoryBackend.reschedule(other, moves)
        return super().reschedule(moves)


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


_STORES: WeakValueDictionary[int, MemoryBackend] = WeakValueDictionary()
"""A connector must fit through a pipe, even where no other process ever uses it; a number does."""


def _in_this_process(
    connect: Callable[[MemoryBackend], MemoryBackend],
) -> Callable[[EventBackend], Callable[[], EventBackend]]:
    def connector(backend: EventBackend) -> Callable[[], EventBackend]:
        assert isinstance(backend, MemoryBackend)
        _STORES[id(backend)] = backend
        return partial(_connected, connect, id(backend))

    return connector


def _connected(connect: Callable[[MemoryBackend], MemoryBackend], number: int) -> MemoryBackend:
    return connect(_STORES[number])


def _copy_of_rows(first: MemoryBackend) -> MemoryBackend:
    second = Snapshot()
    second._rows = dict(first._rows)
    return second


@breaks("shared.one-store", capabilities=_SHARED, connector=_in_this_process(_copy_of_rows))
class Snapshot(MemoryBackend):
    """An instance that sees the store as it was when it was opened."""

    def __init__(self) -> None:
        super().__init__()
        self.capabilities = _SHARED


class _OnOneStore(Snapshot):
    """Instances on one store that are right but for what each remembers for itself."""

    def __init__(self) -> None:
        super().__init__()
        self.remembered: WeakKeyDictionary[MemoryBackend, dict[str, Any]] = WeakKeyDictionary()

    @property
    def own(self) -> dict[str, Any]:
        """What this instance remembers."""
        return self.remembered.setdefault(self, {})


def _with_everything(first: MemoryBackend) -> MemoryBackend:
    second = type(first)()
    second.__dict__ = first.__dict__
    return second


_on_one_store = _in_this_process(_with_everything)


@breaks("claim.token", capabilities=_SHARED, connector=_on_one_store)
class InstancesCountAlike(_OnOneStore):
    """Each instance numbers its claims, and takes the number for a token."""

    def claim(self, **kwargs: Any) -> ClaimBatch:
        batch = super().claim(**kwargs)
        number = self.own["claims"] = self.own.get("claims", 0) + 1
        token = str(number).encode()
        for claim in batch.claims:
            self._rows[claim.id].token = token
        claims = [attrs.evolve(claim, token=token) for claim in batch.claims]
        return attrs.evolve(batch, claims=claims)


@breaks("fence.settle", capabilities=_SHARED, connector=_on_one_store)
@breaks("fence.renew", capabilities=_SHARED, connector=_on_one_store)
class TrustsItsMemory(_OnOneStore):
    """Fences by the tokens that this instance handed out, though others hand out, too."""

    def claim(self, **kwargs: Any) -> ClaimBatch:
        batch = super().claim(**kwargs)
        self.own.update({claim.id: claim.token for claim in batch.claims})
        return batch

    def _renew(self, claim: Claim, now: datetime, lease_until: datetime) -> bool:
        return super()._renew(self._current(claim), now, lease_until)

    def _settle(self, settlement: Settlement, now: datetime) -> bool:
        claim = self._current(settlement.claim)
        return super()._settle(attrs.evolve(settlement, claim=claim), now)

    def _current(self, claim: Claim) -> Claim:
        row = self._rows.get(claim.id)
        if row is None or row.token is None or self.own.get(claim.id) != claim.token:
            return claim
        return attrs.evolve(claim, token=row.token)


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
    """The memory backend, kept in a file that every change replaces; breaks no law of one process."""

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
            self._heap.clear()
            self.read()

    def read(self) -> None:
        """What else there is to do when the rows were read."""
        for row in self._rows.values():
            if row.due is not None:
                self._enqueue(row, row.due)

    def add(self, *args: Any, **kwargs: Any) -> Any:
        return self.saved(super().add(*args, **kwargs))

    def claim(self, **kwargs: Any) -> ClaimBatch:
        return self.saved(super().claim(**kwargs))

    def renew(self, *args: Any, **kwargs: Any) -> Any:
        return self.saved(super().renew(*args, **kwargs))

    def settle(self, *args: Any, **kwargs: Any) -> Any:
        return self.saved(super().settle(*args, **kwargs))

    def cancel(self, *args: Any, **kwargs: Any) -> Any:
        return self.saved(super().cancel(*args, **kwargs))

    def reschedule(self, *args: Any, **kwargs: Any) -> Any:
        return self.saved(super().reschedule(*args, **kwargs))

    def requeue(self, *args: Any, **kwargs: Any) -> Any:
        return self.saved(super().requeue(*args, **kwargs))

    def purge(self, *args: Any, **kwargs: Any) -> int:
        return self.saved(super().purge(*args, **kwargs))

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


@breaks("durable.new-instance", capabilities=DURABLE, connector=same_file)
class DoesNotReadItsIndex(Durable):
    """Shows every event, and hands out none that another instance has added."""

    def read(self) -> None:
        pass


@breaks("durable.new-instance", capabilities=DURABLE, connector=same_file)
class KeepsTokensToItself(Durable):
    """Who holds which claim is known to the instance that handed it out."""

    def read(self) -> None:
        super().read()
        for row in self._rows.values():
            row.token = row.token and b"unknown"


@breaks("durable.new-instance", capabilities=DURABLE, connector=same_file)
class NumbersItsTokens(Durable):
    """Each instance counts its claims from one, and takes the number for a token."""

    claimed = 0

    def claim(self, **kwargs: Any) -> ClaimBatch:
        batch = super().claim(**kwargs)
        self.claimed += 1
        token = str(self.claimed).encode()
        for claim in batch.claims:
            self._rows[claim.id].token = token
        claims = [attrs.evolve(claim, token=token) for claim in batch.claims]
        return self.saved(attrs.evolve(batch, claims=claims))


@breaks("durable.new-instance", capabilities=DURABLE, connector=same_file)
class RenewsInMemory(Durable):
    """The file does not know of renewals."""

    renew = MemoryBackend.renew


@breaks("durable.new-instance", capabilities=DURABLE, connector=same_file)
class CancelsInMemory(Durable):
    """The file does not know what was cancelled."""

    cancel = MemoryBackend.cancel


@breaks("durable.new-instance", capabilities=DURABLE, connector=same_file)
class MovesInMemory(Durable):
    """The file does not know what was rescheduled."""

    reschedule = MemoryBackend.reschedule


@breaks("durable.new-instance", capabilities=DURABLE, connector=same_file)
class RequeuesInMemory(Durable):
    """The file does not know what was requeued."""

    requeue = MemoryBackend.requeue


@breaks("durable.new-instance", capabilities=DURABLE, connector=same_file)
class PurgesInMemory(Durable):
    """The file does not know what was purged."""

    purge = MemoryBackend.purge


for _mutant in (DoesNotReadItsIndex, KeepsTokensToItself):
    breaks("crash.acknowledged", capabilities=DURABLE, connector=same_file)(_mutant)


class _WritesLater(Durable):
    """Answers one operation at once, and writes what it did when these events change again."""

    def __init__(self, path: Path | None = None) -> None:
        super().__init__(path)
        self._unwritten: dict[str, tuple[Any, Any]] = {}

    def later(self, ids: Iterable[str], operation: Callable[[], T]) -> T:
        """The answer of ``operation``, which changes the events ``ids``."""
        before = self._copies(ids)
        answer = operation()
        after = self._copies(before)
        for event_id in before:
            written, _ = self._unwritten.get(event_id, (before[event_id], None))
            self._unwritten[event_id] = (written, after[event_id])
        return answer

    def saved(self, answer: T) -> T:
        rows: dict[str, Any] = dict(self._rows)
        for event_id, (written, unwritten) in self._unwritten.items():
            if rows.get(event_id) == unwritten:
                rows[event_id] = written
        self.write(pickle.dumps({key: row for key, row in rows.items() if row is not None}))
        return answer

    def _copies(self, ids: Iterable[str]) -> dict[str, Any]:
        return {i: copy(self._rows.get(i)) for i in ids}


@breaks("crash.acknowledged", capabilities=DURABLE, connector=same_file)
class CancelsLater(_WritesLater):
    """Removes the cancelled when it is their turn."""

    def cancel(self, ids: Sequence[str]) -> Any:
        return self.later(ids, lambda: MemoryBackend.cancel(self, ids))


@breaks("crash.acknowledged", capabilities=DURABLE, connector=same_file)
class RenewsLater(_WritesLater):
    """Keeps the new end of a lease in memory."""

    def renew(self, claims: Sequence[Claim], **kwargs: Any) -> Any:
        ids = [claim.id for claim in claims]
        return self.later(ids, lambda: MemoryBackend.renew(self, claims, **kwargs))


@breaks("crash.acknowledged", capabilities=DURABLE, connector=same_file)
class ReschedulesLater(_WritesLater):
    """Keeps the new time in memory."""

    def reschedule(self, moves: Sequence[Move]) -> Any:
        ids = [move.id for move in moves]
        return self.later(ids, lambda: MemoryBackend.reschedule(self, moves))


@breaks("crash.acknowledged", capabilities=DURABLE, connector=same_file)
class RequeuesLater(_WritesLater):
    """Keeps in memory what waits again."""

    def requeue(self, ids: Sequence[str], **kwargs: Any) -> Any:
        return self.later(ids, lambda: MemoryBackend.requeue(self, ids, **kwargs))


@breaks("crash.acknowledged", capabilities=DURABLE, connector=same_file)
class PurgesLater(_WritesLater):
    """Writes a mark into memory, and removes nothing from the file."""

    def purge(self, **kwargs: Any) -> int:
        return self.later(list(self._rows), lambda: MemoryBackend.purge(self, **kwargs))


@breaks("crash.acknowledged", capabilities=DURABLE, connector=same_file)
class LeavesItsLockBehind(Durable):
    """A file says that someone is at work; only who closes removes it."""

    def open(self) -> None:
        """Refuses where the file is not its own."""
        lock, owner = self.path.with_suffix(".lock"), str(id(self))
        if lock.exists() and lock.read_text() != owner:
            raise RuntimeError("another process is at work")
        lock.write_text(owner)
        super().open()

    def close(self) -> None:
        """Removes it."""
        self.path.with_suffix(".lock").unlink(missing_ok=True)


@breaks("crash.acknowledged", capabilities=DURABLE, connector=same_file)
class WritesInPlace(Durable):
    """Begins each change by emptying the file, and is killed before it ends."""

    def write(self, rows: bytes) -> None:
        """Leave what a kill in the middle leaves; the end of the writing is in :meth:`close`."""
        self.path.write_bytes(b"")
        self.rows = rows

    rows = pickle.dumps({})

    def close(self) -> None:
        """The file is whole again."""
        self.path.write_bytes(self.rows)
