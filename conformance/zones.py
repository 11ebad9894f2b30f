"""A process far from UTC, where local times give themselves away."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["as_program", "far_from_utc"]

_ZONE: Final = "CET-1CEST,M3.5.0,M10.5.0/3"
"""Central Europe, spelled so that no database of zones is needed; ``strategies.GAPS`` are its gaps."""


@contextmanager
def far_from_utc() -> Iterator[None]:
    """Let this process live in a zone with an offset and a summer time, where that can be done."""
    before = os.environ.get("TZ")
    _live_in(_ZONE)
    try:
        yield
    finally:
        _live_in(before)


def as_program() -> list[str]:
    """The lines that take a program to where this process lives, if that is far from UTC."""
    if os.environ.get("TZ") != _ZONE:
        return []
    return ["import os, time", f'os.environ["TZ"] = "{_ZONE}"', "time.tzset()"]


def _live_in(zone: str | None) -> None:
    if zone is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = zone
    if hasattr(time, "tzset"):  # not on Windows, where nothing is changed by this
        time.tzset()
