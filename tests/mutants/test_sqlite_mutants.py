"""The suite finds what goes wrong in a single statement on SQLite."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pytest

from futurama.backends.sqlite import SQLiteSettings
from tests.mutants.dying import Connect, Mutant, Stores, assert_dies, report
from tests.mutants.registry import MOST_SECONDS
from tests.mutants.sql import speaking
from tests.mutants.sqlite import SQLITE_MUTANTS, OnSQLite, RightOnSQLite

On: TypeAlias = Callable[[type[OnSQLite]], Stores]


@pytest.fixture
def on(tmp_path: Path) -> On:
    """Stores that are tables of one file."""

    path = str(tmp_path / "events.db")

    def stores(dialect: type[OnSQLite]) -> Stores:
        def store(name: str) -> Connect:
            settings = SQLiteSettings(path=path, table_name=name, synchronous="NORMAL")
            return partial(speaking, dialect, settings)

        return store

    return stores


@pytest.mark.timeout(MOST_SECONDS)
@pytest.mark.parametrize("mutant", SQLITE_MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_dies_by_its_own_law(mutant: Mutant[type[OnSQLite]], on: On) -> None:
    """The test of the law that a mutant breaks names that law, and shows how in a few calls."""
    assert_dies(mutant, on(mutant.cls))


def test_mutants_die_of_nothing_else(on: On) -> None:
    """Without a rewritten statement the same backend is right."""
    laws = ("claim.order", "fence.settle", "concurrency.fence")
    assert report(on(RightOnSQLite), *laws).ok
