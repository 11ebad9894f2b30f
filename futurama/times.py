"""Instants: aware, UTC, whole microseconds, within what every backend can store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from futurama.errors import InvalidEventError

__all__ = ["EARLIEST", "LATEST", "ceil_to", "floor_to", "from_us", "to_us", "to_utc"]

EARLIEST = datetime.min.replace(tzinfo=UTC)
"""The first instant that can be stored: the beginning of year 1."""

LATEST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""The last one: a whole second, so that rounding up to a second never leaves year 9999."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_utc(value: datetime, *, field: str = "trigger_time") -> datetime:
    """The same instant in UTC, as a plain datetime even if ``value`` is of a class derived from it.

    Raises:
        InvalidEventError: ``value`` is not a datetime, is naive, or lies outside
            ``EARLIEST`` .. ``LATEST``.
    """
    if not isinstance(value, datetime):
        raise InvalidEventError(
            f"{field} must be an aware datetime, got {value!r} ({type(value).__name__})",
            field=field,
        )
    if type(value) is datetime and value.tzinfo is UTC and value <= LATEST:
        return value
    if value.utcoffset() is None:
        raise InvalidEventError(
            f"{field} has no time zone: {value!r}; say which one it is, "
            "for example datetime.now(UTC) or value.astimezone()",
            field=field,
        )
    try:
        instant = value.astimezone(UTC)
    except OverflowError:
        instant = None
    if instant is None or instant > LATEST:
        raise InvalidEventError(
            f"{field} {value.isoformat()} lies outside {EARLIEST.isoformat()} .. "
            f"{LATEST.isoformat()}; choose an instant within that range",
            field=field,
        )
    return _plain(instant)


def _plain(instant: datetime) -> datetime:
    """Drivers look for what writes a value by its very class."""
    return datetime.combine(instant.date(), instant.time(), UTC)


def to_us(instant: datetime) -> int:
    """Whole microseconds since 1970-01-01 UTC, negative before; exact."""
    since = instant - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def from_us(microseconds: int) -> datetime:
    """The inverse of :func:`to_us`."""
    return _EPOCH + microseconds * _MICROSECOND


def ceil_to(instant: datetime, resolution: timedelta) -> datetime:
    """The first multiple of ``resolution`` (counted from 1970) that is not before ``instant``.

    Backends store times through this function: an event that is rounded up is never early.
    """
    overhang = (instant - _EPOCH) % resolution
    return instant + (resolution - overhang) if overhang else instant


def floor_to(instant: datetime, resolution: timedelta) -> datetime:
    """The last multiple of ``resolution`` (counted from 1970) that is not after ``instant``."""
    return instant - (instant - _EPOCH) % resolution
