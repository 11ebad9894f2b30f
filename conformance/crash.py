"""A process that is killed in the middle of its work, and what it had been promised."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from multiprocessing.connection import Connection
from random import Random
from typing import Any

import attrs

from futurama.backend import Claim, EventBackend, NewEvent, Settlement
from futurama.conformance import rules
from futurama.conformance.author import Connect
from futurama.conformance.failure import SAME_STORE, LawBroken
from futurama.conformance.instance import CALLS, instance
from futurama.conformance.literals import as_python
from futurama.conformance.model import Model
from futurama.conformance.processes import Child, child
from futurama.conformance.stage import all_events
from futurama.conformance.strategies import START

__all__ = ["kill_and_look"]

_BATCH = 5
_MOST_CALLS = 60
"""The victim lives for so many calls at most."""
_MOST_DELAY_SECONDS = 0.003
"""A call takes about as long, so that the kill hits any moment of it."""


@attrs.frozen
class _Call:
    """A call that the victim is about to make."""

    operation: str
    arguments: Mapping[str, Any]


def kill_and_look(connect: Connect, random: Random, resolution: timedelta) -> None:
    """Let a process work on an empty store, kill it, and look at what is there.

    Args:
        connect: makes instances on the store.
        random: decides what the process does and when it is killed.
        resolution: of the backend.

    Raises:
        LawBroken: something acknowledged is not there, or something that was never asked for is.
    """
    told = _Told(resolution)
    with child(connect, _Victim(random.random(), resolution)) as victim:
        for _ in range(random.randint(1, _MOST_CALLS)):
            told.hear(victim)
        time.sleep(random.uniform(0, _MOST_DELAY_SECONDS))  # not to wait, but to aim
        victim.kill()
        try:
            while True:
                told.hear(victim)  # acknowledged as well, only not read yet
        except EOFError:
            pass
    CALLS.add(told.calls)
    backend = instance(connect())
    backend.open()
    try:
        told.compare(backend)
    finally:
        backend.close()


class _Told:
    """What the victim said: the calls that were answered, and perhaps one that was not.

    Each item of an unanswered call may have taken effect or not; everything else is certain.
    """

    def __init__(self, resolution: timedelta) -> None:
        self.calls = 0
        self._certain = Model(resolution)
        self._possible = Model(resolution)

    def hear(self, victim: Child) -> None:
        """Take one call and its answer; without the answer the call stays merely possible."""
        call: _Call = victim.receive()
        self.calls += 1
        self._possible.events = dict(self._certain.events)
        self._make(self._possible, call, None)
        answer = victim.receive()
        self._make(self._certain, call, answer)
        self._possible.events = dict(self._certain.events)

    def compare(self, backend: EventBackend) -> None:
        """Raise :class:`LawBroken` unless ``backend`` holds what was said."""
        seen = {event.id: event for event in all_events(backend)}
        certain, possible = self._certain.events, self._possible.events
        for event_id in sorted(certain.keys() | possible.keys() | seen.keys()):
            allowed = [certain.get(event_id), possible.get(event_id)]
            actual = seen.get(event_id)
            if not any(rules.shows(stored, actual, self._certain.step) for stored in allowed):
                hint = "" if seen else f" ({SAME_STORE})"
                raise LawBroken(
                    "crash.acknowledged",
                    expected=f"{event_id!r} as acknowledged{hint}: {_text(allowed[0])}",
                    actual=actual or "it is absent",
                )

    @staticmethod
    def _make(model: Model, call: _Call, answer: Any) -> None:
        arguments = dict(call.arguments)
        if call.operation != "claim":
            getattr(model, call.operation)(**arguments)
            return
        owner, lease_until = arguments.pop("owner"), arguments.pop("lease_until")
        tokens = {claim.id: claim.token for claim in answer.claims} if answer else {}
        for event in model.due_for_claim(**arguments):
            model.events[event.id] = rules.claim(
                event,
                owner=owner,
                lease_until=lease_until,
                token=tokens.get(event.id, b"unknown"),
                step=model.step,
            )


def _text(stored: rules.Stored | None) -> str:
    return "absent" if stored is None else as_python(stored.visible())


class _Victim:
    """The child's job: adds, claims and settles for ever, and tells the parent of each call twice.

    Before the call it sends what it will do, afterwards what the answer was.
    """

    def __init__(self, seed: float, resolution: timedelta) -> None:
        self._seed = seed
        self._resolution = resolution

    def __call__(self, backend: EventBackend, pipe: Connection) -> None:
        random = Random(self._seed)
        held: list[Claim] = []
        number = 0
        while True:
            number += 1
            call = self._next(random, held, number)
            pipe.send(call)
            answer = getattr(backend, call.operation)(**call.arguments)
            pipe.send(answer)
            if call.operation != "add":
                held = list(answer.claims) if call.operation == "claim" else []

    def _next(self, random: Random, held: list[Claim], number: int) -> _Call:
        now = START + number * self._resolution
        match random.choice(["add", "add", "claim", "settle"]):
            case "settle" if held:
                settlements = [_report(random, claim) for claim in held]
                return _Call("settle", {"settlements": settlements, "now": now})
            case "claim" if not held:
                return _Call(
                    "claim",
                    {
                        "owner": "victim",
                        "now": now,
                        "due_before": now,
                        "lease_until": now + 1000 * self._resolution,
                        "limit": _BATCH,
                    },
                )
        events = [
            NewEvent(
                id=f"{number}.{index}",
                trigger_type="t",
                trigger_time=now,
                payload=random.randbytes(random.randrange(100)),
                created=now,
            )
            for index in range(_BATCH)
        ]
        return _Call("add", {"events": events, "if_exists": "raise"})


def _report(random: Random, claim: Claim) -> Settlement:
    return random.choice(
        [
            Settlement.done(claim),
            Settlement.release(claim),
            Settlement.retry(claim, claim.due),
            Settlement.bury(claim, "why"),
        ]
    )
