"""What the processes that run a peer have in common; uses nothing but the standard library.

Each is started as ``fill SPEC`` or ``work SPEC``. The one stores the events and ends. The other prints
``ready`` when it is connected, begins at the word ``go``, and at the word ``stop`` reports its calls.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

__all__ = ["Calls", "Spec", "dues", "main", "wait_for"]

Spec: TypeAlias = Mapping[str, Any]
"""``url`` of the database; ``events``: how many; ``begin``: when the first one is due, in seconds since
1970; ``interval``: seconds from one to the next."""


def dues(spec: Spec) -> list[float]:
    """When the events are due, in seconds since 1970."""
    return [spec["begin"] + number * spec["interval"] for number in range(spec["events"])]


class Calls:
    """The number of each event that was called, when, and how late."""

    def __init__(self) -> None:
        self._calls: list[tuple[int, float, float]] = []

    def add(self, number: int, due: float) -> None:
        """The call of this event starts now."""
        now = time.time()
        self._calls.append((number, now, now - due))

    def report(self) -> None:
        """Tell the parent."""
        json.dump(list(self._calls), sys.stdout)
        sys.stdout.flush()


def wait_for(word: str) -> None:
    """Return when the parent says ``word``; end the process if the parent is gone."""
    line = sys.stdin.readline()
    if not line:
        os._exit(1)
    assert line == f"{word}\n", f"expected {word}, got {line!r}"


def main(fill: Callable[[Spec], None], work: Callable[[Spec], None]) -> None:
    """Do what the command line says."""
    role, spec = sys.argv[1:]
    {"fill": fill, "work": work}[role](json.loads(spec))
