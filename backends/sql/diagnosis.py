"""What is looked at on every database server."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from futurama.backend import Finding, Verdict

__all__ = ["asked_for", "clock"]

_LARGE_OFFSET = timedelta(seconds=1)


def asked_for(name: str, value: str, wanted: str) -> Finding:
    """Whether a session has what the backend sets in each of its sessions."""
    if value == wanted:
        return Finding(name, value)
    return Finding(
        name,
        value,
        Verdict.PROBLEM,
        f"sessions ask for {wanted} and do not get it; look for a proxy that resets sessions",
    )


def clock(connection: sa.Connection, server_now: Callable[[sa.Connection], datetime]) -> Finding:
    """How far the server's clock is from this machine's."""
    before = datetime.now(UTC)
    server = server_now(connection)
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
