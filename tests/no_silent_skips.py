"""A pytest plugin: on continuous integration, what is skipped or expected to fail has failed.

``make`` loads it with ``-p tests.no_silent_skips``. On a laptop a missing server skips tests, with
a loud line; where ``CI`` is set nothing may go untested unnoticed. There is no list of exceptions:
a test that cannot run somewhere belongs into a folder that is not run there.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TypeVar

import pytest

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

ON_CI = os.environ.get("CI", "").lower() not in {"", "0", "false"}


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Judge a test, its set-up and its tear-down."""
    return _judged((yield))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Judge a module that skips itself as a whole."""
    return _judged((yield))


def _judged(report: Report) -> Report:
    if ON_CI and report.outcome == "skipped":
        kind = "expected to fail" if hasattr(report, "wasxfail") else "skipped"
        reason = getattr(report, "wasxfail", None) or report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{kind} on continuous integration, where nothing may be: {reason}"
        if hasattr(report, "wasxfail"):
            del report.wasxfail
    return report
