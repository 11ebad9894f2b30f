"""The queue: creating, cancelling, moving, and what it says about it."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import Any
from unittest import mock
from unittest.mock import MagicMock

import pytest

import futurama
from futurama import (
    BackendRejectedError,
    BackendSetupError,
    BackendUnavailableError,
    CancelOutcome,
    Config,
    Draft,
    Event,
    EventExistsError,
    EventStatus,
    InvalidEventError,
    OutcomeUnknownError,
    Queue,
    QueueStoppedError,
    RescheduleOutcome,
    TriggerResult,
)
from futurama import queue as queue_module
from futurama.backend import Move, State
from futurama.backends.memory import MemoryBackend
from futurama.testing import VirtualQueue
from tests.unit.support import (
    MILLISECOND,
    SECOND,
    START,
    Fault,
    World,
    fails,
    fails_after,
    meanwhile,
    memory_config,
    new_event,
    unavailable,
    unknown,
)

# -- creating --------------------------------------------------------------------------------------


def test_ids_are_uuids_of_version_7(world: World) -> None:
    """Ids are unique, have the form of RFC 9562, and sort by the time of their creation."""
    queue = world.queue({})
    ids = []
    for _ in range(200):
        ids += [queue.create("note", SECOND) for _ in range(3)]
        queue.advance(MILLISECOND)
    pattern = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
    assert all(pattern.fullmatch(each) for each in ids)
    assert len(set(ids)) == 600
    milliseconds = [each[:13] for each in ids]
    assert milliseconds == sorted(milliseconds)
    assert int(ids[0].replace("-", "")[:12], 16) == START.timestamp() * 1000


def test_what_is_stored(world: World) -> None:
    """P1: when create has returned the event is in the backend, as it was given."""
    queue = world.queue({})
    when = datetime(2031, 5, 5, 5, 5, 5, 5, tzinfo=timezone(timedelta(hours=-3)))
    queue.create("mail", when, {"to": "x"}, id="mine")
    stored = world.stored("mine")
    assert stored is not None
    assert stored.trigger_time == stored.due == when
    assert (stored.payload, stored.state, stored.attempt) == (b'{"to":"x"}', State.WAITING, 0)
    assert queue.get("mine") == Event(
        id="mine",
        trigger_type="mail",
        trigger_time=when.astimezone(UTC),
        data={"to": "x"},
        attempt=0,
        created=START,
    )
    assert queue.get("other") is None


def test_a_timedelta_counts_from_the_backends_now(world: World) -> None:
    """P2: "in 30 s" means 30 s by the backend's clock, however wrong the local one is."""
    world.memory._now = lambda: world.time.now() + timedelta(days=365)
    queue = world.queue({})
    queue.create("note", 30 * SECOND, id="a")
    stored = world.stored("a")
    assert stored is not None
    assert stored.due == START + timedelta(days=365, seconds=30)


def test_a_producer_follows_the_backends_clock(world: World) -> None:
    """P2: a queue that only creates, for days, does not drift away from the backend's clock."""
    drift = timedelta(0)
    world.memory._now = lambda: world.time.now() + drift
    queue = world.queue({})
    queue.create("note", SECOND, id="a")
    queue.advance(timedelta(days=30))
    drift = 20 * SECOND
    queue.create("note", SECOND, id="b")
    stored = world.stored("b")
    assert stored is not None
    assert stored.due == world.memory.now() + SECOND


def test_if_exists(world: World) -> None:
    """A taken id is refused, kept or replaced as asked, and nothing else is touched."""
    queue = world.queue({})
    queue.create("note", SECOND, 1, id="a")
    with pytest.raises(EventExistsError) as info:
        queue.create("note", 2 * SECOND, 2, id="a")
    assert info.value.event_ids == ("a",)
    assert queue.create("note", 2 * SECOND, 2, id="a", if_exists="keep") == "a"
    event = queue.get("a")
    assert event is not None
    assert event.data == 1
    assert queue.create("note", 2 * SECOND, 2, id="a", if_exists="replace") == "a"
    event = queue.get("a")
    assert event is not None
    assert (event.data, event.trigger_time) == (2, START + 2 * SECOND)


