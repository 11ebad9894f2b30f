"""How the server finds the rows: a hot query without its index would scan and lock the table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from futurama.backends.mysql import MySQLBackend, MySQLDialect
from tests.backends.conftest import new_site
from tests.backends.samples import BY_DUE, events, explainable
from tests.servers import ExternalMySQL, MariaDB

_DIGIT = f"(SELECT 0 AS d {' '.join(f'UNION ALL SELECT {i}' for i in range(1, 10))})"
_DIGITS = ", ".join(f"{_DIGIT} AS d{i}" for i in reversed(range(6)))
_NUMBER = " + ".join(f"{10**i} * d{i}.d" for i in reversed(range(6)))
_INSERT_A_MILLION = f"""
    INSERT INTO events (id, trigger_type, trigger_time, due, created, data)
    SELECT CONCAT(LPAD(n DIV 10, 5, '0'), IF(n MOD 10, n MOD 10, '')), 't', '2030-01-01',
    TIMESTAMP '2030-01-01 00:00:00' + INTERVAL n MICROSECOND, 0, ''
    FROM (SELECT {_NUMBER} AS n FROM {_DIGITS}) AS numbers
"""
"""In the order of the key; every tenth is one of ``samples.events``."""


@pytest.fixture(scope="module", params=[0, 10, 1_000_000])
def filled(
    request: pytest.FixtureRequest, mysql_server: MariaDB | ExternalMySQL
) -> Iterator[MySQLBackend]:
    """A backend with so many events, and statistics that know of them."""
    with new_site("mysql", mysql_server) as site:
        backend = site.make()
        backend.open()
        if request.param < 1000:
            backend.add(events(request.param), if_exists="raise")
        else:
            # The index is made at the end, which takes a third of the time.
            for statement in (
                "DROP INDEX due_id ON events",
                _INSERT_A_MILLION,
                "CREATE INDEX due_id ON events (due, id)",
            ):
                mysql_server.execute(statement, database=site.database)
        mysql_server.execute("ANALYZE TABLE events", database=site.database)
        yield backend


def _explain(backend: MySQLBackend, sql: str, parameters: Any) -> list[Any]:
    def ask(connection: sa.Connection) -> list[Any]:
        return list(connection.exec_driver_sql(f"EXPLAIN {sql}", parameters).mappings())

    return backend._transactions.read(ask)


@pytest.mark.parametrize("number_of_ids", [1, 999, MySQLDialect.max_in_list])
def test_every_hot_statement_is_a_range_of_one_index(
    filled: MySQLBackend, number_of_ids: int
) -> None:
    """Due statements walk the due index in order, the others the primary key; nothing is sorted."""
    for name, (sql, parameters) in explainable(filled, number_of_ids).items():
        plans = _explain(filled, sql, parameters)
        (plan,) = (plan for plan in plans if not str(plan["table"]).startswith("<derived"))
        if plan["Extra"] == "Impossible WHERE noticed after reading const tables":
            continue  # the only row was looked up by key already, to find that it does not match
        assert plan["key"] == ("due_id" if name in BY_DUE else "PRIMARY"), (name, plan)
        assert plan["type"] in {"range", "ref", "const"}, (name, plan)
        assert "filesort" not in (plan["Extra"] or ""), (name, plan)
        if name in {"candidates", "first_and_number"}:
            assert "Using index" in plan["Extra"], plan


def test_updates_look_up_each_row_by_its_key(filled: MySQLBackend) -> None:
    """The UPDATE with individual values reads the given values once and each row by primary key."""
    sent = []

    class Recorder:
        def exec_driver_sql(self, sql: str, parameters: tuple[object, ...]) -> None:
            sent.append((sql, parameters))

    rows = [(1, f"{i:05}".encode()) for i in range(500)]
    filled._dialect.update(Recorder(), "events", ["owner"], rows)  # type: ignore[arg-type] # enough of one
    ((sql, parameters),) = sent
    plans = [plan for plan in _explain(filled, sql, parameters) if plan["table"] == "t"]
    assert [(plan["type"], plan["key"]) for plan in plans] == [("eq_ref", "PRIMARY")]
