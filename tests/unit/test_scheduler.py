"""An instance at work: claiming, leases, wake-ups, stopping; in virtual time."""

from __future__ import annotations

import logging
import threading
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from futurama import Event, Queue
from futurama.backend import ClaimBatch, SettlementKind, State
from futurama.backends.memory import MemoryBackend
from futurama.testing import VirtualQueue
from futurama.times import ceil_to
from tests.unit.support import (
    LAWS,
    MICROSECOND,
    MILLISECOND,
    SECOND,
    START,
    World,
    afterwards,
    fails,
    fails_after,
    meanwhile,
    memory_config,
    new_event,
    unavailable,
    unknown,
)

LEASE = timedelta(seconds=31)


# -- when calls are made ---------------------------------------------------------------------------


@given(st.lists(st.integers(0, 10_000_000), min_size=1, max_size=30))
@LAWS
def test_every_call_at_its_very_time(delays_us: list[int]) -> None:
    """P2, P5: each event is called once, in order, in the very microsecond that it is due."""
    world = World()
    queue = world.queue()
    for number, delay_us in enumerate(delays_us):
        queue.create("note", delay_us * MICROSECOND, id=str(number))
    queue.advance(11 * SECOND)
    assert sorted(world.called_ids, key=int) == [str(n) for n in range(len(delays_us))]
    assert [when for when, _ in world.calls] == [event.trigger_time for _, event in world.calls]
    assert queue.stats()["succeeded"] == len(delays_us)
    assert world.memory.count()[State.WAITING] == 0


def test_an_event_of_the_past_is_called_at_once(world: World) -> None:
    """In the past means now."""
    queue = world.queue()
    queue.create("note", datetime.min.replace(tzinfo=START.tzinfo))
    queue.advance(timedelta(0))
    assert len(world.calls) == 1


def test_coarse_stores_make_events_late_not_early(world: World) -> None:
    """P2: on a store of whole seconds an event is called up to a second late, never early."""
    queue = world.queue()
    resolution = SECOND
    for us in (1, 250_000, 999_999, 1_000_000):
        wanted = START + us * MICROSECOND
        stored = ceil_to(wanted, resolution)
        world.memory.add([new_event(f"{us}", due=stored)], if_exists="raise")
    queue.advance(3 * SECOND)
    for when, event in world.calls:
        assert timedelta(0) <= when - (START + int(event.id) * MICROSECOND) < resolution


@pytest.mark.parametrize("jump", [timedelta(hours=-2), timedelta(hours=2)])
def test_a_local_clock_that_jumps_changes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, jump: timedelta
) -> None:
    """P2: neither a skewed local wall clock nor its jumps move a call."""
    true_us = type(world.time).wall_us
    wrong_us = 0
    monkeypatch.setattr(type(world.time), "wall_us", lambda self: true_us(self) + wrong_us)
    queue = world.queue()
    queue.create("note", 100 * SECOND)
    queue.advance(50 * SECOND)
    wrong_us = jump // MICROSECOND
    queue.advance(50 * SECOND - MICROSECOND)
    assert world.calls == []
    queue.advance(MICROSECOND)
    assert len(world.calls) == 1
    assert queue.stats()["clock_skew_ms"] == -jump / MILLISECOND


def test_the_backends_clock_rules(world: World) -> None:
    """P2: when the backend's clock is set back, calls wait until *it* shows their time."""
    offset = timedelta(0)
    world.memory._now = lambda: world.time.now() + offset
    queue = world.queue()
    queue.create("note", START + 100 * SECOND)
    queue.advance(30 * SECOND)
    offset = -60 * SECOND
    queue.advance(120 * SECOND)
    assert world.calls == []
    queue.advance(15 * SECOND)
    assert [when for when, _ in world.calls] == [START + 160 * SECOND]


# -- claiming --------------------------------------------------------------------------------------


def answers_late(world: World, seconds: float) -> None:
    """Let what the backend's clock shows be that much older when it arrives."""

    def now() -> datetime:
        seen = world.time.now()
        world.time.sleep(seconds)
        return seen

    world.memory._now = now


