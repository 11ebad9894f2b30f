"""Repeating what a backend could not do just now."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from futurama.batching import Batcher
from futurama.errors import (
    BackendError,
    BackendRejectedError,
    BackendSetupError,
    BackendUnavailableError,
    OutcomeUnknownError,
)
from futurama.retrying import retrying, writing
from futurama.testing import VirtualTime
from tests.unit.support import START, locked, rejected, unavailable, unknown


def test_repeats_until_it_works() -> None:
    """P9: what may work later is repeated, and every failure is told."""
    outcomes: list[BackendError | None] = [unavailable(), unknown(), None]
    told: list[BackendError] = []

    def operation() -> str:
        if error := outcomes.pop(0):
            raise error
        return "done"

    assert retrying(operation, runtime=VirtualTime(), timeout=10, on_error=told.append) == "done"
    assert [type(error) for error in told] == [BackendUnavailableError, OutcomeUnknownError]


def test_gives_up_in_time() -> None:
    """P8: it waits no longer than allowed, and then raises the last error."""
    time = VirtualTime(START)
    tries = 0

    def operation() -> None:
        nonlocal tries
        tries += 1
        raise unavailable()

    with pytest.raises(BackendUnavailableError):
        retrying(operation, runtime=time, timeout=10)
    waited = (time.now() - START).total_seconds()
    assert 7 < waited <= 10
    assert tries > 5


def test_what_is_locked_is_repeated_apart_from_others() -> None:
    """P8: nobody else waits for it; after any other failure it joins the others again."""
    errors = [locked(), locked(), unavailable()]
    tried: list[str] = []

    class Spy(Batcher[str, str]):
        def call(self, item: str) -> str:
            tried.append("together")
            return super().call(item)

        def call_alone(self, item: str) -> str:
            tried.append("alone")
            return super().call_alone(item)

    def flush(items: Sequence[str]) -> Sequence[str]:
        if errors:
            raise errors.pop(0)
        return [item.upper() for item in items]

    told: list[BackendError] = []
    result = writing(
        Spy(flush, max_batch=10), "a", runtime=VirtualTime(), timeout=10, on_error=told.append
    )
    assert (result, len(told)) == ("A", 3)
    assert tried == ["together", "alone", "alone", "together"]


@pytest.mark.parametrize(
    "last", [unavailable(), rejected("a"), BackendSetupError("no right", backend="faulty")]
)
def test_a_lost_answer_is_not_forgotten(last: BackendError) -> None:
    """P6: once an answer was lost, no later error may say that nothing was changed."""
    errors = [unavailable(), unknown()]

    def operation() -> None:
        raise errors.pop(0) if errors else last

    with pytest.raises(OutcomeUnknownError, match="answer to an earlier try was lost") as info:
        retrying(operation, runtime=VirtualTime(), timeout=10)
    assert info.value.__cause__ is last
    assert str(last) in str(info.value)
    assert info.value.backend == "faulty"


def test_no_timeout_means_one_try() -> None:
    """With a timeout of 0 there is practically no repeat."""
    time = VirtualTime(START)
    with pytest.raises(BackendUnavailableError):
        retrying(lambda: (_ for _ in ()).throw(unavailable()), runtime=time, timeout=0)
    assert time.now() == START


def test_what_makes_no_sense_is_not_repeated() -> None:
    """An error that says that a repeat makes no sense is raised at once."""
    tries = 0

    def operation() -> None:
        nonlocal tries
        tries += 1
        raise rejected("a")

    with pytest.raises(BackendRejectedError):
        retrying(operation, runtime=VirtualTime(), timeout=10)
    assert tries == 1


def test_bugs_are_not_repeated() -> None:
    """What is not an error of the backend passes through."""
    with pytest.raises(ZeroDivisionError):
        retrying(lambda: 1 // 0, runtime=VirtualTime(), timeout=10)
