"""Tests of looking at events."""

from __future__ import annotations

from datetime import timedelta
from itertools import product

import attrs
from hypothesis import strategies as st

from futurama.backend import Query, State
from futurama.conformance.base import Draw, SuiteBase
from futurama.conformance.lockstep import Lockstep
from futurama.conformance.scenes import (
    SOME_STATES,
    STATES,
    at,
    claimed,
    dead,
    enter,
    event,
    population,
    waiting,
)
from futurama.conformance.strategies import TYPES

__all__ = ["FindChecks"]

_MICROSECOND = timedelta(microseconds=1)
_BOUNDS = (None, 1, 2, 3)


class FindChecks(SuiteBase):
    """The laws ``find.*`` and ``count``."""

    def test_find_ids(self) -> None:
        """Known and unknown ids, an id given twice, no id at all; other criteria hold as well."""

        def program(run: Lockstep, draw: Draw) -> None:
            ids = st.lists(self.values().ids, max_size=4)
            waiting(run, *draw(st.lists(self.values().ids, min_size=1, max_size=5, unique=True)))
            run.find(Query(ids=draw(ids), state=draw(st.sampled_from([None, *State]))))

        self.prove(program, examples=30)

    def test_find_trigger_type(self) -> None:
        """Types that look alike are told apart."""

        def program(wanted: str, run: Lockstep, draw: Draw) -> None:
            types = draw(st.permutations(TYPES))
            ids = "abcdefg"
            run.add(
                [
                    attrs.evolve(event(run, event_id), trigger_type=trigger_type)
                    for event_id, trigger_type in zip(ids, types, strict=True)
                ]
            )
            run.find(Query(trigger_type=wanted))

        self.prove_each([*TYPES, "none of them"], program)

    def test_find_state(self) -> None:
        """Each state by itself; CLAIMED includes expired claims."""

        def program(run: Lockstep, draw: Draw) -> None:
            population(run, draw(SOME_STATES))
            run.find(Query(state=draw(st.sampled_from(State))))

        self.prove(program, examples=9)

    def test_find_due(self) -> None:
        """The lower bound is included, the upper one is not, dead letters never are."""

        def program(bounds: tuple[int | None, int | None], run: Lockstep, draw: Draw) -> None:
            dead(run, "dead")
            claimed(run, "claimed", until=2)
            waiting(run, "a", due=1)
            waiting(run, "b", "c", due=2)
            fractions = st.sampled_from([timedelta(0), _MICROSECOND, run.step - _MICROSECOND])
            due_from, due_until = (
                None if bound is None else at(run, bound) + draw(fractions) for bound in bounds
            )
            run.find(Query(due_from=due_from, due_until=due_until))

        self.prove_each(product(_BOUNDS, _BOUNDS), program, examples=2)

    def test_find_order(self) -> None:
        """By time first and by the bytes of the id second, the dead behind the living."""

        def program(run: Lockstep, draw: Draw) -> None:
            ids = draw(st.permutations(["a", "b", "Z", "é", "\uff5e", "\U0001f600"]))
            for event_id in ids[: draw(st.sampled_from([0, 3, 3, 3]))]:
                dead(run, event_id, died=draw(st.integers(0, 1)))
            run.requeue(ids[:1], now=at(run, 1))
            waiting(run, ids[3], due=draw(st.integers(0, 1)))
            for event_id in ids[4:]:
                values = self.values()
                run.add([draw(values.events(ids=st.just(event_id), times=values.extremes))])
            run.find(Query())

        self.prove(program)

    def test_find_pages(self) -> None:
        """Pages add up to everything, where many events are due at once and where some go meanwhile."""

        def program(run: Lockstep, draw: Draw) -> None:
            for number, state in enumerate(draw(st.lists(st.sampled_from(STATES), max_size=4))):
                enter(run, state, f"e{number}")
            waiting(run, *draw(st.permutations("abcd")), due=20)
            criterion = draw(st.sampled_from([None, *State]))
            run.find(Query(limit=draw(st.integers(1, 4)), state=criterion))

        self.prove(program)

        def program_with_changes(run: Lockstep, draw: Draw) -> None:
            waiting(run, *"abcde")
            gone = draw(st.sampled_from(["a", "ad", "bd", "cde", "abcde"]))
            query = Query(limit=draw(st.integers(1, 4)))
            run.find(query, meanwhile=lambda: run.cancel([*gone]))

        self.prove(program_with_changes)

    def test_count(self) -> None:
        """Each event counts in its state."""

        def program(run: Lockstep, draw: Draw) -> None:
            for number, state in enumerate(draw(st.lists(st.sampled_from(STATES), max_size=5))):
                enter(run, state, f"e{number}")
                run.count()

        self.prove(program)
