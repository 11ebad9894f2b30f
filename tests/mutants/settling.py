"""Mutants that renew and settle wrongly, or forget what was lost."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import attrs

from futurama.backend import Claim, Settlement, SettlementKind, State
from futurama.backends.memory import MemoryBackend
from futurama.times import to_us
from tests.mutants.registry import breaks


class _AfterSettling(MemoryBackend):
    """Calls :meth:`then` after a report was accepted, if the event is still stored."""

    def _settle(self, settlement: Settlement, now_us: int) -> bool:
        settled = super()._settle(settlement, now_us)
        row = self._rows.get(settlement.claim.id)
        if settled and row is not None:
            self.then(settlement, row, now_us)
        return settled

    def then(self, settlement: Settlement, row: Any, now_us: int) -> None:
        raise NotImplementedError


@breaks("lost.for-good")
class AReportMakesUpForIt(_AfterSettling):
    """Forgets a lost claim as soon as a later one is reported."""

    def then(self, settlement: Settlement, row: Any, now_us: int) -> None:
        row.lost = False


@breaks("lost.for-good")
class RequeueMakesUpForIt(MemoryBackend):
    """A requeued event is a new event."""

    def _requeue(self, event_id: str, now_us: int) -> bool:
        requeued = super()._requeue(event_id, now_us)
        if requeued:
            self._rows[event_id].lost = False
        return requeued


@breaks("renew.extends")
class NeverShortens(MemoryBackend):
    """GREATEST(due, ?)."""

    def _renew(self, claim: Claim, now_us: int, lease_us: int) -> bool:
        row = self._rows.get(claim.id)
        until = lease_us if row is None or row.due_us is None else max(row.due_us, lease_us)
        return super()._renew(claim, now_us, until)


@breaks("renew.extends")
class RenewsOneOfABatch(MemoryBackend):
    """Says True and leaves the lease as it is."""

    def _renew(self, claim: Claim, now_us: int, lease_us: int) -> bool:
        row = self._rows.get(claim.id)
        return row is not None and row.is_held_by(claim, now_us)


@breaks("fence.settle")
class AnyoneMaySettle(MemoryBackend):
    """DELETE WHERE id = ?."""

    def _settle(self, settlement: Settlement, now_us: int) -> bool:
        row = self._rows.get(settlement.claim.id)
        if row is not None and row.token is not None:
            settlement = attrs.evolve(
                settlement, claim=attrs.evolve(settlement.claim, token=row.token)
            )
        return super()._settle(settlement, now_us)


@breaks("fence.settle")
class StaleButTold(MemoryBackend):
    """Says False to a stale report, and does it all the same."""

    def _settle(self, settlement: Settlement, now_us: int) -> bool:
        row = self._rows.get(settlement.claim.id)
        if row is not None and row.token not in {None, settlement.claim.token}:
            claim = attrs.evolve(settlement.claim, token=row.token)
            super()._settle(attrs.evolve(settlement, claim=claim), now_us)
            return False
        return super()._settle(settlement, now_us)


@breaks("fence.renew")
class AnyoneMayRenew(MemoryBackend):
    """UPDATE SET due = ? WHERE id = ?."""

    def _renew(self, claim: Claim, now_us: int, lease_us: int) -> bool:
        row = self._rows.get(claim.id)
        if row is not None and row.token is not None:
            claim = attrs.evolve(claim, token=row.token)
        return super()._renew(claim, now_us, lease_us)


@breaks("fence.reported")
class BuriesWhatWasReported(MemoryBackend):
    """Looks for the attempt, not for the token."""

    def _settle(self, settlement: Settlement, now_us: int) -> bool:
        row = self._rows.get(settlement.claim.id)
        if (
            row is not None
            and row.state is State.WAITING
            and row.attempt == settlement.claim.attempt
        ):
            row.token = settlement.claim.token
            row.due_us = now_us + 1
        return super()._settle(settlement, now_us)


@breaks("fence.gone")
class GoneIsDone(MemoryBackend):
    """Takes a report on an absent event for a repeat and says True."""

    def _settle(self, settlement: Settlement, now_us: int) -> bool:
        return super()._settle(settlement, now_us) or settlement.claim.id not in self._rows


@breaks("fence.lease-end")
class HeldUntilTaken(MemoryBackend):
    """The token alone decides, whether or not the lease has ended."""

    def _settle(self, settlement: Settlement, now_us: int) -> bool:
        row = self._rows.get(settlement.claim.id)
        if row is not None and row.due_us is not None and row.token is not None:
            now_us = min(now_us, row.due_us - 1)
        return super()._settle(settlement, now_us)


@breaks("fence.lease-end")
class HeldAtTheEnd(MemoryBackend):
    """``now <= due`` where ``now < due`` was meant."""

    def _renew(self, claim: Claim, now_us: int, lease_us: int) -> bool:
        row = self._rows.get(claim.id)
        if row is not None and row.token is not None and row.due_us == now_us:
            now_us -= 1
        return super()._renew(claim, now_us, lease_us)


@breaks("settle.done")
class DoneIsDead(MemoryBackend):
    """Keeps what is done among the dead letters."""

    def _settle(self, settlement: Settlement, now_us: int) -> bool:
        if settlement.kind is SettlementKind.DONE:
            settlement = Settlement.bury(settlement.claim, "done")
        return super()._settle(settlement, now_us)


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

    def then(self, settlement: Settlement, row: Any, now_us: int) -> None:
        if settlement.kind is SettlementKind.RETRY:
            row.trigger_time_us = row.due_us


@breaks("settle.retry")
class RetriesAreFree(_AfterSettling):
    """A retry gives its attempt back."""

    def then(self, settlement: Settlement, row: Any, now_us: int) -> None:
        if settlement.kind is SettlementKind.RETRY:
            row.attempt -= 1


@breaks("settle.bury")
class BuriedWithoutAWord(_AfterSettling):
    """Cuts the reason to the width of its column."""

    def then(self, settlement: Settlement, row: Any, now_us: int) -> None:
        if row.reason is not None:
            row.reason = row.reason[:255]


@breaks("settle.bury")
class DiesWhenItsLeaseEnds(_AfterSettling):
    """Notes the wrong time of death."""

    def then(self, settlement: Settlement, row: Any, now_us: int) -> None:
        if row.died_us is not None:
            row.died_us = to_us(settlement.claim.lease_until)


@breaks("settle.release")
class ReleasedMeansNow(_AfterSettling):
    """A released event is due at once."""

    def then(self, settlement: Settlement, row: Any, now_us: int) -> None:
        if settlement.kind is SettlementKind.RELEASE:
            self._enqueue(row, now_us)


@breaks("settle.release")
class ReleasesAreCharged(_AfterSettling):
    """A release costs an attempt."""

    def then(self, settlement: Settlement, row: Any, now_us: int) -> None:
        if settlement.kind is SettlementKind.RELEASE:
            row.attempt += 1