def test_a_lease_ends_here_before_it_ends_in_the_backend(world: World) -> None:
    """P3: however late the backend's clock is seen, nobody else is given what may still be called here."""
    asked: list[datetime] = []
    for operation in ("claim", "renew"):
        world.backend.plan(operation, *[meanwhile(lambda: asked.append(world.time.now()))] * 100)
    answers_late(world, 0.7)
    queue = world.queue(consumer_lock_timeout_sec=2, consumer_time_window_sec=0.6)
    event_id = queue.create("note", 10 * SECOND)
    queue.advance(9900 * MILLISECOND)
    stored = world.stored(event_id)
    assert stored is not None
    assert stored.state is State.CLAIMED
    assert stored.due is not None
    assert stored.due >= asked[-1] + 2 * SECOND


@pytest.mark.parametrize(("seconds", "warnings"), [(0.5, 0), (0.7, 1)])
def test_a_backend_too_far_away_for_the_lease(
    world: World, caplog: pytest.LogCaptureFixture, seconds: float, warnings: int
) -> None:
    """A round trip of more than a quarter of a lease is said, once, with the lease that would do."""
    answers_late(world, seconds)
    queue = world.queue(consumer_lock_timeout_sec=2)
    queue.advance(60 * SECOND)
    said = [each for each in caplog.messages if "much of a lease of 2" in each]
    assert len(said) == warnings
    assert all("consumer_lock_timeout_sec to at least 3 " in each for each in said)


def test_claims_are_late_and_few(world: World) -> None:
    """An event is claimed within the look-ahead of its time, not before: so cancel stays strong."""
    queue = world.queue(consumer_sleep_msec=60_000, consumer_time_window_sec=0.25)
    event_id = queue.create("note", 10 * SECOND)
    queue.advance(9774 * MILLISECOND)
    stored = world.stored(event_id)
    assert stored is not None
    assert stored.state is State.WAITING
    queue.advance(2 * MILLISECOND)
    stored = world.stored(event_id)
    assert stored is not None
    assert stored.state is State.CLAIMED
    assert world.calls == []


def test_neighbours_are_claimed_together(world: World) -> None:
    """A tenth of the look-ahead gathers, so a steady stream costs few transactions."""
    queue = world.queue(consumer_sleep_msec=60_000, consumer_time_window_sec=0.25)
    queue.create_many([("note", SECOND + n * 5 * MILLISECOND) for n in range(200)])
    queue.advance(3 * SECOND)
    assert len(world.calls) == 200
    assert all(when == event.trigger_time for when, event in world.calls)
    assert world.backend.counts["claim"] < 200 / 5 + 5


def test_an_event_created_during_a_claim_is_not_missed(world: World) -> None:
    """What is stored while the backend looks for due events is found by a second look."""
    queue = world.queue(consumer_sleep_msec=60_000)
    queue.advance(SECOND)

    def create() -> None:
        queue.create("note", 10 * SECOND)

    world.backend.plan("claim", afterwards(create))
    queue.advance(80 * SECOND)
    assert [when - event.trigger_time for when, event in world.calls] == [timedelta(0)]


def test_creating_wakes_the_instance(world: World) -> None:
    """A local event that is due before the next look is called in time, not at the next look."""
    queue = world.queue(consumer_sleep_msec=60_000)
    queue.advance(SECOND)
    looks = world.backend.counts["claim"]
    queue.create("note", 10 * SECOND)
    queue.create("note", 3600 * SECOND)
    queue.advance(9 * SECOND)
    assert world.backend.counts["claim"] <= looks + 2, "it looks when there is something to see"
    queue.advance(SECOND)
    assert [when for when, _ in world.calls] == [START + 11 * SECOND]


def test_events_of_others_are_found_by_polling(world: World) -> None:
    """What another process has stored is called at most one poll interval late."""
    queue = world.queue(consumer_sleep_msec=120_000)
    queue.advance(10 * SECOND + 1 * MILLISECOND)
    world.memory.add([new_event("theirs", due=world.time.now())], if_exists="raise")
    queue.advance(60 * SECOND)
    assert world.called_ids == []
    queue.advance(60 * SECOND)
    assert world.called_ids == ["theirs"]


def test_an_idle_instance_rests(world: World) -> None:
    """P8: with nothing to do an instance asks the backend no more than 15 times a second."""
    queue = world.queue(consumer_sleep_msec=100)
    queue.advance(SECOND)
    before = world.backend.counts.total()
    queue.advance(60 * SECOND)
    assert world.backend.counts.total() - before <= 15 * 60


def test_a_held_instance_rests(world: World) -> None:
    """P8: holding claims costs a renewal per third of the lease, not more."""
    queue = world.queue(consumer_time_window_sec=10)
    for _ in range(10):
        queue.create("note", 9 * SECOND)
    before = world.backend.counts["renew"]
    queue.advance(8 * SECOND)
    assert world.backend.counts["renew"] == before


