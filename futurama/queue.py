"""The queue: what applications hold in their hands."""

from __future__ import annotations

import contextlib
import os
import reprlib
import socket
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar, get_args

import attrs

from futurama import payload
from futurama.backend import (
    AddOutcome,
    Claim,
    EventBackend,
    IfExists,
    Move,
    NewEvent,
    Query,
    Settlement,
    check_payload,
)
from futurama.backoff import RetryPolicy
from futurama.batching import Batcher
from futurama.clock import BackendClock
from futurama.config import Config
from futurama.errors import (
    BackendError,
    BackendUnavailableError,
    EventExistsError,
    InvalidEventError,
    OutcomeUnknownError,
    QueueStoppedError,
)
from futurama.events import CancelOutcome, Event, RescheduleOutcome, check_id
from futurama.retrying import retrying, writing
from futurama.runtime import Runtime, ThreadRuntime
from futurama.scheduler import Ended, Scheduler
from futurama.stats import Stats
from futurama.times import from_us, to_us, to_utc
from futurama.triggers import Trigger, bind

__all__ = ["Draft", "Queue"]

_MAX_BATCH = 1000
"""Most items of one batched write; bounds how long a single write can take."""

_MAX_HOST_BYTES = 100
"""What is left for the host in the name of an instance, see ``backend.MAX_OWNER_BYTES``."""

_CLOCK_AGE_US = 10_000_000
"""How often a queue that only creates measures the backend's clock; a scheduler has its upkeep."""

_READINGS = 3
"""So often that it reads the clock then: a caller waits."""

_IF_EXISTS: tuple[IfExists, ...] = get_args(IfExists)

_KEEP: Any = object()

Item = TypeVar("Item")
Result = TypeVar("Result")

When: TypeAlias = datetime | timedelta


@attrs.frozen
class Draft:
    """An event to be created by :meth:`Queue.create_many`; the fields are ``create``'s arguments."""

    trigger_type: str
    trigger_time: When
    data: Any = None
    id: str | None = attrs.field(default=None, kw_only=True)


