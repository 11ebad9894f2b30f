"""How well a server is set up for Futurama."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from futurama.backend import Finding, Verdict
from futurama.backends.redis.errors import answer_code
from futurama.backends.redis.server import Server
from futurama.errors import BackendError, BackendSetupError

__all__ = ["diagnose", "refuse_eviction"]

_LARGE_OFFSET = timedelta(seconds=1)
_OLDEST_VERSION = (6, 2)


def refuse_eviction(server: Server) -> None:
    """Raise :class:`BackendSetupError` if the server may remove events to make room for others.

    Where the server does not say, :func:`diagnose` does.
    """
    policy = _info(server).get("maxmemory_policy", "unknown")
    if policy.startswith("allkeys-"):
        raise BackendSetupError(
            f"{server.place}: the maxmemory-policy is {policy}, with which the server silently "
            "removes events when its memory is full; set it to noeviction",
            backend="redis",
        )


def diagnose(server: Server, server_now: Callable[[], datetime]) -> Sequence[Finding]:
    """Look at the server; change nothing."""
    offset = _clock(server_now)
    info = _info(server)
    if not info:
        return [
            Finding(
                "INFO",
                "not allowed",
                Verdict.ADVICE,
                "let the user run INFO and CONFIG GET to have durability and eviction checked",
            ),
            offset,
        ]
    return [
        _version(info),
        _role(info),
        _cluster(info),
        _append_only_file(info),
        _appendfsync(server, info),
        _replicas(info),
        _eviction(info),
        _memory(info),
        offset,
    ]


def _info(server: Server) -> Mapping[str, str]:
    """What the server says of itself; nothing if it does not talk about that with us."""
    text = _asked(server, "INFO") or b""
    pairs = (line.split(":", 1) for line in text.decode().splitlines() if ":" in line)
    return dict(pairs)


def _asked(server: Server, *command: str) -> Any:
    """The answer to a command, or None if this user may not ask or the server does not know it."""
    try:
        return server.ask(*command)
    except BackendError as error:
        if error.__cause__ is None or answer_code(error.__cause__) is None:
            raise
        return None


def _version(info: Mapping[str, str]) -> Finding:
    version = info.get("redis_version", "unknown")
    value = f"{version}, Valkey {info['valkey_version']}" if "valkey_version" in info else version
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if numbers >= _OLDEST_VERSION:
        return Finding("version", value)
    return Finding(
        "version", value, Verdict.ADVICE, "Futurama is not tried with versions before 6.2; upgrade"
    )


def _role(info: Mapping[str, str]) -> Finding:
    role = info.get("role", "unknown")
    if role == "master":
        return Finding("role", role)
    return Finding(
        "role", role, Verdict.PROBLEM, "replicas take no writes; let host lead to the master"
    )


def _cluster(info: Mapping[str, str]) -> Finding:
    if info.get("cluster_enabled", "0") == "0":
        return Finding("cluster", "no")
    return Finding(
        "cluster",
        "yes",
        Verdict.ADVICE,
        "host must lead to the node with the keys of the namespace: redirections are not followed",
    )


def _append_only_file(info: Mapping[str, str]) -> Finding:
    if info.get("aof_enabled") != "1":
        return Finding(
            "append-only file",
            "no",
            Verdict.PROBLEM,
            "what was acknowledged since the last snapshot is lost when the server or its machine "
            "stops; set appendonly to yes",
        )
    if info.get("aof_last_write_status", "ok") != "ok":
        return Finding(
            "append-only file",
            "cannot be written",
            Verdict.PROBLEM,
            "look at the server's log and its disk",
        )
    return Finding("append-only file", "yes")


def _appendfsync(server: Server, info: Mapping[str, str]) -> Finding:
    if info.get("aof_enabled") != "1":
        return Finding("appendfsync", "no append-only file")
    _, value = _asked(server, "CONFIG", "GET", "appendfsync") or (b"", b"unknown")
    name = value.decode()
    if name == "always":
        return Finding("appendfsync", name)
    return Finding(
        "appendfsync",
        name,
        Verdict.ADVICE,
        "what was acknowledged in the last seconds can be lost when the server's machine crashes, "
        "unless it is always",
    )


def _replicas(info: Mapping[str, str]) -> Finding:
    number = info.get("connected_slaves", "0")
    if number == "0":
        return Finding("replicas", number)
    return Finding(
        "replicas",
        number,
        Verdict.ADVICE,
        "they follow behind: a failover can lose what was acknowledged last; min-replicas-to-write "
        "and min-replicas-max-lag limit how much",
    )


def _eviction(info: Mapping[str, str]) -> Finding:
    policy = info.get("maxmemory_policy", "unknown")
    if policy.startswith("allkeys-"):
        return Finding(
            "maxmemory-policy",
            policy,
            Verdict.PROBLEM,
            "the server silently removes events when its memory is full; set it to noeviction",
        )
    return Finding("maxmemory-policy", policy)


def _memory(info: Mapping[str, str]) -> Finding:
    used = info.get("used_memory_human", "unknown")
    if info.get("maxmemory", "0") != "0":
        return Finding("memory", f"{used} of {info.get('maxmemory_human', 'unknown')}")
    return Finding(
        "memory",
        f"{used}, no limit",
        Verdict.ADVICE,
        "set maxmemory: a full server then refuses events, instead of being killed",
    )


def _clock(server_now: Callable[[], datetime]) -> Finding:
    before = datetime.now(UTC)
    server = server_now()
    after = datetime.now(UTC)
    offset = server - (before + (after - before) / 2)
    value = f"{offset.total_seconds():+.3f} s against this machine"
    if abs(offset) < _LARGE_OFFSET:
        return Finding("clock", value)
    return Finding(
        "clock",
        value,
        Verdict.ADVICE,
        "events run by the server's clock; let NTP set the clocks of both machines",
    )