def test_held_claims_are_bounded(world: World) -> None:
    """P8: an instance never holds more than max_scheduled_events, and still calls all of them."""
    most = 0

    def trigger(event: Event) -> None:
        nonlocal most
        most = max(most, queue.stats()["held"])
        world.note(event)

    queue = world.queue({"note": trigger}, max_scheduled_events=7, consumer_select_limit=5)
    queue.create_many([("note", n * MILLISECOND) for n in range(100)])
    queue.advance(10 * SECOND)
    assert len(set(world.called_ids)) == len(world.calls) == 100
    assert most == 7


def test_being_full_means_backpressure(world: World) -> None:
    """P8: while nothing can be reported the instance holds what it may, and claims no more."""
    queue = world.queue(max_scheduled_events=7)
    world.backend.broken = {"settle"}
    world.backend.outage = unavailable
    queue.create_many([("note", SECOND)] * 20)
    queue.advance(10 * SECOND)
    assert len(world.calls) == 7
    assert queue.stats()["held"] == queue.stats()["unreported"] == 7
    assert world.memory.count() == {State.WAITING: 13, State.CLAIMED: 7, State.DEAD: 0}
    world.backend.outage = None
    queue.advance(10 * SECOND)
    assert len(set(world.called_ids)) == len(world.calls) == 20


def test_reports_do_not_rest_while_the_instance_is_full(world: World) -> None:
    """P8: what is called makes room at once for what waits in the backend."""
    queue = world.queue(max_scheduled_events=2)
    slow = meanwhile(lambda: world.time.sleep(0.005))
    world.backend.plan("settle", *[slow] * 20)
    due = world.time.now() + SECOND
    queue.create_many([("note", due)] * 20)
    queue.advance(10 * SECOND)
    assert len(world.calls) == 20
    assert world.calls[-1][0] - due <= 20 / 2 * 5 * MILLISECOND


def test_calls_are_measured_by_type(world: World) -> None:
    """What a slow type takes says nothing about the others."""
    queue = world.queue({"note": world.note, "slow": lambda _: world.time.sleep(0.005)})
    queue.create_many([("note", SECOND), ("slow", SECOND)] * 300)
    queue.advance(10 * SECOND)
    scheduler = queue._scheduler
    assert scheduler is not None
    brief = {name: usual.is_brief for name, usual in scheduler._held._usual.items()}
    assert brief == {"note": True, "slow": False}


def test_claim_batches_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """P8: no claim asks for more than consumer_select_limit."""
    limits: list[int] = []
    claim = world.memory.claim

    def spy(**arguments: Any) -> ClaimBatch:
        limits.append(arguments["limit"])
        return claim(**arguments)

    monkeypatch.setattr(world.memory, "claim", spy)
    queue = world.queue(consumer_select_limit=3)
    queue.create_many([("note", SECOND)] * 10)
    queue.advance(5 * SECOND)
    assert len(world.calls) == 10
    assert max(limits) == 3


# -- leases ----------------------------------------------------------------------------------------


def test_an_instance_that_dies_is_replaced(world: World) -> None:
    """P1, P5: what a dead instance held is called by another one when the lease ends."""
    dead = world.queue({"note": lambda _: pytest.fail("dead instances call nothing")})
    event_id = dead.create("note", 200 * MILLISECOND)
    dead.advance(timedelta(0))
    stored = world.stored(event_id)
    assert stored is not None
    assert stored.state is State.CLAIMED
    world.kill(dead)
    world.queue(consumer_sleep_msec=60_000)
    world.advance(seconds=30.99)
    assert world.calls == []
    world.advance(seconds=0.02)
    assert [(event.id, event.attempt) for _, event in world.calls] == [(event_id, 2)]


def test_an_instance_that_dies_during_a_call(world: World) -> None:
    """P5: a call that was never reported is repeated after the lease, with the next number."""
    dead = world.queue()
    event_id = dead.create("note", SECOND)
    world.backend.plan("settle", fails(unavailable()))
    dead.advance(SECOND)
    world.kill(dead)
    world.queue()
    world.advance(seconds=40)
    assert [(event.id, event.attempt) for _, event in world.calls] == [(event_id, 1), (event_id, 2)]
    assert world.calls[1][0] - world.calls[0][0] >= LEASE - SECOND


