"""A bounded pool of connections.

The pools of redis-py serve its client, which repeats commands by itself and does not say whether one was
sent. Here is what remains to be done around its connections without that client.
"""

from __future__ import annotations

import contextlib
import os
import queue
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from redis.exceptions import RedisError

__all__ = ["Connection", "Pool", "PoolTimeoutError"]


class Connection(Protocol):
    """What is used of the connections of redis-py."""

    def connect(self) -> None:
        """Connect and log in, unless that was done."""

    def can_read(self, timeout: float) -> bool:
        """Whether something has arrived; raises if the server has closed the connection."""

    def disconnect(self) -> None:
        """Close."""

    def send_command(self, *command: Any) -> None:
        """Send one command."""

    def read_response(self) -> Any:
        """Wait for the answer; raises what the server calls an error."""


class PoolTimeoutError(Exception):
    """All connections were in use all the time."""


class Pool:
    """At most so many connections; the one that was used last is used first.

    In a forked child the pool is empty: the connections are its parent's.

    Args:
        make: makes a connection that is not connected yet.
        size: how many there may be.
        timeout: how many seconds to wait for one.
    """

    def __init__(self, make: Callable[[], Connection], *, size: int, timeout: float) -> None:
        self._make = make
        self._size = size
        self._timeout = timeout
        self._fill()
        _ALL.add(self)

    def _fill(self) -> None:
        self._free: queue.LifoQueue[Connection | None] = queue.LifoQueue()
        for _ in range(self._size):
            self._free.put(None)

    @contextlib.contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection that was alive a moment ago, for the caller alone.

        Raises:
            PoolTimeoutError: none became free in time.
            redis.RedisError, OSError, UnicodeError: the server cannot be reached, or refuses us.
        """
        free = self._free
        try:
            connection = free.get(timeout=self._timeout)
        except queue.Empty:
            raise PoolTimeoutError from None
        try:
            if connection is None:
                connection = self._make()
            _connect(connection)
            yield connection
        finally:
            free.put(connection)

    def close_idle(self) -> None:
        """Close the connections that nobody uses; they connect again when they are needed."""
        idle = []
        with contextlib.suppress(queue.Empty):
            while True:
                idle.append(self._free.get_nowait())
        for connection in idle:
            if connection is not None:
                connection.disconnect()
            self._free.put(connection)


def _connect(connection: Connection) -> None:
    """Connect if it is not connected, or not any more, which only a look can tell."""
    connection.connect()
    try:
        if not connection.can_read(timeout=0):
            return
    except (RedisError, OSError):
        pass  # the server has closed it
    connection.disconnect()
    connection.connect()


_ALL: weakref.WeakSet[Pool] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for pool in list(_ALL):
        # The parent's connections are dropped here, which redis-py does without a word to the server.
        pool._fill()  # noqa: SLF001 -- the same module


os.register_at_fork(after_in_child=_after_fork_in_child)
