"""How well a PostgreSQL server is set up for Futurama."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from futurama.backend import Finding, Verdict
from futurama.backends.sql.diagnosis import asked_for, clock
from futurama.backends.sql.statements import OWNERS_TABLE

__all__ = ["diagnose"]

_LONG_TRANSACTION_SECONDS = 300
_MANY_DEAD_ROWS = 100_000

_SETTINGS = (
    "TimeZone",
    "autovacuum",
    "default_transaction_isolation",
    "fsync",
    "full_page_writes",
    "max_connections",
    "server_version",
    "superuser_reserved_connections",
    "synchronous_commit",
    "track_counts",
)


def diagnose(
    connection: sa.Connection,
    *,
    table_name: str,
    max_open_connection: int,
    server_now: Callable[[sa.Connection], datetime],
) -> Sequence[Finding]:
    """Look at the server through the eyes of one of the backend's own sessions; change nothing."""
    rows = connection.exec_driver_sql(
        "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", (list(_SETTINGS),)
    )
    settings = {name: str(value) for name, value in rows}
    return [
        Finding("version", settings["server_version"]),
        asked_for("isolation", settings["default_transaction_isolation"], "read committed"),
        asked_for("TimeZone", settings["TimeZone"], "UTC"),
        asked_for("synchronous_commit", settings["synchronous_commit"], "on"),
        _fsync(settings),
        _full_page_writes(settings),
        _autovacuum(connection, settings, table_name),
        _dead_rows(connection, table_name),
        _transactions(connection),
        _connections(connection, settings, max_open_connection),
        clock(connection, server_now),
        _rights(connection, "the table", table_name, ("SELECT", "INSERT", "UPDATE", "DELETE")),
        _rights(connection, OWNERS_TABLE, OWNERS_TABLE, ("SELECT", "INSERT")),
        _creating(connection),
    ]


def _fsync(settings: Mapping[str, str]) -> Finding:
    value = settings["fsync"]
    if value == "on":
        return Finding("fsync", value)
    return Finding(
        "fsync",
        value,
        Verdict.PROBLEM,
        "a crash of the machine can lose acknowledged events and damage the database; set it to on",
    )


def _full_page_writes(settings: Mapping[str, str]) -> Finding:
    value = settings["full_page_writes"]
    if value == "on":
        return Finding("full_page_writes", value)
    return Finding(
        "full_page_writes",
        value,
        Verdict.ADVICE,
        "a crash of the machine can damage the database, unless the file system rules that out",
    )


def _autovacuum(connection: sa.Connection, settings: Mapping[str, str], table_name: str) -> Finding:
    is_off_for_table = connection.exec_driver_sql(
        "SELECT NOT option_value::boolean FROM pg_class, pg_options_to_table(reloptions) "
        "WHERE oid = %s::regclass AND option_name = 'autovacuum_enabled'",
        (f'"{table_name}"',),
    ).scalar()
    if settings["autovacuum"] == settings["track_counts"] == "on" and not is_off_for_table:
        return Finding("autovacuum", "on")
    where = f"off for the table {table_name}" if is_off_for_table else "off"
    return Finding(
        "autovacuum",
        where,
        Verdict.PROBLEM,
        "claims get slower and the table larger without end; set autovacuum and track_counts to on",
    )


def _dead_rows(connection: sa.Connection, table_name: str) -> Finding:
    dead, live = connection.exec_driver_sql(
        "SELECT n_dead_tup, n_live_tup FROM pg_stat_user_tables WHERE relid = %s::regclass",
        (f'"{table_name}"',),
    ).one()
    value = f"{dead} dead, {live} live"
    if dead < max(_MANY_DEAD_ROWS, live):
        return Finding("rows", value)
    return Finding(
        "rows",
        value,
        Verdict.ADVICE,
        "autovacuum does not keep up; look for old transactions, or let it work more often",
    )


def _transactions(connection: sa.Connection) -> Finding:
    """Of what this user may see: others' sessions show theirs to members of pg_monitor."""
    row = connection.exec_driver_sql(
        "SELECT pid, coalesce(usename, ''), "
        "extract(epoch FROM clock_timestamp() - xact_start)::float8 "
        "FROM pg_stat_activity WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid() "
        "UNION ALL SELECT 0, owner, extract(epoch FROM clock_timestamp() - prepared)::float8 "
        "FROM pg_prepared_xacts ORDER BY 3 DESC LIMIT 1"
    ).one_or_none()
    if row is None:
        return Finding("oldest transaction", "none")
    pid, user, seconds = row
    value = f"{seconds:.0f} s, of {user}, " + (f"process {pid}" if pid else "prepared")
    if seconds < _LONG_TRANSACTION_SECONDS:
        return Finding("oldest transaction", value)
    return Finding(
        "oldest transaction",
        value,
        Verdict.ADVICE,
        "as long as it lasts, nothing that ended since can be cleared away, and claims get slower; "
        "end it",
    )


def _connections(
    connection: sa.Connection, settings: Mapping[str, str], max_open_connection: int
) -> Finding:
    used = connection.exec_driver_sql("SELECT sum(numbackends) FROM pg_stat_database").scalar_one()
    most = int(settings["max_connections"]) - int(settings["superuser_reserved_connections"])
    value = f"{used} of {most} used"
    if most - used >= max_open_connection:
        return Finding("connections", value)
    return Finding(
        "connections",
        value,
        Verdict.ADVICE,
        f"one more instance may need {max_open_connection}; raise max_connections on the server, or "
        "lower max_open_connection",
    )


def _rights(
    connection: sa.Connection, place: str, table_name: str, rights: Sequence[str]
) -> Finding:
    calls = ", ".join(["has_table_privilege(%s, %s)"] * len(rights))
    answers = connection.exec_driver_sql(
        f"SELECT {calls}",
        tuple(each for right in rights for each in (f'"{table_name}"', right)),
    ).one()
    lacking = [right for right, has in zip(rights, answers, strict=True) if not has]
    if not lacking:
        return Finding(f"rights on {place}", ", ".join(rights))
    return Finding(
        f"rights on {place}",
        f"lacking: {', '.join(lacking)}",
        Verdict.PROBLEM,
        f"GRANT {', '.join(lacking)} on {place} to the user",
    )


def _creating(connection: sa.Connection) -> Finding:
    may_create = connection.exec_driver_sql(
        "SELECT has_schema_privilege(current_schema(), 'CREATE')"
    ).scalar_one()
    return Finding(
        "right to create tables", "yes" if may_create else "no; `futurama migrate` needs it"
    )