def test_the_same_event_twice_is_no_repeat(world: World) -> None:
    """Two equal creates in the same microsecond are two, not one that was repeated after an error."""
    queue = world.queue({})
    queue.create("note", START + SECOND, 1, id="a")
    with pytest.raises(EventExistsError):
        queue.create("note", START + SECOND, 1, id="a")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("", SECOND), "trigger_type"),
        ((7, SECOND), "trigger_type"),
        (("note", datetime(2030, 1, 1)), "trigger_time"),  # noqa: DTZ001 -- that it is naive is the point
        (("note", "tomorrow"), "trigger_time"),
        (("note", 5), "trigger_time"),
        (("note", timedelta.max), "trigger_time"),
        (("note", SECOND, object()), "data"),
        (("note", SECOND, "x" * 2000), "data"),
        (("note", SECOND, None, "i" * 129), "id"),
        (("note", SECOND, None, ""), "id"),
    ],
)
def test_what_cannot_be_created(world: World, arguments: tuple[Any, ...], field: str) -> None:
    """P7: a wrong argument is named, and nothing is written."""
    queue = VirtualQueue(
        {}, memory_config(), time=world.time, backend=_small(world)
    )  # fmt: skip
    kind, when, *rest = arguments
    data, event_id = [*rest, None, None][:2]
    for create in (
        partial(queue.create, kind, when, data, id=event_id),
        partial(queue.create_many, [("note", SECOND), Draft(kind, when, data, id=event_id)]),
    ):
        with pytest.raises(InvalidEventError) as info:
            create()
        assert info.value.field == field
    assert queue.backend.count()[State.WAITING] == 0
    assert queue.stats()["created"] == 0


def _small(world: World) -> MemoryBackend:
    settings = MemoryBackend.Settings(max_data_bytes=1000)
    return MemoryBackend(settings, now=world.time.now)


def test_a_wrong_if_exists(world: World) -> None:
    """A mode that does not exist is a mistake of the program."""
    queue = world.queue({})
    for create in (
        partial(queue.create, "note", SECOND, if_exists="ignore"),  # type: ignore[arg-type]  # the mistake
        partial(queue.create_many, [], if_exists="ignore"),  # type: ignore[arg-type]  # the mistake
    ):
        with pytest.raises(ValueError, match="raise, keep, replace, got 'ignore'"):
            create()


def test_create_many(world: World) -> None:
    """Drafts and tuples, more than one write holds, in order; and each is called."""
    queue = world.queue()
    drafts: list[Any] = [("note", n * MILLISECOND, n) for n in range(2500)]
    drafts[7] = Draft("note", 7 * MILLISECOND, 7, id="seven")
    ids = queue.create_many(drafts)
    assert ids[7] == "seven"
    assert len(set(ids)) == 2500
    assert world.backend.counts["add"] == 3
    queue.advance(10 * SECOND)
    assert [event.data for _, event in world.calls] == list(range(2500))
    assert world.called_ids == ids
    assert queue.stats()["created"] == 2500


def test_create_many_with_taken_ids(world: World) -> None:
    """All taken ids are named, duplicates among the drafts included; the rest is stored."""
    queue = world.queue({})
    queue.create("note", SECOND, 0, id="a")
    drafts = [Draft("note", SECOND, n, id=i) for n, i in enumerate("abcb", start=1)]
    with pytest.raises(EventExistsError) as info:
        queue.create_many(drafts)
    assert info.value.event_ids == ("a", "b")
    assert [event and event.data for event in map(queue.get, "abc")] == [0, 2, 3]
    assert queue.create_many(drafts, if_exists="keep") == list("abcb")
    assert queue.create_many([]) == []


def test_creating_survives_an_outage(world: World) -> None:
    """P9: create repeats what may work later, and stores the event once."""
    queue = world.queue({})
    queue.create("note", SECOND)
    world.backend.plan("add", fails(unavailable()), fails_after(unknown()), fails_after(unknown()))
    queue.create("note", SECOND, id="a")
    assert world.backend.counts["add"] == 5
    assert world.memory.count()[State.WAITING] == 2
    assert queue.stats()["backend_errors"] == 3
    assert queue.stats()["created"] == 2


def test_creating_gives_up(world: World) -> None:
    """P8: after operation_timeout_sec create raises what it knows."""
    queue = world.queue({}, operation_timeout_sec=5)
    world.backend.broken = {"add"}
    for error in (unavailable, unknown):
        world.backend.outage = error
        before = world.time.now()
        with pytest.raises(type(error())):
            queue.create("note", SECOND)
        assert world.time.now() - before <= 5 * SECOND
    assert queue.stats()["created"] == 0


def stored_then_moved(world: World) -> Fault:
    """The add happens, but before it is repeated the stored event is changed."""

    def fault(proceed: Callable[[], object]) -> object:
        proceed()
        world.memory.reschedule([Move(id="a", trigger_time=START + timedelta(hours=1))])
        raise unknown()

    return fault


def create_one(queue: Queue) -> None:
    """The event ``a``."""
    queue.create("note", SECOND, id="a")


def create_two(queue: Queue) -> None:
    """The event ``a`` after another one."""
    queue.create_many([Draft("note", SECOND, id="b"), Draft("note", SECOND, id="a")])


@pytest.mark.parametrize(("create", "known"), [(create_one, 0), (create_two, 1)])
def test_an_own_event_is_not_taken_for_anothers(
    world: World, create: Callable[[Queue], None], known: int
) -> None:
    """P6: when a repeat is refused, what is stored may be what the first try stored."""
    queue = world.queue({})
    world.backend.plan("add", stored_then_moved(world))
    with pytest.raises(OutcomeUnknownError, match="creating event 'a' was lost"):
        create(queue)
    assert queue.stats()["created"] == known