class Queue:
    """Creates, cancels and moves events and, once started, calls their triggers.

    All methods may be called from any thread; they wait for the backend, so call them in a coroutine
    through ``asyncio.to_thread``. Creating needs no :meth:`start`: a process that only creates events
    makes a queue without triggers. Whatever is used first connects, and fails at once if it cannot.

    Args:
        triggers: what to call, by trigger type: a function ``(event) -> TriggerResult | None``, a
            coroutine function, or an object with a method ``trigger(event)``. Functions run in a
            bounded pool of threads, coroutines on one event loop.
        config: see :class:`~futurama.config.Config`; by default MySQL at 127.0.0.1.
        backend: use this backend instead of the one that the configuration names; it is opened,
            but whoever made it closes it.
        retries: when and how often to repeat failed calls, by trigger type, where that differs
            from the configuration's ``max_retry``, ``retry_base_msec`` and ``retry_cap_sec``.
        runtime: where time and threads come from; tests pass a
            :class:`~futurama.testing.VirtualTime`.

    Raises:
        TypeError: a trigger is not one.
        ConfigError: the configuration is wrong.
    """

    _poll_at_least_seconds = 0.0

    def __init__(
        self,
        triggers: Mapping[str, Trigger] | None = None,
        config: Config | None = None,
        *,
        backend: EventBackend | None = None,
        retries: Mapping[str, RetryPolicy] | None = None,
        runtime: Runtime | None = None,
    ) -> None:
        _check_arguments(triggers, config)
        self._config = config or Config()
        self._default_policy = RetryPolicy(
            max_retry=self._config.max_retry,
            base=timedelta(milliseconds=self._config.retry_base_msec),
            cap=timedelta(seconds=self._config.retry_cap_sec),
        )
        self._triggers = bind(triggers or {}, retries or {}, self._default_policy)
        self._owns_backend = backend is None
        self._backend = backend or self._config.make_backend()
        self._runtime = runtime or ThreadRuntime()
        self._clock = BackendClock(self._backend.now, self._runtime)
        self._stats = Stats()
        self._scheduler: Scheduler | None = None
        self._lifecycle = threading.Lock()
        self._is_open = False
        self._opened_by = 0
        self._is_stopped = False
        self._stopped_clean = False
        self._adders: dict[str, Batcher[NewEvent, AddOutcome]] = {
            mode: self._batcher(partial(self._backend.add, if_exists=mode)) for mode in _IF_EXISTS
        }
        self._canceller = self._batcher(self._backend.cancel)
        self._mover = self._batcher(self._backend.reschedule)

    # -- life -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Connect, and begin to call the triggers of due events. Idempotent.

        Without triggers the queue only connects: it calls nothing and takes nothing from others.

        Raises:
            BackendError: the backend cannot be opened; says what to do.
            QueueStoppedError: the queue was stopped before.
        """
        self._open()
        with self._lifecycle:
            self._check_usable()
            if self._scheduler is None and self._triggers:
                scheduler = Scheduler(
                    self._backend,
                    self._triggers,
                    self._config,
                    default_policy=self._default_policy,
                    owner=self._config.queue_name or _instance_name(),
                    clock=self._clock,
                    runtime=self._runtime,
                    stats=self._stats,
                    poll_seconds=max(
                        self._config.consumer_sleep_msec / 1000, self._poll_at_least_seconds
                    ),
                )
                scheduler.start()
                self._scheduler = scheduler

    def stop(self, timeout: timedelta | float | None = None) -> bool:
        """Stop claiming, give back what was not called, let running calls end, disconnect.

        Idempotent. Afterwards the queue cannot be used any more.

        Args:
            timeout: how long to wait for running calls, as a timedelta or in seconds; by default
                the configuration's ``stop_timeout_sec``. When a tenth of it is left (at most 1 s),
                coroutines are cancelled; what is left then is for them to clean up, and for reports.

        Returns:
            Whether every call ended, or had been given up, and was reported. If not, those events
            are called again, by any instance, when their leases end.
        """
        seconds = self._config.stop_timeout_sec if timeout is None else _seconds(timeout)
        with self._lifecycle:
            if not self._is_stopped:
                try:
                    # Until this returns, triggers that still run may create and cancel.
                    self._stopped_clean = self._scheduler is None or self._scheduler.stop(seconds)
                finally:
                    self._is_stopped = True
                    if self._is_open and self._owns_backend:
                        self._backend.close()
            return self._stopped_clean

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def backend(self) -> EventBackend:
        """The backend, opened: for looking at events and dead letters."""
        self._open()
        return self._backend

    def now(self) -> datetime:
        """The time by which events are called: the backend's clock, aware UTC."""
        self._open()
        return self._clock.now()

    # -- events ---------------------------------------------------------------------------------

    def create(
        self,
        trigger_type: str,
        trigger_time: When,
        data: Any = None,
        *,
        id: str | None = None,  # noqa: A002 -- the field's own name
        if_exists: IfExists = "raise",
    ) -> str:
        """Store an event; when this returns, it will be called, whatever happens to this process.

        Args:
            trigger_type: which trigger to call.
            trigger_time: when: an aware datetime, or a timedelta from now. In the past means now.
            data: anything JSON, nested at most 200 deep; the trigger finds it in ``event.data``.
            id: 1 to 128 bytes of UTF-8; by default one is made that is unique and sorts by age.
                With an id of your own a repeated ``create`` is recognised.
            if_exists: what to do if the id is taken, be it by a dead letter: ``"raise"``,
                ``"keep"`` the stored event, or ``"replace"`` it (a call under way is not undone, and
                another instance that has claimed the former event may still call it once).

        Returns:
            The event's id.

        Raises:
            InvalidEventError: an argument cannot be stored; nothing was written.
            EventExistsError: the id is taken and ``if_exists`` is ``"raise"``.
            BackendUnavailableError: the backend was out of reach for ``operation_timeout_sec``, or
                its own timeouts longer: for a write that was under way, and for this one.
            OutcomeUnknownError: an answer of the backend was lost, and the event may have been
                stored or not.
        """
        _check_if_exists(if_exists)
        self._open()
        event = self._new_event(Draft(trigger_type, trigger_time, data, id=id))
        if id is not None:
            self._report_first(id)
        outcome = self._add_one(event, if_exists)
        self._created([event], [outcome], if_exists)
        self._raise_refused([event], [outcome])
        return event.id

    def create_many(
        self, drafts: Iterable[Draft | tuple[Any, ...]], *, if_exists: IfExists = "raise"
    ) -> list[str]:
        """Store many events at once, which is many times faster than one by one.

        Args:
            drafts: :class:`Draft` objects, or tuples ``(trigger_type, trigger_time[, data])``. All
                are checked before the first one is written.
            if_exists: as for :meth:`create`.

        Returns:
            The ids, in order.

        Raises:
            InvalidEventError: one of them cannot be stored, its ``index`` says which; nothing was
                written.
            EventExistsError: some ids are taken; all other events were stored.
            BackendError: as for :meth:`create`; the first thousands may have been stored. Give ids
                of your own and ``if_exists="keep"`` to be able to repeat the call.
        """
        _check_if_exists(if_exists)
        self._open()
        events = [self._draft_at(index, draft) for index, draft in enumerate(drafts)]
        for event in events:
            self._report_first(event.id)
        outcomes: list[AddOutcome | None] = []
        for start in range(0, len(events), _MAX_BATCH):
            chunk = events[start : start + _MAX_BATCH]
            added = self._add_after(start, if_exists, chunk)
            self._created(chunk, added, if_exists)
            outcomes += added
        self._raise_refused(events, outcomes)
        return [event.id for event in events]

    def cancel(self, event_id: str) -> CancelOutcome:
        """Remove an event before it is called.

        Returns:
            CANCELLED: no call is under way, and none will start. IN_FLIGHT: it is removed, but a
            call is, or may be, under way. NOT_FOUND: it has ended, is dead, or never was.

        Raises:
            InvalidEventError: ``event_id`` cannot be an id.
            BackendError: the backend was out of reach; the event may be cancelled or not.
        """
        check_id(event_id)
        self._open()
        self._report_first(event_id)
        ended = self._end_uncalled(event_id, Settlement.done)
        is_in_doubt = ended is not None and ended.is_in_doubt
        if ended is not None and ended.is_ours:
            outcome = CancelOutcome.IN_FLIGHT if is_in_doubt else CancelOutcome.CANCELLED
        else:
            outcome = self._cancel_stored(event_id, is_in_doubt=is_in_doubt)
        if outcome is CancelOutcome.CANCELLED:
            self._stats.count("cancelled")
        return outcome

    def reschedule(
        self, event_id: str, trigger_time: When | None = None, data: Any = _KEEP
    ) -> RescheduleOutcome:
        """Give a waiting event another time, other data, or both.

        Args:
            event_id: which event.
            trigger_time: the new time; None leaves it.
            data: the new data; left out, it stays.

        Returns:
            RESCHEDULED: done; no call is under way. IN_FLIGHT: a call is, or may be, under way;
            nothing was changed. NOT_FOUND: no such event waits.

        Raises:
            ValueError: neither a time nor data is given.
            InvalidEventError: an argument cannot be stored; nothing was changed.
            OutcomeUnknownError: the answer of the backend was lost, and what it says now does not
                tell whether the event was changed.
            BackendError: the backend was out of reach; the event may be changed or not.
        """
        if trigger_time is None and data is _KEEP:
            raise ValueError("reschedule needs a new trigger_time, new data, or both; got neither")
        check_id(event_id)
        self._open()
        move = Move(
            id=event_id,
            trigger_time=None if trigger_time is None else self._instant(trigger_time),
            payload=None if data is _KEEP else self._encode(data),
        )
        self._report_first(event_id)
        ended = self._end_uncalled(event_id, Settlement.release)
        try:
            outcome = self._move_stored(move)
        finally:
            if ended is not None:
                self._look_by(self._clock.now())
        if outcome is None:
            raise self._in_doubt_error("moving", event_id)
        if outcome is RescheduleOutcome.RESCHEDULED:
            self._stats.count("rescheduled")
        self._look_by(move.trigger_time or self._clock.now())
        return outcome

    def get(self, event_id: str) -> Event | None:
        """The stored event, or None if it has ended or never was.

        ``attempt`` counts the attempts claimed so far, 0 before the first. Dead letters are found too; whether
        an event is one, and why, ``queue.backend.find`` tells.

        Raises:
            InvalidEventError: something else has stored data that is not JSON.
            BackendError: the backend was out of reach.
        """
        check_id(event_id)
        self._open()
        self._report_first(event_id)
        page = self._retrying(partial(self._backend.find, Query(ids=[event_id])))
        if not page.events:
            return None
        stored = page.events[0]
        return Event(
            id=stored.id,
            trigger_type=stored.trigger_type,
            trigger_time=stored.trigger_time,
            data=_decode(event_id, stored.payload),
            attempt=stored.attempt,
            created=stored.created,
        )

    def requeue(self, event_id: str) -> bool:
        """Call a dead letter again, now and with its attempts counted anew; whether it was one.

        Raises:
            OutcomeUnknownError: the answer of the backend was lost, and what it says now does not
                tell whether this call has done it.
            BackendError: the backend was out of reach.
        """
        check_id(event_id)
        self._open()
        self._report_first(event_id)
        now = self._clock.now()
        errors: list[BackendError] = []
        requeue = partial(self._backend.requeue, [event_id], now=now)
        is_requeued = self._retrying(requeue, on_error=errors.append)[0]
        if not is_requeued and _is_unknown(errors):
            raise self._in_doubt_error("requeueing", event_id)
        self._look_by(now)
        return is_requeued

    def stats(self) -> dict[str, Any]:
        """What this instance has done and holds: ``futurama.stats.COUNTERS``, lateness, the clock."""
        held = {"held": 0, "unreported": 0}
        return {
            **self._stats.snapshot(),
            **(held if self._scheduler is None else self._scheduler.snapshot()),
            "clock_skew_ms": self._clock.skew_us / 1000,
            "clock_jumps": self._clock.jumps,
        }

    # -- helpers --------------------------------------------------------------------------------

    def _open(self) -> None:
        self._check_usable()
        if self._is_open:
            if self._scheduler is None and self._clock.age_us > _CLOCK_AGE_US:
                with contextlib.suppress(BackendError):  # then the old offset has to do
                    self._clock.sample(at_most=_READINGS)
            return
        with self._lifecycle:
            self._check_usable()
            if not self._is_open:
                self._backend.open()
                try:
                    self._clock.sample()
                except BaseException:
                    if self._owns_backend:
                        self._backend.close()
                    raise
                self._is_open, self._opened_by = True, os.getpid()

    def _check_usable(self) -> None:
        if self._is_stopped:
            raise QueueStoppedError("this queue was stopped; make a new one")
        if self._is_open and self._opened_by != os.getpid():
            raise QueueStoppedError(
                "this queue was opened before the process forked, so its threads and locks are the "
                "parent's; make a new one in the child"
            )

    def _new_event(self, draft: Draft) -> NewEvent:
        created = self._creation_time()
        return NewEvent(
            id=_new_id(created) if draft.id is None else draft.id,
            trigger_type=draft.trigger_type,
            trigger_time=self._instant(draft.trigger_time),
            payload=self._encode(draft.data),
            created=created,
        )

    def _draft_at(self, index: int, draft: Draft | tuple[Any, ...]) -> NewEvent:
        try:
            return self._new_event(draft if isinstance(draft, Draft) else _draft(draft))
        except InvalidEventError as exc:
            raise InvalidEventError(
                f"drafts[{index}]: {exc}", field=exc.field, index=index
            ) from exc

    def _creation_time(self) -> datetime:
        """Now, but never twice the same: backends tell a repeated write by it."""
        return from_us(self._runtime.never_twice_us(self._clock.now_us()))

    def _instant(self, when: When) -> datetime:
        _check_when(when)
        if not isinstance(when, timedelta):
            return to_utc(when)
        try:
            return to_utc(self._clock.now() + when)
        except OverflowError:
            raise InvalidEventError(
                f"trigger_time {when!r} from now lies beyond the calendar; choose a shorter one",
                field="trigger_time",
            ) from None

    def _encode(self, data: Any) -> bytes:
        encoded = payload.encode(data)
        check_payload(encoded, self._backend.capabilities)
        return encoded

    def _created(
        self, events: Sequence[NewEvent], outcomes: Sequence[AddOutcome | None], if_exists: IfExists
    ) -> None:
        stored = [
            event
            for event, outcome in zip(events, outcomes, strict=True)
            if outcome in {AddOutcome.ADDED, AddOutcome.REPLACED}
        ]
        self._stats.count("created", len(stored))
        # A repeat after a lost answer says ADDED where the first try has replaced.
        if self._scheduler is not None and if_exists == "replace":
            for event in stored:
                self._scheduler.forget_replaced(event.id, event.created)
        if stored:
            self._look_by(min(event.trigger_time for event in stored))

    def _raise_refused(
        self, events: Sequence[NewEvent], outcomes: Sequence[AddOutcome | None]
    ) -> None:
        by_outcome = list(zip(events, outcomes, strict=True))
        for event, outcome in by_outcome:
            if outcome is None:
                raise self._in_doubt_error("creating", event.id)
        refused = [event.id for event, outcome in by_outcome if outcome is AddOutcome.REFUSED]
        if refused:
            raise EventExistsError(*refused)

    def _look_by(self, due: datetime) -> None:
        """Something was stored that is due then."""
        if self._scheduler is not None:
            self._scheduler.waits_until(to_us(due))

    def _report_first(self, event_id: str) -> None:
        """What has ended here before the application asks has ended for the backend, too."""
        if self._scheduler is not None:
            self._scheduler.report_first(event_id)

    def _end_uncalled(
        self, event_id: str, settlement: Callable[[Claim], Settlement]
    ) -> Ended | None:
        """End the claim of this instance on an event that it has not called, if there is one."""
        scheduler = self._scheduler
        return None if scheduler is None else scheduler.end_uncalled(event_id, settlement)

    def _add_one(self, event: NewEvent, if_exists: IfExists) -> AddOutcome | None:
        """As :meth:`_add`."""
        outcome, is_in_doubt = self._write(self._adders[if_exists], event)
        return None if is_in_doubt and outcome is AddOutcome.REFUSED else outcome

    def _add(self, if_exists: IfExists, events: Sequence[NewEvent]) -> Sequence[AddOutcome | None]:
        """One outcome per event; None: refused, perhaps because of itself.

        An earlier try, whose answer was lost, may have stored it, and since then it was changed.
        """
        errors: list[BackendError] = []
        add = partial(self._backend.add, events, if_exists=if_exists)
        outcomes = self._retrying(add, on_error=errors.append)
        is_in_doubt = _is_unknown(errors)
        return [
            None if is_in_doubt and outcome is AddOutcome.REFUSED else outcome
            for outcome in outcomes
        ]

    def _add_after(
        self, count: int, if_exists: IfExists, events: Sequence[NewEvent]
    ) -> Sequence[AddOutcome | None]:
        """Add the next ones after so many of the same call, which are stored whatever happens."""
        try:
            return self._add(if_exists, events)
        except BackendUnavailableError as exc:
            if not count:
                raise
            raise OutcomeUnknownError(
                f"the first {count} events were stored, the others were not ({exc})",
                backend=exc.backend,
            ) from exc

    def _cancel_stored(self, event_id: str, *, is_in_doubt: bool) -> CancelOutcome:
        """Let the backend cancel; in doubt: an earlier write may have removed the event already."""
        try:
            outcome, was_lost = self._write(self._canceller, event_id)
        except BackendUnavailableError as exc:
            if not is_in_doubt:
                raise
            raise self._in_doubt_error("cancelling", event_id) from exc
        may_be_ours = is_in_doubt or was_lost  # and removed while it was being called
        if outcome is CancelOutcome.NOT_FOUND and may_be_ours:
            return CancelOutcome.IN_FLIGHT
        return outcome

    def _move_stored(self, move: Move) -> RescheduleOutcome | None:
        """None: an earlier try, whose answer was lost, may have made the move."""
        outcome, is_in_doubt = self._write(self._mover, move)
        return None if is_in_doubt and outcome is not RescheduleOutcome.RESCHEDULED else outcome

    def _batcher(
        self, operation: Callable[[Sequence[Item]], Sequence[Result]]
    ) -> Batcher[Item, Result]:
        def write(items: Sequence[Item]) -> Sequence[Result]:
            try:
                return operation(items)
            except BackendError:
                self._stats.count("backend_errors")
                raise

        return Batcher(write, max_batch=_MAX_BATCH)

    def _write(self, batcher: Batcher[Item, Result], item: Item) -> tuple[Result, bool]:
        """Write together with other callers; and whether the answer to an earlier try was lost."""
        errors: list[BackendError] = []
        result = writing(
            batcher,
            item,
            runtime=self._runtime,
            timeout=self._config.operation_timeout_sec,
            on_error=errors.append,
        )
        return result, _is_unknown(errors)

    def _in_doubt_error(self, what: str, event_id: str) -> OutcomeUnknownError:
        return OutcomeUnknownError(
            f"the answer to {what} event {event_id!r} was lost; look at it with get()",
            backend=self._backend.name,
        )

    def _retrying(
        self,
        operation: Callable[[], Result],
        *,
        on_error: Callable[[BackendError], None] = lambda _: None,
    ) -> Result:
        def count(error: BackendError) -> None:
            self._stats.count("backend_errors")
            on_error(error)

        return retrying(
            operation,
            runtime=self._runtime,
            timeout=self._config.operation_timeout_sec,
            on_error=count,
        )


