"""How long to wait before trying again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from futurama import RetryPolicy
from futurama.backoff import full_jitter_seconds
from tests.unit.support import LAWS, MILLISECOND, SECOND


@pytest.mark.parametrize("attempt", range(1, 20))
def test_bounds_of_every_attempt(attempt: int) -> None:
    """Attempt n waits 250 ms * 2**(n-1), plus up to as much again, never above ten minutes."""
    policy = RetryPolicy()
    least = min(250 * MILLISECOND * 2 ** (attempt - 1), timedelta(minutes=10))
    most = min(2 * least, timedelta(minutes=10))
    delays = [policy.delay(attempt) for _ in range(200)]
    assert all(least <= delay <= most for delay in delays)
    if least < most:
        spread = (max(delays) - min(delays)) / (most - least)
        assert spread > 0.5, "events that failed together come back together"


@given(st.integers(1, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
@LAWS
def test_no_attempt_number_is_too_large(attempt: int, base_ms: int, cap_ms: int) -> None:
    """The wait is never negative, never above the cap, and never an overflow."""
    policy = RetryPolicy(base=base_ms * MILLISECOND, cap=cap_ms * MILLISECOND)
    assert timedelta(0) <= policy.delay(attempt) <= policy.cap


def test_how_often() -> None:
    """``max_retry`` calls may follow the first one, not one more and not one less."""
    policy = RetryPolicy(max_retry=2)
    assert [policy.is_exhausted(attempt) for attempt in (0, 1, 2, 3, 4)] == [
        False, False, False, True, True,
    ]  # fmt: skip
    assert RetryPolicy(max_retry=0).is_exhausted(1)


def test_defaults_are_those_of_the_design() -> None:
    """250 ms, ten minutes, 18 retries."""
    assert RetryPolicy() == RetryPolicy(max_retry=18, base=250 * MILLISECOND, cap=600 * SECOND)


@pytest.mark.parametrize(
    "arguments",
    [{"max_retry": -1}, {"base": timedelta(microseconds=-1)}, {"cap": timedelta(days=-1)}],
)
def test_nothing_negative(arguments: dict[str, object]) -> None:
    """Negative numbers are refused by name."""
    with pytest.raises(ValueError, match=next(iter(arguments))):
        RetryPolicy(**arguments)  # type: ignore[arg-type]  # one argument each


@pytest.mark.parametrize("failures", [1, 2, 5, 10, 100, 10**6])
def test_full_jitter(failures: int) -> None:
    """P9: waiting for a backend is random from 0 to a bound that doubles and ends at two seconds."""
    bound = min(2.0, 0.02 * 2.0 ** min(failures - 1, 60))
    pauses = [full_jitter_seconds(failures) for _ in range(200)]
    assert all(0 <= pause <= bound for pause in pauses)
    assert max(pauses) > bound / 2
    assert min(pauses) < bound / 2