def test_a_later_outage_does_not_hide_a_lost_answer(world: World) -> None:
    """P6: an event that may have been stored is not said to be unchanged."""
    queue = world.queue({}, operation_timeout_sec=1)
    world.backend.plan("add", fails_after(unknown()), *[fails(unavailable())] * 50)
    with pytest.raises(OutcomeUnknownError):
        queue.create("note", SECOND, id="a")
    assert world.stored("a") is not None


def test_creating_many_tells_what_was_stored(world: World) -> None:
    """P6: if the backend goes away between two writes, nobody is told that nothing was changed."""
    queue = world.queue({}, operation_timeout_sec=1)
    world.backend.plan("add", lambda proceed: proceed(), *[fails(unavailable())] * 50)
    with pytest.raises(OutcomeUnknownError, match="the first 1000 events were stored"):
        queue.create_many([("note", SECOND)] * 1001)
    assert world.memory.count()[State.WAITING] == 1000
    with pytest.raises(BackendUnavailableError):
        queue.create_many([("note", SECOND)])


def test_creating_many_says_which_is_wrong(world: World) -> None:
    """The index of the first wrong one is in the error and in its text; nothing is stored."""
    queue = world.queue({})
    with pytest.raises(InvalidEventError, match=r"^drafts\[2\]: ") as info:
        queue.create_many([("note", SECOND), ("note", SECOND), ("", SECOND), ("note", "now")])
    assert (info.value.index, info.value.field) == (2, "trigger_type")
    assert world.memory.count()[State.WAITING] == 0


@pytest.mark.parametrize(
    ("when", "fragments"),
    [
        (30, ["got 30 (int)", "for 30 seconds from now use timedelta(seconds=30)"]),
        (0.5, ["use timedelta(seconds=0.5)"]),
        ("now", ["an aware datetime, or a timedelta from now, got 'now' (str)"]),
        (True, ["got True (bool)"]),
    ],
)
def test_what_is_no_time(world: World, when: Any, fragments: list[str]) -> None:
    """The error shows the value and what is possible; of a number, how to say it."""
    with pytest.raises(InvalidEventError) as info:
        world.queue({}).create("note", when)
    assert info.value.field == "trigger_time"
    assert [fragment for fragment in fragments if fragment not in str(info.value)] == []
    assert ("seconds=" in str(info.value)) == (type(when) in {int, float})


@pytest.mark.parametrize(
    ("draft", "field"),
    [
        ((), "trigger_type"),
        (("note",), "trigger_time"),
        (("note", SECOND, None, "id"), "id"),
        (None, "trigger_type"),
    ],
)
def test_what_is_no_draft(world: World, draft: Any, field: str) -> None:
    """The error says which one it is and what it should be; nothing is stored."""
    with pytest.raises(
        InvalidEventError, match=r"^drafts\[1\]: must be a Draft or a tuple"
    ) as info:
        world.queue({}).create_many([("note", SECOND), draft])
    assert (info.value.index, info.value.field) == (1, field)
    assert world.memory.count()[State.WAITING] == 0


def test_a_refused_event(world: World) -> None:
    """What the backend refuses for good is raised at once."""
    queue = world.queue({})
    world.backend.bad_ids.add("a")
    with pytest.raises(BackendRejectedError, match="refuses a"):
        queue.create("note", SECOND, id="a")
    assert world.backend.counts["add"] == 1


def test_creating_without_start() -> None:
    """A process that only creates needs no start, no triggers and no threads."""
    world = World()
    queue = VirtualQueue(time=world.time, backend=world.backend)
    event_id = queue.create("note", SECOND)
    assert world.stored(event_id) is not None
    assert queue.now() == START
    assert world.backend.counts["claim"] == 0


# -- what has ended a moment ago -------------------------------------------------------------------


@pytest.fixture
def resting(world: World) -> VirtualQueue:
    """An instance that has called the event "job", and has not reported it yet."""
    queue = world.queue()
    world.backend.plan("settle", meanwhile(lambda: world.time.sleep(0.005)))
    queue.create("note", SECOND)
    queue.create("note", SECOND + 6 * MILLISECOND, id="job")
    queue.advance(SECOND + 8 * MILLISECOND)
    assert world.called_ids[-1] == "job"
    assert queue.stats()["unreported"] == 1
    return queue


@pytest.mark.parametrize("if_exists", ["raise", "keep", "replace"])
@pytest.mark.parametrize("at_once", [True, False])
def test_an_id_is_free_when_its_call_has_ended(
    world: World, resting: VirtualQueue, if_exists: Any, *, at_once: bool
) -> None:
    """P1: an event that is stored right after the call of its predecessor does not end with that."""
    if at_once:
        resting.create("note", SECOND, id="job", if_exists=if_exists)
    else:
        resting.create_many([Draft("note", SECOND, id="job")], if_exists=if_exists)
    resting.advance(2 * SECOND)
    assert world.called_ids.count("job") == 2


