"""A call that does not return ends its test, and is shown like any other fault."""

from __future__ import annotations

import signal
import threading
from typing import Any

import pytest

from futurama.backends.memory import MemoryBackend
from futurama.conformance import LawBroken, Report, Status, check_suite, patience
from futurama.conformance.watchdog import HangsError, call, watchdog
from tests.conformance.samples import making, suite
from tests.mutants import answers


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to wait for half a minute."""
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.2)


def report(backend: type[MemoryBackend], law: str) -> Report:
    """What the test of this law says."""
    return check_suite(suite(make_backend=making(backend)), laws=[law])


@pytest.mark.parametrize(
    ("law", "backend", "operation", "line"),
    [
        ("data.exact", answers.ClaimsForEver, "claim", "batch = super().claim("),
        ("reschedule.waiting", answers.LocksTwice, "reschedule", "with self._lock:"),
    ],
)
def test_call_that_does_not_return_is_shown(
    law: str, backend: type[MemoryBackend], operation: str, line: str
) -> None:
    """A loop without an end, and a lock that is never given back, are named with their places."""
    broken = report(backend, law).results[0].broken
    assert broken is not None
    assert (broken.law, broken.expected) == ("errors", f"{operation}() returns within 0.2 seconds")
    assert line in broken.raised
    assert "conformance/" not in broken.raised.replace("tests/conformance/", "")
    assert f"backend.{operation}(" in broken.program[-1]


def test_call_that_never_returns_is_found_before_all_tests() -> None:
    """One test takes the time to find it, all others wait for this one."""
    results = check_suite(
        suite(make_backend=making(answers.AlwaysLocksTwice)), laws=["count"]
    ).results
    assert [result.status for result in results] == [Status.BROKEN, Status.WAITS]
    assert "reschedule() returns within 0.2 seconds" in results[0].detail
    assert "return super().reschedule(moves)" in results[0].detail


def test_finding_has_no_traceback() -> None:
    """The message says all; frames of the suite would only hide it."""
    test = suite(make_backend=making(answers.LocksTwice))()
    with pytest.raises(LawBroken) as caught:
        test.test_reschedule_waiting()
    assert caught.value.__cause__ is None
    assert [entry for entry in caught.traceback[1:] if not entry.ishidden(caught)] == []


def test_store_on_which_a_call_hung_is_closed() -> None:
    """What was opened is closed, even if that does not return either."""
    closed = []

    class Stuck(MemoryBackend):
        def close(self) -> None:
            closed.append(self)
            with self._lock:
                super().close()

        def _reschedule(self, move: Any) -> Any:
            if move.payload is not None:
                self._lock = threading.Lock()
                for _ in range(2):
                    self._lock.acquire()
            return super()._reschedule(move)

    broken = report(Stuck, "reschedule.waiting").results[0].broken
    assert broken is not None
    assert "reschedule()" in str(broken.expected)
    assert closed


def test_calls_that_return_are_left_alone() -> None:
    """A test may take longer than its calls may."""
    done = threading.Event()
    with watchdog():
        for _ in range(8):
            assert call("wait", done.wait, 0.05) is False


def test_code_that_stops_the_interruption_is_interrupted_again() -> None:
    """Who handles everything is asked again."""
    interrupted = []

    def stubborn() -> None:
        while True:
            try:
                threading.Event().wait()
            except HangsError:
                interrupted.append(1)
                if len(interrupted) == 3:
                    raise

    with watchdog(), pytest.raises(HangsError):
        call("stubborn", stubborn)
    assert len(interrupted) == 3


def test_handler_of_the_signal_is_put_back() -> None:
    """The suite borrows it."""
    before = signal.getsignal(signal.SIGUSR1)
    with watchdog():
        assert signal.getsignal(signal.SIGUSR1) is not before
    assert signal.getsignal(signal.SIGUSR1) is before


def test_other_threads_are_not_watched() -> None:
    """No signal reaches them; the suite works there all the same."""
    answered = []

    def run() -> None:
        with watchdog():
            answered.append(call("answer", lambda: 42))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert answered == [42]


def test_call_that_someone_debugs_is_not_interrupted() -> None:
    """A breakpoint in the backend stays where it is for as long as people look."""
    waits = {"__name__": "bdb", "event": threading.Event()}
    exec("def prompt():\n    event.wait(0.5)\n    return 'continue'", waits)
    with watchdog():
        assert call("claim", waits["prompt"]) == "continue"  # type: ignore[arg-type] # made by exec
