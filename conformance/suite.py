"""The suite as authors subclass it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from inspect import getattr_static
from typing import Any, TypeVar
from unittest import SkipTest

from futurama.conformance.check_add import AddChecks
from futurama.conformance.check_capabilities import CapabilityChecks
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
from futurama.conformance.watchdog import HangsError, watchdog

__all__ = ["BackendConformance", "deviates", "names_of_tests", "why_it_deviates"]

C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])

_PROGRAMS = 100
_REASON = "__deviates_because__"
_SET_UP = "test_suite_is_set_up"
_HOOKS = {"capabilities", "make_backend", "connector", "hooks"}
"""What a subclass is there to define."""


def deviates(reason: str) -> Callable[[F], F]:
    """Mark a test of the suite that a subclass overrides, and say why.

    An override without this mark fails ``test_suite_is_whole``; one with it is reported as
    "deviates", with the reason, instead of "held".
    """
    if not reason.strip():
        raise ValueError("deviates() needs a reason")

    def mark(function: F) -> F:
        setattr(function, _REASON, reason)
        return function

    return mark


def why_it_deviates(test: Callable[..., Any]) -> str:
    """The reason given to :func:`deviates`; empty for a test that is not marked."""
    reason: str = getattr(test, _REASON, "")
    return reason


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
        found: LawBroken | SetUpError
        try:
            with watchdog():
                state = examined(type(self))
                if state.unreachable:
                    raise SkipTest(state.unreachable)
                if state.trouble and test.__name__ != _SET_UP:
                    raise Waits(_SET_UP)
                return test(self)
        except HangsError as hangs:
            found = hangs.broken
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
    LifecycleChecks,
    ConcurrencyChecks,
    CapabilityChecks,
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
        """No test of the suite was overridden or removed without a reason, nor any of its tools."""
        cls = type(self)
        missing = [name for name in dir(BackendConformance) if not _is_ours_or_marked(cls, name)]
        if missing:
            raise SetUpError(
                f"{cls.__name__} overrides {', '.join(missing)} of the suite; choose another name, "
                'or mark a test with @deviates("reason") of futurama.conformance'
            )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "test_suite_is_whole" in vars(cls):
            raise TypeError(f"{cls.__name__} must not override test_suite_is_whole")


def names_of_tests() -> Iterator[str]:
    """The names of all tests of the suite."""
    return (name for name in dir(BackendConformance) if name.startswith("test_"))


def _is_ours_or_marked(cls: type[BackendConformance], name: str) -> bool:
    if name in _HOOKS or (name.startswith("__") and name.endswith("__")):
        return True
    member = getattr_static(cls, name, None)
    is_ours = member is getattr_static(BackendConformance, name)
    return is_ours or (name.startswith("test_") and bool(why_it_deviates(getattr(cls, name))))
