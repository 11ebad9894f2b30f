"""Repeating what a backend could not do just now."""

from __future__ import annotations

import contextlib

import pytest

from futurama.errors import (
    BackendError,
    BackendRejectedError,
    BackendSetupError,
    BackendUnavailableError,
    EventsLockedError,
    OutcomeUnknownError,
)
from futurama.retrying import retrying
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


@pytest.mark.parametrize(("positions", "tries"), [([], 2), ([1], 1)])
def test_who_will_split_is_told_at_once(positions: list[int], tries: int) -> None:
    """P8: if only some events are locked, the others do not wait for them; else it is tried again."""
    outcomes: list[BackendError | None] = [locked(*positions), None]
    made = 0

    def operation() -> None:
        nonlocal made
        made += 1
        if error := outcomes.pop(0):
            raise error

    with contextlib.suppress(EventsLockedError):
        retrying(operation, runtime=VirtualTime(), timeout=10, will_split=True)
    assert made == tries


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