def test_a_call_does_not_start_in_the_last_part_of_a_lease(world: World) -> None:
    """P3: when renewals fail, a call that comes due late in the lease waits for a renewal."""
    queue = world.queue(
        {"note": world.note, "slow": lambda _: world.time.sleep(25)}, consumer_time_window_sec=10
    )
    queue.create("slow", 0 * SECOND)
    late = queue.create("note", 5 * SECOND)
    queue.advance(timedelta(0))
    # The slow call has kept everything in this thread for 25 s of a lease of 31 s.
    assert world.time.now() == START + 25 * SECOND
    world.backend.plan("renew", *[fails(unavailable())] * 3)
    queue.advance(2 * MILLISECOND)
    assert world.calls == []
    queue.advance(5 * SECOND)
    assert world.called_ids == [late]
    assert world.calls[0][1].attempt == 1


def test_what_is_held_is_renewed(world: World) -> None:
    """P3: claims keep their lease while their reports cannot be written, for many leases."""
    queue = world.queue()
    event_id = queue.create("note", SECOND)
    world.backend.broken = {"settle"}
    world.backend.outage = unavailable
    world.queue({"note": lambda _: pytest.fail("called twice")})
    world.advance(minutes=10)
    world.backend.outage = None
    world.advance(seconds=5)
    assert world.called_ids == [event_id]
    assert queue.stats()["succeeded"] == 1
    assert queue.stats()["lost"] == 0
    assert world.stored(event_id) is None


@pytest.mark.parametrize("trouble", ["locked_ids", "bad_ids"])
def test_one_event_costs_no_other_its_lease(world: World, trouble: str) -> None:
    """P3: while one renewal meets somebody's lock, or is refused, those of the others are made."""
    queue = world.queue()
    ids = [queue.create("note", SECOND) for _ in range(3)]
    world.backend.outage, world.backend.broken = unavailable, {"settle"}
    queue.advance(2 * SECOND)
    setattr(world.backend, trouble, {ids[1]})
    queue.advance(3 * LEASE)
    assert [world.called_ids.count(event_id) for event_id in (ids[0], ids[2])] == [1, 1]


def test_renewals_that_fail_do_not_pause_for_long(world: World) -> None:
    """P3: also a short lease is tried to be renewed again before it ends, however often that has failed."""
    queue = world.queue(consumer_lock_timeout_sec=1.5)
    scheduler = queue._scheduler
    assert scheduler is not None
    queue.create("note", SECOND)
    world.backend.outage, world.backend.broken = unavailable, {"settle", "renew"}
    queue.advance(1.6 * SECOND)
    pauses = [scheduler.renew_step() for _ in range(100)]
    assert 0.2 < max(pauses) <= 0.25


def test_renewing_costs_little(world: World) -> None:
    """P8: a call that lasts for many leases is renewed three times per lease, not continuously."""
    queue = world.queue()
    queue.create("note", SECOND)
    world.backend.broken = {"settle"}
    world.backend.outage = unavailable
    queue.advance(10 * LEASE)
    assert 25 <= world.backend.counts["renew"] <= 35


def test_a_lost_claim_is_not_renewed_for_ever(world: World) -> None:
    """P8: a call that goes on although its event was cancelled costs no endless renewals."""
    queue = world.queue()
    event_id = queue.create("note", SECOND)
    world.backend.broken = {"settle"}
    world.backend.outage = unavailable
    queue.advance(2 * SECOND)
    assert world.called_ids == [event_id]
    world.memory.cancel([event_id])
    queue.advance(11 * SECOND)
    before = world.backend.counts["renew"]
    queue.advance(10 * LEASE)
    assert world.backend.counts["renew"] - before <= 35


def test_reports_of_lost_claims_are_refused(world: World) -> None:
    """P4: whoever lost a claim changes nothing by its report, and counts it as lost."""
    queue = world.queue()
    event_id = queue.create("note", SECOND)

    def another_takes_over() -> None:
        world.time.sleep(40)
        (claim,) = world.claim_as_another()
        assert claim.id == event_id

    world.backend.plan("settle", meanwhile(another_takes_over))
    queue.advance(SECOND)
    assert queue.stats()["lost"] == 1
    assert queue.stats()["succeeded"] == 0
    assert queue.stats()["held"] == 0
    stored = world.stored(event_id)
    assert stored is not None
    assert (stored.state, stored.owner) == (State.CLAIMED, "another")


