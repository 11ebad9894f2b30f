"""The suite finds what goes wrong in a single statement."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from futurama.backend import EventBackend
from futurama.backends.mysql import MySQLSettings
from futurama.backends.sql import SQLBackend
from futurama.backends.sqlite import SQLiteSettings
from futurama.conformance import check
from tests.mutants.sql import MYSQL_MUTANTS, SQLITE_MUTANTS, OnMySQL, OnSQLite
from tests.servers import ExternalMySQL, MariaDB


@pytest.mark.parametrize("mutant", SQLITE_MUTANTS, ids=lambda m: f"{m.law}:{m.__name__}")
def test_sqlite_mutant_dies(mutant: type[OnSQLite], tmp_path: Path) -> None:
    """The test of the law that a mutant breaks names that law."""

    def make(name: str) -> SQLBackend:
        settings = SQLiteSettings(path=str(tmp_path / name), synchronous="OFF")
        return mutant.backend(mutant(settings), settings)

    _assert_dies(mutant.law, make)


@pytest.mark.parametrize("mutant", MYSQL_MUTANTS, ids=lambda m: f"{m.law}:{m.__name__}")
def test_mysql_mutant_dies(mutant: type[OnMySQL], mysql_server: MariaDB | ExternalMySQL) -> None:
    """The test of the law that a mutant breaks names that law."""
    database = mysql_server.create_database("mutants")
    keys = {**mysql_server.settings(database), "mysql6": mutant.mysql6}

    def make(name: str) -> SQLBackend:
        settings = MySQLSettings(**keys, table_name=name)
        return mutant.backend(mutant(settings), settings)

    try:
        _assert_dies(mutant.law, make)
    finally:
        mysql_server.drop_database(database)


def _assert_dies(law: str, make: Callable[[str], SQLBackend]) -> None:
    names = (f"events{number}" for number in itertools.count())

    @contextmanager
    def make_backend() -> Iterator[EventBackend]:
        yield make(next(names))

    def connector(backend: EventBackend) -> Callable[[], EventBackend]:
        assert isinstance(backend, SQLBackend)
        return partial(make, backend._table_name)

    report = check(make_backend, make("none").capabilities, connector=connector, laws=[law])

    (result,) = report.results
    assert result.broken is not None, f"survived: {result.status} {result.detail}"
    assert result.broken.law == law, result.detail
