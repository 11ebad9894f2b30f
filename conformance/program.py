"""A record of calls that people can paste into a file and run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import attrs

from futurama.backend import Claim, Settlement, SettlementKind

__all__ = ["Program"]

_PREAMBLE = (
    "from datetime import datetime",
    "from futurama.backend import *",
    "at = datetime.fromisoformat",
    "",
    "with {suite}.make_backend() as backend:",
    "    backend.open()",
)
_SHORT = 64
"""Payloads up to so many bytes are written out."""


class Program:
    """The calls made so far, as lines of Python.

    Args:
        suite: the name of the class whose ``make_backend`` makes the backend.
    """

    def __init__(self, suite: str = "MyTest") -> None:
        self._suite = suite
        self._calls: list[str] = []
        self._others: set[str] = set()
        self._claims: dict[Claim, str] = {}
        self._claim_calls = 0

    def __len__(self) -> int:
        return len(self._calls)

    def lines(self) -> list[str]:
        """The whole program."""
        others = [
            line
            for name in sorted(self._others)
            for line in (f"{name} = {self._suite}.connector(backend)()", f"{name}.open()")
        ]
        preamble = [line.format(suite=self._suite) for line in _PREAMBLE]
        return preamble + [f"    {line}" for line in others + self._calls]

    def call(self, backend: str, operation: str, *args: object, **kwargs: object) -> None:
        """Note a call of ``operation``.

        Args:
            backend: the variable that it is called on; ``"backend"`` is the first instance.
            operation: the method's name.
            args, kwargs: its arguments.
        """
        if backend != "backend":
            self._others.add(backend)
        arguments = [self._text(value) for value in args]
        arguments += [f"{name}={self._text(value)}" for name, value in kwargs.items()]
        self._calls.append(f"{backend}.{operation}({', '.join(arguments)})")

    def claimed(self, claims: Sequence[Claim]) -> None:
        """The last call noted was a ``claim`` and returned ``claims``: later calls can name them."""
        self._claim_calls += 1
        variable = f"claims{self._claim_calls}"
        self._calls[-1] = f"{variable} = {self._calls[-1]}.claims"
        for index, claim in enumerate(claims):
            self._claims[claim] = f"{variable}[{index}]"

    def _text(self, value: Any) -> str:
        if isinstance(value, datetime):
            utc = value.astimezone(UTC).isoformat()
            return f'at("{utc.removesuffix("+00:00")}Z")'
        if isinstance(value, bytes):
            return _payload_text(value)
        if isinstance(value, Enum):
            return str(value)
        if isinstance(value, Claim):
            return self._claims.get(value, repr(value))
        if isinstance(value, Settlement):
            return self._settlement_text(value)
        if isinstance(value, list | tuple):
            return f"[{', '.join(map(self._text, value))}]"
        if attrs.has(type(value)):
            return f"{type(value).__name__}({', '.join(self._fields_text(value))})"
        return repr(value)

    def _fields_text(self, value: Any) -> list[str]:
        return [
            f"{field.name}={self._text(given)}"
            for field in attrs.fields(type(value))
            if (given := getattr(value, field.name)) != field.default
        ]

    def _settlement_text(self, value: Settlement) -> str:
        arguments: Mapping[SettlementKind, Sequence[object]] = {
            SettlementKind.DONE: [],
            SettlementKind.RETRY: [value.due, value.payload],
            SettlementKind.BURY: [value.reason],
            SettlementKind.RELEASE: [],
        }
        texts = [self._text(argument) for argument in [value.claim, *arguments[value.kind]]]
        return f"Settlement.{value.kind.value}({', '.join(texts)})"


def _payload_text(payload: bytes) -> str:
    """Long payloads of the suite repeat one byte; a literal of a megabyte helps nobody."""
    if len(payload) > _SHORT and payload == payload[:1] * len(payload):
        return f"{payload[:1]!r} * {len(payload)}"
    return repr(payload)
