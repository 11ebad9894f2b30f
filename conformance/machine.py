"""Random programs of all operations, run on a backend and the oracle in lockstep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from futurama.backend import Capabilities, Claim, Move, NewEvent
from futurama.conformance.base import Draw
from futurama.conformance.scenes import IF_EXISTS, waiting
from futurama.conformance.stage import Stage
from futurama.conformance.strategies import LOOK_ALIKES, Values, values_for

__all__ = ["machine"]

_RECENT = 6
"""How many of the newest claims later steps choose from; most of them are stale."""

_NUMBERS = st.integers(0, 3)
"""A program uses few ids, or its calls would hardly ever meet on the same event."""

_PLAIN = ["a", "b", "\uff5e", "\U0001f600"]
_ALIKE = st.sampled_from(LOOK_ALIKES).flatmap(st.permutations).map(lambda ids: ids[:2] + _PLAIN[2:])

_AGES = st.lists(st.integers(0, _RECENT - 1), min_size=1, max_size=2)
_LIMITS = st.integers(1, 4)
_OWNERS = st.sampled_from(["a", "büro-1"])

_OPERATIONS = [
    operation
    for operation, weight in {
        "add": 5,
        "again": 1,
        "claim": 8,
        "settle": 6,
        "cancel": 2,
        "reschedule": 3,
        "renew": 3,
        "requeue": 2,
        "purge": 1,
        "find": 3,
        "exceed": 1,
        "use": 2,
        "reopen": 1,
    }.items()
    for _ in range(weight)
]
"""In one rule with weights of our own: of several rules hypothesis switches some off in each
program, but most laws take an add, a claim and a report at least."""


class _Machine(RuleBasedStateMachine):
    stage: ClassVar[Stage]
    values: ClassVar[Values]
    instances: ClassVar[int]

    def __init__(self) -> None:
        super().__init__()
        self.run = self.stage.begin()
        self.ids: Sequence[str] = _PLAIN
        self.claims: list[Claim] = []
        self.added: Sequence[NewEvent] = ()

    @initialize(ids=st.just(_PLAIN) | _ALIKE, count=_NUMBERS)
    def start(self, ids: Sequence[str], count: int) -> None:
        self.ids = ids
        one_id = st.sampled_from(ids)
        self.some_ids = st.lists(one_id, max_size=3)
        self.events = st.lists(
            self.values.events(ids=one_id, times=self.values.mostly_near), max_size=3
        )
        self.moves = st.lists(self.values.moves(one_id), max_size=2)
        waiting(self.run, *ids[:count])

    @rule(operation=st.sampled_from(_OPERATIONS), data=st.data())
    def call(self, operation: str, data: st.DataObject) -> None:
        getattr(self, f"_{operation}")(data.draw)

    def _add(self, draw: Draw) -> None:
        self.added = draw(self.events)
        self.run.add(self.added, if_exists=draw(IF_EXISTS))

    def _again(self, draw: Draw) -> None:
        self.run.add(self.added, if_exists=draw(IF_EXISTS))

    def _claim(self, draw: Draw) -> None:
        times = self.values.mostly_near
        self.claims += self.run.claim(
            now=draw(times),
            due_before=draw(times),
            lease_until=draw(self.values.lease_ends),
            limit=draw(_LIMITS),
            owner=draw(_OWNERS),
        )

    def _renew(self, draw: Draw) -> None:
        times = self.values.mostly_near
        self.run.renew(
            self._some_claims(draw), now=draw(times), lease_until=draw(self.values.lease_ends)
        )

    def _settle(self, draw: Draw) -> None:
        reports = [draw(self.values.reports)(claim) for claim in self._some_claims(draw)]
        self.run.settle(reports, now=draw(self.values.mostly_near))

    def _cancel(self, draw: Draw) -> None:
        self.run.cancel(draw(self.some_ids))

    def _reschedule(self, draw: Draw) -> None:
        self.run.reschedule(draw(self.moves))

    def _requeue(self, draw: Draw) -> None:
        self.run.requeue(draw(self.some_ids), now=draw(self.values.mostly_near))

    def _purge(self, draw: Draw) -> None:
        self.run.purge(before=draw(self.values.mostly_near))

    def _find(self, draw: Draw) -> None:
        ids = draw(self.some_ids) if draw(st.booleans()) else None
        self.run.find(attrs.evolve(draw(self.values.queries), ids=ids))

    def _exceed(self, draw: Draw) -> None:
        move = Move(id=draw(st.sampled_from(self.ids)), payload=self.values.too_long)
        self.run.reschedule([*draw(self.moves), move])

    def _use(self, draw: Draw) -> None:
        self.run.use(draw(st.integers(0, self.instances - 1)))

    def _reopen(self, draw: Draw) -> None:
        del draw
        self.run.reopen()

    def _some_claims(self, draw: Draw) -> list[Claim]:
        """At least one, if there is any; the newest are the simplest to draw."""
        recent = self.claims[-_RECENT:][::-1]
        return [recent[age % len(recent)] for age in draw(_AGES)] if recent else []


def machine(stage: Stage, capabilities: Capabilities, *, instances: int) -> type[_Machine]:
    """The machine for one backend.

    Args:
        stage: where its examples run.
        capabilities: which decide the values that it draws.
        instances: how many instances of the stage take part.
    """
    members = {"stage": stage, "values": values_for(capabilities), "instances": instances}
    return type("Machine", (_Machine,), members)
