"""The drivers of the MySQL backend: both do the same, and read and write every value exactly."""

from __future__ import annotations

import importlib
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pymysql
import pytest
import sqlalchemy as sa

from futurama.backend import NewEvent, Query
from futurama.backends.mysql import MySQLBackend, MySQLSettings
from futurama.backends.sql import pymysql_driver
from futurama.backends.sql.mysql_values import Keys, inserted
from futurama.errors import ConfigError, UnknownBackendError
from tests.backends.conftest import MakeMySQL, skip_without_mysqldb
from tests.backends.samples import T0, event

_LENGTHS = (0, 1, 250, 251, 252, 65_535, 65_536, 8_191, 8_192, 200_000)
"""At these a length takes another form, or a row does not fit into a buffer."""


@pytest.fixture(params=["pymysql", "mysqldb"])
def backend(request: pytest.FixtureRequest, make_mysql: MakeMySQL) -> MySQLBackend:
    """An opened backend with each driver."""
    if request.param == "mysqldb":
        skip_without_mysqldb()
    backend = make_mysql(driver=request.param)
    backend.open()
    return backend


def _connected(make_mysql: MakeMySQL) -> Any:
    """A connection of PyMySQL as the backend has them."""
    dialect: Any = make_mysql()._dialect
    return dialect.connect(autocommit=True)


def _rows(connection: Any, sql: str, *arguments: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, arguments or None)
        return list(cursor.fetchall())


# -- values ---------------------------------------------------------------------------------------


