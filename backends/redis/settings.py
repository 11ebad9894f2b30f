"""The configuration keys of the Redis backend."""

from __future__ import annotations

import re

import attrs

from futurama.backends.host_names import check_host
from futurama.errors import ConfigError
from futurama.settings import key

__all__ = ["RedisSettings"]

_MAX_DATA_BYTES = 64 * 1024 * 1024
"""To store that holds up a server for half a second."""

_NAMESPACE = re.compile(r"[A-Za-z0-9_.:-]{1,64}", re.ASCII)
"""Nothing in this alphabet can end the hash tag that a namespace becomes."""


@attrs.frozen
class RedisSettings:
    """The configuration keys of the Redis backend."""

    host: str = key(
        "127.0.0.1",
        "name or address of the server; what it loses in a crash is decided there, by `appendonly` "
        "and `appendfsync`",
    )
    port: int = key(6379, "TCP port of the server", minimum=1, maximum=65_535)
    socket_path: str | None = key(
        None, "Unix socket of the server, instead of host and port; null: none"
    )
    username: str = key("", "who logs in; empty: the server's default user")
    password: str = key("", "the password of that user; empty: none", secret=True)
    db: int = key(0, "the number of the database", minimum=0)
    namespace: str = key(
        "futurama", "the beginning of all keys; queues with different namespaces are apart"
    )
    max_open_connection: int = key(
        10, "at most so many connections per instance", unit="connections", minimum=1
    )
    connect_timeout_sec: float = key(
        10.0, "how long connecting may take", unit="s", minimum=0.001, maximum=86_400
    )
    read_timeout_sec: float = key(
        30.0,
        "how long the server may take to answer or to accept data",
        unit="s",
        minimum=0.001,
        maximum=86_400,
    )
    pool_timeout_sec: float = key(
        10.0,
        "how long a call may wait for one of the connections",
        unit="s",
        minimum=0,
        maximum=86_400,
    )
    ssl: bool = key(default=False, doc="encrypt connections, and refuse servers that cannot")
    ssl_ca: str | None = key(
        None, "with ssl: file of certificates to trust besides the system's; null: none"
    )
    ssl_cert: str | None = key(
        None, "with ssl: file of the certificate to show to the server; null: none"
    )
    ssl_key: str | None = key(
        None, "with ssl_cert: file of its private key; null: it is in the same file"
    )
    ssl_verify: bool = key(
        default=True, doc="with ssl: check the server's certificate and host name"
    )
    max_data_bytes: int = key(
        1024 * 1024,
        "longest data of one event, encoded as JSON; the server keeps all of it in memory",
        unit="bytes",
        minimum=1,
        maximum=_MAX_DATA_BYTES,
    )

    def __attrs_post_init__(self) -> None:
        """Raise :class:`ConfigError` if a key has a value that can never work."""
        _check(self)


def _check(settings: RedisSettings) -> None:
    check_host(settings.host, advice="put a port into 'port'", database_key="db")
    if not _NAMESPACE.fullmatch(settings.namespace):
        raise ConfigError(
            "configuration key 'namespace' must be 1 to 64 letters (a-z, A-Z), digits or one of "
            f"_ . : -, got {settings.namespace!r}",
            key="namespace",
        )
    if settings.ssl and settings.socket_path is not None:
        raise ConfigError(
            f"configuration key 'ssl' is true but 'socket_path' is {settings.socket_path!r}: "
            "connections within a machine are not encrypted; remove one of them",
            key="ssl",
        )
    for name in ("ssl_ca", "ssl_cert", "ssl_key"):
        value = getattr(settings, name)
        if value is not None and not settings.ssl:
            raise ConfigError(
                f"configuration key {name!r} is {value!r} but 'ssl' is false: nothing would be "
                "encrypted; set ssl to true",
                key=name,
            )
