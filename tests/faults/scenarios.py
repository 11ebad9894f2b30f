"""What happens to two instances on one store, and what has to be true afterwards."""

from __future__ import annotations

import contextlib
import random
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs

from futurama import Config, Draft, Queue
from futurama.backend import Query, State
from futurama.errors import FuturamaError
from futurama.times import to_us
from tests.faults.processes import Instance
from tests.faults.record import History, read
from tests.servers import PrivateServer

__all__ = ["LEASE_SECONDS", "Result", "cancel_storm", "killed_instance", "killed_server", "two_processes"]  # fmt: skip

LEASE_SECONDS = 3.0

_GRACE_SECONDS = 2.0
"""What a recovery may take beyond the lease."""

_LEAD_SECONDS = 0.5
"""The first event is due so long after the last was created."""

_PATIENCE_SECONDS = 120.0


@attrs.define
class Result:
    """What was seen.

    Attributes:
        figures: to be printed.
        violations: what must not be; empty if all promises were kept.
    """

    figures: dict[str, Any] = attrs.field(factory=dict)
    violations: list[str] = attrs.field(factory=list)

    def forbid(self, what: str, found: Any) -> None:
        """``found`` should be empty."""
        self.figures[what] = len(found)
        if found:
            self.violations.append(f"{what}: {len(found)}, for example {list(found)[:3]}")


class _Stage:
    """Two instances, and a queue that creates for them."""

    def __init__(self, folder: Path, store: Mapping[str, Any]) -> None:
        self.folder = folder
        self.config = {
            **store,
            "consumer_lock_timeout_sec": LEASE_SECONDS,
            "operation_timeout_sec": 60,
        }
        self.producer = Queue(config=Config.from_mapping(self.config))
        self.producer.start()
        self.instances = [Instance(name, folder, self.config) for name in ("a", "b")]

    def ready(self) -> None:
        """Wait until both instances claim."""
        for instance in self.instances:
            instance.wait_until_ready()

    def create(self, count: int, seconds: float) -> dict[str, datetime]:
        """Create events that are due, evenly, within so many seconds; their ids and times."""
        # Creating takes a moment: what is due must not be late because of that.
        began = time.monotonic()
        ahead = timedelta(seconds=_LEAD_SECONDS + count / 3000)
        first = self.producer.now() + ahead
        drafts = [
            Draft("t", first + timedelta(seconds=n * seconds / count), id=f"e{n}")
            for n in range(count)
        ]
        self.producer.create_many(drafts)
        assert time.monotonic() - began < ahead.total_seconds(), "creating took too long"
        times: dict[str, datetime] = {
            str(draft.id): to_datetime(draft.trigger_time) for draft in drafts
        }
        return times

    def history(self) -> History:
        """What was recorded so far."""
        return read(instance.record for instance in self.instances)

    def wait_until_called(self, count: int) -> None:
        """Wait until so many different events were called. Files offer nothing to wait for: it polls."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while len(self.history().calls) < count and time.monotonic() < deadline:
            time.sleep(0.1)

    def wait_until_empty(self) -> None:
        """Wait until the store has no event left that may still be called."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(FuturamaError):
                counts = self.producer.backend.count()
                if not counts[State.WAITING] + counts[State.CLAIMED]:
                    return
            time.sleep(0.1)

    def held_by(self, owner: str) -> set[str]:
        """The events whose claim is this instance's."""
        held: set[str] = set()
        after = None
        while True:
            page = self.producer.backend.find(Query(state=State.CLAIMED, limit=1000, after=after))
            held.update(event.id for event in page.events if event.owner == owner)
            after = page.next
            if after is None:
                return held

    def busiest(self) -> Instance:
        """The instance that holds the most, as soon as one holds anything."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            held = {instance: len(self.held_by(instance.name)) for instance in self.instances}
            if any(held.values()):
                break
        return max(held, key=lambda instance: held[instance])

    def stop(self) -> None:
        """End everything."""
        for instance in self.instances:
            instance.stop()
        self.producer.stop()


def to_datetime(when: object) -> datetime:
    """A draft's time, which is an instant here."""
    assert isinstance(when, datetime)
    return when


