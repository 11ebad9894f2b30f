"""Three nodes that replicate each other synchronously and all take writes (Galera)."""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import time
from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from tests.faults.client import Client
from tests.faults.scenario import Circumstances, scenario
from tests.faults.stage import LEASE_SECONDS, LONG_LEASE_SECONDS, Outcome, Stage
from tests.servers.galera import GaleraCluster, GaleraNode

_PLACES = ("a", "b", "c")

_HIT = 1
"""The node to which something happens, which is the preferred one of the instance in place ``b``."""

_SUSPECT_SECONDS = 5.0
"""Of Galera, by default: so long do all writes wait when a node is silent, until the others go on without it."""

_READ_TIMEOUT_SECONDS = 2 * _SUSPECT_SECONDS
"""More than writes wait on the nodes that are well, and little enough for one that is not."""


@scenario(
    fault="writers on all nodes of a cluster",
    how="three Galera nodes; each instance works on another one, clients change with each request",
)
def galera_conflicts(given: Circumstances) -> Outcome:
    """A conflict is found at COMMIT only (1213): then nothing was claimed, and nothing is repeated."""
    with _stage_on_cluster(given, consumer_lock_timeout_sec=LONG_LEASE_SECONDS) as (
        stage,
        cluster,
    ):
        before = _conflicts(cluster)
        with stage.load(given.plan()):
            pass
        outcome = stage.outcome()
        conflicts = _conflicts(cluster) - before
    outcome = outcome.needs(conflicts, "no two nodes ever wanted the same event")
    return attrs.evolve(outcome, figures={**outcome.figures, "conflicts": conflicts})


@scenario(
    fault="a node of a cluster crashes",
    how="SIGKILL of one of three Galera nodes under load; it is started again and catches up",
)
def galera_crashed_node(given: Circumstances) -> Outcome:
    """Its instance goes to another node; the others wait until Galera has given the node up.

    They also wait, for a moment or for seconds, while a node comes back.
    """
    with _stage_on_cluster(given) as (stage, cluster):
        node = cluster.nodes[_HIT]
        with stage.load(given.plan(seconds=given.seconds + 2 * _SUSPECT_SECONDS)):
            time.sleep(2.0)
            with stage.disturbed():
                node.kill()
                _wait_until_left(stage, cluster)
                node.start()
                cluster.wait_until_whole()
        return stage.outcome()


@scenario(
    fault="a node of a cluster stands still",
    how="SIGSTOP of one of three Galera nodes under load until the others have given it up, then SIGCONT",
)
def galera_frozen_node(given: Circumstances) -> Outcome:
    """What it does when it goes on is refused by the others and does no harm."""
    with _stage_on_cluster(given) as (stage, cluster):
        node = cluster.nodes[_HIT]
        plan = given.plan(seconds=given.seconds + _READ_TIMEOUT_SECONDS + _SUSPECT_SECONDS)
        with stage.load(plan):
            time.sleep(2.0)
            with stage.disturbed():
                node.pause()
                _wait_until_left(stage, cluster)
                node.resume()
                cluster.wait_until_whole()
        return stage.outcome()


@scenario(
    fault="a node of a cluster is cut off",
    how="gmcast.isolate on one of three Galera nodes under load, until it answers 1047 and its "
    "instance has left it",
)
def galera_isolated_node(given: Circumstances) -> Outcome:
    """It sees no majority and refuses everything (1047), which means: another node."""
    with _stage_on_cluster(given) as (stage, cluster):
        node = cluster.nodes[_HIT]
        with stage.load(given.plan(seconds=given.seconds + 3 * _SUSPECT_SECONDS)):
            time.sleep(2.0)
            with stage.disturbed():
                with node.isolated():
                    _wait_until_left(stage, cluster)
                    cluster.wait_until(node.refuses)
                cluster.wait_until_whole()
        return stage.outcome()


class _SpreadClient(Client):
    """Asks through another of these clients each time."""

    def __init__(self, clients: Sequence[Client]) -> None:
        self.queue = clients[0].queue
        self._clients = itertools.cycle(clients)

    def create(self, event_id: str, trigger_type: str, trigger_us: int, data: Any) -> None:
        next(self._clients).create(event_id, trigger_type, trigger_us, data)

    def cancel(self, event_id: str) -> None:
        next(self._clients).cancel(event_id)

    def move(self, event_id: str, trigger_us: int) -> None:
        next(self._clients).move(event_id, trigger_us)


@contextlib.contextmanager
def _stage_on_cluster(given: Circumstances, **config: Any) -> Iterator[tuple[Stage, GaleraCluster]]:
    """An instance on each node, and clients that change nodes with each request."""
    cluster = _cluster()
    cluster.wait_until_whole()
    store = {
        "backend": given.backend,
        "username": cluster.nodes[0].username,
        "db_name": cluster.nodes[0].create_database("faults"),
        "read_timeout_sec": _READ_TIMEOUT_SECONDS,
        "connect_timeout_sec": LEASE_SECONDS,
    }
    first, *others = (_hosts(cluster, number) for number in range(len(cluster.nodes)))
    with given.stage(store, instances=0, hosts=first, **config) as stage:
        for place, hosts in zip(_PLACES, (first, *others), strict=True):
            stage.launch(place, hosts=hosts)
        stage.wait_until_ready()
        stage.client = _SpreadClient(
            [stage.client, *(stage.further_client(hosts=hosts) for hosts in others)]
        )
        yield stage, cluster


@functools.cache
def _cluster() -> GaleraCluster:
    """One for all scenarios, because it takes long to start; ended with this process."""
    cluster = GaleraCluster()
    atexit.register(cluster.stop)
    cluster.start()
    return cluster


def _hosts(cluster: GaleraCluster, first: int) -> str:
    """All nodes in the order of preference, as the configuration key."""
    nodes = cluster.nodes[first:] + cluster.nodes[:first]
    return ", ".join(map(_address, nodes))


def _address(node: GaleraNode) -> str:
    return f"{node.host}:{node.port}"


def _conflicts(cluster: GaleraCluster) -> int:
    """How many transactions were given up in favour of one of another node."""
    return cluster.total("local_cert_failures") + cluster.total("local_bf_aborts")


def _wait_until_left(stage: Stage, cluster: GaleraCluster) -> None:
    """Wait until the other nodes go on alone, and the instance that preferred this one is with them."""
    others = [node for node in cluster.nodes if node is not cluster.nodes[_HIT]]
    cluster.wait_until(lambda: all(node.wsrep("cluster_size") == "2" for node in others))
    instance = stage.places[_PLACES[_HIT]]
    went = [f"using the database server at {_address(node)}" for node in others]
    cluster.wait_until(lambda: any(line in instance.log for line in went))
