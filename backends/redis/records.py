"""What the scripts store, as Python reads and writes it; ``lua/store.lua`` describes the layout."""

from __future__ import annotations

from datetime import datetime

import attrs

from futurama.backend import Claim, NewEvent, State, StoredEvent
from futurama.times import EARLIEST, LATEST, from_us, to_us

__all__ = [
    "TIME_BYTES",
    "TOKEN_BYTES",
    "UNREADABLE",
    "claim",
    "core",
    "digits",
    "is_dead",
    "nearest_text",
    "nearest_time",
    "stored_event",
]

TIME_BYTES = 18
"""Digits of the microseconds from year 1 to year 9999."""

TOKEN_BYTES = 16

UNREADABLE = (OverflowError, ValueError)
"""What reading raises where somebody else has written what is no text, or no instant of ours."""

_EARLIEST_US = to_us(EARLIEST)

_STATES = {b"w": State.WAITING, b"c": State.CLAIMED, b"d": State.DEAD}


def digits(instant: datetime, *, plus_us: int = 0) -> bytes:
    """``instant``, so many microseconds later, as the scripts compare it."""
    return b"%018d" % (to_us(instant) - _EARLIEST_US + plus_us)


def is_dead(record: bytes) -> bool:
    """Whether a record is that of a dead letter."""
    return record[TIME_BYTES:].startswith(b"d")


def nearest_time(text: bytes) -> datetime:
    """The instant that :func:`digits` wrote; for what is none, the last of all."""
    try:
        return _time(text)
    except UNREADABLE:
        return LATEST


def nearest_text(text: bytes) -> str:
    """What was stored as UTF-8, for people: bytes that are none are escaped."""
    return text.decode(errors="backslashreplace")


def _time(text: bytes) -> datetime:
    return from_us(int(text) + _EARLIEST_US)


def core(event: NewEvent) -> bytes:
    """What is stored of a new event besides id and payload."""
    rest = digits(event.trigger_time) + digits(event.created) + event.trigger_type.encode()
    return b"%03d" % len(rest) + rest


@attrs.frozen
class _Record:
    """The parts of a record, as they are stored."""

    time: bytes
    state: State
    lost: bool
    attempt: int
    trigger_time: bytes
    created: bytes
    trigger_type: bytes
    note: bytes

    @classmethod
    def parse(cls, record: bytes) -> _Record:
        core_end = 33 + int(record[30:33])
        return cls(
            record[:18],
            _STATES[record[18:19]],
            record[19:20] == b"1",
            int(record[20:30]) if record[20:30].isdigit() else 0,
            record[33:51],
            record[51:69],
            record[69:core_end],
            record[core_end:],
        )


def claim(member: bytes, record: bytes, payload: bytes) -> Claim:
    """The claim on an event.

    Args:
        member: its entry before it was claimed.
        record, payload: as stored now.

    Raises:
        ValueError, OverflowError: somebody else has written what cannot be read; see ``UNREADABLE``.
    """
    stored = _Record.parse(record)
    return Claim(
        id=member[TIME_BYTES:].decode(),
        trigger_type=stored.trigger_type.decode(),
        trigger_time=_time(stored.trigger_time),
        payload=payload,
        created=_time(stored.created),
        attempt=stored.attempt,
        token=stored.note[:TOKEN_BYTES],
        due=_time(member[:TIME_BYTES]),
        lease_until=_time(stored.time),
        lost_before=stored.lost,
    )


def stored_event(event_id: bytes, record: bytes, payload: bytes) -> StoredEvent:
    """The event as people see it; of what cannot be read, the nearest that can."""
    stored = _Record.parse(record)
    has_died = stored.state is State.DEAD
    time = nearest_time(stored.time)
    owner = stored.note[TOKEN_BYTES:]
    return StoredEvent(
        id=nearest_text(event_id),
        trigger_type=nearest_text(stored.trigger_type),
        trigger_time=nearest_time(stored.trigger_time),
        payload=payload,
        created=nearest_time(stored.created),
        attempt=stored.attempt,
        state=stored.state,
        due=None if has_died else time,
        owner=nearest_text(owner) if stored.state is State.CLAIMED else None,
        lost=stored.lost,
        died=time if has_died else None,
        reason=_reason(stored.note) if has_died else None,
    )


def _reason(note: bytes) -> str:
    try:
        return note.decode(errors="surrogatepass")
    except UnicodeDecodeError:
        return nearest_text(note)
