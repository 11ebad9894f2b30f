"""The suite finds what goes wrong in a single statement on MySQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeAlias

import pytest

from futurama.backends.mysql import MySQLSettings
from tests.mutants.dying import Connect, Mutant, Stores, assert_dies, report
from tests.mutants.mysql import MYSQL_MUTANTS, OnMySQL, RightOnMySQL
from tests.mutants.registry import MOST_SECONDS
from tests.mutants.sql import speaking
from tests.servers import ExternalMySQL, MariaDB

On: TypeAlias = Callable[[type[OnMySQL]], Stores]


@pytest.fixture
def on(mysql_server: MariaDB | ExternalMySQL) -> Iterator[On]:
    """Stores that are tables of one database."""
    database = mysql_server.create_database("mutants")
    keys = mysql_server.settings(database)

    def stores(dialect: type[OnMySQL]) -> Stores:
        def store(name: str) -> Connect:
            settings = MySQLSettings(**keys, table_name=name, mysql6=dialect.mysql6)
            return partial(speaking, dialect, settings)

        return store

    yield stores
    mysql_server.drop_database(database)


@pytest.mark.timeout(MOST_SECONDS)
@pytest.mark.parametrize("mutant", MYSQL_MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_dies_by_its_own_law(mutant: Mutant[type[OnMySQL]], on: On) -> None:
    """The test of the law that a mutant breaks names that law, and shows how in a few calls."""
    assert_dies(mutant, on(mutant.cls))


def test_mutants_die_of_nothing_else(on: On) -> None:
    """Without a rewritten statement the same backend is right."""
    laws = ("claim.order", "fence.settle", "concurrency.fence")
    assert report(on(RightOnMySQL), *laws).ok
