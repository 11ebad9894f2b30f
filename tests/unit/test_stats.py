"""Counters and the lateness histogram."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from futurama.stats import COUNTERS, LatenessHistogram, Stats
from tests.unit.support import LAWS, Background

US_TO_MINUTES = st.integers(10, 20 * 60 * 1_000_000)


@given(st.lists(US_TO_MINUTES, min_size=1, max_size=300), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
@LAWS
def test_quantiles_are_right_to_ten_percent(latenesses: list[int], q: float) -> None:
    """A quantile is at least the true one and at most a tenth above it."""
    histogram = LatenessHistogram()
    histogram.record(latenesses[:7])
    histogram.record(latenesses[7:])
    rank = max(1, -int(-q * len(latenesses) // 1))
    true_ms = sorted(latenesses)[rank - 1] / 1000
    found = histogram.quantile_ms(q)
    assert found is not None
    assert true_ms * 0.9999 <= found <= true_ms * 1.1001


def test_extremes() -> None:
    """Nothing recorded gives None; less than 10 us and more than half an hour do no harm."""
    histogram = LatenessHistogram()
    assert histogram.quantile_ms(0.5) is None
    assert LatenessHistogram().max_ms is None
    histogram.record([0])
    assert histogram.quantile_ms(0.99) == 0
    histogram.record([10**12])
    assert histogram.max_ms == 10**9
    assert histogram.quantile_ms(1) == 10**9


def test_every_counter_is_shown() -> None:
    """A snapshot has all counters from the start, and lateness only after a call."""
    stats = Stats()
    before = stats.snapshot()
    assert dict.fromkeys(COUNTERS, 0).items() <= before.items()
    assert before["lateness_p50_ms"] is before["lateness_max_ms"] is None
    stats.call_started(1500)
    after = stats.snapshot()
    assert after["called"] == 1
    assert after["lateness_max_ms"] == 1.5


def test_a_call_before_its_time_would_show() -> None:
    """Negative lateness, which P2 forbids, is counted as none rather than as an error."""
    stats = Stats()
    stats.call_started(-5)
    assert stats.snapshot()["lateness_max_ms"] == 0


def test_unknown_counters_are_bugs() -> None:
    """A counter that is not documented cannot be counted."""
    with pytest.raises(AssertionError, match="calld"):
        Stats().count("calld")


def test_nothing_is_lost_between_threads() -> None:
    """P8: many threads count at once, nothing is lost, and unfolded calls do not pile up."""
    stats, barrier = Stats(), threading.Barrier(4)

    def count() -> None:
        barrier.wait(10)
        for _ in range(5000):
            stats.call_started(100)
            stats.count("claimed")

    for thread in [Background(count) for _ in range(4)]:
        thread.result()
    assert len(stats._unfolded) <= Stats._MAX_UNFOLDED + 4
    snapshot = stats.snapshot()
    assert (snapshot["called"], snapshot["claimed"]) == (20_000, 20_000)