@contextlib.contextmanager
def _stage(folder: Path, store: Mapping[str, Any]) -> Iterator[_Stage]:
    stage = _Stage(folder, store)
    try:
        stage.ready()
        yield stage
    finally:
        stage.stop()


def _judge_calls(result: Result, history: History, ids: Sequence[str] | set[str]) -> None:
    """What holds in every scenario: all were called, none was early, none is unknown."""
    late = history.late_ms()
    result.figures["events"] = len(ids)
    result.figures["called exactly once"] = sum(len(calls) == 1 for calls in history.calls.values())
    result.forbid("never called", set(ids) - history.calls.keys() - history.cancels.keys())
    result.forbid("called although never created", history.calls.keys() - set(ids))
    result.forbid("early", [each for each in late if each < 0])
    if len(late) > 1:
        cuts = statistics.quantiles(late, n=100)
        result.figures["late ms p50"] = round(cuts[49], 2)
        result.figures["late ms p99"] = round(cuts[98], 2)
        result.figures["late ms max"] = round(late[-1], 2)
    result.figures["calls by process"] = dict(
        Counter(fact.process for calls in history.calls.values() for fact in calls)
    )


def two_processes(folder: Path, store: Mapping[str, Any], *, events: int, seconds: float) -> Result:
    """P3, P5: two instances share the events: each is called exactly once."""
    result = Result()
    with _stage(folder, store) as stage:
        times = stage.create(events, seconds)
        stage.wait_until_called(events)
        stage.wait_until_empty()
    history = stage.history()
    _judge_calls(result, history, set(times))
    result.forbid("repeated", history.repeats())
    return result


