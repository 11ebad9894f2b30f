"""What happened, written so that it survives SIGKILL: one line per fact, appended in one write."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import attrs

__all__ = ["Cancel", "Fact", "History", "Recorder", "read"]


class Recorder:
    """Appends facts to a file of this process.

    What a write has returned for is in the page cache of the kernel: it survives the process.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, kind: str, event_id: str, *more: object) -> None:
        """Note a fact with the time of this machine, on both clocks.

        CLOCK_MONOTONIC is the same for all processes of a machine, so facts of several compare.
        """
        now_ns, wall_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC), time.time_ns()
        line = " ".join(map(str, (kind, event_id, now_ns, wall_ns, *more)))
        os.write(self._file, line.encode() + b"\n")


@attrs.frozen
class Fact:
    """One line.

    Attributes:
        process: whose file it is in.
        at_ns: CLOCK_MONOTONIC.
        wall_ns: the machine's clock, which is the database server's, too.
        more: what else was written.
    """

    process: str
    kind: str
    event_id: str
    at_ns: int
    wall_ns: int
    more: tuple[str, ...]


@attrs.frozen
class Cancel:
    """One answer to a cancel: what, and when it had arrived."""

    outcome: str
    at_ns: int


@attrs.frozen
class History:
    """All facts about each event."""

    calls: dict[str, list[Fact]]
    cancels: dict[str, list[Cancel]]

    def repeats(self) -> dict[str, list[Fact]]:
        """The events that were called more than once."""
        return {event_id: calls for event_id, calls in self.calls.items() if len(calls) > 1}

    def late_ms(self) -> list[float]:
        """How late the first call of each event was, sorted; negative would be early."""
        late = []
        for calls in self.calls.values():
            first = min(calls, key=lambda fact: fact.at_ns)
            late.append((first.wall_ns - int(first.more[1]) * 1000) / 1e6)
        return sorted(late)


def read(paths: Iterable[Path]) -> History:
    """Everything that was written; a last line that was cut short would be an error here."""
    calls: dict[str, list[Fact]] = defaultdict(list)
    cancels: dict[str, list[Cancel]] = defaultdict(list)
    for path in paths:
        if not path.exists():
            continue
        for line in path.read_text().splitlines():
            kind, event_id, at, wall, *more = line.split(" ")
            fact = Fact(path.stem, kind, event_id, int(at), int(wall), tuple(more))
            if kind == "call":
                calls[event_id].append(fact)
            else:
                cancels[event_id].append(Cancel(fact.more[0], fact.at_ns))
    return History(dict(calls), dict(cancels))
