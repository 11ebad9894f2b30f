"""Fixtures of the tests of the core."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.support import World


@pytest.fixture
def world() -> Iterator[World]:
    """One backend, one virtual time, nothing in it yet."""
    made = World()
    yield made
    made.close()
