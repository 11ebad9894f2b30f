"""Tests of everything around the operations: errors, opening and closing, isolation."""

from __future__ import annotations

import attrs
from hypothesis import strategies as st

from futurama.conformance.base import Draw, SuiteBase
from futurama.conformance.lockstep import Lockstep
from futurama.conformance.scenes import CHANGES, SOME_STATES, at, change, population, reports
from futurama.conformance.stage import Stage
from futurama.conformance.zones import far_from_utc

__all__ = ["LifecycleChecks"]


class LifecycleChecks(SuiteBase):
    """The laws ``errors``, ``lifecycle.*`` and ``isolation``."""

    def test_errors(self) -> None:
        """Every operation answers, whatever boundary values it is called with."""

        def program(run: Lockstep, draw: Draw) -> None:
            values = self.values()
            instant = values.instants
            batch = draw(st.sampled_from([list, tuple]))  # any sequence will do
            run.add(batch(draw(st.lists(values.events(), max_size=4))))
            run.reschedule(batch(draw(st.lists(values.moves(values.ids), max_size=2))))
            claims = run.claim(
                now=draw(instant), due_before=draw(instant), lease_until=draw(instant), limit=2
            )
            run.renew(batch(claims), now=draw(instant), lease_until=draw(instant))
            settlements = batch(draw(reports(run, claim)) for claim in claims)
            run.settle(settlements, now=draw(instant))
            run.find(draw(values.queries))
            run.requeue(batch(draw(st.lists(values.ids, max_size=3))), now=draw(instant))
            run.purge(before=draw(instant))
            run.cancel(batch(draw(st.lists(values.ids, max_size=3))))

        self.prove(program, examples=40)

    def test_lifecycle_open(self) -> None:
        """Opening an open backend leaves its events and claims alone."""

        def program(run: Lockstep, draw: Draw) -> None:
            claims = population(run, draw(SOME_STATES))
            run.open()
            run.settle([draw(reports(run, claim)) for claim in claims], now=at(run, 1))

        self.prove(program, examples=6)

    def test_lifecycle_close(self) -> None:
        """Events, claims, dead letters, and what is due when, outlast close and open."""

        def program(run: Lockstep, draw: Draw) -> None:
            claims = population(run, draw(SOME_STATES))
            run.reopen()
            run.blame = "lifecycle.close"
            run.settle([draw(reports(run, claim)) for claim in claims], now=at(run, 1))
            run.claim(now=at(run, 30), lease_until=at(run, 40))

        self.prove(program, examples=6)

    def test_lifecycle_now(self) -> None:
        """The shared clock shows aware UTC."""
        with Stage(type(self)) as stage, far_from_utc():
            stage.begin().now()

    def test_isolation(self) -> None:
        """A second store starts empty, goes its own way with the same ids, and leaves no trace."""
        hooks = self.hooks()
        # The name keeps the neighbour's manager, and so its store, alive.
        hooks = attrs.evolve(hooks, connect=f"(neighbour := {hooks.make}).__enter__()")
        with Stage(type(self)) as neighbours:

            def program(operation: str, run: Lockstep, draw: Draw) -> None:
                neighbour = neighbours.begin()
                other = Lockstep([run.backend, neighbour.backend], self.capabilities, hooks=hooks)
                other.use(1)
                other.model, run.program = neighbour.model, other.program
                states = [CHANGES[operation]]
                claims = population(run, states)
                other.blame = "isolation"
                other.check()
                other.blame = None
                if draw(st.booleans()):
                    claims = population(other, states)
                change(other, operation, claims)
                run.blame = "isolation"
                run.check()

            self.prove_each(CHANGES, program)
