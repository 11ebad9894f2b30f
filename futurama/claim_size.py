"""How many events an instance claims at once."""

from __future__ import annotations

__all__ = ["ClaimSize"]

_FIRST = 128
"""Costs per event about twice of what a claim of a thousand costs; a few claims later it is one."""

_SOON_US = 250_000
"""Whoever waits for so long could have been called by somebody else: to claim takes a tenth of it."""


class ClaimSize:
    """As many as this instance calls within a quarter of a second.

    Large claims cost less per event. But what is claimed before it can be called is late, although
    another instance may have nothing to do. So when another claim can be made after a full one, the
    size is doubled if its calls were made quickly, and halved if they were not.

    Args:
        least: never less.
        most: never more.
    """

    def __init__(self, *, least: int, most: int) -> None:
        self._least = min(least, most)
        self._most = most
        self._size = max(self._least, min(_FIRST, most))
        self._filled: tuple[int, int] | None = None

    @property
    def size(self) -> int:
        """How many to claim."""
        return self._size

    def was_filled(self, *, now_us: int, waiting: int) -> None:
        """A claim has brought as many as it might; now so many calls wait."""
        self._filled = now_us, waiting

    def has_room(self, *, now_us: int, waiting: int) -> None:
        """Another claim can be made now, while so many calls still wait."""
        if self._filled is None:
            return
        filled_us, then_waiting = self._filled
        self._filled = None
        if now_us - filled_us > _SOON_US:
            self._size = max(self._least, self._size // 2)
        elif then_waiting - waiting >= self._size // 2:
            self._size = min(self._most, self._size * 2)
