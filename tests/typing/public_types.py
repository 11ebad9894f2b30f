"""What type checkers make of the public names: checked by ``make types``, never run.

An unused ``type: ignore`` is an error too, so the ignored lines prove that misuse is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from futurama import (
    CancelOutcome,
    Config,
    Event,
    EventBackend,
    EventStatus,
    Queue,
    RescheduleOutcome,
    TriggerResult,
)
from futurama.backend import AddOutcome, Capabilities, ClaimBatch, Diagnosable, Finding
from futurama.backends.memory import MemoryBackend
from futurama.backends.mysql import MySQLBackend
from futurama.backends.sqlite import SQLiteBackend
from futurama.testing import VirtualQueue
from futurama.triggers import Trigger


def ring(event: Event) -> TriggerResult | None:
    """A trigger that is a function."""
    assert_type(event.id, str)
    assert_type(event.trigger_type, str)
    assert_type(event.trigger_time, datetime)
    assert_type(event.created, datetime)
    assert_type(event.attempt, int)
    assert_type(event.data, Any)
    event.attempt = 2  # type: ignore[misc]  # events are frozen
    return TriggerResult(EventStatus.RETRY, datetime.now(UTC), {"again": True})


def end(event: Event) -> None:
    """A trigger that says nothing."""


async def call(event: Event) -> TriggerResult:
    """A trigger that is a coroutine function."""
    return TriggerResult(EventStatus.OK)


class Bell:
    """A trigger that is an object."""

    def trigger(self, event: Event) -> TriggerResult | None:
        """Ring."""


class AsyncBell:
    """A trigger that is an object with a coroutine function."""

    async def trigger(self, event: Event) -> None:
        """Ring."""


def shout(event: Event) -> str:
    """Not a trigger: it returns a str."""
    return event.id


def use_a_queue() -> None:
    """The queue as the README uses it."""
    queue = Queue(
        {"ring": ring, "end": end, "call": call, "bell": Bell(), "async bell": AsyncBell()},
        config=Config(backend="sqlite", path="events.db"),
    )
    triggers: dict[str, Trigger] = {"ring": ring, "bell": Bell()}
    with Queue(triggers, backend=MemoryBackend()) as entered:
        assert_type(entered, Queue)
    queue.start()
    assert_type(queue.create("ring", timedelta(seconds=30)), str)
    assert_type(queue.create("ring", datetime.now(UTC), {"a": 1}, id="x", if_exists="keep"), str)
    assert_type(queue.create_many([("ring", timedelta(0)), ("ring", timedelta(0), [1])]), list[str])
    assert_type(queue.cancel("x"), CancelOutcome)
    assert_type(queue.reschedule("x", timedelta(hours=1)), RescheduleOutcome)
    assert_type(queue.reschedule("x", data=None), RescheduleOutcome)
    assert_type(queue.get("x"), Event | None)
    assert_type(queue.stats(), dict[str, Any])
    assert_type(queue.backend, EventBackend)
    assert_type(queue.stop(timeout=timedelta(seconds=5)), bool)

    queue.create("ring", 30)  # type: ignore[arg-type]  # 30 of what?
    queue.create("ring", timedelta(0), None, "x")  # type: ignore[call-arg]  # id by keyword
    queue.create("ring", timedelta(0), if_exists="ignore")  # type: ignore[arg-type]  # no such way
    Queue({"shout": shout})  # type: ignore[dict-item]  # a trigger returns a TriggerResult or None


def configure() -> None:
    """Both ways to a configuration give one."""
    assert_type(Config.from_file("futurama.json"), Config)
    assert_type(Config.from_mapping({"backend": "memory"}), Config)
    assert_type(Config(backend="memory").make_backend(), EventBackend)


def test_a_schedule() -> None:
    """A queue in virtual time is a queue."""
    with VirtualQueue({"ring": ring}) as queue:
        assert_type(queue, VirtualQueue)
        queue.advance(timedelta(days=1))
        is_a_queue: Queue = queue
        is_a_queue.cancel("x")


def implement(backends: tuple[MemoryBackend, SQLiteBackend, MySQLBackend]) -> None:
    """Every backend has the protocol's types, and so can be used wherever it is wanted."""
    all_of_them: Sequence[EventBackend] = backends
    backend = all_of_them[0]
    now = datetime.now(UTC)
    assert_type(backend.capabilities, Capabilities)
    assert_type(backend.now(), datetime)
    assert_type(backend.add([], if_exists="raise"), Sequence[AddOutcome])
    assert_type(backend.cancel([]), Sequence[CancelOutcome])
    assert_type(backend.reschedule([]), Sequence[RescheduleOutcome])
    assert_type(
        backend.claim(owner="me", now=now, due_before=now, lease_until=now, limit=1), ClaimBatch
    )
    assert_type(backend.renew([], now=now, lease_until=now), Sequence[bool])
    assert_type(backend.settle([], now=now), Sequence[bool])
    if isinstance(backend, Diagnosable):
        assert_type(backend.diagnose(), Sequence[Finding])
