"""What a session on a MySQL server is told, and what is asked of the server before it is used."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["SYNC_WAIT", "RefusedError", "refuse_unless_writable", "server_variables", "set_up"]

_SQL_MODE = "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION"

_KEEP_LISTS = "/*M!100409 , in_predicate_conversion_threshold = 0 */"
"""Else MariaDB turns an IN list of 1,000 keys into a joined subquery; MySQL takes this for a comment."""

_VARIABLES = (
    "group_replication_consistency",
    "group_replication_single_primary_mode",
    "idle_transaction_timeout",
    "innodb_read_only",
    "read_only",
    "wsrep_on",
)

_READ_ONLY_VARIABLES = ("read_only", "innodb_read_only")
"""``super_read_only`` implies the first; readers of Aurora have the second."""

SYNC_WAIT = 7
"""Reads, BEGIN (1), UPDATE, DELETE (2), INSERT and REPLACE (4): whatever a transaction begins with
waits until this node has applied what was committed on any node before. Without it a node that is
behind answers that an event is not there whose ``add`` was acknowledged by another.
https://mariadb.com/docs/server/ref/mdb/system-variables/wsrep_sync_wait/"""

_BEFORE = {
    "EVENTUAL": "BEFORE",
    "BEFORE_ON_PRIMARY_FAILOVER": "BEFORE",
    "AFTER": "BEFORE_AND_AFTER",
}
"""Where every member takes writes, the same is wanted of Group Replication. What is set -> what to set.
https://dev.mysql.com/doc/refman/8.4/en/group-replication-configuring-consistency-guarantees.html"""

_AFTER_FAILOVER = {"EVENTUAL": "BEFORE_ON_PRIMARY_FAILOVER"}
"""With one primary, a new one must first apply what it has received from the former."""

_LEEWAY_SECONDS = 5
"""By which the server gives up later than the client."""

_READ_ONLY, _NOT_READY = 1290, 1047
"""The errors with which such servers refuse statements."""


class RefusedError(Exception):
    """The server takes connections, but no writes; the arguments are those of a driver's error."""


def server_variables(cursor: Any) -> Mapping[str, str]:
    """What must be known of the server, by name; in words that a Galera node answers in any state."""
    names = ", ".join(f"'{name}'" for name in _VARIABLES)
    cursor.execute(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({names})")
    return {name.lower(): value for name, value in cursor.fetchall()}


def refuse_unless_writable(cursor: Any, variables: Mapping[str, str]) -> None:
    """Look whether the server takes writes, be it that our user could override it.

    Raises:
        RefusedError: it does not.
    """
    for name in _READ_ONLY_VARIABLES:
        if variables.get(name, "OFF") not in {"OFF", "0"}:
            raise RefusedError(_READ_ONLY, f"{name} is {variables[name]}")
    if variables.get("wsrep_on") == "ON":
        cursor.execute("SHOW GLOBAL STATUS LIKE 'wsrep_ready'")
        _, is_ready = cursor.fetchone()
        if is_ready != "ON":
            raise RefusedError(_NOT_READY, f"wsrep_ready is {is_ready}")


def set_up(
    cursor: Any,
    variables: Mapping[str, str],
    *,
    lock_wait_seconds: int,
    silence_seconds: float | None,
) -> None:
    """Set everything that is relied upon, whatever the server has as defaults.

    Args:
        cursor: of the session.
        variables: see :func:`server_variables`.
        lock_wait_seconds: how long the server waits for locks.
        silence_seconds: after how long the client gives up; None if it begins no transactions.
    """
    settings = [
        f"sql_mode = '{_SQL_MODE}'",
        "time_zone = '+00:00'",
        f"innodb_lock_wait_timeout = {lock_wait_seconds}",
        f"lock_wait_timeout = {lock_wait_seconds}",
        *_end_when_silent(variables, silence_seconds),
        *_see_what_was_committed(variables),
    ]
    cursor.execute(f"SET SESSION {', '.join(settings)}{_KEEP_LISTS}")
    cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")


def _end_when_silent(variables: Mapping[str, str], silence_seconds: float | None) -> list[str]:
    """A client that has vanished without a word must not keep its locks for the usual eight hours.

    Only MariaDB can tell a session that is idle from one that is idle in a transaction.
    """
    if silence_seconds is None:
        return []
    is_told_apart = "idle_transaction_timeout" in variables
    name = "idle_transaction_timeout" if is_told_apart else "wait_timeout"
    return [f"{name} = {math.ceil(silence_seconds) + _LEEWAY_SECONDS}"]


def _see_what_was_committed(variables: Mapping[str, str]) -> list[str]:
    """Where there are several servers: no answer may be older than what any of them acknowledged."""
    if variables.get("wsrep_on") == "ON":
        # Dirty reads would come without any wait.
        return [f"wsrep_sync_wait = @@wsrep_sync_wait | {SYNC_WAIT}", "wsrep_dirty_reads = OFF"]
    has_one_primary = variables.get("group_replication_single_primary_mode", "ON") == "ON"
    stronger = _AFTER_FAILOVER if has_one_primary else _BEFORE
    consistency = stronger.get(variables.get("group_replication_consistency", ""))
    return [f"group_replication_consistency = '{consistency}'"] if consistency else []
