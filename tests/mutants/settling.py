"""Mutants that renew and settle wrongly, or forget what was lost."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import attrs

from futurama.backend import AddOutcome, Claim, NewEvent, Settlement, SettlementKind, State
from futurama.backends.memory import MemoryBackend
from futurama.times import EARLIEST
from tests.mutants.registry import breaks

_MICROSECOND = timedelta(microseconds=1)


def _just_before(time: datetime) -> datetime:
    return max(time, EARLIEST + _MICROSECOND) - _MICROSECOND


class _AfterSettling(MemoryBackend):
    """Calls :meth:`then` after a report was accepted, if the event is still stored."""

    def _settle(self, settlement: Settlement, now: datetime) -> bool:
        settled = super()._settle(settlement, now)
        row = self._rows.get(settlement.claim.id)
        if settled and row is not None:
            self.then(settlement, row, now)
        return settled

    def then(self, settlement: Settlement, row: Any, now: datetime) -> None:
        raise NotImplementedError


@breaks("lost.for-good")
class AReportMakesUpForIt(_AfterSettling):
    """Forgets a lost claim as soon as a later one is reported."""

    def then(self, settlement: Settlement, row: Any, now: datetime) -> None:
        row.lost = False


@breaks("lost.for-good")
class RequeueMakesUpForIt(MemoryBackend):
    """A requeued event is a new event."""

    def _requeue(self, event_id: str, now: datetime) -> bool:
        requeued = super()._requeue(event_id, now)
        if requeued:
            self._rows[event_id].lost = False
        return requeued


@breaks("lost.for-good")
class AReplacementOfTheDeadMakesUpForIt(MemoryBackend):
    """A dead letter has no call under way, so its successor is not lost."""

    def _add(self, event: NewEvent, if_exists: Any) -> AddOutcome:
        row = self._rows.get(event.id)
        outcome = super()._add(event, if_exists)
        if outcome is AddOutcome.REPLACED and row is not None and row.state is State.DEAD:
            self._rows[event.id].lost = False
        return outcome


@breaks("renew.extends")
class NeverEndsBeforeNow(MemoryBackend):
    """GREATEST(now, ?)."""

    def _renew(self, claim: Claim, now: datetime, lease_until: datetime) -> bool:
        return super()._renew(claim, now, max(now, lease_until))


@breaks("fence.lease-end")
class RefusesToEndALease(MemoryBackend):
    """Takes an end of the lease that is not ahead for a mistake."""

    def _renew(self, claim: Claim, now: datetime, lease_until: datetime) -> bool:
        return now < lease_until and super()._renew(claim, now, lease_until)


@breaks("renew.extends")
class NeverShortens(MemoryBackend):
    """GREATEST(due, ?)."""

    def _renew(self, claim: Claim, now: datetime, lease_until: datetime) -> bool:
        row = self._rows.get(claim.id)
        until = lease_until if row is None or row.due is None else max(row.due, lease_until)
        return super()._renew(claim, now, until)


@breaks("renew.extends")
class RenewsOneOfABatch(MemoryBackend):
    """Says True and leaves the lease as it is."""

    def _renew(self, claim: Claim, now: datetime, lease_until: datetime) -> bool:
        row = self._rows.get(claim.id)
        return row is not None and row.is_held_by(claim, now)


@breaks("fence.settle")
class AnyoneMaySettle(MemoryBackend):
    """DELETE WHERE id = ?."""

    def _settle(self, settlement: Settlement, now: datetime) -> bool:
        row = self._rows.get(settlement.claim.id)
        if row is not None and row.token is not None:
            settlement = attrs.evolve(
                settlement, claim=attrs.evolve(settlement.claim, token=row.token)
            )
        return super()._settle(settlement, now)


@breaks("fence.settle")
class StaleButTold(MemoryBackend):
    """Says False to a stale report, and does it all the same."""

    def _settle(self, settlement: Settlement, now: datetime) -> bool:
        row = self._rows.get(settlement.claim.id)
        if row is not None and row.token not in {None, settlement.claim.token}:
            claim = attrs.evolve(settlement.claim, token=row.token)
            super()._settle(attrs.evolve(settlement, claim=claim), now)
            return False
        return super()._settle(settlement, now)


class _Unfenced(MemoryBackend):
    """Reports of one kind ask for no token."""

    kind: SettlementKind

    def _settle(self, settlement: Settlement, now: datetime) -> bool:
        row = self._rows.get(settlement.claim.id)
        if settlement.kind is self.kind and row is not None and row.token is not None:
            claim = attrs.evolve(settlement.claim, token=row.token)
            settlement = attrs.evolve(settlement, claim=claim)
        return super()._settle(settlement, now)


@breaks("fence.settle")
class AnyoneMayEndIt(_Unfenced):
    """DELETE WHERE id = ?, for calls that ended well."""

    kind = SettlementKind.DONE


@breaks("fence.settle")
class AnyoneMayRetry(_Unfenced):
    """UPDATE SET due = ? WHERE id = ?, for retries."""

    kind = SettlementKind.RETRY


@breaks("fence.settle")
class AnyoneMayBury(_Unfenced):
    """UPDATE SET died = ? WHERE id = ?, for dead letters."""

    kind = SettlementKind.BURY


@breaks("fence.settle")
class AnyoneMayRelease(_Unfenced):
    """UPDATE SET token = NULL WHERE id = ?, for what was not called."""

    kind = SettlementKind.RELEASE


@breaks("fence.renew")
class AnyoneMayRenew(MemoryBackend):
    """UPDATE SET due = ? WHERE id = ?."""

    def _renew(self, claim: Claim, now: datetime, lease_until: datetime) -> bool:
        row = self._rows.get(claim.id)
        if row is not None and row.token is not None:
            claim = attrs.evolve(claim, token=row.token)
        return super()._renew(claim, now, lease_until)


@breaks("fence.reported")
class BuriesWhatWasReported(MemoryBackend):
    """Looks for the attempt, not for the token."""

    def _settle(self, settlement: Settlement, now: datetime) -> bool:
        row = self._rows.get(settlement.claim.id)
        if (
            row is not None
            and row.state is State.WAITING
            and row.attempt == settlement.claim.attempt
        ):
            row.token = settlement.claim.token
            row.entry = (now + _MICROSECOND, row.id)
        return super()._settle(settlement, now)


@breaks("fence.gone")
class GoneIsDone(MemoryBackend):
    """Takes a report on an absent event for a repeat and says True."""

    def _settle(self, settlement: Settlement, now: datetime) -> bool:
        return super()._settle(settlement, now) or settlement.claim.id not in self._rows


@breaks("fence.lease-end")
class HeldUntilTaken(MemoryBackend):
    """The token alone decides, whether or not the lease has ended."""

    def _settle(self, settlement: Settlement, now: datetime) -> bool:
        row = self._rows.get(settlement.claim.id)
        if row is not None and row.due is not None and row.token is not None:
            now = min(now, _just_before(row.due))
        return super()._settle(settlement, now)


@breaks("fence.lease-end")
class HeldAtTheEnd(MemoryBackend):
    """``now <= due`` where ``now < due`` was meant."""

    def _renew(self, claim: Claim, now: datetime, lease_until: datetime) -> bool:
        row = self._rows.get(claim.id)
        if row is not None and row.token is not None and row.due == now:
            now = _just_before(now)
        return super()._renew(claim, now, lease_until)


class _HeldABitLonger(MemoryBackend):
    """Reports of one kind are accepted at the very end of the lease."""

    kind: SettlementKind

    def _settle(self, settlement: Settlement, now: datetime) -> bool:
        row = self._rows.get(settlement.claim.id)
        if settlement.kind is self.kind and row is not None and row.due == now:
            now = _just_before(now)
        return super()._settle(settlement, now)


@breaks("fence.lease-end")
class DoneAtTheEnd(_HeldABitLonger):
    """``now <= due``."""

    kind = SettlementKind.DONE


@breaks("fence.lease-end")
class RetriedAtTheEnd(_HeldABitLonger):
    """``now <= due``."""

    kind = SettlementKind.RETRY


@breaks("fence.lease-end")
class BuriedAtTheEnd(_HeldABitLonger):
    """``now <= due``."""

    kind = SettlementKind.BURY


@breaks("fence.lease-end")
class ReleasedAtTheEnd(_HeldABitLonger):
    """``now <= due``."""

    kind = SettlementKind.RELEASE


@breaks("fence.lease-end")
class RefusesTheLastMoment(MemoryBackend):
    """``now < due - 1``, for reports."""

    def _settle(self, settlement: Settlement, now: datetime) -> bool:
        return super()._settle(settlement, now + _MICROSECOND)


@breaks("fence.lease-end")
class TooLateForTheLastMoment(MemoryBackend):
    """``now < due - 1``, for renewals."""

    def _renew(self, claim: Claim, now: datetime, lease_until: datetime) -> bool:
        return super()._renew(claim, now + _MICROSECOND, lease_until)


@breaks("settle.done")
class DoneIsDead(MemoryBackend):
    """Keeps what is done among the dead letters."""

    def _settle(self, settlement: Settlement, now: datetime) -> bool:
        if settlement.kind is SettlementKind.DONE:
            settlement = Settlement.bury(settlement.claim, "done")
        return super()._settle(settlement, now)


@breaks("settle.retry")
class EmptyPayloadsAreNone(MemoryBackend):
    """``if settlement.payload`` where ``is not None`` was meant."""

    def settle(self, settlements: Sequence[Settlement], *, now: datetime) -> Any:
        return super().settle(
            [attrs.evolve(s, payload=s.payload or None) for s in settlements], now=now
        )


@breaks("settle.retry")
class RetriesMoveTheTriggerTime(_AfterSettling):
    """One column for the trigger time and the due."""

    def then(self, settlement: Settlement, row: Any, now: datetime) -> None:
        if settlement.kind is SettlementKind.RETRY:
            row.trigger_time = row.due


@breaks("settle.retry")
class RetriesAreFree(_AfterSettling):
    """A retry gives its attempt back."""

    def then(self, settlement: Settlement, row: Any, now: datetime) -> None:
        if settlement.kind is SettlementKind.RETRY:
            row.attempt -= 1


@breaks("settle.retry")
class RetriesLoseThePayload(_AfterSettling):
    """Writes the given payload whether or not there is one."""

    def then(self, settlement: Settlement, row: Any, now: datetime) -> None:
        if settlement.kind is SettlementKind.RETRY:
            row.payload = settlement.payload or b""


@breaks("data.exact", test="settle.retry")
class RetriesLoseTheType(_AfterSettling):
    """Writes the event anew, with the type that all others have."""

    def then(self, settlement: Settlement, row: Any, now: datetime) -> None:
        if settlement.kind is SettlementKind.RETRY:
            row.trigger_type = "default"


@breaks("settle.retry")
class RetriesAreImmediate(_AfterSettling):
    """Forgets the given due."""

    def then(self, settlement: Settlement, row: Any, now: datetime) -> None:
        if settlement.kind is SettlementKind.RETRY:
            self._enqueue(row, now)


@breaks("settle.bury")
class BuriedWithoutAWord(_AfterSettling):
    """Cuts the reason to the width of its column."""

    def then(self, settlement: Settlement, row: Any, now: datetime) -> None:
        if row.reason is not None:
            row.reason = row.reason[:255]


@breaks("settle.bury")
class DiesWhenItsLeaseEnds(_AfterSettling):
    """Notes the wrong time of death."""

    def then(self, settlement: Settlement, row: Any, now: datetime) -> None:
        if row.died is not None:
            row.died = settlement.claim.lease_until


@breaks("settle.release")
class ReleasedMeansNow(_AfterSettling):
    """A released event is due at once."""

    def then(self, settlement: Settlement, row: Any, now: datetime) -> None:
        if settlement.kind is SettlementKind.RELEASE:
            self._enqueue(row, now)


@breaks("settle.release")
class ReleasedAsBefore(_AfterSettling):
    """The due of the report is overlooked."""

    def then(self, settlement: Settlement, row: Any, now: datetime) -> None:
        if settlement.kind is SettlementKind.RELEASE:
            self._enqueue(row, settlement.claim.due)


@breaks("settle.release")
class ReleasesAreCharged(_AfterSettling):
    """A release costs an attempt."""

    def then(self, settlement: Settlement, row: Any, now: datetime) -> None:
        if settlement.kind is SettlementKind.RELEASE:
            row.attempt += 1
