"""What one sees of ``futurama demo``: its progress while it runs, and the report."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeAlias

import attrs
import click
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from futurama.cli.demo_report import Lateness, Report

__all__ = ["Progress", "progress_view", "report_lines"]

_PLAIN_SECONDS = 1.0
"""Time between two lines where there is no terminal."""

_BAR_WIDTH = 40


@attrs.frozen(kw_only=True)
class Progress:
    """How far a demonstration is, in numbers of events; the lateness is that of all calls so far."""

    planned: int
    created: int
    called: int
    cancelled: int
    retried: int
    lateness_p99_ms: float | None


Show: TypeAlias = Callable[[Progress], None]


def progress_view(*, is_silent: bool) -> AbstractContextManager[Show]:
    """What shows the progress: bars at a terminal, elsewhere a line now and then."""
    if is_silent:
        return nullcontext(_show_nothing)
    return _bars() if sys.stdout.isatty() else _lines()


def _show_nothing(_: Progress) -> None: ...


def report_lines(report: Report, *, backend: str) -> Sequence[str]:
    """The report for people."""
    repeated = "answered 503 at first, then called again"
    also = f"and {report.in_flight} in flight, {report.too_late} too late"
    lines = [
        f"created      {report.created:6}  on {backend}",
        f"called       {report.called:6}",
        f"cancelled    {report.cancelled:6}  {also}",
        f"retried      {report.retried:6}  {repeated}",
        f"lateness     {_lateness(report.call)}  start of the call",
        f"             {_lateness(report.arrival)}  arrival at the receiver",
        f"lost         {report.lost:6}",
        f"duplicated   {report.duplicated:6}",
        f"early        {report.early:6}",
        f"not cancelled{report.called_after_cancelled:6}  called although cancel had answered CANCELLED",
    ]
    if report.left_over:
        lines.append(f"left over    {report.left_over:6}  not done when the time was up; removed")
    if report.broken:
        names = ", ".join(name.replace("_", " ") for name in report.broken)
        return [*lines, f"BROKEN PROMISES: {names}"]
    return [*lines, "every event was called once, not before its time, or cancelled"]


def _lateness(lateness: Lateness) -> str:
    values = ("p50", lateness.p50_ms), ("p99", lateness.p99_ms), ("max", lateness.max_ms)
    return "  ".join(
        f"{name}      -   " if value is None else f"{name} {value:6.2f} ms"
        for name, value in values
    )


@contextmanager
def _lines() -> Iterator[Show]:
    next_line = 0.0

    def show(progress: Progress) -> None:
        nonlocal next_line
        if time.monotonic() >= next_line:
            next_line = time.monotonic() + _PLAIN_SECONDS
            click.echo(
                f"created {progress.created}, called {progress.called}, "
                f"cancelled {progress.cancelled}, retried {progress.retried}"
            )
            sys.stdout.flush()

    yield show


@contextmanager
def _bars() -> Iterator[Show]:
    with Live(auto_refresh=False) as live:
        yield lambda progress: live.update(_picture(progress), refresh=True)


def _picture(progress: Progress) -> Table:
    table = Table.grid(padding=(0, 2))
    for name in ("created", "called", "cancelled", "retried"):
        number = getattr(progress, name)
        bar = ProgressBar(total=progress.planned, completed=number, width=_BAR_WIDTH)
        table.add_row(name, bar, str(number))
    p99_ms = progress.lateness_p99_ms
    table.add_row("late (p99)", "" if p99_ms is None else f"{p99_ms:.2f} ms")
    return table
