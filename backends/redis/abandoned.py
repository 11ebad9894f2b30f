"""What was given up is not done later.

A command whose answer did not come may still lie in the network, or with a server that stands still, and
be done after it was repeated, and after somebody was told what became of it: an event that was cancelled
would wait again. So before a client sends anything else, it has the server close the connections that it
gave up. Redis does one command after the other: what came on them was done before, or is never done.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from redis.exceptions import InvalidResponse

from futurama.backends.redis.pool import Connection

__all__ = ["NOBODY", "Abandoned", "closing"]

_Name: TypeAlias = tuple[bytes, bytes]
"""Number and address of a client. A server that was restarted counts from 1 again, so that the number
alone might be somebody else's."""

NOBODY: _Name = (b"9223372036854775807", b"nobody")
"""The last number there is; no server gets there."""

_INFO = re.compile(rb"id=(\d+) addr=(.*?) laddr=", re.DOTALL)


def closing(name: _Name) -> Sequence[Any]:
    """The command that has a server close a connection, if it is still there."""
    number, address = name
    return "CLIENT", "KILL", "ID", number, "ADDR", address


class Abandoned:
    """The connections that were given up with a command under way. Thread-safe.

    There are never more than a pool has connections, because nothing is sent while there are any.
    """

    def __init__(self) -> None:
        self._names: weakref.WeakKeyDictionary[Connection, _Name] = weakref.WeakKeyDictionary()
        self._left: set[_Name] = set()

    def introduce(self, connection: Connection) -> None:
        """Ask the server what it calls a connection that was just made.

        Raises:
            redis.RedisError: it did not say.
        """
        connection.send_command("CLIENT", "INFO")
        answer = connection.read_response()
        match = _INFO.match(answer)
        if match is None:
            raise InvalidResponse(f"CLIENT INFO says {answer!r}")
        self._names[connection] = match[1], match[2]

    def add(self, connection: Connection) -> None:
        """Remember a connection on which a command was sent, and to which no answer is awaited any more."""
        self._left.add(self._names[connection])

    def close(self, send: Callable[[Sequence[Any]], Any]) -> None:
        """Have the server close them all.

        Two threads may close the same ones, and each returns when they are closed.

        Args:
            send: sends a command and returns the answer; when it raises, they are left for the next time.
        """
        for name in tuple(self._left):
            send(closing(name))
            self._left.discard(name)
