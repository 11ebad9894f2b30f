"""What machines write down, in the order in which it happened."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, TypeVar

import attrs

from futurama.backend import StoredEvent
from futurama.conformance.account import Account, Disturbance
from futurama.conformance.history import OPEN_END, UNKNOWN
from futurama.errors import OutcomeUnknownError
from futurama.times import to_us
from tests.faults.accounts import account
from tests.faults.record import Operation, Recorder
from tests.simulation.world import Machine, World
from tests.unit.support import START

__all__ = ["Diary", "Journal"]

Result = TypeVar("Result")


class Journal:
    """All diaries together.

    Args:
        world: whose time counts.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.diaries: list[Diary] = []

    def account(
        self, *, left: Mapping[str, StoredEvent], resolution: timedelta, **more: Any
    ) -> Account:
        """What it all comes to.

        Args:
            left, resolution, more: see Account.
        """
        operations = [one for diary in self.diaries for one in diary.operations()]
        whole = account(
            sorted(operations, key=lambda one: one.start),
            left=left,
            disturbances=[one for diary in self.diaries for one in diary.disturbances],
            died_at={
                diary.name: diary.died_at for diary in self.diaries if diary.died_at is not None
            },
            epoch_us=to_us(START),
            resolution=resolution,
        )
        return attrs.evolve(whole, pause_ns=1, **more)


class Diary(Recorder):
    """What one machine does. The dead write nothing.

    Args:
        journal: to which it belongs.
        machine: whose diary.

    Attributes:
        name: of the machine.
        died_at: when its process ended.
        leaves_at: when it was asked to stop.
        doubts: when somebody was told that the outcome is unknown, by the number of the operation.
        disturbances: the faults that have hit it.
    """

    def __init__(self, journal: Journal, machine: Machine) -> None:
        self.name = machine.name
        self.died_at: int | None = None
        self.leaves_at: int | None = None
        self.doubts: dict[int, int] = {}
        self.disturbances: list[Disturbance] = []
        self._machine = machine
        self._stamp = journal.world.stamp
        self._noted: list[Operation] = []
        journal.diaries.append(self)

    def operations(self) -> list[Operation]:
        """Everything that was begun."""
        return self._noted

    def around(self, what: str, arguments: Mapping[str, Any], do: Callable[[], Result]) -> Result:
        """See Recorder."""
        number = len(self._noted)
        try:
            return super().around(what, arguments, do)
        except OutcomeUnknownError:
            self.doubts[number] = self._stamp()
            raise

    def begin(self, what: str, arguments: Mapping[str, Any]) -> int:
        """See Recorder."""
        self._machine.check_alive()
        self._noted.append(
            Operation(
                process=self.name,
                what=what,
                arguments=dict(arguments),
                outcome=UNKNOWN,
                start=self._stamp(),
                end=OPEN_END,
            )
        )
        return len(self._noted) - 1

    def end(self, number: int, outcome: object) -> None:
        """See Recorder."""
        if self._machine.is_alive:
            begun = self._noted[number]
            self._noted[number] = attrs.evolve(begun, outcome=outcome, end=self._stamp())

    def close(self) -> None:
        """Nothing to do."""

    def dies(self) -> None:
        """The machine dies, and that is the last that is written down."""
        if self._machine.is_alive:
            self._machine.die()
            self.died_at = self._stamp()
            self._note(self.died_at, OPEN_END)

    def leaves(self) -> None:
        """The instance is asked to stop."""
        self.leaves_at = self._stamp()

    def exits(self, *, is_cut_short: bool) -> None:
        """The instance has stopped, and its process ends; cut short: with calls that took too long."""
        if is_cut_short:
            self.dies()
        elif self._machine.is_alive:
            self._machine.die()
            self.died_at = self._stamp()

    @contextlib.contextmanager
    def disturbed(self, *, stops: bool = False) -> Iterator[None]:
        """Note that something is broken for this machine meanwhile."""
        start = self._stamp()
        try:
            yield
        finally:
            self._note(start, self._stamp(), stops=stops)

    def disturbed_for(self, us: int) -> None:
        """Note that something will be broken for so long."""
        start = self._stamp()
        self._note(start, start + us * 1000)

    def troubled_for(self, us: int, event_id: str) -> None:
        """Note that for so long something will be wrong with one event, for everybody."""
        start = self._stamp()
        self.disturbances.append(Disturbance(start=start, end=start + us * 1000, event_id=event_id))

    def _note(self, start: int, end: int, *, stops: bool = False) -> None:
        self.disturbances.append(Disturbance(start=start, end=end, instance=self.name, stops=stops))
