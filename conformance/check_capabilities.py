"""Tests of what a backend declares: shared, durable, or neither."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from hypothesis import strategies as st

from futurama.backend import Claim, Move, Query
from futurama.conformance.base import Draw, Status, SuiteBase
from futurama.conformance.examination import has_connector
from futurama.conformance.failure import LawBroken
from futurama.conformance.lockstep import Lockstep
from futurama.conformance.program import Shown
from futurama.conformance.scenes import (
    CHANGES,
    SOME_STATES,
    STATES,
    at,
    change,
    event,
    population,
    reports,
)
from futurama.conformance.stage import connected, opened, watched

__all__ = ["CapabilityChecks"]

_SECOND = timedelta(seconds=1)


class CapabilityChecks(SuiteBase):
    """The laws ``capabilities.*``, ``shared.one-store`` and ``durable.*``."""

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

    def test_durable_new_instance(self) -> None:
        """Whatever was done last before close, a new instance goes on with events and claims."""
        if not self.capabilities.durable:
            self.prove_absence()
            return

        def program(operation: str, run: Lockstep, draw: Draw) -> None:
            run.broken = True  # if this raises, what it leaves is worth nothing
            backends = [run.backend]
            life = Lockstep(backends, self.capabilities, hooks=self.hooks())
            life.model = run.model
            claims = population(life, draw(st.just([CHANGES[operation]]) | SOME_STATES))
            change(life, operation, claims)
            life.close()
            with connected(type(self), run.backend) as backends[0]:
                run.blame = life.blame = "durable.new-instance"
                life.program.reconnected()
                life.open()
                _go_on(life, claims, draw)
                life.close()
            run.program = life.program
            run.program.reconnected()
            run.open()
            run.broken = False

        self.prove_each(CHANGES, program)

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


def _go_on(life: Lockstep, claims: Sequence[Claim], draw: Draw) -> None:
    """What an instance does that comes upon a :func:`population`: look, report, claim what is due."""
    is_reported = draw(st.booleans())
    life.check()
    if claims:
        life.renew(claims, now=at(life, 1), lease_until=at(life, 12))
    if claims and is_reported:
        life.settle([draw(reports(life, claim)) for claim in claims], now=at(life, 2))
    life.claim(now=at(life, 99), lease_until=at(life, 120))
    life.requeue([*STATES], now=at(life, 100))
    life.reschedule([Move(id=state, payload=b"moved") for state in STATES])
    life.claim(now=at(life, 130), lease_until=at(life, 140))
