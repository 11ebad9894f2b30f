"""Values as Python that people can read, paste and run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from itertools import count, repeat, takewhile
from typing import Any

import attrs

from futurama.backend import Claim, Settlement, SettlementKind

__all__ = ["as_python"]

_SHORT = 64
"""Payloads and texts up to so many characters are written out."""
_FEW = 20
"""Lists of up to so many items are written out; longer ones of the suite are uniform."""
_NUMBER = re.compile(r"'(\d+)'|(?<=\[)(\d+)(?=\])")
"""The number that distinguishes the items of a long list: a whole id, or a place in another list."""


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
            case list():
                return f"[{', '.join(_parts([self.text(item) for item in value]))}]"
            case tuple():
                parts = _parts([self.text(item) for item in value])
                return f"({parts[0]},)" if len(parts) == 1 else f"({', '.join(parts)})"
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
            SettlementKind.RELEASE: [value.due] if value.due else [],
        }
        texts = [self.text(argument) for argument in [value.claim, *arguments[value.kind]]]
        return f"Settlement.{value.kind.value}({', '.join(texts)})"


def _repeated(value: bytes | str) -> str | None:
    """Long values of the suite repeat one character; a literal of a megabyte helps nobody."""
    if len(value) > _SHORT and value == value[:1] * len(value):
        return f"{value[:1]!r} * {len(value)}"
    return None


def _parts(items: Sequence[str]) -> Sequence[str]:
    """A list of these expressions; runs of items that are alike, or count up, are drawn together."""
    if len(items) <= _FEW:
        return items
    parts: list[str] = []
    start = 0
    while start < len(items):
        series, length = max(_series(items[start:]), key=lambda found: found[1])
        parts.append(series if length > 1 else items[start])
        start += length
    return parts


def _series(items: Sequence[str]) -> Iterator[tuple[str, int]]:
    """The ways to draw together the first items, and how many each covers."""
    first = items[0]
    length = _matching(items, repeat(first))
    yield f"*[{first}] * {length}", length
    for number in _NUMBER.finditer(first):
        before, after = first[: number.start()], first[number.end() :]
        is_id, digits = number[1] is not None, number[1] or number[2]
        quote, low, width = "'" if is_id else "", int(digits), len(digits)
        texts = (f"{before}{quote}{n:0{width}}{quote}{after}" for n in count(low))
        length = _matching(items, texts)
        variable = f"f'{{i:0{width}}}'" if is_id else "i"
        yield f"*({before}{variable}{after} for i in range({low}, {low + length}))", length


def _matching(items: Iterable[str], others: Iterable[str]) -> int:
    """How many of the first items are equal."""
    return sum(
        1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(items, others, strict=False))
    )
