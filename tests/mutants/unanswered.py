"""Mutants that take a repeat for a copy: right as long as nothing happened since the first call."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from futurama.backend import NewEvent
from futurama.backends.memory import MemoryBackend
from futurama.events import CancelOutcome
from tests.mutants.registry import breaks


@breaks("replay.add")
class AnswersFromMemory(MemoryBackend):
    """Does not look at what it has added unless something was cancelled, though it may be done."""

    last: tuple[Any, Any] = (None, None)

    def add(self, events: Sequence[NewEvent], *, if_exists: Any) -> Any:
        if self.last[0] != list(events):
            self.last = (list(events), super().add(events, if_exists=if_exists))
        return self.last[1]

    def cancel(self, ids: Sequence[str]) -> Sequence[CancelOutcome]:
        self.last = (None, None)
        return super().cancel(ids)


@breaks("replay.cancel")
class RepeatsFindNothing(MemoryBackend):
    """Does not look for what it has removed, though it may have been added again."""

    last: Sequence[str] = ()

    def cancel(self, ids: Sequence[str]) -> Sequence[CancelOutcome]:
        if ids and list(ids) == self.last:
            return [CancelOutcome.NOT_FOUND] * len(ids)
        self.last = list(ids)
        return super().cancel(ids)


@breaks("replay.reschedule")
class RepeatsAreMoved(MemoryBackend):
    """Does not look at what it has moved, though it may be claimed by now."""

    last: tuple[Any, Any] = (None, None)

    def reschedule(self, moves: Any) -> Any:
        if self.last[0] != list(moves):
            self.last = (list(moves), super().reschedule(moves))
        return self.last[1]


@breaks("replay.requeue")
class RepeatsWakeNothing(MemoryBackend):
    """Does not look at what it has requeued, though it may have died again."""

    last: tuple[Any, Any] = (None, None)

    def requeue(self, ids: Sequence[str], *, now: datetime) -> Any:
        if ids and self.last == (list(ids), now):
            return [False] * len(ids)
        self.last = (list(ids), now)
        return super().requeue(ids, now=now)


@breaks("replay.purge")
class RepeatsForgetNothing(MemoryBackend):
    """Does not look for the dead a second time, though others may have died."""

    last: datetime | None = None

    def purge(self, *, before: datetime) -> int:
        if self.last == before:
            return 0
        self.last = before
        return super().purge(before=before)
