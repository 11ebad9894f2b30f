"""``python -m futurama.conformance package.module:name``: the suite as a table, without pytest.

``name`` is a subclass of :class:`~futurama.conformance.BackendConformance`, or a ``make_backend``
context manager; then the capabilities are those that the backend itself declares.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from futurama.conformance.laws import LAWS, as_markdown
from futurama.conformance.runner import Report, check, check_suite
from futurama.conformance.suite import BackendConformance

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suite and print what it found.

    Returns:
        0 if every law that can be checked holds, else 1.
    """
    parser = argparse.ArgumentParser(prog="python -m futurama.conformance", description=__doc__)
    parser.add_argument("target", nargs="?", metavar="module:name", help="what to test")
    parser.add_argument("--law", action="append", metavar="ID", choices=LAWS, help="only this law")
    parser.add_argument("--json", action="store_true", help="for tools")
    parser.add_argument("--laws", action="store_true", help="print all laws as Markdown")
    options = parser.parse_args(arguments)
    if options.laws:
        print(as_markdown(), end="")  # noqa: T201 -- a program's output
        return 0
    if options.target is None:
        parser.error("say what to test, as module:name")
    sys.path.insert(0, os.getcwd())  # as pytest and `python -m` do; a console script would not
    report = _report(_loaded(options.target), options.law)
    print(_as_json(report) if options.json else _as_table(report))  # noqa: T201 -- a program's output
    return 0 if report.ok else 1


def _loaded(target: str) -> Any:
    module, _, name = target.partition(":")
    if not name:
        raise SystemExit(f"{target!r} must be of the form package.module:name")
    return getattr(importlib.import_module(module), name)


def _report(found: Any, laws: Sequence[str] | None) -> Report:
    if isinstance(found, type) and issubclass(found, BackendConformance):
        return check_suite(found, laws=laws)
    with found() as backend:
        capabilities = backend.capabilities
    return check(found, capabilities, laws=laws)


def _as_json(report: Report) -> str:
    return json.dumps(
        [
            {
                "law": result.law,
                "test": result.test,
                "status": result.status,
                "broken": result.broken and result.broken.law,
                "detail": result.detail,
            }
            for result in report.results
        ],
        indent=2,
    )


def _as_table(report: Report) -> str:
    width = max(len(result.law or result.test) for result in report.results)
    lines = [f"{result.law or result.test:{width}}  {result.status}" for result in report.results]
    details = [result.detail for result in report.results if result.detail]
    return "\n\n".join(["\n".join(lines), *details])


if __name__ == "__main__":
    sys.exit(main())
