"""From a held claim that is due to a report of how its call ended; in virtual time."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from futurama import Event, EventStatus, GiveUp, RetryPolicy, TriggerResult, TryAgain
from futurama.backend import NewEvent, State
from tests.unit.support import MILLISECOND, SECOND, START, World, new_event


def raising(error: BaseException) -> Any:
    """A trigger that raises."""

    def trigger(_: Event) -> None:
        raise error

    return trigger


async def fails_async(event: Event) -> None:
    """A coroutine trigger that fails."""
    await asyncio.sleep(0)
    raise ValueError("async oops")


def returns_awaitable(event: Event) -> Any:
    """A plain function that returns the coroutine of another one."""
    return fails_async(event)


@pytest.mark.parametrize(
    "trigger",
    [raising(ValueError("oops")), raising(SystemExit(1)),
     raising(TryAgain("busy")), fails_async, returns_awaitable,
     lambda _: TriggerResult(EventStatus.RETRY), raising(asyncio.CancelledError())],
    ids=["exception", "exit", "try-again", "async", "awaitable", "retry", "cancelled"],
)  # fmt: skip
def test_failed_calls_are_repeated_and_kept(world: World, trigger: Any) -> None:
    """P5, P7: a failed call is repeated max_retry times by the backoff, then kept as a dead letter."""
    attempts: list[tuple[float, int]] = []

    def spy(event: Event) -> Any:
        attempts.append(((world.time.now() - START).total_seconds(), event.attempt))
        return trigger(event)

    queue = world.queue({"fail": spy}, max_retry=3, retry_base_msec=1000)
    event_id = queue.create("fail", 0 * SECOND)
    queue.advance(timedelta(minutes=5))
    assert [number for _, number in attempts] == [1, 2, 3, 4]
    waits = [b - a for (a, _), (b, _) in pairwise(attempts)]
    for attempt, wait in enumerate(waits, start=1):
        assert 2 ** (attempt - 1) <= wait <= 2**attempt
    stored = world.stored(event_id)
    assert stored is not None
    assert stored.state is State.DEAD
    assert stored.reason is not None
    assert "gave up after 4 attempts" in stored.reason
    stats = queue.stats()
    assert (stats["called"], stats["retried"], stats["buried"]) == (4, 3, 1)
    assert stats["lateness_max_ms"] == 0, "a retry is measured from its own time"


@pytest.mark.parametrize(
    "trigger",
    [raising(GiveUp("never")), lambda _: TriggerResult(EventStatus.ERROR), lambda _: "ok",
     lambda _: EventStatus.OK],
)  # fmt: skip
def test_hopeless_calls_are_kept_at_once(world: World, trigger: Any) -> None:
    """P7: GiveUp, ERROR and unusable results become dead letters after one call."""
    queue = world.queue({"fail": trigger})
    event_id = queue.create("fail", SECOND)
    queue.advance(timedelta(hours=1))
    stored = world.stored(event_id)
    assert stored is not None
    assert (stored.state, stored.attempt, stored.died) == (State.DEAD, 1, START + SECOND)
    assert queue.stats()["called"] == queue.stats()["buried"] == 1


@pytest.mark.parametrize(
    "result",
    [None, *map(TriggerResult, (EventStatus.OK, EventStatus.DEFAULT, EventStatus.CANCEL))],
)
def test_what_ends_an_event(world: World, result: Any) -> None:
    """None, OK, DEFAULT and CANCEL end the event: it is gone, after one call."""
    queue = world.queue({"t": lambda _: result})
    event_id = queue.create("t", SECOND)
    queue.advance(timedelta(hours=1))
    assert world.stored(event_id) is None
    assert queue.stats()["called"] == queue.stats()["succeeded"] == 1


def test_dead_letter_days_0_forgets(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """P7: without dead letters an event that is given up is logged, counted and gone."""
    queue = world.queue({"fail": raising(GiveUp("never"))}, dead_letter_days=0)
    event_id = queue.create("fail", SECOND)
    queue.advance(SECOND)
    assert world.stored(event_id) is None
    assert (queue.stats()["forgotten"], queue.stats()["buried"]) == (1, 0)
    assert f"event {event_id} (fail), attempt 1: never; no further attempt" in caplog.text


def test_retry_with_time_and_data(world: World) -> None:
    """RETRY with a time and data: the next call is then, with these data, and the same event."""
    seen: list[Event] = []

    def trigger(event: Event) -> TriggerResult | None:
        seen.append(event)
        if event.attempt == 1:
            later = world.time.now() + timedelta(hours=2)
            return TriggerResult(EventStatus.RETRY, later, {"page": 2})
        world.note(event)
        return None

    queue = world.queue({"t": trigger})
    event_id = queue.create("t", SECOND, {"page": 1})
    queue.advance(timedelta(hours=3))
    assert [event.data for event in seen] == [{"page": 1}, {"page": 2}]
    assert [when for when, _ in world.calls] == [START + SECOND + timedelta(hours=2)]
    assert {(event.id, event.trigger_time, event.created) for event in seen} == {
        (event_id, START + SECOND, START)
    }


def test_unknown_types_are_not_dropped(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """P7: a type without a trigger is counted and tried again, in time for a new deployment."""
    queue = world.queue(max_retry=5)
    event_id = queue.create("new-feature", SECOND)
    queue.advance(2 * SECOND)
    assert queue.stats()["unknown_type"] >= 1
    assert queue.stats()["called"] == 0
    assert "no trigger is registered for 'new-feature' here" in caplog.text
    queue.stop()
    world.queue({"new-feature": world.note})
    world.advance(minutes=1)
    assert world.called_ids == [event_id]


def test_unknown_types_end_as_dead_letters(world: World) -> None:
    """P7: a type that nobody ever knows is kept as a dead letter, not tried for ever."""
    queue = world.queue(max_retry=2)
    event_id = queue.create("typo", SECOND)
    queue.advance(timedelta(hours=1))
    stored = world.stored(event_id)
    assert stored is not None
    assert stored.state is State.DEAD
    assert stored.reason is not None
    assert "no trigger is registered for 'typo'" in stored.reason
    assert queue.stats()["unknown_type"] == 3


def test_undecodable_data_are_kept(world: World) -> None:
    """P7: data that is not JSON is never given to a trigger; the event is kept with its data."""
    queue = world.queue()
    world.memory.add([new_event("bad", payload=b"{oops")], if_exists="raise")
    queue.advance(SECOND)
    stored = world.stored("bad")
    assert stored is not None
    assert (stored.state, stored.payload) == (State.DEAD, b"{oops")
    assert stored.reason is not None
    assert "not JSON" in stored.reason
    assert world.calls == []
    assert queue.stats()["undecodable"] == queue.stats()["buried"] == 1


def test_what_kills_its_instances_runs_out_of_attempts(world: World) -> None:
    """P7: an event whose calls are never reported is buried, too, instead of killing for ever."""
    world.memory.add([new_event("killer")], if_exists="raise")
    for _ in range(3):
        assert len(world.claim_as_another(lease=SECOND)) == 1
        world.time.sleep(1)
    queue = world.queue(max_retry=2)
    queue.advance(SECOND)
    stored = world.stored("killer")
    assert stored is not None
    assert stored.state is State.DEAD
    assert stored.reason is not None
    assert "attempt 3 did not end, or that was never reported" in stored.reason
    assert world.calls == []


def test_one_trigger_touches_no_other(world: World) -> None:
    """P9: whatever one trigger raises, the others are called at their time."""
    queue = world.queue({"fail": raising(SystemExit(1)), "note": world.note}, max_retry=0)
    for n in range(10):
        queue.create("fail", n * MILLISECOND)
        queue.create("note", n * MILLISECOND)
    queue.advance(SECOND)
    assert [when for when, _ in world.calls] == [START + n * MILLISECOND for n in range(10)]
    assert queue.stats()["buried"] == 10


class Broken(Exception):  # noqa: N818 -- what is wrong with it is something else
    """Raises, whatever it is asked for."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(f"no {name}")

    def __str__(self) -> str:
        raise SystemExit("no text")

    __repr__ = __str__


