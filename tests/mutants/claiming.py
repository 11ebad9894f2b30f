"""Mutants that claim wrongly."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import attrs

from futurama.backend import Claim, ClaimBatch, State
from futurama.backends.memory import MemoryBackend
from tests.mutants.registry import breaks

_MICROSECOND = timedelta(microseconds=1)


@breaks("claim.due")
class WaitsForAfter(MemoryBackend):
    """``<`` where ``<=`` was meant."""

    def claim(self, *, due_before: datetime, **kwargs: Any) -> ClaimBatch:
        earlier = due_before - _MICROSECOND if due_before.year > 1 else due_before
        return super().claim(due_before=earlier, **kwargs)


@breaks("claim.due")
class HandsOutAMicrosecondEarly(MemoryBackend):
    """``due - 1 <= due_before``."""

    def claim(self, *, due_before: datetime, **kwargs: Any) -> ClaimBatch:
        later = due_before + _MICROSECOND if due_before.year < 9999 else due_before
        return super().claim(due_before=later, **kwargs)


@breaks("claim.due")
class NowIsAlwaysDue(MemoryBackend):
    """Hands out what is due now although the horizon lies before."""

    def claim(self, *, now: datetime, due_before: datetime, **kwargs: Any) -> ClaimBatch:
        return super().claim(now=now, due_before=max(now, due_before), **kwargs)


@breaks("claim.look-ahead")
class LeasesEndByTheHorizon(MemoryBackend):
    """One ``due <= due_before`` for waiting and claimed events."""

    def claim(self, *, now: datetime, due_before: datetime, **kwargs: Any) -> ClaimBatch:
        return super().claim(now=max(now, due_before), due_before=due_before, **kwargs)


class _LimitsBeforeItFilters(MemoryBackend):
    """ORDER BY due LIMIT ?, and of these only what may be handed out."""

    def claim(
        self, *, now: datetime, due_before: datetime, limit: int, **kwargs: Any
    ) -> ClaimBatch:
        if self.filters_late(now, due_before):
            limit = self._claimable_of_the_first(limit, now, due_before)
        if not limit:
            return ClaimBatch(claims=[], next_due=self._next_due())
        return super().claim(now=now, due_before=due_before, limit=limit, **kwargs)

    def filters_late(self, now: datetime, due_before: datetime) -> bool:
        raise NotImplementedError

    def _claimable_of_the_first(self, limit: int, now: datetime, due_before: datetime) -> int:
        live = sorted(
            (row.due, row.id, row.state) for row in self._rows.values() if row.due is not None
        )
        return sum(
            due <= (due_before if state is State.WAITING else now) for due, _, state in live[:limit]
        )


@breaks("claim.due")
class RunningLeasesTakeUpTheLimit(_LimitsBeforeItFilters):
    """What waits behind a running lease starves when one looks ahead."""

    def filters_late(self, now: datetime, due_before: datetime) -> bool:
        return now < due_before


@breaks("claim.lease")
class WaitingEventsTakeUpTheLimit(_LimitsBeforeItFilters):
    """An ended lease behind what waits starves when the horizon lies before now."""

    def filters_late(self, now: datetime, due_before: datetime) -> bool:
        return due_before < now


class _SortsOtherwise(MemoryBackend):
    """Takes what is due in another order."""

    def place(self, row: Any) -> Any:
        raise NotImplementedError

    def _pop_until(self, horizon: datetime) -> Iterator[Any]:
        while due := list(super()._pop_until(horizon)):
            first = min(due, key=lambda found: self.place(found[1]))
            self._heap += [entry for entry, row in due if row is not first[1]]
            heapq.heapify(self._heap)
            yield first


@breaks("claim.order")
class SortsByDueOnly(_SortsOtherwise):
    """Equal dues come in the order of their insertion, backwards."""

    def place(self, row: Any) -> Any:
        return (row.due, -list(self._rows).index(row.id))


@breaks("claim.order")
class SortsByFloats(_SortsOtherwise):
    """Times are seconds in a float, which counts microseconds until 2242."""

    def place(self, row: Any) -> Any:
        return (row.due.timestamp(), row.id)


@breaks("claim.order")
class SortsLikeJava(_SortsOtherwise):
    """Ids in the order of UTF-16."""

    def place(self, row: Any) -> Any:
        return (row.due, row.id.encode("utf-16-be"))


@breaks("batch.large")
class LosesWhatIsStale(MemoryBackend):
    """Cleans its heap up now and then, and throws away too much."""

    def _enqueue(self, row: Any, due: datetime) -> None:
        if len(self._heap) == 2 * len(self._rows) + 64:
            self._heap.clear()
        super()._enqueue(row, due)


@breaks("claim.order")
class TheNewestComesFirst(MemoryBackend):
    """A stack."""

    def claim(self, **kwargs: Any) -> ClaimBatch:
        batch = super().claim(**kwargs)
        return attrs.evolve(batch, claims=batch.claims[::-1])


@breaks("claim.limit")
class HandsOutAllThereIs(MemoryBackend):
    """Takes the limit for a hint."""

    def claim(self, *, limit: int, **kwargs: Any) -> ClaimBatch:
        return super().claim(limit=limit + 100, **kwargs)


@breaks("claim.due", test="claim.limit")
class OneLess(MemoryBackend):
    """``<`` where ``<=`` was meant, in the count of what was handed out."""

    def claim(self, *, limit: int, **kwargs: Any) -> ClaimBatch:
        return super().claim(limit=limit - 1, **kwargs)


@breaks("claim.limit")
class OneMore(MemoryBackend):
    """Fetches one more than asked to know whether there is more, and hands it out."""

    def claim(self, *, limit: int, **kwargs: Any) -> ClaimBatch:
        return super().claim(limit=limit + 1, **kwargs)


@breaks("claim.exclusive")
class OwnersMayHaveItBack(MemoryBackend):
    """Takes a claim by the same owner for a restart of that owner."""

    def claim(
        self, *, owner: str, now: datetime, due_before: datetime, **kwargs: Any
    ) -> ClaimBatch:
        for row in self._rows.values():
            if row.owner == owner and row.due is not None and row.due > due_before:
                self._enqueue(row, now)
        return super().claim(owner=owner, now=now, due_before=due_before, **kwargs)


@breaks("claim.exclusive")
class IgnoresTheLease(MemoryBackend):
    """Hands out whatever its trigger time makes due, claimed or not."""

    def claim(self, *, now: datetime, due_before: datetime, **kwargs: Any) -> ClaimBatch:
        for row in self._rows.values():
            if row.state is State.CLAIMED and row.trigger_time <= due_before:
                self._enqueue(row, min(row.due or now, now))
        return super().claim(now=now, due_before=due_before, **kwargs)


@breaks("claim.exclusive")
class LeasesEndAMicrosecondEarly(MemoryBackend):
    """Hands out just before the end of the lease."""

    def claim(self, *, now: datetime, **kwargs: Any) -> ClaimBatch:
        return super().claim(now=now + _MICROSECOND if now.year < 9999 else now, **kwargs)


@breaks("claim.lease")
class TheHorizonEndsEverything(MemoryBackend):
    """Asks for ``due <= due_before`` first, so that ended leases behind the horizon are not seen."""

    def claim(self, *, now: datetime, due_before: datetime, **kwargs: Any) -> ClaimBatch:
        return super().claim(now=min(now, due_before), due_before=due_before, **kwargs)


@breaks("claim.lease")
class LeasesMustBeLong(MemoryBackend):
    """Takes what ends before the new lease does for all there is."""

    def claim(self, *, now: datetime, lease_until: datetime, **kwargs: Any) -> ClaimBatch:
        return super().claim(now=min(now, lease_until), lease_until=lease_until, **kwargs)


@breaks("claim.lease")
class NeverSweeps(MemoryBackend):
    """A claim is for ever: whoever dies takes the event along."""

    def claim(self, *, now: datetime, **kwargs: Any) -> ClaimBatch:
        del now
        return super().claim(now=datetime.min.replace(tzinfo=kwargs["due_before"].tzinfo), **kwargs)


@breaks("claim.lease")
class LeasesLastAMicrosecondMore(MemoryBackend):
    """Hands out only after the end of the lease, not at it."""

    def claim(self, *, now: datetime, **kwargs: Any) -> ClaimBatch:
        return super().claim(now=now - _MICROSECOND if now.year > 1 else now, **kwargs)


class _ChangesClaims(MemoryBackend):
    def change(self, claim: Claim) -> Claim:
        raise NotImplementedError

    def claim(self, **kwargs: Any) -> ClaimBatch:
        batch = super().claim(**kwargs)
        return attrs.evolve(batch, claims=[self.change(claim) for claim in batch.claims])


@breaks("claim.attempt")
class LostOnesDoNotCount(_ChangesClaims):
    """Counts attempts when they are reported, so a killed process costs none."""

    def change(self, claim: Claim) -> Claim:
        if claim.lost_before:
            self._rows[claim.id].attempt -= 1
            return attrs.evolve(claim, attempt=claim.attempt - 1)
        return claim


@breaks("claim.token")
class TokensAreAttempts(_ChangesClaims):
    """A token that is made of the event, so that a new event of the same id repeats it."""

    def change(self, claim: Claim) -> Claim:
        token = hashlib.sha256(f"{claim.id}{claim.attempt}".encode()).digest()
        self._rows[claim.id].token = token
        return attrs.evolve(claim, token=token)


@breaks("claim.token")
class TokensAreOwners(_ChangesClaims):
    """The owner's name is the token, as in many a table with a ``locked_by`` column."""

    def change(self, claim: Claim) -> Claim:
        token = str(self._rows[claim.id].owner).encode()
        self._rows[claim.id].token = token
        return attrs.evolve(claim, token=token)


