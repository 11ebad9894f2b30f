"""How many events are claimed at once: what is called within a moment."""

from __future__ import annotations

import pytest

from futurama.claim_size import ClaimSize


def sizes(size: ClaimSize, *claims: tuple[int, int]) -> list[int]:
    """The size after each of some full claims, each drained to so many calls after so many ms."""
    seen, now_us, waiting = [], 0, 0
    for after_ms, left in claims:
        waiting += size.size
        size.was_filled(now_us=now_us, waiting=waiting)
        now_us += after_ms * 1_000
        waiting = left
        size.has_room(now_us=now_us, waiting=waiting)
        seen.append(size.size)
    return seen


def test_claims_grow_while_calls_are_quick() -> None:
    """P8: a backlog of brief calls is claimed in the largest portions allowed."""
    assert sizes(ClaimSize(least=32, most=1_000), *[(100, 10)] * 4) == [256, 512, 1_000, 1_000]


def test_claims_shrink_while_calls_are_slow() -> None:
    """P8: what this instance cannot call soon is left to others."""
    assert sizes(ClaimSize(least=32, most=1_000), *[(900, 10)] * 3) == [64, 32, 32]


def test_what_lies_ahead_proves_nothing() -> None:
    """P8: claims of events that are not due yet follow each other, whatever their calls will take."""
    assert sizes(ClaimSize(least=32, most=1_000), *[(5, 128 * n) for n in range(1, 5)]) == [128] * 4


@pytest.mark.parametrize(("least", "most", "first"), [(32, 5, 5), (500, 1_000, 500), (1, 90, 90)])
def test_bounds_of_the_configuration_hold(least: int, most: int, first: int) -> None:
    """consumer_select_limit is never exceeded, and each worker can have a call that follows."""
    assert ClaimSize(least=least, most=most).size == first


def test_partial_claims_change_nothing() -> None:
    """An instance that keeps up needs no other size."""
    size = ClaimSize(least=32, most=1_000)
    size.has_room(now_us=10**9, waiting=0)
    assert size.size == 128
