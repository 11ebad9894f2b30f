"""Whoever asks is answered soon, unless something is wrong with the instance or the event."""

from __future__ import annotations

from collections.abc import Iterator

from futurama.conformance.history import UNKNOWN
from futurama.conformance.promises import Breach, Promise
from tests.faults.record import FAILED, Operation
from tests.simulation.faults import LEASE_US
from tests.simulation.journal import Diary, Journal

__all__ = ["tried"]

_ASKED = {"create", "ask to cancel", "ask to move"}

_PATIENCE_NS = 1000 * LEASE_US
"""Far longer than everything that is not noted as a fault: a few waits for locks of others."""


def tried(journal: Journal, *, excuses_errors: bool) -> Iterator[Breach]:
    """Where the patience of clients was tried for nothing.

    Args:
        journal: of all machines.
        excuses_errors: whether anybody may have met an error that is not noted as a fault.
    """
    for diary in journal.diaries:
        for number, one in enumerate(diary.operations()):
            if one.what in _ASKED:
                end = diary.doubts.get(number, one.end)
                if not _is_excused(one, end, diary, journal):
                    for why in _complaints(one, end, journal, excuses_errors=excuses_errors):
                        event_id = one.arguments["event_id"]
                        yield Breach(Promise.STUCK, event_id, f"{one.process}: {one.what}: {why}")


def _complaints(
    one: Operation, end: int, journal: Journal, *, excuses_errors: bool
) -> Iterator[str]:
    waited_ns = min(end, journal.world.stamp()) - one.start
    if waited_ns > _PATIENCE_NS:
        yield f"the answer took {waited_ns / 1e6:.3f} ms, and nothing was wrong"
    elif one.outcome in {FAILED, UNKNOWN} and not excuses_errors:
        yield "the answer was an error, and nothing was wrong"


def _is_excused(one: Operation, end: int, diary: Diary, journal: Journal) -> bool:
    """Whether a fault has hit the instance or the event meanwhile, or the instance has stopped."""
    if diary.leaves_at is not None and diary.leaves_at < end:
        return True
    return any(
        each.start < end
        and each.end > one.start
        and each.instance in {None, one.process}
        and each.event_id in {None, one.arguments["event_id"]}
        for other in journal.diaries
        for each in other.disturbances
    )
