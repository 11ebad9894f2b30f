"""What every part of the suite stands on: how a property is proven."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from functools import partial
from typing import Any, Protocol, TypeVar

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.errors import Flaky
from hypothesis.strategies import SearchStrategy

from futurama.conformance.author import Author
from futurama.conformance.failure import LawBroken
from futurama.conformance.lockstep import Lockstep
from futurama.conformance.profile import profile
from futurama.conformance.stage import Stage
from futurama.conformance.strategies import Values, values_for

__all__ = ["Draw", "Status", "SuiteBase"]

C = TypeVar("C")
T = TypeVar("T")


class Draw(Protocol):
    """Takes one value from a strategy, as ``data.draw`` of hypothesis does."""

    def __call__(self, strategy: SearchStrategy[T], /) -> T: ...


class Status(Enum):
    """What a test says about its law when nothing is broken."""

    HELD = "held"
    ABSENT = "absent"
    """The capability is not declared, and was proven not to be there."""
    UNCHECKABLE = "not checkable"
    """The capability is not declared, and nobody can prove that it is not there."""


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
    def values(cls) -> Values:
        """The strategies for this backend's capabilities."""
        return values_for(cls.capabilities)


def _try(stage: Stage, program: Callable[[Lockstep, Draw], None], examples: int) -> None:
    with plain_failures():

        @profile().settings(examples=examples)
        @given(st.data())
        def check(data: st.DataObject) -> None:
            program(stage.begin(), data.draw)

        check()


@contextmanager
def plain_failures() -> Iterator[None]:
    """Let a broken law speak for itself: without hypothesis's frames, notes and groups around it."""
    try:
        yield
    except LawBroken as broken:
        raise _plain(broken) from broken.__cause__
    except Flaky as flaky:
        causes: Sequence[BaseException] = getattr(flaky, "exceptions", ())
        first = next((cause for cause in causes if isinstance(cause, LawBroken)), None)
        if first is None:
            raise
        plain = _plain(first)
        plain.add_note(
            "This did not happen again on a new store: the backend remembers something between "
            "the calls, or does not always do the same."
        )
        raise plain from first.__cause__


def _plain(broken: LawBroken) -> LawBroken:
    notes: list[Any] = getattr(broken, "__notes__", [])
    notes.clear()
    return broken.with_traceback(None)
