"""The faults at a size that a test suite can bear; ``make chaos`` runs them at full size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.faults.scenario import Circumstances
from tests.faults.scenarios import SCENARIOS

SHORT = [
    *(
        (name, backend)
        for name in ("nothing", "crashing-instances", "cancel-storm")
        for backend in SCENARIOS[name].backends
    ),
    ("crashing-server", "redis"),
    ("zombies", "mysql"),
    ("switchover", "mysql"),
    ("cut-at-commit", "mysql"),
    ("cut-at-commit", "postgresql"),
]
"""Those that ``make test`` runs."""


@pytest.mark.parametrize(("name", "backend"), SHORT)
def test_fault(name: str, backend: str, tmp_path: Path) -> None:
    """Every promise is kept under this fault."""
    outcome = SCENARIOS[name].run(
        Circumstances(folder=tmp_path, seed=1, events=800, seconds=3.0, backend=backend)
    )
    print(json.dumps(outcome.figures, indent=1))
    assert (outcome.violations, outcome.untested) == ([], [])
