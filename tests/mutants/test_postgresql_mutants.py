"""The suite finds what goes wrong in a single statement on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeAlias

import pytest

from futurama.backends.postgresql import PostgreSQLSettings
from tests.mutants.dying import Connect, Mutant, Stores, assert_dies, report
from tests.mutants.postgresql import POSTGRESQL_MUTANTS, OnPostgreSQL, RightOnPostgreSQL
from tests.mutants.registry import MOST_SECONDS
from tests.mutants.sql import speaking
from tests.servers import ExternalPostgreSQL, PostgreSQL

On: TypeAlias = Callable[[type[OnPostgreSQL]], Stores]


@pytest.fixture
def on(postgresql_server: PostgreSQL | ExternalPostgreSQL) -> Iterator[On]:
    """Stores that are tables of one database."""
    database = postgresql_server.create_database("mutants")
    keys = postgresql_server.settings(database)

    def stores(dialect: type[OnPostgreSQL]) -> Stores:
        def store(name: str) -> Connect:
            settings = PostgreSQLSettings(**keys, table_name=name)
            return partial(speaking, dialect, settings)

        return store

    yield stores
    postgresql_server.drop_database(database)


@pytest.mark.timeout(MOST_SECONDS)
@pytest.mark.parametrize("mutant", POSTGRESQL_MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_dies_by_its_own_law(mutant: Mutant[type[OnPostgreSQL]], on: On) -> None:
    """The test of the law that a mutant breaks names that law, and shows how in a few calls."""
    assert_dies(mutant, on(mutant.cls))


def test_mutants_die_of_nothing_else(on: On) -> None:
    """Without a rewritten statement the same backend is right."""
    laws = ("claim.order", "fence.settle", "concurrency.fence")
    assert report(on(RightOnPostgreSQL), *laws).ok
