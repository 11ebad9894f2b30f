"""How well a MySQL or MariaDB server is set up for Futurama."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import exc

from futurama.backend import Finding, Verdict
from futurama.backends.sql.diagnosis import asked_for, clock
from futurama.backends.sql.galera_diagnosis import diagnose_galera
from futurama.backends.sql.statements import OWNERS_TABLE

__all__ = ["diagnose"]

_SHORT_WAIT_TIMEOUT_SECONDS = 60

_VARIABLES = (
    "innodb_flush_log_at_trx_commit",
    "log_bin",
    "max_allowed_packet",
    "sync_binlog",
    "tx_isolation",
    "transaction_isolation",
    "version",
    "sql_mode",
    "time_zone",
)


def diagnose(
    connection: sa.Connection,
    *,
    table_name: str,
    skips_locked: bool,
    server_now: Callable[[sa.Connection], datetime],
) -> Sequence[Finding]:
    """Look at the server through the eyes of one of the backend's own sessions; change nothing."""
    found = connection.exec_driver_sql(
        f"SHOW SESSION VARIABLES WHERE Variable_name IN ({', '.join(['%s'] * len(_VARIABLES))})",
        _VARIABLES,
    )
    variables = {name.lower(): value for name, value in found}
    return [
        Finding("version", variables["version"]),
        _skip_locked(works=skips_locked),
        asked_for("isolation", _isolation(variables), "READ-COMMITTED"),
        asked_for("time_zone", variables.get("time_zone", "unknown"), "+00:00"),
        _sql_mode(variables),
        _flush(variables),
        _binlog(variables),
        *diagnose_galera(connection),
        Finding("max_allowed_packet", variables["max_allowed_packet"]),
        _wait_timeout(connection),
        clock(connection, server_now),
        _engine(connection, table_name),
        _writing(connection, table_name),
        _registering(connection),
        _creating(connection),
    ]


def _skip_locked(*, works: bool) -> Finding:
    if works:
        return Finding("SKIP LOCKED", "works")
    return Finding(
        "SKIP LOCKED",
        "unknown to the server",
        Verdict.ADVICE,
        "instances wait for each other when they claim; MySQL 8.0.1 and MariaDB 10.6 can do better",
    )


def _isolation(variables: Mapping[str, str]) -> str:
    return variables.get("transaction_isolation") or variables.get("tx_isolation", "unknown")


def _sql_mode(variables: Mapping[str, str]) -> Finding:
    value = variables.get("sql_mode", "")
    if "STRICT_ALL_TABLES" in value.split(","):
        return Finding("sql_mode", value)
    return Finding(
        "sql_mode",
        value,
        Verdict.PROBLEM,
        "sessions ask for a strict mode and do not get it; look for a proxy that resets sessions",
    )


def _flush(variables: Mapping[str, str]) -> Finding:
    name = "innodb_flush_log_at_trx_commit"
    value = variables.get(name, "unknown")
    if value == "1":
        return Finding(name, value)
    return Finding(
        name,
        value,
        Verdict.PROBLEM,
        "events that were acknowledged can be lost when the server or its machine crashes; set it "
        "to 1",
    )


def _binlog(variables: Mapping[str, str]) -> Finding:
    if variables.get("log_bin") != "ON":
        return Finding("sync_binlog", "no binary log")
    value = variables.get("sync_binlog", "unknown")
    if value == "1":
        return Finding("sync_binlog", value)
    return Finding(
        "sync_binlog",
        value,
        Verdict.ADVICE,
        "replicas can miss acknowledged events after a crash of this server; set it to 1",
    )


def _wait_timeout(connection: sa.Connection) -> Finding:
    # That of our own sessions may be shorter on purpose.
    value = connection.exec_driver_sql("SELECT @@GLOBAL.wait_timeout").scalar_one()
    if int(value) >= _SHORT_WAIT_TIMEOUT_SECONDS:
        return Finding("wait_timeout", f"{value} s")
    return Finding(
        "wait_timeout",
        f"{value} s",
        Verdict.ADVICE,
        "the server closes connections so soon that calls often have to connect first; raise it",
    )


def _engine(connection: sa.Connection, table_name: str) -> Finding:
    engine = connection.exec_driver_sql(
        "SELECT engine FROM information_schema.tables "
        "WHERE table_schema = DATABASE() AND table_name = %s",
        (table_name,),
    ).scalar_one()
    if str(engine).lower() == "innodb":
        return Finding("table", f"{table_name}, {engine}")
    return Finding(
        "table",
        f"{table_name}, {engine}",
        Verdict.PROBLEM,
        f"this engine knows no transactions; run ALTER TABLE {table_name} ENGINE=InnoDB",
    )


def _writing(connection: sa.Connection, table_name: str) -> Finding:
    statements = {
        "SELECT": f"SELECT id FROM `{table_name}` WHERE id = ''",  # noqa: S608 -- the name is checked
        "INSERT": f"INSERT INTO `{table_name}` (id) VALUES ('')",  # noqa: S608 -- the name is checked
        "UPDATE": f"UPDATE `{table_name}` SET attempt = 0 WHERE id = ''",  # noqa: S608 -- the name is checked
        "DELETE": f"DELETE FROM `{table_name}` WHERE id = ''",  # noqa: S608 -- the name is checked
    }
    return _rights(connection, "the table", statements)


def _registering(connection: sa.Connection) -> Finding:
    statements = {
        "SELECT": f"SELECT id FROM {OWNERS_TABLE} WHERE id = 0",  # noqa: S608 -- a constant
        "INSERT": f"INSERT INTO {OWNERS_TABLE} (name) VALUES ('')",  # noqa: S608 -- a constant
    }
    return _rights(connection, OWNERS_TABLE, statements)


def _rights(connection: sa.Connection, place: str, statements: Mapping[str, str]) -> Finding:
    """Asks the server to explain, which needs the rights but does nothing."""
    lacking = []
    for right, statement in statements.items():
        try:
            connection.exec_driver_sql(f"EXPLAIN {statement}")
        except exc.DBAPIError as error:
            lacking.append(f"{right} ({error.orig})")
    if not lacking:
        return Finding(f"rights on {place}", ", ".join(statements))
    return Finding(
        f"rights on {place}",
        f"lacking: {'; '.join(lacking)}",
        Verdict.PROBLEM,
        f"GRANT {', '.join(statements)} on {place} to the user",
    )


def _creating(connection: sa.Connection) -> Finding:
    grants = " ".join(row[0] for row in connection.exec_driver_sql("SHOW GRANTS"))
    may_create = "ALL PRIVILEGES" in grants or " CREATE," in grants or " CREATE ON" in grants
    return Finding(
        "right to create tables",
        "yes" if may_create else "no, by the user's own grants; `futurama migrate` needs it",
    )
