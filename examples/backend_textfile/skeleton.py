"""A backend before its first line of work: copy it to your_package/backend.py and fill it in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import ClassVar, Self

import attrs

from futurama.backend import (
    AddOutcome,
    Capabilities,
    Claim,
    ClaimBatch,
    IfExists,
    Move,
    NewEvent,
    Page,
    Query,
    Settlement,
    State,
)
from futurama.events import CancelOutcome, RescheduleOutcome
from futurama.settings import key


@attrs.frozen
class TextFileSettings:
    """The configuration keys of this backend."""

    path: str = key("events.jsonl", "the file; created at the first start, its folder is not")


class TextFileBackend:
    """Events in a text file that people can read."""

    Settings: ClassVar[type[TextFileSettings]] = TextFileSettings
    name = "textfile"
    capabilities = Capabilities(
        durable=True,
        shared=True,
        resolution=timedelta(microseconds=1),
        max_data_bytes=64 * 1024,
    )

    def __init__(self, settings: TextFileSettings) -> None:
        self.settings = settings

    @classmethod
    def from_settings(cls, settings: TextFileSettings) -> Self:
        return cls(settings)

    def open(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def now(self) -> datetime:
        raise NotImplementedError

    def add(self, events: Sequence[NewEvent], *, if_exists: IfExists) -> Sequence[AddOutcome]:
        raise NotImplementedError

    def find(self, query: Query) -> Page:
        raise NotImplementedError

    def count(self) -> Mapping[State, int]:
        raise NotImplementedError

    def claim(
        self,
        *,
        owner: str,
        now: datetime,
        due_before: datetime,
        lease_until: datetime,
        limit: int,
    ) -> ClaimBatch:
        raise NotImplementedError

    def settle(self, settlements: Sequence[Settlement], *, now: datetime) -> Sequence[bool]:
        raise NotImplementedError

    def renew(
        self, claims: Sequence[Claim], *, now: datetime, lease_until: datetime
    ) -> Sequence[bool]:
        raise NotImplementedError

    def cancel(self, ids: Sequence[str]) -> Sequence[CancelOutcome]:
        raise NotImplementedError

    def reschedule(self, moves: Sequence[Move]) -> Sequence[RescheduleOutcome]:
        raise NotImplementedError

    def requeue(self, ids: Sequence[str], *, now: datetime) -> Sequence[bool]:
        raise NotImplementedError

    def purge(self, *, before: datetime) -> int:
        raise NotImplementedError
