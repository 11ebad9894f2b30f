"""One run: machines, clients and faults made from a seed, and what was promised held against it."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest import mock

import attrs

from futurama import Config, backoff, batching
from futurama.backend import Query, State
from futurama.backends import memory
from futurama.backends.memory import MemoryBackend
from futurama.conformance.account import Account
from futurama.conformance.promises import Promise, judge
from futurama.times import from_us
from tests.simulation.faults import LEASE_US, Fault, Faults, FaultyBackend
from tests.simulation.instance import TRIGGER_TYPES, Application, Dangers, Instance
from tests.simulation.journal import Diary, Journal
from tests.simulation.patience import tried
from tests.simulation.world import Machine, Ticket, World

__all__ = ["Outcome", "simulate"]

_LOAD_US = 5 * LEASE_US
"""So long clients ask for events, and faults happen."""

_MOST_US_TO_FINISH = 100 * LEASE_US
"""Once the faults are over. What waits longest is the last of a burst of events that fail three times, after
`3 * LEASE_US` each, on few workers."""

_RETRY_CAP_SECONDS = 2.0

_CALLS_US = (0, 0, 0, 1_000, 200_000, 1_000_000, 3 * LEASE_US)
"""How long calls take."""

_ASKED_AGAIN_AFTER_US = 100_000
"""When there was nobody who could be asked."""

_AIMED_AGAIN_AFTER_US = 20_000

_LOOK_EVERY_US = LEASE_US // 4

_HOUR_US = 3_600_000_000

_DRIFT_PPM = 100
"""What a bad quartz does."""

_TIMER_ERROR_US = _DRIFT_PPM * 100
"""Its drift in 100 s: longer than a run can keep an instance from measuring the backend's clock."""


_INSTANT_NS = 1_000
"""What happens at the same time is written down within a microsecond."""


@attrs.frozen(kw_only=True)
class Outcome:
    """What came of a run.

    Attributes:
        seed: of the run.
        broken: the promises that were broken.
        events: to which events.
        wrong: how, and whatever else was wrong.
        injected: the faults, by name, and calls that were given up.
        account: all that was written down.
    """

    seed: int
    broken: frozenset[Promise]
    events: frozenset[str]
    wrong: tuple[str, ...]
    injected: Mapping[str, int]
    account: Account

    @property
    def fingerprint(self) -> str:
        """The same for the same history, byte for byte."""
        return hashlib.sha256(repr(self.account).encode()).hexdigest()


def simulate(
    seed: int,
    *,
    backend: type[MemoryBackend] = MemoryBackend,
    connection: type[FaultyBackend] = FaultyBackend,
) -> Outcome:
    """Make a run and judge it.

    Args:
        seed: of everything.
        backend: where events wait.
        connection: through which instances see it.
    """
    chance = Random(seed)
    with _one_processor(), _chance_of_others(chance), _bugs_logged() as bugs:
        run = _Run(chance, backend, connection)
        try:
            run.load()
            run.finish()
            outcome = run.outcome(seed)
        finally:
            run.close()
    return attrs.evolve(outcome, wrong=(*outcome.wrong, *bugs))


@contextmanager
def _one_processor() -> Iterator[None]:
    """Threads of which only one runs at any time hand over more than twice as fast on one."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(before)[os.getpid() % len(before)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def _chance_of_others(chance: Random) -> Iterator[None]:
    """Let also waits and tokens follow from the seed, and clients wait in the simulated time."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(backoff, "random", chance))
        urandom = SimpleNamespace(urandom=chance.randbytes)
        stack.enter_context(mock.patch.object(memory, "os", urandom))
        stack.enter_context(mock.patch.object(batching, "_Ticket", Ticket))
        yield


@contextmanager
def _bugs_logged() -> Iterator[list[str]]:
    """What was logged meanwhile of which the log itself says that it is a bug; all else is dropped."""
    bugs: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "this is a bug" in record.msg:
                bugs.append(f"P9: logged: {record.getMessage()}")

    log, listener = logging.getLogger("futurama"), Listener()
    with mock.patch.multiple(log, propagate=False, handlers=[listener]):
        yield bugs


