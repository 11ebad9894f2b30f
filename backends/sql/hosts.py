"""Which of several servers is spoken to: the first in order that works, the same one for everybody."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Sequence
from enum import IntEnum
from typing import ClassVar, Protocol

import attrs

from futurama.backends.host_names import NAME, check_host, refuse_url
from futurama.errors import ConfigError

__all__ = ["Address", "Hosts", "addresses"]

_log = logging.getLogger("futurama.backends.sql")

_PASSED_OVER_SECONDS = 10.0
"""As long as a host that hangs holds up a connection by default: whoever connects next need not wait
for it, too."""

_MAX_PORT = 65_535

_FOLDER = r"/[^:\[\]]*"

_ADDRESS = re.compile(
    rf"(?:\[(?P<ipv6>[^\[\]]+)\]|(?P<name>{NAME}|{_FOLDER}))(?::(?P<port>[0-9]+))?"
)
"""``name``, ``name:port``, ``[IPv6]`` or ``[IPv6]:port``; where sockets lie in a folder, that as name."""


@attrs.frozen
class Address:
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Reachable(attrs.AttrsInstance, Protocol):
    """The configuration keys that say where servers are.

    Attributes:
        takes_folders: whether a host may be the folder of the server's Unix socket.
    """

    takes_folders: ClassVar[bool]

    @property
    def hosts(self) -> str:
        """Several servers, or nothing."""

    @property
    def host(self) -> str:
        """One server."""

    @property
    def port(self) -> int:
        """Where it listens, and all others for which nothing else is said."""


def addresses(settings: Reachable) -> Sequence[Address]:
    """What these keys mean together.

    Raises:
        ConfigError: they contradict each other, ``host`` is none, or ``hosts`` is no list of hosts.
    """
    hosts, host = settings.hosts, settings.host
    refuse_url("hosts", hosts)
    if not (settings.takes_folders and host.startswith("/")):
        check_host(host, advice="put a port into 'port', and several servers into 'hosts'")
    if not hosts:
        return [Address(host, settings.port)]
    if host != attrs.fields_dict(type(settings))["host"].default:
        raise ConfigError(
            f"configuration key 'hosts' is {hosts!r} and 'host' is {host!r}: which is meant? give "
            "one of them, and put all hosts into 'hosts' if there are several",
            key="hosts",
        )
    found = [_address(item.strip(), settings) for item in hosts.split(",")]
    if len(set(found)) < len(found):
        raise ConfigError(
            f"configuration key 'hosts' names a host twice, got {hosts!r}", key="hosts"
        )
    return found


def _address(item: str, settings: Reachable) -> Address:
    match = _ADDRESS.fullmatch(item)
    port = int(match["port"] or settings.port) if match else 0
    is_misplaced = item.startswith("/") and not settings.takes_folders
    if match is None or is_misplaced or not 0 < port <= _MAX_PORT:
        culprit = f", where {item!r} is wrong" if item else ", where nothing stands beside a comma"
        raise ConfigError(
            "configuration key 'hosts' must be hosts with or without a port, separated by commas, "
            f'like "db1, db2:7000, [::1]:7000", got {settings.hosts!r}'
            f"{culprit if ',' in settings.hosts else ''}",
            key="hosts",
        )
    return Address(match["ipv6"] or match["name"], port)


class _Rank(IntEnum):
    """Whom to try first."""

    PRESENT = 0
    USUAL = 1
    FAILED_LATELY = 2


class Hosts:
    """What is known of the servers; shared by all threads.

    One of them is *present*: it was the first that worked, and it stays so, whatever becomes of
    those before it, until it fails and another one works. So all connections go to one server, and
    none goes back before it has to.

    Args:
        addresses: of the servers, the preferred one first.
    """

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._addresses = tuple(addresses)
        self._lock = threading.Lock()
        self._present: Address | None = None
        self._failed_at: dict[Address, float] = {}

    @property
    def present(self) -> Address | None:
        """The one that is used, if there is one."""
        return self._present

    def in_order(self) -> Sequence[Address]:
        """All of them: the present one, then those that have not failed lately, then the others."""
        with self._lock:
            now = time.monotonic()
            return sorted(self._addresses, key=lambda address: self._rank(address, now))

    def _rank(self, address: Address, now: float) -> _Rank:
        failed_at = self._failed_at.get(address)
        if failed_at is not None and now - failed_at <= _PASSED_OVER_SECONDS:
            return _Rank.FAILED_LATELY
        is_present = failed_at is None and address == self._present
        return _Rank.PRESENT if is_present else _Rank.USUAL

    def is_present(self, address: Address) -> bool:
        """Whether connections to this one may go on being used."""
        return address == self._present

    def works(self, address: Address) -> None:
        """A connection was made; unless the present one works, too, this is now the present one."""
        with self._lock:
            self._failed_at.pop(address, None)
            former = self._present
            if address == former or (former is not None and former not in self._failed_at):
                return
            self._present = address
        if len(self._addresses) > 1:
            _log.warning("using the database server at %s", address)

    def fails(self, address: Address) -> None:
        """No connection could be made."""
        with self._lock:
            self._failed_at[address] = time.monotonic()

    def retires(self, address: Address) -> None:
        """It takes no writes any more; connections to it are of no use."""
        with self._lock:
            self._failed_at[address] = time.monotonic()
            if address == self._present:
                self._present = None
