"""Everything that Futurama raises.

* FuturamaError
  x ConfigError              a key or value of the configuration is wrong
    + UnknownBackendError    no installed package provides the backend
  x InvalidEventError        an id, type, time or datum that no backend may store
  x EventExistsError         the id is taken and ``if_exists`` is ``"raise"``
  x QueueStoppedError        the queue was used after ``stop()``
  x BackendError             the backend could not do what was asked
    + BackendUnavailableError  not now; nothing was changed; a repeat makes sense
      + EventsLockedError        the same, because of some of the events
    + OutcomeUnknownError      the change was made or not; a repeat is safe
    + BackendSetupError        wrong password, missing table, missing right
    + BackendRejectedError     the backend refuses this item; a repeat is refused too
* GiveUp                     raised *by a trigger*: do not try this event again
* TryAgain                   raised *by a trigger*: try later, by the backoff

Every error shows the offending value and says what to do next. Secrets never appear.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from typing import Any, ClassVar, TypeVar

__all__ = [
    "BackendError",
    "BackendRejectedError",
    "BackendSetupError",
    "BackendUnavailableError",
    "ConfigError",
    "EventExistsError",
    "EventsLockedError",
    "FuturamaError",
    "GiveUp",
    "InvalidEventError",
    "OutcomeUnknownError",
    "QueueStoppedError",
    "TryAgain",
    "UnknownBackendError",
]

Item = TypeVar("Item")


class FuturamaError(Exception):
    """The root of all errors that Futurama raises; each can be copied and pickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        # The usual way would call __init__ with the text alone.
        return _remade, (type(self), self.args, self.__dict__)


class ConfigError(FuturamaError, ValueError):
    """A key or a value of the configuration is wrong.

    Attributes:
        key: the offending key, or None when the whole file is unreadable.
    """

    def __init__(self, message: str, *, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


class UnknownBackendError(ConfigError):
    """No installed package provides the backend that the configuration names."""


class InvalidEventError(FuturamaError, ValueError):
    """A part of an event cannot be stored; nothing was written.

    Attributes:
        field: which part: ``"id"``, ``"trigger_type"``, ``"trigger_time"`` or ``"data"``.
        index: from ``create_many``: which of the events, counted from 0; else None.
    """

    def __init__(self, message: str, *, field: str, index: int | None = None) -> None:
        super().__init__(message)
        self.field = field
        self.index = index


class EventExistsError(FuturamaError):
    """An event with this id is stored already; it was left as it is.

    Attributes:
        event_ids: the ids that are taken; more than one only from ``create_many``.
    """

    def __init__(self, *event_ids: str) -> None:
        others = f" (and {len(event_ids) - 1} more)" if event_ids[1:] else ""
        super().__init__(
            f"an event with the id {event_ids[0]!r}{others} exists already; choose another id, or "
            'pass if_exists="keep" to leave the stored event alone or if_exists="replace" to '
            "overwrite it"
        )
        self.event_ids = event_ids


class QueueStoppedError(FuturamaError, RuntimeError):
    """The queue was used after ``stop()``; make a new one."""


class BackendError(FuturamaError):
    """The backend could not do what was asked.

    Attributes:
        backend: the backend's name, for people (``"mysql"``).
        retryable: whether the same call can succeed later without anyone's help.
    """

    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, backend: str) -> None:
        super().__init__(f"{backend}: {message}")
        self.backend = backend


class BackendUnavailableError(BackendError):
    """The backend is out of reach or overloaded; *nothing was changed*; try again later."""

    retryable = True


class EventsLockedError(BackendUnavailableError):
    """Somebody else keeps locks on some of the events; *nothing was changed*; the others can be written.

    Attributes:
        positions: of the events concerned, in what the operation was given, counted from 0; empty if
            these are all, or unknown.
    """

    def __init__(
        self, message: str, *, backend: str, positions: Collection[int] = frozenset()
    ) -> None:
        super().__init__(message, backend=backend)
        self.positions = frozenset(positions)

    def at(self, positions: Collection[int]) -> EventsLockedError:
        """The same, of these events."""
        error = copy.copy(self)
        error.positions = frozenset(positions)
        return error

    def split(self, items: Sequence[Item]) -> tuple[Sequence[Item], Sequence[Item]]:
        """Of what the operation was given: what is concerned, and the rest; all is if that is unknown."""
        if not self.positions:
            return items, []
        concerned = [item for number, item in enumerate(items) if number in self.positions]
        return concerned, [
            item for number, item in enumerate(items) if number not in self.positions
        ]


class OutcomeUnknownError(BackendError):
    """The answer was lost on its way: the change was made, or it was not.

    Every operation of the protocol may be repeated after this error without harm; but the answer to
    the repeat may be that of somebody who came too late.
    """

    retryable = True


class BackendSetupError(BackendError):
    """Someone has to act: wrong password, missing database or table, missing right."""


class BackendRejectedError(BackendError):
    """The backend refuses this very item (not its neighbours); a repeat is refused too."""


class GiveUp(Exception):  # noqa: N818 -- an instruction from a trigger, not a failure of Futurama
    """Raise it in a trigger to move the event to the dead letters at once, with this reason."""


class TryAgain(Exception):  # noqa: N818 -- as above
    """Raise it in a trigger to have the event called again, with this reason and no traceback logged."""


def _remade(
    cls: type[FuturamaError], args: tuple[Any, ...], fields: dict[str, Any]
) -> FuturamaError:
    error = cls.__new__(cls, *args)
    error.__dict__.update(fields)
    return error
