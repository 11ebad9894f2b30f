"""Several servers that all take writes: nothing is answered from what a node does not know yet."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from futurama.backend import Query, State, Verdict
from futurama.backends.mysql import MySQLBackend
from futurama.backends.sql.galera_diagnosis import diagnose_galera
from futurama.errors import BackendUnavailableError
from futurama.events import CancelOutcome
from tests.backends.conftest import configured
from tests.backends.samples import event, events
from tests.servers import ServerMissingError
from tests.servers.galera import GaleraCluster, GaleraNode


@pytest.fixture(scope="module")
def cluster() -> Iterator[GaleraCluster]:
    """Three nodes; a test must leave them whole."""
    try:
        cluster = GaleraCluster()
    except ServerMissingError as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing))
        pytest.skip(f"NOT TESTED WITH A CLUSTER: {missing}")
    with cluster:
        yield cluster


@pytest.fixture
def database(cluster: GaleraCluster) -> Iterator[str]:
    """A new database on all nodes."""
    name = cluster.nodes[0].create_database()
    yield name
    cluster.nodes[0].drop_database(name)


def _on(database: str, *nodes: GaleraNode) -> MySQLBackend:
    """An opened backend that prefers the first of these nodes."""
    backend = configured(
        "mysql",
        hosts=", ".join(f"127.0.0.1:{node.port}" for node in nodes),
        db_name=database,
        create_schema=True,
    )
    assert isinstance(backend, MySQLBackend)
    backend.open()
    return backend


def test_conflict_at_commit_is_repeated(cluster: GaleraCluster, database: str) -> None:
    """Of two transactions on two nodes the one that commits later is undone and done again."""
    first, second = (_on(database, node) for node in cluster.nodes[:2])
    first.add([event("a")], if_exists="raise")
    increase = "UPDATE events SET attempt = attempt + 1 WHERE id = 'a'"
    tries = 0

    def work(connection: sa.Connection) -> None:
        nonlocal tries
        tries += 1
        connection.exec_driver_sql(increase)
        if tries == 1:
            second._transactions.write(lambda other: other.exec_driver_sql(increase))

    first._transactions.write(work)
    assert tries == 2
    assert [each.attempt for each in second.find(Query()).events] == [2]
    for backend in (first, second):
        backend.close()


def test_what_was_acknowledged_is_seen_on_every_node(cluster: GaleraCluster, database: str) -> None:
    """P6: an event that one node has stored is not denied by the next."""
    first, second = (_on(database, node) for node in cluster.nodes[:2])
    for each in events(100):
        first.add([each], if_exists="raise")
        assert second.cancel([each.id]) == [CancelOutcome.CANCELLED]
        assert first.count()[State.WAITING] == 0
    findings = {finding.name: finding for finding in second.diagnose()}
    assert findings["wsrep_sync_wait"].value == "7, wsrep_dirty_reads OFF"
    assert findings["Galera"].value == "3 nodes, Primary, this one is Synced"
    assert {each.verdict for each in findings.values()} == {Verdict.OK}
    for backend in (first, second):
        backend.close()


def test_settings_that_break_promises_are_found(cluster: GaleraCluster, database: str) -> None:
    """Reads that do not wait, and nodes that go on alone."""
    node = cluster.nodes[0]
    backend = _on(database, node)

    def problems(spoil: str) -> set[str]:
        def work(connection: sa.Connection) -> set[str]:
            connection.exec_driver_sql(spoil)
            findings = diagnose_galera(connection)
            return {each.name for each in findings if each.verdict is Verdict.PROBLEM}

        return backend._transactions.write(work)

    assert problems("DO 0") == set()
    assert problems("SET SESSION wsrep_dirty_reads = ON") == {"wsrep_sync_wait"}
    assert problems("SET SESSION wsrep_dirty_reads = OFF, wsrep_sync_wait = 1") == {
        "wsrep_sync_wait"
    }
    backend.close()
    backend.open()
    try:
        assert problems("SET GLOBAL wsrep_provider_options = 'pc.ignore_sb=true'") == {
            "split brain"
        }
    finally:
        node.execute("SET GLOBAL wsrep_provider_options = 'pc.ignore_sb=false'")
    backend.close()


def test_a_node_without_the_others_is_left(cluster: GaleraCluster, database: str) -> None:
    """It still takes connections, but neither those that exist nor new ones are of any use."""
    alone, other, _ = cluster.nodes
    backend = _on(database, alone, other)
    backend.add([event("before")], if_exists="raise")
    with alone.isolated():
        cluster.wait_until(alone.refuses)
        with pytest.raises(BackendUnavailableError, match="another one the writer"):
            backend.add([event("refused")], if_exists="raise")
        backend.add([event("after")], if_exists="raise")
        anew = _on(database, alone, other)
        assert anew.count()[State.WAITING] == 2
        advice = [each.name for each in anew.diagnose() if each.verdict is Verdict.ADVICE]
        assert advice == ["Galera"]  # of the two nodes that are left neither may be lost
        anew.close()
    cluster.wait_until_whole()
    backend.close()
