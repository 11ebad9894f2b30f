"""A record of calls that people can paste into a file and run."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from futurama.backend import Claim
from futurama.conformance.author import Hooks
from futurama.conformance.literals import as_python

__all__ = ["Program", "Shown"]


class Shown(Enum):
    """What a program prints at its end, because that is what is wrong."""

    NOTHING = "nothing"
    """The last call raises, or nothing can be printed."""
    ANSWER = "answer"
    FIND = "find"
    COUNT = "count"


class Program:
    """The calls made so far, as lines of Python.

    Args:
        hooks: how the program gets its backend.
    """

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self._calls: list[str] = []
        self._notes: dict[int, str] = {}
        self._others: set[str] = set()
        self._claims: dict[Claim, str] = {}
        self._batches: dict[int, str] = {}

    def lines(self, shown: Shown = Shown.NOTHING, *, backend: str = "backend") -> list[str]:
        """The whole program.

        Args:
            shown: what it prints in the end.
            backend: the variable of the instance that shows it.
        """
        body = [
            line
            for name in sorted(self._others | {backend} - {"backend"})
            for line in (f"{name} = {self._hooks.connect}", f"{name}.open()")
        ]
        body += [call + self._notes.get(index, "") for index, call in enumerate(self._calls)]
        match shown:
            case Shown.ANSWER if self._calls:
                last = len(self._calls) - 1
                if last in self._batches:
                    body.append(f"print({self._batches[last]})")
                else:
                    body[-1] = f"print({self._calls[last]})"
            case Shown.FIND:
                body.append(f'print(*{backend}.find(Query(limit=500)).events, sep="\\n")')
            case Shown.COUNT:
                body.append(f"print({backend}.count())")
        return [
            "from datetime import datetime",
            "from futurama.backend import *",
            *self._hooks.imports,
            "at = datetime.fromisoformat",
            "",
            f"with {self._hooks.make} as backend:",
            "    backend.open()",
            *(f"    {line}" for line in body),
        ]

    def call(
        self, backend: str, operation: str, *args: object, note: str = "", **kwargs: object
    ) -> None:
        """Note a call of ``operation``.

        Args:
            backend: the variable that it is called on; ``"backend"`` is the first instance.
            operation: the method's name.
            args, kwargs: its arguments.
            note: what else there is to say about it.
        """
        if backend != "backend":
            self._others.add(backend)
        if note:
            self._notes[len(self._calls)] = f"  # {note}"
        arguments = [as_python(value, self._claims) for value in args]
        arguments += [f"{name}={as_python(value, self._claims)}" for name, value in kwargs.items()]
        self._calls.append(f"{backend}.{operation}({', '.join(arguments)})")

    def claimed(self, claims: Sequence[Claim]) -> None:
        """The last call noted was a ``claim`` and returned ``claims``: later calls can name them."""
        last = len(self._calls) - 1
        batch = self._batches[last] = f"batch{len(self._batches) + 1}"
        self._calls[last] = f"{batch} = {self._calls[last]}"
        for index, claim in enumerate(claims):
            self._claims[claim] = f"{batch}.claims[{index}]"