class _Run:
    def __init__(
        self, chance: Random, backend: type[MemoryBackend], connection: type[FaultyBackend]
    ) -> None:
        self._chance = chance
        self._world = World(chance)
        self._journal = Journal(self._world)
        self._memory = backend(now=lambda: from_us(self._world.now_us))
        self._connection = connection
        self._faults = _faults(chance)
        self._dangers = _dangers(chance)
        self._is_over = False
        self._open_requests = 0
        self._calls: Counter[str] = Counter()
        self._drifts = chance.random() < 0.5
        self._config = _config(chance)
        self._numbers = dict.fromkeys("abcdo", 0)
        self._instances: list[Instance] = []
        self._outsider = self._make("o", is_outsider=True)
        self._places: dict[str, Instance] = {}
        for place in "abcd"[: chance.randint(2, 4)]:
            self._world.after(0, partial(self._launch, place))
        self._plan_load()
        self._plan_faults()

    # -- instances ------------------------------------------------------------------------------

    def _make(self, place: str, *, is_outsider: bool = False) -> Instance:
        self._numbers[place] += 1
        drift_ppm = self._chance.randint(-_DRIFT_PPM, _DRIFT_PPM) if self._drifts else 0
        machine = Machine(self._world, f"{place}{self._numbers[place]}", drift_ppm=drift_ppm)
        diary = Diary(self._journal, machine)
        application = Application(
            machine,
            diary,
            self._chance,
            self._dangers,
            calls=self._calls,
            timeout_us=int(self._config.trigger_timeout_sec * 1e6),
        )
        instance = Instance(
            machine,
            diary,
            self._connection(self._memory, machine, self._faults, diary),
            self._config,
            None if is_outsider else application,
        )
        self._instances.append(instance)
        return instance

    def _launch(self, place: str) -> None:
        """Start an instance where there is none, now or later, until one has started."""
        instance = self._places[place] = self._make(place)
        try:
            if not instance.start():
                instance.diary.dies()
        finally:
            if not instance.machine.is_alive:
                self._replace_later(instance)

    def _relaunch(self, place: str) -> None:
        if not self._places[place].machine.is_alive:
            self._launch(place)

    @property
    def _alive(self) -> list[Instance]:
        return [each for each in self._places.values() if each.machine.is_alive]

    @property
    def _asked(self) -> list[Instance]:
        """Whom clients may ask: every instance, and one without triggers."""
        if not self._outsider.machine.is_alive:
            self._outsider = self._make("o", is_outsider=True)
        return [*self._alive, self._outsider]

    # -- clients --------------------------------------------------------------------------------

    def _plan_load(self) -> None:
        """Several events at once, as often as not: they make a batch."""
        planned, total = 0, self._chance.randint(4, 16)
        while planned < total:
            at_us = self._chance.randrange(_LOAD_US)
            due_us = at_us + self._chance.choice([-100_000, 0, 300_000, 1_000_000, 3_000_000])
            around_us = max(at_us, due_us) + self._chance.randrange(-500_000, 500_000)
            call_us = self._chance.choice(_CALLS_US)
            for _ in range(self._chance.choice([1, 1, 2, 4, 6])):
                self._plan_event(f"e{planned}", at_us, due_us, around_us, call_us)
                planned += 1

    def _plan_event(
        self, event_id: str, at_us: int, due_us: int, around_us: int, call_us: int
    ) -> None:
        trigger_us = self._world.now_us + due_us
        data = self._data(event_id, call_us)
        trigger_type = self._chance.choice(TRIGGER_TYPES)
        self._plan_request(
            at_us, event_id, lambda by: by.create(event_id, trigger_type, trigger_us, data)
        )
        what = self._chance.random()
        if what < 0.3:
            for _ in range(self._chance.choice([1, 1, 2])):
                self._plan_request(around_us, event_id, lambda by: by.cancel(event_id))
        elif what < 0.5:
            later_us = trigger_us + self._chance.choice([-200_000, 500_000, 2_000_000])
            self._plan_request(around_us, event_id, lambda by: by.move(event_id, later_us))

    def _data(self, event_id: str, call_us: int) -> dict[str, Any]:
        return {
            "does": self._chance.choice(["succeed"] * 6 + ["fail", "fail", "retry", "give up"]),
            "times": self._chance.choice([1, 1, 2, 3]),
            "us": call_us,
            "asks": self._requests(event_id),
        }

    def _requests(self, event_id: str) -> list[list[Any]]:
        """What the trigger asks of its own queue, or somebody as soon as it has returned."""
        what = self._chance.random()
        if what < 0.1:
            return [["create", self._world.now_us + self._chance.randrange(_LOAD_US)]]
        if what < 0.2:
            return [["cancel", f"e{self._chance.randrange(16)}"]]
        if what < 0.4:
            return [["move soon", event_id, self._world.now_us + self._chance.randrange(_LOAD_US)]]
        return []

    def _plan_request(self, at_us: int, event_id: str, ask: Callable[[Instance], None]) -> None:
        """Half of those who ask happen to ask the instance that has claimed the event."""

        def request() -> None:
            free = [each for each in self._asked if each.is_free]
            holders = [each for each in free if each.will_call(event_id)]
            if not free:
                self._world.after(_ASKED_AGAIN_AFTER_US, request)
                return
            try:
                ask(self._chance.choice(self._chance.choice([free, holders or free])))
            finally:
                self._open_requests -= 1

        self._open_requests += 1
        self._world.after(max(0, at_us), request)

    # -- faults ---------------------------------------------------------------------------------

    def _plan_faults(self) -> None:
        chance = self._chance
        kinds = [
            self._kill,
            self._stand,
            self._cut,
            self._restart,
            self._set_clock,
            self._slow_down,
            *[self._lock] * 2,
            *[self._refuse] * 2,
        ]
        for kind in kinds:
            if chance.random() < 0.4:
                for _ in range(chance.randint(1, 4)):
                    self._world.after(chance.randrange(_LOAD_US), self._unless_over(kind))

    def _unless_over(self, fault: Callable[[Instance], None]) -> Callable[[], None]:
        """Mostly it hits an instance that has claimed what it has not called yet."""
        is_aimed = self._chance.random() < 0.7

        def happen() -> None:
            if self._is_over:
                return
            targets = [each for each in self._alive if not is_aimed or each.will_call()]
            if targets:
                fault(self._chance.choice(targets))
            else:
                self._world.after(_AIMED_AGAIN_AFTER_US, happen)

        return happen

    def _kill(self, instance: Instance) -> None:
        """It dies between two steps, or while one of its steps waits."""
        self._faults.injected["killed"] += 1
        instance.diary.dies()
        self._replace_later(instance)

    def _replace_later(self, instance: Instance) -> None:
        place = instance.machine.name[0]
        self._world.after(self._chance.randrange(2 * LEASE_US), lambda: self._relaunch(place))

    def _stand(self, instance: Instance) -> None:
        """Often for so long that it may keep its claims, but must ask before it goes on."""
        self._faults.injected["stands still"] += 1
        least, most = self._chance.choice(
            [(LEASE_US * 5 // 8, LEASE_US * 7 // 8), (LEASE_US // 4, 3 * LEASE_US)]
        )
        us = self._chance.randrange(least, most)
        instance.diary.disturbed_for(us)
        instance.machine.stand_still(us)

    def _cut(self, instance: Instance) -> None:
        self._faults.injected["cut off"] += 1
        us = self._chance.randrange(LEASE_US // 4, 2 * LEASE_US)
        instance.diary.disturbed_for(us)
        instance.backend.is_cut = True
        self._world.after(us, instance.backend.heal)

    def _slow_down(self, instance: Instance) -> None:
        """Everything that it asks takes long."""
        self._faults.injected["far away"] += 1
        us = self._chance.randrange(LEASE_US, 10 * LEASE_US)
        instance.diary.disturbed_for(us)
        instance.backend.distance_us = self._chance.choice(
            [20_000, 200_000, LEASE_US * 7 // 20, LEASE_US * 2 // 5, LEASE_US // 2]
        )
        self._world.after(us, instance.backend.heal)

    def _restart(self, instance: Instance) -> None:
        """In order, whatever is under way there."""
        if instance.is_stopping:
            self._world.after(_AIMED_AGAIN_AFTER_US, self._unless_over(self._restart))
            return
        is_idle = instance.machine.is_idle
        self._faults.injected["restarted" if is_idle else "restarted under load"] += 1
        try:
            instance.stop(self._chance.choice([0.3, 1.0, 3.0, 10.0]))
        finally:
            self._replace_later(instance)

    def _set_clock(self, instance: Instance) -> None:
        self._faults.injected["clock set"] += 1
        instance.machine.wall_us_off = self._chance.choice([-_HOUR_US, _HOUR_US])

    def _lock(self, instance: Instance) -> None:
        """Somebody else keeps a lock on one event."""
        self._trouble(instance, self._faults.locked, "locked")

    def _refuse(self, instance: Instance) -> None:
        """The backend refuses to change one event."""
        self._trouble(instance, self._faults.refused, "refused")

    def _trouble(self, instance: Instance, troubled: set[str], what: str) -> None:
        """Often it is one of many that the same instance has claimed."""
        self._faults.injected[what] += 1
        busiest = max(self._alive, key=lambda each: len(each.held_ids))
        held = self._chance.choice([instance.held_ids, busiest.held_ids, busiest.held_ids, []])
        event_id = self._chance.choice(held or [f"e{number}" for number in range(16)])
        least, most = self._chance.choice([(10_000, 200_000), *[(LEASE_US // 4, 3 * LEASE_US)] * 2])
        us = self._chance.randrange(least, most)
        self._outsider.diary.troubled_for(us, event_id)
        troubled.add(event_id)
        self._world.after(us, partial(troubled.discard, event_id))

    # -- phases ---------------------------------------------------------------------------------

    def load(self) -> None:
        """Clients ask, and faults happen."""
        self._world.run(_LOAD_US)

    def finish(self) -> None:
        """No fault happens any more, so everything has to come to its end."""
        self._is_over = True
        self._faults.end()
        self._dangers.end()
        for instance in self._asked:
            instance.backend.heal()
        for place in self._places:
            self._world.after(0, partial(self._relaunch, place))
        deadline_us = self._world.now_us + _MOST_US_TO_FINISH
        while not self._is_finished and self._world.now_us < deadline_us:
            self._world.run(_LOOK_EVERY_US)
        self._world.run(2 * LEASE_US)

    @property
    def _is_finished(self) -> bool:
        counts = self._memory.count()
        is_idle = all(each.machine.is_idle for each in self._alive) and not self._open_requests
        return is_idle and not counts[State.WAITING] + counts[State.CLAIMED]

    def close(self) -> None:
        """Nothing of it stays."""
        self._world.close()

    def outcome(self, seed: int) -> Outcome:
        """What came of it."""
        left = self._memory.find(Query(limit=10_000)).events
        account = self._journal.account(
            left={event.id: event for event in left},
            resolution=self._memory.capabilities.resolution,
            timer_error_us=_TIMER_ERROR_US if self._drifts else 0,
            max_retry=self._config.max_retry,
            timeout_ns=max(0, int(self._config.trigger_timeout_sec * 1e9) - _INSTANT_NS),
        )
        held = [
            f"P8: {each.machine.name} still holds claims: {stats}"
            for each in self._alive
            if (stats := each.queue.stats())["held"] or stats["unreported"]
        ]
        given_up = sum(each.queue.stats()["timed_out"] for each in self._instances)
        tries = tried(self._journal, excuses_errors=self._faults.are_hiccups)
        breaches = [*judge(account).breaches, *tries]
        return Outcome(
            seed=seed,
            broken=frozenset(each.promise for each in breaches),
            events=frozenset(each.event_id for each in breaches),
            wrong=(*map(str, breaches), *held),
            injected=self._faults.injected + Counter({"given up": given_up}),
            account=account,
        )


_HICCUPS = (Fault.FAILS, Fault.NEVER_ARRIVES, Fault.ANSWER_LOST)


def _faults(chance: Random) -> Faults:
    """Hiccups, or some faults, seldom or often, or none."""
    match chance.choices(["none", "hiccups", "storms"], [2, 3, 5])[0]:
        case "none":
            return Faults(chance, {})
        case "hiccups":
            return Faults(chance, dict.fromkeys(_HICCUPS, 0.04), are_hiccups=True)
        case _:
            return Faults(chance, _storms(chance))


def _storms(chance: Random) -> dict[Fault, float]:
    some = chance.sample(list(Fault), chance.randint(1, len(Fault)))
    often = chance.choice([0.01, 0.05, 0.2])
    deadly = {Fault.DIES_BEFORE, Fault.DIES_AFTER}
    return {fault: min(often, 0.02) if fault in deadly else often for fault in some}


def _dangers(chance: Random) -> Dangers:
    if chance.random() < 0.5:
        return Dangers()
    return Dangers(
        dies=chance.choice([0, 0.05]), stops=chance.choice([0, 0.1]), stops_us=3 * LEASE_US
    )


def _config(chance: Random) -> Config:
    return Config(
        backend="memory",
        consumer_lock_timeout_sec=LEASE_US / 1e6,
        consumer_time_window_sec=chance.choice([0, 0.1, 0.25, *[LEASE_US / 3e6] * 3]),
        consumer_sleep_msec=chance.choice([100, 500, 1000]),
        consumer_select_limit=chance.choice([1, 3, 100]),
        max_scheduled_events=chance.choice([1, 4, 100]),
        max_worker_threads=chance.choice([1, 2, 3]),
        operation_timeout_sec=chance.choice([0, 1, 5]),
        retry_base_msec=chance.choice([0, 10, 200]),
        retry_cap_sec=_RETRY_CAP_SECONDS,
        max_retry=chance.choice([18, 18, 18, 2, 1, 0]),
        trigger_timeout_sec=chance.choice([0, 0, 0, 0.3, 1.0, 2.5]),
        queue_name="the same for all, for it decides nothing",
    )
