"""After everyone has stopped: what is left can be handed out, all of it and in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final

from futurama.backend import ClaimBatch, EventBackend, StoredEvent
from futurama.conformance.failure import LawBroken
from futurama.conformance.history import UNKNOWN, Kind, Step
from futurama.conformance.literals import as_python
from futurama.conformance.strategies import START

__all__ = ["drain"]

_BATCH = 3
"""Few, so that what the index of dues has is not passed over unseen."""
_NOW: Final = START + timedelta(days=365)
"""Whatever a worker stored is due by then."""
_LEASE_UNTIL: Final = _NOW + timedelta(days=1)


def drain(backend: EventBackend, history: Iterable[Step]) -> None:
    """Claim everything that is left.

    Args:
        backend: that nobody else uses any more.
        history: what was done to it, and what was seen in the end.

    Raises:
        LawBroken: what is handed out is not exactly the live events that were seen.
    """
    steps = list(history)
    if any(step.outcome is UNKNOWN for step in steps):
        return  # such a call may still take effect
    seen = [step.outcome for step in steps if step.kind is Kind.READ]
    live = sorted((event for event in seen if event and event.due), key=_position)
    batches = _claim_all(backend, len(live))
    _check_ids(live, batches)
    _check_next_due(live, batches)


def _claim_all(backend: EventBackend, number: int) -> Sequence[ClaimBatch]:
    """What is handed out until nothing is; there are so many events."""
    batches: list[ClaimBatch] = []
    while len(batches) <= number:
        batches.append(
            backend.claim(
                owner="heir", now=_NOW, due_before=_NOW, lease_until=_LEASE_UNTIL, limit=_BATCH
            )
        )
        if not batches[-1].claims:
            break
    return batches


def _check_ids(live: Sequence[StoredEvent], batches: Sequence[ClaimBatch]) -> None:
    expected = [event.id for event in live]
    actual = [claim.id for batch in batches for claim in batch.claims]
    missing = Counter(expected) - Counter(actual)
    surplus = Counter(actual) - Counter(expected)
    if missing or surplus:
        raise LawBroken(
            "concurrency.nothing-lost",
            expected="when all have stopped, claim() hands out each live event that find() shows: "
            + ", ".join(sorted(expected)),
            actual=f"never handed out: {_names(missing)}; handed out without being shown, or once "
            f"too often: {_names(surplus)}",
        )
    if actual != expected:
        raise LawBroken(
            "claim.order",
            expected=f"when all have stopped, claim() hands out by (due, id): {as_python(expected)}",
            actual=actual,
        )


def _names(ids: Iterable[str]) -> str:
    return ", ".join(sorted(ids)) or "none"


def _check_next_due(live: Sequence[StoredEvent], batches: Sequence[ClaimBatch]) -> None:
    handed_out = 0
    for batch in batches:
        handed_out += len(batch.claims)
        expected = live[handed_out].due if handed_out < len(live) else None
        if expected is None and live:
            expected = _LEASE_UNTIL
        if batch.next_due != expected:
            raise LawBroken(
                "claim.next-due",
                expected=f"when all have stopped and {handed_out} of {len(live)} events were "
                f"claimed, next_due={as_python(expected)}",
                actual=batch.next_due,
            )


def _position(event: StoredEvent) -> tuple[object, ...]:
    return (event.due, event.id.encode())