def test_a_cancelled_event_is_dropped_at_the_next_renewal(world: World) -> None:
    """P6: what someone else cancelled while it was held here is dropped, uncalled, at a renewal."""
    queue = world.queue(consumer_lock_timeout_sec=9, consumer_time_window_sec=3)
    event_id = queue.create("note", 3 * SECOND)
    queue.advance(timedelta(0))
    world.memory.cancel([event_id])
    scheduler = queue._scheduler
    assert scheduler is not None
    world.time.sleep(3.1)
    scheduler.renew_step()
    queue.advance(30 * SECOND)
    assert world.calls == []
    assert queue.stats()["held"] == 0
    assert queue.stats()["lost"] == 1


def test_unrenewed_claims_are_given_up(world: World) -> None:
    """P3: when the lease of an uncalled event ends unrenewed, it is not called any more here."""
    queue = world.queue(consumer_lock_timeout_sec=3, consumer_time_window_sec=1)
    queue.create("note", SECOND)
    queue.advance(timedelta(0))
    world.backend.broken = {"renew", "claim"}
    world.backend.outage = unavailable
    world.time.sleep(5)
    queue.advance(10 * SECOND)
    assert world.calls == []
    assert queue.stats()["held"] == 0
    world.backend.outage = None
    queue.advance(10 * SECOND)
    assert [event.attempt for _, event in world.calls] == [2]


# -- what goes wrong -------------------------------------------------------------------------------


def test_it_recovers_from_an_outage(world: World) -> None:
    """P9: after a backend that was away for an hour everything is called, once, without help."""
    queue = world.queue()
    queue.create_many([("note", n * SECOND) for n in range(20)])
    queue.advance(5500 * MILLISECOND)
    world.backend.outage = unavailable
    queue.advance(timedelta(hours=1))
    assert len(world.calls) == 6
    assert world.backend.counts["claim"] < 3600 * 3, "it hammers a backend that is away"
    world.backend.outage = None
    queue.advance(5 * SECOND)
    assert len(set(world.called_ids)) == len(world.calls) == 20
    assert queue.stats()["backend_errors"] > 100


def test_an_unknown_claim_is_repeated_by_its_lease(world: World) -> None:
    """P9: a claim whose answer was lost costs the lease, and is called then."""
    queue = world.queue()
    queue.create("note", 100 * MILLISECOND)
    world.backend.plan("claim", fails_after(unknown()))
    queue.advance(30 * SECOND)
    assert world.calls == []
    queue.advance(5 * SECOND)
    assert [event.attempt for _, event in world.calls] == [2]


