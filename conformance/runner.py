"""The suite without pytest."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any
from unittest import SkipTest

import attrs

from futurama.backend import Capabilities, EventBackend
from futurama.conformance.author import Connect, Hooks, imports_of
from futurama.conformance.base import Status
from futurama.conformance.examination import examined
from futurama.conformance.failure import LawBroken, SetUpError
from futurama.conformance.instance import CALLS, Waits
from futurama.conformance.laws import LAWS, name_of_test
from futurama.conformance.suite import BackendConformance, names_of_tests, why_it_deviates

__all__ = ["Report", "Result", "check", "check_suite", "results_of"]

_LAW_OF_TEST = {name_of_test(law): law for law in LAWS}
_FIRST = "test_suite_is_set_up"
"""Always run: if it fails, it says why all others wait."""


@attrs.frozen(kw_only=True)
class Result:
    """What one test found.

    Attributes:
        test: its name.
        law: the id of the law it is about; None for those that are about all laws.
        status: see :class:`Status`.
        detail: the message, if there is something to say.
        broken: what was found if a law was broken: perhaps another one than ``law``.
        calls: how many calls were made on the backend.
        seconds: how long it took.
    """

    test: str
    law: str | None
    status: Status
    detail: str = ""
    broken: LawBroken | None = None
    calls: int = 0
    seconds: float = 0.0


@attrs.frozen
class Report:
    """What the suite found.

    Attributes:
        results: of each test, in the order of the laws.
        version: of the server or library below the backend, where it can say so; else empty.
        is_interrupted: whether there would have been more results.
    """

    results: Sequence[Result]
    version: str = ""
    is_interrupted: bool = False

    @property
    def ok(self) -> bool:
        """Whether every law that can be checked holds."""
        is_fine = all(result.status.is_fine for result in self.results)
        return is_fine and not self.is_interrupted

    @property
    def broken_laws(self) -> set[str]:
        """The ids of all laws found broken."""
        return {result.broken.law for result in self.results if result.broken}

    @property
    def calls(self) -> int:
        """How many calls were made on the backend."""
        return sum(result.calls for result in self.results)

    @property
    def seconds(self) -> float:
        """How long it took."""
        return sum(result.seconds for result in self.results)

    def laws(self) -> dict[str, Status]:
        """What is known of each law that was looked at.

        A law is broken if any test found that, not only its own.
        """
        return {
            result.law: Status.BROKEN if result.law in self.broken_laws else result.status
            for result in self.results
            if result.law is not None
        }


def check(
    make_backend: Callable[[], AbstractContextManager[EventBackend]],
    capabilities: Capabilities,
    *,
    connector: Callable[[EventBackend], Connect] | None = None,
    laws: Collection[str] | None = None,
) -> Report:
    """Run the suite on a backend.

    Args:
        make_backend, capabilities, connector: as in :class:`BackendConformance`.
        laws: the ids of the laws to check; everything if None.
    """
    return check_suite(suite_of(make_backend, capabilities, connector=connector), laws=laws)


def suite_of(
    make_backend: Callable[[], AbstractContextManager[EventBackend]],
    capabilities: Capabilities | None,
    *,
    connector: Callable[[EventBackend], Connect] | None = None,
) -> type[BackendConformance]:
    """A subclass of the suite that is made of functions; for the arguments see :func:`check`."""
    hooks = Hooks(
        imports=list(dict.fromkeys(_imports(make_backend, connector))),
        make=f"{_name(make_backend)}()",
        connect=f"{_name(connector)}(backend)()",
    )
    members: dict[str, object] = {
        "capabilities": capabilities,
        "make_backend": staticmethod(make_backend),
        "hooks": staticmethod(lambda: hooks),
    }
    if connector is not None:
        members["connector"] = staticmethod(connector)
    return type("MyTest", (BackendConformance,), members)


def check_suite(
    suite: type[BackendConformance],
    *,
    laws: Collection[str] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Report:
    """Run the tests of ``suite``, in the order of the laws, and never raise for what they find.

    Args:
        suite: what to run.
        laws: the ids of the laws to check; everything if None.
        progress: called before each test with its name, its number and how many there are.
    """
    results = list(results_of(suite, laws=laws, progress=progress))
    return Report(results, examined(suite).version)


def results_of(
    suite: type[BackendConformance],
    *,
    laws: Collection[str] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Iterator[Result]:
    """What :func:`check_suite` finds, as soon as it is found."""
    names = [_FIRST, *_names(laws)]
    for number, name in enumerate(names):
        if progress is not None:
            progress(name, number, len(names))
        result = _run(suite, name)
        was_asked_for = laws is None or name != _FIRST
        if was_asked_for or result.status is Status.BROKEN:
            yield result


def _names(laws: Collection[str] | None) -> Iterator[str]:
    if laws is None:
        yield from _LAW_OF_TEST
        yield from sorted(set(names_of_tests()) - _LAW_OF_TEST.keys() - {_FIRST})
        return
    if unknown := set(laws) - LAWS.keys():
        raise ValueError(f"no such laws: {', '.join(sorted(unknown))}")
    yield from (name_of_test(law) for law in LAWS if law in laws)


def _run(suite: type[BackendConformance], name: str) -> Result:
    started, calls = time.monotonic(), CALLS.made
    found = _found(suite, name)
    return attrs.evolve(
        found, calls=CALLS.made - calls, seconds=round(time.monotonic() - started, 3)
    )


def _found(suite: type[BackendConformance], name: str) -> Result:
    law = _LAW_OF_TEST.get(name)
    test = suite()
    try:
        getattr(test, name)()
    except LawBroken as broken:
        status = Status.BROKEN if law in {None, broken.law} else Status.UNDECIDED
        return Result(test=name, law=law, status=status, detail=str(broken), broken=broken)
    except SkipTest as skipped:
        status = Status.WAITS if isinstance(skipped, Waits) else Status.SKIPPED
        return Result(test=name, law=law, status=status, detail=str(skipped))
    except SetUpError as error:
        return Result(test=name, law=law, status=Status.BROKEN, detail=str(error))
    except Exception as error:  # of the author's hooks, or of the suite itself
        detail = "".join(traceback.format_exception(error)).rstrip()
        return Result(test=name, law=law, status=Status.BROKEN, detail=detail)
    if reason := why_it_deviates(getattr(suite, name)):
        return Result(test=name, law=law, status=Status.DEVIATES, detail=reason)
    return Result(test=name, law=law, status=test.status)


def _imports(*functions: Any) -> Iterator[str]:
    for function in functions:
        if _name(function) != _NAMELESS:
            yield from imports_of(function)


_NAMELESS = "..."


def _name(function: Any) -> str:
    """What to call a function in a program that imports it; ``...`` if that cannot be done."""
    name: str = getattr(function, "__qualname__", "<")
    return _NAMELESS if "<" in name else name
