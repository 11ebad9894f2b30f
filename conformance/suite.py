"""The suite as authors subclass it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, TypeVar
from unittest import SkipTest

from futurama.conformance.check_add import AddChecks
from futurama.conformance.check_changes import ChangeChecks
from futurama.conformance.check_claim import ClaimChecks
from futurama.conformance.check_concurrency import ConcurrencyChecks
from futurama.conformance.check_find import FindChecks
from futurama.conformance.check_lifecycle import LifecycleChecks
from futurama.conformance.check_protocol import ProtocolChecks
from futurama.conformance.check_replay import ReplayChecks
from futurama.conformance.check_settle import SettleChecks
from futurama.conformance.check_values import ValueChecks
from futurama.conformance.examination import examined
from futurama.conformance.failure import LawBroken, SetUpError
from futurama.conformance.instance import Waits
from futurama.conformance.machine import run_programs
from futurama.conformance.stage import Stage

__all__ = ["BackendConformance", "deviates", "names_of_tests"]

C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])

_PROGRAMS = 100
_REASON = "__deviates_because__"
_SET_UP = "test_suite_is_set_up"


def deviates(reason: str) -> Callable[[F], F]:
    """Mark a test of the suite that a subclass overrides, and say why; the reason is for readers.

    An override without this mark fails ``test_suite_is_whole``.
    """
    if not reason.strip():
        raise ValueError("deviates() needs a reason")

    def mark(function: F) -> F:
        setattr(function, _REASON, reason)
        return function

    return mark


def _each_test_begins_and_ends_well(cls: C) -> C:
    """Let tests wait for what they need, and findings speak for themselves.

    A test says nothing while the suite is not set up. What it finds is raised without a traceback,
    which would lead through the suite only: the message has the frames that matter.
    """
    for name in dir(cls):
        if name.startswith("test_"):
            setattr(cls, name, _well_behaved(getattr(cls, name)))
    return cls


def _well_behaved(test: Callable[[Any], None]) -> Callable[[Any], None]:
    @wraps(test)
    def run(self: Any) -> None:
        __tracebackhide__ = True
        state = examined(type(self))
        if state.unreachable:
            raise SkipTest(state.unreachable)
        if state.trouble and test.__name__ != _SET_UP:
            raise Waits(_SET_UP)
        try:
            return test(self)
        except (LawBroken, SetUpError) as error:
            found = error
        raise found.with_traceback(None) from None

    return run


@_each_test_begins_and_ends_well
class BackendConformance(
    ProtocolChecks,
    ValueChecks,
    AddChecks,
    ClaimChecks,
    SettleChecks,
    ChangeChecks,
    FindChecks,
    ReplayChecks,
    ConcurrencyChecks,
    LifecycleChecks,
):
    """Every law, tested on the backend that ``make_backend`` makes.

    Subclass it under a name that starts with ``Test``, set ``capabilities``, implement
    ``make_backend``, and ``connector`` if the backend is shared or durable. See
    ``docs/conformance.md``.
    """

    def test_any_program(self) -> None:
        """Random programs of all operations keep all laws together."""
        cls = type(self)
        self.wait_for_everything()
        instances = 2 if self.capabilities.shared else 1
        with Stage(cls, instances=instances) as stage:
            run_programs(stage, self.capabilities, examples=_PROGRAMS, instances=instances)

    def test_suite_is_set_up(self) -> None:
        """What the author gave the suite is what it needs."""
        state = examined(type(self))
        if trouble := state.trouble or state.connector:
            raise SetUpError(trouble)

    def test_suite_is_whole(self) -> None:
        """No test of the suite was overridden or removed without a reason."""
        cls = type(self)
        missing = [name for name in names_of_tests() if not _is_ours_or_marked(cls, name)]
        if missing:
            raise SetUpError(
                f"{cls.__name__} overrides {', '.join(missing)}; remove the override, or mark it "
                'with @deviates("reason") of futurama.conformance'
            )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "test_suite_is_whole" in vars(cls):
            raise TypeError(f"{cls.__name__} must not override test_suite_is_whole")


def names_of_tests() -> Iterator[str]:
    """The names of all tests of the suite."""
    return (name for name in dir(BackendConformance) if name.startswith("test_"))


def _is_ours_or_marked(cls: type[BackendConformance], name: str) -> bool:
    function = getattr(cls, name, None)
    return function is getattr(BackendConformance, name) or hasattr(function, _REASON)
