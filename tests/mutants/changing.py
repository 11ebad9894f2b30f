"""Mutants that cancel, reschedule, requeue and purge wrongly."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs

from futurama.backend import ClaimBatch, Move, State
from futurama.backends.memory import MemoryBackend
from futurama.events import CancelOutcome, RescheduleOutcome
from futurama.times import EARLIEST
from tests.mutants.registry import breaks


def _is_past(due: datetime | None) -> bool:
    """By the clock of this machine."""
    return due is not None and due <= datetime.now(UTC)


@breaks("cancel.waiting")
class TriedMeansInFlight(MemoryBackend):
    """Takes an event that was ever attempted for one in flight."""

    def _cancel(self, event_id: str) -> CancelOutcome:
        row = self._rows.get(event_id)
        outcome = super()._cancel(event_id)
        if outcome is CancelOutcome.CANCELLED and row is not None and row.attempt:
            return CancelOutcome.IN_FLIGHT
        return outcome


class _OnlySaysSo(MemoryBackend):
    """The right answer, and the event is still there."""

    def leaves(self, row: Any) -> bool:
        raise NotImplementedError

    def _cancel(self, event_id: str) -> CancelOutcome:
        row = self._rows.get(event_id)
        outcome = super()._cancel(event_id)
        if row is not None and row.due is not None and self.leaves(row):
            self._rows[event_id] = row
            self._enqueue(row, row.due)
        return outcome


@breaks("cancel.waiting")
class LeavesTheWaiting(_OnlySaysSo):
    """CANCELLED, and it will be called."""

    def leaves(self, row: Any) -> bool:
        return row.state is State.WAITING and not row.lost


@breaks("cancel.lost")
class LeavesTheLost(_OnlySaysSo):
    """IN_FLIGHT, and it is tried again."""

    def leaves(self, row: Any) -> bool:
        return row.state is State.WAITING and bool(row.lost)


@breaks("cancel.claimed")
class CancelsExpiredClaims(MemoryBackend):
    """Takes an ended lease for the end of the call."""

    def cancel(self, ids: Sequence[str]) -> Sequence[CancelOutcome]:
        expired = {
            row.id
            for row in self._rows.values()
            if row.state is State.CLAIMED and row.due is not None and row.due <= self._latest
        }
        return [
            CancelOutcome.CANCELLED if event_id in expired else outcome
            for event_id, outcome in zip(ids, super().cancel(ids), strict=True)
        ]

    _latest = EARLIEST

    def claim(self, *, now: datetime, **kwargs: Any) -> ClaimBatch:
        self._latest = max(self._latest, now)
        return super().claim(now=now, **kwargs)


@breaks("cancel.claimed")
class CancelsByItsOwnClock(MemoryBackend):
    """The lease has ended by the clock of this machine, whatever ``now`` the callers go by."""

    def _cancel(self, event_id: str) -> CancelOutcome:
        row = self._rows.get(event_id)
        if row is not None and row.token is not None and _is_past(row.due):
            row.token, row.lost = None, False
        return super()._cancel(event_id)


@breaks("cancel.claimed")
class LeavesTheClaimed(MemoryBackend):
    """IN_FLIGHT without removing, so that the event is tried again."""

    def _cancel(self, event_id: str) -> CancelOutcome:
        row = self._rows.get(event_id)
        if row is not None and row.state is State.CLAIMED:
            return CancelOutcome.IN_FLIGHT
        return super()._cancel(event_id)


@breaks("cancel.claimed")
class CancelsTheClaimed(MemoryBackend):
    """CANCELLED although a call is under way."""

    def _cancel(self, event_id: str) -> CancelOutcome:
        row = self._rows.get(event_id)
        outcome = super()._cancel(event_id)
        claimed = row is not None and row.state is State.CLAIMED
        return CancelOutcome.CANCELLED if claimed else outcome


@breaks("cancel.lost")
class ForgetsTheSilentCall(MemoryBackend):
    """CANCELLED although the call of a silent owner may be under way."""

    def _cancel(self, event_id: str) -> CancelOutcome:
        row = self._rows.get(event_id)
        if row is not None and row.state is State.WAITING:
            row.lost = False
        return super()._cancel(event_id)


@breaks("cancel.dead")
class CancelsTheDead(MemoryBackend):
    """DELETE WHERE id = ?."""

    def _cancel(self, event_id: str) -> CancelOutcome:
        row = self._rows.get(event_id)
        if row is not None and row.state is State.DEAD:
            del self._rows[row.id]
            return CancelOutcome.CANCELLED
        return super()._cancel(event_id)


@breaks("cancel.absent")
class AbsentIsCancelled(MemoryBackend):
    """What is not there will not be called, so it counts as cancelled."""

    def _cancel(self, event_id: str) -> CancelOutcome:
        absent = event_id not in self._rows
        return CancelOutcome.CANCELLED if absent else super()._cancel(event_id)


@breaks("reschedule.waiting")
class MovesOnlyTheDue(MemoryBackend):
    """Leaves the trigger time as it was."""

    def _reschedule(self, move: Move) -> RescheduleOutcome:
        row = self._rows.get(move.id)
        before = None if row is None else row.trigger_time
        outcome = super()._reschedule(move)
        if row is not None and before is not None:
            row.trigger_time = before
        return outcome


@breaks("reschedule.waiting")
class MovesMakeNew(MemoryBackend):
    """Forgets the attempts of an event that is moved."""

    def _reschedule(self, move: Move) -> RescheduleOutcome:
        outcome = super()._reschedule(move)
        if outcome is RescheduleOutcome.RESCHEDULED:
            self._rows[move.id].attempt = 0
        return outcome


@breaks("reschedule.waiting")
class EmptyPayloadsStay(MemoryBackend):
    """``if move.payload`` where ``is not None`` was meant."""

    def _reschedule(self, move: Move) -> RescheduleOutcome:
        return super()._reschedule(attrs.evolve(move, payload=move.payload or None))


class _MovesIn(MemoryBackend):
    """Says what is right, and changes the payload although it must not."""

    state: State
    lost: bool = False

    def _reschedule(self, move: Move) -> RescheduleOutcome:
        outcome = super()._reschedule(move)
        row = self._rows.get(move.id)
        wrong = row is not None and row.state is self.state and row.lost is self.lost
        if wrong and row is not None and move.payload is not None:
            row.payload = move.payload
        return outcome


@breaks("reschedule.claimed")
class MovesTheClaimed(_MovesIn):
    """The next attempt sees the new payload, this one does not."""

    state = State.CLAIMED


@breaks("reschedule.claimed")
class MovesByItsOwnClock(MemoryBackend):
    """The same for moving."""

    def _reschedule(self, move: Move) -> RescheduleOutcome:
        row = self._rows.get(move.id)
        if row is not None and row.token is not None and _is_past(row.due):
            row.token, row.lost = None, False
        return super()._reschedule(move)


@breaks("reschedule.lost")
class MovesTheLost(_MovesIn):
    """A call with the former payload may be under way."""

    state, lost = State.WAITING, True


@breaks("reschedule.lost")
class SaysTheLostIsMoved(MemoryBackend):
    """RESCHEDULED for a lost event."""

    def _reschedule(self, move: Move) -> RescheduleOutcome:
        row = self._rows.get(move.id)
        if row is not None and row.lost and row.state is State.WAITING:
            return RescheduleOutcome.RESCHEDULED
        return super()._reschedule(move)


@breaks("reschedule.dead")
class MovesTheDead(_MovesIn):
    """Nobody will see it, and yet."""

    state = State.DEAD


@breaks("reschedule.absent")
class AbsentIsInFlight(MemoryBackend):
    """Takes an event that has ended for one in flight."""

    def _reschedule(self, move: Move) -> RescheduleOutcome:
        absent = move.id not in self._rows
        return RescheduleOutcome.IN_FLIGHT if absent else super()._reschedule(move)


@breaks("replay.reschedule")
class UnchangedIsNotFound(MemoryBackend):
    """Reads the number of *changed* rows, which MySQL reports, as that of matching ones."""

    def _reschedule(self, move: Move) -> RescheduleOutcome:
        row = self._rows.get(move.id)
        before = copy(row)
        outcome = super()._reschedule(move)
        if outcome is RescheduleOutcome.RESCHEDULED and before == row:
            return RescheduleOutcome.NOT_FOUND
        return outcome


@breaks("requeue.dead")
class RequeuedIsStillTired(MemoryBackend):
    """Keeps the attempts, so that the first failure buries the event again."""

    def _requeue(self, event_id: str, now: datetime) -> bool:
        row = self._rows.get(event_id)
        attempt = 0 if row is None else row.attempt
        requeued = super()._requeue(event_id, now)
        if requeued and row is not None:
            row.attempt = attempt
        return requeued


@breaks("requeue.dead")
class RequeuedForItsFirstTime(MemoryBackend):
    """Due at the trigger time instead of now."""

    def _requeue(self, event_id: str, now: datetime) -> bool:
        row = self._rows.get(event_id)
        return super()._requeue(event_id, now if row is None else row.trigger_time)


@breaks("requeue.others")
class RequeuesTheLiving(MemoryBackend):
    """UPDATE SET due = ? WHERE id = ?."""

    def _requeue(self, event_id: str, now: datetime) -> bool:
        row = self._rows.get(event_id)
        if row is not None and row.state is State.WAITING:
            self._enqueue(row, now)
            return True
        return super()._requeue(event_id, now)


@breaks("purge.before")
class PurgesAtToo(MemoryBackend):
    """``<=`` where ``<`` was meant."""

    def purge(self, *, before: datetime) -> int:
        return super().purge(before=before + timedelta(microseconds=before.year < 9999))


@breaks("purge.before")
class PurgesOneTooFew(MemoryBackend):
    """``died < before - 1``."""

    def purge(self, *, before: datetime) -> int:
        return super().purge(before=before - timedelta(microseconds=before.year > 1))


@breaks("purge.before")
class PurgesTheLiving(MemoryBackend):
    """Removes whatever is old."""

    def purge(self, *, before: datetime) -> int:
        for row in list(self._rows.values()):
            if row.due is not None and row.due < before:
                del self._rows[row.id]
        return super().purge(before=before)


@breaks("purge.before")
class PurgesAndForgetsToCount(MemoryBackend):
    """Returns how many are left."""

    def purge(self, *, before: datetime) -> int:
        super().purge(before=before)
        return self.count()[State.DEAD]
