"""Where a fault happens: instances in processes of their own, clients, and everything written down."""

from __future__ import annotations

import contextlib
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import attrs

from futurama import Config, Queue
from futurama.backend import Query, State, StoredEvent
from futurama.conformance.account import Account, Disturbance
from futurama.conformance.history import OPEN_END
from futurama.conformance.promises import Judgement, judge
from futurama.errors import FuturamaError
from tests.faults.accounts import account
from tests.faults.client import Client, Load, Plan
from tests.faults.processes import Instance
from tests.faults.pulse import Pulse
from tests.faults.record import Operation, Recorder, Records
from tests.faults.recorded import RecordedBackend

__all__ = ["LEASE_SECONDS", "LONG_LEASE_SECONDS", "SQLITE_LEASE_SECONDS", "Outcome", "Stage"]

LEASE_SECONDS = 2.0

SQLITE_LEASE_SECONDS = 10.0
"""Processes that write to SQLite poll for its lock, in no order: on a machine at its limits one of them was
passed over for 2 to 3 s, and then the shorter lease ends although nothing has broken."""

LONG_LEASE_SECONDS = 15.0
"""Longer than the faults of some scenarios last: then these excuse no repeat."""

_PATIENCE_SECONDS = 60.0

_OURSELVES = "client"
"""The name of the clients, which are threads of this process."""

_BUGS = re.compile(
    "this is a bug|Exception in thread|Exception ignored|was never retrieved|was never awaited"
)
"""What no instance may log, whatever happens to it."""


@attrs.frozen(kw_only=True)
class Outcome:
    """How a run went.

    Attributes:
        judgement: what the checker found.
        account: what it judged.
        figures: for people: books, repeats, how soon everything worked again.
        bugs: what else is wrong: lines of logs that must not be there, and what a scenario has noticed.
        untested: what did not happen although the scenario is about it.
    """

    judgement: Judgement
    account: Account
    figures: Mapping[str, Any]
    bugs: Sequence[str]
    untested: Sequence[str] = ()

    @property
    def violations(self) -> list[str]:
        """Everything that is wrong, for people."""
        return [str(breach) for breach in self.judgement.breaches] + list(self.bugs)

    def needs(self, has_happened: object, otherwise: str) -> Self:
        """The same; unless this is true, the fault was not put to the test, and that is why."""
        if has_happened or otherwise in self.untested:
            return self
        return attrs.evolve(self, untested=[*self.untested, otherwise])


