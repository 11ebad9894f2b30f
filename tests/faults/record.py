"""What happened, written so that it survives SIGKILL.

Every operation is two records: that it begins, before, and how it ended, after. Each is appended to a
file in one write: what that has returned for is in the kernel's hands and outlives its process. An
operation without an end may have happened or not.
"""

from __future__ import annotations

import itertools
import os
import pickle
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import attrs

from futurama.conformance.history import OPEN_END, UNKNOWN
from futurama.errors import OutcomeUnknownError

__all__ = ["FAILED", "Operation", "Recorder", "Records"]

Result = TypeVar("Result")

_SIZE = struct.Struct(">I")
_BEGINNING = 4
"""How many parts a record has that begins an operation; one that ends it has fewer."""


class _Failed(Enum):
    FAILED = "an error said that nothing was changed"


FAILED = _Failed.FAILED
"""The outcome of an operation that was refused or impossible."""


class Recorder:
    """Appends what one process does to a file; thread-safe.

    Args:
        path: of the file; made if it is missing.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._numbers = itertools.count()
        self._writing = threading.Lock()

    def around(self, what: str, arguments: Mapping[str, Any], do: Callable[[], Result]) -> Result:
        """Do it, and write down that it begins and how it ends.

        An OutcomeUnknownError leaves it open. Any other exception means that nothing was changed.
        """
        number = self.begin(what, arguments)
        try:
            result = do()
        except OutcomeUnknownError:
            raise
        except BaseException:
            self.end(number, FAILED)
            raise
        self.end(number, result)
        return result

    def begin(self, what: str, arguments: Mapping[str, Any]) -> int:
        """Write down that something begins; returns the number under which :meth:`end` ends it."""
        number = next(self._numbers)
        self._write((number, time.monotonic_ns(), what, dict(arguments)))
        return number

    def end(self, number: int, outcome: object) -> None:
        """Write down how it ended."""
        self._write((number, time.monotonic_ns(), outcome))

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _write(self, record: tuple[Any, ...]) -> None:
        body = pickle.dumps(record)
        with self._writing:
            os.write(self._file, _SIZE.pack(len(body)) + body)


@attrs.frozen(kw_only=True)
class Operation:
    """Something that was begun.

    Attributes:
        process: whose file it is in.
        what: which kind of thing.
        arguments: as they were given.
        outcome: the result, FAILED, or UNKNOWN if no end was written.
        start, end: nanoseconds of CLOCK_MONOTONIC, which all processes of a machine share.
    """

    process: str
    what: str
    arguments: dict[str, Any]
    outcome: Any
    start: int
    end: int


class Records:
    """What a process has written so far; may be read again and again while it writes.

    Args:
        path: its file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_bytes = 0
        self._open: dict[int, Operation] = {}

    def read(self) -> list[Operation]:
        """What has ended since the last time, and what is open, by start."""
        ended = []
        for record in self._new_records():
            if len(record) == _BEGINNING:
                number, at, what, arguments = record
                self._open[number] = Operation(
                    process=self._path.stem,
                    what=what,
                    arguments=arguments,
                    outcome=UNKNOWN,
                    start=at,
                    end=OPEN_END,
                )
            else:
                number, at, outcome = record
                ended.append(attrs.evolve(self._open.pop(number), outcome=outcome, end=at))
        return sorted([*ended, *self._open.values()], key=lambda one: one.start)

    def _new_records(self) -> Iterator[tuple[Any, ...]]:
        """Those that are there as a whole: one that was cut short by a death was never made."""
        with self._path.open("rb") as file:
            file.seek(self._read_bytes)
            while len(head := file.read(_SIZE.size)) == _SIZE.size:
                (size,) = _SIZE.unpack(head)
                body = file.read(size)
                if len(body) < size:
                    return
                self._read_bytes += _SIZE.size + size
                yield pickle.loads(body)
