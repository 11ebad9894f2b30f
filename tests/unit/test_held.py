"""The claims that an instance holds: each call at its time, and none that must not start."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from datetime import timedelta

import pytest

from futurama.backoff import RetryPolicy
from futurama.events import Event
from futurama.held import Held, HeldClaims, Phase
from futurama.times import to_us
from futurama.triggers import BoundTrigger, bind
from tests.unit.support import PATIENCE_SECONDS, SECOND, START, Background, new_claim

START_US = to_us(START)
LEASE_US = 30_000_000
MARGIN_US = 10_000_000


async def _coroutine(_: Event) -> None:
    """A trigger whose calls are not made by the threads that take them."""


BOUND = bind({"function": print, "coroutine": _coroutine}, {}, RetryPolicy())


class Clock:
    """Time that a test moves; the timer's origin is another one than the clock's."""

    def __init__(self) -> None:
        self.us = 0

    def monotonic_us(self) -> int:
        return 7_000_000 + self.us

    def at(self, monotonic_us: int) -> int:
        return START_US + monotonic_us - 7_000_000


@pytest.fixture
def clock() -> Clock:
    """Stands at START."""
    return Clock()


@pytest.fixture
def held(clock: Clock) -> HeldClaims:
    """Nothing is held yet."""
    return HeldClaims(
        BOUND, monotonic_us=clock.monotonic_us, backend_us=clock.at, margin_us=MARGIN_US
    )


def hold(
    held: HeldClaims,
    clock: Clock,
    *due_seconds: float,
    lease_us: int = LEASE_US,
    trigger_type: str = "function",
) -> list[Held]:
    """Hold one claim for each of these times after START."""
    claims = [
        new_claim(due=START + timedelta(seconds=seconds), trigger_type=trigger_type)
        for seconds in due_seconds
    ]
    held.add(claims, lease_end_us=clock.monotonic_us() + lease_us)
    return [held._by_id[claim.id] for claim in claims]


def test_never_early_always_in_order(held: HeldClaims, clock: Clock) -> None:
    """P2: a call is handed out at its very microsecond, not one before, the earliest first."""
    late, early, same = hold(held, clock, 2, 1, 1)
    clock.us = 999_999
    assert held.next_now() is None
    assert held.seconds_to_next() == pytest.approx(1e-6)
    clock.us = 1_000_000
    assert [held.next_now(), held.next_now(), held.next_now()] == [early, same, None]
    clock.us = 1_999_999
    assert held.next_now() is None
    clock.us = 2_000_000
    assert held.next_now() is late
    assert held.seconds_to_next() == math.inf


def test_a_clock_that_goes_back_makes_nothing_early(held: HeldClaims, clock: Clock) -> None:
    """P2: whatever the clock did before, only what is due by it now is handed out."""
    (one,) = hold(held, clock, 1)
    clock.us = -5_000_000
    assert held.next_now() is None
    assert held.seconds_to_next() == 6
    clock.us = 1_000_000
    assert held.next_now() is one


@pytest.mark.parametrize(
    ("left_us", "starts"), [(MARGIN_US, True), (MARGIN_US - 1, False), (0, False), (-1, False)]
)
def test_no_call_starts_in_the_last_part_of_a_lease(
    held: HeldClaims,
    clock: Clock,
    left_us: int,
    starts: bool,  # noqa: FBT001 -- a column of the table
) -> None:
    """P3: a call starts only while the margin or more is left of its lease."""
    (one,) = hold(held, clock, 0)
    (later,) = hold(held, clock, 0, trigger_type="coroutine")
    clock.us = LEASE_US - left_us
    if starts:
        assert held.next_now() is one
    assert held.next_now() is later, "a coroutine starts its call itself"
    assert held.start(later) is starts
    assert one.phase is later.phase is (Phase.STARTED if starts else Phase.PARKED)


def test_a_parked_call_starts_after_a_renewal(held: HeldClaims, clock: Clock) -> None:
    """P3: what was due with too little of its lease left waits for the renewal, then starts."""
    (one,) = hold(held, clock, 0)
    clock.us = LEASE_US - 1
    assert held.next_now() is None
    assert held.next_now() is None, "a parked call is not handed out"
    held.renewed(one, lease_end_us=clock.monotonic_us() + LEASE_US)
    assert held.next_now() is one
    assert one.phase is Phase.STARTED


def test_a_call_starts_once(held: HeldClaims, clock: Clock) -> None:
    """P5: the second attempt to start the same call fails."""
    (one,) = hold(held, clock, 0)
    assert held.start(one)
    assert not held.start(one)


def test_withdrawn_calls_never_start(held: HeldClaims, clock: Clock) -> None:
    """P6: once withdrawn, a call is neither handed out nor started, even if it was handed out."""
    in_heap, in_hand = hold(held, clock, 1, 0, trigger_type="coroutine")
    assert held.next_now() is in_hand
    assert held.withdraw(in_hand.claim.id) is in_hand
    assert held.withdraw(in_heap.claim.id) is in_heap
    clock.us = 2_000_000
    assert held.next_now() is None
    assert not held.start(in_hand)
    assert len(held) == 2, "both are held, and renewed, until the backend knows"


def test_a_started_call_cannot_be_withdrawn(held: HeldClaims, clock: Clock) -> None:
    """P6: after the start it is too late, and it is too late for what is not held, too."""
    (one,) = hold(held, clock, 0)
    held.start(one)
    assert held.withdraw(one.claim.id) is None
    assert held.withdraw("unknown") is None


def test_restored_calls_are_called_once(held: HeldClaims, clock: Clock) -> None:
    """P5: to withdraw and restore, before or after it was handed out, makes no second call."""
    (one,) = hold(held, clock, 0, trigger_type="coroutine")
    held.withdraw(one.claim.id)
    held.restore(one)
    held.restore(one)
    assert held.next_now() is None, "only a renewal can tell whether it is still held"
    held.renewed(one, lease_end_us=clock.monotonic_us() + LEASE_US)
    handed_out = [held.next_now(), held.next_now(), held.next_now()]
    assert handed_out.count(one) >= 1
    assert [held.start(each) for each in handed_out if each].count(True) == 1


def test_what_is_forgotten_stays_forgotten(held: HeldClaims, clock: Clock) -> None:
    """P4: a lost claim is neither called nor restored."""
    (one,) = hold(held, clock, 0)
    held.withdraw(one.claim.id)
    held.forget([one])
    held.restore(one)
    assert held.next_now() is None
    assert not held.start(one)
    assert len(held) == 0


def test_a_claim_on_the_same_event_replaces_the_former(held: HeldClaims, clock: Clock) -> None:
    """P4: forgetting an old claim does not forget the new one on the same event."""
    old_claim, new = new_claim("same", due=START), new_claim("same", due=START)
    held.add([old_claim], lease_end_us=clock.monotonic_us() + LEASE_US)
    old = held._by_id["same"]
    held.add([new], lease_end_us=clock.monotonic_us() + LEASE_US)
    held.forget([old])
    assert len(held) == 1
    assert held.withdraw("same") is not old


def test_withdraw_all_leaves_what_runs(held: HeldClaims, clock: Clock) -> None:
    """Stopping withdraws what has not started, and nothing twice."""
    waiting, running, parked = hold(held, clock, 5, 0, 0)
    held.start(running)
    clock.us = LEASE_US
    held.start(parked)
    assert set(held.withdraw_all()) == {waiting, parked}
    assert held.withdraw_all() == []


def test_what_is_to_be_renewed(held: HeldClaims, clock: Clock) -> None:
    """Whatever is held is renewed in time: before, during and after its call, and when withdrawn."""
    first = hold(held, clock, 0, 0, 5)
    held.start(first[0])
    held.withdraw(first[2].claim.id)
    clock.us = 1_000_000
    hold(held, clock, 0)
    end_us = first[0].lease_end_us
    assert held.earliest_lease_end_us() == end_us
    assert set(held.to_renew(older_than_us=end_us + 1)) == set(first)
    assert held.to_renew(older_than_us=end_us) == []


def test_being_behind(held: HeldClaims, clock: Clock) -> None:
    """P8: an instance is behind when many calls wait and the first is late, not by one of both."""
    hold(held, clock, 0, 0, 0)
    clock.us = 50_000
    assert not held.is_behind(count=3, lateness_us=50_000)
    clock.us = 50_001
    assert held.is_behind(count=3, lateness_us=50_000)
    assert not held.is_behind(count=4, lateness_us=50_000)


# -- with threads and the real clock ---------------------------------------------------------------


def real_held(bound: Mapping[str, BoundTrigger] = BOUND) -> HeldClaims:
    """With the real time, counted from START."""
    origin = time.monotonic_ns()

    def now_us() -> int:
        return START_US + (time.monotonic_ns() - origin) // 1000

    return HeldClaims(bound, monotonic_us=now_us, backend_us=lambda us: us, margin_us=0)


def test_every_call_is_taken_once_by_some_thread() -> None:
    """P5: many waiting threads take all calls between them, each once and none early."""
    held = real_held()
    taken: list[tuple[Held, int]] = []
    changed = threading.Condition()

    def work() -> None:
        while (one := held.next()) is not None:
            assert one.phase is Phase.STARTED
            with changed:
                taken.append((one, held._now_us() - one.due_us))
                changed.notify_all()

    threads = [Background(work) for _ in range(8)]
    claims = [new_claim(due=START + n * SECOND / 2000) for n in range(400)]
    for start in range(0, 400, 40):
        held.add(claims[start : start + 40], lease_end_us=START_US + 60_000_000)
    with changed:
        assert changed.wait_for(lambda: len(taken) == 400, PATIENCE_SECONDS)
    held.close()
    for thread in threads:
        thread.result()
    assert sorted(one.claim.id for one, _ in taken) == sorted(claim.id for claim in claims)
    assert min(lateness for _, lateness in taken) >= 0


def test_an_earlier_call_wakes_the_watcher() -> None:
    """Whoever waits for an event in an hour is woken by one that is due at once."""
    held = real_held()
    held.add([new_claim(due=START + 3600 * SECOND)], lease_end_us=START_US + 10**12)
    waiting = [Background(held.next) for _ in range(3)]
    soon = new_claim(due=START)
    held.add([soon], lease_end_us=START_US + 10**12)
    first_done = threading.Event()
    for _ in range(1000):
        done = [thread for thread in waiting if not thread.is_alive()]
        if done:
            break
        first_done.wait(0.005)
    assert [thread.result().claim for thread in done] == [soon]
    held.close()
    assert [thread.result() for thread in waiting if thread not in done] == [None, None]


def test_a_busy_thread_does_not_delay_others() -> None:
    """P9: while one call hangs, the next one is taken by another thread at its time."""
    held = real_held()
    hanging, second = threading.Event(), threading.Event()

    def work() -> None:
        while held.next() is not None:
            if not second.is_set() and not hanging.is_set():
                hanging.set()
                assert second.wait(PATIENCE_SECONDS)
            else:
                second.set()

    threads = [Background(work) for _ in range(2)]
    held.add([new_claim(due=START), new_claim(due=START)], lease_end_us=START_US + 10**12)
    assert second.wait(PATIENCE_SECONDS)
    held.close()
    for thread in threads:
        thread.result()


def test_a_brief_call_that_hangs_does_not_delay_others() -> None:
    """P9: who was expected back at once and is not is replaced, by a thread that was waiting."""
    bound = bind({"function": print}, {}, RetryPolicy())
    held = real_held(bound)
    for _ in range(1_000):
        held._usual["function"].record(5)
    waiting = [Background(held.next) for _ in range(3)]
    soon = [new_claim(due=START, trigger_type="function") for _ in range(3)]
    held.add(soon, lease_end_us=START_US + 10**12)
    taken = [thread.result() for thread in waiting]
    assert {one.claim.id for one in taken if one} == {claim.id for claim in soon}


def test_close_ends_all_waiting() -> None:
    """Stopping does not wait for calls that lie ahead."""
    held = real_held()
    held.add([new_claim(due=START + 3600 * SECOND)], lease_end_us=START_US + 10**12)
    threads = [Background(held.next) for _ in range(4)]
    held.close()
    assert [thread.result() for thread in threads] == [None] * 4


def test_an_abandoned_claim_is_not_renewed(held: HeldClaims, clock: Clock) -> None:
    """A call for which nobody waits keeps its claim only until its lease ends; others are renewed."""
    abandoned, waiting = hold(held, clock, 0, 5)
    assert held.next_now() is abandoned
    held.abandon(abandoned)
    held.abandon(waiting)
    assert (abandoned.phase, waiting.phase) == (Phase.ABANDONED, Phase.WAITING)
    clock.us += LEASE_US
    assert held.to_renew(older_than_us=clock.monotonic_us() + 1) == [waiting]
    assert held.withdraw(abandoned.claim.id) is None
    held.forget([waiting])
    assert held.earliest_lease_end_us() is None


def test_what_is_to_be_given_back_is_held_but_not_called(held: HeldClaims, clock: Clock) -> None:
    """P4: its lease is renewed until that was reported, and no call starts meanwhile."""
    claim, other = new_claim(), new_claim()
    [withdrawn] = held.add_withdrawn([claim], lease_end_us=clock.monotonic_us() + LEASE_US)
    assert held.next_now() is None
    assert held.to_renew(older_than_us=clock.monotonic_us() + 2 * LEASE_US) == [withdrawn]
    assert [held.holds(each) for each in (claim, other)] == [True, False]
    held.forget([withdrawn])
    assert not held.holds(claim)


def test_a_later_claim_is_another_one(held: HeldClaims, clock: Clock) -> None:
    """P4: of two claims on one event the former is not held any more."""
    former, later = new_claim("a"), new_claim("a", attempt=2)
    for claim in former, later:
        held.add([claim], lease_end_us=clock.monotonic_us() + LEASE_US)
    assert [held.holds(each) for each in (former, later)] == [False, True]
