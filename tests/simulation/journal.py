"""What machines write down, in the order in which it happened."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import attrs

from futurama.backend import StoredEvent
from futurama.conformance.account import Account, Disturbance
from futurama.conformance.history import OPEN_END, UNKNOWN
from futurama.times import to_us
from tests.faults.accounts import account
from tests.faults.record import Operation, Recorder
from tests.simulation.world import Machine, World
from tests.unit.support import START

__all__ = ["Diary", "Journal"]


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
    """

    def __init__(self, journal: Journal, machine: Machine) -> None:
        self.name = machine.name
        self.died_at: int | None = None
        self.disturbances: list[Disturbance] = []
        self._machine = machine
        self._stamp = journal.world.stamp
        self._noted: list[Operation] = []
        journal.diaries.append(self)

    def operations(self) -> list[Operation]:
        """Everything that was begun."""
        return self._noted

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

    def _note(self, start: int, end: int, *, stops: bool = False) -> None:
        self.disturbances.append(Disturbance(start=start, end=end, instance=self.name, stops=stops))
