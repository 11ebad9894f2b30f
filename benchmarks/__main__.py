"""``python -m benchmarks``: run benchmarks and show what they measured."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.catalogue import BENCHMARKS
from benchmarks.figures import VerificationError
from benchmarks.results import Results, Row, line, page, rows_of
from benchmarks.stores import STORES, Store

__all__ = ["main"]


def main(words: Sequence[str] | None = None) -> int:
    """Run what the command line asks for.

    Returns:
        0, or 1 if a benchmark did not do what it claims to measure.
    """
    arguments = _arguments(words)
    results = Results.of_this_machine()
    if arguments.keep and arguments.keep.exists():
        results = results.with_earlier(json.loads(arguments.keep.read_text(encoding="utf-8")))
    is_right = True
    for store, names in _selection(arguments.names, arguments.store or list(STORES)):
        with STORES[store]() as new_store:
            results = results.with_store(store, new_store().about)
            for name in names:
                rows = _measured(new_store, store, name, arguments.runs)
                is_right = is_right and bool(rows)
                results = results.with_rows(store, name, rows)
                if not arguments.json:
                    for row in rows:
                        if not row.figure.is_detail:
                            print(line(row), flush=True)
    _write(results, arguments)
    return 0 if is_right else 1


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"by default some that take about ten minutes; of {', '.join(BENCHMARKS)}",
    )
    parser.add_argument(
        "--store", action="append", choices=sorted(STORES), help="by default all; repeatable"
    )
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="the median counts")
    parser.add_argument("--json", action="store_true", help="print all results as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write a page of results")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="draw the plots")
    parser.add_argument(
        "--keep", type=Path, metavar="FILE",
        help="JSON: results of earlier runs, which join page and plots and which these replace",
    )  # fmt: skip
    arguments = parser.parse_args(words)
    if unknown := sorted(set(arguments.names) - set(BENCHMARKS)):
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(BENCHMARKS)}")
    if arguments.runs < 1:
        parser.error("--runs must be at least 1")
    return arguments


def _selection(names: Sequence[str], stores: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
    """The stores, and what is to be run on each; not those for which that is nothing."""
    for store in stores:
        selected = [
            name
            for name, benchmark in BENCHMARKS.items()
            if (name in names and store in benchmark.stores)
            or (not names and store in benchmark.by_default)
        ]
        if selected:
            yield store, selected


def _measured(
    new_store: Callable[[], Store], store: str, name: str, most_runs: int
) -> Sequence[Row]:
    """What was measured; nothing, after a line on stderr, if that was wrong."""
    runs = []
    count = min(most_runs, BENCHMARKS[name].most_runs)
    for number in range(1, count + 1):
        print(f"{store} {name}: {number} of {count}", file=sys.stderr, flush=True)
        try:
            runs.append(BENCHMARKS[name].measure(new_store()))
        except VerificationError as error:
            print(f"{store} {name}: WRONG: {error}", file=sys.stderr, flush=True)
            return []
    return rows_of(store, name, runs)


def _write(results: Results, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print(results.to_json(), end="")
    if arguments.keep:
        arguments.keep.write_text(results.to_json(), encoding="utf-8")
    if arguments.markdown:
        arguments.markdown.write_text(page(results), encoding="utf-8")
    if arguments.plots:
        from benchmarks import plots  # noqa: PLC0415 -- matplotlib is there for `make bench` only

        plots.draw(results, arguments.plots)


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    sys.exit(main())
