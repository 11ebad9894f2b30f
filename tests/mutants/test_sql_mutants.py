"""The suite finds what goes wrong in a single statement."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import hypothesis
import pytest

from futurama.backend import EventBackend
from futurama.backends.mysql import MySQLSettings
from futurama.backends.sql import SQLBackend
from futurama.backends.sqlite import SQLiteSettings
from futurama.conformance import Report, check
from futurama.conformance.profile import Profile
from tests.mutants.registry import MOST_SECONDS
from tests.mutants.sql import (
    MYSQL_MUTANTS,
    SQLITE_MUTANTS,
    OnMySQL,
    OnSQLite,
    RightOnMySQL,
    RightOnSQLite,
)
from tests.servers import ExternalMySQL, MariaDB

Make: TypeAlias = Callable[[type[Any], str], SQLBackend]
"""Makes a backend that speaks to the database as a mutant does, on a table of this name."""

_DEMANDING = ("claim.order", "fence.settle", "concurrency.fence")
"""Laws that need everything that the tests here set up."""


@pytest.fixture(autouse=True)
def _as_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not look for shorter programs: that takes a hundred new tables, and other mutants show it."""
    usual = Profile.settings

    def settings(self: Profile, *, examples: int, shrinks: bool = False) -> hypothesis.settings:
        del shrinks
        return usual(self, examples=examples, shrinks=False)

    monkeypatch.setattr(Profile, "settings", settings)


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Make:
    """Makes backends on tables of one file."""

    def make(mutant: type[Any], table_name: str) -> SQLBackend:
        path = str(tmp_path / "events.db")
        settings = SQLiteSettings(path=path, table_name=table_name, synchronous="OFF")
        backend: SQLBackend = mutant.backend(mutant(settings), settings)
        return backend

    return make


@pytest.fixture
def on_mysql(mysql_server: MariaDB | ExternalMySQL) -> Iterator[Make]:
    """Makes backends on tables of one database."""
    database = mysql_server.create_database("mutants")
    keys = mysql_server.settings(database)

    def make(mutant: type[Any], table_name: str) -> SQLBackend:
        settings = MySQLSettings(**keys, table_name=table_name, mysql6=mutant.mysql6)
        backend: SQLBackend = mutant.backend(mutant(settings), settings)
        return backend

    yield make
    mysql_server.drop_database(database)


@pytest.mark.timeout(MOST_SECONDS)
@pytest.mark.parametrize("mutant", SQLITE_MUTANTS, ids=lambda m: f"{m.law}:{m.__name__}")
def test_sqlite_mutant_dies(mutant: type[OnSQLite], on_sqlite: Make) -> None:
    """The test of the law that a mutant breaks names that law."""
    _assert_dies(mutant, on_sqlite)


@pytest.mark.timeout(MOST_SECONDS)
@pytest.mark.parametrize("mutant", MYSQL_MUTANTS, ids=lambda m: f"{m.law}:{m.__name__}")
def test_mysql_mutant_dies(mutant: type[OnMySQL], on_mysql: Make) -> None:
    """The test of the law that a mutant breaks names that law."""
    _assert_dies(mutant, on_mysql)


def test_sqlite_mutants_die_of_nothing_else(on_sqlite: Make) -> None:
    """Without a rewritten statement the same backend is right."""
    assert _checked(RightOnSQLite, on_sqlite, *_DEMANDING).ok


def test_mysql_mutants_die_of_nothing_else(on_mysql: Make) -> None:
    """Without a rewritten statement the same backend is right."""
    assert _checked(RightOnMySQL, on_mysql, *_DEMANDING).ok


def _assert_dies(mutant: type[OnSQLite | OnMySQL], make: Make) -> None:
    (result,) = _checked(mutant, make, mutant.test).results
    assert result.broken is not None, f"survived: {result.status} {result.detail}"
    assert result.broken.law in {mutant.law, *mutant.others}, result.detail


def _checked(mutant: type[OnSQLite | OnMySQL], make: Make, *laws: str) -> Report:
    names = (f"events{number}" for number in itertools.count())

    @contextmanager
    def make_backend() -> Iterator[EventBackend]:
        yield make(mutant, next(names))

    def connector(backend: EventBackend) -> Callable[[], EventBackend]:
        assert isinstance(backend, SQLBackend)
        return partial(make, mutant, backend._table_name)

    capabilities = make(mutant, "none").capabilities
    return check(make_backend, capabilities, connector=connector, laws=laws)
