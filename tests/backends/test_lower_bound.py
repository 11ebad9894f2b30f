"""Where looks at what is due begin, and that nothing is missed for long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from futurama.backends.sql.lower_bound import LowerBound
from futurama.times import EARLIEST, LATEST

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class Timer:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def timer() -> Timer:
    """Stands still."""
    return Timer()


@pytest.fixture
def bound(timer: Timer) -> LowerBound:
    """Nothing has been looked at yet."""
    return LowerBound(timer)


def test_quick_looks_begin_at_the_beginning(bound: LowerBound, timer: Timer) -> None:
    """P3: on a server that purges what is removed nothing is ever missed."""
    for first in (None, NOW - SECOND, NOW + SECOND, EARLIEST, LATEST):
        bound.learn(EARLIEST, first, horizon=NOW, seconds=0.001)
        timer.seconds += 0.1
        assert bound.get() == EARLIEST


def look_slowly(bound: LowerBound, first: datetime | None, seconds: float, times: int = 10) -> None:
    """Looks from the beginning, each of which takes long."""
    for _ in range(times):
        bound.learn(EARLIEST, first, horizon=NOW, seconds=seconds)


def test_a_busy_machine_is_no_reason(bound: LowerBound) -> None:
    """P3: looks that take long now and then change nothing."""
    look_slowly(bound, None, seconds=1, times=9)
    bound.learn(EARLIEST, None, horizon=NOW, seconds=0.001)
    look_slowly(bound, None, seconds=1, times=9)
    assert bound.get() == EARLIEST


@pytest.mark.parametrize(("seconds", "rest"), [(0.03, 0.6), (0.1, 2), (3, 5)])
def test_slow_looks_from_the_beginning_are_rare(
    bound: LowerBound, timer: Timer, seconds: float, rest: float
) -> None:
    """P3: what is stored below the bound is found soon, however long looking for it takes."""
    look_slowly(bound, NOW + SECOND, seconds)
    timer.seconds += rest * 0.99
    lower = bound.get()
    assert EARLIEST < lower < NOW
    bound.learn(lower, None, horizon=NOW + 9 * SECOND, seconds=0.001)
    assert lower < bound.get() < NOW + 9 * SECOND
    timer.seconds += rest * 0.02
    assert bound.get() == EARLIEST


def test_what_is_found_in_the_past_stays_above_the_bound(bound: LowerBound) -> None:
    """P3: a thousand overdue events that a look from the beginning finds are not passed over then."""
    look_slowly(bound, NOW - 3_600 * SECOND, seconds=0.1)
    assert bound.get() < NOW - 3_600 * SECOND
    bound.learn(bound.get(), NOW - 3_000 * SECOND, horizon=NOW, seconds=0.001)
    assert bound.get() < NOW - 3_000 * SECOND


def test_the_calendar_has_a_beginning(bound: LowerBound) -> None:
    """An event of year 1 does no harm."""
    look_slowly(bound, EARLIEST + SECOND, seconds=0.1)
    assert bound.get() == EARLIEST
