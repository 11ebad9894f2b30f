"""What every part of the suite stands on: how a property is proven."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from typing import Any, Protocol, TypeVar
from unittest import SkipTest

import hypothesis
from hypothesis import given, reject
from hypothesis import strategies as st
from hypothesis.errors import Flaky
from hypothesis.strategies import SearchStrategy

from futurama.backend import EventBackend
from futurama.conformance.author import Author, Connect
from futurama.conformance.examination import examined
from futurama.conformance.failure import LawBroken
from futurama.conformance.instance import Waits, author_made
from futurama.conformance.lockstep import Lockstep
from futurama.conformance.profile import profile, seed
from futurama.conformance.stage import Stage
from futurama.conformance.strategies import Values, values_for

__all__ = ["Draw", "Status", "SuiteBase"]

C = TypeVar("C")
T = TypeVar("T")


class Draw(Protocol):
    """Takes one value from a strategy, as ``data.draw`` of hypothesis does."""

    def __call__(self, strategy: SearchStrategy[T], /) -> T: ...


class Status(StrEnum):
    """What is known of a law after its test."""

    HELD = "held"
    ABSENT = "absent"
    """The capability is not declared, and was proven not to be there."""
    UNCHECKABLE = "not checkable"
    """The capability is not declared, and nobody can prove that it is not there."""
    BROKEN = "broken"
    DEVIATES = "deviates"
    """Its test was overridden by one that is marked with :func:`deviates`."""
    UNDECIDED = "undecided"
    """Its test came upon another broken law first, and says nothing about this one."""
    WAITS = "waits"
    """Its test needs an operation that is not written yet."""
    SKIPPED = "skipped"
    """The backend is out of reach."""

    @property
    def is_fine(self) -> bool:
        """Whether there is nothing to do."""
        return self in {Status.HELD, Status.ABSENT, Status.UNCHECKABLE, Status.DEVIATES}


class SuiteBase(Author):
    """The tools that the tests are made with.

    Attributes:
        status: set by a test that found its law unbroken because the capability is not declared.
    """

    status: Status = Status.HELD

    @classmethod
    def prove(
        cls,
        program: Callable[[Lockstep, Draw], None],
        *,
        examples: int = 15,
        instances: int = 1,
    ) -> None:
        """Run ``program`` on many empty stores with drawn values.

        Args:
            program: makes calls on the lockstep, with arguments that it draws.
            examples: how many in the usual profile.
            instances: how many instances of the backend are open on each store.

        Raises:
            LawBroken: with the shortest calls that break it.
        """
        with Stage(cls, instances=instances) as stage:
            _try(stage, program, examples)

    @classmethod
    def prove_each(
        cls,
        cases: Iterable[C],
        program: Callable[[C, Lockstep, Draw], None],
        *,
        examples: int = 2,
        instances: int = 1,
    ) -> None:
        """Run ``program`` for each case, so that no boundary is left to luck.

        Args:
            cases: what ``program`` gets as its first argument, one after the other.
            program, instances: as for :meth:`prove`.
            examples: how many of each case in the usual profile.

        Raises:
            LawBroken: with the shortest calls that break it.
        """
        with Stage(cls, instances=instances) as stage:
            for case in cases:
                _try(stage, partial(program, case), examples)

    @classmethod
    def wait_for_everything(cls) -> None:
        """Skip this test until every operation is written: it may call any of them."""
        for operation in examined(cls).unwritten:
            raise Waits(f"{operation}()")

    @classmethod
    def portable_connector(cls, backend: EventBackend) -> Connect:
        """Makes more instances on the store of ``backend``, in other processes too."""
        cls.wait_for_everything()
        if examined(cls).connector:
            raise Waits("connector()")
        return cls.connector(author_made(backend))

    @classmethod
    def values(cls) -> Values:
        """The strategies for this backend's capabilities."""
        return values_for(cls.capabilities)


def _try(stage: Stage, program: Callable[[Lockstep, Draw], None], examples: int) -> None:
    """Look for a broken law; if there is one, look again carefully, for the right name of it."""
    settings = profile().settings(examples=profile().times * examples)

    @hypothesis.seed(seed())
    @settings
    @given(st.data())
    def check(data: st.DataObject) -> None:
        run = stage.begin()
        try:
            program(run, data.draw)
            run.finish()
        except LawBroken as broken:
            stage.broken = broken
            raise
        except SkipTest:
            if stage.broken:  # while what was found is being made shorter
                reject()
            raise

    try:
        with plain_failures(stage):
            check()
    except LawBroken:
        stage.careful = True
        with plain_failures(stage):
            check()
        raise


@contextmanager
def plain_failures(stage: Stage) -> Iterator[None]:
    """Let a broken law speak for itself: without hypothesis's frames, notes and groups around it."""
    try:
        yield
    except LawBroken as broken:
        raise _plain(broken) from broken.__cause__
    except Flaky:
        if stage.broken is None:
            raise
        plain = _plain(stage.broken)
        plain.add_note(
            "This did not happen again on a new store: the backend remembers something between "
            "the calls, or does not always do the same."
        )
        raise plain from stage.broken.__cause__


def _plain(broken: LawBroken) -> LawBroken:
    notes: list[Any] = getattr(broken, "__notes__", [])
    notes.clear()
    return broken.with_traceback(None)