@breaks("claim.token")
class CountsFromOneAgain(_ChangesClaims):
    """Tokens are numbers that start afresh when the backend is opened, as after every restart."""

    _number = 0

    def open(self) -> None:
        """Numbers start afresh."""
        super().open()
        self._number = 0

    def change(self, claim: Claim) -> Claim:
        self._number += 1
        token = str(self._number).encode()
        self._rows[claim.id].token = token
        return attrs.evolve(claim, token=token)


@breaks("claim.carries")
class DueIsTheTriggerTime(_ChangesClaims):
    """Retries look as if they were due when the first attempt was."""

    def change(self, claim: Claim) -> Claim:
        return attrs.evolve(claim, due=claim.trigger_time)


@breaks("claim.carries")
class CarriesTheFirstPayload(_ChangesClaims):
    """Reads the event from a cache that a retry does not invalidate."""

    def __init__(self) -> None:
        super().__init__()
        self._cache: dict[str, bytes] = {}

    def change(self, claim: Claim) -> Claim:
        return attrs.evolve(claim, payload=self._cache.setdefault(claim.id, claim.payload))


@breaks("claim.next-due")
class LeasesDoNotCount(MemoryBackend):
    """Tells when the next *waiting* event is due, so nobody wakes up for an ended lease."""

    def claim(self, **kwargs: Any) -> ClaimBatch:
        batch = super().claim(**kwargs)
        waiting = [row for row in self._rows.values() if row.state is State.WAITING]
        dues = [row.due for row in waiting if row.due is not None]
        return attrs.evolve(batch, next_due=min(dues, default=None))


