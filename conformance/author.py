"""What the author of a backend gives the suite."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import ClassVar, TypeAlias

from futurama.backend import Capabilities, EventBackend

__all__ = ["Author", "Connect"]

Connect: TypeAlias = Callable[[], EventBackend]
"""Makes one more instance, not opened yet, on a store that exists."""


class Author(ABC):
    """The hooks that the author of a backend implements.

    Attributes:
        capabilities: what the backend must declare.
    """

    capabilities: ClassVar[Capabilities]

    @classmethod
    @abstractmethod
    def make_backend(cls) -> AbstractContextManager[EventBackend]:
        """A context manager that yields a backend on a new, empty store of its own.

        It may be open already; the suite opens and closes it in any case, and both are idempotent.
        On leaving, remove the store. The suite calls this some hundred times, also nested: two
        stores that exist at once must not see each other.
        """

    @classmethod
    def connector(cls, backend: EventBackend) -> Connect:
        """How to make another instance, not opened yet, on the store of ``backend``.

        Needed where the backend is ``shared`` or ``durable``, to look at the store from a second
        instance and from other processes: the result takes no arguments and can be pickled, such
        as ``functools.partial(MyBackend, backend.settings)``.
        """
        raise NotImplementedError(
            f"{cls.__name__}.capabilities say shared or durable; override connector(), so that the "
            "suite can make a second instance on the same store, also in another process"
        )
