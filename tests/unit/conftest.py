"""Fixtures of the tests of the core."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.unit.support import Told, World


@pytest.fixture
def world() -> Iterator[World]:
    """One backend, one virtual time, nothing in it yet."""
    made = World()
    yield made
    made.close()


@pytest.fixture
def told() -> Iterator[Told]:
    """All that Futurama logs."""
    made, logger = Told(), logging.getLogger("futurama")
    logger.addHandler(made)
    yield made
    logger.removeHandler(made)
