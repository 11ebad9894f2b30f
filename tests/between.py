"""A backend between those who ask and another backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    Page,
    Query,
    Settlement,
    State,
)
from futurama.events import CancelOutcome, RescheduleOutcome

__all__ = ["Between"]


class Between:
    """Passes every operation on; subclasses say in :meth:`pass_on` what happens besides.

    Args:
        inner: who really answers.
    """

    def __init__(self, inner: EventBackend) -> None:
        self.inner = inner

    def pass_on(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        """Let the inner backend answer; ``operation`` is a method of :class:`EventBackend`."""
        return getattr(self.inner, operation)(**arguments)

    @property
    def name(self) -> str:
        """See EventBackend, as for all that follows."""
        return self.inner.name

    @property
    def capabilities(self) -> Capabilities:
        return self.inner.capabilities

    def open(self) -> None:
        self.pass_on("open", {})

    def close(self) -> None:
        self.pass_on("close", {})

    def now(self) -> datetime:
        answer: datetime = self.pass_on("now", {})
        return answer

    def add(self, events: Sequence[NewEvent], *, if_exists: IfExists) -> Sequence[AddOutcome]:
        answer: Sequence[AddOutcome] = self.pass_on(
            "add", {"events": events, "if_exists": if_exists}
        )
        return answer

    def cancel(self, ids: Sequence[str]) -> Sequence[CancelOutcome]:
        answer: Sequence[CancelOutcome] = self.pass_on("cancel", {"ids": ids})
        return answer

    def reschedule(self, moves: Sequence[Move]) -> Sequence[RescheduleOutcome]:
        answer: Sequence[RescheduleOutcome] = self.pass_on("reschedule", {"moves": moves})
        return answer

    def claim(self, **arguments: Any) -> ClaimBatch:
        answer: ClaimBatch = self.pass_on("claim", arguments)
        return answer

    def renew(
        self, claims: Sequence[Claim], *, now: datetime, lease_until: datetime
    ) -> Sequence[bool]:
        answer: Sequence[bool] = self.pass_on(
            "renew", {"claims": claims, "now": now, "lease_until": lease_until}
        )
        return answer

    def settle(self, settlements: Sequence[Settlement], *, now: datetime) -> Sequence[bool]:
        answer: Sequence[bool] = self.pass_on("settle", {"settlements": settlements, "now": now})
        return answer

    def find(self, query: Query) -> Page:
        answer: Page = self.pass_on("find", {"query": query})
        return answer

    def count(self) -> Mapping[State, int]:
        answer: Mapping[State, int] = self.pass_on("count", {})
        return answer

    def requeue(self, ids: Sequence[str], *, now: datetime) -> Sequence[bool]:
        answer: Sequence[bool] = self.pass_on("requeue", {"ids": ids, "now": now})
        return answer

    def purge(self, *, before: datetime) -> int:
        answer: int = self.pass_on("purge", {"before": before})
        return answer
