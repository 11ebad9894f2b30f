"""What is made of calls and claims around a snapshot."""

from __future__ import annotations

from array import array

from benchmarks.instances import Record, TimedClaim
from benchmarks.snapshot import Phase, Production, Snapshot, phases

SECOND = 1_000_000


def test_phases_are_told_apart() -> None:
    """Each call and each claim counts in the phase of its time, whichever instance made it."""
    first = Record(array("i", [0, 2, 4]), array("q", [10, 0, 12, 0, 14, 0]))
    second = Record(array("i", [1, 3, 5]), array("q", [0, 11, 0, 13, 0, 15]))
    first.claims = [TimedClaim(100 * SECOND, 1), TimedClaim(102 * SECOND, 2)]
    second.claims = [TimedClaim(104 * SECOND, 3), TimedClaim(105 * SECOND, 4)]
    production = Production(begin_us=100 * SECOND, interval_us=SECOND, least_ahead_ms=400)
    assert phases([first, second], production, Snapshot(103 * SECOND, 105 * SECOND)) == (
        Phase([12], [2]),  # what was due in the first two seconds warmed up
        Phase([14, 13], [3]),
        Phase([15], [4]),
    )
