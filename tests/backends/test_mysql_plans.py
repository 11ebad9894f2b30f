"""How the server finds the rows: a hot query without its index would scan and lock the table."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from futurama.backends.mysql import MySQLBackend
from tests.backends.conftest import MakeMySQL
from tests.backends.samples import events, explainable

_BY_DUE = {"first_due", "claim", "claim_candidates", "was_taken"}


@pytest.fixture(params=[0, 10, 20_000])
def filled(request: pytest.FixtureRequest, make_mysql: MakeMySQL) -> MySQLBackend:
    """A backend with so many events, and statistics that know of them."""
    backend = make_mysql()
    backend.open()
    backend.add(events(request.param), if_exists="raise")
    backend._transactions.read(lambda c: c.exec_driver_sql("ANALYZE TABLE events").all())
    return backend


def _explain(backend: MySQLBackend, sql: str, parameters: Any) -> list[Any]:
    def ask(connection: sa.Connection) -> list[Any]:
        return list(connection.exec_driver_sql(f"EXPLAIN {sql}", parameters).mappings())

    return backend._transactions.read(ask)


@pytest.mark.parametrize("number_of_ids", [1, 999])
def test_every_hot_statement_is_a_range_of_one_index(
    filled: MySQLBackend, number_of_ids: int
) -> None:
    """Due statements walk the due index in order, the others the primary key; nothing is sorted."""
    for name, (sql, parameters) in explainable(filled, number_of_ids).items():
        (plan,) = _explain(filled, sql, parameters)
        if plan["Extra"] == "Impossible WHERE noticed after reading const tables":
            continue  # the only row was looked up by key already, to find that it does not match
        assert plan["key"] == ("due_id" if name in _BY_DUE else "PRIMARY"), (name, plan)
        assert plan["type"] in {"range", "ref", "const"}, (name, plan)
        assert "filesort" not in (plan["Extra"] or ""), (name, plan)


def test_updates_look_up_each_row_by_its_key(
    filled: MySQLBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The UPDATE with individual values reads the given values once and each row by primary key."""
    sent = []
    dialect = filled._dialect

    class Recorder:
        def exec_driver_sql(self, sql: str, parameters: tuple[object, ...]) -> None:
            sent.append((sql, parameters))

    rows = [(None, f"{i:05}".encode()) for i in range(500)]
    dialect.update(Recorder(), "events", ["owner"], rows)  # type: ignore[arg-type] # enough of one
    ((sql, parameters),) = sent
    plans = [plan for plan in _explain(filled, sql, parameters) if plan["table"] == "t"]
    assert [(plan["type"], plan["key"]) for plan in plans] == [("eq_ref", "PRIMARY")]
