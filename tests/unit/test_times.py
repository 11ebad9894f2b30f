"""Instants: aware, UTC, and rounded so that nothing is early."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from futurama.errors import InvalidEventError
from futurama.times import EARLIEST, LATEST, ceil_to, floor_to, from_us, to_us, to_utc
from tests.unit.support import LAWS, MICROSECOND, SECOND

INSTANTS = st.datetimes(
    min_value=datetime(1, 1, 1),  # noqa: DTZ001 -- hypothesis wants it naive
    max_value=datetime(9999, 12, 31, 23, 59, 59),  # noqa: DTZ001 -- as above
    timezones=st.just(UTC),
)
RESOLUTIONS = st.sampled_from(
    [timedelta(microseconds=us) for us in (1, 2, 10, 1000, 10_000, 250_000, 1_000_000)]
)


@given(INSTANTS, RESOLUTIONS)
@LAWS
def test_ceil_is_never_early(instant: datetime, resolution: timedelta) -> None:
    """P2: what is stored is at or after what was asked for, and less than one step after it."""
    stored = ceil_to(instant, resolution)
    assert timedelta(0) <= stored - instant < resolution
    assert to_us(stored) % (resolution // MICROSECOND) == 0


@given(INSTANTS, RESOLUTIONS)
@LAWS
def test_floor_is_never_late(instant: datetime, resolution: timedelta) -> None:
    """What is rounded down is at or before the instant, and less than one step before it."""
    if instant - EARLIEST >= resolution:
        rounded = floor_to(instant, resolution)
        assert timedelta(0) <= instant - rounded < resolution
        assert to_us(rounded) % (resolution // MICROSECOND) == 0


@given(INSTANTS, RESOLUTIONS)
@LAWS
def test_rounding_twice_is_rounding_once(instant: datetime, resolution: timedelta) -> None:
    """A stored time that is stored again stays what it is."""
    stored = ceil_to(instant, resolution)
    assert ceil_to(stored, resolution) == stored == floor_to(stored, resolution)


@given(INSTANTS, INSTANTS, RESOLUTIONS)
@LAWS
def test_rounding_keeps_the_order(a: datetime, b: datetime, resolution: timedelta) -> None:
    """An event that is earlier than another is never stored after it."""
    first, second = sorted([a, b])
    assert ceil_to(first, resolution) <= ceil_to(second, resolution)


@given(INSTANTS)
@LAWS
def test_microseconds_are_exact(instant: datetime) -> None:
    """Microseconds since 1970 lose nothing, from year 1 to 9999."""
    assert from_us(to_us(instant)) == instant


@given(INSTANTS, st.integers(-(24 * 60) + 1, 24 * 60 - 1))
@LAWS
def test_utc_is_the_same_instant(instant: datetime, offset_minutes: int) -> None:
    """Whatever the offset, the same instant comes out, in UTC."""
    zone = timezone(timedelta(minutes=offset_minutes))
    try:
        local = instant.astimezone(zone)
    except OverflowError:
        return
    converted = to_utc(local)
    assert converted == instant
    assert converted.tzinfo is UTC


class _Derived(datetime):
    """As test helpers and data frames have them."""


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=5)), ZoneInfo("Europe/Berlin")])
def test_classes_derived_from_datetime_become_plain(zone: Any) -> None:
    """Drivers choose how to write a value by its very class."""
    instant = to_utc(_Derived(2030, 1, 2, 3, 4, 5, 678_901, tzinfo=zone))
    assert type(instant) is datetime
    assert instant == datetime(2030, 1, 2, 3, 4, 5, 678_901, tzinfo=zone)
    assert instant.tzinfo is UTC


def test_both_ends_of_the_calendar() -> None:
    """Year 1 and year 9999 can be stored, and rounding up does not leave year 9999."""
    assert to_utc(datetime(1, 1, 1, tzinfo=UTC)) == EARLIEST
    assert to_utc(LATEST) == LATEST
    assert ceil_to(LATEST, SECOND) == LATEST
    assert floor_to(EARLIEST, SECOND) == EARLIEST


@pytest.mark.parametrize(
    "instant",
    [
        datetime(9999, 12, 31, 23, 59, 59, 1, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
        datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-2))),
    ],
)
def test_beyond_the_calendar(instant: datetime) -> None:
    """An instant outside of the calendar is refused, with the range that is allowed."""
    with pytest.raises(InvalidEventError, match=r"0001-01-01.*9999-12-31") as info:
        to_utc(instant)
    assert info.value.field == "trigger_time"


@pytest.mark.parametrize("value", ["2030-01-01", 1e9, None, date(2030, 1, 1)])
def test_not_an_instant(value: Any) -> None:
    """What is not a datetime is refused by name and type."""
    with pytest.raises(InvalidEventError, match=f"created must be .*{type(value).__name__}"):
        to_utc(value, field="created")


def test_naive_datetimes_are_refused() -> None:
    """A datetime without a time zone is refused, with the way to make it aware."""
    with pytest.raises(InvalidEventError, match="astimezone"):
        to_utc(datetime(2030, 1, 1))  # noqa: DTZ001 -- that it is naive is the point


def test_both_passes_of_an_hour_at_the_end_of_summer() -> None:
    """02:30 happens twice when summer time ends; ``fold`` tells which one, an hour apart."""
    berlin = ZoneInfo("Europe/Berlin")
    first = to_utc(datetime(2030, 10, 27, 2, 30, tzinfo=berlin))
    second = to_utc(datetime(2030, 10, 27, 2, 30, fold=1, tzinfo=berlin))
    assert second - first == timedelta(hours=1)
    assert first == datetime(2030, 10, 27, 0, 30, tzinfo=UTC)


def test_an_hour_that_does_not_exist() -> None:
    """02:30 is skipped when summer time begins; it means the instant that Python says."""
    berlin = ZoneInfo("Europe/Berlin")
    skipped = datetime(2030, 3, 31, 2, 30, tzinfo=berlin)
    assert to_utc(skipped) == datetime(2030, 3, 31, 1, 30, tzinfo=UTC)