def _decode(event_id: str, data: bytes) -> Any:
    try:
        return payload.decode(data)
    except ValueError as exc:
        raise InvalidEventError(
            f"the stored data of event {event_id!r} is not JSON ({exc}); queue.backend.find shows "
            "it as it is", field="data",
        ) from exc  # fmt: skip


def _is_unknown(errors: Sequence[BackendError]) -> bool:
    return any(isinstance(error, OutcomeUnknownError) for error in errors)


def _check_arguments(triggers: object, config: object) -> None:
    if triggers is not None and not isinstance(triggers, Mapping):
        raise TypeError(f"triggers must map trigger types to triggers, got {triggers!r}")
    if config is not None and not isinstance(config, Config):
        raise TypeError(
            f"config must be a Config, got {type(config).__name__}; make one with "
            "Config.from_file(path), Config.from_mapping(mapping) or Config(key=value)"
        )


def _check_when(when: object) -> None:
    if isinstance(when, datetime | timedelta):
        return
    is_number = isinstance(when, int | float) and not isinstance(when, bool)
    advice = f"; for {when} seconds from now use timedelta(seconds={when})" if is_number else ""
    raise InvalidEventError(
        "trigger_time must be an aware datetime, or a timedelta from now, "
        f"got {when!r} ({type(when).__name__}){advice}",
        field="trigger_time",
    )


