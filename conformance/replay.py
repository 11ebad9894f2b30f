"""A backend whose replies get lost on their way."""

from __future__ import annotations

from typing import Any

from futurama.backend import EventBackend
from futurama.errors import OutcomeUnknownError

__all__ = ["LosesReplies"]


class LosesReplies:
    """Passes every call on to ``inner``; :meth:`lose` makes one whose reply never arrives.

    This is what a connection that breaks during COMMIT does to a caller.
    """

    def __init__(self, inner: EventBackend) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def lose(self, operation: str, *args: Any, **kwargs: Any) -> None:
        """Make the call, which takes effect, and raise :class:`OutcomeUnknownError` all the same."""
        getattr(self._inner, operation)(*args, **kwargs)
        raise OutcomeUnknownError("the reply was lost on purpose", backend=self._inner.name)
