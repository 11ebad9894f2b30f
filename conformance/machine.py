"""Random programs of all operations, run on a backend and the oracle in lockstep."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from futurama.backend import Capabilities, Claim, IfExists, Move, NewEvent, Query, Settlement
from futurama.conformance.scenes import IF_EXISTS, waiting
from futurama.conformance.stage import Stage
from futurama.conformance.strategies import LOOK_ALIKES, Values

__all__ = ["ProgramMachine", "machine"]

_RECENT = 6
"""How many of the newest claims later steps choose from; most of them are stale."""

_IDS = 4
"""How many ids a program uses: few, or its calls would hardly ever meet on the same event."""


class ProgramMachine(RuleBasedStateMachine):
    """One step is one call. Made by :func:`machine`, which says on which backend."""

    stage: ClassVar[Stage]

    def __init__(self) -> None:
        super().__init__()
        self.lockstep = self.stage.begin()
        self.ids: list[str] = []
        self.claims: list[Claim] = []

    def named(self, numbers: Sequence[int]) -> list[str]:
        """Ids by their number."""
        return [self.ids[number] for number in numbers]

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
    times = values.mostly_near
    number = st.integers(0, _IDS - 1)
    some_ids = st.lists(number, min_size=1, max_size=3)
    some_claims = st.lists(st.integers(0, _RECENT - 1), min_size=1, max_size=2)
    # The id is put in later: only the machine knows which ids its program uses.
    anonymous = values.events(ids=st.just("?"), times=times, payloads=values.any_payloads)
    move = values.moves(st.just("?"))

    class Machine(ProgramMachine):
        @initialize(ids=st.sampled_from(LOOK_ALIKES).flatmap(_ids_with), due=number)
        def start(self, ids: Sequence[str], due: int) -> None:
            self.ids = list(ids)
            waiting(self.lockstep, *ids[:2], due=due)

        @rule(
            events=st.lists(st.tuples(number, anonymous), min_size=1, max_size=3),
            if_exists=IF_EXISTS,
        )
        def add(self, events: Sequence[tuple[int, NewEvent]], if_exists: IfExists) -> None:
            named = [attrs.evolve(event, id=self.ids[number]) for number, event in events]
            self.lockstep.add(named, if_exists=if_exists)

        @rule(
            now=times,
            due_before=times,
            lease_until=times,
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
        @rule(numbers=some_claims, now=times, lease_until=times)
        def renew(self, numbers: Sequence[int], now: datetime, lease_until: datetime) -> None:
            self.lockstep.renew(self.chosen(numbers), now=now, lease_until=lease_until)

        @precondition(lambda self: self.claims)
        @rule(numbers=some_claims, now=times, data=st.data())
        def settle(self, numbers: Sequence[int], now: datetime, data: st.DataObject) -> None:
            settlements = [data.draw(settlement(claim, values)) for claim in self.chosen(numbers)]
            self.lockstep.settle(settlements, now=now)

        @rule(numbers=some_ids)
        def cancel(self, numbers: Sequence[int]) -> None:
            self.lockstep.cancel(self.named(numbers))

        @rule(moves=st.lists(st.tuples(number, move), min_size=1, max_size=2))
        def reschedule(self, moves: Sequence[tuple[int, Move]]) -> None:
            named = [attrs.evolve(move, id=self.ids[number]) for number, move in moves]
            self.lockstep.reschedule(named)

        @rule(numbers=some_ids, now=times)
        def requeue(self, numbers: Sequence[int], now: datetime) -> None:
            self.lockstep.requeue(self.named(numbers), now=now)

        @rule(before=times)
        def purge(self, before: datetime) -> None:
            self.lockstep.purge(before=before)

        @rule(query=values.queries, numbers=st.none() | st.lists(number, max_size=3))
        def find(self, query: Query, numbers: Sequence[int] | None) -> None:
            ids = None if numbers is None else self.named(numbers)
            self.lockstep.find(attrs.evolve(query, ids=ids))

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


def _ids_with(group: Sequence[str]) -> st.SearchStrategy[list[str]]:
    """Two that look alike, and two that look like nothing else."""
    alike = st.permutations(group).map(lambda ids: ids[:2])
    return alike.map(lambda ids: [*ids, "~", "\U0001f600"])


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
