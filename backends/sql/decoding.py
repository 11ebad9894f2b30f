"""Claims from rows, of which some may be none that Futurama has written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from futurama.backend import Claim
from futurama.backends.sql.dialect import Dialect
from futurama.backends.sql.foreign import UNREADABLE
from futurama.backends.sql.statements import MAX_ATTEMPT
from futurama.times import from_us

__all__ = ["ClaimDecoder"]

_MAX_SHOWN = 200
"""Letters of an unreadable value that its dead letter shows: more than an id of 128 bytes often takes."""


class ClaimDecoder:
    """Makes claims of the rows that ``Statements.claim`` shows."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._readers: Mapping[str, Callable[[Any], object]] = {
            "id": bytes.decode,
            "trigger_type": bytes.decode,
            "trigger_time": dialect.exact_time,
            "due": dialect.exact_time,
            "attempt": _next_attempt,
            "lost": bool,
            "created": from_us,
            "data": _as_bytes,
        }

    def decode(
        self, rows: Sequence[Any], token: bytes, lease_until: datetime
    ) -> tuple[Sequence[Claim], Mapping[Any, str]]:
        """The claims, and by key, for people, what is wrong with the rows that are no events."""
        try:
            return self._claims(rows, token, lease_until), {}
        except UNREADABLE:
            pass  # rows are looked at one by one only now, because that takes longer
        faults = {row[0]: fault for row in rows if (fault := self._fault(row)) is not None}
        sound = [row for row in rows if row[0] not in faults]
        return self._claims(sound, token, lease_until), faults

    def _claims(self, rows: Sequence[Any], token: bytes, lease_until: datetime) -> Sequence[Claim]:
        exact_time = self._dialect.exact_time
        return [
            Claim(
                id=event_id.decode(),
                trigger_type=trigger_type.decode(),
                trigger_time=(triggers := exact_time(trigger_time)),
                payload=payload if type(payload) is bytes else _as_bytes(payload),
                created=from_us(created),
                attempt=attempt + (attempt < MAX_ATTEMPT),
                token=token,
                due=triggers if due == trigger_time else exact_time(due),
                lease_until=lease_until,
                lost_before=bool(lost),
            )
            for event_id, trigger_type, trigger_time, due, attempt, lost, created, payload in rows
        ]

    def _fault(self, row: Sequence[Any]) -> str | None:
        for (column, read), value in zip(self._readers.items(), row, strict=True):
            try:
                read(value)
            except UNREADABLE:
                shown = repr(value)[:_MAX_SHOWN]
                return f"somebody else wrote this row: its {column} cannot be read: {shown}"
        return None


def _as_bytes(payload: Any) -> bytes:
    return bytes(memoryview(payload))


def _next_attempt(attempt: int) -> int:
    return attempt + (attempt < MAX_ATTEMPT)
