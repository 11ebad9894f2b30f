"""The plots of docs/performance, drawn from results."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.results import Results

__all__ = ["draw"]

_STORE = "mysql"
"""The store that the plots show."""

_STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "futurama",  # the same results give the same file
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "legend.frameon": False,
}

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
"""Of Okabe and Ito: colour-blind people tell them apart."""

_MARKERS = ("o", "s", "^", "D")

_SHARES = (0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)

_LEAST_MS = 0.001
"""A logarithmic axis knows no 0, and clocks know no less."""

Series = Mapping[str, Sequence[tuple[float, float]]]
"""Points by the label of their line."""


def draw(results: Results, folder: Path) -> None:
    """Draw every plot for which there are results; leave the others as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(_STYLE):
        if series := _series(results, r"lateness at (?P<line>[\d,]+/s), p(?P<x>[\d.]+)"):
            _lateness(series, folder / "lateness.svg")
        if both := _batch_sizes(results):
            _batch_size(both, folder / "batch-size.svg")
        series = _series(results, r"(?P<line>.+), (?P<x>[\d,]+) waiting")
        if series := {name: points for name, points in series.items() if len(points) > 1}:
            _table_size(series, folder / "table-size.svg")


def _series(results: Results, pattern: str) -> dict[str, list[tuple[float, float]]]:
    """The figures whose names match, as points: the name gives ``line`` and ``x``, the value y."""
    series: dict[str, list[tuple[float, float]]] = {}
    rows = [row for each in results.measurements if each.store == _STORE for row in each.rows]
    for row in rows:
        if match := re.fullmatch(pattern, row.figure.name):
            x = float(match["x"].replace(",", ""))
            series.setdefault(match["line"], []).append((x, row.figure.value))
    return series


def _batch_sizes(results: Results) -> Series:
    lines = {
        "Futurama": r"(?P<line>run, claims) of (?P<x>[\d,]+)",
        "plain PyMySQL": r"(?P<line>bare run, batches) of (?P<x>[\d,]+)",
    }
    return {
        label: points
        for label, pattern in lines.items()
        for points in _series(results, pattern).values()
    }


def _lateness(series: Series, path: Path) -> None:
    figure, axes = _axes("How late calls start, MySQL, one instance")
    for (rate, points), colour in zip(series.items(), _COLOURS, strict=False):
        shares = [percent / 100 for percent, _ in points]
        late_ms = [max(_LEAST_MS, value) for _, value in points]
        axes.plot(late_ms, shares, color=colour, label=f"{rate.removesuffix('/s')} events/s")
    axes.set_xscale("log")
    axes.set_yscale("logit")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_yticks(_SHARES, [f"{100 * share:g} %" for share in _SHARES])
    axes.set_yticks([], minor=True)
    axes.set_xlabel("lateness in ms (logarithmic)")
    axes.set_ylabel("share of calls at most that late")
    _save(figure, path, legend="upper left")


def _batch_size(series: Series, path: Path) -> None:
    figure, axes = _axes("Running a backlog, MySQL, one process")
    _plot_rates(axes, series)
    sizes = [size for size, _ in next(iter(series.values()))]
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:,.0f}" for size in sizes])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("events per claim (logarithmic)")
    _save(figure, path, legend="lower right")


def _table_size(series: Series, path: Path) -> None:
    figure, axes = _axes("Does it matter how many events wait? MySQL")
    _plot_rates(axes, series)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel("events that wait in the table (logarithmic)")
    _save(figure, path, legend="lower left")


def _axes(title: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left")
    return figure, axes


def _plot_rates(axes: Any, series: Series) -> None:
    for (label, points), colour, marker in zip(series.items(), _COLOURS, _MARKERS, strict=False):
        axes.plot(*zip(*points, strict=True), color=colour, marker=marker, label=label)
    greatest = max(rate for points in series.values() for _, rate in points)
    axes.set_ylim(0, 1.1 * greatest)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_ylabel("events/s")


def _save(figure: Figure, path: Path, *, legend: str) -> None:
    (axes,) = figure.axes
    axes.legend(loc=legend)
    figure.savefig(path, format="svg", metadata={"Date": None})
