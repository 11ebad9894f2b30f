"""Errors: one root, what they carry, and whether to try again."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable

import pytest

from futurama import errors
from futurama.errors import (
    BackendError,
    BackendRejectedError,
    BackendSetupError,
    BackendUnavailableError,
    ConfigError,
    EventExistsError,
    EventsLockedError,
    FuturamaError,
    InvalidEventError,
    OutcomeUnknownError,
    QueueStoppedError,
    UnknownBackendError,
)

INSTRUCTIONS = {"GiveUp", "TryAgain"}


def test_one_root() -> None:
    """Whoever catches FuturamaError catches everything but what triggers raise as instructions."""
    for name in errors.__all__:
        is_instruction = not issubclass(getattr(errors, name), FuturamaError)
        assert is_instruction == (name in INSTRUCTIONS), name


def test_the_docstring_lists_every_class() -> None:
    """The tree at the top of the module is complete."""
    assert errors.__doc__ is not None
    for name in errors.__all__:
        assert name in errors.__doc__


def test_every_class_has_a_docstring() -> None:
    """Each class says what it means."""
    for name in errors.__all__:
        assert inspect.getdoc(getattr(errors, name))


@pytest.mark.parametrize(
    "error",
    [
        BackendRejectedError("no", backend="mysql"),
        ConfigError("no", key="port"),
        EventExistsError("a", "b"),
        EventsLockedError("locked", backend="x", positions=[1]),
        InvalidEventError("no", field="id"),
    ],
)
@pytest.mark.parametrize("copied", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_errors_travel(
    error: FuturamaError, copied: Callable[[FuturamaError], FuturamaError]
) -> None:
    """An error can be copied, and sent to another process, with its text and its fields."""
    other = copied(error)
    assert (type(other), str(other), vars(other)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize(
    ("cls", "retryable"),
    [
        (BackendError, False),
        (BackendUnavailableError, True),
        (OutcomeUnknownError, True),
        (BackendSetupError, False),
        (BackendRejectedError, False),
    ],
)
def test_whether_to_try_again(cls: type[BackendError], retryable: bool) -> None:  # noqa: FBT001 -- a column of the table
    """Errors of backends say whether the same call can succeed later."""
    error = cls("it hurts", backend="mysql")
    assert error.retryable is retryable
    assert error.backend == "mysql"
    assert str(error) == "mysql: it hurts"


def test_existing_events() -> None:
    """The error names the first id, counts the others, carries all, and says what to do."""
    error = EventExistsError("a", "b", "c")
    assert error.event_ids == ("a", "b", "c")
    assert "'a' (and 2 more)" in str(error)
    assert "if_exists" in str(error)
    assert "more)" not in str(EventExistsError("a"))


@pytest.mark.parametrize(
    ("error", "also"),
    [
        (ConfigError("x", key="k"), ValueError),
        (UnknownBackendError("x", key="k"), ConfigError),
        (InvalidEventError("x", field="id"), ValueError),
        (QueueStoppedError("x"), RuntimeError),
    ],
)
def test_builtin_kinship(error: Exception, also: type[Exception]) -> None:
    """Errors of values and of use can be caught as what Python would raise, too."""
    assert isinstance(error, also)
