"""``futurama demo``: real HTTP calls at their times, and an honest look at what became of them."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs
import click

from futurama.backend import EventBackend, Query
from futurama.backoff import RetryPolicy
from futurama.cli.demo_report import Cancellation, Evidence, Report, judge
from futurama.cli.demo_view import Progress, progress_view, report_lines
from futurama.cli.loading import http_trigger
from futurama.cli.options import demo_config_option, json_option
from futurama.cli.output import print_json
from futurama.cli.receiver import Receiver
from futurama.cli.signals import StopSignals
from futurama.config import Config
from futurama.errors import FuturamaError
from futurama.events import CancelOutcome, Event
from futurama.queue import Draft, Queue

__all__ = ["demo"]

_TYPE = "futurama-demo"

_MAX_EVENTS = 100_000
_MAX_SECONDS = 3600

_ONE_IN = 10
"""One event in so many is refused at first, and another one is cancelled."""

_LAST_MOMENT = timedelta(milliseconds=20)
"""Half of the cancellations come as late as this: the instance has claimed these events already."""

_RETRIES = RetryPolicy(base=timedelta(milliseconds=200), cap=timedelta(seconds=2))

_LEAD_SECONDS = 1.0
_CREATED_PER_SECOND = 5000
"""The first event is due after the lead and the time in which all can be created at this rate."""

_GRACE_SECONDS = 10.0
"""How long to wait, behind the last event and one lease, for what has not ended."""

_CHUNK = 1000
_WATCH_SECONDS = 0.2
_INTERRUPTED = 130


@click.command(short_help="See it work: real HTTP calls, and how punctual they were.")
@click.option(
    "--events",
    type=click.IntRange(1, _MAX_EVENTS),
    default=500,
    show_default=True,
    help="How many calls to schedule.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, _MAX_SECONDS),
    default=10.0,
    show_default=True,
    help="In which time.",
)
@demo_config_option
@json_option
@click.pass_context
def demo(
    ctx: click.Context, *, events: int, seconds: float, config: Config | None, as_json: bool
) -> None:
    """Schedule real HTTP calls to a receiver on this machine, and watch them arrive.

    A tenth of the events are cancelled, half of these within 20 ms of their time; a tenth are
    answered 503 at first and have to be called again. At the end the receiver's own record is held
    against what the queue had answered. The exit status is 1 if an event was lost, called twice,
    called early, called after it was cancelled, or is not done when the time is up.

    The store that the configuration names must be empty, and is so again afterwards. Ctrl-C ends
    the demonstration and removes its events.
    """
    if math.isnan(seconds):  # which no range excludes
        raise click.BadParameter("must be a number", param_hint="--seconds")
    plan = _make_plan(events, timedelta(seconds=seconds))
    with ExitStack() as stack:
        signals = stack.enter_context(StopSignals())
        stack.enter_context(_without_warnings())
        if config is None:
            folder = stack.enter_context(TemporaryDirectory(prefix="futurama-demo-"))
            config = Config(backend="sqlite", path=str(Path(folder) / "events.db"))
        backend = config.make_backend()
        backend.open()
        stack.callback(backend.close)
        _require_empty(backend)
        receiver = stack.enter_context(Receiver())
        show = stack.enter_context(progress_view(is_silent=as_json))

        def go_on(progress: Progress, seconds: float) -> bool:
            show(progress)
            return not signals.wait(seconds)

        report = _Demonstration(config, backend, receiver, plan, go_on).run()
        name = backend.name
    if report is None:
        click.echo("interrupted; all events of the demonstration were removed", err=True)
        ctx.exit(_INTERRUPTED)
    if as_json:
        print_json({"backend": name, "events": events, "seconds": seconds, **report.as_json()})
    else:
        for line in report_lines(report, backend=name):
            click.echo(line)
    ctx.exit(1 if report.broken else 0)


@attrs.frozen
class _Planned:
    """One event of the demonstration.

    Attributes:
        after: its time, counted from the beginning.
        refuses_first: whether the receiver answers 503 to the first call.
        cancel_before: how long before its time it is to be cancelled; None: not at all.
    """

    id: str
    after: timedelta
    refuses_first: bool
    cancel_before: timedelta | None


def _make_plan(events: int, duration: timedelta) -> list[_Planned]:
    """Events at a steady rate, each at a random moment of its share of the time, in order."""
    prefix = f"{_TYPE}-{os.urandom(4).hex()}"
    plan = []
    for number in range(events):
        after = duration * ((number + random.random()) / events)
        is_cancelled = number % _ONE_IN == _ONE_IN // 2
        plan.append(
            _Planned(
                id=f"{prefix}-{number:06}",
                after=after,
                refuses_first=number % _ONE_IN == 0,
                cancel_before=_some_time_before(after) if is_cancelled else None,
            )
        )
    return plan


def _some_time_before(after: timedelta) -> timedelta:
    """At any time since the beginning, or at the last moment."""
    return random.random() * random.choice([after, min(after, _LAST_MOMENT)])


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Calls that are refused are part of the demonstration; errors are not."""
    logger = logging.getLogger("futurama")
    former = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(former)


def _require_empty(backend: EventBackend) -> None:
    stored = sum(backend.count().values())
    if stored:
        raise click.ClickException(
            f"the demonstration wants a store of its own, this one ({backend.name}) holds {stored} "
            "event(s); choose another table_name or file in the configuration"
        )


class _Stopwatch:
    """The HTTP trigger, and a note of when each call started and which succeeded."""

    def __init__(self, http: Any, now: Callable[[], datetime]) -> None:
        self.starts: dict[str, list[datetime]] = {}
        self.succeeded: set[str] = set()
        self._http = http
        self._now = now

    async def trigger(self, event: Event) -> None:
        """Call."""
        self.starts.setdefault(event.id, []).append(self._now())
        await self._http.trigger(event)
        self.succeeded.add(event.id)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()


