"""One instance of an application: its machine, its queue, and what its triggers do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import attrs

from futurama import Config, Event, EventStatus, GiveUp, Queue, TriggerResult
from futurama.conformance.account import Ending
from futurama.errors import FuturamaError
from tests.faults.client import Client
from tests.faults.recorded import RecordedBackend
from tests.simulation.faults import FaultyBackend
from tests.simulation.journal import Diary
from tests.simulation.world import Died, Lock, Machine

__all__ = ["TRIGGER_TYPES", "Application", "Dangers", "Instance"]

_CHILD = {"does": "succeed", "times": 0, "us": 0, "asks": []}
"""The data of an event that a trigger creates."""

TRIGGER_TYPES = ("thread", "coroutine")
"""How a trigger is made; both do the same."""

_WAITED_SHARE = 0.85
"""So much of the time that it is given an instance waits for functions; the rest is for coroutines."""


@attrs.define
class Dangers:
    """What may happen to an instance around a call.

    Attributes:
        dies: how often it dies in one.
        stops: how often it is stopped just before one begins.
        stops_us: for how long, at most.
    """

    dies: float = 0.0
    stops: float = 0.0
    stops_us: int = 0

    def end(self) -> None:
        """Nothing happens any more."""
        self.dies = self.stops = 0.0


class Application:
    """What the triggers of an instance do, as the data of their events say.

    Args:
        machine: where they run.
        diary: of the machine.
        chance: decides what goes wrong.
        dangers: how often.
        calls: how often each event was called, on any machine.
        timeout_us: how long a call may take; 0: as long as it likes.

    Attributes:
        asks: called with what a trigger asks of its own queue: ``["create", time]``,
            ``["cancel", id]`` or, as soon as it has returned, ``["move soon", id, time]``.
    """

    def __init__(
        self,
        machine: Machine,
        diary: Diary,
        chance: Random,
        dangers: Dangers,
        *,
        calls: Counter[str],
        timeout_us: int,
    ) -> None:
        self.asks: Callable[[list[Any]], None] = lambda _: None
        self._machine = machine
        self._diary = diary
        self._chance = chance
        self._dangers = dangers
        self._calls = calls
        self._timeout_us = timeout_us

    @property
    def triggers(self) -> Mapping[str, Any]:
        """One of each type."""

        async def call_async(event: Event) -> TriggerResult | None:
            return self._call(event)

        return {"thread": self._call, "coroutine": call_async}

    def _call(self, event: Event) -> TriggerResult | None:
        if self._chance.random() < self._dangers.stops:
            self._stop()
        number = self._diary.begin(
            "call", {"event_id": event.id, "attempt": event.attempt, "data": event.data}
        )
        self._calls[event.id] += 1
        is_repeated = self._calls[event.id] > event.data["times"]
        action = "succeed" if is_repeated else event.data["does"]
        # Given up every time, it would be buried, or called for longer than the run lasts.
        is_quick = is_repeated and 0 < self._timeout_us <= event.data["us"]
        self._machine.wait(0 if is_quick else event.data["us"])
        for request in event.data["asks"]:
            self.asks(request)
        self._may_die()
        result = self._end(number, action)
        self._may_die()
        return result

    def _end(self, number: int, action: str) -> TriggerResult | None:
        match action:
            case "fail":
                self._diary.end(number, Ending.FAILED)
                raise RuntimeError("as planned")
            case "retry":
                self._diary.end(number, Ending.FAILED)
                return TriggerResult(EventStatus.RETRY)
            case "give up":
                self._diary.end(number, Ending.GAVE_UP)
                raise GiveUp("as planned")
            case _:
                self._diary.end(number, Ending.SUCCEEDED)
                return None

    def _stop(self) -> None:
        """No instance can exclude that it is stopped after its last look at the lease."""
        with self._diary.disturbed(stops=True):
            self._machine.stand_still(self._chance.randrange(1, self._dangers.stops_us))
            self._machine.wait(0)

    def _may_die(self) -> None:
        if self._chance.random() < self._dangers.dies:
            self._diary.dies()
            raise Died


class Instance:
    """A queue on a machine, and the one client in its process.

    Args:
        machine: where it runs.
        diary: of the machine.
        backend: its connection.
        config: of the queue.
        application: its triggers; None: it only creates, cancels and moves.
    """

    def __init__(
        self,
        machine: Machine,
        diary: Diary,
        backend: FaultyBackend,
        config: Config,
        application: Application | None,
    ) -> None:
        self.machine = machine
        self.diary = diary
        self.backend = backend
        self.queue = Queue(
            None if application is None else application.triggers,
            config,
            backend=RecordedBackend(backend, diary),
            runtime=machine,
        )
        lifecycle: Any = Lock(machine)
        self.queue._lifecycle = lifecycle
        self.is_stopping = False
        self._client = Client(self.queue, diary)
        if application is not None:
            application.asks = self._ask_from_trigger

    @property
    def is_free(self) -> bool:
        """Whether a client would be served."""
        return self.machine.is_alive and not self.machine.stands_still

    @property
    def held_ids(self) -> Sequence[str]:
        """The events on which it holds claims."""
        scheduler = self.queue._scheduler
        return [] if scheduler is None else list(scheduler._held._by_id)

    def will_call(self, event_id: str | None = None) -> bool:
        """Whether it holds a claim, or the claim on this event, that it has not called yet."""
        scheduler = self.queue._scheduler
        held = {} if scheduler is None else scheduler._held._by_id
        return any(each.is_callable and event_id in {None, each.claim.id} for each in held.values())

    def start(self) -> bool:
        """Begin to claim; whether that worked."""
        try:
            self.queue.start()
        except FuturamaError:
            return False
        assert self.queue._scheduler is not None
        reporter: Any = self.queue._scheduler._reporter
        reporter._writing = Lock(self.machine)
        return True

    def stop(self, seconds: float) -> None:
        """Stop in order, and end with whatever still runs then.

        That explains why a call is made again only if the time it was given was over.
        """
        self.is_stopping = True
        self.machine.wait(0)
        self.diary.leaves()
        began_us = self.machine.monotonic_us()
        self.queue.stop(seconds)
        took_us = self.machine.monotonic_us() - began_us
        self.diary.exits(is_cut_short=took_us >= _WAITED_SHARE * seconds * 1e6)

    def create(self, event_id: str, trigger_type: str, trigger_us: int, data: Any) -> None:
        """See Client, as for all that follows."""
        with self.machine.asks():
            self._client.create(event_id, trigger_type, trigger_us, data)

    def cancel(self, event_id: str) -> None:
        with self.machine.asks():
            self._client.cancel(event_id)

    def move(self, event_id: str, trigger_us: int) -> None:
        with self.machine.asks():
            self._client.move(event_id, trigger_us)

    def _ask_from_trigger(self, request: list[Any]) -> None:
        if not self.is_free:
            return
        match request:
            case ["create", trigger_us]:
                child = f"{self.machine.name}.{len(self.diary.operations())}"
                self.create(child, "thread", trigger_us, _CHILD)
            case ["cancel", event_id]:
                self.cancel(event_id)
            case ["move soon", event_id, trigger_us]:
                self.machine.later(lambda: self._move_if_free(event_id, trigger_us))

    def _move_if_free(self, event_id: str, trigger_us: int) -> None:
        if self.is_free:
            self.move(event_id, trigger_us)
