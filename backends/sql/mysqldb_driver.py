"""mysqlclient: the C library of MariaDB or MySQL, which decodes large batches quickly."""

from __future__ import annotations

import math
import ssl as tls
from typing import Any, ClassVar

import MySQLdb
from MySQLdb.constants import FIELD_TYPE
from MySQLdb.converters import conversions

from futurama.backends.sql.hosts import Address
from futurama.backends.sql.mysql_driver import MySQLDriver
from futurama.backends.sql.mysql_settings import MySQLSettings
from futurama.backends.sql.mysql_values import ENCODERS, decode_datetime

__all__ = ["Driver"]

_CONVERSIONS: dict[Any, Any] = {
    **conversions,
    **ENCODERS,
    FIELD_TYPE.DATETIME: decode_datetime,
}

_LOOPBACK = "127.0.0.1"
"""The library takes ``localhost`` for the socket of some server on this machine, whatever the port."""


class Driver(MySQLDriver):
    """mysqlclient; its timeouts are whole seconds, rounded up."""

    url = "mysql+mysqldb://"
    module: ClassVar[Any] = MySQLdb

    def __init__(self, settings: MySQLSettings) -> None:
        super().__init__(settings)
        self._tls: dict[str, Any] = {"ssl_mode": "DISABLED"}

    def load_certificates(self) -> None:
        """See :class:`MySQLDriver`; the library reads them itself, and needs the name of a file."""
        settings = self._settings
        if not settings.ssl:
            return
        if not settings.ssl_verify:
            self._tls = {"ssl_mode": "REQUIRED"}
            return
        trusted = settings.ssl_ca or tls.get_default_verify_paths().cafile
        if trusted is None:
            raise OSError("this system has no such file; name one in the key ssl_ca")
        self._tls = {"ssl_mode": "VERIFY_IDENTITY", "ssl": {"ca": trusted}}

    def connect(self, address: Address, *, database: str | None, autocommit: bool) -> Any:
        """See :class:`MySQLDriver`."""
        settings = self._settings
        address.host.encode("idna")  # UnicodeError if it can be no name
        patience = math.ceil(settings.read_timeout_sec)
        return MySQLdb.connect(
            host=_LOOPBACK if address.host == "localhost" else address.host,
            port=address.port,
            user=settings.username,
            password=settings.password,
            database=database or "",
            charset="utf8mb4",
            autocommit=autocommit,
            connect_timeout=math.ceil(settings.connect_timeout_sec),
            read_timeout=patience,
            write_timeout=patience,
            conv=_CONVERSIONS,
            binary_prefix=True,
            multi_statements=False,
            **self._tls,
        )

    def connected(self, connection: Any) -> None:
        """See :class:`MySQLDriver`: it was so all along, because the library cannot change it later."""

    def ping(self, connection: Any) -> None:
        """See :class:`MySQLDriver`."""
        connection.ping()
