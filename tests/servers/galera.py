"""Three MariaDB servers that replicate each other synchronously, by Galera."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self

import pymysql

from tests.servers.mariadb import MariaDB
from tests.servers.process import ServerMissingError, free_port

__all__ = ["GaleraCluster", "GaleraNode"]

_PROVIDER = Path("/usr/lib/galera/libgalera_smm.so")
"""Where Debian's package galera-4 has it."""

_SST_SCRIPT = "wsrep_sst_rsync"
"""Part of Debian's package mariadb-server; a node that joins needs it even if it only catches up."""

_PATIENCE_SECONDS = 90.0
"""A node that comes back may need the whole state again, after 15 s in which the others wait for it."""

_OPTIONS = (
    "--wsrep-on=ON",
    f"--wsrep-provider={_PROVIDER}",
    "--wsrep-sst-method=rsync",
    "--binlog-format=ROW",
    "--innodb-autoinc-lock-mode=2",
    "--innodb-buffer-pool-size=64M",
)

_NOT_READY = 1047
"""The error with which a node answers that sees no majority."""

_POSITION = re.compile(r"Recovered position: (\S+)")


class GaleraNode(MariaDB):
    """One server of a cluster.

    Raises:
        ServerMissingError: MariaDB, Galera or the script for state transfers is not installed.
    """

    product = "galera"
    # The package makes this user. As root, the rsync of a state transfer gives up root's rights.
    user = "mysql"

    def __init__(self) -> None:
        if not _PROVIDER.exists() or shutil.which(_SST_SCRIPT) is None:
            raise ServerMissingError("Galera is not installed; install galera-4 and mariadb-server")
        self._group_port, self._ist_port, self._sst_port = (free_port() for _ in range(3))
        super().__init__(
            *_OPTIONS,
            f"--wsrep-node-address={self.group_address}",
            f"--wsrep-sst-receive-address=127.0.0.1:{self._sst_port}",
            f"--wsrep-provider-options=gmcast.listen_addr=tcp://{self.group_address};"
            f"base_port={self._group_port};ist.recv_addr=127.0.0.1:{self._ist_port};gcache.size=32M",
        )
        self._founding: Sequence[str] = ()
        self._position: Sequence[str] = ()
        self.peers: Sequence[GaleraNode] = ()

    @property
    def group_address(self) -> str:
        """Where the other nodes reach it."""
        return f"127.0.0.1:{self._group_port}"

    def command(self) -> Sequence[str]:
        """See :class:`PrivateServer`."""
        addresses = ",".join(peer.group_address for peer in self.peers)
        return [
            *super().command(),
            *self._position,
            *(self._founding or [f"--wsrep-cluster-address=gcomm://{addresses}"]),
        ]

    def found(self) -> None:
        """Start the node as the first one of a new cluster."""
        self._founding = ["--wsrep-cluster-address=gcomm://", "--wsrep-new-cluster"]
        try:
            self.start()
        finally:
            self._founding = ()

    def start(self) -> None:
        """Start the node, and wait until it has joined the others and has all their data.

        After a crash it only has to catch up.
        """
        _hand_over(self.directory)
        if (self.directory / "data" / "grastate.dat").exists():
            self._position = [f"--wsrep-start-position={self._recovered_position()}"]
        super().start()

    def _recovered_position(self) -> str:
        """Up to which transaction its data reach; Debian's service finds out before each start, too."""
        found = subprocess.run(
            [*self.command(), "--wsrep-recover"],
            user=self.user if os.geteuid() == 0 else None,
            capture_output=True,
            text=True,
            check=True,
            timeout=_PATIENCE_SECONDS,
        )
        position = _POSITION.search(found.stderr)
        assert position is not None, found.stderr[-4000:]
        return position[1]

    def answers(self) -> bool:
        """See :class:`PrivateServer`."""
        return self.is_synced()

    def is_synced(self) -> bool:
        """Whether it takes statements and has everything that was committed."""
        return self.wsrep("local_state_comment") == "Synced" and self.is_primary()

    def is_primary(self) -> bool:
        """Whether it sees a majority of the nodes."""
        return self.wsrep("cluster_status") == "Primary"

    def wsrep(self, name: str) -> str | None:
        """A status variable without the prefix ``wsrep_``; None if the node does not answer within seconds."""
        try:
            with (
                contextlib.closing(self.connect(connect_timeout=2, read_timeout=2)) as connection,
                connection.cursor() as cursor,
            ):
                cursor.execute("SHOW GLOBAL STATUS LIKE %s", (f"wsrep_{name}",))
                row = cursor.fetchone()
        except pymysql.err.OperationalError:
            return None
        return None if row is None else str(row[1])

    def refuses(self) -> bool:
        """Whether it takes connections, but no statements on tables, because it sees no majority."""
        try:
            self.execute("SELECT 1 FROM mysql.db LIMIT 1")
        except pymysql.err.OperationalError as error:
            return bool(error.args[0] == _NOT_READY)
        return False

    @contextlib.contextmanager
    def isolated(self) -> Iterator[None]:
        """Cut it off from the other nodes, and let it find them again in the end."""
        self._provide("gmcast.isolate=1")
        try:
            yield
        finally:
            self._provide("gmcast.isolate=0")

    def _provide(self, option: str) -> None:
        self.execute("SET GLOBAL wsrep_provider_options = %s", option)


class GaleraCluster:
    """Three nodes, each writable, in folders of their own; a context manager.

    Attributes:
        nodes: all of them, whether they run or not.

    Raises:
        ServerMissingError: see :class:`GaleraNode`.
    """

    def __init__(self) -> None:
        self.nodes = [GaleraNode() for _ in range(3)]
        for node in self.nodes:
            node.peers = self.nodes

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def start(self) -> None:
        """Let the first node found a cluster, and the others join it one after the other."""
        first, *others = self.nodes
        try:
            first.found()
            for node in others:
                node.start()
            self.wait_until_whole()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all nodes for good and remove their data."""
        for node in self.nodes:
            node.stop()

    def wait_until_whole(self) -> None:
        """Wait until all nodes are there and have all data."""
        size = str(len(self.nodes))
        self.wait_until(
            lambda: all(
                node.wsrep("cluster_size") == size and node.is_synced() for node in self.nodes
            )
        )

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is true of the nodes."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, "the cluster did not get there"
            time.sleep(0.05)  # poll: a server offers nothing to wait for

    def total(self, name: str) -> int:
        """The sum of a status variable over the nodes that answer."""
        return sum(int(node.wsrep(name) or 0) for node in self.nodes)


def _hand_over(folder: Path) -> None:
    """Let the user as whom the server runs own the folder and what is in it."""
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, GaleraNode.user)
