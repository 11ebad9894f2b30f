"""Mutants that look, wait, and act on what they saw: wrong only when calls overlap."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import attrs

from futurama.backend import (
    AddOutcome,
    Claim,
    ClaimBatch,
    Move,
    NewEvent,
    Settlement,
    State,
)
from futurama.backends.memory import MemoryBackend
from futurama.errors import BackendUnavailableError
from futurama.events import CancelOutcome, RescheduleOutcome
from tests.mutants.registry import breaks


def _let_others_in() -> None:
    """What a round trip between two statements does."""
    time.sleep(0.0005)


@breaks("concurrency.exclusive")
class SelectsThenUpdates(MemoryBackend):
    """SELECT without FOR UPDATE, UPDATE without the guard."""

    def claim(
        self, *, now: datetime, due_before: datetime, limit: int, **kwargs: Any
    ) -> ClaimBatch:
        with self._lock:
            seen = [
                (row, row.due)
                for row in self._rows.values()
                if row.token is None and row.due is not None and row.due <= due_before
            ][:limit]
        _let_others_in()
        with self._lock:
            for row, due in seen:
                if row.state is State.CLAIMED and self._rows.get(row.id) is row:
                    row.token, row.owner = None, None
                    row.attempt -= 1
                    self._enqueue(row, due)
        return super().claim(now=now, due_before=due_before, limit=limit, **kwargs)


@breaks("concurrency.fence")
class ChecksThenSettles(MemoryBackend):
    """Looks at the token in one statement and deletes by id in the next."""

    def settle(self, settlements: Sequence[Settlement], *, now: datetime) -> Any:
        with self._lock:
            held = [
                (row := self._rows.get(s.claim.id)) is not None and row.is_held_by(s.claim, now)
                for s in settlements
            ]
        _let_others_in()
        with self._lock:
            for settlement, was_held in zip(settlements, held, strict=True):
                if was_held:
                    self._settle(settlement, now)
        return held


@breaks("concurrency.cancel")
class ChecksThenCancels(MemoryBackend):
    """Looks at the state in one statement and deletes by id in the next."""

    def cancel(self, ids: Sequence[str]) -> Sequence[CancelOutcome]:
        with self._lock:
            waiting = [
                (row := self._rows.get(event_id)) is not None
                and row.state is State.WAITING
                and not row.lost
                for event_id in ids
            ]
        _let_others_in()
        outcomes = super().cancel(ids)
        return [
            CancelOutcome.CANCELLED if was_waiting else outcome
            for was_waiting, outcome in zip(waiting, outcomes, strict=True)
        ]


@breaks("concurrency.fence", "concurrency.exclusive", "concurrency.nothing-lost")
class ChecksThenRenews(MemoryBackend):
    """Looks at the token in one statement and moves the lease by id in the next."""

    def renew(self, claims: Sequence[Claim], *, now: datetime, lease_until: datetime) -> Any:
        with self._lock:
            held = [
                (row := self._rows.get(claim.id)) is not None and row.is_held_by(claim, now)
                for claim in claims
            ]
        _let_others_in()
        with self._lock:
            for claim, was_held in zip(claims, held, strict=True):
                row = self._rows.get(claim.id)
                if was_held and row is not None:
                    self._enqueue(row, lease_until)
        return held


@breaks("concurrency.cancel", "concurrency.nothing-lost")
class ChecksThenReschedules(MemoryBackend):
    """Looks at the state in one statement and moves by id in the next."""

    def reschedule(self, moves: Sequence[Move]) -> Sequence[RescheduleOutcome]:
        with self._lock:
            waiting = [
                (row := self._rows.get(move.id)) is not None
                and row.state is State.WAITING
                and not row.lost
                for move in moves
            ]
        _let_others_in()
        outcomes = super().reschedule(moves)
        return [
            RescheduleOutcome.RESCHEDULED if was_waiting else outcome
            for was_waiting, outcome in zip(waiting, outcomes, strict=True)
        ]


@breaks("concurrency.nothing-lost", "concurrency.exclusive")
class ChecksThenAdds(MemoryBackend):
    """Looks whether the id is free in one statement and writes in the next, an upsert."""

    def add(self, events: Sequence[NewEvent], *, if_exists: Any) -> Any:
        with self._lock:
            free = [event.id not in self._rows for event in events]
        _let_others_in()
        with self._lock:
            outcomes = [
                self._add(event, "replace" if is_free else if_exists)
                for event, is_free in zip(events, free, strict=True)
            ]
        return [
            AddOutcome.ADDED if is_free else outcome
            for outcome, is_free in zip(outcomes, free, strict=True)
        ]


@breaks("concurrency.nothing-lost", "purge.before")
class ChecksThenPurges(MemoryBackend):
    """Looks for the dead in one statement and deletes by id in the next, requeued ones too."""

    def purge(self, *, before: datetime) -> int:
        with self._lock:
            dead = [
                row.id for row in self._rows.values() if row.died is not None and row.died < before
            ]
        _let_others_in()
        with self._lock:
            for event_id in dead:
                if event_id in self._rows:
                    del self._rows[event_id]
        return len(dead)


@breaks("concurrency.nothing-lost")
class WritesEverythingBack(MemoryBackend):
    """Reads the whole file, adds to it and writes it back."""

    def add(self, events: Any, *, if_exists: Any) -> Any:
        with self._lock:
            before = dict(self._rows)
        outcomes = super().add(events, if_exists=if_exists)
        _let_others_in()
        with self._lock:
            added = {e.id: self._rows[e.id] for e in events if e.id in self._rows}
            for gone in self._rows.keys() - before.keys() - added.keys():
                del self._rows[gone]
        return outcomes


@breaks("concurrency.nothing-lost")
class WritesTheIndexBack(MemoryBackend):
    """Reads the index of dues, adds to it and writes it back; only next_due looks at the events."""

    def add(self, events: Sequence[NewEvent], *, if_exists: Any) -> Any:
        with self._lock:
            before = list(self._heap)
        outcomes = super().add(events, if_exists=if_exists)
        _let_others_in()
        with self._lock:
            rows = [self._rows[event.id] for event in events if event.id in self._rows]
            self._heap = before
            for row in rows:
                if row.due is not None:
                    self._enqueue(row, row.due)
        return outcomes

    def claim(self, **kwargs: Any) -> ClaimBatch:
        batch = super().claim(**kwargs)
        with self._lock:
            dues = [row.due for row in self._rows.values() if row.due is not None]
        return attrs.evolve(batch, next_due=min(dues, default=None))


class _NoticesOthers(MemoryBackend):
    """Does not do the same when it is called by several at once."""

    def __init__(self) -> None:
        super().__init__()
        self._callers: set[int] = set()

    @contextmanager
    def alone_or_not(self) -> Iterator[bool]:
        """Whether nobody else is in here."""
        with self._lock:
            self._callers.add(threading.get_ident())
        _let_others_in()
        yield len(self._callers) == 1
        with self._lock:
            self._callers.remove(threading.get_ident())


@breaks("claim.next-due", test="concurrency.exclusive")
class NobodyKnowsWhatIsNext(_NoticesOthers):
    """Looks for the earliest due only if it need not wait for that."""

    def claim(self, **kwargs: Any) -> ClaimBatch:
        with self.alone_or_not() as is_alone:
            batch = super().claim(**kwargs)
            return batch if is_alone else attrs.evolve(batch, next_due=None)


@breaks("claim.limit", test="concurrency.exclusive")
class EverybodyGetsMore(_NoticesOthers):
    """Claims for those who wait as well."""

    def claim(self, *, limit: int, **kwargs: Any) -> ClaimBatch:
        with self.alone_or_not() as is_alone:
            return super().claim(limit=limit if is_alone else limit + 5, **kwargs)


@breaks("claim.order", test="concurrency.exclusive")
class LastComesFirst(_NoticesOthers):
    """Sorts if there is time for it."""

    def claim(self, **kwargs: Any) -> ClaimBatch:
        with self.alone_or_not() as is_alone:
            batch = super().claim(**kwargs)
            return batch if is_alone else attrs.evolve(batch, claims=list(batch.claims)[::-1])


@breaks("purge.before", test="concurrency.nothing-lost")
class CountsThenPurges(MemoryBackend):
    """SELECT count(*) in one statement, DELETE in the next."""

    def purge(self, *, before: datetime) -> int:
        with self._lock:
            deaths = [row.died for row in self._rows.values() if row.died is not None]
            number = sum(died < before for died in deaths)
        _let_others_in()
        super().purge(before=before)
        return number


@breaks("claim.token", test="concurrency.fence")
class CountsTokensWithoutALock(MemoryBackend):
    """``self.number += 1``, in two statements; whatever is claimed at once gets the same token."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def claim(self, **kwargs: Any) -> ClaimBatch:
        number = self.number
        _let_others_in()
        self.number = number + 1
        token = b"%d" % number
        batch = super().claim(**kwargs)
        with self._lock:
            for claim in batch.claims:
                row = self._rows.get(claim.id)
                if row is not None and row.token == claim.token:
                    row.token = token
        claims = [attrs.evolve(claim, token=token) for claim in batch.claims]
        return attrs.evolve(batch, claims=claims)


@breaks("errors", test="concurrency.fence")
class NeverGetsThrough(_NoticesOthers):
    """Once two have renewed at the same time, neither can any more."""

    is_torn = False

    def renew(self, *args: Any, **kwargs: Any) -> Any:
        with self.alone_or_not() as is_alone:
            self.is_torn |= not is_alone
        if self.is_torn:
            raise BackendUnavailableError("deadlock; try again", backend=self.name)
        return super().renew(*args, **kwargs)


@breaks("errors", test="concurrency.nothing-lost")
class LocksInEitherOrder(MemoryBackend):
    """Adding locks the events and then the index, claiming the index and then the events."""

    def __init__(self) -> None:
        super().__init__()
        self._events, self._index = threading.Lock(), threading.Lock()

    def add(self, *args: Any, **kwargs: Any) -> Any:
        with self._events:
            _let_others_in()
            with self._index:
                return super().add(*args, **kwargs)

    def claim(self, **kwargs: Any) -> ClaimBatch:
        with self._index:
            _let_others_in()
            with self._events:
                return super().claim(**kwargs)
