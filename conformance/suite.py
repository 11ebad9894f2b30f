"""The suite as authors subclass it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from hypothesis.stateful import run_state_machine_as_test

from futurama.conformance.base import plain_failures
from futurama.conformance.check_add import AddChecks
from futurama.conformance.check_changes import ChangeChecks
from futurama.conformance.check_claim import ClaimChecks
from futurama.conformance.check_concurrency import ConcurrencyChecks
from futurama.conformance.check_find import FindChecks
from futurama.conformance.check_lifecycle import LifecycleChecks
from futurama.conformance.check_replay import ReplayChecks
from futurama.conformance.check_settle import SettleChecks
from futurama.conformance.check_values import ValueChecks
from futurama.conformance.machine import machine
from futurama.conformance.profile import profile
from futurama.conformance.stage import Stage

__all__ = ["BackendConformance", "deviates", "names_of_tests"]

F = TypeVar("F", bound=Callable[..., Any])

_PROGRAMS = 120
_REASON = "__deviates_because__"


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


class BackendConformance(
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
        instances = 2 if self.capabilities.shared else 1
        with Stage(cls, instances=instances) as stage, plain_failures():
            programs = machine(stage, self.capabilities, instances=instances)
            run_state_machine_as_test(programs, settings=profile().settings(examples=_PROGRAMS))

    def test_suite_is_whole(self) -> None:
        """No test of the suite was overridden or removed without a reason."""
        cls = type(self)
        missing = [name for name in names_of_tests() if not _is_ours_or_marked(cls, name)]
        if missing:
            raise AssertionError(
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
