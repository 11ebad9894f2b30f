"""What a broken law looks like: short, true, without the suite's own traceback, and it can be run."""

from __future__ import annotations

import contextlib
import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from futurama.backend import AddOutcome, EventBackend, State
from futurama.backends.memory import MemoryBackend
from futurama.conformance import BackendConformance, LawBroken, check, check_suite
from futurama.conformance.failure import where
from futurama.conformance.literals import as_python
from futurama.errors import BackendRejectedError
from tests.conformance.samples import (
    SHARED,
    Shared,
    Wrong,
    connector,
    make_wrong_backend,
    making,
    suite,
)
from tests.mutants import (
    adding,
    answers,
    changing,
    claiming,
    living,
    looking,
    racing,
    repeating,
    settling,
    values,
)
from tests.mutants.registry import MEMORY

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"


def finding(cls: type[BackendConformance], law: str) -> LawBroken:
    """What the test of this law finds broken."""
    (result,) = check_suite(cls, laws=[law]).results
    assert result.broken is not None, result.detail
    return result.broken


def test_message_is_the_one_in_the_documentation() -> None:
    """First the law and its sentence, then what had to be and what was, then the program."""
    lines = [line.rstrip() for line in str(finding(Wrong, "cancel.claimed")).splitlines()]
    assert "```\n" + "\n".join(lines) + "\n```\n" in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("law", "backend"),
    [
        ("cancel.claimed", changing.CancelsTheClaimed),
        ("cancel.dead", changing.CancelsTheDead),
        ("claim.next-due", claiming.NothingMeansNever),
        ("settle.release", settling.ReleasesAreCharged),
        ("settle.bury", settling.BuriedWithoutAWord),
        ("replay.settle", repeating.RemembersReports),
        ("find.due", looking.UntilIsIncluded),
        ("count", looking.NoZeros),
        ("data.limit", values.ForgetsTheLimitOfRetries),
        ("isolation", living.OneForAll),
        ("lifecycle.close", living.ClosesForGood),
        ("protocol.returns", answers.CountsAreDecimals),
        ("batch.positional", answers.SortsItsArgument),
        ("find.ids", answers.SortsTheIdsOfAQuery),
    ],
)
def test_program_shows_the_fault(law: str, backend: type[MemoryBackend]) -> None:
    """The program runs as it stands, and prints what the suite saw instead of what it expected."""
    cls = suite(make_backend=making(backend))
    broken = finding(cls, law)
    assert broken.law == law

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec("\n".join(broken.program), {"MyTest": cls})

    if isinstance(broken.actual, str):
        assert bool(printed.getvalue().strip()) is (broken.actual != "it is absent")
    elif isinstance(broken.actual, list) and law.startswith("find."):
        assert all(f"id={event_id!r}" in printed.getvalue() for event_id in broken.actual)
    else:
        assert repr(broken.actual) in printed.getvalue()


def test_program_of_functions_imports_them() -> None:
    """A suite that was made of functions shows programs that call these functions."""
    (result,) = check(
        make_wrong_backend, MEMORY, connector=connector, laws=["cancel.claimed"]
    ).results
    assert result.broken is not None
    assert "from tests.conformance.samples import make_wrong_backend" in result.broken.program
    assert "with make_wrong_backend() as backend:" in result.broken.program
    exec("\n".join(result.broken.program), {})


def test_exception_of_the_backend_is_shown_with_its_place() -> None:
    """Of an unexpected exception the lines of the author's code are shown, and its cause."""

    class Chatty(MemoryBackend):
        def _cancel(self, event_id: str) -> Any:
            try:
                return dict[str, str]()[event_id]
            except KeyError as error:
                raise BackendRejectedError("no such id", backend=self.name) from error

    broken = finding(suite(make_backend=making(Chatty)), "cancel.absent")
    assert broken.law == "errors"
    assert 'raise BackendRejectedError("no such id", backend=self.name)' in broken.raised
    assert "caused by KeyError" in broken.raised
    assert "conformance/lockstep.py" not in str(broken)


def test_frames_of_libraries_are_left_out() -> None:
    """Nobody can mend what lies in the standard library."""
    with pytest.raises(AttributeError) as caught, contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.closing(None))  # type: ignore[type-var] # that is the fault
    assert "test_failures.py" in where(caught.value)
    assert "contextlib.py" not in where(caught.value)


@pytest.mark.parametrize(
    ("law", "backend"),
    [
        ("cancel.claimed", changing.CancelsTheClaimed),
        ("errors", adding.DislikesEmptyPayloads),
        ("concurrency.exclusive", racing.SelectsThenUpdates),
        ("isolation", living.OneForAll),
    ],
)
def test_nothing_of_the_suite_is_in_the_traceback(law: str, backend: type[MemoryBackend]) -> None:
    """What a test raises has no frame but that of the test, which asks pytest to hide it."""
    living.OneForAll._shared.clear()  # of what other tests left there
    test = suite(make_backend=making(backend))()
    with pytest.raises(LawBroken) as caught:
        getattr(test, "test_" + law.replace(".", "_"))()
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    _ours, *inner = caught.traceback
    assert [entry for entry in inner if not entry.ishidden(caught)] == []


