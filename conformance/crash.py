"""A process that is killed in the middle of its work, and what it had been promised."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from multiprocessing.connection import Connection
from random import Random
from typing import Any, Final

import attrs

from futurama.backend import Claim, EventBackend, Move, NewEvent, Settlement, State, StoredEvent
from futurama.conformance import rules
from futurama.conformance.author import Author, Connect
from futurama.conformance.failure import SAME_STORE, LawBroken, where
from futurama.conformance.instance import CALLS, instance
from futurama.conformance.literals import as_python
from futurama.conformance.lockstep import Lockstep
from futurama.conformance.model import Model
from futurama.conformance.pages import all_events
from futurama.conformance.processes import Child, child
from futurama.conformance.strategies import START

__all__ = ["kill_and_look"]

_IDS: Final = [f"e{number}" for number in range(24)]
"""Few enough that calls of all kinds meet on them, so many that traces of most remain."""
_BATCH: Final = 4
_LEASES: Final = (6, 1000)
"""In calls: some leases end while the victim lives, most do not."""
_FAR: Final = 10_000
"""In calls: all leases have ended by then."""
_MOST_CALLS: Final = 120
"""The victim lives for so many calls at most."""
_MOST_DELAY_SECONDS: Final = 0.003
"""A call takes about as long, so that the kill hits any moment of it."""
_WEIGHTS: Final = {
    "add": 4,
    "claim": 4,
    "settle": 4,
    "renew": 3,
    "cancel": 1,
    "reschedule": 2,
    "requeue": 2,
    "purge": 1,
}
"""How often the victim makes each call."""


@attrs.frozen
class _Call:
    """A call that the victim is about to make."""

    operation: str
    arguments: Mapping[str, Any]


def kill_and_look(author: type[Author], connect: Connect, random: Random, *, at_rest: bool) -> None:
    """Let a process work on an empty store, kill it, and go on with what it left.

    Args:
        author: what is said of the backend.
        connect: makes instances on the store.
        random: decides what the process does and when it is killed.
        at_rest: kill it when its last call has been answered, and not in the middle of one.

    Raises:
        LawBroken: something acknowledged is not there, or something that was never asked for is.
    """
    step = author.capabilities.resolution
    told = _Told(step)
    seed, calls = random.random(), random.randint(1, _MOST_CALLS)
    with child(connect, _Victim(seed, step, calls if at_rest else None)) as victim:
        for _ in range(calls):
            told.hear(victim)
        if not at_rest:
            time.sleep(random.uniform(0, _MOST_DELAY_SECONDS))  # not to wait, but to aim
        victim.kill()
        try:
            while True:
                told.hear(victim)  # acknowledged as well, only not read yet
        except EOFError:
            pass
    CALLS.add(told.calls)
    backend = instance(connect())
    with _surviving("open"):
        backend.open()
    try:
        with _surviving("find"):
            events = all_events(backend.find)
        run = Lockstep([backend], author.capabilities, hooks=author.hooks())
        run.model.events = told.compare(events)
        _go_on(run, told, random)
    finally:
        backend.close()


@contextmanager
def _surviving(operation: str) -> Iterator[None]:
    """An exception here comes of what the killed process left behind."""
    try:
        yield
    except LawBroken:
        raise
    except Exception as error:
        raise LawBroken(
            "crash.acknowledged",
            expected=f"{operation}() succeeds on what a process has left that was killed",
            actual=error,
            raised=where(error),
        ) from error


class _Told:
    """What the victim said: the calls that were answered, and perhaps one that was not.

    Each item of an unanswered call may have taken effect or not; everything else is certain.

    Attributes:
        calls: how many it made.
        claims: the latest claim on each event that it got.
    """

    def __init__(self, step: timedelta) -> None:
        self.calls = 0
        self.claims: dict[str, Claim] = {}
        self._certain = Model(step)
        self._possible = Model(step)

    def hear(self, victim: Child) -> None:
        """Take one call and its answer; without the answer the call stays merely possible."""
        call: _Call = victim.receive()
        self.calls += 1
        self._possible.events = dict(self._certain.events)
        _follow(self._possible, call, ())
        answer = victim.receive()
        claims = answer.claims if call.operation == "claim" else ()
        self.claims |= {claim.id: claim for claim in claims}
        _follow(self._certain, call, claims)
        self._possible.events = dict(self._certain.events)

    def compare(self, events: Sequence[StoredEvent]) -> dict[str, rules.Stored]:
        """What is stored if these are all events; :class:`LawBroken` if that cannot be."""
        stored: dict[str, rules.Stored] = {}
        seen = {event.id: event for event in events}
        certain, possible = self._certain.events, self._possible.events
        for event_id in sorted(certain.keys() | possible.keys() | seen.keys()):
            allowed = [certain.get(event_id), possible.get(event_id)]
            actual = seen.get(event_id)
            right = [one for one in allowed if rules.shows(one, actual, self._certain.step)]
            if not right:
                hint = "" if seen else f" ({SAME_STORE})"
                wanted, got = _compared(allowed[0], actual)
                raise LawBroken(
                    "crash.acknowledged",
                    expected=f"{event_id!r} as acknowledged{hint}: {wanted}",
                    actual=got,
                )
            if right[0] is not None:
                stored[event_id] = right[0]
        return stored


def _follow(model: Model, call: _Call, claims: Sequence[Claim]) -> None:
    """Let the oracle make the call, which gave these claims."""
    arguments = dict(call.arguments)
    if call.operation != "claim":
        getattr(model, call.operation)(**arguments)
        return
    owner, lease_until = arguments.pop("owner"), arguments.pop("lease_until")
    tokens = {claim.id: claim.token for claim in claims}
    for event in model.due_for_claim(**arguments):
        model.events[event.id] = rules.claim(
            event,
            owner=owner,
            lease_until=lease_until,
            token=tokens.get(event.id, b"unknown"),
            step=model.step,
        )


def _go_on(run: Lockstep, told: _Told, random: Random) -> None:
    """Let a new instance report the claims of the victim, renew them and hand out everything."""
    now = START + told.calls * run.step
    claims = list(told.claims.values())
    try:
        run.count()
        run.renew(claims[::2], now=now, lease_until=now + _LEASES[-1] * run.step)
        run.settle([_report(random, claim, now) for claim in claims[1::2]], now=now)
        far = now + _FAR * run.step
        while run.claim(now=far, lease_until=far + run.step, limit=_BATCH):
            pass
    except LawBroken as broken:
        raise LawBroken(
            "crash.acknowledged",
            expected=f"in a new instance, with the claims that the killed one got: {broken.law}: "
            f"{as_python(broken.expected)}",
            actual=broken.actual,
            raised=broken.raised,
        ) from None


def _compared(stored: rules.Stored | None, seen: StoredEvent | None) -> tuple[str, str]:
    """Both in words; of two events only what differs."""
    if stored is None or seen is None:
        return (
            "it is absent" if stored is None else as_python(stored.visible()),
            "it is absent" if seen is None else as_python(seen),
        )
    events = (stored.visible(), seen)
    names = [field.name for field in attrs.fields(StoredEvent)]
    differing = [name for name in names if getattr(events[0], name) != getattr(events[1], name)]
    wanted, got = (
        ", ".join(f"{name}={as_python(getattr(event, name))}" for name in differing)
        for event in events
    )
    return wanted, got


class _Victim:
    """The child's job: makes calls of all kinds, and tells the parent of each call twice.

    Before the call it sends what it will do, afterwards what the answer was. Nearly every call
    changes something, so that it shows if the last one is forgotten.

    Args:
        seed: decides which calls.
        step: the resolution.
        calls: how many; then it waits to be killed. None: it never stops.
    """

    def __init__(self, seed: float, step: timedelta, calls: int | None) -> None:
        self._random = Random(seed)
        self._numbers: Iterable[int] = itertools.count() if calls is None else range(calls)
        self._step = step
        self._now = START
        self._model = Model(step)
        self._claims: dict[str, Claim] = {}
        self._calls: Mapping[str, Callable[[], _Call | None]] = {
            "add": self._add,
            "cancel": self._cancel,
            "reschedule": self._reschedule,
            "claim": self._claim,
            "renew": self._renew,
            "settle": self._settle,
            "requeue": self._requeue,
            "purge": self._purge,
        }

    def __call__(self, backend: EventBackend, pipe: Connection) -> None:
        for _ in self._numbers:
            self._now += self._step
            call = self._next()
            pipe.send(call)
            answer = getattr(backend, call.operation)(**call.arguments)
            pipe.send(answer)
            claims = answer.claims if call.operation == "claim" else ()
            self._claims |= {claim.id: claim for claim in claims}
            _follow(self._model, call, claims)
        pipe.recv()

    def _next(self) -> _Call:
        """A random call that there is something to do for."""
        while True:
            (operation,) = self._random.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
            call = self._calls[operation]()
            if call is not None:
                return call

    def _add(self) -> _Call:
        ids = self._random.sample(_IDS, _BATCH)
        choice = self._random.choice(["keep", "replace"])
        return _Call("add", {"events": [self._event(each) for each in ids], "if_exists": choice})

    def _cancel(self) -> _Call | None:
        ids = self._some(State.WAITING, State.CLAIMED)[:1]
        return _Call("cancel", {"ids": ids}) if ids else None

    def _reschedule(self) -> _Call | None:
        moves = [self._move(event_id) for event_id in self._some(State.WAITING)]
        return _Call("reschedule", {"moves": moves}) if moves else None

    def _claim(self) -> _Call | None:
        now, limit = self._now, self._random.randint(1, _BATCH)
        if not self._model.due_for_claim(now=now, due_before=now, limit=1):
            return None
        times = {"now": now, "due_before": now, "lease_until": self._lease_until()}
        return _Call("claim", {"owner": "victim", **times, "limit": limit})

    def _renew(self) -> _Call | None:
        claims = self._some_claims()
        times = {"now": self._now, "lease_until": self._lease_until()}
        return _Call("renew", {"claims": claims, **times}) if claims else None

    def _settle(self) -> _Call | None:
        reports = [_report(self._random, claim, self._now) for claim in self._some_claims()]
        return _Call("settle", {"settlements": reports, "now": self._now}) if reports else None

    def _requeue(self) -> _Call | None:
        ids = self._some(State.DEAD)
        return _Call("requeue", {"ids": ids, "now": self._now}) if ids else None

    def _purge(self) -> _Call | None:
        return _Call("purge", {"before": self._now}) if self._some(State.DEAD) else None

    def _some(self, *states: State) -> list[str]:
        """A few of the events in these states."""
        ids = [event.id for event in self._model.in_order() if event.state in states]
        return self._random.sample(ids, min(len(ids), self._random.randint(1, _BATCH)))

    def _some_claims(self) -> list[Claim]:
        """The latest claims on a few of the claimed events; some of them have ended."""
        return [self._claims[event_id] for event_id in self._some(State.CLAIMED)]

    def _event(self, event_id: str) -> NewEvent:
        return NewEvent(
            id=event_id,
            trigger_type="t",
            trigger_time=self._now,
            payload=self._random.randbytes(self._random.randrange(100)),
            created=self._now,
        )

    def _move(self, event_id: str) -> Move:
        trigger_time = self._now + self._random.randint(-2, 20) * self._step
        return Move(id=event_id, trigger_time=trigger_time, payload=self._random.randbytes(4))

    def _lease_until(self) -> datetime:
        return self._now + self._random.choice(_LEASES) * self._step


def _report(random: Random, claim: Claim, now: datetime) -> Settlement:
    return random.choice(
        [
            Settlement.done(claim),
            Settlement.release(claim),
            Settlement.retry(claim, now, b"retried"),
            Settlement.bury(claim, "why"),
            Settlement.bury(claim, "why"),  # twice, for what can happen to the dead only
        ]
    )
