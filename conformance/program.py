"""A record of calls that people can paste into a file and run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

import attrs

from futurama.backend import Claim
from futurama.conformance import zones
from futurama.conformance.author import Hooks
from futurama.conformance.literals import as_python

__all__ = ["Program", "Shown"]

_RECONNECT = "connector"
"""Stands among the operations for the making of a new instance."""


class Shown(Enum):
    """What a program prints at its end, because that is what is wrong."""

    NOTHING = "nothing"
    """The last call raises, or nothing can be printed."""
    ANSWER = "answer"
    ARGUMENT = "argument"
    """What the last call made of what it was given."""
    FIND = "find"
    COUNT = "count"


@attrs.frozen
class _Call:
    """One call; it is put into words only when the program is shown."""

    backend: str
    operation: str
    args: Sequence[object]
    kwargs: Mapping[str, object]
    note: str


class Program:
    """The calls made so far, as lines of Python.

    Args:
        hooks: how the program gets its backend.
    """

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self._calls: list[_Call] = []
        self._refused: set[int] = set()
        self._batches: dict[int, tuple[str, Sequence[Claim]]] = {}

    def lines(self, shown: Shown = Shown.NOTHING, *, backend: str = "backend") -> list[str]:
        """The whole program.

        Args:
            shown: what it prints in the end.
            backend: the variable of the instance that shows it.
        """
        names = {
            claim: f"{batch}.claims[{index}]"
            for batch, claims in self._batches.values()
            for index, claim in enumerate(claims)
        }
        last = len(self._calls) - 1
        body = [self._line(index, names) for index in range(last + 1)]
        match shown:
            case Shown.ANSWER if last in self._batches:
                body.append(f"print({self._batches[last][0]})")
            case Shown.ANSWER if body:
                body[-1] = f"print({_text(self._calls[last], names)})"
            case Shown.ARGUMENT:
                body[-1:] = _around(self._calls[last], names)
            case Shown.FIND:
                body.append(f'print(*{backend}.find(Query(limit=500)).events, sep="\\n")')
            case Shown.COUNT:
                body.append(f"print({backend}.count())")
        others = {call.backend for call in self._calls} | {backend}
        return [
            *(["from contextlib import suppress"] if self._refused else []),
            "from datetime import datetime",
            "from futurama.backend import *",
            *(["from futurama.errors import InvalidEventError"] if self._refused else []),
            *self._hooks.imports,
            *zones.as_program(),
            "at = datetime.fromisoformat",
            "",
            f"with {self._hooks.make} as backend:",
            "    backend.open()",
            *(
                f"    {line}"
                for name in sorted(others - {"backend"})
                for line in (f"{name} = {self._hooks.connect}", f"{name}.open()")
            ),
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
        self._calls.append(_Call(backend, operation, args, kwargs, note))

    def refused(self) -> None:
        """The last call noted has to raise ``InvalidEventError``."""
        self._refused.add(len(self._calls) - 1)

    def reconnected(self) -> None:
        """From here on the first instance is a new one on the same store."""
        self.call("backend", _RECONNECT)

    def claimed(self, claims: Sequence[Claim]) -> None:
        """The last call noted was a ``claim`` and returned ``claims``: later calls can name them."""
        self._batches[len(self._calls) - 1] = (f"batch{len(self._batches) + 1}", claims)

    def _line(self, index: int, names: Mapping[Claim, str]) -> str:
        call = self._calls[index]
        if call.operation == _RECONNECT:
            return f"{call.backend} = {self._hooks.connect}"
        text = _text(call, names)
        if index in self._batches:
            text = f"{self._batches[index][0]} = {text}"
        if index in self._refused:
            text = f"with suppress(InvalidEventError): {text}"
        return f"{text}  # {call.note}" if call.note else text


def _around(call: _Call, names: Mapping[Claim, str]) -> Sequence[str]:
    """The call, and its first argument before and after it."""
    given, *others = call.args
    around = attrs.evolve(call, args=[_Name("given"), *others])
    return [f"given = {as_python(given, names)}", _text(around, names), "print(given)"]


class _Name:
    """A variable in the place of an argument."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


def _text(call: _Call, names: Mapping[Claim, str]) -> str:
    arguments = [as_python(value, names) for value in call.args]
    arguments += [f"{name}={as_python(value, names)}" for name, value in call.kwargs.items()]
    return f"{call.backend}.{call.operation}({', '.join(arguments)})"
