"""What applications ask of a queue, written down."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

import attrs

from futurama import Queue
from futurama.backend import NewEvent
from futurama.errors import FuturamaError
from futurama.times import from_us, to_us
from tests.faults.record import Recorder

__all__ = ["Client", "Load", "Plan"]


class Client:
    """Creates, cancels and moves events, and writes down what it was told.

    Args:
        queue: through which it asks.
        recorder: of this process.
    """

    def __init__(self, queue: Queue, recorder: Recorder) -> None:
        self.queue = queue
        self._recorder = recorder

    def create(self, event_id: str, trigger_type: str, trigger_us: int, data: Any) -> None:
        """Create one event; an error is written down and otherwise passed over."""
        self._ask(
            "create",
            {"event_id": event_id, "trigger_us": trigger_us, "data": data},
            lambda: self.queue.create(trigger_type, from_us(trigger_us), data, id=event_id),
        )

    def write(self, event_id: str, trigger_type: str, trigger_us: int, payload: bytes) -> None:
        """Store bytes as they are, as a program that is not ours would; nobody decodes them before."""
        at = from_us(trigger_us)
        event = NewEvent(
            id=event_id, trigger_type=trigger_type, trigger_time=at, payload=payload, created=at
        )
        self._ask(
            "create",
            {"event_id": event_id, "trigger_us": trigger_us, "data": payload},
            lambda: self.queue.backend.add([event], if_exists="raise")[0],
        )

    def cancel(self, event_id: str) -> None:
        """Cancel one event."""
        self._ask("ask to cancel", {"event_id": event_id}, lambda: self.queue.cancel(event_id))

    def move(self, event_id: str, trigger_us: int) -> None:
        """Give one event another time."""
        self._ask(
            "ask to move",
            {"event_id": event_id, "trigger_us": trigger_us},
            lambda: self.queue.reschedule(event_id, from_us(trigger_us)),
        )

    def _ask(self, what: str, arguments: Mapping[str, Any], do: Callable[[], object]) -> None:
        with contextlib.suppress(FuturamaError):
            self._recorder.around(what, arguments, do)


@attrs.frozen(kw_only=True)
class Plan:
    """What a load consists of.

    Attributes:
        events: how many.
        seconds: within which they are due, evenly.
        seed: of everything that is left to chance.
        prefix: of their ids.
        deeds: what the triggers of their events do, each as often as its weight.
        call_seconds: how long each call takes.
        cancelled, moved: the shares of events that somebody cancels, or moves, about when they are due.
    """

    events: int = 2000
    seconds: float = 8.0
    seed: int
    prefix: str = "e"
    deeds: Mapping[str, int] = attrs.field(
        factory=lambda: {"succeed": 90, "an exception": 5, "return RETRY": 3, "give up": 2}
    )
    call_seconds: float = 0.0
    cancelled: float = 0.06
    moved: float = 0.06


_CLIENTS = 8


class Load:
    """Eight threads that carry out a plan, each step at its time or as soon as one of them is free.

    Args:
        client: asks.
        plan: what.

    Attributes:
        dues: when each event is due, in microseconds since 1970, by id.
    """

    def __init__(self, client: Client, plan: Plan) -> None:
        self._client = client
        self._plan = plan
        self.dues = _dues(client, plan)
        self._steps = _steps(client, plan, self.dues)
        self._next = threading.Lock()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(_CLIENTS)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    @property
    def is_running(self) -> bool:
        """Whether something has yet to be asked or answered."""
        return any(thread.is_alive() for thread in self._threads)

    def join(self, timeout: float) -> None:
        """Wait until everything was asked and answered."""
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        assert not self.is_running, "clients are still waiting for answers"

    def abandon(self) -> None:
        """Ask nothing more: the scenario has failed."""
        with self._next:
            self._steps.clear()

    def _work(self) -> None:
        while True:
            with self._next:
                if not self._steps:
                    return
                at_us, step = self._steps.pop()
            time.sleep(max(0.0, at_us / 1e6 - time.time()))
            step()


def _dues(client: Client, plan: Plan) -> Mapping[str, int]:
    begin_us = to_us(client.queue.now() + timedelta(seconds=1.5))
    return {
        f"{plan.prefix}{number}": begin_us + int(number * plan.seconds / plan.events * 1e6)
        for number in range(plan.events)
    }


def _steps(
    client: Client, plan: Plan, dues: Mapping[str, int]
) -> list[tuple[int, Callable[[], None]]]:
    """What to do when, in microseconds since 1970, the last first."""
    chance = random.Random(plan.seed)
    steps: list[tuple[int, Callable[[], None]]] = []
    for event_id, due_us in dues.items():
        steps.append(_creation(client, plan, chance, event_id, due_us))
        asks = chance.random()
        if asks < plan.cancelled:
            at_us = due_us + chance.randint(-400_000, 20_000)
            steps.append((at_us, partial(client.cancel, event_id)))
        elif asks < plan.cancelled + plan.moved:
            at_us = due_us - chance.randint(0, 400_000)
            to = due_us + chance.randint(200_000, 1_000_000)
            steps.append((at_us, partial(client.move, event_id, to)))
    return sorted(steps, key=lambda step: -step[0])


def _creation(
    client: Client, plan: Plan, chance: random.Random, event_id: str, due_us: int
) -> tuple[int, Callable[[], None]]:
    deeds = list(plan.deeds)
    data: dict[str, Any] = {"does": chance.choices(deeds, list(plan.deeds.values()))[0]}
    if plan.call_seconds:
        data["seconds"] = plan.call_seconds
    trigger_type = "coroutine" if chance.random() < 0.1 else "thread"
    at_us = due_us - chance.randint(500_000, 1_500_000)
    return at_us, partial(client.create, event_id, trigger_type, due_us, data)
