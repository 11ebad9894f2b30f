"""``python -m futurama.conformance package.module:name``: the suite as a table, without pytest.

``name`` is a subclass of :class:`~futurama.conformance.BackendConformance`, or a ``make_backend``
context manager; then the capabilities are those that the backend itself declares. The module may
also be given as the path of a file.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from difflib import get_close_matches
from inspect import isgenerator
from pathlib import Path
from typing import Any

from futurama.backend import Capabilities, EventBackend
from futurama.conformance.author import Connect
from futurama.conformance.examination import examined
from futurama.conformance.failure import where
from futurama.conformance.laws import LAWS, as_markdown
from futurama.conformance.profile import THOROUGH, VARIABLE
from futurama.conformance.report import as_json, as_text
from futurama.conformance.runner import Report, Result, results_of, suite_of
from futurama.conformance.suite import BackendConformance

__all__ = ["main"]


class _UsageError(Exception):
    """What was given cannot be tested; says what to give instead."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suite and print what it found.

    Returns:
        0 if every law that can be checked holds, 1 if not, 2 if there is nothing to test.
    """
    parser = argparse.ArgumentParser(prog="python -m futurama.conformance", description=__doc__)
    parser.add_argument("target", nargs="?", metavar="module:name", help="what to test")
    parser.add_argument(
        "--connector", metavar="module:name", help="with make_backend: the function connector"
    )
    parser.add_argument(
        "--law",
        action="append",
        metavar="ID",
        help="only this law, or family such as cancel; repeatable",
    )
    parser.add_argument("--thorough", action="store_true", help="look for long, at random")
    parser.add_argument("--json", action="store_true", help="for tools")
    parser.add_argument("--laws", action="store_true", help="print all laws as Markdown")
    options = parser.parse_args(arguments)
    if options.laws:
        print(as_markdown(), end="")  # noqa: T201 -- a program's output
        return 0
    if options.thorough:
        os.environ[VARIABLE] = THOROUGH  # where child processes look, too
    try:
        laws = _laws(options.law)
        suite = _suite(options.target, options.connector)
    except _UsageError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)  # noqa: T201 -- a program's output
        return 2
    report = _report(suite, laws)
    print(as_json(report) if options.json else as_text(report))  # noqa: T201 -- a program's output
    if report.is_interrupted:
        return 128 + signal.SIGINT
    return 0 if report.ok else 1


def _report(suite: type[BackendConformance], laws: Collection[str] | None) -> Report:
    """What was found until all was done, or until someone had enough."""
    results: list[Result] = []
    is_interrupted = False
    try:
        for result in results_of(suite, laws=laws, progress=_progress()):
            results.append(result)  # noqa: PERF402 -- these outlast an exception
    except KeyboardInterrupt:
        is_interrupted = True
    return Report(results, examined(suite).version if results else "", is_interrupted)


def _laws(asked: Sequence[str] | None) -> Collection[str] | None:
    """The laws of these ids and families; None for all."""
    if asked is None:
        return None
    laws: list[str] = []
    for law in asked:
        meant = [known for known in LAWS if known == law or known.startswith(f"{law}.")]
        if not meant:
            near = get_close_matches(law, LAWS)
            advice = f"did you mean {' or '.join(near)}?" if near else "--laws prints all"
            raise _UsageError(f"there is no law {law!r}; {advice}")
        laws += meant
    return laws


def _suite(target: str | None, connector: str | None) -> type[BackendConformance]:
    if target is None:
        raise _UsageError("say what to test, as module:name")
    found = _loaded(target)
    if isinstance(found, type) and issubclass(found, BackendConformance):
        if connector is not None:
            raise _UsageError("--connector goes with make_backend; a class has connector() itself")
        return found
    if isinstance(found, type) or not callable(found):
        kind = "a class" if isinstance(found, type) else f"a {type(found).__name__}"
        raise _UsageError(
            f"{target} is {kind}; name a subclass of BackendConformance, or a function "
            "make_backend, decorated with @contextmanager, that yields the backend"
        )
    connects: Callable[[EventBackend], Connect] | None = None
    if connector is not None:
        connects = _loaded(connector)
        if not callable(connects):
            raise _UsageError(f"{connector} must be a function that takes a backend")
    return suite_of(found, _declared(target, found), connector=connects)


def _loaded(target: str) -> Any:
    """What ``module:name``, ``path/to/module.py:name`` or pytest's ``path::name`` names."""
    module, separator, name = target.replace("::", ":").rpartition(":")
    if not separator or not module or not name:
        raise _UsageError(f"{target!r} must be of the form package.module:name")
    sys.path.insert(0, os.getcwd())  # as pytest and `python -m` do; a console script would not
    if module.endswith(".py"):
        path = Path(module)
        if not path.exists():
            raise _UsageError(f"there is no file {module}")
        sys.path.insert(0, str(path.parent.resolve()))
        module = path.stem
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise _UsageError(_broken_import(module, error)) from error
        raise _UsageError(
            f"there is no module {module!r} here; run this where it can be imported"
        ) from None
    except Exception as error:  # whatever the author's module raises
        raise _UsageError(_broken_import(module, error)) from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise _UsageError(f"{module} has no {name!r}; it has {_candidates(found)}")
        found = getattr(found, part)
    return found


def _broken_import(module: str, error: Exception) -> str:
    return f"importing {module} raised {error!r}\n{where(error)}"


def _candidates(module: Any) -> str:
    """What may have been meant."""
    names = [
        name
        for name, value in vars(module).items()
        if (isinstance(value, type) and issubclass(value, BackendConformance))
        or name.startswith("make_")
    ]
    return ", ".join(name for name in names if name != "BackendConformance") or "nothing to test"


def _declared(
    target: str, make_backend: Callable[[], AbstractContextManager[EventBackend]]
) -> Capabilities | None:
    """What the backend itself declares; None if that has to be explained by the suite."""
    try:
        manager: object = make_backend()
    except TypeError as error:
        raise _UsageError(f"{target} must be callable without arguments: {error}") from None
    if not isinstance(manager, AbstractContextManager):
        kind = "a generator" if isgenerator(manager) else f"a {type(manager).__name__}"
        raise _UsageError(
            f"{target} gave {kind}, no context manager; decorate it with @contextmanager of "
            "contextlib and yield the backend"
        )
    with manager as backend:
        capabilities: Capabilities | None = getattr(backend, "capabilities", None)
    return capabilities


def _progress() -> Callable[[str, int, int], None] | None:
    """Says on a terminal how far it is."""
    if not sys.stderr.isatty():
        return None

    def show(name: str, number: int, total: int) -> None:
        line = f"{number + 1}/{total} {name.removeprefix('test_')}"
        end = "\r" if number + 1 < total else "\r\033[K"
        print(f"\033[K{line}", end=end, file=sys.stderr, flush=True)  # noqa: T201 -- as above

    return show


if __name__ == "__main__":
    sys.exit(main())