@breaks("claim.next-due")
class RemembersWhatWasRemoved(MemoryBackend):
    """Keeps the earliest due in a variable that removing an event does not correct."""

    def __init__(self) -> None:
        super().__init__()
        self._earliest: dict[str, datetime] = {}

    def _enqueue(self, row: Any, due: datetime) -> None:
        super()._enqueue(row, due)
        self._earliest[row.id] = due

    def _settle(self, settlement: Any, now: datetime) -> bool:
        settled = super()._settle(settlement, now)
        if settled and not self._lives(settlement.claim.id):
            self._earliest.pop(settlement.claim.id, None)
        return settled

    def _lives(self, event_id: str) -> bool:
        row = self._rows.get(event_id)
        return row is not None and row.state is not State.DEAD

    def claim(self, **kwargs: Any) -> ClaimBatch:
        batch = super().claim(**kwargs)
        earliest = min(self._earliest.values(), default=None)
        return attrs.evolve(batch, next_due=earliest)


@breaks("claim.next-due")
class NextDueOfBefore(MemoryBackend):
    """Reads the earliest due before it hands out."""

    def claim(self, **kwargs: Any) -> ClaimBatch:
        with self._lock:
            before = self._next_due()
        return attrs.evolve(super().claim(**kwargs), next_due=before)


@breaks("claim.next-due")
class NothingMeansNever(MemoryBackend):
    """Tells the next due only after it handed out something."""

    def claim(self, **kwargs: Any) -> ClaimBatch:
        batch = super().claim(**kwargs)
        return batch if batch.claims else attrs.evolve(batch, next_due=None)


@breaks("lost.counted")
class ForgetsSilentOwners(_ChangesClaims):
    """Takes over an expired claim as if it had been released."""

    def change(self, claim: Claim) -> Claim:
        self._rows[claim.id].lost = False
        return attrs.evolve(claim, lost_before=False)


@breaks("lost.counted")
class RetriesCountAsLost(_ChangesClaims):
    """Takes every attempt but the first for a lost one."""

    def change(self, claim: Claim) -> Claim:
        self._rows[claim.id].lost = claim.attempt > 1
        return attrs.evolve(claim, lost_before=claim.attempt > 1)
