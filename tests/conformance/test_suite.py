"""The suite can be trusted: nothing vanishes from it, and it says what it cannot know."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import SkipTest

import pytest

from futurama.backend import EventBackend
from futurama.backends.memory import MemoryBackend
from futurama.conformance import (
    BackendConformance,
    SetUpError,
    Status,
    check,
    check_suite,
    deviates,
)
from futurama.conformance.profile import profile
from futurama.conformance.report import as_text
from futurama.errors import BackendUnavailableError
from tests.conformance.samples import Sample, make_backend
from tests.mutants.registry import MEMORY


def test_every_example_starts_with_an_empty_store() -> None:
    """A store that a backend cannot empty through the protocol is not used again."""

    class NeverEmpty(MemoryBackend):
        def cancel(self, ids: Any) -> Any:
            return [super(NeverEmpty, self).cancel([i])[0] for i in ids if i != "a"]

    made: list[MemoryBackend] = []

    @contextmanager
    def make() -> Iterator[EventBackend]:
        made.append(NeverEmpty())
        yield made[-1]

    (result,) = check(make, MEMORY, laws=["settle.retry"]).results
    assert result.status == "held"
    assert len(made) > 10


def test_overridden_tests_are_noticed() -> None:
    """A test that was overridden or removed fails the suite."""

    class Cheats(Sample):
        def test_claim_order(self) -> None:
            """Nothing is looked at."""

    setattr(Cheats, "test_count", None)  # noqa: B010 -- what someone might do, and mypy forbids
    with pytest.raises(SetUpError, match="test_claim_order, test_count"):
        Cheats().test_suite_is_whole()


def test_overrides_with_a_reason_are_fine() -> None:
    """An author who says why may leave a law out."""

    class Explains(Sample):
        @deviates("orders by insertion: see the issue about it")
        def test_claim_order(self) -> None:
            """Left out."""

    Explains().test_suite_is_whole()
    with pytest.raises(ValueError, match="reason"):
        deviates(" ")

    report = check_suite(Explains, laws=["claim.order"])
    assert report.ok
    assert report.laws() == {"claim.order": Status.DEVIATES}
    assert "claim.order  deviates: orders by insertion: see the issue" in as_text(report)


def test_tools_of_the_suite_are_not_overridden_by_chance() -> None:
    """An attribute of the same name as one of the suite's would make tests prove nothing."""

    class Collides(Sample):
        @classmethod
        def prove(cls, *args: Any, **kwargs: Any) -> None:
            """Proves nothing."""

    with pytest.raises(SetUpError, match="Collides overrides prove of the suite"):
        Collides().test_suite_is_whole()


def test_the_guard_itself_cannot_be_overridden() -> None:
    """Whoever overrides the test that looks for overrides gets no class at all."""
    with pytest.raises(TypeError, match="test_suite_is_whole"):
        type("Cheats", (Sample,), {"test_suite_is_whole": None})


def test_what_cannot_be_proven_is_said() -> None:
    """Without a connector nobody can look at the store from a second instance."""
    results = check(
        make_backend, MEMORY, laws=["crash.acknowledged", "capabilities.absent"]
    ).results
    assert [result.status for result in results] == ["not checkable"] * 2


def _unreachable() -> type[BackendConformance]:
    class Unreachable(MemoryBackend):
        def open(self) -> None:
            raise BackendUnavailableError("no server", backend="unreachable")

    @contextmanager
    def make() -> Iterator[EventBackend]:
        yield Unreachable()

    return type("Unreachable", (Sample,), {"make_backend": staticmethod(make)})


def test_missing_server_skips_on_a_laptop(monkeypatch: pytest.MonkeyPatch) -> None:
    """What pytest shows as skipped is not ok for the report."""
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(SkipTest, match="no server"):
        _unreachable()().test_count()
    report = check_suite(_unreachable(), laws=["count"])
    assert [result.status for result in report.results] == ["skipped"]
    assert not report.ok


def test_missing_server_fails_on_continuous_integration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where CI is set nothing may go untested unnoticed: one test fails, and says why."""
    monkeypatch.setenv("CI", "true")
    suite = _unreachable()
    with pytest.raises(SetUpError, match="no server"):
        suite().test_suite_is_set_up()
    with pytest.raises(SkipTest, match="test_suite_is_set_up"):
        suite().test_count()


def test_unknown_profile_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt profile must not pass for the default."""
    monkeypatch.setenv("FUTURAMA_CONFORMANCE", "through")
    with pytest.raises(ValueError, match="thorough"):
        Sample().test_count()


def test_thorough_profile_looks_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """It tries many more examples, and other ones each time."""
    usual = profile()
    monkeypatch.setenv("FUTURAMA_CONFORMANCE", "thorough")
    assert profile().times >= 10 * usual.times
    assert usual.settings(examples=1).derandomize
    assert not profile().settings(examples=1).derandomize
