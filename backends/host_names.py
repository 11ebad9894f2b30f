"""What may stand in the keys ``host`` and ``hosts``."""

from __future__ import annotations

import ipaddress
import re

from futurama.errors import ConfigError

__all__ = ["NAME", "check_host", "refuse_url"]

NAME = r"[^\s,;:@/\[\]]+"
"""Names of hosts and IPv4 addresses, as a pattern; what else is wrong with a name the resolver finds."""


def check_host(host: str, *, advice: str, database_key: str = "db_name") -> None:
    """Refuse what is not the name or address of one server.

    Args:
        host: the value of the key ``host``.
        advice: where a port goes, and what if there are several servers.
        database_key: the key that names the database.

    Raises:
        ConfigError: shows the value, unless it looks like a URL: that may contain a password.
    """
    refuse_url("host", host, database_key=database_key)
    if not re.fullmatch(NAME, host) and not _is_ipv6(host):
        raise ConfigError(
            f"configuration key 'host' must be one name or address, got {host!r}; {advice}",
            key="host",
        )


def refuse_url(key: str, value: str, *, database_key: str = "db_name") -> None:
    """Refuse a URL without showing it.

    Raises:
        ConfigError: the value of ``key`` is, or contains, something like one.
    """
    if "@" in value or "//" in value:
        raise ConfigError(
            f"configuration key {key!r} has a value with '@' or '//', which is not shown because a "
            "password may be in it; a URL is not accepted: use the keys username, password, host, "
            f"port and {database_key}",
            key=key,
        )


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True