def test_an_unknown_report_is_repeated(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """P5: a report whose answer was lost is repeated; the call is not."""
    queue = world.queue()
    event_id = queue.create("note", SECOND)
    world.backend.plan("settle", fails_after(unknown()))
    queue.advance(60 * SECOND)
    assert world.called_ids == [event_id]
    assert world.stored(event_id) is None
    assert queue.stats()["held"] == 0


def test_a_rejected_report_does_not_fail_its_neighbours(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """P9: one report that the backend refuses for good is lost, the others are written."""
    queue = world.queue()
    queue.create_many([("note", SECOND)] * 3)
    bad = queue.create("note", SECOND)
    world.backend.bad_ids.add(bad)
    queue.advance(2 * SECOND)
    assert queue.stats()["succeeded"] == 3
    assert queue.stats()["lost"] == 1
    assert queue.stats()["held"] == 0
    assert f"cannot report on 1 claim: {bad}" in caplog.text


def test_purging(world: World) -> None:
    """Dead letters are forgotten after dead_letter_days, not before."""

    def fail(_: Event) -> None:
        raise ValueError

    queue = world.queue({"note": fail}, max_retry=0, dead_letter_days=2, consumer_sleep_msec=60_000)
    queue.create("note", SECOND)
    queue.advance(timedelta(days=2))
    assert world.memory.count()[State.DEAD] == 1
    queue.advance(timedelta(minutes=11))
    assert world.memory.count()[State.DEAD] == 0


def test_statistics_are_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """With stat_interval_sec an instance logs its numbers that often."""
    caplog.set_level(logging.INFO, "futurama.statistics")
    queue = world.queue(stat_interval_sec=30, queue_name="me")
    queue.advance(timedelta(seconds=100))
    lines = [r.getMessage() for r in caplog.records if "statistics of me" in r.getMessage()]
    assert len(lines) == 3
    assert "'called': 0" in lines[0]


# -- stopping --------------------------------------------------------------------------------------


def test_stopping_releases_what_has_not_started(world: World) -> None:
    """P1, P5: what was claimed and not called waits again, uncharged, for any other instance."""
    queue = world.queue()
    event_id = queue.create("note", 200 * MILLISECOND)
    queue.advance(timedelta(0))
    assert queue.stop() is True
    stored = world.stored(event_id)
    assert stored is not None
    assert (stored.state, stored.attempt, stored.lost) == (State.WAITING, 0, False)
    assert stored.due == START + 200 * MILLISECOND
    assert [s.kind for s in world.backend.settled] == [SettlementKind.RELEASE]
    assert queue.stats()["released"] == 1
    world.queue()
    world.advance(seconds=1)
    assert [(event.id, event.attempt) for _, event in world.calls] == [(event_id, 1)]


def test_stopping_while_the_backend_claims(world: World) -> None:
    """P1: what it answers when nobody waits for it any more is given back, uncalled."""
    queue = world.queue()
    event_id = queue.create("note", SECOND)
    scheduler = queue._scheduler
    assert scheduler is not None
    world.backend.plan("claim", meanwhile(scheduler._held.close))
    queue.advance(SECOND)
    stored = world.stored(event_id)
    assert stored is not None
    assert (stored.state, stored.attempt) == (State.WAITING, 0)
    assert world.calls == []


def test_stopping_reports_what_has_ended(world: World) -> None:
    """P5: reports that wait are written before stop returns, however the backend hesitates."""
    queue = world.queue()
    event_id = queue.create("note", SECOND)
    world.backend.plan("settle", *[fails(unavailable())] * 4)
    queue.advance(SECOND)
    assert queue.stop() is True
    assert world.stored(event_id) is None
    assert queue.stats()["succeeded"] == 1


def test_stopping_does_not_wait_for_ever(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """P8: if the backend stays away, stop gives up in time and says so."""
    queue = world.queue()
    event_id = queue.create("note", SECOND)
    world.backend.broken = {"settle"}
    world.backend.outage = unavailable
    queue.advance(SECOND)
    before = world.time.now()
    assert queue.stop(timeout=3) is False
    assert world.time.now() - before <= 3.1 * SECOND
    assert "1 calls unfinished or unreported" in caplog.text
    world.backend.outage = None
    world.queue()
    world.advance(seconds=40)
    assert world.called_ids == [event_id, event_id]


# -- several instances -----------------------------------------------------------------------------


def test_two_instances_share_the_work(world: World) -> None:
    """P3, P5: two instances on one backend call each event once, between them."""
    calls: list[tuple[str, str]] = []

    def note(name: str, event: Event) -> None:
        calls.append((name, event.id))

    for name in ("a", "b"):
        world.queue(
            {"note": partial(note, name)},
            consumer_select_limit=5,
            max_scheduled_events=5,
        )
    producer = world.queue({})
    ids = producer.create_many([("note", SECOND)] * 40)
    world.advance(seconds=3)
    assert sorted(event_id for _, event_id in calls) == sorted(ids)
    assert {name for name, _ in calls} == {"a", "b"}


def test_an_event_of_one_instance_is_called_in_time_by_another(world: World) -> None:
    """A producer that calls nothing itself creates; a worker with the slow virtual poll is on time."""
    producer = VirtualQueue(time=world.time, backend=world.backend)
    worker = VirtualQueue({"note": world.note}, time=world.time, backend=world.backend)
    with producer, worker:
        world.advance(seconds=1)
        producer.create("note", 10 * SECOND)
        world.advance(seconds=11)
        assert [when for when, _ in world.calls] == [START + 11 * SECOND]


def test_stuck_workers_give_their_events_to_others() -> None:
    """P9: while all workers hang, what they cannot call is called by another instance."""
    backend, gate, done = MemoryBackend(), threading.Event(), threading.Event()
    called: set[str] = set()

    def note(event: Event) -> None:
        called.add(event.id)
        if len(called) == 20:
            done.set()

    def hang(_: Event) -> None:
        gate.wait(60)

    config = memory_config(
        consumer_lock_timeout_sec=0.5, max_worker_threads=2, consumer_time_window_sec=0.1
    )
    stuck = Queue({"hang": hang, "note": note}, config, backend=backend)
    with stuck:
        stuck.create_many([("hang", timedelta())] * 2 + [("note", timedelta())] * 20)
        with Queue({"note": note, "hang": note}, config, backend=backend):
            assert done.wait(60)
        gate.set()
    assert stuck.stats()["lost"] == 0