def test_payloads_of_every_length_come_back(backend: MySQLBackend) -> None:
    """Long and short ones in one batch, and far more rows than packets are counted up to."""
    events = [
        event(f"{length}-{i}", payload=bytes(range(256)) * (length // 256) + bytes(length % 256))
        for length in _LENGTHS
        for i in range(3)
    ]
    events += [event(f"short-{i}", payload=bytes([i % 256])) for i in range(1000)]
    backend.add(events, if_exists="raise")
    batch = backend.claim(
        owner="me", now=T0, due_before=T0, lease_until=T0 + timedelta(hours=1), limit=10_000
    )
    assert {each.id: each.payload for each in batch.claims} == {
        each.id: each.payload for each in events
    }


@pytest.mark.parametrize("sql_mode", ["", "NO_BACKSLASH_ESCAPES,ANSI_QUOTES"])
def test_every_byte_can_stand_in_every_place(backend: MySQLBackend, sql_mode: str) -> None:
    """In ids, types and data, in VALUES and behind IN, whatever characters and quotes mean."""
    hostile = [
        "'",
        '"',
        "\\",
        "%",
        "%s",
        "%(ids)s",
        "\0",
        "\x1a",
        "\n",
        "ä",
        "😀",
        "X'",
        "--",
        ":ids",
    ]

    def work(connection: sa.Connection) -> None:
        connection.exec_driver_sql(f"SET SESSION sql_mode = '{sql_mode}'")
        rows = [backend._adding.new_row(_named(name)) for name in hostile]
        backend._rows.insert(connection, rows)
        keys = [name.encode() for name in hostile]
        assert set(backend._rows.lock(connection, keys, "due")) == set(keys)
        backend._rows.delete(connection, keys[:5])

    backend._transactions.write(work)
    found = backend.find(Query()).events
    assert {(each.id, each.trigger_type, each.payload) for each in found} == {
        (name, name, name.encode()) for name in hostile[5:]
    }


def _named(name: str) -> NewEvent:
    return NewEvent(id=name, trigger_type=name, trigger_time=T0, payload=name.encode(), created=T0)


def test_times_are_aware_and_exact(backend: MySQLBackend) -> None:
    """With microseconds and without, before 1970 and far ahead."""
    times = [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2030, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
    ]
    backend.add([event(str(i), at=at) for i, at in enumerate(times)], if_exists="raise")
    found = backend.find(Query()).events
    assert [each.due for each in found] == [each.trigger_time for each in found] == times
    assert {each.trigger_time.tzinfo for each in found} == {UTC}


def test_inserts_are_cut_in_time() -> None:
    """No part is longer than asked unless it is a single row, and together they are all rows."""
    rows = [(bytes(size), size) for size in (10, 10, 10, 500, 0, 0)]
    parts = [each.text for each in inserted(rows, max_length=80)]
    assert ",".join(parts) == ",".join(f"(X'{'00' * size}',{size})" for _, size in rows)
    assert [len(part) <= 80 for part in parts] == [True, True, False, True]


def test_keys_are_no_list() -> None:
    """Some versions of mysqlclient write lists by themselves, without asking how."""
    assert not isinstance(Keys([b"a"]), list | tuple)


# -- PyMySQL's insides ----------------------------------------------------------------------------


def test_rows_are_read_as_pymysql_reads_them(make_mysql: MakeMySQL) -> None:
    """The quick way through the buffer gives what the slow one gives, for NULL and long rows, too."""
    quick = _connected(make_mysql)
    slow = pymysql.connect(
        host=quick.host,
        port=quick.port,
        user=quick.user,
        password=quick.password,
        conv=pymysql_driver._CONVERSIONS,
    )
    numbers = " UNION ALL ".join(f"SELECT {i} AS n" for i in range(700))
    lengths = f"ELT(1 + n % {len(_LENGTHS)}, {', '.join(map(str, _LENGTHS))})"
    statements = [
        "SELECT 1 WHERE 1 = 0",
        "SELECT NULL",
        "SELECT NULL, '', 1, 2.5, 'ä', X'00FF', TIMESTAMP '2030-01-01 00:00:00.5'",
        f"SELECT n, REPEAT('x', {lengths} % 10000), NULL, n * 1.5 FROM ({numbers}) AS t",
        f"SELECT REPEAT('x', {lengths}), n FROM ({numbers} LIMIT 20) AS t",
        f"SELECT NULL, n FROM ({numbers}) AS t",
    ]
    for statement in statements:
        assert _rows(quick, statement) == _rows(slow, statement), statement
    quick.close()
    slow.close()


def test_the_quick_way_is_in_use() -> None:
    """A PyMySQL whose insides nobody has looked at would be used as it is, at several times the cost."""
    assert pymysql_driver._CONNECTION is pymysql_driver._Connection


def test_an_error_behind_the_first_rows_is_reported(make_mysql: MakeMySQL) -> None:
    """A statement that fails half-way is an error, and the connection goes on to work."""
    connection = _connected(make_mysql)
    numbers = " UNION ALL ".join(f"SELECT {i} AS n" for i in range(700))
    failing = f"SELECT n, IF(n < 600, 1, (SELECT 1 UNION SELECT n)) FROM ({numbers}) AS t"
    with pytest.raises(pymysql.err.OperationalError, match="1242"):
        _rows(connection, failing)
    assert _rows(connection, "SELECT 1") == [(1,)]
    connection.close()


def test_a_connection_that_ends_within_a_result_is_lost(make_mysql: MakeMySQL) -> None:
    """What is in the buffer is not taken for all there is."""
    connection = _connected(make_mysql)
    numbers = " UNION ALL ".join(f"SELECT {i} AS n" for i in range(700))
    connection._execute_command(3, f"SELECT n, REPEAT('x', 10000) FROM ({numbers}) AS t")
    connection._sock.shutdown(0)  # no more is received than what has arrived
    with pytest.raises(pymysql.err.OperationalError, match="Lost connection"):
        connection._read_query_result()


# -- choosing a driver ----------------------------------------------------------------------------


def test_an_unknown_driver_is_refused() -> None:
    """The error names the key, the value and what there is."""
    with pytest.raises(ConfigError, match="one of pymysql, mysqldb, got 'mariadb'") as caught:
        MySQLBackend(MySQLSettings(driver="mariadb"))
    assert caught.value.key == "driver"


@pytest.mark.parametrize(
    ("driver", "package", "extra"),
    [("pymysql", "pymysql", "mysql"), ("mysqldb", "MySQLdb", "mysqlclient")],
)
def test_a_driver_that_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, driver: str, package: str, extra: str
) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"futurama.backends.sql.{driver}_driver", raising=False)
    with pytest.raises(UnknownBackendError, match=rf'pip install "futurama\[{extra}\]"') as caught:
        MySQLBackend(MySQLSettings(driver=driver))
    assert caught.value.key == "driver"


def test_localhost_is_reached_by_tcp(backend: MySQLBackend, make_mysql: MakeMySQL) -> None:
    """The port of the configuration counts, although the C library would look for a socket."""
    local = make_mysql(host="localhost", driver=backend._settings.driver)
    local.open()
    assert local.count() == backend.count()


def test_codes_of_the_c_library_mean_the_same() -> None:
    """2006 and 2013 are not the server's but the driver's own, and both drivers use them."""
    skip_without_mysqldb()
    errors: Any = importlib.import_module("MySQLdb")
    dialects = [
        MySQLBackend(MySQLSettings(driver=each))._dialect for each in ("pymysql", "mysqldb")
    ]
    for code in (1062, 1205, 1213, 1290, 2002, 2003, 2006, 2013, 2026, 9999):
        by_driver = [
            dialect.fault(module.OperationalError(code, "words"))
            for dialect, module in zip(dialects, (pymysql.err, errors), strict=True)
        ]
        assert by_driver[0] == by_driver[1]
