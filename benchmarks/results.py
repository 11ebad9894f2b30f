"""Results: what was measured, kept as JSON and shown as a page."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Self

import attrs

from benchmarks.catalogue import BENCHMARKS
from benchmarks.figures import Figure, median_of
from benchmarks.stores import STORES

__all__ = ["Results", "Row", "line", "page", "rows_of"]

_INTRODUCTION = """\
# What the benchmarks measure

Made by `make bench`. Every number is the median of so many runs, between the least and the greatest.
Every benchmark verifies what it measures: each event called exactly once, none early, nothing left in
the store. "Bare" is the plain driver that reads and writes the same in a copy of the table, by simpler
statements without any guard, measured in turn with the library; ratios are of two numbers of one run.
Servers, benchmarks and instances share the machine; each instance has a process of its own, but for
those on the memory backend."""


@attrs.frozen
class Row:
    """One figure of one benchmark on one store.

    Attributes:
        store, benchmark: their names.
        figure: its value is the median.
        least, greatest: of the runs.
        runs: how many.
    """

    store: str
    benchmark: str
    figure: Figure
    least: float
    greatest: float
    runs: int


@attrs.frozen
class Results:
    """What was measured, and on what.

    Attributes:
        machine: cores and Python.
        stores: server and driver of each store, by name.
        rows: in the order of the page.
    """

    machine: str
    stores: Mapping[str, str]
    rows: Sequence[Row]

    @classmethod
    def of_this_machine(cls) -> Self:
        """Nothing measured yet."""
        cores = f"{os.cpu_count()} cores"
        python = f"{platform.python_implementation()} {platform.python_version()}"
        return cls(f"{cores}, {python}, {platform.system()}", {}, [])

    def to_json(self) -> str:
        """As text for programs."""
        return json.dumps(attrs.asdict(self), indent=1) + "\n"

    def with_earlier(self, known: Mapping[str, Any]) -> Self:
        """With what :meth:`to_json` has kept of former runs."""
        rows = [Row(**{**row, "figure": Figure(**row["figure"])}) for row in known["rows"]]
        return attrs.evolve(self, stores=known["stores"], rows=rows)

    def with_store(self, store: str, about: str) -> Self:
        """With what there is to say about one store."""
        return attrs.evolve(self, stores={**self.stores, store: about})

    def with_rows(self, store: str, benchmark: str, rows: Sequence[Row]) -> Self:
        """With these rows instead of all that was known of this benchmark on this store."""
        kept = [row for row in self.rows if (row.store, row.benchmark) != (store, benchmark)]
        return attrs.evolve(self, rows=sorted([*kept, *rows], key=_place))


def rows_of(store: str, benchmark: str, runs: Sequence[Sequence[Figure]]) -> list[Row]:
    """The rows of one benchmark that was run several times on one store."""
    return [
        Row(store, benchmark, figure, least, greatest, len(runs))
        for figure, least, greatest in median_of(runs)
    ]


def line(row: Row) -> str:
    """A row for a terminal."""
    spread = f"({_number(row.least)} .. {_number(row.greatest)})"
    return (
        f"{row.store:10} {row.figure.name:52} {_number(row.figure.value):>9} "
        f"{row.figure.unit:8} {spread:22} {_goal(row.figure)}"
    ).rstrip()


def page(results: Results) -> str:
    """Everything but details, as Markdown."""
    parts = [_INTRODUCTION, f"Measured on {results.machine}."]
    rows = [row for row in results.rows if not row.figure.is_detail]
    for store, of_store in groupby(rows, key=lambda row: row.store):
        parts += [f"## {store}", f"{results.stores[store]}.", "\n".join(_table(of_store))]
    return "\n\n".join(parts) + "\n"


def _place(row: Row) -> tuple[int, int]:
    """Where a row stands among others: by store, then as in the catalogue."""
    return list(STORES).index(row.store), list(BENCHMARKS).index(row.benchmark)


def _table(rows: Iterable[Row]) -> Iterator[str]:
    yield "| benchmark | what | median | min | max | unit | runs | goal | reached |"
    yield "|---|---|--:|--:|--:|---|--:|---|---|"
    for row in rows:
        figure = row.figure
        reached = {None: "", True: "yes", False: "**no**"}[figure.is_reached]
        cells = (
            f"`{row.benchmark}`", figure.name, _number(figure.value), _number(row.least),
            _number(row.greatest), figure.unit, row.runs, figure.goal, reached,
        )  # fmt: skip
        yield f"| {' | '.join(map(str, cells))} |"


def _goal(figure: Figure) -> str:
    if not figure.goal:
        return ""
    return f"goal {figure.goal}{'' if figure.is_reached else ', NOT REACHED'}"


def _number(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}".removesuffix(".")
