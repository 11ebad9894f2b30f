"""Applications that do to Futurama whatever they can: their triggers and their data."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import attrs

from futurama import Draft
from futurama.backend import Query, State
from futurama.conformance.history import UNKNOWN
from futurama.errors import InvalidEventError
from futurama.events import MAX_ID_BYTES, CancelOutcome
from futurama.payload import MAX_DEPTH
from futurama.times import EARLIEST, LATEST, ceil_to, to_us
from tests.faults.behaviour import FAR_SECONDS, MORE_TYPES, RAISED, RETRIED, RETURNED, TRIGGER_TYPES
from tests.faults.scenario import Circumstances, scenario
from tests.faults.stage import LEASE_SECONDS, Outcome, Stage

_ALL = ("mysql", "postgresql", "redis", "sqlite")

_MORE_TYPE = "for some"
_NO_TYPE = "for nobody"

_BERLIN = ZoneInfo("Europe/Berlin")


@scenario(
    fault="triggers raise and return whatever there is",
    how=f"{len(RAISED)} kinds of exceptions, {len(RETURNED)} results that make no sense, retries in the "
    "past and in a day, from functions and coroutines",
)
def raising_triggers(given: Circumstances) -> Outcome:
    """Each is tried again or buried, and none disturbs another."""
    deeds = ["succeed", "give up", *RAISED, *RETURNED, *RETRIED]
    with given.any_store() as store, given.stage(store) as stage:
        with stage.load(given.plan(deeds=dict.fromkeys(deeds, 1))):
            pass
        _bring_back_from_the_far_future(stage)
        outcome = stage.outcome()
    done = Counter(call.data["does"] for call in outcome.account.calls)
    undone = [deed for deed in deeds if deed not in done]
    return outcome.needs(not undone, f"no trigger did: {', '.join(undone)}")


def _bring_back_from_the_far_future(stage: Stage) -> None:
    """Move what would be tried again in a day to now, as soon as nothing else waits."""
    far: list[str] = []

    def only_they_are_left() -> bool:
        events = stage.client.queue.backend.find(Query(limit=1000)).events
        left = [event for event in events if event.state is not State.DEAD]
        soon = stage.client.queue.now() + timedelta(seconds=FAR_SECONDS / 2)
        far[:] = [event.id for event in left if event.due is not None and event.due > soon]
        return bool(far) and len(far) == len(left)

    stage.needs(stage.wait_for(only_they_are_left), "nothing was to be tried again in a day")
    for event_id in far:
        stage.client.move(event_id, to_us(stage.client.queue.now()))


_DEADLY = 3
"""Events that end their process, each at another time; every attempt does if they are poison."""

_MAX_RETRY = 3


@scenario(
    fault="triggers end their process",
    how=f"{_DEADLY} events call os._exit at their first attempt; a new instance takes each place",
    backends=_ALL,
)
def exiting_triggers(given: Circumstances) -> Outcome:
    """Their next attempt comes a lease later, and nothing else suffers."""
    return _with_deadly_events(given, times=1)


@scenario(
    fault="events are poison",
    how=f"{_DEADLY} events call os._exit at every attempt; a new instance takes each place",
    backends=("mysql", "redis"),
)
def poison(given: Circumstances) -> Outcome:
    """They are buried after ``max_retry``, and take nothing else with them."""
    return _with_deadly_events(given, times=sys.maxsize)


def _with_deadly_events(given: Circumstances, *, times: int) -> Outcome:
    deadly = [f"deadly{number}" for number in range(_DEADLY)]
    config = {"max_retry": _MAX_RETRY, "retry_cap_sec": 1.0}
    with given.any_store() as store, given.stage(store, **config) as stage:
        ended = []

        def is_finished() -> bool:
            ended.extend(_replace_the_dead(stage))
            return not load.is_running and stage.is_finished()

        with stage.load(given.plan(deeds={"succeed": 1}, cancelled=0.0, moved=0.0)) as load:
            part = given.seconds / _DEADLY
            for number, event_id in enumerate(deadly):
                # Apart, for one that is claimed by a process that another one ends makes no call.
                when = _soon(stage, number * part, (number + 0.5) * part)
                stage.client.create(event_id, *when, {"does": "exit", "times": times})
            stage.wait_for(is_finished)
        stage.wait_until_ready()
        outcome = stage.outcome(may_die=deadly if times > 1 else ())
    expected = _DEADLY * min(times, _MAX_RETRY + 1)
    deaths = sum(
        call.ending is UNKNOWN for call in outcome.account.calls if call.event_id in deadly
    )
    outcome = outcome.needs(deaths >= _DEADLY, f"only {deaths} calls ended their process")
    violations = [f"deadly events ended {deaths} processes"] if deaths > expected else []
    return attrs.evolve(
        outcome,
        figures={**outcome.figures, "instances ended": len(ended)},
        bugs=[*outcome.bugs, *violations],
    )


def _soon(stage: Stage, earliest: float, latest: float) -> tuple[str, int]:
    """A trigger type, and some time between these seconds of a load that begins now."""
    after = timedelta(seconds=1.5 + stage.chance.uniform(earliest, latest))
    return stage.chance.choice(TRIGGER_TYPES), to_us(stage.client.queue.now() + after)


def _replace_the_dead(stage: Stage) -> list[str]:
    """Launch an instance in each place whose last one has ended; return these places."""
    dead = stage.notice_deaths()
    for place in dead:
        stage.launch(place)
    return dead


_TRIGGER_TIMEOUT_SECONDS = 1.0


@scenario(
    fault="triggers hang",
    how="functions that never return and coroutines that ignore that they are cancelled, 1 in 100 of "
    f"the calls, with trigger_timeout_sec {_TRIGGER_TIMEOUT_SECONDS:g}",
)
def hanging_triggers(given: Circumstances) -> Outcome:
    """They are given up and called again, and all others go on."""
    config = {"trigger_timeout_sec": _TRIGGER_TIMEOUT_SECONDS}
    with given.any_store() as store, given.stage(store, **config) as stage:
        with stage.load(given.plan(deeds={"succeed": 99, "hang": 1})):
            pass
        stage.wait_until_finished()
        timed_out = sum(instance.stats()["timed_out"] for instance in stage.instances)
        for place in sorted(stage.places):
            stage.kill(place)
        outcome = stage.outcome()
    hung = {call.event_id for call in outcome.account.calls if call.data["does"] == "hang"}
    outcome = outcome.needs(hung, "no call hung")
    too_few = f"{len(hung)} calls hung, {timed_out} were given up"
    violations = [too_few] if timed_out < len(hung) else []
    return attrs.evolve(
        outcome,
        figures={**outcome.figures, "given up": timed_out},
        bugs=[*outcome.bugs, *violations],
    )


_HANGING = 6


@scenario(
    fault="events are cancelled whose triggers hang",
    how=f"{_HANGING} functions and coroutines never return, and nothing gives them up; after more than a "
    "lease another process cancels them, two leases later a new instance takes the place of each",
    backends=("mysql", "redis"),
)
def cancelled_hanging_triggers(given: Circumstances) -> Outcome:
    """The answer is IN_FLIGHT, and nobody calls them again, be their instances alive or dead."""
    hanging = [f"hanging{number}" for number in range(_HANGING)]
    with given.any_store() as store, given.stage(store) as stage:
        with stage.load(given.plan(seconds=7 * LEASE_SECONDS)):
            for event_id in hanging:
                stage.client.create(event_id, *_soon(stage, 0.0, LEASE_SECONDS), {"does": "hang"})
            all_hang = stage.wait_for(lambda: _outlast_a_lease(stage, hanging))
            stage.needs(all_hang, "not all of them were called and kept for a lease")
            for event_id in hanging:
                stage.client.cancel(event_id)
            time.sleep(2 * LEASE_SECONDS)
            for place in sorted(stage.places):
                stage.kill(place)
                stage.launch(place)
            stage.wait_until_ready()
        outcome = stage.outcome()
    answers = {answer.event_id: answer.outcome for answer in outcome.account.answers}
    calls = Counter(call.event_id for call in outcome.account.calls)
    violations = [
        f"{each} was called {calls[each]} times, and the answer was {answers[each].name}"
        for each in hanging
        if calls[each] != 1 or answers[each] is not CancelOutcome.IN_FLIGHT
    ]
    return attrs.evolve(outcome, bugs=[*outcome.bugs, *violations])


def _outlast_a_lease(stage: Stage, ids: Sequence[str]) -> bool:
    """Whether all of these events were due more than a lease ago, and are still held."""
    lease = timedelta(seconds=LEASE_SECONDS)
    events = stage.client.queue.backend.find(Query(ids=ids)).events
    return len(events) == len(ids) and all(
        event.state is State.CLAIMED
        and event.due is not None
        and event.due > event.trigger_time + 2 * lease
        for event in events
    )


@scenario(
    fault="data is poisonous",
    how="undecodable bytes, types that some or all instances do not know, data at and above the limit, "
    "strange ids, lone surrogates, deep nesting, huge numbers, NaN, among good events",
    backends=_ALL,
)
def poisonous_data(given: Circumstances) -> Outcome:
    """What cannot be stored is refused, what cannot be called is buried, all else is called."""
    more = {MORE_TYPES: _MORE_TYPE}
    with given.any_store() as store, given.stage(store, instances=0, retry_cap_sec=0.5) as stage:
        for place, environment in {"a": {}, "b": more, "c": more}.items():
            stage.launch(place, environment=environment)
        stage.wait_until_ready()
        with stage.disturbed("a"):
            with stage.load(given.plan()):
                violations = _not_refused(stage)
                accepted = _create_what_is_strange(stage)
                hopeless = _write_what_cannot_be_called(stage)
            stage.wait_until_finished()
        unknown_types = stage.places["a"].stats()["unknown_type"]
        outcome = stage.outcome(may_die=hopeless)
    outcome = outcome.needs(
        unknown_types, "the instance that does not know a type has never met it"
    )
    known = {one.event_id: one.outcome for one in outcome.account.creations}
    called = {call.event_id for call in outcome.account.calls}
    left = outcome.account.left
    violations += [f"{each!r} was not stored" for each in accepted if known[each] is not True]
    violations += [f"{each!r} was not called" for each in accepted if each not in called]
    violations += [f"{each!r} was not buried" for each in hopeless if each not in left]
    figures = {
        **outcome.figures,
        "strange": len(accepted),
        "hopeless": len(hopeless),
        "unknown types": unknown_types,
    }
    return attrs.evolve(outcome, figures=figures, bugs=[*outcome.bugs, *violations])


def _not_refused(stage: Stage) -> list[str]:
    """Ask for what nothing may be written of, each in the middle of good events; says what went wrong.

    The good ones are not written either: whoever calls one finds that nobody created it.
    """
    most = stage.client.queue.backend.capabilities.max_data_bytes
    names = ["", "x" * (MAX_ID_BYTES + 1), "\ud800", "half \udc00 way"]
    drafts = [
        *(Draft("thread", timedelta(), each) for each in _unstorable(most)),
        *(Draft("thread", timedelta(), id=each) for each in names),
        *(Draft(each, timedelta()) for each in names),
    ]
    violations = []
    for draft in drafts:
        good = [Draft("thread", timedelta()) for _ in range(2)]
        try:
            stage.client.queue.create_many([good[0], draft, good[1]])
        except InvalidEventError:
            continue
        violations.append(f"{draft.trigger_type!r}, {draft.id!r} was not refused")
    return violations


def _unstorable(most: int) -> Sequence[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return [
        _of_size(most + 1),
        math.nan,
        [math.inf],
        {1: 2},
        b"bytes",
        10**5000,
        _nested(MAX_DEPTH + 1),
        _nested(100_000),
        circle,
    ]


def _create_what_is_strange(stage: Stage) -> list[str]:
    """Events that can be called, whatever they look like; returns their ids."""
    most = stage.client.queue.backend.capabilities.max_data_bytes
    data = [
        _of_size(most),
        "\ud800 and \0 and \U0010ffff",
        {"\udfff": "\ud800"},
        [-(10**4000), 2**63, 1e308, 5e-324, -0.0],
        _nested(MAX_DEPTH),
        "",
        [],
    ]
    ids = [*_LOOK_ALIKES, *(_id_of_all_kinds(stage) for _ in range(50))]
    wanted = [
        *((f"strange{number}", "thread", each) for number, each in enumerate(data)),
        *((event_id, "coroutine", None) for event_id in ids),
        *((f"rare{number}", _MORE_TYPE, None) for number in range(30)),
    ]
    now_us = to_us(stage.client.queue.now())
    for event_id, trigger_type, each in wanted:
        due_us = now_us + stage.chance.randint(1_000_000, 5_000_000)
        stage.client.create(event_id, trigger_type, due_us, each)
    return [event_id for event_id, _, _ in wanted]


_LOOK_ALIKES = (
    *("a", "A", "a ", " a", "a\0", "a\0\0", "a\t", "a\n", "\u00e4", "a\u0308", "ss", "\u00df"),
    *("'; DROP TABLE events; --", "\\", "\\'", "%", "_", "%s", "{}", ":id", "0", "00", "NULL"),
    *("\0" * MAX_ID_BYTES, "\U0001f600" * (MAX_ID_BYTES // 4), "\ufeff", "\uffff", "\U0010ffff"),
)
"""Ids that somebody might take for one another, or for something else."""


def _id_of_all_kinds(stage: Stage) -> str:
    """As long as ids may be."""
    points = [*range(0xD800), *range(0xE000, 0x110000)]
    text = "".join(map(chr, stage.chance.choices(points, k=MAX_ID_BYTES)))
    start = text.encode()[: MAX_ID_BYTES - 3].decode(errors="ignore")
    return start + "\0" * (MAX_ID_BYTES - len(start.encode()))


def _of_size(size: int) -> str:
    """Text that has so many bytes as JSON."""
    return "x" * (size - len('""'))


def _nested(depth: int) -> Any:
    """So many lists inside of each other."""
    nested: list[Any] = []
    for _ in range(depth - 1):
        nested = [nested]
    return nested


def _write_what_cannot_be_called(stage: Stage) -> list[str]:
    """Events as other programs may have written them; returns their ids."""
    payloads = [b"\xff\xfe", b"", b"{", b"{]", b"null null", b"\xed\xa0\x80", b"[" * 100_000]
    now_us = to_us(stage.client.queue.now())
    for number, payload in enumerate(payloads):
        stage.client.write(f"undecodable{number}", "thread", now_us, payload)
    stage.client.write("of no type", _NO_TYPE, now_us, b"null")
    return [*(f"undecodable{number}" for number in range(len(payloads))), "of no type"]


@scenario(
    fault="times are extreme",
    how="events of the years 1 and 9999, of nights when clocks are changed, around leap seconds, and "
    "within microseconds of now",
    backends=_ALL,
)
def extreme_times(given: Circumstances) -> Outcome:
    """What is past is called now, what is near is never early, what is far is stored exactly."""
    with given.any_store() as store:
        return _with_extreme_times(given, store)


@scenario(
    fault="times are extreme, and the server knows whole seconds only",
    how="as above, with mysql6 false",
)
def extreme_times_in_whole_seconds(given: Circumstances) -> Outcome:
    """The same; times are rounded up."""
    with given.any_store() as store:
        return _with_extreme_times(given, {**store, "mysql6": False})


def _with_extreme_times(given: Circumstances, store: Mapping[str, Any]) -> Outcome:
    with given.stage(store) as stage:
        with stage.load(given.plan(cancelled=0.0, moved=0.0)) as load:
            number = 0
            while load.is_running:
                beside_us = stage.chance.choice((-1, 0, 1, 1000)) * stage.chance.randint(1, 1000)
                due_us = to_us(stage.client.queue.now()) + beside_us
                stage.client.create(f"now{number}", "thread", due_us, None)
                number += 1
            for each, instant in _PAST.items():
                stage.client.create(f"past {each}", "coroutine", to_us(instant), None)
            for each, instant in _FUTURE.items():
                stage.client.create(f"future {each}", "thread", to_us(instant), None)
        violations = _not_stored_exactly(stage)
        for each in _FUTURE:
            stage.client.cancel(f"future {each}")
        outcome = stage.outcome()
    called = {call.event_id for call in outcome.account.calls}
    violations += [f"past {each} was not called" for each in _PAST if f"past {each}" not in called]
    figures = {**outcome.figures, "within 1 s of now": number}
    return attrs.evolve(outcome, figures=figures, bugs=[*outcome.bugs, *violations])


_PAST = {
    "beginning": EARLIEST,
    "second microsecond": EARLIEST + timedelta.resolution,
    "year 1000": datetime(1000, 1, 1, tzinfo=UTC),
    "before the Gregorian calendar": datetime(1582, 10, 10, 12, tzinfo=UTC),
    "before 1970": datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    "1970": datetime(1970, 1, 1, tzinfo=UTC),
    "first second that comes twice": datetime(2024, 10, 27, 2, 30, tzinfo=_BERLIN),
    "the same again": datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=_BERLIN),
    "a second that never came": datetime(2024, 3, 31, 2, 30, tzinfo=_BERLIN),
    "before a leap second": datetime(2016, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    "after a leap second": datetime(2017, 1, 1, tzinfo=UTC),
    "a leap day": datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC),
}

_FUTURE = {
    "end of 31 bits": datetime(2038, 1, 19, 3, 14, 7, 999_999, tzinfo=UTC),
    "after 31 bits": datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC),
    "after 32 bits": datetime(2106, 2, 7, 6, 28, 16, tzinfo=UTC),
    "a day that some take for a leap day": datetime(2100, 2, 28, 23, 59, 59, 999_999, tzinfo=UTC),
    "nanoseconds in 63 bits": datetime(2262, 4, 11, 23, 47, 16, 854_776, tzinfo=UTC),
    "one microsecond in a year": datetime(9998, 7, 1, 0, 0, 0, 1, tzinfo=UTC),
    "the last but one": LATEST - timedelta.resolution,
    "end": LATEST,
}


def _not_stored_exactly(stage: Stage) -> list[str]:
    """What is wrong with the stored times of the future."""
    backend = stage.client.queue.backend
    ids = {f"future {each}": instant for each, instant in _FUTURE.items()}
    events = backend.find(Query(ids=list(ids))).events
    stored = {event.id: event.trigger_time for event in events}
    resolution = backend.capabilities.resolution
    return [
        f"{event_id} is stored as {stored.get(event_id)}"
        for event_id, instant in ids.items()
        if stored.get(event_id) != ceil_to(instant, resolution)
    ]
