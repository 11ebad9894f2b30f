"""The configuration keys of the MySQL backend."""

from __future__ import annotations

import attrs

from futurama.backends.sql.server import ServerSettings
from futurama.settings import key

__all__ = ["MySQLSettings"]


@attrs.frozen
class MySQLSettings(ServerSettings):
    """The configuration keys of the MySQL backend."""

    host: str = key("127.0.0.1", "name or address of the server")
    port: int = key(3306, "TCP port of the server", minimum=1, maximum=65_535)
    username: str = key("root", "who logs in")
    password: str = key("", "the password of that user", secret=True)
    db_name: str = key("futurama", "the database; created at the first start if that is allowed")
    driver: str = key(
        "pymysql",
        "pymysql: written in Python; mysqldb: the C library, quicker with large batches, needs "
        "`futurama[mysqlclient]` and a compiler",
        choices=("pymysql", "mysqldb"),
    )
    mysql6: bool = key(
        default=True,
        doc="store times as DATETIME(6), to the microsecond; false: DATETIME, whole seconds, for "
        "servers without fractional seconds",
    )
