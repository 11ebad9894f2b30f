"""What the scripts store, as Python reads and writes it; ``lua/store.lua`` describes the layout."""

from __future__ import annotations

from datetime import datetime

import attrs

from futurama.backend import Claim, NewEvent, State, StoredEvent
from futurama.times import EARLIEST, from_us, to_us

__all__ = ["TIME_BYTES", "TOKEN_BYTES", "claim", "core", "digits", "stored_event", "time"]

TIME_BYTES = 18
"""Digits of the microseconds from year 1 to year 9999."""

TOKEN_BYTES = 16

_EARLIEST_US = to_us(EARLIEST)

_STATES = {b"w": State.WAITING, b"c": State.CLAIMED, b"d": State.DEAD}


def digits(instant: datetime, *, plus_us: int = 0) -> bytes:
    """``instant``, so many microseconds later, as the scripts compare it."""
    return b"%018d" % (to_us(instant) - _EARLIEST_US + plus_us)


def time(text: bytes) -> datetime:
    """The instant that :func:`digits` wrote."""
    return from_us(int(text) + _EARLIEST_US)


def core(event: NewEvent) -> bytes:
    """What is stored of a new event besides id and payload."""
    rest = digits(event.trigger_time) + digits(event.created) + event.trigger_type.encode()
    return b"%03d" % len(rest) + rest


@attrs.frozen
class _Record:
    time: datetime
    state: State
    lost: bool
    attempt: int
    trigger_time: datetime
    created: datetime
    trigger_type: str
    note: bytes

    @classmethod
    def parse(cls, record: bytes) -> _Record:
        core_end = 33 + int(record[30:33])
        return cls(
            time(record[:18]),
            _STATES[record[18:19]],
            record[19:20] == b"1",
            int(record[20:30]),
            time(record[33:51]),
            time(record[51:69]),
            record[69:core_end].decode(),
            record[core_end:],
        )


def claim(member: bytes, record: bytes, payload: bytes) -> Claim:
    """The claim on an event.

    Args:
        member: its entry before it was claimed.
        record, payload: as stored now.
    """
    stored = _Record.parse(record)
    return Claim(
        id=member[TIME_BYTES:].decode(),
        trigger_type=stored.trigger_type,
        trigger_time=stored.trigger_time,
        payload=payload,
        created=stored.created,
        attempt=stored.attempt,
        token=stored.note[:TOKEN_BYTES],
        due=time(member[:TIME_BYTES]),
        lease_until=stored.time,
        lost_before=stored.lost,
    )


def stored_event(event_id: bytes, record: bytes, payload: bytes) -> StoredEvent:
    """The event as people see it."""
    stored = _Record.parse(record)
    is_dead = stored.state is State.DEAD
    return StoredEvent(
        id=event_id.decode(),
        trigger_type=stored.trigger_type,
        trigger_time=stored.trigger_time,
        payload=payload,
        created=stored.created,
        attempt=stored.attempt,
        state=stored.state,
        due=None if is_dead else stored.time,
        owner=stored.note[TOKEN_BYTES:].decode() if stored.state is State.CLAIMED else None,
        lost=stored.lost,
        died=stored.time if is_dead else None,
        reason=stored.note.decode(errors="surrogatepass") if is_dead else None,
    )
