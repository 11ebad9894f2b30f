"""Short ways to say what the tests of the SQL backends say often."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from futurama.backend import Claim, EventBackend, NewEvent
from futurama.backends.sql import SQLBackend

__all__ = ["T0", "claim_all", "event", "events", "explainable", "seconds"]

T0 = datetime(2030, 1, 1, tzinfo=UTC)


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
    backend: EventBackend, *, now: datetime = T0 + seconds(1), limit: int = 10_000
) -> Sequence[Claim]:
    """Claim for a minute what is due at ``now``."""
    batch = backend.claim(
        owner="me", now=now, due_before=now, lease_until=now + seconds(60), limit=limit
    )
    return batch.claims


def explainable(backend: SQLBackend, number_of_ids: int) -> dict[str, tuple[str, Any]]:
    """The hot statements as the driver gets them: name -> (SQL, parameters)."""
    statements = backend._statements
    dialect = backend._dialect
    time = dialect.encode_time(T0)
    engine, _ = backend._transactions._opened()
    parameters = {
        "horizon": time,
        "due_before": time,
        "now": time,
        "lease_until": time,
        "limit": 100,
        "token": b"t" * 16,
        "owner": b"me",
        "ids": [f"{7 * i:05}".encode() for i in range(number_of_ids)],
    }
    hot = {
        "first_due": statements.first_due,
        "claim": statements.claim,
        "claim_candidates": statements.claim_candidates,
        "take": statements.take,
        "was_taken": statements.was_taken,
        "lock": statements.lock(dialect, "token", "due"),
        "set_due": statements.set_due,
        "delete": statements.delete,
        "delete_held": statements.delete_held,
    }
    result: dict[str, tuple[str, Any]] = {}
    for name, statement in hot.items():
        compiled = statement.compile(
            dialect=engine.dialect, compile_kwargs={"render_postcompile": True}
        )
        given = compiled.construct_params(
            {k: parameters[k] for k in compiled.params if k in parameters}
        )
        is_positional = compiled.positiontup is not None
        result[name] = (
            compiled.string,
            tuple(given[k] for k in compiled.positiontup or ()) if is_positional else given,
        )
    return result