def test_what_has_ended_cannot_be_found(resting: VirtualQueue) -> None:
    """P6: a call that has ended is not in flight, even if it is yet to be reported."""
    assert resting.cancel("job") is CancelOutcome.NOT_FOUND


@pytest.mark.parametrize(
    "look",
    [
        pytest.param(lambda queue: queue.get("job"), id="get"),
        pytest.param(
            lambda queue: queue.reschedule("job", SECOND) is not RescheduleOutcome.NOT_FOUND,
            id="reschedule",
        ),
        pytest.param(lambda queue: queue.requeue("job"), id="requeue"),
    ],
)
def test_who_looks_sees_what_has_ended(
    resting: VirtualQueue, look: Callable[[VirtualQueue], object]
) -> None:
    """An application that knows of the end of a call finds what it expects."""
    assert not look(resting)


# -- cancelling ------------------------------------------------------------------------------------


def test_cancel_before_it_is_claimed(world: World) -> None:
    """P6: a waiting event is cancelled: it is gone and never called."""
    queue = world.queue()
    event_id = queue.create("note", 10 * SECOND)
    assert queue.cancel(event_id) is CancelOutcome.CANCELLED
    assert queue.cancel(event_id) is CancelOutcome.NOT_FOUND
    assert queue.cancel("never was") is CancelOutcome.NOT_FOUND
    queue.advance(timedelta(minutes=1))
    assert world.calls == []
    assert queue.stats()["cancelled"] == 1


def held_event(world: World, queue: VirtualQueue) -> str:
    """An event that ``queue`` has claimed and not called."""
    event_id = queue.create("note", 200 * MILLISECOND)
    queue.advance(timedelta(0))
    stored = world.stored(event_id)
    assert stored is not None
    assert stored.state is State.CLAIMED
    return event_id


def test_cancel_what_is_held_here(world: World) -> None:
    """P6: an event that this instance has claimed and not started is CANCELLED, and never called."""
    queue = world.queue()
    event_id = held_event(world, queue)
    assert queue.cancel(event_id) is CancelOutcome.CANCELLED
    assert world.stored(event_id) is None
    queue.advance(timedelta(minutes=1))
    assert world.calls == []
    assert queue.stats()["held"] == 0


def test_cancel_what_is_held_elsewhere(world: World) -> None:
    """P6: what another instance has claimed may be under way: it is removed, and IN_FLIGHT."""
    queue, other = world.queue(), world.queue({})
    event_id = held_event(world, queue)
    assert other.cancel(event_id) is CancelOutcome.IN_FLIGHT
    assert world.stored(event_id) is None
    queue.advance(timedelta(minutes=1))
    assert len(world.calls) <= 1
    assert queue.stats()["held"] == 0


def test_cancel_while_the_call_runs(world: World) -> None:
    """P6: during the call the answer is IN_FLIGHT; the event is not called again, even on RETRY."""
    outcomes: list[CancelOutcome] = []

    def trigger(event: Event) -> TriggerResult:
        world.note(event)
        outcomes.append(queue.cancel(event.id))
        return TriggerResult(EventStatus.RETRY)

    queue = world.queue({"note": trigger})
    event_id = queue.create("note", SECOND)
    queue.advance(timedelta(hours=1))
    assert outcomes == [CancelOutcome.IN_FLIGHT]
    assert world.called_ids == [event_id]
    assert queue.stats()["lost"] == 1
    assert queue.stats()["cancelled"] == 0


def test_cancel_between_retries(world: World) -> None:
    """P6: between two attempts no call is in flight: CANCELLED, and no further attempt."""
    queue = world.queue(
        {"note": lambda _: TriggerResult(EventStatus.RETRY)}, retry_base_msec=60_000
    )
    event_id = queue.create("note", SECOND)
    queue.advance(10 * SECOND)
    assert queue.stats()["retried"] == 1
    assert queue.cancel(event_id) is CancelOutcome.CANCELLED
    queue.advance(timedelta(hours=1))
    assert queue.stats()["called"] == 1


@pytest.mark.parametrize("is_held_here", [False, True])
def test_cancel_of_what_was_once_lost(world: World, is_held_here: bool) -> None:  # noqa: FBT001 -- a case
    """P6: if an earlier owner went silent its call may still be running: IN_FLIGHT, for good."""
    world.memory.add([new_event("a")], if_exists="raise")
    world.claim_as_another(lease=SECOND)
    world.time.sleep(1)
    (claim,) = world.claim_as_another(lease=SECOND)
    assert claim.lost_before
    world.memory.settle(
        [futurama.backend.Settlement.retry(claim, START + timedelta(seconds=2.1))],
        now=world.time.now(),
    )
    queue = world.queue()
    if is_held_here:
        world.advance(seconds=0.9)
        assert queue.stats()["held"] == 1
    assert queue.cancel("a") is CancelOutcome.IN_FLIGHT
    queue.advance(timedelta(hours=1))
    assert world.calls == []


