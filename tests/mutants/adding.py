"""Mutants that add wrongly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from futurama.backend import AddOutcome, NewEvent, State
from futurama.backends.memory import MemoryBackend
from tests.mutants.registry import breaks


@breaks("add.new")
class CountsFromOne(MemoryBackend):
    """The first attempt is counted before it is made."""

    def _add(self, event: NewEvent, if_exists: Any) -> AddOutcome:
        is_new = event.id not in self._rows
        outcome = super()._add(event, if_exists)
        if is_new:
            self._rows[event.id].attempt = 1
        return outcome


@breaks("add.raise")
class RefusesTooLate(MemoryBackend):
    """Says REFUSED, and has overwritten the payload."""

    def _add(self, event: NewEvent, if_exists: Any) -> AddOutcome:
        outcome = super()._add(event, if_exists)
        if outcome is AddOutcome.REFUSED and self._rows[event.id].state is not State.DEAD:
            self._rows[event.id].payload = event.payload
        return outcome


@breaks("add.raise")
class Overwrites(MemoryBackend):
    """An upsert, whatever was asked for."""

    def _add(self, event: NewEvent, if_exists: Any) -> AddOutcome:
        return super()._add(event, "replace")


@breaks("add.new", test="add.raise")
class OneTakenIdFailsThemAll(MemoryBackend):
    """One INSERT for the whole batch, rolled back when one of its ids is taken."""

    def add(self, events: Sequence[NewEvent], *, if_exists: Any) -> Sequence[AddOutcome]:
        before = dict(self._rows)
        outcomes = super().add(events, if_exists=if_exists)
        if AddOutcome.REFUSED not in outcomes:
            return outcomes
        for event_id in self._rows.keys() - before.keys():
            del self._rows[event_id]
        return [AddOutcome.REFUSED] * len(events)


@breaks("add.new", test="add.raise")
class StopsAtTheFirstTakenId(MemoryBackend):
    """Writes one event after another and gives up at the first that is refused."""

    def add(self, events: Sequence[NewEvent], *, if_exists: Any) -> Sequence[AddOutcome]:
        outcomes: list[AddOutcome] = []
        for event in events:
            if AddOutcome.REFUSED not in outcomes:
                outcomes += super().add([event], if_exists=if_exists)
            else:
                outcomes.append(AddOutcome.REFUSED)
        return outcomes


@breaks("add.keep")
class KeepsOnlyWhatWaits(MemoryBackend):
    """INSERT IGNORE for waiting events, an upsert for claimed ones."""

    def _add(self, event: NewEvent, if_exists: Any) -> AddOutcome:
        outcome = super()._add(event, if_exists)
        if outcome is AddOutcome.KEPT and self._rows[event.id].state is State.CLAIMED:
            self._rows[event.id].payload = event.payload
        return outcome


@breaks("add.keep")
class SaysAddedWhenKept(MemoryBackend):
    """Does not look whether the row was there."""

    def _add(self, event: NewEvent, if_exists: Any) -> AddOutcome:
        outcome = super()._add(event, if_exists)
        return AddOutcome.ADDED if outcome is AddOutcome.KEPT else outcome


@breaks("add.replace")
class KeepsTheAttempts(MemoryBackend):
    """An upsert that forgets a column."""

    def _add(self, event: NewEvent, if_exists: Any) -> AddOutcome:
        before = self._rows.get(event.id)
        outcome = super()._add(event, if_exists)
        if outcome is AddOutcome.REPLACED and before is not None and before.state is State.WAITING:
            self._rows[event.id].attempt = before.attempt
        return outcome


@breaks("add.replace-claimed")
class ReplacesWithoutATrace(MemoryBackend):
    """Forgets that a call may be in flight."""

    def _add(self, event: NewEvent, if_exists: Any) -> AddOutcome:
        before = self._rows.get(event.id)
        outcome = super()._add(event, if_exists)
        if outcome is AddOutcome.REPLACED and before is not None and not before.lost:
            self._rows[event.id].lost = False
        return outcome


@breaks("add.replace-claimed")
class ReplacesUnderTheHolder(MemoryBackend):
    """Changes the event and leaves the claim alone."""

    def _add(self, event: NewEvent, if_exists: Any) -> AddOutcome:
        before = self._rows.get(event.id)
        outcome = super()._add(event, if_exists)
        if outcome is AddOutcome.REPLACED and before is not None:
            row = self._rows[event.id]
            row.token, row.owner = before.token, before.owner
        return outcome


@breaks("add.dead")
class TheDeadDoNotCount(MemoryBackend):
    """Dead letters lie in a table of their own, so their ids seem free."""

    def _add(self, event: NewEvent, if_exists: Any) -> AddOutcome:
        before = self._rows.get(event.id)
        if before is not None and before.state is State.DEAD:
            del self._rows[before.id]
        return super()._add(event, if_exists)


class _LooksAtLess(MemoryBackend):
    """Takes an add for a repeat though one field differs."""

    overlooked: str

    def _add(self, event: NewEvent, if_exists: Any) -> AddOutcome:
        row = self._rows.get(event.id)
        if row is None:
            return super()._add(event, if_exists)
        differs = {
            "trigger_type": event.trigger_type != row.trigger_type,
            "trigger_time": event.trigger_time != row.trigger_time,
            "payload": event.payload != row.payload,
            "created": event.created != row.created,
        }
        if [name for name, does in differs.items() if does] == [self.overlooked]:
            return AddOutcome.ADDED
        return super()._add(event, if_exists)


@breaks("add.raise")
@breaks("add.keep")
@breaks("add.replace")
class RepeatsMayBeOfAnotherType(_LooksAtLess):
    """The identity of an event without its type."""

    overlooked = "trigger_type"


@breaks("add.raise")
@breaks("add.keep")
@breaks("add.replace")
class RepeatsMayBeForAnotherTime(_LooksAtLess):
    """The identity of an event without its time."""

    overlooked = "trigger_time"


@breaks("add.raise")
@breaks("add.keep")
@breaks("add.replace")
class RepeatsMayCarryOtherData(_LooksAtLess):
    """The identity of an event without its payload."""

    overlooked = "payload"


@breaks("add.raise")
@breaks("add.keep")
@breaks("add.replace")
class RepeatsMayBeMadeLater(_LooksAtLess):
    """The identity of an event without the time of its creation."""

    overlooked = "created"


@breaks("replay.add")
class DoesNotKnowItsOwn(MemoryBackend):
    """Takes every repeated add for a second event."""

    def _add(self, event: NewEvent, if_exists: Any) -> AddOutcome:
        if if_exists == "raise" and event.id in self._rows:
            return AddOutcome.REFUSED
        return super()._add(event, if_exists)


@breaks("replay.add")
class RepeatsRestart(MemoryBackend):
    """A repeated add with "replace" overwrites what became of the event meanwhile."""

    def _add(self, event: NewEvent, if_exists: Any) -> AddOutcome:
        outcome = super()._add(event, if_exists)
        row = self._rows[event.id]
        if outcome is AddOutcome.ADDED and if_exists == "replace" and row.state is State.WAITING:
            row.attempt = 0
        return outcome


@breaks("replay.add")
class RepeatsDouble(MemoryBackend):
    """Appends to a log, where a repeat is one more entry."""

    def __init__(self) -> None:
        super().__init__()
        self._log: list[NewEvent] = []

    def _add(self, event: NewEvent, if_exists: Any) -> AddOutcome:
        self._log.append(event)
        return super()._add(event, if_exists)

    def count(self) -> Mapping[State, int]:
        repeats = len(self._log) - len(set(self._log))
        counts = dict(super().count())
        return {**counts, State.WAITING: counts[State.WAITING] + repeats}


@breaks("errors")
class DislikesEmptyPayloads(MemoryBackend):
    """Raises what is none of the errors of the protocol."""

    def _add(self, event: NewEvent, if_exists: Any) -> AddOutcome:
        if not event.payload:
            raise ValueError("payload must not be empty")
        return super()._add(event, if_exists)
