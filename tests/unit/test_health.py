"""How one kind of work with the backend is doing."""

from __future__ import annotations

import logging

import pytest

from futurama.health import Health
from futurama.stats import Stats
from tests.unit.support import unavailable


def test_says_once_that_it_fails_and_once_that_it_works(caplog: pytest.LogCaptureFixture) -> None:
    """P8: an outage of an hour makes two lines in the log, not thousands; each failure is counted."""
    stats = Stats()
    health = Health("claiming events", stats)
    caplog.set_level(logging.INFO)
    health.worked()
    assert health._failures == 0
    for _ in range(50):
        health.failed(unavailable())
    assert health._failures == 50
    health.worked()
    health.worked()
    assert health.is_failing is False
    assert [record.getMessage() for record in caplog.records] == [
        "claiming events fails, trying again until it works: faulty: made unavailable by a test",
        "claiming events works again after 50 failures",
    ]
    assert stats.snapshot()["backend_errors"] == 50


def test_waits_longer_each_time() -> None:
    """P9: the first repeat comes at once, later ones within two seconds."""
    health = Health("x", Stats())
    pauses = [health.failed(unavailable()) for _ in range(100)]
    assert pauses[0] <= 0.02
    assert all(0 <= pause <= 2 for pause in pauses)
    assert max(pauses) > 1
