"""Values at the boundaries: what random choice alone would hardly ever find."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from functools import cache, cached_property
from typing import Final

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from futurama.backend import (
    MAX_OWNER_BYTES,
    MAX_REASON_BYTES,
    Capabilities,
    Claim,
    Move,
    NewEvent,
    Query,
    Settlement,
    State,
)
from futurama.times import EARLIEST, LATEST

__all__ = ["EXTREMES", "GAPS", "LOOK_ALIKES", "OWNERS", "START", "TYPES", "Values", "values_for"]

START: Final = datetime(2030, 1, 1, tzinfo=UTC)
"""An ordinary instant; most times of the suite lie shortly after it."""

LOOK_ALIKES: Final = (
    ("a", "A", "a ", " a", "a\0", "a\0b", "á", "a\u0301", "ａ"),
    ("ss", "ß", "SS", "ẞ"),
    ("i", "I", "İ", "ı"),
    ("1", "01", "1.0", "1e0"),
    ("%", "_", "\\", "'", '"', "\n", ";"),
)
"""Groups of different ids that collations, casts or careless quoting take for one another."""

_OTHER_IDS: Final = (
    "b",
    "~",  # sorts behind all letters of ASCII and before all others
    "\uff5e",  # sorts before the next one in UTF-8 and behind it in UTF-16
    "\U0001f600",
    "z" * 128,
    "é" * 64,
)

TYPES: Final = ("t", "T", "t ", "u", "\U0001f600", "t\0", "é" * 64)
"""Trigger types, some of which differ as little as ids do."""

EXTREMES: Final = (
    EARLIEST,
    EARLIEST + timedelta(microseconds=1),
    datetime(999, 12, 31, 23, 59, 59, 999999, UTC),  # MySQL documents year 1000 as the first
    datetime(1582, 10, 10, tzinfo=UTC),  # skipped where the Julian calendar is still known
    datetime(1900, 2, 28, 23, 59, 59, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999999, UTC),
    datetime(1970, 1, 1, tzinfo=UTC),  # the zero that means "none" in some columns
    datetime(2001, 9, 9, 1, 46, 39, 999999, UTC),  # the last one of nine digits
    datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC),  # the first second after 32 bits
    datetime(2106, 2, 7, 6, 28, 16, tzinfo=UTC),  # the same, unsigned
    datetime(9999, 12, 31, 23, 59, 58, 999999, UTC),
    LATEST,
)
"""Instants where columns, libraries and calendars end."""

GAPS: Final = (
    datetime(2030, 3, 31, 2, 30, tzinfo=UTC),  # no such local time in Berlin
    datetime(2030, 3, 10, 2, 30, tzinfo=UTC),  # no such local time in New York
    datetime(2030, 10, 27, 2, 30, tzinfo=UTC),  # twice in Berlin
    datetime(2028, 2, 29, 23, 59, 59, 999999, UTC),
)
"""Instants that go wrong where someone takes UTC for a local time."""
_MICROSECOND: Final = timedelta(microseconds=1)
_ZONES: Final = tuple(
    timezone(timedelta(minutes=minutes)) for minutes in (0, 60, -300, 345, 840, -720)
)
_PAYLOADS: Final = (
    b"",
    b"{}",
    b"\0",
    bytes(range(256)),
    '{"ä":"\U0001f600\\u0000"}'.encode(),
    b"\xff\xfe not UTF-8",
    b" trailing \n ",
    b"'; DROP TABLE events; --",
)
OWNERS: Final = ("a", "büro-1:42", "A ", "a\0b'\"", "\U0001f600" * (MAX_OWNER_BYTES // 4))
"""Names of instances, the longest one included."""

_REASONS: Final = (
    "",
    "TimeoutError: no answer",
    "ü \U0001f600\n\0'\"",
    "x" * 300,
    "\U0001f600" * (MAX_REASON_BYTES // 4),
)


class Values:
    """The strategies for a backend with these capabilities.

    Made once each: a strategy that is made anew for every draw takes ten times as long.
    """

    def __init__(self, capabilities: Capabilities) -> None:
        self._step = capabilities.resolution
        self._max_bytes = capabilities.max_data_bytes

    @cached_property
    def ids(self) -> SearchStrategy[str]:
        """Few enough that they meet again within one program."""
        alike = [event_id for group in LOOK_ALIKES for event_id in group]
        return st.sampled_from(["a", "b", "c", "d", *alike, *_OTHER_IDS])

    @cached_property
    def types(self) -> SearchStrategy[str]:
        """Any of :data:`TYPES`."""
        return st.sampled_from(TYPES)

    @cached_property
    def near(self) -> SearchStrategy[datetime]:
        """Instants a few steps after :data:`START`; on, just before and just after a step."""
        fractions = sorted({timedelta(0), _MICROSECOND, self._step - _MICROSECOND} - {self._step})
        return st.builds(
            lambda steps, fraction: START + steps * self._step + fraction,
            st.integers(0, 6),
            st.sampled_from([f for f in fractions if f < self._step]),
        )

    @cached_property
    def instants(self) -> SearchStrategy[datetime]:
        """Mostly :attr:`near`, now and then somewhere between year 1 and 9999."""
        return st.one_of(self.near, self.near, self.near, self.extremes)

    @cached_property
    def mostly_near(self) -> SearchStrategy[datetime]:
        """For long programs, which one extreme time would end."""
        return st.one_of(*[self.near] * 19, self.extremes)

    @cached_property
    def lease_ends(self) -> SearchStrategy[datetime]:
        """Half of the leases outlast everything that is :attr:`near`."""
        return st.just(START + 20 * self._step) | self.mostly_near

    @cached_property
    def offsets(self) -> SearchStrategy[timedelta]:
        """From an instant to its neighbours."""
        step = self._step
        return st.sampled_from(
            sorted({0 * step, step, -step, _MICROSECOND, -_MICROSECOND}, key=abs)
        )

    @cached_property
    def extremes(self) -> SearchStrategy[datetime]:
        """Any of :data:`EXTREMES` and :data:`GAPS`."""
        return st.sampled_from([*EXTREMES, *GAPS])

    @cached_property
    def zoned(self) -> SearchStrategy[datetime]:
        """Instants given in other zones than UTC, where these can name them."""
        inner = st.sampled_from([START, START + timedelta(microseconds=1), *GAPS])
        return st.builds(
            lambda instant, zone: instant.astimezone(zone), inner, st.sampled_from(_ZONES)
        )

    @cached_property
    def payloads(self) -> SearchStrategy[bytes]:
        """Payloads that every backend can store, though some are close to what it cannot."""
        fitting = [payload for payload in _PAYLOADS if len(payload) <= self._max_bytes]
        return st.one_of(st.sampled_from(fitting), st.binary(max_size=min(8, self._max_bytes)))

    @property
    def too_long(self) -> bytes:
        """A payload of one byte more than the backend can store."""
        return bytes(self._max_bytes + 1)

    @cached_property
    def reasons(self) -> SearchStrategy[str]:
        """Why events are buried."""
        return st.sampled_from(_REASONS)

    @cached_property
    def reports(self) -> SearchStrategy[Callable[[Claim], Settlement]]:
        """What to report on a claim that is put in later."""
        return st.one_of(
            st.just(Settlement.done),
            st.just(Settlement.release),
            st.builds(_release, self.mostly_near),
            st.builds(_retry, self.mostly_near, st.none() | self.payloads),
            st.builds(_bury, self.reasons),
        )

    def events(
        self,
        *,
        ids: SearchStrategy[str] | None = None,
        times: SearchStrategy[datetime] | None = None,
        payloads: SearchStrategy[bytes] | None = None,
    ) -> SearchStrategy[NewEvent]:
        """New events; few different values, so that true repeats of ``add`` happen too."""
        return st.builds(
            NewEvent,
            id=self.ids if ids is None else ids,
            trigger_type=self.types,
            trigger_time=self.instants if times is None else times,
            payload=self.payloads if payloads is None else payloads,
            created=st.one_of(st.just(START), self.instants),
        )

    def moves(self, ids: SearchStrategy[str]) -> SearchStrategy[Move]:
        """Changes of the time, the payload, both or neither."""
        return st.builds(
            Move,
            id=ids,
            trigger_time=st.none() | self.mostly_near,
            payload=st.none() | st.just(b"") | self.payloads,
        )

    @cached_property
    def queries(self) -> SearchStrategy[Query]:
        """Queries with any combination of criteria and small pages."""
        return st.builds(
            Query,
            ids=st.none() | st.lists(self.ids, max_size=4),
            trigger_type=st.none() | self.types,
            state=st.none() | st.sampled_from(State),
            due_from=st.none() | self.instants,
            due_until=st.none() | self.instants,
            limit=st.integers(1, 4),
        )


@cache
def values_for(capabilities: Capabilities) -> Values:
    """The same strategies for the same capabilities."""
    return Values(capabilities)


def _retry(due: datetime, payload: bytes | None) -> Callable[[Claim], Settlement]:
    return lambda claim: Settlement.retry(claim, due, payload)


def _release(due: datetime) -> Callable[[Claim], Settlement]:
    return lambda claim: Settlement.release(claim, due)


def _bury(reason: str) -> Callable[[Claim], Settlement]:
    return lambda claim: Settlement.bury(claim, reason)
