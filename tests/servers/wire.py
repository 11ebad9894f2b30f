"""Where messages to a server begin and end, as far as a proxy has to know that."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping

__all__ = ["MESSAGES", "Messages", "MySQLMessages", "PostgreSQLMessages", "Reads"]


class Messages(ABC):
    """Cuts what one client sends, in clear text, into messages, however reads have cut or joined them."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def split(self, data: bytes) -> Iterator[bytes]:
        """The messages that are whole with this."""
        self._rest += data
        while (size := self._size(self._rest)) is not None and size <= len(self._rest):
            message = bytes(self._rest[:size])
            del self._rest[:size]
            yield message

    @abstractmethod
    def _size(self, rest: bytes | bytearray) -> int | None:
        """How long the first message is; None if too little is there to tell."""

    @staticmethod
    @abstractmethod
    def is_commit(message: bytes) -> bool:
        """Whether the message asks the server to commit."""


class Reads(Messages):
    """Of a protocol that we do not know: each read is a message."""

    def _size(self, rest: bytes | bytearray) -> int | None:
        return len(rest) or None

    @staticmethod
    def is_commit(message: bytes) -> bool:
        """See :class:`Messages`: nobody can tell."""
        return False


class MySQLMessages(Messages):
    """Packets: three bytes of length, a number, the payload."""

    _HEADER = 4
    _COM_QUERY = b"\x03"
    _NO_ATTRIBUTES = b"\x00\x01"
    """Where client and server know attributes of queries: there are none, in one set."""

    def _size(self, rest: bytes | bytearray) -> int | None:
        if len(rest) < self._HEADER:
            return None
        return self._HEADER + int.from_bytes(rest[:3], "little")

    @staticmethod
    def is_commit(message: bytes) -> bool:
        """See :class:`Messages`."""
        command, text = message[4:5], message[5:].removeprefix(MySQLMessages._NO_ATTRIBUTES)
        return command == MySQLMessages._COM_QUERY and text.upper() == b"COMMIT"


class PostgreSQLMessages(Messages):
    """A letter, four bytes of length that count themselves, the rest.

    The first messages of a connection have no letter; they are so short that they begin with a zero.
    """

    _LENGTH = 4
    _QUERY = b"Q"

    def _size(self, rest: bytes | bytearray) -> int | None:
        letters = 1 if rest[:1].strip(b"\0") else 0
        if len(rest) < letters + self._LENGTH:
            return None
        return letters + int.from_bytes(rest[letters : letters + self._LENGTH], "big")

    @staticmethod
    def is_commit(message: bytes) -> bool:
        """See :class:`Messages`."""
        letter, text = message[:1], message[5:]
        return letter == PostgreSQLMessages._QUERY and text.upper() == b"COMMIT\0"


MESSAGES: Mapping[str, type[Messages]] = {
    "mysql": MySQLMessages,
    "postgresql": PostgreSQLMessages,
    "redis": Reads,
}
"""By the name of the backend."""
