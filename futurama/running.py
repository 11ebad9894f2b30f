"""The calls of triggers that are under way, and which of two ends of a call counts."""

from __future__ import annotations

import asyncio
from collections.abc import Set as AbstractSet
from typing import TypeAlias

from futurama.held import Held

__all__ = ["Runner", "RunningCalls"]

Runner: TypeAlias = int | asyncio.Task[object] | None
"""Who makes a call: a thread, by its identifier, or a task; None while it waits for one, or without an
event loop."""


class RunningCalls:
    """Between :meth:`begin` and :meth:`end` a call is under way; of many that end it one does.

    Thread-safe without a lock, because every call passes here twice: what others see changes by one
    operation on a set, which the interpreter does not divide, and a call is in the set only when all
    about it is written down.
    """

    def __init__(self) -> None:
        self._calls: set[Held] = set()

    def begin(self, held: Held, *, started_us: int, runner: Runner) -> None:
        """The call of this claim is under way since then, on the local timer."""
        held.started_us = started_us
        held.runner = runner
        self._calls.add(held)

    def end(self, held: Held) -> bool:
        """Whether this ends the call; False if something has ended it before."""
        try:
            self._calls.remove(held)
        except KeyError:
            return False
        return True

    def all(self) -> AbstractSet[Held]:
        """Those that are under way now."""
        return self._calls.copy()