def killed_instance(
    folder: Path, store: Mapping[str, Any], *, events: int, seconds: float
) -> Result:
    """P1, P5: one of two instances is killed in the middle: every event is called, repeats only for
    what it held, and what it held is called within the lease and two seconds."""
    result = Result()
    with _stage(folder, store) as stage:
        times = stage.create(events, seconds)
        stage.wait_until_called(events // 2)
        victim = stage.busiest()
        victim.kill()
        killed_us = to_us(datetime.now(UTC))
        time.sleep(0.3)  # what it had sent may still be on its way through the server
        held = stage.held_by(victim.name)
        stage.wait_until_called(events)
        stage.wait_until_empty()
        (survivor,) = (each for each in stage.instances if each is not victim)
        survivors_stats = survivor.stats()
    history = stage.history()
    _judge_calls(result, history, set(times))
    repeats = history.repeats()
    result.figures["held by the killed one"] = len(held)
    result.figures["repeats"] = len(repeats)
    result.forbid("repeats of what it did not hold", repeats.keys() - held)
    taken_over = [
        max(calls, key=lambda fact: fact.at_ns)
        for event_id, calls in history.calls.items()
        if event_id in held
    ]
    # Events that were due only after the kill are measured from their time.
    recovery = {
        fact.event_id: (fact.wall_ns / 1000 - max(killed_us, to_us(times[fact.event_id]))) / 1e6
        for fact in taken_over
        if fact.process != victim.name
    }
    result.figures["recovery s max"] = round(max(recovery.values(), default=0.0), 3)
    result.forbid(
        "recovered too late",
        [each for each, s in recovery.items() if s > LEASE_SECONDS + _GRACE_SECONDS],
    )
    never_held = [
        (min(fact.wall_ns for fact in calls) / 1000 - to_us(times[event_id])) / 1e6
        for event_id, calls in history.calls.items()
        if event_id not in held and to_us(times[event_id]) > killed_us
    ]
    result.figures["late s max, never held by it"] = round(max(never_held, default=0.0), 3)
    result.figures["lost by the survivor"] = survivors_stats["lost"]
    return result


def killed_server(
    folder: Path, server: PrivateServer, store: Mapping[str, Any], *, events: int, seconds: float
) -> Result:
    """P1, P9: the database server is killed and restarted while events are created and called:
    every event whose creation was acknowledged is called, and both instances recover by themselves."""
    result = Result()
    acknowledged: list[str] = []
    doubtful: list[str] = []
    creators = 4
    server_is_back_us = 0
    with _stage(folder, store) as stage:
        first = stage.producer.now() + timedelta(seconds=_LEAD_SECONDS)

        def create(part: int) -> None:
            for n in range(part, events, creators):
                when = first + timedelta(seconds=n * seconds / events)
                pause = (when - datetime.now(UTC)).total_seconds() - _LEAD_SECONDS
                time.sleep(max(0.0, pause))
                try:
                    acknowledged.append(stage.producer.create("t", when, id=f"e{n}"))
                except FuturamaError:
                    doubtful.append(f"e{n}")

        threads = [threading.Thread(target=create, args=[part]) for part in range(creators)]
        for thread in threads:
            thread.start()
        stage.wait_until_called(events // 3)
        server.kill()
        killed = time.monotonic()
        time.sleep(0.5)
        server.start()
        result.figures["server away s"] = round(time.monotonic() - killed, 2)
        server_is_back_us = to_us(datetime.now(UTC))
        for thread in threads:
            thread.join()
        stage.wait_until_called(len(acknowledged))
        stage.wait_until_empty()
        for instance in stage.instances:
            stats = instance.stats()
            result.figures[f"instance {instance.name}"] = {
                name: stats[name] for name in ("called", "lost", "backend_errors", "held")
            }
    history = stage.history()
    _judge_calls(result, history, {*acknowledged, *doubtful} & {*acknowledged, *history.calls})
    result.figures["acknowledged"] = len(acknowledged)
    result.figures["creations in doubt"] = len(doubtful)
    result.figures["repeats"] = len(history.repeats())
    after = Counter(
        fact.process
        for calls in history.calls.values()
        for fact in calls
        if fact.wall_ns / 1000 > server_is_back_us
    )
    result.figures["calls after the restart"] = dict(after)
    first_after = min(
        (
            fact.wall_ns / 1000
            for calls in history.calls.values()
            for fact in calls
            if fact.wall_ns / 1000 > server_is_back_us
        ),
        default=0.0,
    )
    result.figures["first call after the restart s"] = round(
        (first_after - server_is_back_us) / 1e6, 3
    )
    result.forbid("instances that did not recover", {"a", "b"} - after.keys())
    return result


def cancel_storm(folder: Path, store: Mapping[str, Any], *, events: int, seconds: float) -> Result:
    """P6: events are cancelled from two processes within 5 ms of their time: after CANCELLED no call
    starts, and each event is either called or cancelled."""
    result = Result()
    chance = random.Random(events)
    with _stage(folder, store) as stage:
        times = stage.create(events, seconds)
        plans = [folder / "a.plan", folder / "b.plan"]
        lines: list[list[str]] = [[], []]
        for event_id, when in times.items():
            at_us = to_us(when) + chance.randint(-5000, 5000)
            chance.choice(lines).append(f"{event_id} {at_us}")
        for plan, instance, some in zip(plans, stage.instances, lines, strict=True):
            plan.write_text("\n".join(some))
            instance.start_cancelling(plan)
        for instance in stage.instances:
            instance.wait_until_cancelled()
        stage.wait_until_empty()
    history = stage.history()
    _judge_calls(result, history, set(times))
    result.forbid("repeated", history.repeats())
    outcomes = {event_id: cancels[0] for event_id, cancels in history.cancels.items()}
    result.figures["answers"] = dict(Counter(each.outcome for each in outcomes.values()))
    result.forbid("without an answer", times.keys() - outcomes.keys())
    result.forbid(
        "errors", [e for e, c in outcomes.items() if c.outcome not in
                   {"cancelled", "in_flight", "not_found"}],
    )  # fmt: skip
    cancelled = {e: c for e, c in outcomes.items() if c.outcome == "cancelled"}
    result.forbid(
        "calls that started after CANCELLED",
        [
            e
            for e, c in cancelled.items()
            for call in history.calls.get(e, [])
            if call.at_ns > c.at_ns
        ],
    )
    result.forbid("called and CANCELLED", cancelled.keys() & history.calls.keys())
    neither = times.keys() - cancelled.keys() - history.calls.keys()
    dropped = {e for e in neither if e in outcomes and outcomes[e].outcome == "in_flight"}
    result.figures["IN_FLIGHT and never called"] = len(dropped)
    result.forbid("neither called nor cancelled", neither - dropped)
    return result