def _draft(values: tuple[Any, ...]) -> Draft:
    try:
        return Draft(*values)
    except TypeError:
        raise InvalidEventError(
            "must be a Draft or a tuple (trigger_type, trigger_time[, data]), "
            f"got {reprlib.repr(values)}; an id needs Draft(..., id=...)",
            field=_first_wrong(values),
        ) from None


def _first_wrong(values: object) -> str:
    """Which field is missing, or given where it cannot be."""
    number = len(values) if isinstance(values, Sized) else 0
    return attrs.fields(Draft)[min(number, 3)].name


def _check_if_exists(if_exists: str) -> None:
    if if_exists not in _IF_EXISTS:
        raise ValueError(f"if_exists must be one of {', '.join(_IF_EXISTS)}, got {if_exists!r}")


def _seconds(timeout: timedelta | float) -> float:
    return timeout.total_seconds() if isinstance(timeout, timedelta) else timeout


def _instance_name() -> str:
    host = socket.gethostname().encode(errors="replace")[:_MAX_HOST_BYTES].decode(errors="ignore")
    return f"{host}:{os.getpid()}:{os.urandom(3).hex()}"


def _new_id(now: datetime) -> str:
    """A UUID of version 7 (RFC 9562, section 5.7): milliseconds first, so neighbours lie together."""
    time = f"{to_us(now) // 1000 & (1 << 48) - 1:012x}"
    random = os.urandom(10)
    variant, digits = "89ab"[random[0] & 3], random[1:].hex()
    return f"{time[:8]}-{time[8:]}-7{digits[:3]}-{variant}{digits[3:6]}-{digits[6:]}"
