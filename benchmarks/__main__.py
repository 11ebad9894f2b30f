"""``python -m benchmarks``: run benchmarks and show what they measured."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs

from benchmarks.catalogue import BENCHMARKS
from benchmarks.circumstances import Circumstances
from benchmarks.figures import Figure, VerificationError
from benchmarks.results import Measurement, Results, line, page
from benchmarks.stores import STORES, Store

__all__ = ["main"]


def main(words: Sequence[str] | None = None) -> int:
    """Run what the command line asks for.

    Returns:
        0, or 1 if a benchmark did not do what it claims to measure.
    """
    arguments = _arguments(words)
    _make_folders(arguments)
    results = Results()
    if arguments.keep and arguments.keep.exists():
        results = Results.from_json(arguments.keep.read_text(encoding="utf-8"))
    today, is_right = Circumstances.of_today(), True
    for store, names in _selection(arguments.names, arguments.store or list(STORES)):
        with STORES[store]() as new_store:
            here = today.with_server(new_store().about)
            for name in names:
                runs = _measured(new_store, store, name, arguments.runs)
                is_right = is_right and bool(runs)
                measurement = Measurement.of_runs(store, name, here, runs)
                results = results.joined_by(measurement)
                _write(results, arguments)
                if not arguments.json:
                    for row in measurement.shown:
                        print(line(store, row), flush=True)
    if arguments.json:
        print(results.to_json(), end="")
    return 0 if is_right else 1


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"by default some that take a quarter of an hour; of {', '.join(BENCHMARKS)}",
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
) -> Sequence[Sequence[Figure]]:
    """The figures of each run; nothing, after a line on stderr, if one was wrong."""
    runs = []
    count = min(most_runs, BENCHMARKS[name].most_runs)
    for number in range(1, count + 1):
        print(f"{store} {name}: {number} of {count}", file=sys.stderr, flush=True)
        try:
            runs.append(BENCHMARKS[name].measure(attrs.evolve(new_store(), run=number)))
        except VerificationError as error:
            print(f"{store} {name}: WRONG: {error}", file=sys.stderr, flush=True)
            return []
    return runs


def _make_folders(arguments: argparse.Namespace) -> None:
    """Now rather than after minutes of measuring."""
    for file in filter(None, (arguments.keep, arguments.markdown)):
        file.parent.mkdir(parents=True, exist_ok=True)
    if arguments.plots:
        arguments.plots.mkdir(parents=True, exist_ok=True)


def _write(results: Results, arguments: argparse.Namespace) -> None:
    """Write the files: after each benchmark, so that an interruption costs no more than one."""
    if arguments.keep:
        _replace(arguments.keep, results.to_json())
    if arguments.markdown:
        _replace(arguments.markdown, page(results))
    if arguments.plots:
        from benchmarks import plots  # noqa: PLC0415 -- matplotlib is there for `make bench` only

        plots.draw(results, arguments.plots)


def _replace(file: Path, text: str) -> None:
    """Write the text; whenever this is interrupted, the file is the old one or the new one."""
    new = file.with_name(f"{file.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(file)


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    sys.exit(main())
