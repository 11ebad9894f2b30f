"""Mutants that remember the last call and take a repeat for a question about the former answer."""

from __future__ import annotations

from typing import Any, ClassVar

from futurama.backends.memory import MemoryBackend
from tests.mutants.registry import breaks


class _Remembers(MemoryBackend):
    """A cache of idempotency keys, where the protocol wants the current truth."""

    operation: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self._last: tuple[Any, Any] = (None, None)

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name != type(self).operation:
            return found

        def remembering(*args: Any, **kwargs: Any) -> Any:
            asked = (args, kwargs)
            if self._last[0] != asked:
                self._last = (asked, found(*args, **kwargs))
            return self._last[1]

        return remembering


@breaks("replay.cancel")
class RemembersCancels(_Remembers):
    """Says CANCELLED twice."""

    operation = "cancel"


@breaks("replay.claim")
class RemembersClaims(_Remembers):
    """Hands out the same claims twice."""

    operation = "claim"


@breaks("replay.renew")
class RemembersRenewals(_Remembers):
    """Says True although the first renewal has ended the lease."""

    operation = "renew"


@breaks("replay.settle")
class RemembersReports(_Remembers):
    """Says True to the second report."""

    operation = "settle"


@breaks("replay.requeue")
class RemembersRequeues(_Remembers):
    """Says True although the event lives."""

    operation = "requeue"


@breaks("replay.purge")
class RemembersPurges(_Remembers):
    """Counts what it has removed before."""

    operation = "purge"
