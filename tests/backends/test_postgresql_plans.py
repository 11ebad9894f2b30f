"""How the server finds the rows: a hot query without its index would scan the table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from futurama.backend import State
from futurama.backends.postgresql import PostgreSQLBackend
from tests.backends.conftest import new_site
from tests.backends.samples import BY_DUE, T0, events, explainable
from tests.servers import ExternalPostgreSQL, PostgreSQL

_MANY = 1_000_000
_TAKEN_FOR_NONE = "1,000,000, taken for 0"

_INSERT_MANY = f"""
    INSERT INTO events (id, trigger_type, trigger_time, due, created, data, lost)
    SELECT convert_to(concat(lpad((n / 10)::text, 5, '0'), nullif(mod(n, 10), 0)), 'UTF8'), 't', '2030-01-01Z',
    '2030-01-01Z'::timestamptz + n * interval '1 microsecond', 0, '', false
    FROM generate_series(0, {_MANY - 1}) AS n
"""
"""Every tenth is one of ``samples.events``."""


@pytest.fixture(scope="module", params=[0, 10, _MANY, _TAKEN_FOR_NONE])
def filled(
    request: pytest.FixtureRequest, postgresql_server: PostgreSQL | ExternalPostgreSQL
) -> Iterator[PostgreSQLBackend]:
    """A backend with so many events, and statistics that know of them or are out of date."""
    with new_site("postgresql", postgresql_server) as site:
        backend = site.make()
        backend.open()
        if request.param == _TAKEN_FOR_NONE:
            _analyze(backend)
        if request.param in {_MANY, _TAKEN_FOR_NONE}:
            backend._transactions.write(_insert_many)
        elif request.param:
            backend.add(events(request.param), if_exists="raise")
        if request.param in {10, _MANY}:
            _analyze(backend)
        yield backend


def _insert_many(connection: sa.Connection) -> None:
    for statement in (
        "DROP INDEX events_due_id",  # made at the end it takes a third of the time
        _INSERT_MANY,
        "CREATE INDEX events_due_id ON events (due, id)",
    ):
        connection.exec_driver_sql(statement)


def _analyze(backend: PostgreSQLBackend) -> None:
    backend._transactions.read(lambda c: c.exec_driver_sql("ANALYZE events"))


def _explain(backend: PostgreSQLBackend, sql: str, parameters: Any) -> list[dict[str, Any]]:
    """The nodes of the plan that a transaction of the backend gets."""
    explained = f"EXPLAIN (FORMAT JSON) {sql}"
    ((plan,),) = backend._transactions.write(
        lambda connection: connection.exec_driver_sql(explained, parameters).all()
    )
    return list(_nodes(plan[0]["Plan"]))


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


@pytest.mark.parametrize("number_of_ids", [1, 999])
def test_every_hot_statement_is_a_range_of_one_index(
    filled: PostgreSQLBackend, number_of_ids: int
) -> None:
    """Due statements walk the due index in order, the others the primary key; nothing is sorted."""
    if filled.count()[State.WAITING] < number_of_ids != 1:
        return  # reading all rows is the best that can be done
    for name, (sql, parameters) in explainable(filled, number_of_ids).items():
        nodes = _explain(filled, sql, parameters)
        (scan,) = (node for node in nodes if "Scan" in node["Node Type"])
        assert scan["Node Type"] in {"Index Scan", "Index Only Scan"}, (name, nodes)
        index = "events_due_id" if name in BY_DUE else "events_pkey"
        assert scan["Index Name"] == index, (name, nodes)
        assert ("due" if name in BY_DUE else "id = ANY") in scan["Index Cond"], (name, nodes)
        assert not [node for node in nodes if "Sort" in node["Node Type"]], (name, nodes)


def test_updates_look_up_each_row_by_its_key(filled: PostgreSQLBackend) -> None:
    """The UPDATE with individual values reads the given values once and each row by primary key."""
    if filled.count()[State.WAITING] < _MANY:
        return  # reading all rows is the best that can be done
    sent: list[tuple[str, Any]] = []

    def work(connection: sa.Connection) -> None:
        sa.event.listen(
            connection,
            "before_cursor_execute",
            lambda _c, _d, sql, given, *_: sent.append((sql, given)),
        )
        rows = [(1, T0, f"{i:05}".encode()) for i in range(500)]
        filled._dialect.update(connection, "events", ["owner", "due"], rows)

    filled._transactions.write(work)
    nodes = _explain(filled, *sent[-1])
    assert [node["Node Type"] for node in nodes] == [
        "ModifyTable",
        "Nested Loop",
        "Function Scan",
        "Index Scan",
    ]
    assert nodes[-1]["Index Name"] == "events_pkey"
