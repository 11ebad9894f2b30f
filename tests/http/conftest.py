"""What the tests of the HTTP trigger share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.http.target import Target


@pytest.fixture
def target() -> Iterator[Target]:
    """A server that nobody has called yet."""
    with Target() as started:
        yield started
