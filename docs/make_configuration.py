"""Prints ``docs/configuration.md``; a test compares it with the file: ``make docs`` renews it."""

from __future__ import annotations

import sys
from typing import Any

from futurama.config import Config
from futurama.registry import backend_class, backend_names
from futurama.settings import describe

_INTRODUCTION = """\
# Configuration

One flat JSON object, read by `Config.from_file(path)`, or the same names as keyword arguments of
`Config(...)`. Keys of the core come first, those of the chosen backend may stand beside them. Unknown
keys, wrong types and numbers below the minimum are errors. This page is generated from the code."""


def page() -> str:
    """The whole page."""
    sections = [_INTRODUCTION, "## Core", _table(Config)]
    for name in backend_names():
        sections += [f'## `"backend": "{name}"`', _table(backend_class(name).Settings)]
    return "\n\n".join(sections) + "\n"


def _table(cls: type[Any]) -> str:
    rows = ["| key | type | default | unit | meaning |", "| --- | --- | --- | --- | --- |"]
    for name, kind, default, unit, doc in describe(cls):
        rows.append(f"| `{name}` | {kind} | `{_json(default)}` | {unit} | {doc} |")
    return "\n".join(rows)


def _json(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return (
        f'"{value}"'
        if isinstance(value, str)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


if __name__ == "__main__":
    sys.stdout.write(page())
