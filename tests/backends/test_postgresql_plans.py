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
_SOME = 100_000
_VACUUMED_WHEN_EMPTY = "100,000, in a table that was vacuumed when its events had ended"

_INSERT_MANY = """
    INSERT INTO events (id, trigger_type, trigger_time, due, created, data, lost)
    SELECT convert_to(concat(lpad((n / 10)::text, 5, '0'), nullif(mod(n, 10), 0)), 'UTF8'), 't', '2030-01-01Z',
    '2030-01-01Z'::timestamptz + n * interval '1 microsecond', 0, '', false
    FROM generate_series(0, %s - 1) AS n
"""
"""Every tenth is one of ``samples.events``."""


_EXPECTED = dict.fromkeys(BY_DUE, ("events_due_id", "due")) | {
    "dead_before": ("events_dead", "id >")
}
"""Statement -> its index, and what that is searched for; all others go by the primary key."""


@pytest.fixture(scope="module", params=[0, 10, _MANY, _TAKEN_FOR_NONE, _VACUUMED_WHEN_EMPTY])
def filled(
    request: pytest.FixtureRequest, postgresql_server: PostgreSQL | ExternalPostgreSQL
) -> Iterator[PostgreSQLBackend]:
    """A backend with so many events, and statistics that know of them or are out of date."""
    with new_site("postgresql", postgresql_server) as site:
        backend = site.make()
        backend.open()
        if request.param == _TAKEN_FOR_NONE:
            _analyze(backend)
        if request.param == _VACUUMED_WHEN_EMPTY:
            _vacuum_when_empty(backend)
            backend._transactions.write(lambda c: c.exec_driver_sql(_INSERT_MANY, (_SOME,)))
        elif request.param in {_MANY, _TAKEN_FOR_NONE}:
            backend._transactions.write(_insert_many)
        elif request.param:
            backend.add(events(request.param), if_exists="raise")
        if request.param in {10, _MANY}:
            _analyze(backend)
        yield backend


def _insert_many(connection: sa.Connection) -> None:
    connection.exec_driver_sql("DROP INDEX events_due_id")  # a third of the time if made at the end
    connection.exec_driver_sql(_INSERT_MANY, (_MANY,))
    connection.exec_driver_sql(
        "CREATE INDEX events_due_id ON events (due, id) WHERE due IS NOT NULL"
    )


def _analyze(backend: PostgreSQLBackend) -> None:
    backend._transactions.read(lambda c: c.exec_driver_sql("ANALYZE events"))


def _vacuum_when_empty(backend: PostgreSQLBackend) -> None:
    """Leaves pages without a row, from which the server concludes that pages never have any."""
    stored = events(2000)
    backend.add(stored, if_exists="raise")
    backend.cancel([event.id for event in stored])
    backend._transactions.read(
        lambda c: c.exec_driver_sql("VACUUM (ANALYZE, TRUNCATE false) events")
    )


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
        index, condition = _EXPECTED.get(name, ("events_pkey", "id = ANY"))
        assert scan["Index Name"] == index, (name, nodes)
        assert condition in scan["Index Cond"], (name, nodes)
        assert not [node for node in nodes if "Sort" in node["Node Type"]], (name, nodes)


def test_updates_look_up_each_row_by_its_key(filled: PostgreSQLBackend) -> None:
    """The UPDATE with individual values reads each row by its primary key, whatever the server believes."""
    if filled.count()[State.WAITING] < _SOME:
        return  # reading all rows is the best that can be done
    sent: list[tuple[str, Any]] = []

    def work(connection: sa.Connection) -> None:
        sa.event.listen(
            connection,
            "before_cursor_execute",
            lambda _c, _d, sql, given, *_: sent.append((sql, given)),
        )
        rows = [(1, T0, f"{i:05}".encode()) for i in range(100)]
        filled._dialect.update(connection, "events", ["owner", "due"], rows)

    filled._transactions.write(work)
    nodes = _explain(filled, *sent[-1])
    assert [node["Node Type"] for node in nodes] == ["ModifyTable", "Index Scan"], nodes
    assert nodes[-1]["Index Name"] == "events_pkey"
    assert "id = ANY" in nodes[-1]["Index Cond"]
