"""``make conformance``: the suite on every backend, as ``docs/conformance-results.md``.

Each backend runs in a process of its own, one after the other, so that the seconds say something.
Ends with 1 if any law is broken, or if something could not be tested.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import attrs

from futurama.conformance import LAWS, Status
from futurama.conformance.laws import title

__all__ = ["COLUMNS", "PAGE", "Column", "main", "page"]

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "conformance-results.md"


@attrs.frozen
class Column:
    """One backend in the table.

    Attributes:
        name: its heading.
        target: what ``python -m futurama.conformance`` is given.
        path: the folder where its package lies, if that is not installed.
    """

    name: str
    target: str
    path: str = ""


COLUMNS = (
    Column("memory", "tests.conformance.test_memory:TestMemory"),
    Column("memory, 1 s", "tests.conformance.test_memory:TestWholeSeconds"),
    Column("sqlite", "tests.conformance.test_sqlite:TestSQLite"),
    Column("mysql", "tests.conformance.test_mysql:TestMySQL"),
    Column("mysql, 1 s", "tests.conformance.test_mysql:TestMySQLOfWholeSeconds"),
    Column("mysql, mysqldb", "tests.conformance.test_mysql:TestMySQLByTheCLibrary"),
    Column("postgresql", "tests.conformance.test_postgresql:TestPostgreSQL"),
    Column("redis", "tests.conformance.test_redis:TestRedis"),
    Column(
        "textfile",
        "examples/backend_textfile/tests/test_conformance.py:TestTextFile",
        "examples/backend_textfile",
    ),
)

_SYMBOLS = {
    Status.HELD: "✓",
    Status.BROKEN: "✗",
    Status.ABSENT: "–",
    Status.UNCHECKABLE: "·",
    Status.DEVIATES: "~",
    Status.UNDECIDED: "?",
    Status.WAITS: "?",
    Status.SKIPPED: "?",
}

_INTRODUCTION = """\
# What the conformance suite says

Made by `make conformance`: every backend of this repository, the example package included
(`textfile`), against every law of [conformance.md](conformance.md). "1 s" stores whole seconds, "mysqldb"
is the other driver. ✓ held, ✗ broken, – not declared and proven not to be there, · not declared and nobody
can prove that it is not there, ~ overridden for a reason, ? not tested."""


def main() -> int:
    """Run everything and write the page.

    Returns:
        0 if every law that can be checked holds on every backend, else 1.
    """
    reports = [_report(column) for column in COLUMNS]
    PAGE.write_text(page(reports), encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8"))
    for column, report in zip(COLUMNS, reports, strict=True):
        for result in report["results"]:
            if result["status"] not in {Status.HELD, Status.ABSENT, Status.UNCHECKABLE}:
                print(f"{column.name}: {result['test']}: {result['status']}\n{result['detail']}\n")
    return 0 if all(report["ok"] for report in reports) else 1


def _report(column: Column) -> Mapping[str, Any]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / column.path)]),
    }
    print(f"{column.name} ...", file=sys.stderr, flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "futurama.conformance", "--json", column.target],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in {0, 1}:
        raise SystemExit(f"{column.name}: {done.stderr}")
    report: Mapping[str, Any] = json.loads(done.stdout)
    print(f"{column.name}: {report['seconds']:.0f} s", file=sys.stderr, flush=True)
    return report


def page(reports: Sequence[Mapping[str, Any]]) -> str:
    """The page for these reports, one per column."""
    parts = [_INTRODUCTION, "\n".join(_sums(reports)), "\n".join(_laws(reports))]
    return "\n\n".join(parts) + "\n"


def _sums(reports: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "| backend | version below it | laws broken | calls on it | seconds |"
    yield "|---|---|---|---|---|"
    for column, report in zip(COLUMNS, reports, strict=True):
        broken = sum(status == Status.BROKEN for status in report["laws"].values())
        yield (
            f"| {column.name} | {report['version']} | {broken} | {report['calls']:,} | "
            f"{report['seconds']:.0f} |"
        )
    versions = {
        f"Python {report['python']}, hypothesis {report['hypothesis']}" for report in reports
    }
    yield ""
    yield f"With {' and '.join(sorted(versions))}, on two cores."


def _laws(reports: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """One row per law, below a row with the name of their subject."""
    yield f"| law | {' | '.join(column.name for column in COLUMNS)} |"
    yield f"|---|{':-:|' * len(COLUMNS)}"
    for subject, laws in groupby(LAWS.values(), key=lambda law: law.subject):
        yield f"| **{title(subject)}** |{' |' * len(COLUMNS)}"
        for law in laws:
            cells = (_SYMBOLS[Status(report["laws"][law.id])] for report in reports)
            yield f"| `{law.id}` | {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