class BrokenNotes(Exception):  # noqa: N818 -- as above
    """Ends the thread of whoever logs it."""

    @property
    def __notes__(self) -> list[str]:  # type: ignore[override]  # no list, but an end
        raise SystemExit


class BrokenText(Exception):  # noqa: N818 -- as above
    """Cannot be printed."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class BrokenClass(Exception):  # noqa: N818 -- as above
    """Cannot say what it is."""

    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":
            raise RuntimeError("no class")
        return super().__getattribute__(name)


class BrokenData(dict[str, Any]):
    """Cannot be read."""

    def values(self) -> Any:
        raise KeyError("gone")


class BrokenResult(TriggerResult):
    """Does not say what it means."""

    def __getattribute__(self, name: str) -> Any:
        raise ZeroDivisionError


def returning(value: object) -> Any:
    """A trigger that returns this."""
    return lambda _: value


def awaited(trigger: Any) -> Any:
    """The same as a coroutine function."""

    async def coroutine(event: Event) -> Any:
        return trigger(event)

    return coroutine


BROKEN_OUTCOMES = [
    (raising(Broken()), "Broken: <.*Broken object at"),
    (raising(BrokenNotes("hello")), "BrokenNotes: hello"),
    (raising(BrokenText()), "BrokenText: <.*BrokenText object at"),
    (raising(BrokenClass("hello")), "BrokenClass: hello"),
    (returning(BrokenResult(EventStatus.OK)), "cannot be looked at: ZeroDivisionError"),
    (returning(TriggerResult(EventStatus.RETRY, data=BrokenData(a=1))), "looked at: KeyError"),
]


@pytest.mark.parametrize("wrap", [lambda trigger: trigger, awaited], ids=["function", "coroutine"])
@pytest.mark.parametrize(
    ("trigger", "reason"),
    BROKEN_OUTCOMES,
    ids=["nothing", "notes", "text", "class", "result", "data"],
)
def test_an_outcome_that_cannot_be_looked_at(
    world: World, caplog: pytest.LogCaptureFixture, wrap: Any, trigger: Any, reason: str
) -> None:
    """P7, P9: whatever the class of an exception or a result does, it is a failed call like any other."""
    queue = world.queue({"fail": wrap(trigger)}, max_retry=1)
    event_id = queue.create("fail", SECOND)
    queue.advance(timedelta(minutes=1))
    stored = world.stored(event_id)
    assert stored is not None
    assert (stored.state, stored.attempt) == (State.DEAD, 2)
    assert re.search(reason, stored.reason or "")
    assert len(re.findall(reason, caplog.text)) >= 2
    assert "this is a bug" not in caplog.text
    assert queue.stats()["held"] == 0


@pytest.mark.parametrize("wrap", [lambda trigger: trigger, awaited], ids=["function", "coroutine"])
def test_a_result_that_hides_its_class(world: World, wrap: Any) -> None:
    """P7: a value that does not even say what it is ends as a dead letter like any useless result."""

    class Hidden:
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError(f"no {name}")

    queue = world.queue({"fail": wrap(returning(Hidden()))})
    event_id = queue.create("fail", SECOND)
    queue.advance(timedelta(minutes=1))
    stored = world.stored(event_id)
    assert stored is not None
    assert (stored.state, stored.attempt) == (State.DEAD, 1)
    assert "neither None nor a TriggerResult" in (stored.reason or "")


def chained() -> BaseException:
    """An exception whose cause has a text of a megabyte."""
    error = ValueError("short")
    error.__cause__ = KeyError("x" * 10**6)
    return error


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (ValueError("x" * 10**6), "ValueError: xxx"),
        (ExceptionGroup("many", [ValueError("x" * 10**6)]), "many (1 sub-exception)"),
        (chained(), "ValueError: short"),
    ],
    ids=["text", "group", "cause"],
)
def test_a_long_exception_is_cut(
    world: World, caplog: pytest.LogCaptureFixture, error: BaseException, shown: str
) -> None:
    """P8: an exception of a megabyte fills neither the log nor the dead letters; where it came from is kept."""
    queue = world.queue({"fail": raising(error)}, max_retry=0)
    event_id = queue.create("fail", SECOND)
    queue.advance(SECOND)
    stored = world.stored(event_id)
    assert stored is not None
    assert shown in (stored.reason or "")
    assert shown in caplog.text
    assert "in trigger\n" in caplog.text, "the traceback"
    assert len(caplog.text) < 10_000


def test_a_usual_exception_is_logged_as_it_is(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """What collects errors from the log is given the exception that was raised."""
    error = ValueError("oops")
    queue = world.queue({"fail": raising(error)}, max_retry=0)
    queue.create("fail", SECOND)
    queue.advance(SECOND)
    (logged,) = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert logged is error


def test_policies_by_type(world: World) -> None:
    """A type's own retry policy is used instead of the configuration's."""
    queue = world.queue(
        {"a": raising(ValueError()), "b": raising(ValueError())},
        retries={"a": RetryPolicy(max_retry=1, base=SECOND)},
        max_retry=4,
    )
    queue.create("a", SECOND)
    queue.create("b", SECOND)
    queue.advance(timedelta(hours=1))
    assert queue.stats()["called"] == 2 + 5


def test_what_triggers_see(world: World) -> None:
    """P5: every call carries id, attempt and the data as they were given."""
    queue = world.queue()
    data = {"url": "https://example.com", "n": [1, 2.5, None, True], "ü": "日本"}
    event_id = queue.create("note", SECOND, data)
    queue.advance(SECOND)
    assert world.calls == [
        (
            START + SECOND,
            Event(
                id=event_id,
                trigger_type="note",
                trigger_time=START + SECOND,
                data=data,
                attempt=1,
                created=START,
            ),
        )
    ]


class Resource:
    """A trigger object that counts what happens to it."""

    def __init__(self) -> None:
        self.called = 0
        self.closed = 0

    async def trigger(self, event: Event) -> TriggerResult:
        """Work."""
        self.called += 1
        await asyncio.sleep(0)
        return TriggerResult(EventStatus.OK)

    async def aclose(self) -> None:
        """Give back."""
        self.closed += 1


def test_objects_are_called_and_closed(world: World) -> None:
    """A trigger object may serve several types; stopping closes it once."""
    resource = Resource()
    queue = world.queue({"a": resource, "b": resource})
    queue.create("a", SECOND)
    queue.create("b", SECOND)
    queue.advance(SECOND)
    queue.stop()
    assert (resource.called, resource.closed) == (2, 1)


def test_a_failing_close_does_not_fail_the_stop(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """P9: what one trigger raises when it is closed keeps neither the others nor stop."""

    class Bad(Resource):
        async def aclose(self) -> None:
            raise ValueError("oops")

    good = Resource()
    queue = world.queue({"bad": Bad(), "good": good})
    assert queue.stop() is True
    assert good.closed == 1
    assert "closing the trigger for 'bad' failed" in caplog.text


def test_triggers_may_use_the_queue(world: World) -> None:
    """A trigger creates, cancels and moves events of its own queue."""

    def trigger(event: Event) -> None:
        world.note(event)
        if event.data:
            queue.create("note", SECOND, event.data - 1)

    queue = world.queue({"note": trigger})
    queue.create("note", SECOND, 3)
    queue.advance(timedelta(minutes=1))
    assert [when - START for when, _ in world.calls] == [n * SECOND for n in (1, 2, 3, 4)]


def test_a_claim_of_an_old_creation_time(world: World) -> None:
    """``created`` is what the creator wrote, whenever the event is called."""
    world.memory.add(
        [
            NewEvent(
                id="old",
                trigger_type="note",
                trigger_time=START,
                payload=b"1",
                created=START - timedelta(days=400),
            )
        ],
        if_exists="raise",
    )
    world.queue()
    world.advance(seconds=1)
    assert world.calls[0][1].created == START - timedelta(days=400)