class _Canceller:
    """A thread that cancels each event at its moment, as long as the context lasts.

    Args:
        moments: (when by the clock of the queue, event id), in order.
        answers: takes the answers.
    """

    def __init__(
        self,
        queue: Queue,
        moments: Sequence[tuple[datetime, str]],
        answers: dict[str, Cancellation],
    ) -> None:
        self._queue = queue
        self._moments = moments
        self._answers = answers
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="futurama-demo-cancel", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exc_info: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        for moment, event_id in self._moments:
            if self._stopping.wait(max(0.0, (moment - self._queue.now()).total_seconds())):
                return
            outcome: CancelOutcome | None
            try:
                outcome = self._queue.cancel(event_id)
            except FuturamaError:
                outcome = None
            self._answers[event_id] = Cancellation(outcome, time.monotonic_ns())


class _Demonstration:
    """One run of a plan on a store; leaves the store as empty as it was.

    Args:
        go_on: told of the progress now and then and how many seconds it may take; whether to go on.
    """

    def __init__(
        self,
        config: Config,
        backend: EventBackend,
        receiver: Receiver,
        plan: Sequence[_Planned],
        go_on: Callable[[Progress, float], bool],
    ) -> None:
        self._backend = backend
        self._receiver = receiver
        self._plan = plan
        self._go_on = go_on
        self._lease = timedelta(seconds=config.consumer_lock_timeout_sec)
        self._http = http_trigger(config, trust_env=False)  # no proxy knows this machine's ports
        self._stopwatch = _Stopwatch(self._http, self._now)
        self._queue = Queue(
            {_TYPE: self._stopwatch}, config, backend=backend, retries={_TYPE: _RETRIES}
        )
        self._trigger_times: dict[str, datetime] = {}
        self._answers: dict[str, Cancellation] = {}

    def run(self) -> Report | None:
        """Create the events, watch until all have ended, and judge; None if it was interrupted."""
        asyncio.run(self._warm_up())
        try:
            self._queue.start()
            lead = timedelta(seconds=_LEAD_SECONDS + len(self._plan) / _CREATED_PER_SECOND)
            began = self._queue.now() + lead
            origin = self._queue.now() - timedelta(microseconds=time.monotonic_ns() / 1000)
            is_complete = self._create(began) and self._cancel_and_watch(began)
        finally:
            self._queue.stop()
            left_over = self._remove_left_over()
        if not is_complete:
            return None
        return judge(
            Evidence(
                trigger_times=self._trigger_times,
                starts=self._stopwatch.starts,
                calls=self._receiver.record(),
                cancellations=self._answers,
                left_over=frozenset(left_over),
                origin=origin,
            )
        )

    def _now(self) -> datetime:
        return self._queue.now()

    async def _warm_up(self) -> None:
        """The first call of a process imports most of httpx, 70 ms in which no other call starts."""
        now = datetime.now(UTC)
        data = {"url": self._receiver.url(refuses_first=False)}
        event = Event(id="warm-up", trigger_type=_TYPE, trigger_time=now, data=data, created=now)
        await self._http.trigger(event)
        await self._http.aclose()

    def _create(self, began: datetime) -> bool:
        for start in range(0, len(self._plan), _CHUNK):
            chunk = self._plan[start : start + _CHUNK]
            self._queue.create_many(self._draft(planned, began) for planned in chunk)
            self._trigger_times.update((planned.id, began + planned.after) for planned in chunk)
            if not self._go_on(self._progress(), 0):
                return False
        return True

    def _draft(self, planned: _Planned, began: datetime) -> Draft:
        url = self._receiver.url(refuses_first=planned.refuses_first)
        return Draft(_TYPE, began + planned.after, {"url": url}, id=planned.id)

    def _cancel_and_watch(self, began: datetime) -> bool:
        moments = sorted(
            (began + planned.after - planned.cancel_before, planned.id)
            for planned in self._plan
            if planned.cancel_before is not None
        )
        patience = self._lease + timedelta(seconds=_GRACE_SECONDS)
        deadline = began + self._plan[-1].after + patience
        with _Canceller(self._queue, moments, self._answers):
            while not self._has_ended() and self._queue.now() < deadline:
                if not self._go_on(self._progress(), _WATCH_SECONDS):
                    return False
        return self._go_on(self._progress(), 0)

    def _has_ended(self) -> bool:
        succeeded, answers = self._stopwatch.succeeded, self._answers
        if len(succeeded) + len(answers) < len(self._plan):
            return False
        cancelled = {
            event_id
            for event_id, answer in answers.copy().items()
            if answer.outcome is not CancelOutcome.NOT_FOUND
        }
        return len(succeeded | cancelled) == len(self._plan)

    def _progress(self) -> Progress:
        stats = self._queue.stats()
        return Progress(
            planned=len(self._plan),
            created=len(self._trigger_times),
            called=len(self._stopwatch.succeeded),
            cancelled=stats["cancelled"],
            retried=stats["retried"],
            lateness_p99_ms=stats["lateness_p99_ms"],
        )

    def _remove_left_over(self) -> set[str]:
        """Remove all events of the demonstration that are still stored; return which these were."""
        left_over: set[str] = set()
        ids = [planned.id for planned in self._plan]
        for start in range(0, len(ids), _CHUNK):
            chunk = ids[start : start + _CHUNK]
            stored = self._backend.find(Query(ids=chunk, limit=_CHUNK)).events
            found = [event.id for event in stored]
            left_over.update(found)
            self._backend.requeue(found, now=self._backend.now())  # dead letters do not cancel
            self._backend.cancel(found)
        return left_over
