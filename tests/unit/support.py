"""What the tests of the core share: a backend that fails when told, and instances in virtual time."""

from __future__ import annotations

import itertools
import logging
import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from hypothesis import settings

from futurama import Config, Event, RetryPolicy
from futurama.backend import (
    Claim,
    EventBackend,
    NewEvent,
    Query,
    Settlement,
    StoredEvent,
)
from futurama.backends.memory import MemoryBackend
from futurama.errors import (
    BackendRejectedError,
    BackendUnavailableError,
    EventsLockedError,
    OutcomeUnknownError,
)
from futurama.testing import VirtualQueue, VirtualTime
from futurama.triggers import Trigger
from tests.between import Between

T = TypeVar("T")

START = datetime(2030, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MILLISECOND = timedelta(milliseconds=1)
MICROSECOND = timedelta(microseconds=1)

PATIENCE_SECONDS = 10.0
"""How long a test with real threads waits for what should take microseconds."""

LAWS = settings(derandomize=True, deadline=None, max_examples=100, database=None)
"""For property tests: the same examples in every run."""

Fault = Callable[[Callable[[], Any]], Any]
"""What happens instead of an operation; may call it."""


def unavailable() -> BackendUnavailableError:
    """Nothing was changed."""
    return BackendUnavailableError("made unavailable by a test", backend="faulty")


def unknown() -> OutcomeUnknownError:
    """The answer was lost."""
    return OutcomeUnknownError("answer lost by a test", backend="faulty")


def rejected(event_id: str) -> BackendRejectedError:
    """This very item is refused."""
    return BackendRejectedError(f"refuses {event_id}", backend="faulty")


def locked(*positions: int) -> EventsLockedError:
    """Others have locked these."""
    return EventsLockedError("locked", backend="faulty", positions=positions)


def fails(error: BaseException) -> Fault:
    """The operation does not happen."""

    def fault(proceed: Callable[[], Any]) -> Any:
        raise error

    return fault


def fails_after(error: BaseException) -> Fault:
    """The operation happens, but its answer is lost."""

    def fault(proceed: Callable[[], Any]) -> Any:
        proceed()
        raise error

    return fault


def meanwhile(do: Callable[[], object]) -> Fault:
    """Something else happens first."""

    def fault(proceed: Callable[[], Any]) -> Any:
        do()
        return proceed()

    return fault


def afterwards(do: Callable[[], object]) -> Fault:
    """Something else happens before the answer arrives."""

    def fault(proceed: Callable[[], Any]) -> Any:
        result = proceed()
        do()
        return result

    return fault


class FaultyBackend(Between):
    """Passes everything on, except what a test planned for the next operations of a name.

    Attributes:
        counts: how often each operation was asked for.
        outage: raised by every operation in ``broken`` while it is set.
        bad_ids: writes that contain one of these events are refused as a whole.
        locked_ids: somebody else keeps locks on these.
        settled: every settlement that the inner backend accepted.
    """

    def __init__(self, inner: EventBackend) -> None:
        super().__init__(inner)
        self.counts: Counter[str] = Counter()
        self.outage: Callable[[], BaseException] | None = None
        self.broken: Collection[str] = ("now", "add", "cancel", "reschedule", "claim", "renew",
                                        "settle", "find", "purge", "requeue")  # fmt: skip
        self.bad_ids: set[str] = set()
        self.locked_ids: set[str] = set()
        self.settled: list[Settlement] = []
        self._plans: dict[str, deque[Fault]] = {}

    def heal(self) -> None:
        """Forget all plans and outages."""
        self._plans.clear()
        self.outage = None
        self.bad_ids.clear()
        self.locked_ids.clear()

    def plan(self, operation: str, *faults: Fault) -> None:
        """Let these happen to the next calls of ``operation``, one each."""
        self._plans.setdefault(operation, deque()).extend(faults)

    def pass_on(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        """Let the inner backend answer, after what was planned."""
        self.counts[operation] += 1
        if self.outage is not None and operation in self.broken:
            raise self.outage()
        answer = partial(self._answer, operation, arguments)
        plans = self._plans.get(operation)
        return plans.popleft()(answer) if plans else answer()

    def _answer(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        ids = _ids(operation, arguments)
        for event_id in ids:
            if event_id in self.bad_ids:
                raise rejected(event_id)
        positions = [number for number, event_id in enumerate(ids) if event_id in self.locked_ids]
        if positions:
            raise locked(*positions)
        answer = super().pass_on(operation, arguments)
        if operation == "settle":
            settlements = zip(arguments["settlements"], answer, strict=True)
            self.settled += [settlement for settlement, is_ours in settlements if is_ours]
        return answer


def _ids(operation: str, arguments: Mapping[str, Any]) -> Sequence[str]:
    """Of the events that an operation changes."""
    match operation:
        case "add":
            return [event.id for event in arguments["events"]]
        case "cancel" | "requeue":
            return list(arguments["ids"])
        case "reschedule":
            return [move.id for move in arguments["moves"]]
        case "renew":
            return [claim.id for claim in arguments["claims"]]
        case "settle":
            return [settlement.claim.id for settlement in arguments["settlements"]]
        case _:
            return []


class World:
    """One backend, one virtual time, and any number of instances.

    Attributes:
        time: moves when told.
        memory: where events really are.
        backend: what the instances see of it.
        calls: every call of :meth:`note`, in order, with the time it was made.
    """

    def __init__(self, *, start: datetime = START) -> None:
        self.time = VirtualTime(start)
        self.memory = MemoryBackend(now=self.time.now)
        self.backend = FaultyBackend(self.memory)
        self.calls: list[tuple[datetime, Event]] = []

    def note(self, event: Event) -> None:
        """A trigger that works."""
        self.calls.append((self.time.now(), event))

    def queue(
        self,
        triggers: Mapping[str, Trigger] | None = None,
        *,
        retries: Mapping[str, RetryPolicy] | None = None,
        **config: Any,
    ) -> VirtualQueue:
        """Another instance, started."""
        queue = VirtualQueue(
            {"note": self.note} if triggers is None else triggers,
            memory_config(**{"consumer_sleep_msec": 60_000, **config}),
            time=self.time,
            backend=self.backend,
            retries=retries,
        )
        queue.start()
        return queue

    def close(self) -> None:
        """Give back what instances hold that were not stopped."""
        for queue in self.time.queues:
            coroutines: Any = queue._scheduler and queue._scheduler._coroutines
            if coroutines and coroutines._loop:
                coroutines._loop.close()

    def kill(self, queue: VirtualQueue) -> None:
        """The instance does nothing any more, and tells nobody."""
        scheduler = queue._scheduler
        assert scheduler is not None
        for loop in (
            scheduler._report_loop,
            scheduler._renew_loop,
            scheduler._watchdog_loop,
            scheduler._upkeep_loop,
            scheduler._claim_loop,
        ):
            loop.stop(0)
        scheduler._workers.join(0)

    def advance(self, **by: float) -> None:
        """Let time pass: ``advance(seconds=1)``."""
        self.time.advance(timedelta(**by))

    def stored(self, event_id: str) -> StoredEvent | None:
        """What the backend knows of an event."""
        page = self.memory.find(Query(ids=[event_id]))
        return page.events[0] if page.events else None

    def claim_as_another(
        self, *, lease: timedelta = 10 * SECOND, ahead: timedelta = timedelta(0), limit: int = 100
    ) -> Sequence[Claim]:
        """Claim what is due as an instance would that is not here."""
        now = self.time.now()
        return self.memory.claim(
            owner="another",
            now=now,
            due_before=now + ahead,
            lease_until=now + lease,
            limit=limit,
        ).claims

    @property
    def called_ids(self) -> list[str]:
        """The ids of all events called so far, in order."""
        return [event.id for _, event in self.calls]


def memory_config(**values: Any) -> Config:
    """A configuration for the memory backend."""
    return Config(**{"backend": "memory", **values})


_numbers = itertools.count()


def new_claim(
    event_id: str | None = None,
    *,
    due: datetime = START,
    attempt: int = 1,
    payload: bytes = b"null",
    trigger_type: str = "note",
    lost_before: bool = False,
) -> Claim:
    """A claim that no backend has given."""
    return Claim(
        id=f"event-{next(_numbers)}" if event_id is None else event_id,
        trigger_type=trigger_type,
        trigger_time=due,
        payload=payload,
        created=START,
        attempt=attempt,
        token=os.urandom(16),
        due=due,
        lease_until=due + 31 * SECOND,
        lost_before=lost_before,
    )


def new_event(event_id: str, *, due: datetime = START, payload: bytes = b"null") -> NewEvent:
    """An event that is not stored yet."""
    return NewEvent(
        id=event_id, trigger_type="note", trigger_time=due, payload=payload, created=START
    )


class Background(threading.Thread):
    """A thread whose result, or exception, :meth:`result` hands over; it never outlives a test."""

    def __init__(self, run: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._run_it = run
        self._outcome: tuple[Any, BaseException | None] | None = None
        self.start()

    def run(self) -> None:
        try:
            self._outcome = self._run_it(), None
        except BaseException as exc:
            self._outcome = None, exc

    def result(self) -> Any:
        """What it returned; raises what it raised."""
        self.join(PATIENCE_SECONDS)
        assert not self.is_alive(), "the thread hangs"
        assert self._outcome is not None
        value, error = self._outcome
        if error is not None:
            raise error
        return value


def wait_until(condition: threading.Condition, predicate: Callable[[], bool]) -> None:
    """Wait, on a condition, for something that should be so in a moment."""
    with condition:
        assert condition.wait_for(predicate, PATIENCE_SECONDS), "waited in vain"


class Told(logging.Handler):
    """What is logged, for tests that wait for it; see the fixture ``told``."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = threading.Condition()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        with self.changed:
            self.messages.append(f"{record.levelname} {record.getMessage()}")
            self.changed.notify_all()

    def count(self, text: str) -> int:
        """How many messages contain ``text``."""
        return sum(text in message for message in self.messages)

    def wait_for(self, text: str, count: int = 1) -> None:
        """Wait until so many messages contain ``text``."""
        wait_until(self.changed, lambda: self.count(text) >= count)
