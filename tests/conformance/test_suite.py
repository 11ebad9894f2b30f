"""The suite as a product: what it reports, that it can be trusted, that nothing vanishes from it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import SkipTest

import attrs
import pytest

from futurama.backend import EventBackend
from futurama.backends.memory import MemoryBackend
from futurama.conformance import BackendConformance, check, check_suite, deviates
from futurama.conformance.__main__ import main
from futurama.conformance.profile import profile
from futurama.errors import BackendUnavailableError
from tests.conformance.samples import Sample, make_backend, make_wrong_backend
from tests.mutants.registry import MEMORY


def test_report_of_a_broken_law() -> None:
    """It names the law, says what holds, shows both values and the calls."""
    report = check(make_wrong_backend, MEMORY, laws=["cancel.claimed", "count"])

    broken, held = report.results
    assert (broken.law, broken.status) == ("cancel.claimed", "broken")
    assert (held.law, held.status) == ("count", "held")
    assert not report.ok
    assert report.broken_laws == {"cancel.claimed"}
    assert "A CLAIMED event is removed: IN_FLIGHT" in broken.detail
    assert "expected: [<CancelOutcome.IN_FLIGHT" in broken.detail
    assert "actual:   [<CancelOutcome.CANCELLED" in broken.detail


def test_program_of_a_broken_law_can_be_run() -> None:
    """The calls in the message are Python, and do to the backend what the suite saw."""
    (result,) = check(make_wrong_backend, MEMORY, laws=["cancel.claimed"]).results
    assert result.broken is not None
    *calls, last = result.broken.program
    assert "backend.cancel(['a'])" in last

    class MyTest(Sample):
        make_backend = staticmethod(make_wrong_backend)

    namespace: dict[str, Any] = {"MyTest": MyTest}
    program = "\n".join([*calls, last.replace("backend.cancel", "outcomes = backend.cancel")])
    exec(program, namespace)
    assert namespace["outcomes"] == result.broken.actual


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
    with pytest.raises(AssertionError, match="test_claim_order, test_count"):
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


def test_the_guard_itself_cannot_be_overridden() -> None:
    """Whoever overrides the test that looks for overrides gets no class at all."""
    with pytest.raises(TypeError, match="test_suite_is_whole"):
        type("Cheats", (Sample,), {"test_suite_is_whole": None})


def test_hooks_are_required() -> None:
    """A suite without a backend cannot be made."""
    incomplete = type("Incomplete", (BackendConformance,), {"capabilities": MEMORY})
    with pytest.raises(TypeError, match="make_backend"):
        incomplete()


def test_missing_connector_is_explained() -> None:
    """Who declares shared or durable is told which hook is missing."""
    shared = attrs.evolve(MEMORY, shared=True)
    (result,) = check(make_backend, shared, laws=["shared.one-store"]).results
    assert result.status == "broken"
    assert "override connector()" in result.detail


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
    """Where CI is set nothing may go untested unnoticed."""
    monkeypatch.setenv("CI", "true")
    with pytest.raises(BackendUnavailableError):
        _unreachable()().test_count()


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


def test_command_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """One line per law, and 0 for a right backend."""
    target = "tests.conformance.samples:make_backend"
    assert main([target, "--law", "count", "--law", "find.ids"]) == 0
    assert capsys.readouterr().out.split() == ["find.ids", "held", "count", "held"]


def test_command_tells_tools(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON with the law that is broken, and 1 for a wrong backend."""
    target = "tests.conformance.samples:make_wrong_backend"
    assert main([target, "--law", "cancel.claimed", "--json"]) == 1
    (result,) = json.loads(capsys.readouterr().out)
    assert (result["law"], result["status"]) == ("cancel.claimed", "broken")
    assert "cancel" in result["detail"]


def test_command_takes_a_class(capsys: pytest.CaptureFixture[str]) -> None:
    """A subclass of the suite has more to say than a function: its connector, for one."""
    assert main(["tests.conformance.samples:Sample", "--law", "count"]) == 0
    assert "held" in capsys.readouterr().out
