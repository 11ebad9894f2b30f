"""Results: what was measured, kept as JSON and shown as a page."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Self

import attrs

from benchmarks.catalogue import BENCHMARKS
from benchmarks.circumstances import Circumstances
from benchmarks.figures import Figure, median_of
from benchmarks.stores import STORES

__all__ = ["Measurement", "Results", "Row", "line", "page"]

_INTRODUCTION = """\
# What the benchmarks measure

Made by `make bench`. Every number is the median of so many runs, between the least and the greatest;
the text above a table says when, where and of which code its numbers were measured.

"Bare" is a plain loop of the driver: the same reads and writes in a copy of the table, by simpler
statements without any guard. It has one connection per process or thread, which waits for every answer
and every flush, so it is a yardstick and no limit: claims and calls that overlap can be faster. Library
and bare loop take turns in who comes first, each after the server has cleared away what was deleted
before; ratios are of two numbers of one run.

A benchmark fails unless what it measures did happen:

* `run-*`, `batch-size`, `lateness-*`, `overload*`, `snapshot`: every event was called exactly once, and
  nothing is left in the store. Those that measure lateness also verify that no call was early; a
  backlog is due before it begins. The bare loop deleted as many rows as there were.
* `create-*`, `memory`: as many events wait as were created.
* `cancel-*`: every call answered that the event is cancelled, and nothing is left.
* `scale`: every event was claimed once and settled, or cancelled, and those that only wait are there.
* Peers: every event was called at most once, and if there was time for all, none is missing or left;
  where lateness is measured, none was early.

Servers, benchmarks and instances share the machine; each instance has a process of its own, but for
those on the memory backend."""


@attrs.frozen
class Row:
    """One figure of several runs.

    Attributes:
        figure: its value is the median.
        least, greatest: of the runs.
    """

    figure: Figure
    least: float
    greatest: float


@attrs.frozen
class Measurement:
    """One benchmark on one store.

    Attributes:
        store, benchmark: their names.
        circumstances: what the figures belong to.
        runs: how many.
        rows: in the order of the page.
    """

    store: str
    benchmark: str
    circumstances: Circumstances
    runs: int
    rows: Sequence[Row]

    @classmethod
    def of_runs(
        cls,
        store: str,
        benchmark: str,
        circumstances: Circumstances,
        runs: Sequence[Sequence[Figure]],
    ) -> Self:
        """What the runs of one benchmark have in common; there may be none."""
        rows = [Row(*values) for values in median_of(runs)]
        return cls(store, benchmark, circumstances, len(runs), rows)

    @property
    def shown(self) -> Sequence[Row]:
        """All rows but the details."""
        return [row for row in self.rows if not row.figure.is_detail]


@attrs.frozen
class Results:
    """What was measured, in the order of the page."""

    measurements: Sequence[Measurement] = ()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What :meth:`to_json` has made."""
        return cls([_measurement(known) for known in json.loads(text)])

    def to_json(self) -> str:
        """As text for programs."""
        return json.dumps([attrs.asdict(each) for each in self.measurements], indent=1) + "\n"

    def joined_by(self, new: Measurement) -> Self:
        """With this measurement, if it has rows, instead of what was known of the same."""
        kept = [each for each in self.measurements if _place(each) != _place(new)]
        return type(self)(sorted((each for each in [*kept, new] if each.rows), key=_place))


def line(store: str, row: Row) -> str:
    """A row for a terminal."""
    spread = f"({_number(row.least)} .. {_number(row.greatest)})"
    return (
        f"{store:13} {row.figure.name:56} {_number(row.figure.value):>9} "
        f"{row.figure.unit:8} {spread:22} {_goal(row.figure)}"
    ).rstrip()


def page(results: Results) -> str:
    """Everything but details, as Markdown: for each store a table per circumstances."""
    parts = [_INTRODUCTION]
    for store, of_store in groupby(results.measurements, key=lambda each: each.store):
        parts.append(f"## {store}")
        tables: dict[Circumstances, list[Measurement]] = {}
        for each in of_store:
            tables.setdefault(each.circumstances, []).append(each)
        for circumstances, measurements in tables.items():
            parts += [str(circumstances), "\n".join(_table(measurements))]
    return "\n\n".join(parts) + "\n"


def _measurement(known: Mapping[str, Any]) -> Measurement:
    rows = [Row(**{**row, "figure": Figure(**row["figure"])}) for row in known["rows"]]
    circumstances = Circumstances(**known["circumstances"])
    return Measurement(**{**known, "circumstances": circumstances, "rows": rows})


def _place(measurement: Measurement) -> tuple[int, int]:
    """Where a measurement stands among others: by store, then as in the catalogue."""
    stores, benchmarks = list(STORES), list(BENCHMARKS)
    return stores.index(measurement.store), benchmarks.index(measurement.benchmark)


def _table(measurements: Iterable[Measurement]) -> Iterator[str]:
    yield "| benchmark | what | median | min | max | unit | runs | goal | reached |"
    yield "|---|---|--:|--:|--:|---|--:|---|---|"
    for measurement in measurements:
        for row in measurement.shown:
            figure = row.figure
            reached = {None: "", True: "yes", False: "**no**"}[figure.is_reached]
            cells = (
                f"`{measurement.benchmark}`", figure.name, _number(figure.value),
                _number(row.least), _number(row.greatest), figure.unit, measurement.runs,
                figure.goal, reached,
            )  # fmt: skip
            yield f"| {' | '.join(map(str, cells))} |"


def _goal(figure: Figure) -> str:
    if not figure.goal:
        return ""
    return f"goal {figure.goal}{'' if figure.is_reached else ', NOT REACHED'}"


def _number(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}".removesuffix(".")