class Stage:
    """Some instances on one store, one of which may be killed, paused or cut off; a context manager.

    Instances are in places ``a``, ``b`` ...; whoever takes the place of one that has ended has a name
    of its own: ``a2``.

    Args:
        folder: for records and logs.
        store: the configuration keys with which the instances reach the store.
        seed: of everything that is left to chance.
        instances: how many.
        clients_store: the same for clients and the final look, where that differs.
        config: further configuration keys.

    Attributes:
        chance: for the scenario.
        client: asks for events.
        places: place -> the instance that is there.
        noticed: what is wrong, and nobody can read in the records.
    """

    def __init__(
        self,
        folder: Path,
        store: Mapping[str, Any],
        *,
        seed: int,
        instances: int = 3,
        clients_store: Mapping[str, Any] | None = None,
        **config: Any,
    ) -> None:
        self.folder = folder
        self.chance = random.Random(seed)
        self.seed = seed
        is_sqlite = store["backend"] == "sqlite"
        self.config = {
            **store,
            "consumer_lock_timeout_sec": SQLITE_LEASE_SECONDS if is_sqlite else LEASE_SECONDS,
            "operation_timeout_sec": 60,
            **config,
        }
        self._recorder = Recorder(folder / f"{_OURSELVES}.record")
        self._backend = RecordedBackend(
            Config.from_mapping({**self.config, **(clients_store or {})}).make_backend(),
            self._recorder,
        )
        queue = Queue(
            config=Config.from_mapping({**self.config, **(clients_store or {})}),
            backend=self._backend,
        )
        self.client = Client(queue, self._recorder)
        self.places: dict[str, Instance] = {}
        self.noticed: list[str] = []
        self._all: list[Instance] = []
        self._wanted = [chr(ord("a") + number) for number in range(instances)]
        self._disturbances: list[Disturbance] = []
        self._died_at: dict[str, int] = {}
        self._ready: list[Instance] = []
        self._records: dict[str, Records] = {}
        self._read_whole: set[str] = set()
        self._further_clients = contextlib.ExitStack()
        self._pulse = Pulse(folder, self.config["consumer_lock_timeout_sec"])
        self._stalls_judged = 0
        self._untested: list[str] = []

    def __enter__(self) -> Self:
        self._pulse.__enter__()
        with contextlib.ExitStack() as unless_all_is_well:
            unless_all_is_well.push(self.__exit__)
            self.client.queue.start()
            for place in self._wanted:
                self.launch(place)
            self.wait_until_ready()
            unless_all_is_well.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        for instance in self.places.values():
            instance.kill()
        self._further_clients.close()
        self._pulse.__exit__()
        self.client.queue.stop()
        self._backend.close()
        self._recorder.close()

    # -- instances ------------------------------------------------------------------------------

    @property
    def instances(self) -> list[Instance]:
        """Those that run."""
        return list(self.places.values())

    def launch(
        self, place: str, *, environment: Mapping[str, str] | None = None, **config: Any
    ) -> Instance:
        """Start another instance in a place that is free; does not wait until it is ready."""
        number = sum(each.name.rstrip("0123456789") == place for each in self._all) + 1
        name = place if number == 1 else f"{place}{number}"
        instance = Instance(name, self.folder, {**self.config, **config}, environment)
        self.places[place] = instance
        self._all.append(instance)
        return instance

    def wait_until_ready(self) -> None:
        """Wait until all instances that were launched claim; call it once for each launch."""
        for instance in self._all:
            if instance.name not in self._died_at and instance not in self._ready:
                instance.wait_until_ready()
                self._ready.append(instance)

    def kill(self, place: str) -> None:
        """SIGKILL whoever is there."""
        instance = self.places.pop(place)
        at = time.monotonic_ns()
        self._disturbances.append(Disturbance(start=at, end=OPEN_END, instance=instance.name))
        instance.kill()
        self._died_at[instance.name] = time.monotonic_ns()

    def retire(self, place: str) -> None:
        """Let whoever is there stop in order."""
        instance = self.places.pop(place)
        instance.stop()

    def notice_deaths(self) -> list[str]:
        """The places of instances that have ended by themselves, which are free now."""
        dead = [place for place, instance in self.places.items() if instance.has_ended]
        for place in dead:
            self.kill(place)
        return dead

    @contextlib.contextmanager
    def paused(self, place: str) -> Iterator[None]:
        """SIGSTOP, and SIGCONT in the end."""
        instance = self.places[place]
        with self.disturbed(instance.name, stops=True):
            instance.pause()
            try:
                yield
            finally:
                instance.resume()

    @contextlib.contextmanager
    def disturbed(self, instance: str | None = None, *, stops: bool = False) -> Iterator[None]:
        """Note that something is broken meanwhile, for one instance or for all."""
        start = time.monotonic_ns()
        try:
            yield
        finally:
            self._disturbances.append(
                Disturbance(start=start, end=time.monotonic_ns(), instance=instance, stops=stops)
            )

    # -- load -----------------------------------------------------------------------------------

    def further_client(self, **config: Any) -> Client:
        """One that works beside the others, with further configuration keys."""
        configuration = Config.from_mapping({**self.config, **config})
        backend = RecordedBackend(configuration.make_backend(), self._recorder)
        self._further_clients.callback(backend.close)
        queue = Queue(config=configuration, backend=backend)
        self._further_clients.enter_context(queue)
        return Client(queue, self._recorder)

    @contextlib.contextmanager
    def load(self, plan: Plan) -> Iterator[Load]:
        """Clients at work; at the end waits until they have all their answers."""
        load = Load(self.client, plan)
        load.start()
        try:
            yield load
        except BaseException:
            load.abandon()
            raise
        load.join(plan.seconds + 2 * _PATIENCE_SECONDS)

    def wait_until_finished(self, patience: float = _PATIENCE_SECONDS) -> None:
        """Wait until nothing is stored that may still be called, or until that takes too long."""
        self.wait_for(self.is_finished, patience)

    def is_finished(self) -> bool:
        """Whether nothing is stored that may still be called."""
        with contextlib.suppress(FuturamaError):
            counts = self.client.queue.backend.count()
            return not counts[State.WAITING] + counts[State.CLAIMED]
        return False

    def needs(self, has_happened: object, otherwise: str) -> None:
        """Note that the fault was not put to the test unless this is true; see :class:`Outcome`."""
        if not has_happened and otherwise not in self._untested:
            self._untested.append(otherwise)

    def wait_for(self, condition: Callable[[], bool], patience: float = _PATIENCE_SECONDS) -> bool:
        """Poll, for what other processes do offers nothing to wait for; whether it came true."""
        deadline = time.monotonic() + patience
        while not (is_true := condition()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return is_true

    # -- the end --------------------------------------------------------------------------------

    def outcome(self, **more: Any) -> Outcome:
        """Wait until everything is finished, stop all, and judge.

        Args:
            more: for :func:`tests.faults.accounts.account`.
        """
        began = time.monotonic()
        self.wait_until_finished()
        waited = time.monotonic() - began
        for place in list(self.places):
            self.retire(place)
        outcome = self.judged(**more)
        figures = {**outcome.figures, "finished after s": round(waited, 1)}
        return attrs.evolve(outcome, figures=figures)

    def judged(self, **more: Any) -> Outcome:
        """Judge what has happened since the last time; everything must be finished."""
        stalls = self._stalls()
        whole = account(
            self._operations(),
            left=self._left(),
            disturbances=[*self._disturbances, *stalls],
            died_at=self._died_at,
            epoch_us=(time.time_ns() - time.monotonic_ns()) // 1000,
            resolution=self._backend.capabilities.resolution,
            timeout_ns=int(self.config.get("trigger_timeout_sec", 0) * 1e9),
            **more,
        )
        judgement = judge(whole)
        figures = {
            "events": len(whole.creations),
            "calls": len(whole.calls),
            **judgement.books,
            "repeats": judgement.repeats,
            "recovery s": recovery_seconds(whole, self._disturbances),
        }
        figures["stalls"] = len(stalls) - self._stalls_judged
        self._stalls_judged = len(stalls)
        return Outcome(
            judgement=judgement,
            account=whole,
            figures=figures,
            bugs=[*self._bugs(), *self.noticed],
            untested=self._untested,
        )

    def _stalls(self) -> list[Disturbance]:
        return [
            Disturbance(start=start, end=end, instance=None) for start, end in self._pulse.stalls
        ]

    def _operations(self) -> list[Operation]:
        """What was written since the last time; the dead have said all."""
        for name in [_OURSELVES, *(instance.name for instance in self._all)]:
            if name not in self._read_whole:
                self._records.setdefault(name, Records(self.folder / f"{name}.record"))
        operations = [one for records in self._records.values() for one in records.read()]
        for instance in self._all:
            if instance.has_ended and instance.name in self._records:
                del self._records[instance.name]
                self._read_whole.add(instance.name)
        return operations

    def _bugs(self) -> list[str]:
        return [
            f"{instance.name} logged: {line}"
            for instance in self._all
            for line in instance.log.splitlines()
            if _BUGS.search(line)
        ]

    def _left(self) -> dict[str, StoredEvent]:
        left: dict[str, StoredEvent] = {}
        after = None
        while True:
            page = self.client.queue.backend.find(Query(limit=1000, after=after))
            left |= {event.id: event for event in page.events}
            after = page.next
            if after is None:
                return left


def recovery_seconds(whole: Account, faults: Sequence[Disturbance]) -> float | None:
    """From the end of the last fault until all that was due by then had been called; None: no fault.

    A killed instance counts as a fault until it is dead.
    """
    ends = [each.start if each.end == OPEN_END else each.end for each in faults]
    if not ends:
        return None
    last = max(ends)
    last_us = whole.epoch_us + last // 1000
    due = {one.event_id for one in whole.creations if one.trigger_us <= last_us}
    first_calls: dict[str, int] = {}
    for call in whole.calls:
        first = first_calls.get(call.event_id, OPEN_END)
        first_calls[call.event_id] = min(first, call.start)
    behind = [start for event_id, start in first_calls.items() if event_id in due and start > last]
    return round((max(behind, default=last) - last) / 1e9, 2)
