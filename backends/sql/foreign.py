"""Rows that somebody else has written or changed, so that they are no events that Futurama stores."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from futurama.times import EARLIEST, LATEST, from_us

__all__ = ["UNREADABLE", "ImpossibleTime", "nearest_instant", "nearest_text", "plain_time"]

UNREADABLE = (AttributeError, OverflowError, TypeError, ValueError)
"""What reading a value raises that is not what belongs into its column."""

_DAY = timedelta(days=1)


class ImpossibleTime(datetime):
    """Stands for a stored time that is no instant of ours, and compares like it.

    It is the last instant before what was stored, or the nearest of all instants.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"no instant, the nearest is {self.isoformat()}"

    @classmethod
    def near(cls, instant: datetime) -> ImpossibleTime:
        """One that compares like ``instant``."""
        return cls.combine(instant.date(), instant.timetz())

    @classmethod
    def before(cls, year: int, month: int, day: int) -> ImpossibleTime:
        """For a date whose month or day is zero, or whose month is shorter."""
        is_too_long = month and day  # never in December, which has all the days there are
        try:
            behind = date(year, month + 1 if is_too_long else month or 1, 1)
            return cls.combine(behind - _DAY, time.max, UTC)
        except (OverflowError, ValueError):  # nothing is before the year 1
            return cls.near(EARLIEST)


def plain_time(value: datetime) -> datetime:
    """``value``, be it impossible or not, as an ordinary datetime."""
    if type(value) is datetime:
        return value
    return datetime.combine(value.date(), value.timetz())


def nearest_instant(microseconds: Any) -> datetime:
    """The same as ``from_us``, but for what is no instant one that compares like it."""
    try:
        return from_us(microseconds)
    except OverflowError:
        return EARLIEST if microseconds < 0 else LATEST
    except TypeError:
        return LATEST  # SQLite, which alone keeps anything in any column, sorts numbers first


def nearest_text(value: Any) -> str:
    """What was stored as UTF-8, for people: bytes that are none are escaped."""
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)