def test_no_call_starts_while_a_held_event_is_cancelled(world: World) -> None:
    """P6: while the backend hesitates to confirm, the time of the event passes: still no call."""
    queue = world.queue()
    event_id = held_event(world, queue)
    scheduler = queue._scheduler
    assert scheduler is not None

    def hesitate(_: object) -> None:
        world.time.sleep(1)
        assert scheduler._held.next_now() is None
        raise unavailable()

    world.backend.plan("settle", *[hesitate] * 3)
    assert queue.cancel(event_id) is CancelOutcome.CANCELLED
    queue.advance(timedelta(minutes=1))
    assert world.calls == []


def test_cancelling_what_is_held_gives_up(world: World) -> None:
    """P6, P8: when the backend stays away cancel raises, and the event is called after all."""
    queue = world.queue(operation_timeout_sec=1)
    event_id = held_event(world, queue)
    world.backend.broken = {"settle"}
    world.backend.outage = unavailable
    with pytest.raises(BackendUnavailableError):
        queue.cancel(event_id)
    world.backend.outage = None
    queue.advance(timedelta(minutes=1))
    assert world.called_ids == [event_id]


@pytest.mark.parametrize("error", [BackendSetupError("x", backend="x"), KeyError("bug")])
def test_a_failed_cancel_leaves_nothing_stuck(world: World, error: Exception) -> None:
    """P9: whatever cancel raises, the event does not stay held and uncalled for ever."""
    queue = world.queue()
    event_id = held_event(world, queue)
    world.backend.plan("settle", fails(error))
    with pytest.raises(type(error)):
        queue.cancel(event_id)
    queue.advance(timedelta(minutes=1))
    assert world.called_ids == [event_id]
    assert queue.stats()["held"] == 0


def test_a_cancel_with_a_lost_answer(world: World) -> None:
    """P6: if the answer got lost the event may have been removed during its call: IN_FLIGHT."""
    queue = world.queue()
    event_id = queue.create("note", 10 * SECOND)
    world.backend.plan("cancel", fails_after(unknown()))
    assert queue.cancel(event_id) is CancelOutcome.IN_FLIGHT
    held = held_event(world, queue)
    world.backend.plan("settle", fails_after(unknown()))
    assert queue.cancel(held) is CancelOutcome.IN_FLIGHT
    queue.advance(timedelta(minutes=1))
    assert world.calls == []
    assert queue.stats()["cancelled"] == 0


def test_a_cancel_in_doubt_that_gives_up(world: World) -> None:
    """P6: what may have been removed by the report of its holder is not said to be unchanged."""
    queue = world.queue(operation_timeout_sec=1)
    held = held_event(world, queue)
    world.backend.plan("settle", fails_after(unknown()))
    world.backend.plan("cancel", *[fails(unavailable())] * 50)
    with pytest.raises(OutcomeUnknownError, match="cancelling"):
        queue.cancel(held)
    assert world.stored(held) is None


def test_a_cancel_that_never_happened(world: World) -> None:
    """P6: if the first try did nothing, the answer is the true one."""
    queue = world.queue()
    event_id = queue.create("note", 10 * SECOND)
    world.backend.plan("cancel", fails(unavailable()), fails(unknown()))
    assert queue.cancel(event_id) is CancelOutcome.CANCELLED


def test_a_claim_lost_while_it_is_cancelled(world: World) -> None:
    """P4, P6: if the claim is lost meanwhile the backend decides about whoever has it now."""
    queue = world.queue()
    event_id = held_event(world, queue)

    def another_takes_over() -> None:
        world.time.sleep(40)
        assert [claim.id for claim in world.claim_as_another()] == [event_id]

    world.backend.plan("settle", meanwhile(another_takes_over))
    assert queue.cancel(event_id) is CancelOutcome.IN_FLIGHT
    assert queue.stats()["held"] == 0


def test_dead_letters_are_not_cancelled(world: World) -> None:
    """A dead letter is not found by cancel, and stays."""
    queue = world.queue({"note": lambda _: TriggerResult(EventStatus.ERROR)})
    event_id = queue.create("note", SECOND)
    queue.advance(2 * SECOND)
    assert queue.cancel(event_id) is CancelOutcome.NOT_FOUND
    assert queue.get(event_id) is not None


# -- moving ----------------------------------------------------------------------------------------