def test_exception_while_others_call_is_a_finding() -> None:
    """A worker's exception names the law and the place, like one in a single thread."""

    class Tired(MemoryBackend):
        def renew(self, claims: Any, **kwargs: Any) -> Any:
            raise RuntimeError("too tired")

    broken = finding(suite(make_backend=making(Tired)), "concurrency.fence")
    assert broken.law == "errors"
    assert 'raise RuntimeError("too tired")' in broken.raised


def test_missing_return_is_named() -> None:
    """An operation that answers None breaks the law about answers, not the suite."""

    class Silent(MemoryBackend):
        def cancel(self, ids: Any) -> Any:
            super().cancel(ids)

    broken = finding(suite(make_backend=making(Silent)), "protocol.returns")
    assert (broken.law, broken.expected) == (
        "protocol.returns",
        "a sequence of CancelOutcome",
    )
    assert broken.actual is None


def test_findings_travel_between_processes() -> None:
    """Nothing is lost by pickling."""
    broken = LawBroken("count", expected=1, actual=2, program=["3"], raised="4")
    assert str(pickle.loads(pickle.dumps(broken))) == str(broken)


class OneForAllWhileInUse(living.OneForAll):
    """Its store goes when nobody uses it any more."""

    def __init__(self) -> None:
        super().__init__()
        self.is_gone = False

    def add(self, events: Any, **kwargs: Any) -> Any:
        """See the class."""
        assert not self.is_gone
        return super().add(events, **kwargs)


def test_program_of_two_stores_keeps_both_alive() -> None:
    """The second store is not thrown away as soon as it was made."""

    @contextlib.contextmanager
    def make() -> Iterator[EventBackend]:
        backend = OneForAllWhileInUse()
        backend._rows.clear()
        yield backend
        backend.is_gone = True

    cls = suite(make_backend=staticmethod(make))
    broken = finding(cls, "isolation")
    assert broken.law == "isolation"
    exec("\n".join([*broken.program, "    other1.add([], if_exists='keep')"]), {"MyTest": cls})


class OnceOnly(MemoryBackend):
    """Cannot be closed twice."""

    def __init__(self) -> None:
        super().__init__()
        self._closed = 0

    def close(self) -> None:
        """See the class."""
        self._closed += 1
        if self._closed > 1:
            raise RuntimeError("closed already")
        super().close()


def test_second_close_that_raises_breaks_its_law() -> None:
    """The test of closing says so; the others are not troubled by it."""
    cls = suite(make_backend=making(OnceOnly))
    broken = finding(cls, "lifecycle.close")
    assert (broken.law, broken.expected) == ("lifecycle.close", "close() succeeds")
    assert check_suite(cls, laws=["cancel.dead"]).ok


def test_hook_that_closes_twice_is_told_from_the_suite() -> None:
    """Where make_backend() itself raises in the end, that is what is shown."""

    @contextlib.contextmanager
    def make() -> Iterator[EventBackend]:
        backend = OnceOnly()
        yield backend
        backend.close()

    result = check(make, MEMORY, laws=["cancel.dead"]).results[0]
    assert "leaving MyTest.make_backend() raised RuntimeError('closed already')" in result.detail


class Tired(Shared):
    """Renews nothing."""

    def renew(self, claims: Any, **kwargs: Any) -> Any:
        """See the class."""
        raise RuntimeError("too tired")


def test_exception_in_another_process_is_shown_with_its_place() -> None:
    """A call that raises there is no fault of the connector."""
    cls = suite(
        capabilities=SHARED,
        make_backend=making(Tired),
        connector=staticmethod(lambda backend: Tired),
    )
    broken = finding(cls, "shared.processes")
    assert str(broken.expected).endswith("every call succeeds, while others call too")
    assert 'raise RuntimeError("too tired")' in broken.raised


@pytest.mark.parametrize(
    "values",
    [
        [f"{number:05}" for number in range(30)],
        ["9", "10", "11"] * 10,
        [*["a"] * 30, "b", *[str(number) for number in range(3, 33)]],
        [f"{number}" for number in range(0, 90, 3)],
    ],
)
def test_long_lists_are_drawn_together(values: list[str]) -> None:
    """They stay the same lists."""
    assert eval(as_python(values)) == values


def test_long_batches_are_shown_in_a_few_lines() -> None:
    """A program of thousands of events is as readable as one of three, and runs."""
    broken = finding(suite(make_backend=making(values.ForgetsTheRest)), "batch.large")
    assert len("\n".join(broken.program)) < 4000
    assert "Settlement.done(batch1.claims[i]) for i in range(0, 833)" in broken.program[-2]
    compile("\n".join(broken.program), "program", "exec")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"1" * 65, "b'1' * 65"),
        ("x" * 300, "'x' * 300"),
        ("xy" * 40, repr("xy" * 40)),
        ({State.DEAD: 1}, "{State.DEAD: 1}"),
        ((b"",), "(b'',)"),
        ((AddOutcome.ADDED, None), "(AddOutcome.ADDED, None)"),
    ],
)
def test_values_are_written_as_python(value: object, text: str) -> None:
    """Short, and such that Python reads it."""
    assert as_python(value) == text
