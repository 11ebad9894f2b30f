"""Benchmarks that are over in a moment, since here nobody looks at how fast they are."""

from __future__ import annotations

from functools import partial
from typing import Any

import attrs
import pytest

from benchmarks import lateness
from benchmarks.bare import Loop
from benchmarks.catalogue import BENCHMARKS

SMALL: dict[str, dict[str, Any]] = {
    "create-1": {"events": 5},
    "create-16": {"events": 32},
    "create-many": {"events": 20},
    "cancel-1": {"events": 5},
    "cancel-16": {"events": 32},
    "run-1": {"events": 20, "loops": (Loop(5),)},
    "batch-size": {"events": 20, "sizes": (5,)},
    "lateness-200": {"seconds": 0.2},
    "idle": {"seconds": 0.1},
    "memory": {"events": 100},
}
"""Arguments that make benchmarks small, by name."""


@pytest.fixture(autouse=True)
def small_benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmarks of the command line are those of ``SMALL``, with these arguments."""
    monkeypatch.setattr(lateness, "_STARTING_SECONDS", 0.2)
    small = {
        name: attrs.evolve(BENCHMARKS[name], measure=partial(BENCHMARKS[name].measure, **arguments))
        for name, arguments in SMALL.items()
    }
    for name, benchmark in small.items():
        monkeypatch.setitem(BENCHMARKS, name, benchmark)