def test_reschedule(world: World) -> None:
    """A waiting event takes a new time, new data, or both; the rest stays."""
    queue = world.queue()
    event_id = queue.create("note", 10 * SECOND, 1)
    assert queue.reschedule(event_id, 20 * SECOND) is RescheduleOutcome.RESCHEDULED
    assert queue.reschedule(event_id, data=2) is RescheduleOutcome.RESCHEDULED
    assert queue.reschedule(event_id, data=None) is RescheduleOutcome.RESCHEDULED
    queue.advance(19 * SECOND)
    assert queue.reschedule(event_id, START + 30 * SECOND, 3) is RescheduleOutcome.RESCHEDULED
    queue.advance(20 * SECOND)
    (when, event), *others = world.calls
    assert not others
    assert (when, event.data, event.attempt) == (START + 30 * SECOND, 3, 1)
    assert event.trigger_time == START + 30 * SECOND
    assert queue.stats()["rescheduled"] == 4
    assert queue.reschedule(event_id, SECOND) is RescheduleOutcome.NOT_FOUND


def test_reschedule_to_an_earlier_time_wakes_the_instance(world: World) -> None:
    """An event that is moved before the next look is called in time."""
    queue = world.queue(consumer_sleep_msec=60_000)
    event_id = queue.create("note", timedelta(hours=1))
    queue.advance(SECOND)
    queue.reschedule(event_id, SECOND)
    queue.advance(SECOND)
    assert [when for when, _ in world.calls] == [START + 2 * SECOND]


def test_reschedule_what_is_held_here(world: World) -> None:
    """P6: an event that this instance has claimed and not started moves, and is called once."""
    queue = world.queue()
    event_id = held_event(world, queue)
    assert queue.reschedule(event_id, 10 * SECOND, "new") is RescheduleOutcome.RESCHEDULED
    queue.advance(9 * SECOND)
    assert world.calls == []
    queue.advance(2 * SECOND)
    assert [(when, event.data, event.attempt) for when, event in world.calls] == [
        (START + 10 * SECOND, "new", 1)
    ]


def test_reschedule_what_is_held_elsewhere(world: World) -> None:
    """P6: what another instance has claimed is IN_FLIGHT, and nothing changes."""
    queue, other = world.queue(), world.queue({})
    event_id = held_event(world, queue)
    assert other.reschedule(event_id, 10 * SECOND, "new") is RescheduleOutcome.IN_FLIGHT
    queue.advance(timedelta(minutes=1))
    assert [(when - START, event.data) for when, event in world.calls] == [
        (200 * MILLISECOND, None)
    ]


def test_reschedule_while_the_call_runs(world: World) -> None:
    """P6: during the call the answer is IN_FLIGHT and nothing changes."""
    outcomes: list[RescheduleOutcome] = []

    def trigger(event: Event) -> None:
        world.note(event)
        outcomes.append(queue.reschedule(event.id, 10 * SECOND))

    queue = world.queue({"note": trigger})
    queue.create("note", SECOND)
    queue.advance(timedelta(minutes=1))
    assert outcomes == [RescheduleOutcome.IN_FLIGHT]
    assert len(world.calls) == 1


def test_reschedule_of_what_was_once_lost(world: World) -> None:
    """P6: if an earlier owner went silent its call may still be running: IN_FLIGHT."""
    world.memory.add([new_event("a")], if_exists="raise")
    world.claim_as_another(lease=SECOND)
    world.time.sleep(1)
    (claim,) = world.claim_as_another(lease=SECOND)
    world.memory.settle([futurama.backend.Settlement.release(claim)], now=world.time.now())
    queue = world.queue({})
    assert queue.reschedule("a", 10 * SECOND) is RescheduleOutcome.IN_FLIGHT


def test_reschedule_needs_something_to_change(world: World) -> None:
    """A call without a new time and new data is a mistake; so are wrong ones."""
    queue = world.queue({})
    event_id = queue.create("note", SECOND)
    with pytest.raises(ValueError, match="got neither"):
        queue.reschedule(event_id)
    with pytest.raises(InvalidEventError):
        queue.reschedule(event_id, datetime(2030, 1, 1))  # noqa: DTZ001 -- the mistake is the point
    with pytest.raises(InvalidEventError):
        queue.reschedule(event_id, data=object())
    with pytest.raises(InvalidEventError):
        queue.reschedule("", SECOND)


# -- dead letters ----------------------------------------------------------------------------------


def test_requeue(world: World) -> None:
    """A dead letter can be called again, at once, with its attempts counted anew."""
    fail = True

    def trigger(event: Event) -> TriggerResult:
        world.note(event)
        return TriggerResult(EventStatus.ERROR if fail else EventStatus.OK)

    queue = world.queue({"note": trigger}, consumer_sleep_msec=60_000)
    event_id = queue.create("note", SECOND)
    queue.advance(10 * SECOND)
    assert queue.requeue("other") is False
    fail = False
    assert queue.requeue(event_id) is True
    queue.advance(timedelta(0))
    assert [(when - START, event.attempt) for when, event in world.calls] == [
        (SECOND, 1), (10 * SECOND, 1),
    ]  # fmt: skip
    assert queue.get(event_id) is None


