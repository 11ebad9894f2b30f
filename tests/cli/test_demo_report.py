"""The judgement of a demonstration: every broken promise is seen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from futurama.cli.demo_report import Cancellation, Evidence, Lateness, judge
from futurama.cli.demo_view import report_lines
from futurama.events import CancelOutcome

ORIGIN = datetime(2030, 1, 1, tzinfo=UTC)
DUE = ORIGIN + timedelta(seconds=10)
MS = 1_000_000
DUE_NS = 10_000 * MS


def evidence(**changes: Any) -> Evidence:
    """One event, "a", that was called 1 ms late and arrived 2 ms late."""
    usual: dict[str, Any] = {
        "trigger_times": {"a": DUE},
        "starts": {"a": [DUE + timedelta(milliseconds=1)]},
        "calls": [("a", DUE_NS + 2 * MS, 200)],
        "cancellations": {},
        "left_over": frozenset(),
        "origin": ORIGIN,
    }
    return Evidence(**{**usual, **changes})


def cancelled(outcome: CancelOutcome | None, answered_ns: int = DUE_NS) -> dict[str, Cancellation]:
    """The answer to the cancellation of "a"."""
    return {"a": Cancellation(outcome, answered_ns)}


def test_all_is_well() -> None:
    """A call at its time breaks no promise, and its lateness is exact."""
    report = judge(evidence())
    assert report.broken == []
    assert (report.created, report.called, report.retried) == (1, 1, 0)
    assert report.call == Lateness(1, 1, 1)
    assert report.arrival == Lateness(2, 2, 2)


def test_retries_are_no_duplicates() -> None:
    """A call after a 503 is a retry."""
    report = judge(evidence(calls=[("a", DUE_NS, 503), ("a", DUE_NS + MS, 200)]))
    assert (report.broken, report.retried, report.called) == ([], 1, 1)


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({"calls": [], "starts": {}}, "lost"),
        ({"calls": [("a", DUE_NS, 503)]}, "lost"),
        ({"calls": [], "cancellations": cancelled(CancelOutcome.NOT_FOUND)}, "lost"),
        ({"calls": [("a", DUE_NS, 200), ("a", DUE_NS + 5, 200)]}, "duplicated"),
        ({"starts": {"a": [DUE - timedelta(microseconds=1)]}}, "early"),
        ({"cancellations": cancelled(CancelOutcome.CANCELLED)}, "called_after_cancelled"),
        (
            {
                "calls": [("a", DUE_NS + 1, 503)],
                "cancellations": cancelled(CancelOutcome.CANCELLED),
            },
            "called_after_cancelled",
        ),
        ({"calls": [], "left_over": frozenset({"a"})}, "left_over"),
        ({"left_over": frozenset({"a"})}, "left_over"),
    ],
)
def test_broken_promises_are_seen(changes: dict[str, Any], broken: str) -> None:
    """Each way to break a promise is found, and told to people and programs."""
    report = judge(evidence(**changes))
    assert report.broken == [broken]
    assert report.as_json()["ok"] is False
    assert report_lines(report, backend="x")[-1] == f"BROKEN PROMISES: {broken.replace('_', ' ')}"


@pytest.mark.parametrize(
    "changes",
    [
        {"calls": [], "starts": {}, "cancellations": cancelled(CancelOutcome.CANCELLED)},
        {
            "calls": [("a", DUE_NS - 5, 503)],
            "cancellations": cancelled(CancelOutcome.CANCELLED),
        },
        {"cancellations": cancelled(CancelOutcome.IN_FLIGHT)},
        {"calls": [], "cancellations": cancelled(CancelOutcome.IN_FLIGHT)},
        {"cancellations": cancelled(CancelOutcome.NOT_FOUND)},
        {"calls": [], "cancellations": cancelled(None)},
        {"cancellations": cancelled(None)},
    ],
)
def test_kept_promises_are_not_accused(changes: dict[str, Any]) -> None:
    """Whatever the answers of ``cancel`` allow is no broken promise."""
    assert judge(evidence(**changes)).broken == []


def test_strangers_do_not_count() -> None:
    """Calls of events that were not created, like the one that warms up, are ignored."""
    assert judge(evidence(calls=[*evidence().calls, ("b", 0, 200)])) == judge(evidence())


def test_quantiles_are_exact() -> None:
    """Each quantile is one of the values."""
    values = [timedelta(milliseconds=n) for n in range(1, 201)]
    assert Lateness.of(values) == Lateness(100, 198, 200)
    assert Lateness.of([]) == Lateness(None, None, None)
