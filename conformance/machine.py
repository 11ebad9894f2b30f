"""Random programs of all operations, run on a backend and the oracle in lockstep."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from futurama.backend import Capabilities, Claim, IfExists, Move, NewEvent, Query, Settlement
from futurama.conformance.stage import Stage
from futurama.conformance.strategies import Values

__all__ = ["ProgramMachine", "machine"]

_RECENT = 6
"""How many of the newest claims later steps choose from; most of them are stale."""


class ProgramMachine(RuleBasedStateMachine):
    """One step is one call. Made by :func:`machine`, which says on which backend."""

    stage: ClassVar[Stage]

    def __init__(self) -> None:
        super().__init__()
        self.lockstep = self.stage.begin()
        self.claims: list[Claim] = []

    def chosen(self, numbers: Sequence[int]) -> list[Claim]:
        """Claims by their age; 0 is the newest."""
        recent = self.claims[-_RECENT:][::-1]
        return [recent[number % len(recent)] for number in numbers]


def machine(stage: Stage, capabilities: Capabilities, *, instances: int) -> type[ProgramMachine]:
    """The machine for one backend.

    Args:
        stage: where its examples run.
        capabilities: which decide the values that it draws.
        instances: how many instances of the stage take part.
    """
    values = Values(capabilities)
    ids = st.lists(values.ids, max_size=3)
    some_claims = st.lists(st.integers(0, _RECENT - 1), max_size=3)

    class Machine(ProgramMachine):
        @rule(
            events=st.lists(values.events(payloads=values.any_payloads), max_size=4),
            if_exists=st.sampled_from(["raise", "keep", "replace"]),
        )
        def add(self, events: Sequence[NewEvent], if_exists: IfExists) -> None:
            self.lockstep.add(events, if_exists=if_exists)

        @rule(
            now=values.instants,
            due_before=values.instants,
            lease_until=values.instants,
            limit=st.integers(1, 4),
            owner=st.sampled_from(["a", "büro-1"]),
        )
        def claim(
            self, now: datetime, due_before: datetime, lease_until: datetime, limit: int, owner: str
        ) -> None:
            self.claims += self.lockstep.claim(
                now=now, due_before=due_before, lease_until=lease_until, limit=limit, owner=owner
            )

        @precondition(lambda self: self.claims)
        @rule(numbers=some_claims, now=values.instants, lease_until=values.instants)
        def renew(self, numbers: Sequence[int], now: datetime, lease_until: datetime) -> None:
            self.lockstep.renew(self.chosen(numbers), now=now, lease_until=lease_until)

        @precondition(lambda self: self.claims)
        @rule(numbers=some_claims, now=values.instants, data=st.data())
        def settle(self, numbers: Sequence[int], now: datetime, data: st.DataObject) -> None:
            settlements = [data.draw(settlement(claim, values)) for claim in self.chosen(numbers)]
            self.lockstep.settle(settlements, now=now)

        @rule(ids=ids)
        def cancel(self, ids: Sequence[str]) -> None:
            self.lockstep.cancel(ids)

        @rule(moves=st.lists(values.moves(), max_size=3))
        def reschedule(self, moves: Sequence[Move]) -> None:
            self.lockstep.reschedule(moves)

        @rule(ids=ids, now=values.instants)
        def requeue(self, ids: Sequence[str], now: datetime) -> None:
            self.lockstep.requeue(ids, now=now)

        @rule(before=values.instants)
        def purge(self, before: datetime) -> None:
            self.lockstep.purge(before=before)

        @rule(query=values.queries)
        def find(self, query: Query) -> None:
            self.lockstep.find(query)

        @rule()
        def reopen(self) -> None:
            self.lockstep.reopen()

    class MachineOfSeveral(Machine):
        @rule(instance=st.integers(0, instances - 1))
        def use(self, instance: int) -> None:
            self.lockstep.use(instance)

    chosen = Machine if instances == 1 else MachineOfSeveral
    chosen.stage = stage
    return chosen


def settlement(claim: Claim, values: Values) -> st.SearchStrategy[Settlement]:
    """Any report on ``claim``."""
    return st.one_of(
        st.just(Settlement.done(claim)),
        st.just(Settlement.release(claim)),
        st.builds(
            Settlement.retry, st.just(claim), values.instants, st.none() | values.any_payloads
        ),
        st.builds(Settlement.bury, st.just(claim), values.reasons),
    )
