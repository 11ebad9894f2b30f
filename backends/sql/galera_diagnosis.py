"""How well a Galera cluster is set up for Futurama."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from futurama.backend import Finding, Verdict
from futurama.backends.sql.mysql_session import SYNC_WAIT

__all__ = ["diagnose_galera"]

_VARIABLES = ("wsrep_on", "wsrep_sync_wait", "wsrep_dirty_reads", "wsrep_provider_options")

_STATUS = ("wsrep_cluster_size", "wsrep_cluster_status", "wsrep_local_state_comment")

_MIN_NODES = 3
"""Of two that cannot reach each other neither has the majority."""

_SPLITTING = ("pc.ignore_quorum = true", "pc.ignore_sb = true")
"""With these a node goes on taking writes without the others."""


def diagnose_galera(connection: sa.Connection) -> Sequence[Finding]:
    """What breaks promises where several nodes take writes; nothing if this server is no such node."""
    variables = _shown(connection, "SESSION VARIABLES", _VARIABLES)
    if variables.get("wsrep_on") != "ON":
        return []
    return [
        _cluster(_shown(connection, "GLOBAL STATUS", _STATUS)),
        _sync_wait(variables),
        _splitting(variables.get("wsrep_provider_options", "")),
    ]


def _shown(connection: sa.Connection, what: str, names: Sequence[str]) -> Mapping[str, str]:
    rows = connection.exec_driver_sql(
        f"SHOW {what} WHERE Variable_name IN ({', '.join(['%s'] * len(names))})", tuple(names)
    )
    return {name.lower(): value for name, value in rows}


def _cluster(status: Mapping[str, str]) -> Finding:
    size, component, state = (status.get(name, "unknown") for name in _STATUS)
    value = f"{size} nodes, {component}, this one is {state}"
    if size.isdigit() and int(size) >= _MIN_NODES:
        return Finding("Galera", value)
    return Finding(
        "Galera",
        value,
        Verdict.ADVICE,
        "if one of two nodes dies the other takes no writes; let there be at least three, one of "
        "which may be an arbitrator",
    )


def _sync_wait(variables: Mapping[str, str]) -> Finding:
    wait, dirty = variables.get("wsrep_sync_wait", "0"), variables.get("wsrep_dirty_reads", "OFF")
    value = f"{wait}, wsrep_dirty_reads {dirty}"
    if int(wait) & SYNC_WAIT == SYNC_WAIT and dirty == "OFF":
        return Finding("wsrep_sync_wait", value)
    return Finding(
        "wsrep_sync_wait",
        value,
        Verdict.PROBLEM,
        f"sessions ask for {SYNC_WAIT} without dirty reads and do not get it, so a node that is "
        "behind can deny that an event is there; look for a proxy that resets sessions",
    )


def _splitting(provider_options: str) -> Finding:
    set_so = [option for option in _SPLITTING if option in provider_options]
    if not set_so:
        return Finding("split brain", "prevented")
    return Finding(
        "split brain",
        ", ".join(set_so),
        Verdict.PROBLEM,
        "nodes that lose each other go on alone and run the same events; take this out of "
        "wsrep_provider_options",
    )