def test_get_of_undecodable_data(world: World) -> None:
    """P7: stored data that is not JSON is an error that names the event."""
    world.memory.add([new_event("bad", payload=b"{oops")], if_exists="raise")
    with pytest.raises(InvalidEventError, match="'bad' is not JSON") as info:
        world.queue({}).get("bad")
    assert info.value.field == "data"


# -- life ------------------------------------------------------------------------------------------


def test_after_stop(world: World) -> None:
    """A stopped queue says so, whatever is asked of it; stopping twice is fine."""
    queue = world.queue()
    event_id = queue.create("note", SECOND)
    assert queue.stop() is True
    assert queue.stop() is True
    for use in (
        partial(queue.create, "note", SECOND),
        partial(queue.create_many, []),
        partial(queue.cancel, event_id),
        partial(queue.reschedule, event_id, SECOND),
        partial(queue.get, event_id),
        partial(queue.requeue, event_id),
        queue.now,
        queue.start,
        lambda: queue.backend,
    ):
        with pytest.raises(QueueStoppedError, match="make a new one"):
            use()
    assert queue.stats()["created"] == 1, "what it has done can still be seen"


def test_a_backend_of_others_is_not_closed(world: World) -> None:
    """Whoever made the backend closes it; a backend that the queue made is closed by it."""
    with world.queue():
        pass
    assert world.backend.counts["close"] == 0
    queue = Queue(config=memory_config())
    closed: list[bool] = []
    queue.backend.close = lambda: closed.append(True)  # type: ignore[method-assign]  # a spy
    queue.stop()
    assert closed == [True]


def test_a_queue_that_was_never_used(world: World) -> None:
    """Making and stopping a queue touches nothing."""
    VirtualQueue(time=world.time, backend=world.backend).stop()
    assert world.backend.counts.total() == 0


def test_start_is_idempotent(world: World) -> None:
    """Starting twice makes one instance."""
    queue = world.queue()
    scheduler = queue._scheduler
    queue.start()
    assert queue._scheduler is scheduler


def test_an_unavailable_backend_at_the_start(world: World) -> None:
    """P9: if the backend is away start says so, and can be repeated."""
    world.backend.plan("open", fails(unavailable()))
    queue = VirtualQueue({"note": world.note}, time=world.time, backend=world.backend)
    with pytest.raises(BackendUnavailableError):
        queue.start()
    queue.start()
    queue.create("note", SECOND)
    queue.advance(SECOND)
    assert len(world.calls) == 1


def test_unstarted_instances_take_nothing(world: World) -> None:
    """Without triggers, start only connects: it takes no events from other instances."""
    queue = world.queue({})
    queue.create("note", SECOND)
    queue.advance(timedelta(minutes=1))
    assert world.backend.counts["claim"] == 0
    assert queue.stats()["held"] == 0


def test_public_names() -> None:
    """Everything that the package promises is there, sorted, and listed once."""
    assert list(futurama.__all__) == sorted(set(futurama.__all__))
    assert not [name for name in futurama.__all__ if not hasattr(futurama, name)]


def test_a_move_in_doubt(world: World) -> None:
    """P6: if the answer got lost and the event is being called now, nothing is claimed about it."""
    queue = world.queue()
    event_id = queue.create("note", 10 * SECOND)

    def moved_and_claimed(proceed: Callable[[], object]) -> object:
        proceed()
        assert world.claim_as_another(ahead=timedelta(hours=2))
        raise unknown()

    world.backend.plan("reschedule", moved_and_claimed)
    with pytest.raises(OutcomeUnknownError, match=event_id):
        queue.reschedule(event_id, timedelta(hours=1))


def test_a_retry_in_a_while(world: World) -> None:
    """RETRY takes a timedelta from the end of the call as well as an instant."""
    attempts: list[timedelta] = []

    def trigger(event: Event) -> TriggerResult | None:
        attempts.append(world.time.now() - START)
        return (
            TriggerResult(EventStatus.RETRY, timedelta(minutes=3)) if event.attempt == 1 else None
        )

    queue = world.queue({"poll": trigger})
    queue.create("poll", SECOND)
    queue.advance(timedelta(minutes=10))
    assert attempts == [SECOND, timedelta(minutes=3, seconds=1)]


def test_a_mock_is_a_function() -> None:
    """A callable object is called, whatever attributes it makes up."""
    mock = MagicMock(return_value=None)
    with VirtualQueue({"mock": mock}) as queue:
        queue.create("mock", SECOND)
        queue.advance(SECOND)
        assert queue.stats()["succeeded"] == 1
    assert mock.call_count == 1


