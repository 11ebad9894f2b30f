"""Mutants that mistreat ids, data, times and batches."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import attrs

from futurama.backend import (
    AddOutcome,
    Claim,
    NewEvent,
    Page,
    Query,
    Settlement,
    check_payload,
)
from futurama.backends.memory import MemoryBackend, MemorySettings
from futurama.errors import BackendRejectedError
from futurama.events import CancelOutcome
from tests.mutants.registry import MEMORY, breaks

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Rows(dict[str, Any]):
    """Takes ids for one another that are the same after ``key``."""

    def __init__(self, key: Callable[[str], str]) -> None:
        super().__init__()
        self._key = key

    def __getitem__(self, event_id: str) -> Any:
        return super().__getitem__(self._key(event_id))

    def __setitem__(self, event_id: str, row: Any) -> None:
        super().__setitem__(self._key(event_id), row)

    def __delitem__(self, event_id: str) -> None:
        super().__delitem__(self._key(event_id))

    def get(self, event_id: str, default: Any = None) -> Any:
        return super().get(self._key(event_id), default)


class _Collating(MemoryBackend):
    def __init__(self, settings: MemorySettings | None = None) -> None:
        super().__init__(settings)
        self._rows = _Rows(self.key)

    def key(self, event_id: str) -> str:
        raise NotImplementedError


@breaks("id.byte-exact")
class IgnoresCase(_Collating):
    """A *_ci collation."""

    def key(self, event_id: str) -> str:
        return event_id.casefold()


@breaks("id.byte-exact")
class IgnoresTrailingSpace(_Collating):
    """A PAD SPACE collation, or CHAR columns."""

    def key(self, event_id: str) -> str:
        return event_id.rstrip()


@breaks("id.byte-exact")
class EndsAtNul(_Collating):
    """A string of C."""

    def key(self, event_id: str) -> str:
        return event_id.partition("\0")[0]


@breaks("id.byte-exact")
class Normalizes(_Collating):
    """An "improved" id."""

    def key(self, event_id: str) -> str:
        return unicodedata.normalize("NFC", event_id)


class _ChangesNewEvents(MemoryBackend):
    def change(self, event: NewEvent) -> NewEvent:
        raise NotImplementedError

    def _add(self, event: NewEvent, if_exists: Any) -> AddOutcome:
        return super()._add(self.change(event), if_exists)


@breaks("data.exact")
class StripsPayloads(_ChangesNewEvents):
    """JSON does not care for white space, bytes do."""

    def change(self, event: NewEvent) -> NewEvent:
        return attrs.evolve(event, payload=event.payload.strip())


@breaks("data.exact")
class PayloadsAreText(_ChangesNewEvents):
    """A TEXT column."""

    def change(self, event: NewEvent) -> NewEvent:
        return attrs.evolve(event, payload=event.payload.decode(errors="replace").encode())


@breaks("data.exact")
class PayloadsAreParsed(_ChangesNewEvents):
    """A JSON column: keys are sorted, numbers are rewritten, blanks vanish."""

    def change(self, event: NewEvent) -> NewEvent:
        try:
            payload = json.dumps(json.loads(event.payload), sort_keys=True).encode()
        except ValueError:
            return event
        return attrs.evolve(event, payload=payload)


@breaks("data.exact")
class NumbersAreFloats(_ChangesNewEvents):
    """A JSON column of a database that knows but one kind of number."""

    def change(self, event: NewEvent) -> NewEvent:
        try:
            payload = json.dumps(
                json.loads(event.payload, parse_int=float), separators=(",", ":")
            ).encode()
        except ValueError:
            return event
        return attrs.evolve(event, payload=payload)


@breaks("data.exact")
class PayloadsEndAtNul(_ChangesNewEvents):
    """A string of C."""

    def change(self, event: NewEvent) -> NewEvent:
        return attrs.evolve(event, payload=event.payload.partition(b"\0")[0])


@breaks("data.exact")
class TypesEndAtNul(_ChangesNewEvents):
    """The same, for types."""

    def change(self, event: NewEvent) -> NewEvent:
        return attrs.evolve(event, trigger_type=event.trigger_type.partition("\0")[0])


@breaks("data.exact")
class TypesArePadded(_ChangesNewEvents):
    """CHAR columns."""

    def change(self, event: NewEvent) -> NewEvent:
        return attrs.evolve(event, trigger_type=event.trigger_type.rstrip(" "))


@breaks("time.rounds-up")
class DropsMicroseconds(_ChangesNewEvents):
    """A DATETIME column without a fraction, and microseconds declared."""

    def change(self, event: NewEvent) -> NewEvent:
        return attrs.evolve(event, trigger_time=event.trigger_time.replace(microsecond=0))


@breaks("time.rounds-up")
class StoresMilliseconds(_ChangesNewEvents):
    """A DATETIME(3) column, and microseconds declared."""

    def change(self, event: NewEvent) -> NewEvent:
        time = event.trigger_time
        milliseconds = time.microsecond // 1000
        return attrs.evolve(event, trigger_time=time.replace(microsecond=1000 * milliseconds))


@breaks("time.extremes")
class StoresFloats(_ChangesNewEvents):
    """Seconds since 1970 as a float, which far from there knows no microseconds."""

    def change(self, event: NewEvent) -> NewEvent:
        seconds = (event.trigger_time - _EPOCH).total_seconds()
        return attrs.evolve(event, trigger_time=_EPOCH + timedelta(seconds=seconds))


@breaks("data.exact")
class CreatedInMilliseconds(_ChangesNewEvents):
    """A DATETIME(3) column for created."""

    def change(self, event: NewEvent) -> NewEvent:
        created = event.created.replace(microsecond=event.created.microsecond // 1000 * 1000)
        return attrs.evolve(event, created=created)


@breaks("data.exact")
class LowersTypes(_ChangesNewEvents):
    """Trigger types that are stored as names usually are."""

    def change(self, event: NewEvent) -> NewEvent:
        return attrs.evolve(event, trigger_type=event.trigger_type.lower())


@breaks("data.limit")
class ChecksEventByEvent(MemoryBackend):
    """Writes the first half of a batch before it finds the error in the second."""

    def add(self, events: Sequence[NewEvent], *, if_exists: Any) -> Any:
        return [super(ChecksEventByEvent, self).add([e], if_exists=if_exists)[0] for e in events]


class _LongerByOne(MemoryBackend):
    """Accepts one byte more than it says."""

    def __init__(self) -> None:
        super().__init__()
        self._declared = self.capabilities
        self._longer = attrs.evolve(MEMORY, max_data_bytes=MEMORY.max_data_bytes + 1)


@breaks("data.limit")
class AddsOneByteMore(_LongerByOne):
    """``>`` where ``>=`` was meant, when adding."""

    def add(self, events: Sequence[NewEvent], *, if_exists: Any) -> Any:
        self.capabilities = self._longer
        try:
            return super().add(events, if_exists=if_exists)
        finally:
            self.capabilities = self._declared


@breaks("data.limit")
class MovesOneByteMore(_LongerByOne):
    """``>`` where ``>=`` was meant, when rescheduling."""

    def reschedule(self, moves: Any) -> Any:
        self.capabilities = self._longer
        try:
            return super().reschedule(moves)
        finally:
            self.capabilities = self._declared


@breaks("data.limit")
class RetriesOneByteMore(_LongerByOne):
    """``>`` where ``>=`` was meant, when retrying."""

    def settle(self, settlements: Sequence[Settlement], *, now: datetime) -> Any:
        self.capabilities = self._longer
        try:
            return super().settle(settlements, now=now)
        finally:
            self.capabilities = self._declared


@breaks("data.limit")
class OffByOne(MemoryBackend):
    """Refuses what is exactly as long as allowed."""

    def reschedule(self, moves: Any) -> Any:
        for move in moves:
            check_payload((move.payload or b"") + b"+", self.capabilities)
        return super().reschedule(moves)


@breaks("data.limit")
class ForgetsTheLimitOfRetries(MemoryBackend):
    """Checks new events only; longer data is cut off."""

    def settle(self, settlements: Sequence[Settlement], *, now: datetime) -> Any:
        limit = self.capabilities.max_data_bytes
        cut = [attrs.evolve(s, payload=s.payload and s.payload[:limit]) for s in settlements]
        return super().settle(cut, now=now)


@breaks("time.extremes")
class BeginsIn1970(_ChangesNewEvents):
    """An unsigned column."""

    def change(self, event: NewEvent) -> NewEvent:
        time = max(event.trigger_time, datetime(1970, 1, 1, tzinfo=UTC))
        return attrs.evolve(event, trigger_time=time)


@breaks("time.extremes")
class EndsIn2038(_ChangesNewEvents):
    """A TIMESTAMP column."""

    def change(self, event: NewEvent) -> NewEvent:
        time = min(event.trigger_time, datetime(2038, 1, 19, 3, 14, 7, tzinfo=UTC))
        return attrs.evolve(event, trigger_time=time)


@breaks("time.utc")
class ShowsLocalTime(MemoryBackend):
    """The right instants, in the zone of the server."""

    def find(self, query: Query) -> Page:
        page = super().find(query)
        zone = timezone(timedelta(hours=1))
        events = [
            attrs.evolve(e, trigger_time=_safely_in(e.trigger_time, zone)) for e in page.events
        ]
        return attrs.evolve(page, events=events)


def _safely_in(value: datetime, zone: timezone) -> datetime:
    return value if value.year > 9998 else value.astimezone(zone)


@breaks("time.utc")
class StoresLocalTime(_ChangesNewEvents):
    """Takes the zone off before it converts, so that the zone of the machine decides."""

    def change(self, event: NewEvent) -> NewEvent:
        naive = datetime.fromtimestamp(event.trigger_time.timestamp())  # noqa: DTZ006 -- the fault
        return attrs.evolve(event, trigger_time=naive.replace(tzinfo=UTC))


@breaks("time.utc")
class ShowsNaiveTimes(MemoryBackend):
    """What most drivers return."""

    def find(self, query: Query) -> Page:
        page = super().find(query)
        events = [
            attrs.evolve(e, trigger_time=e.trigger_time.replace(tzinfo=None)) for e in page.events
        ]
        return attrs.evolve(page, events=events)


@breaks("batch.empty")
class EmptyMeansAll(MemoryBackend):
    """A WHERE clause that vanishes with its list."""

    def cancel(self, ids: Sequence[str]) -> Any:
        if not ids:
            self._rows.clear()
            self._heap.clear()
        return super().cancel(ids)


@breaks("batch.empty")
class EmptyIsAnError(MemoryBackend):
    """``IN ()`` is a syntax error."""

    def renew(self, claims: Any, **kwargs: Any) -> Any:
        if not claims:
            raise BackendRejectedError("You have an error in your SQL syntax", backend=self.name)
        return super().renew(claims, **kwargs)


@breaks("batch.positional")
class AnswersInOrderOfIds(MemoryBackend):
    """Sorts ids to avoid deadlocks and forgets to sort the answers back."""

    def cancel(self, ids: Sequence[str]) -> Any:
        return super().cancel(sorted(ids))


@breaks("batch.positional")
class ReportsInOrderOfIds(MemoryBackend):
    """The same for reports."""

    def settle(self, settlements: Sequence[Settlement], *, now: datetime) -> Any:
        return super().settle(sorted(settlements, key=lambda s: s.claim.id), now=now)


@breaks("batch.positional")
class RenewsInOrderOfIds(MemoryBackend):
    """The same for renewals."""

    def renew(self, claims: Sequence[Claim], **kwargs: Any) -> Any:
        return super().renew(sorted(claims, key=lambda claim: claim.id), **kwargs)


@breaks("batch.positional")
class RequeuesInOrderOfIds(MemoryBackend):
    """The same for dead letters."""

    def requeue(self, ids: Sequence[str], *, now: datetime) -> Any:
        return super().requeue(sorted(ids), now=now)


@breaks("batch.positional")
class AnswersOnlyForWhatItFound(MemoryBackend):
    """One row of answer per row that matched."""

    def cancel(self, ids: Sequence[str]) -> Any:
        return [o for o in super().cancel(ids) if o is not CancelOutcome.NOT_FOUND]


@breaks("batch.in-order")
class LastOfABatchWins(MemoryBackend):
    """Collects a batch in a dict by id."""

    def add(self, events: Sequence[NewEvent], *, if_exists: Any) -> Any:
        by_id = {event.id: event for event in events}
        outcomes = super().add(list(by_id.values()), if_exists=if_exists)
        answer = dict(zip(by_id, outcomes, strict=True))
        return [answer[event.id] for event in events]


@breaks("batch.in-order")
class SettlesTwiceInABatch(MemoryBackend):
    """One answer for all reports on the same claim."""

    def settle(self, settlements: Sequence[Settlement], *, now: datetime) -> Any:
        by_id = {s.claim.id: s for s in reversed(settlements)}
        outcomes = super().settle(list(by_id.values()), now=now)
        answer = dict(zip(by_id, outcomes, strict=True))
        return [answer[s.claim.id] for s in settlements]


@breaks("batch.nothing-else")
class CancelsByPattern(MemoryBackend):
    """LIKE where = was meant."""

    def cancel(self, ids: Sequence[str]) -> Any:
        outcomes = super().cancel(ids)
        also = [known for known in self._rows if known.startswith(tuple(ids) or ("\0none",))]
        super().cancel(also)
        return outcomes


@breaks("batch.large")
class ForgetsTheRest(MemoryBackend):
    """Splits long batches and stops after the first part."""

    def settle(self, settlements: Sequence[Settlement], *, now: datetime) -> Any:
        done = list(super().settle(settlements[:500], now=now))
        return done + [True] * (len(settlements) - len(done))


@breaks("data.exact")
class CutsOwners(MemoryBackend):
    """A column for names of machines."""

    def claim(self, *, owner: str, **kwargs: Any) -> Any:
        return super().claim(owner=owner[:20], **kwargs)
