"""How mutants of backends on a real store die: by one law, shown in a few calls.

Those of the memory backend, which are whole classes, have their own way: see ``registry``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeAlias, TypeVar

import attrs

from futurama.backend import EventBackend
from futurama.conformance import Report, Result, check

__all__ = [
    "MOST_CALLS",
    "Connect",
    "Mutant",
    "Mutants",
    "Stores",
    "assert_dies",
    "calls_of",
    "report",
]

C = TypeVar("C", bound=type)

Connect: TypeAlias = Callable[[], EventBackend]
"""Makes an instance on one store; can be pickled."""

Stores: TypeAlias = Callable[[str], Connect]
"""The store of this name."""

MOST_CALLS = 8
"""How long the program that shows a fault may be, the look at what is left included."""

_NUMBERS = itertools.count()
"""So that no store is used twice."""


@attrs.frozen
class Mutant(Generic[C]):
    """Something wrong.

    Attributes:
        law: the id of the law that it breaks.
        test: the law whose test must find that.
        cls: what is wrong.
    """

    law: str
    test: str
    cls: C

    @property
    def name(self) -> str:
        """For the name of the test."""
        return f"{self.law}:{self.cls.__name__}"


class Mutants(list[Mutant[C]]):
    """The mutants of one backend."""

    def breaks(self, law: str, *, test: str | None = None) -> Callable[[C], C]:
        """Register a mutant; the arguments are the attributes of :class:`Mutant`."""

        def register(cls: C) -> C:
            self.append(Mutant(law, test or law, cls))
            return cls

        return register


def report(stores: Stores, *laws: str) -> Report:
    """What the suite says of a backend, of which every store here is a new one."""
    connects: dict[EventBackend, Connect] = {}

    @contextmanager
    def make_backend() -> Iterator[EventBackend]:
        connect = stores(f"store{next(_NUMBERS)}")
        backend = connect()
        connects[backend] = connect
        yield backend

    def connector(backend: EventBackend) -> Connect:
        return connects[backend]

    capabilities = stores("none")().capabilities
    return check(make_backend, capabilities, connector=connector, laws=laws)


def assert_dies(mutant: Mutant[C], stores: Stores) -> None:
    """The test that is named finds that the law is broken, and shows how if it is about one caller.

    Where calls overlap, now and then a history can be explained by another fault as well, whose law
    is named then. That does not happen twice in a row.
    """
    is_about_overlap = mutant.law.startswith("concurrency.")
    result = _found(mutant, stores)
    if is_about_overlap and result.broken is not None and result.broken.law != mutant.law:
        result = _found(mutant, stores)
    assert result.broken is not None, f"survived: {result.status} {result.detail}"
    assert result.broken.law == mutant.law, result.detail
    calls = calls_of(result.broken.program)
    assert len(calls) <= MOST_CALLS, result.detail
    assert bool(calls) != is_about_overlap, result.detail


def calls_of(program: Sequence[str]) -> list[str]:
    """The lines that a reader has to think about: not the beginning, which is always the same."""
    return [line for line in program if line.startswith(" ") and line.strip() != "backend.open()"]


def _found(mutant: Mutant[C], stores: Stores) -> Result:
    (result,) = report(stores, mutant.test).results
    return result