def test_stopping_gives_the_same_answer_again() -> None:
    """The second stop repeats what the first one found."""
    release = threading.Event()
    started = threading.Event()

    def hang(_: Event) -> None:
        started.set()
        release.wait(60)

    queue = Queue({"hang": hang}, Config(backend="memory"))
    queue.start()
    queue.create("hang", timedelta())
    assert started.wait(60)
    assert [queue.stop(timeout=0), queue.stop(timeout=0)] == [False, False]
    release.set()


def test_a_coroutine_may_stop_its_own_queue() -> None:
    """A queue that is stopped by one of its coroutines is stopped, whatever else that means."""
    stopped = threading.Event()

    async def stop(_: Event) -> None:
        try:
            queue.stop(timeout=0.1)
        finally:
            stopped.set()

    queue = Queue({"stop": stop}, Config(backend="memory"))
    queue.start()
    queue.create("stop", timedelta())
    assert stopped.wait(60)
    with pytest.raises(QueueStoppedError):
        queue.create("stop", timedelta())


def test_a_move_that_failed_for_good_is_not_trusted(world: World) -> None:
    """P6: what was perhaps given back is called only after a renewal, so a CANCELLED stays true."""
    queue, other = world.queue(operation_timeout_sec=1), world.queue({})
    event_id = held_event(world, queue)
    world.backend.plan("settle", fails_after(unknown()), *[fails(unavailable())] * 50)
    with pytest.raises(OutcomeUnknownError):
        queue.reschedule(event_id, timedelta(hours=1))
    world.backend.heal()
    assert other.cancel(event_id) is CancelOutcome.CANCELLED
    queue.advance(timedelta(minutes=1))
    assert world.calls == []


def test_a_replaced_event_is_not_called(world: World) -> None:
    """An event that this instance holds and that is replaced here is not called any more."""
    queue = world.queue()
    event_id = held_event(world, queue)
    queue.create("note", timedelta(hours=1), "new", id=event_id, if_exists="replace")
    queue.advance(timedelta(hours=2))
    assert [event.data for _, event in world.calls] == ["new"]


def test_a_new_claim_voids_the_old_one(world: World) -> None:
    """P6: an id that was cancelled elsewhere and created again is called as the new event only."""
    queue, other = world.queue(), world.queue({})
    event_id = held_event(world, queue)
    assert other.cancel(event_id) is CancelOutcome.IN_FLIGHT
    queue.create("note", 150 * MILLISECOND, "new", id=event_id)
    queue.advance(timedelta(0))
    assert queue.cancel(event_id) is CancelOutcome.CANCELLED
    queue.advance(timedelta(minutes=1))
    assert world.calls == []


def test_two_instances_cannot_both_create_an_id(world: World) -> None:
    """In virtual time, too, the same id with the same data at the same instant is refused."""
    one, other = world.queue(), world.queue()
    one.create("note", SECOND, "same", id="order")
    with pytest.raises(EventExistsError):
        other.create("note", SECOND, "same", id="order")


def test_created_counts_what_was_stored(world: World) -> None:
    """Kept and refused events are not counted as created, replaced ones are."""
    queue = world.queue()
    queue.create("note", SECOND, id="a")
    queue.create("note", SECOND, id="a", if_exists="keep")
    with pytest.raises(EventExistsError):
        queue.create("note", SECOND, id="a")
    queue.create("note", SECOND, id="a", if_exists="replace")
    assert queue.stats()["created"] == 2


def test_a_requeue_in_doubt(world: World) -> None:
    """A dead letter whose requeue was answered by nobody is not said to be none."""
    queue = world.queue({"note": lambda _: TriggerResult(EventStatus.ERROR)})
    event_id = queue.create("note", timedelta())
    queue.advance(SECOND)
    world.backend.plan("requeue", fails_after(unknown()))
    with pytest.raises(OutcomeUnknownError, match=event_id):
        queue.requeue(event_id)


def test_a_failed_start_leaves_nothing_open() -> None:
    """P8: when the clock cannot be read, the backend that was opened for it is closed."""
    closed = MagicMock()
    with (
        mock.patch.object(MemoryBackend, "now", side_effect=unavailable()),
        mock.patch.object(MemoryBackend, "close", closed),
    ):
        queue = Queue({}, Config(backend="memory"))
        with pytest.raises(BackendUnavailableError):
            queue.start()
    assert closed.call_count == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
def test_a_forked_queue_says_so() -> None:
    """P8: a queue that was opened before a fork is an error in the child, not a deadlock."""
    with Queue({}, Config(backend="memory")) as queue:
        child = os.fork()
        if child == 0:
            try:
                queue.create("note", SECOND)
            except QueueStoppedError:
                os._exit(3)
            os._exit(4)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 3


def test_name_of_an_instance_can_be_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the name of the host is, that of the instance has at most 128 bytes of UTF-8."""
    for host in ("host", "é" * 200, "h" * 255):
        monkeypatch.setattr("socket.gethostname", lambda host=host: host)
        name = queue_module._instance_name()
        assert name.startswith(host[:50])
        assert len(name.encode()) <= 128
