"""How the server finds the rows: a hot query without its index would scan the table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from futurama.backend import Query
from futurama.backends.postgresql import PostgreSQLBackend
from tests.backends.conftest import MakePostgreSQL
from tests.backends.samples import T0, events, explainable

_BY_DUE = {"first_due", "claim", "claim_candidates", "was_taken"}


_MANY = 20_000
_TAKEN_FOR_NONE = "20,000, taken for 0"


@pytest.fixture
def filled(request: pytest.FixtureRequest, make_postgresql: MakePostgreSQL) -> PostgreSQLBackend:
    """A backend with so many events, and statistics that know of them or are out of date."""
    backend = make_postgresql()
    backend.open()
    if request.param == _TAKEN_FOR_NONE:
        _analyze(backend)
        backend.add(events(_MANY), if_exists="raise")
    elif request.param:
        backend.add(events(request.param), if_exists="raise")
        _analyze(backend)
    return backend


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


@pytest.mark.parametrize(
    ("filled", "number_of_ids"),
    # Where there are more ids than rows, reading all rows is the best that can be done.
    [(0, 1), (10, 1), (_MANY, 1), (_MANY, 999), (_TAKEN_FOR_NONE, 1), (_TAKEN_FOR_NONE, 999)],
    indirect=["filled"],
)
def test_every_hot_statement_is_a_range_of_one_index(
    filled: PostgreSQLBackend, number_of_ids: int
) -> None:
    """Due statements walk the due index in order, the others the primary key; nothing is sorted."""
    for name, (sql, parameters) in explainable(filled, number_of_ids).items():
        nodes = _explain(filled, sql, parameters)
        (scan,) = (node for node in nodes if "Scan" in node["Node Type"])
        assert scan["Node Type"] in {"Index Scan", "Index Only Scan"}, (name, nodes)
        index = "events_due_id" if name in _BY_DUE else "events_pkey"
        assert scan["Index Name"] == index, (name, nodes)
        assert ("due" if name in _BY_DUE else "id = ANY") in scan["Index Cond"], (name, nodes)
        assert not [node for node in nodes if "Sort" in node["Node Type"]], (name, nodes)


@pytest.mark.parametrize("filled", [_MANY, _TAKEN_FOR_NONE], indirect=True)
def test_updates_look_up_each_row_by_its_key(filled: PostgreSQLBackend) -> None:
    """The UPDATE with individual values reads the given values once and each row by primary key."""
    sent: list[tuple[str, Any]] = []

    def work(connection: sa.Connection) -> None:
        sa.event.listen(
            connection,
            "before_cursor_execute",
            lambda _c, _d, sql, given, *_: sent.append((sql, given)),
        )
        rows = [(None, T0, f"{i:05}".encode()) for i in range(500)]
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


def test_dead_letters_are_found_by_the_index(make_postgresql: MakePostgreSQL) -> None:
    """Looking for the few dead among many that live does not read the table."""
    backend = make_postgresql()
    backend.open()
    backend.add(events(_MANY), if_exists="raise")
    _analyze(backend)
    statement = backend._statements.dead_before
    parameters = {"before": T0, "after": b"", "limit": 500}
    compiled = statement.compile(dialect=backend._transactions._opened()[1].dialect)
    (scan,) = (
        node for node in _explain(backend, str(compiled), parameters) if "Scan" in node["Node Type"]
    )
    assert scan["Index Name"] == "events_due_id"
    assert backend.find(Query(limit=1)).next is not None
