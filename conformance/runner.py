"""The suite without pytest."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from unittest import SkipTest

import attrs

from futurama.backend import Capabilities, EventBackend
from futurama.conformance.author import Connect
from futurama.conformance.failure import LawBroken
from futurama.conformance.laws import LAWS, name_of_test
from futurama.conformance.suite import BackendConformance, names_of_tests

__all__ = ["Report", "Result", "check", "check_suite"]

_LAW_OF_TEST = {name_of_test(law): law for law in LAWS}


@attrs.frozen(kw_only=True)
class Result:
    """What one test found.

    Attributes:
        test: its name.
        law: the id of the law it is about; None for those that are about all laws.
        status: ``"held"``, ``"absent"``, ``"not checkable"``, ``"skipped"`` or ``"broken"``.
        detail: the message, if there is something to say.
        broken: what was found if a law was broken: perhaps another one than ``law``.
    """

    test: str
    law: str | None
    status: str
    detail: str = ""
    broken: LawBroken | None = None


@attrs.frozen
class Report:
    """What the suite found."""

    results: Sequence[Result]

    @property
    def ok(self) -> bool:
        """Whether nothing was broken or skipped."""
        return all(result.status not in {"broken", "skipped"} for result in self.results)

    @property
    def broken_laws(self) -> set[str]:
        """The ids of all laws found broken."""
        return {result.broken.law for result in self.results if result.broken}


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
    members: dict[str, object] = {
        "capabilities": capabilities,
        "make_backend": staticmethod(make_backend),
    }
    if connector is not None:
        members["connector"] = staticmethod(connector)
    return check_suite(type("MyTest", (BackendConformance,), members), laws=laws)


def check_suite(suite: type[BackendConformance], *, laws: Collection[str] | None = None) -> Report:
    """Run the tests of ``suite``, in the order of the laws, and never raise for what they find."""
    if laws is None:
        general = sorted(set(names_of_tests()) - _LAW_OF_TEST.keys())
        return Report([_run(suite, name) for name in [*_LAW_OF_TEST, *general]])
    unknown = set(laws) - LAWS.keys()
    if unknown:
        raise ValueError(f"no such laws: {', '.join(sorted(unknown))}")
    return Report([_run(suite, name_of_test(law)) for law in LAWS if law in laws])


def _run(suite: type[BackendConformance], name: str) -> Result:
    law = _LAW_OF_TEST.get(name)
    instance = suite()
    try:
        getattr(instance, name)()
    except LawBroken as broken:
        return Result(test=name, law=law, status="broken", detail=str(broken), broken=broken)
    except SkipTest as skipped:
        return Result(test=name, law=law, status="skipped", detail=str(skipped))
    except Exception as error:  # a defect of the backend that no law names, or of the hooks
        detail = f"{type(error).__name__}: {error}"
        return Result(test=name, law=law, status="broken", detail=detail)
    return Result(test=name, law=law, status=instance.status.value)
