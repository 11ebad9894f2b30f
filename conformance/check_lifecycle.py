"""Tests of everything around the operations: errors, opening, isolation, capabilities."""

from __future__ import annotations

from datetime import timedelta

import attrs
from hypothesis import strategies as st

from futurama.backend import Query
from futurama.conformance.base import Draw, Status, SuiteBase
from futurama.conformance.examination import has_connector
from futurama.conformance.failure import LawBroken
from futurama.conformance.lockstep import Lockstep
from futurama.conformance.program import Shown
from futurama.conformance.scenes import SOME_STATES, at, event, population, reports
from futurama.conformance.stage import Stage, connected, opened, watched
from futurama.conformance.zones import far_from_utc

__all__ = ["LifecycleChecks"]

_SECOND = timedelta(seconds=1)


class LifecycleChecks(SuiteBase):
    """The laws ``errors``, ``lifecycle.*``, ``isolation``, ``capabilities.*``, ``shared.one-store``."""

    def test_errors(self) -> None:
        """Every operation answers, whatever boundary values it is called with."""

        def program(run: Lockstep, draw: Draw) -> None:
            values = self.values()
            instant = values.instants
            run.add(draw(st.lists(values.events(), max_size=4)))
            run.reschedule(draw(st.lists(values.moves(values.ids), max_size=2)))
            claims = run.claim(
                now=draw(instant), due_before=draw(instant), lease_until=draw(instant), limit=2
            )
            run.renew(claims, now=draw(instant), lease_until=draw(instant))
            run.settle([draw(reports(run, claim)) for claim in claims], now=draw(instant))
            run.find(draw(values.queries))
            run.requeue(draw(st.lists(values.ids, max_size=3)), now=draw(instant))
            run.purge(before=draw(instant))
            run.cancel(draw(st.lists(values.ids, max_size=3)))

        self.prove(program, examples=40)

    def test_lifecycle_open(self) -> None:
        """Opening an open backend leaves its events and claims alone."""

        def program(run: Lockstep, draw: Draw) -> None:
            claims = population(run, draw(SOME_STATES))
            run.open()
            run.settle([draw(reports(run, claim)) for claim in claims], now=at(run, 1))

        self.prove(program, examples=6)

    def test_lifecycle_close(self) -> None:
        """Events, claims and dead letters outlast close and open."""

        def program(run: Lockstep, draw: Draw) -> None:
            claims = population(run, draw(SOME_STATES))
            run.reopen()
            run.settle([draw(reports(run, claim)) for claim in claims], now=at(run, 1))

        self.prove(program, examples=6)

    def test_lifecycle_now(self) -> None:
        """The shared clock shows aware UTC."""
        with Stage(type(self)) as stage, far_from_utc():
            stage.begin().now()

    def test_isolation(self) -> None:
        """A second store starts empty, goes its own way with the same ids, and leaves no trace."""
        hooks = self.hooks()
        hooks = attrs.evolve(hooks, connect=f"{hooks.make}.__enter__()")
        with opened(type(self)) as here:
            one = Lockstep([here], self.capabilities, hooks=hooks)
            one.add([event(one, "a"), event(one, "b")])
            with opened(type(self)) as there:
                other = Lockstep([here, there], self.capabilities, hooks=hooks)
                other.use(1)
                other.program = one.program
                one.blame = other.blame = "isolation"
                other.check()
                other.add([event(other, "a", payload=b"other")])
                one.claim(now=at(one, 0), lease_until=at(one, 9))
                other.cancel(["a", "b"])
                one.check()
            one.check()

    def test_capabilities_declared(self) -> None:
        """What the backend says of itself is what the suite was told, and makes sense."""
        declared = self.capabilities
        with type(self).make_backend() as backend:
            before = backend.capabilities
            run = Lockstep([watched(type(self), backend)], declared, hooks=self.hooks())
            run.open()
            after = backend.capabilities
            run.close()
        if not before == after == declared:
            raise LawBroken("capabilities.declared", expected=declared, actual=(before, after))
        step = declared.resolution
        if not (timedelta(0) < step <= _SECOND and not _SECOND % step):
            raise LawBroken(
                "capabilities.declared", expected="a resolution that divides a second", actual=step
            )
        if declared.max_data_bytes < 1:
            raise LawBroken(
                "capabilities.declared",
                expected="max_data_bytes of at least 1",
                actual=declared.max_data_bytes,
            )

    def test_capabilities_absent(self) -> None:
        """Without shared and durable, a second instance sees nothing of the first one."""
        self.prove_absence()

    def test_shared_one_store(self) -> None:
        """Adding, claiming, settling and cancelling take turns on two instances."""
        if not self.capabilities.shared:
            self.prove_absence()
            return

        def program(run: Lockstep, draw: Draw) -> None:
            claims = population(run, draw(SOME_STATES))
            run.blame = "shared.one-store"
            run.use(1)
            run.check()
            run.settle([draw(reports(run, claim)) for claim in claims], now=at(run, 1))
            run.add([event(run, "b", due=draw(st.integers(-5, 5)))])
            run.use(0)
            run.claim(now=at(run, 5), lease_until=at(run, 9))
            run.use(1)
            run.cancel(["b", "waiting"])
            run.use(0)
            run.check()

        self.prove(program, instances=2)

    def prove_absence(self) -> None:
        """Set :attr:`status` to what is known of a capability that is not declared.

        Only where neither ``shared`` nor ``durable`` is declared can anything be proven: then a
        second instance must not see what the first one holds. A backend that is merely not
        declared shared may well be seen, it just promises nothing.
        """
        declared = self.capabilities
        if declared.shared and declared.durable:
            return
        if declared.shared or declared.durable or not has_connector(type(self)):
            self.status = Status.UNCHECKABLE
            return
        with opened(type(self)) as backend:
            run = Lockstep([backend], declared, hooks=self.hooks())
            run.add([event(run, "a")])
            with connected(type(self), backend) as second:
                seen = second.find(Query()).events
        if seen:
            raise LawBroken(
                "capabilities.absent",
                expected="shared=True or durable=True is declared, or the second instance is empty",
                actual=seen,
                program=run.program.lines(Shown.FIND, backend="other1"),
            )
        self.status = Status.ABSENT
