"""What the suite found, for people and for tools."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Iterator

import hypothesis

from futurama.conformance.base import Status
from futurama.conformance.laws import LAWS
from futurama.conformance.runner import Report, Result

__all__ = ["as_json", "as_text"]


def as_json(report: Report) -> str:
    """One object: the sums, and one result per test."""
    return json.dumps(
        {
            "ok": report.ok,
            "calls": report.calls,
            "seconds": round(report.seconds, 1),
            "python": platform.python_version(),
            "hypothesis": hypothesis.__version__,
            "version": report.version,
            "laws": report.laws(),
            "results": [
                {
                    "test": result.test,
                    "law": result.law,
                    "status": result.status,
                    "broken": result.broken and result.broken.law,
                    "detail": result.detail,
                    "calls": result.calls,
                    "seconds": result.seconds,
                }
                for result in report.results
            ],
        },
        indent=2,
    )


def as_text(report: Report) -> str:
    """A table of laws, then what is to be said about them, then a line with the sums."""
    parts = ["\n".join(_table(report)), *_details(report), _summary(report)]
    return "\n\n".join(part for part in parts if part)


def _table(report: Report) -> Iterator[str]:
    """One line per law or test; of many laws those that merely wait are only counted."""
    is_whole = len(report.laws()) == len(LAWS)
    rows = [
        (result.law or result.test, result)
        for result in report.results
        if result.status is not Status.WAITS or not is_whole
    ]
    width = max((len(name) for name, _ in rows), default=0)
    laws = report.laws()
    for name, result in rows:
        status = laws.get(name, result.status)
        yield f"{name:{width}}  {status}{_remark(result, status)}"


def _remark(result: Result, status: Status) -> str:
    """What the status of one law alone does not say."""
    if status is Status.UNDECIDED and result.broken:
        return f": its test came upon {result.broken.law} first"
    if status is Status.BROKEN and result.status is not Status.BROKEN:
        return ": found by another test"
    if status is Status.WAITS:
        return result.detail.removeprefix("waits")
    if status is Status.ABSENT:
        return ": not declared, and proven not to be there"
    if status is Status.UNCHECKABLE:
        return ": not declared, and nobody can prove that it is not there"
    if status is Status.DEVIATES:
        return f": {result.detail}"
    return ""


def _details(report: Report) -> Iterator[str]:
    """Each broken law once, by the test that is about it or else by the first that met it."""
    shown: set[str] = set()
    for result in sorted(report.results, key=lambda result: result.status is Status.UNDECIDED):
        key = result.broken.law if result.broken else result.detail
        is_said = result.status is Status.WAITS or result.status.is_fine
        if key and not is_said and key not in shown:
            shown.add(key)
            yield result.detail


def _summary(report: Report) -> str:
    numbers = Counter(report.laws().values())
    counted = ", ".join(f"{numbers[status]} {status}" for status in Status if numbers[status])
    missing = f" of {len(LAWS)}" if len(report.laws()) < len(LAWS) else ""
    head = "interrupted; " if report.is_interrupted else ""
    return (
        f"{head}{len(report.laws())}{missing} laws: {counted}; {report.calls:,} calls on the backend "
        f"in {report.seconds:.1f} s"
    )
