"""A backend as an instance sees it through a bad network, and an instance that dies while it asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import Enum
from functools import partial
from random import Random
from typing import Any, TypeVar

from futurama.backend import EventBackend
from futurama.errors import (
    BackendError,
    BackendRejectedError,
    BackendUnavailableError,
    EventsLockedError,
    OutcomeUnknownError,
)
from tests.between import Between
from tests.simulation.journal import Diary
from tests.simulation.world import Died, Machine

__all__ = ["LEASE_US", "Fault", "Faults", "FaultyBackend"]

Result = TypeVar("Result")

LEASE_US = 2_000_000

_DELAYS_US = (
    (0, 10_000),
    (0, 100_000),
    (0, LEASE_US // 4),
    (0, LEASE_US // 4),
    (LEASE_US * 3 // 4, LEASE_US),
    (LEASE_US, 3 * LEASE_US),
)

_IN_SERIES = 0.5
"""How often a fault is followed by the same."""


_ITEMS = {
    "add": "events",
    "cancel": "ids",
    "reschedule": "moves",
    "renew": "claims",
    "settle": "settlements",
}
"""What each operation that writes to rows it is told is given."""

_REFUSED = {"add", "cancel", "reschedule", "settle"}
"""What may be refused. A renewal writes nothing but a time."""


class Fault(Enum):
    """What may happen to one operation."""

    FAILS = "fails before it took effect"
    NEVER_ARRIVES = "never takes effect, and nobody knows"
    ANSWER_LOST = "takes effect, and nobody knows"
    SLOW_BEFORE = "delayed before it takes effect"
    SLOW_AFTER = "delayed after it took effect"
    DIES_BEFORE = "its instance dies before it takes effect"
    DIES_AFTER = "its instance dies after it took effect"


class Faults:
    """How often what goes wrong.

    Args:
        chance: decides.
        rates: the share of operations that each fault hits.
        are_hiccups: faults are brief and come singly, so that trying again helps at once: they explain
            nothing.

    Attributes:
        injected: how often something went wrong, by its name.
        locked: the events on which somebody keeps a lock.
        refused: the events that the backend refuses to change.
    """

    def __init__(
        self, chance: Random, rates: Mapping[Fault, float], *, are_hiccups: bool = False
    ) -> None:
        self.injected: Counter[str] = Counter()
        self.locked: set[str] = set()
        self.refused: set[str] = set()
        self.are_hiccups = are_hiccups
        self._chance = chance
        self._rates = dict(rates)

    def end(self) -> None:
        """Nothing goes wrong any more."""
        self._rates.clear()
        self.locked.clear()
        self.refused.clear()

    def draw(self, last: Fault | None) -> Fault | None:
        """What happens to the next operation of a machine, in view of its last one.

        Troubles seldom come singly.
        """
        for fault, rate in self._rates.items():
            is_series = fault is last and not self.are_hiccups
            if self._chance.random() < (_IN_SERIES if is_series else rate):
                self.injected[fault.value] += 1
                return fault
        return None

    def latency_us(self) -> int:
        """How long a message takes when nothing is wrong; mostly no time at all, which is quicker."""
        return self._chance.randrange(1, 3_000) if self._chance.random() < 0.2 else 0

    def failure_us(self) -> int:
        """How long it takes until a failure is noticed: mostly hardly any time."""
        is_quick = self.are_hiccups or self._chance.random() < 0.7
        return self._chance.randrange(10_000) if is_quick else self.delay_us()

    def lock_wait_us(self) -> int:
        """How long the backend waits for a lock."""
        return self._chance.randrange(100_000)

    def delay_us(self) -> int:
        """How long a slow one takes."""
        least, most = self._chance.choice(_DELAYS_US)
        return self._chance.randrange(least, most)


class FaultyBackend(Between):
    """The connection of one machine to the backend.

    Args:
        inner: the backend.
        machine: whose connection this is.
        faults: what may go wrong.
        diary: of the machine; faults are written down there.

    Attributes:
        is_cut: nothing gets through.
        distance_us: how long everything takes on its way there, and as long on its way back.
    """

    def __init__(self, inner: EventBackend, machine: Machine, faults: Faults, diary: Diary) -> None:
        super().__init__(inner)
        self.is_cut = False
        self.distance_us = 0
        self._machine = machine
        self._faults = faults
        self._diary = diary
        self._last: Fault | None = None

    def heal(self) -> None:
        """The way to the backend is short and free again."""
        self.is_cut = False
        self.distance_us = 0

    def pass_on(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        """Let the inner backend answer, if nothing goes wrong; to close it needs no answer."""
        if operation == "close":
            return None
        return self._ask(partial(self._change, operation, arguments))

    def _change(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        """Let the inner backend answer, if there is nothing about the events themselves."""
        ids = [_id_of(item) for item in arguments.get(_ITEMS.get(operation, ""), ())]
        if not self._faults.locked.isdisjoint(ids):
            self._machine.wait(self._faults.lock_wait_us())
        if positions := self._positions(ids, self._faults.locked, "locked"):
            is_whole = len(positions) == len(ids)
            raise EventsLockedError(
                "locked", backend="simulated", positions=() if is_whole else positions
            )
        if operation in _REFUSED and self._positions(ids, self._faults.refused, "refused"):
            raise BackendRejectedError("refused", backend="simulated")
        return super().pass_on(operation, arguments)

    def _positions(
        self, ids: Sequence[str], concerned: Collection[str], what: str
    ) -> Sequence[int]:
        positions = [number for number, event_id in enumerate(ids) if event_id in concerned]
        if positions:
            share = "all" if len(positions) == len(ids) else "a part"
            self._faults.injected[f"{share} of a batch is {what}"] += 1
        return positions

    def _ask(self, do: Callable[[], Result]) -> Result:
        self._machine.check_alive()
        fault = self._last = self._faults.draw(self._last)
        if fault is None:
            return self._answered(do, self._faults.latency_us(), self._faults.latency_us())
        if self._faults.are_hiccups:
            return self._disturbed(do, fault)
        with self._diary.disturbed():
            return self._disturbed(do, fault)

    def _disturbed(self, do: Callable[[], Result], fault: Fault) -> Result:
        match fault:
            case Fault.SLOW_BEFORE:
                return self._answered(do, self._faults.delay_us(), 0)
            case Fault.SLOW_AFTER:
                return self._answered(do, 0, self._faults.delay_us())
            case Fault.ANSWER_LOST:
                self._answered(do, 0, self._faults.failure_us())
                raise self._unknown()
            case Fault.FAILS | Fault.NEVER_ARRIVES:
                self._machine.wait(self._faults.failure_us())
                raise unavailable() if fault is Fault.FAILS else unknown()
            case Fault.DIES_BEFORE | Fault.DIES_AFTER:
                if fault is Fault.DIES_AFTER:
                    do()
                self._diary.dies()
                raise Died

    def _unknown(self) -> BackendError:
        """What is raised when the answer is lost."""
        return unknown()

    def _answered(self, do: Callable[[], Result], before_us: int, after_us: int) -> Result:
        self._pass(before_us + self.distance_us)
        if self.is_cut:
            raise unavailable()
        result = do()
        self._pass(after_us + self.distance_us)
        if self.is_cut:
            raise self._unknown()
        return result

    def _pass(self, us: int) -> None:
        if us:
            self._machine.wait(us)


def _id_of(item: Any) -> str:
    """Of an id, an event, a move, a claim or a settlement."""
    event_id: str = item if isinstance(item, str) else getattr(item, "claim", item).id
    return event_id


def unavailable() -> BackendUnavailableError:
    """Nothing was changed."""
    return BackendUnavailableError("out of reach", backend="simulated")


def unknown() -> OutcomeUnknownError:
    """Whether something was changed only the backend knows."""
    return OutcomeUnknownError("answer lost", backend="simulated")
