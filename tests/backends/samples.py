"""Short ways to say what the tests of the SQL backends say often."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from futurama.backend import Claim, EventBackend, NewEvent
from futurama.backends.sql import SQLBackend
from futurama.backends.sql.adding import CREATION
from futurama.times import EARLIEST

__all__ = ["BY_DUE", "T0", "claim_all", "event", "events", "explainable", "seconds", "wait_until"]

T0 = datetime(2030, 1, 1, tzinfo=UTC)
BY_DUE = {"first_due", "claim", "candidates", "first_and_number", "was_taken", "dead_before"}
"""Those of the hot statements that go by the due index; the others go by the primary key."""

_A_SECOND_LATER = T0 + timedelta(seconds=1)


def seconds(number: float) -> timedelta:
    """A timedelta of ``number`` seconds."""
    return timedelta(seconds=number)


def event(event_id: str, *, at: datetime = T0, payload: bytes = b"{}") -> NewEvent:
    """An event of the type ``t``, created at T0."""
    return NewEvent(id=event_id, trigger_type="t", trigger_time=at, payload=payload, created=T0)


def events(number: int) -> list[NewEvent]:
    """Events ``00000``, ``00001`` ... that are due one microsecond after the other."""
    return [event(f"{i:05}", at=T0 + timedelta(microseconds=i)) for i in range(number)]


def claim_all(
    backend: EventBackend, *, now: datetime = _A_SECOND_LATER, limit: int = 10_000
) -> Sequence[Claim]:
    """Claim for a minute what is due at ``now``."""
    batch = backend.claim(
        owner="me", now=now, due_before=now, lease_until=now + seconds(60), limit=limit
    )
    return batch.claims


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for what the server cannot tell by itself: it polls."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


def explainable(backend: SQLBackend, number_of_ids: int) -> dict[str, tuple[str, Any]]:
    """The hot statements as the driver gets them: name -> (SQL, parameters).

    They are executed, and undone.
    """
    statements = backend._statements
    dialect = backend._dialect
    time = dialect.encode_time(T0)
    engine, _ = backend._transactions._opened()
    parameters = {
        "lower": dialect.encode_time(EARLIEST),
        "horizon": time,
        "due_before": time,
        "now": time,
        "lease_until": time,
        "limit": 100,
        "token": b"t" * 16,
        "owner": 1,
        "before": time,
        "after": b"",
        "ids": [f"{7 * i:05}".encode() for i in range(number_of_ids)],
    }
    hot = {
        "first_due": statements.first_due,
        "claim": statements.claim,
        "candidates": statements.candidates,
        "first_and_number": statements.first_and_number,
        "claim_by_id": statements.claim_by_id,
        "claim_by_id_in_turn": statements.claim_by_id_in_turn,
        "take": statements.take,
        "was_taken": statements.was_taken,
        "lock": statements.lock(dialect, "token", "due"),
        "lock_to_add": statements.lock(dialect, *CREATION),
        "set_due": statements.set_due,
        "delete": statements.delete,
        "delete_held": statements.delete_held,
        "taken": statements.taken,
        "revive": statements.revive,
        "dead_before": statements.dead_before,
    }
    sent: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, sql: str, given: Any, *_: Any) -> None:
        sent.append((sql, given))

    with engine.connect() as connection:
        sa.event.listen(connection, "before_cursor_execute", note)
        transaction = connection.begin()
        sent.clear()
        for statement in hot.values():
            connection.execute(statement, parameters)
        transaction.rollback()
    return dict(zip(hot, sent, strict=True))
