"""A backend that writes down everything that it is asked and answers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from futurama.backend import (
    AddOutcome,
    Capabilities,
    Claim,
    ClaimBatch,
    EventBackend,
    IfExists,
    Move,
    NewEvent,
    Settlement,
)
from futurama.events import CancelOutcome, RescheduleOutcome
from tests.faults.record import Recorder

__all__ = ["RecordedBackend"]


class RecordedBackend:
    """Passes everything on, and writes down what changes events.

    Args:
        inner: the backend.
        recorder: of this process.
    """

    def __init__(self, inner: EventBackend, recorder: Recorder) -> None:
        self._inner = inner
        self._around = recorder.around
        self.open = inner.open
        self.close = inner.close
        self.now = inner.now
        self.find = inner.find
        self.count = inner.count
        self.purge = inner.purge

    @property
    def name(self) -> str:
        """See EventBackend, as for all that follows."""
        return self._inner.name

    @property
    def capabilities(self) -> Capabilities:
        return self._inner.capabilities

    def add(self, events: Sequence[NewEvent], *, if_exists: IfExists) -> Sequence[AddOutcome]:
        return self._around(
            "add",
            {"events": events, "if_exists": if_exists},
            lambda: self._inner.add(events, if_exists=if_exists),
        )

    def cancel(self, ids: Sequence[str]) -> Sequence[CancelOutcome]:
        return self._around("cancel", {"ids": ids}, lambda: self._inner.cancel(ids))

    def reschedule(self, moves: Sequence[Move]) -> Sequence[RescheduleOutcome]:
        return self._around("reschedule", {"moves": moves}, lambda: self._inner.reschedule(moves))

    def claim(self, **arguments: Any) -> ClaimBatch:
        return self._around("claim", arguments, lambda: self._inner.claim(**arguments))

    def renew(
        self, claims: Sequence[Claim], *, now: datetime, lease_until: datetime
    ) -> Sequence[bool]:
        return self._around(
            "renew",
            {"claims": claims, "now": now, "lease_until": lease_until},
            lambda: self._inner.renew(claims, now=now, lease_until=lease_until),
        )

    def settle(self, settlements: Sequence[Settlement], *, now: datetime) -> Sequence[bool]:
        return self._around(
            "settle",
            {"settlements": settlements, "now": now},
            lambda: self._inner.settle(settlements, now=now),
        )

    def requeue(self, ids: Sequence[str], *, now: datetime) -> Sequence[bool]:
        return self._around(
            "requeue", {"ids": ids, "now": now}, lambda: self._inner.requeue(ids, now=now)
        )
