"""PyMySQL, which is written in Python and so runs everywhere."""

# ruff: noqa: SLF001 -- what reads rows takes the place of insides of PyMySQL; see _CONNECTION

from __future__ import annotations

import ssl as tls
from typing import Any, ClassVar

import pymysql
from pymysql.connections import Connection, MySQLResult
from pymysql.constants import FIELD_TYPE
from pymysql.converters import conversions

from futurama.backends.sql.hosts import Address
from futurama.backends.sql.mysql_driver import MySQLDriver
from futurama.backends.sql.mysql_settings import MySQLSettings
from futurama.backends.sql.mysql_values import ENCODERS, decode_datetime

__all__ = ["Driver"]

_BINARY_PREFIX: dict[str, Any] = {"binary_prefix": True} if pymysql.VERSION < (1, 2) else {}
"""PyMySQL before 1.2 sends bytes as text unless told so, and text has to be UTF-8."""

_CONVERSIONS: dict[Any, Any] = {
    **conversions,
    **ENCODERS,
    FIELD_TYPE.DATETIME: decode_datetime,
}

_HEADER = 4
"""What stands before each row: three bytes of length, one that counts packets."""

_NULL = 251
_SIZES = {252: 2, 253: 3, 254: 8}
"""First byte of a value -> how many bytes follow that are its length. Below 251 it is the length."""


class Driver(MySQLDriver):
    """PyMySQL."""

    url = "mysql+pymysql://"
    module: ClassVar[Any] = pymysql

    def __init__(self, settings: MySQLSettings) -> None:
        super().__init__(settings)
        self._tls: tls.SSLContext | None = None

    def load_certificates(self) -> None:
        """See :class:`MySQLDriver`."""
        settings = self._settings
        if not settings.ssl:
            return
        context = tls.create_default_context(cafile=settings.ssl_ca)
        # The certificates that MySQL servers make for themselves do not pass the strict rules.
        context.verify_flags &= ~tls.VERIFY_X509_STRICT
        if not settings.ssl_verify:
            context.check_hostname = False
            context.verify_mode = tls.CERT_NONE
        self._tls = context

    def connect(self, address: Address, *, database: str | None, autocommit: bool) -> Any:
        """See :class:`MySQLDriver`; some ways to log in need the package cryptography."""
        settings = self._settings
        at_first = min(settings.connect_timeout_sec, settings.read_timeout_sec)
        return _CONNECTION(
            host=address.host,
            port=address.port,
            user=settings.username,
            password=settings.password,
            database=database,
            charset="utf8mb4",
            autocommit=autocommit,
            connect_timeout=settings.connect_timeout_sec,
            read_timeout=at_first,
            write_timeout=at_first,  # counts for the handshake of TLS, too
            conv=_CONVERSIONS,
            **_BINARY_PREFIX,
            ssl=self._tls,
            ssl_disabled=self._tls is None,
        )

    def connected(self, connection: Any) -> None:
        """See :class:`MySQLDriver`."""
        connection._read_timeout = connection._write_timeout = self._settings.read_timeout_sec

    def ping(self, connection: Any) -> None:
        """See :class:`MySQLDriver`."""
        connection.ping(reconnect=False)


class _Result(MySQLResult):
    """Reads rows in a quarter of the time.

    PyMySQL takes a row out of its buffer in two reads and a value in four calls, which was most of
    what a claim of many events cost. Here all rows that lie in the buffer as a whole are taken out
    in one go; everything else (long rows, the end, errors) is left to PyMySQL.
    """

    def _read_rowdata_packet(self) -> None:
        insides: Any = self
        connection = insides.connection
        rows: list[tuple[Any, ...]] = []
        while True:
            packet = connection._read_packet()
            if insides._check_packet_is_eof(packet):
                break
            rows.append(insides._read_row_from_packet(packet))
            _take_buffered(connection, insides.converters, rows)
        insides.connection = None
        insides.affected_rows = len(rows)
        insides.rows = tuple(rows)


def _take_buffered(connection: Any, converters: Any, rows: list[tuple[Any, ...]]) -> None:
    try:
        buffer = connection._rfile.peek()
    except OSError:
        return  # PyMySQL meets it again and knows what to say
    sequence = connection._next_seq_id
    start, end = 0, len(buffer)
    while start + _HEADER < end:
        at = start + _HEADER
        behind = at + int.from_bytes(buffer[start : start + 3], "little")
        if behind > end or behind == at or buffer[at] > _NULL or buffer[start + 3] != sequence:
            break
        rows.append(_row(buffer, at, converters))
        start = behind
        sequence = (sequence + 1) % 256
    connection._rfile.read(start)
    connection._next_seq_id = sequence


def _row(buffer: bytes, at: int, converters: Any) -> tuple[Any, ...]:
    row: list[Any] = []
    for encoding, converter in converters:
        size = buffer[at]
        at += 1
        if size == _NULL:
            row.append(None)
            continue
        if size > _NULL:
            width = _SIZES[size]
            size = int.from_bytes(buffer[at : at + width], "little")
            at += width
        value: Any = buffer[at : at + size]
        at += size
        if encoding is not None:
            value = value.decode(encoding)
        row.append(value if converter is None else converter(value))
    return tuple(row)


class _Connection(Connection):
    """A connection whose results are read by :class:`_Result`."""

    def _read_query_result(self, unbuffered: bool = False) -> int:  # noqa: FBT001, FBT002 -- PyMySQL's
        assert not unbuffered, "no cursor of ours asks for that"
        insides: Any = self
        insides._result = None
        result: Any = _Result(self)
        result.read()
        insides._result = result
        if result.server_status is not None:
            insides.server_status = result.server_status
        affected: int = result.affected_rows
        return affected


_CONNECTION: Any = _Connection if (1, 1) <= pymysql.VERSION[:2] < (1, 3) else Connection
"""The insides of other versions may be different; with them reading just takes longer."""
