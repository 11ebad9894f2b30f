"""What all tests of mutants have in common."""

from __future__ import annotations

import pytest

from futurama.conformance import patience


@pytest.fixture(autouse=True)
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some mutants never answer; the others do so at once."""
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 3.0)
