"""Values as Python that people can read, paste and run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

import attrs

from futurama.backend import Claim, Settlement, SettlementKind

__all__ = ["as_python"]

_SHORT = 64
"""Payloads and texts up to so many characters are written out."""


def as_python(value: Any, names: Mapping[Claim, str] | None = None) -> str:
    """``value`` as an expression over ``from futurama.backend import *``.

    Args:
        value: what the protocol gives and takes.
        names: variables that hold claims, which are named rather than written out.
    """
    return _Writer(names or {}).text(value)


class _Writer:
    def __init__(self, names: Mapping[Claim, str]) -> None:
        self._names = names

    def text(self, value: Any) -> str:
        match value:
            case datetime() if value.utcoffset() is not None:
                return f'at("{value.isoformat().replace("+00:00", "Z")}")'
            case timedelta():
                return repr(value).removeprefix("datetime.")
            case bytes() | str():
                return _repeated(value) or repr(value)
            case Enum():
                return str(value)
            case Claim() if value in self._names:
                return self._names[value]
            case Settlement():
                return self._settlement(value)
            case list() | tuple():
                return f"[{', '.join(map(self.text, value))}]"
            case Mapping():
                items = (f"{self.text(k)}: {self.text(v)}" for k, v in value.items())
                return f"{{{', '.join(items)}}}"
            case _ if attrs.has(type(value)):
                return f"{type(value).__name__}({', '.join(self._fields(value))})"
        return repr(value)

    def _fields(self, value: Any) -> Sequence[str]:
        return [
            f"{field.name}={self.text(given)}"
            for field in attrs.fields(type(value))
            if (given := getattr(value, field.name)) != field.default
        ]

    def _settlement(self, value: Settlement) -> str:
        arguments: Mapping[SettlementKind, Sequence[object]] = {
            SettlementKind.DONE: [],
            SettlementKind.RETRY: [value.due, value.payload],
            SettlementKind.BURY: [value.reason],
            SettlementKind.RELEASE: [],
        }
        texts = [self.text(argument) for argument in [value.claim, *arguments[value.kind]]]
        return f"Settlement.{value.kind.value}({', '.join(texts)})"


def _repeated(value: bytes | str) -> str | None:
    """Long values of the suite repeat one character; a literal of a megabyte helps nobody."""
    if len(value) > _SHORT and value == value[:1] * len(value):
        return f"{value[:1]!r} * {len(value)}"
    return None
